/* kms_check_key.h - the steps of `kms check` that are alike for all providers: one address after
 * the other, the trial of a key, and what to do about a call that failed.
 *
 * Errors     none: a failure is a step (keys/kms_check.h).
 * Ownership  what is set up by the caller stays the caller's; kms_check_key_release() frees the
 * trial. Threads    one check is used by one thread.
 */
#pragma once

#include "keys/address_list.h"
#include "keys/key_provider.h"
#include "keys/kms_check.h"

struct kms_check_key {
    struct kms_check *check;
    struct key_provider *provider; /* has an advise() */
    struct key_trial trial;
};

void kms_check_key_release(struct kms_check_key *key);

/* Runs the steps of each address, with the list restricted to that one. */
typedef void kms_check_address_fn(void *arg, size_t index);
void kms_check_each_address(struct address_list *addresses, struct kms_check *check,
                            kms_check_address_fn *run, void *arg);

/* Reports that a call with the provider's key ended with r < 0; false. */
bool kms_check_key_failed(struct kms_check_key *key, const char *name, int r,
                          const struct error *err);

/* Steps: encrypt, decrypt, rewrap; each needs the one before. */
bool kms_check_key_encrypt(struct kms_check_key *key);
bool kms_check_key_decrypt(struct kms_check_key *key);
bool kms_check_key_rewrap(struct kms_check_key *key);

/* All of a key in one step: reads it, wraps a trial text with it, unwraps that, and has it
 * rewrapped where the server can. users: whose key it is, for people. 0, or what failed, which was
 * reported. */
int kms_check_key_whole(struct kms_check_key *key, const char *name, const char *users);
