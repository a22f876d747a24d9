/* inspect.h - what Vault and OpenBao say of themselves, of a token and of a key's settings, for
 * `kms check` (keys/vault/check.h).
 *
 * Units      seconds.
 * Errors     -EPROTO: the answer makes no sense.
 * Ownership  nothing points into the answer. The answer about a token holds the token itself: the
 *            caller wipes it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* sys/health */
struct vault_health {
    bool is_initialized;
    bool is_sealed;
    bool is_standby;
    char version[48];
};

int vault_read_health(struct bytes body, struct vault_health *ret, struct error *err);

/* auth/token/lookup-self */
struct vault_token {
    bool has_end;           /* else the next two are 0 */
    int64_t ttl_s;          /* 0: in less than a second */
    int64_t creation_ttl_s; /* of its whole life, or since it was renewed */
    int64_t ends_s;         /* at the latest, however often renewed, since 1970; 0: not said */
    int64_t uses;           /* so many requests are left; 0: no limit; negative: none is left */
    bool is_renewable;
    bool is_root;
    bool has_parent; /* with which it ends */
};

int vault_read_token(struct bytes body, struct vault_token *ret, struct error *err);

/* True if the answer to a refused request (403, 400) says that it is the token that is not
 * accepted, and not a policy that denies. */
bool vault_is_token_refused(struct bytes body);

/* sys/capabilities-self, as bits. */
#define VAULT_MAY_CREATE 0x01u
#define VAULT_MAY_READ 0x02u
#define VAULT_MAY_UPDATE 0x04u
#define VAULT_MAY_DELETE 0x08u
#define VAULT_MAY_ALL 0xffu /* a root token */

/* -ENOENT: it does not say anything of this path. */
int vault_read_capabilities(struct bytes body, const char *path, unsigned *ret, struct error *err);

/* transit/keys/<name>: what a master key should not allow. */
struct vault_key_settings {
    bool is_deletion_allowed;
    bool is_exportable;
    bool has_plaintext_backup;
};

int vault_read_key_settings(struct bytes body, struct vault_key_settings *ret, struct error *err);
