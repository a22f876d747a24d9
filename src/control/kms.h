/* kms.h - the key server that this instance uses: its configuration, what was last seen of it,
 * and providers to talk to it.
 *
 * Each caller opens a provider of its own, so that a slow call of one never holds up another; the
 * status is remembered, so that asking for it never waits for the network.
 *
 * Errors     negative errno and a sentence, as key_provider.h says. -ENOKEY: no key server is
 *            configured.
 * Ownership  what is opened or copied out is the caller's.
 * Threads    any. The one lock guards the configuration and what was seen; no call to a server
 *            and no file is done under it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "control/fs_record.h"
#include "control/kms_logins.h"
#include "crypto/secret.h"
#include "keyring/wrapped_key.h"
#include "keys/key_provider.h"

struct kms;

struct kms_status {
    bool is_configured;
    char type[16];
    char addresses[WRAPPED_ADDRESSES_SIZE];
    char key_name[WRAPPED_NAME_SIZE];
    char kms_namespace[WRAPPED_NAME_SIZE];
    char mount_path[WRAPPED_NAME_SIZE];
    char auth_method[24]; /* "token", "approle", "kubernetes", "client-certificate" */
    char auth_path[WRAPPED_NAME_SIZE];
    char role[WRAPPED_NAME_SIZE]; /* AppRole: its ID; Kubernetes: its name */
    char username[WRAPPED_NAME_SIZE];
    char cipher_mode[8]; /* KMIP: "cbc", "gcm"; else "" */
    bool leaves_renewal;
    struct key_login_status login; /* of a token */
    bool is_insecure;
    struct key_description key; /* as last seen */
    bool is_reachable;
    int64_t last_success_ns;     /* when a call went well last; 0: not yet */
    int64_t certificate_until_s; /* the client's, since 1970; 0: it has none */
    int error_code;              /* of the last call; 0 if it went well */
    char error[512];
};

/* A missing credentials file is no failure; a damaged one is reported by every later call. */
int kms_open(const char *state_dir, struct kms **ret, struct error *err);
void kms_close(struct kms *kms); /* NULL is allowed */

void kms_status(struct kms *kms, struct kms_status *ret);
bool kms_is_configured(struct kms *kms);

/* Asks the server now and remembers the answer. */
void kms_refresh(struct kms *kms);

/* Remembers how a call with a provider of kms_provider() ended. */
void kms_note(struct kms *kms, int r, const struct error *err);

/* Fills in what belongs to the instance and not to the configuration that somebody gives: the CA
 * certificates of a vault, and a login that all who use the configuration share. */
int kms_complete(struct kms *kms, struct key_provider_config *config, struct error *err);

/* The CA certificates that are trusted for Vault, PEM; empty: the system's. Setting them logs in
 * anew. */
int kms_ca_cert(struct kms *kms, struct buf *ret, struct error *err);
int kms_set_ca_cert(struct kms *kms, struct bytes pem, struct error *err);

int kms_provider(struct kms *kms, struct key_provider **ret, struct error *err);

/* The same for one call: with the connection of the last that was given back, if that was lately.
 * r: how the call ended; after a failure the next one begins anew, at the first address. */
int kms_borrow(struct kms *kms, struct key_provider **ret, unsigned *ret_generation,
               struct error *err);
void kms_give_back(struct kms *kms, struct key_provider *provider, unsigned generation, int r);

/* The same server with what a filesystem has of its own: the key that wraps, and perhaps the login.
 * secret_id: of the role, in the place of the one that is known (kms_put_login()), for a trial;
 * NULL for that. -EACCES also: none is known. */
int kms_provider_for(struct kms *kms, const struct fs_kms_key *key, const struct secret *secret_id,
                     struct key_provider **ret, struct error *err);

/* The same change to another configuration. */
int kms_adapt(struct kms *kms, const struct fs_kms_key *key, const struct secret *secret_id,
              struct key_provider_config *config, struct error *err);

/* Whether the blob was wrapped by that key of the configured server. */
bool kms_key_names(struct kms *kms, const struct fs_kms_key *key,
                   const struct wrapped_key *wrapped);

/* Stores what logs in as the role of that namespace, in the place of what did; and forgets what is
 * not wanted. The latter asks while no login is stored. */
int kms_put_login(struct kms *kms, const struct fs_kms_key *key, const struct secret *secret_id,
                  struct error *err);
int kms_keep_logins(struct kms *kms, kms_login_wanted_fn *is_wanted, void *arg, struct error *err);

/* Of its own login; nothing is known and due if it has none, or has not used it yet. */
void kms_own_login_status(struct kms *kms, const struct fs_kms_key *key,
                          struct key_login_status *ret);

/* The provider that wraps the key of one filesystem without a key server. */
int kms_local_provider(struct kms *kms, const char *uuid_text, bool make, struct key_provider **ret,
                       struct error *err);
bool kms_has_local_key(struct kms *kms, const char *uuid_text);
int kms_shred_local_key(struct kms *kms, const char *uuid_text, struct error *err);
int kms_remove_local_key(struct kms *kms, const char *uuid_text, struct error *err);

/* Unwraps, in one batch for each kind, with the configured server and the local keys; failing that
 * with the server that a change under way leads to. server is a provider to use in place of both,
 * or NULL. owner: the filesystem whose keys they are, for those that its own login has to ask for;
 * NULL: the instance's asks for all. */
int kms_unwrap(struct kms *kms, struct key_provider *server, const struct fs_record *owner,
               const struct wrapped_key *wrapped, size_t count, struct secret *ret_plain,
               struct error *err);

/* The same of keys that may well be refused: that is not taken for the server's state. */
int kms_try_unwrap(struct kms *kms, struct key_provider *server, const struct fs_record *owner,
                   const struct wrapped_key *wrapped, size_t count, struct secret *ret_plain,
                   struct error *err);

/* A change of the key server, when filesystems must be wrapped anew for it: the new one is staged,
 * durably, so that whatever happens each is unwrapped by one of the two; then kms_replace() ends
 * the change, or kms_unstage() gives it up. converts: of those with a key of their own, too. */
int kms_stage(struct kms *kms, const struct key_provider_config *config, bool converts,
              struct error *err);
int kms_unstage(struct kms *kms, struct error *err);

/* The staged one; -ENOENT: no change is under way. */
int kms_staged(struct kms *kms, struct key_provider_config *ret, bool *ret_converts,
               struct error *err);
bool kms_is_staged(struct kms *kms);

/* Stores the configuration and uses it from now on; nothing is staged any more. The caller has
 * verified it. */
int kms_replace(struct kms *kms, const struct key_provider_config *config,
                const struct key_description *seen, struct error *err);

/* Forgets the configuration. The caller has seen to it that no key needs it. */
int kms_forget(struct kms *kms, struct error *err);

/* A copy of the configuration in use. */
int kms_config(struct kms *kms, struct key_provider_config *ret, struct error *err);
