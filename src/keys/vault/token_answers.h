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

struct vault_token_facts {
    bool has_end;
    int64_t left_s; /* of its life, if that has an end; 0: less than a second */
    int64_t life_s; /* as it was made */
    bool is_renewable;
    bool is_batch;   /* takes no room in the server: nothing to revoke */
    bool is_limited; /* dies after a number of requests */
};

/* The "auth" of a login or a renewal. ret_token may be NULL. */
int vault_read_auth(struct bytes body, struct vault_token_facts *ret, struct secret *ret_token,
                    struct error *err);

/* What no token has: white space, other characters than ASCII, none at all, too many. */
int vault_check_token(const struct secret *token, const char *what, struct error *err);
