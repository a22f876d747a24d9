/* answers.h - what Vault and OpenBao answer (transit), read from JSON and sorted into the
 * classes of key_provider.h.
 *
 * Errors     -EPROTO: the answer makes no sense; and the classes of key_provider.h.
 * Ownership  nothing points into the answer; secrets are the caller's to release.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/secret.h"
#include "keyring/wrapped_key.h"

#define VAULT_TEXT_SIZE 240u
#define VAULT_PLAIN_MAX 1024u

/* What was asked, for the sentence. */
struct vault_question {
    const char *address;
    const char *path; /* "transit/decrypt/weka-key" */
    const char *key_name;
    const char *kms_namespace; /* "" if none */
};

/* 0 for 200 and 204. Else the class and a sentence that says what the administrator must do;
 * *ret_is_futile is set with -EAGAIN if asking again within seconds is of no use. */
int vault_read_status(const struct vault_question *question, int status, struct bytes body,
                      bool *ret_is_futile, struct error *err);

/* The words of {"errors":[...]}, without the framing that the server puts around them, fit to be
 * shown; "" if there are none. */
void vault_read_errors(struct bytes body, char ret[static VAULT_TEXT_SIZE]);

struct vault_key {
    char type[48];
    uint32_t latest_version;
    uint32_t min_decrypt_version;
};

/* The answer to reading a key, which must be of a kind that can wrap. */
int vault_read_key(struct bytes body, struct vault_key *ret, struct error *err);

/* Of encrypt and rewrap: fills blob, blob_len and key_version. */
int vault_read_ciphertext(struct bytes body, struct wrapped_key *ret, struct error *err);

/* Of a rewrap of several, with the status 200 or 400: all or none. *ret_failed as below. */
int vault_read_ciphertexts(const struct vault_question *question, struct bytes body, size_t count,
                           struct wrapped_key *ret, size_t *ret_failed, struct error *err);

/* Of a decrypt of one. */
int vault_read_plaintext(struct bytes body, struct secret *ret, struct error *err);

/* Of a decrypt of several, with the status 200 or 400: all or none. *ret_failed is the first
 * that the server did not decrypt; count if the answer does not say which. */
int vault_read_batch(const struct vault_question *question, struct bytes body, size_t count,
                     struct secret *ret_plain, size_t *ret_failed, struct error *err);

/* True if the body of a 400 tells of each item. */
bool vault_is_batch(struct bytes body);

/* "version 1.13.0" of sys/health, "" if it does not say. */
void vault_read_server(struct bytes body, char *ret, size_t size);
