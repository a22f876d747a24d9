/* token_answers.h - what Vault and OpenBao answer to logins and renewals.
 *
 * Units      lives are seconds.
 * Errors     -EPROTO: the answer makes no sense.
 * Ownership  nothing points into the answer; secrets are the caller's to release.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/secret.h"

#define VAULT_TOKEN_MAX 1024u
#define VAULT_ROLE_SIZE 256u

struct vault_token_facts {
    bool has_end;
    int64_t left_s; /* of its life, if that has an end; 0: less than a second */
    int64_t life_s; /* as it was made */
    bool is_renewable;
    bool is_batch;                   /* takes no room in the server: nothing to revoke */
    bool is_limited;                 /* dies after a number of requests */
    char role_name[VAULT_ROLE_SIZE]; /* of an AppRole; "": it does not say */
};

/* auth/<path>/role/<name>/secret-id/lookup */
struct vault_secret_id_facts {
    int64_t ends_s; /* since 1970; 0: it has no end */
    int64_t life_s; /* as it was made; 0: it has no end */
};

int vault_read_secret_id(struct bytes body, struct vault_secret_id_facts *ret, struct error *err);

/* The "auth" of a login or a renewal. ret_token may be NULL. */
int vault_read_auth(struct bytes body, struct vault_token_facts *ret, struct secret *ret_token,
                    struct error *err);

/* What no token has: white space, other characters than ASCII, none at all, too many. */
int vault_check_token(const struct secret *token, const char *what, struct error *err);
