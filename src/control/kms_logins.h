/* kms_logins.h - the logins to a vault that filesystems have of their own: one for each AppRole of
 * a namespace, whoever uses it, so that the server sees one login and somebody who rotates a secret
 * ID gives it once.
 *
 * Ownership  a table owns its members; what is found stays in it.
 * Threads    the caller's lock guards a table.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "crypto/secret.h"
#include "keyring/wrapped_key.h"
#include "keys/key_login.h"

/* Each is some 500 bytes of secret memory while it is in use. */
#define KMS_LOGINS_MAX 400u

struct kms_own_login {
    char kms_namespace[WRAPPED_NAME_SIZE]; /* as its filesystems name it */
    char role_id[WRAPPED_NAME_SIZE];
    struct secret secret_id;
    struct key_login *login; /* NULL until it is used */
    unsigned generation;     /* of the configuration that login belongs to */
};

struct kms_logins {
    struct kms_own_login *items;
    size_t count;
};

void kms_logins_release(struct kms_logins *logins);
int kms_logins_copy(struct kms_logins *to, const struct kms_logins *from);

/* NULL: there is none. */
struct kms_own_login *kms_logins_find(const struct kms_logins *logins, const char *kms_namespace,
                                      const char *role_id);

/* In the place of what was known of that role. -ENOSPC: there are too many. -ENOMEM. */
int kms_logins_put(struct kms_logins *logins, const char *kms_namespace, const char *role_id,
                   struct bytes secret_id);

/* Whether a role is wanted, of those that kms_logins_keep() drops else. */
typedef bool kms_login_wanted_fn(const struct kms_own_login *login, void *arg);

/* How many were dropped. */
size_t kms_logins_keep(struct kms_logins *logins, kms_login_wanted_fn *is_wanted, void *arg);
