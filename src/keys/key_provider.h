/* key_provider.h - a key server: wraps and unwraps filesystem keys with a master key that never
 * leaves it.
 *
 * To add one, fill in a key_provider_ops and list it in keys/registry.c. All providers pass
 * tests/conformance/key_provider_conformance.
 *
 * A provider never relies on the server for integrity: what is wrapped carries its own check
 * (keyring/key_blob.h). It never encrypts with a key that it did not read first, because some
 * servers create a missing one.
 *
 * Errors     negative errno and a sentence that names the server, the key and what the
 *            administrator must do. The code tells the class:
 *              -EAGAIN       may pass: unreachable, sealed, overloaded, no leader. The provider
 *                            has already retried within its time limit.
 *              -EACCES       the credentials are not accepted, or a permission is missing
 *              -ENOENT       no such key, mount or namespace
 *              -EKEYREVOKED  the key is there, but not active, or its version is disallowed
 *              -EBADMSG      the server answered that the blob is not its own or was altered
 *              -EPROTO       the answer makes no sense
 *              -EINVAL       the configuration is malformed
 * Ownership  configurations and inputs stay the caller's; a provider copies what it keeps.
 * Threads    one provider is used by one thread at a time.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/secret.h"
#include "keyring/wrapped_key.h"
#include "keys/key_login.h"

#define KEY_PATH_SIZE 256u

/* What an administrator configured. Texts that a provider does not use are empty. */
struct key_provider_config {
    char type[16];                          /* "vault", "kmip", "local" */
    char addresses[WRAPPED_ADDRESSES_SIZE]; /* one or more, comma-separated, in order */
    char key_name[WRAPPED_NAME_SIZE];
    char kms_namespace[WRAPPED_NAME_SIZE];
    char mount_path[WRAPPED_NAME_SIZE]; /* "" means the server's usual one: "transit" */
    bool allows_insecure_http;          /* "vault": http:// beyond the loopback */
    bool uses_gcm;                      /* "kmip": wraps with AES-GCM, not AES-CBC */

    /* "kmip" is logged in to with the client certificate, and where the server wants it with a
     * user name, "" if not, and its password too. */
    char username[WRAPPED_NAME_SIZE];
    struct secret password;

    /* "vault" is logged in to in one of three ways: with token; role_id and secret_id;
     * kubernetes_role. */
    char auth_path[WRAPPED_NAME_SIZE]; /* "" means the usual: "approle", "kubernetes" */
    char role_id[WRAPPED_NAME_SIZE];
    char kubernetes_role[WRAPPED_NAME_SIZE];
    char kubernetes_token_path[KEY_PATH_SIZE]; /* "" means where Kubernetes puts it */
    bool leaves_renewal;                       /* never renew the token */
    struct secret secret_id;

    struct buf client_cert_pem;
    struct buf ca_cert_pem; /* empty: the system's trust store */
    struct secret client_key_pem;
    struct secret token;
    struct secret local_key; /* "local" only: 32 bytes */

    /* Shared by all copies. NULL: each provider logs in for itself. */
    struct key_login *login;
};

#define KEY_PROVIDER_CONFIG_INIT ((struct key_provider_config){ .type = "" })

void key_provider_config_release(struct key_provider_config *config);
int key_provider_config_copy(struct key_provider_config *to,
                             const struct key_provider_config *from);

/* Gives the configuration a login for all its copies and providers, if its type has such and
 * there is none yet. Contacts nobody. */
int key_provider_config_share_login(struct key_provider_config *config, struct error *err);

/* What the server says of the configured key. */
struct key_description {
    char algorithm[48];           /* "aes256-gcm96", "AES-256", ... */
    char state[32];               /* "active", ... as a person reads it */
    uint32_t latest_version;      /* 0: the server has no versions */
    uint32_t min_decrypt_version; /* 0: the server has no versions */
    char server[96];              /* product and version or protocol version, as far as known */
};

struct kms_check; /* keys/kms_check.h */
struct key_provider;

struct key_provider_ops {
    const char *type;

    /* Reads the configured key: it exists, is of a kind that can wrap, and is active. Never
     * creates or encrypts anything. */
    int (*describe)(struct key_provider *provider, struct key_description *ret, struct error *err);

    /* Wraps plain (at most 256 bytes) with the newest version of the configured key, after
     * reading that key on this provider at least once. */
    int (*wrap)(struct key_provider *provider, struct bytes plain, struct wrapped_key *ret,
                struct error *err);

    /* Unwraps count blobs, in as few round trips as the server allows, with the key, path and
     * namespace that each names, at the configured addresses. All or none: on failure err says
     * which one failed and why. ret_plain is an array of count empty secrets. */
    int (*unwrap)(struct key_provider *provider, const struct wrapped_key *wrapped, size_t count,
                  struct secret *ret_plain, struct error *err);

    /* Wraps with the newest version of the configured key what each of count blobs wraps, in as
     * few round trips as the server allows and with the plaintext staying there. All or none. NULL:
     * the server cannot do that. */
    int (*rewrap)(struct key_provider *provider, const struct wrapped_key *old, size_t count,
                  struct wrapped_key *ret, struct error *err);

    /* Optional. Goes through each step of the chain at each configured address, and reports.
     * Changes nothing on the server. */
    void (*check)(struct key_provider *provider, struct kms_check *check);
    /* With check: what to do about a call with the configured key that ended with r < 0; goes with
     * the failure that is reported next. */
    void (*advise)(const struct key_provider *provider, int r, struct kms_check *check);

    /* Whether the blob, which is of this type, names the configured key, whatever its version,
     * and was made in the configured mode, where there is a choice. */
    bool (*is_configured_key)(const struct key_provider *provider,
                              const struct wrapped_key *wrapped);

    void (*close)(struct key_provider *provider);
};

/* A provider embeds this as its first member. */
struct key_provider {
    const struct key_provider_ops *ops;
};

/* Checks the configuration's form and sets the provider up. Contacts nobody. */
int key_provider_open(const struct key_provider_config *config, struct key_provider **ret,
                      struct error *err);

int key_provider_describe(struct key_provider *provider, struct key_description *ret,
                          struct error *err);
int key_provider_wrap(struct key_provider *provider, struct bytes plain, struct wrapped_key *ret,
                      struct error *err);
int key_provider_unwrap(struct key_provider *provider, const struct wrapped_key *wrapped,
                        size_t count, struct secret *ret_plain, struct error *err);

/* Wraps count blobs of this server anew with the newest version of the configured key. All or
 * none: on failure what stands in ret means nothing. The caller verifies by unwrapping. Where the
 * server cannot do it (key_provider_rewraps_inside()), they are unwrapped and wrapped here. */
int key_provider_rewrap(struct key_provider *provider, const struct wrapped_key *old, size_t count,
                        struct wrapped_key *ret, struct error *err);
bool key_provider_rewraps_inside(const struct key_provider *provider);

/* Whether the blob names the configured key of such a server, and is as this configuration would
 * make it, whatever the key's version; the server itself is not asked. */
bool key_provider_names(const struct key_provider *provider, const struct wrapped_key *wrapped);

/* The proof that this configuration works: describe, wrap a random trial text, unwrap it, and
 * compare. Nothing is stored anywhere. */
int key_provider_verify(struct key_provider *provider, struct key_description *ret,
                        struct error *err);

/* The trial's two halves, for who wants to tell them apart. All zero is an empty trial. */
struct key_trial {
    struct secret text;
    struct wrapped_key wrapped;
};

int key_trial_wrap(struct key_trial *trial, struct key_provider *provider, struct error *err);
/* -EPROTO if what comes back is not what was wrapped. */
int key_trial_unwrap(const struct key_trial *trial, struct key_provider *provider,
                     struct error *err);
void key_trial_release(struct key_trial *trial);

/* -EOPNOTSUPP: there is no server to check. What is found is reported, not returned. */
int key_provider_check(struct key_provider *provider, struct kms_check *check, struct error *err);

void key_provider_close(struct key_provider *provider); /* NULL is allowed */

static inline void key_provider_closep(struct key_provider **provider)
{
    key_provider_close(*provider);
}
