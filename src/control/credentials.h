/* credentials.h - the one file that holds what logs in to the key server, STATE/credentials, mode
 * 0600, replaced as a whole (docs/formats/registry.md): with the configuration, and with the logins
 * that some filesystems have of their own. While a change of the key server is under
 * way, STATE/credentials.staged holds the new one in the same form. Also the files of local keys,
 * one for each filesystem that was made without a key server: STATE/local-keys/UUID, mode 0600.
 *
 * What passes through ordinary memory on the way is wiped.
 *
 * Errors     negative errno and a sentence that names the file, never its content. -ENOENT: no
 *            key server is configured; no such local key. -EBADMSG: not such a file.
 * Ownership  what is returned into is the caller's to release.
 * Threads    any, but one at a time for one state folder when storing.
 */
#pragma once

#include "base/error.h"
#include "base/uuid.h"
#include "control/kms_logins.h"
#include "crypto/secret.h"
#include "keys/key_provider.h"

#define LOCAL_KEY_LEN 32u

enum credentials_file {
    CREDENTIALS_IN_USE,
    CREDENTIALS_STAGED, /* of the key server that the keys are being moved to */
};

struct credentials {
    struct key_provider_config config;
    bool converts; /* staged: filesystems with a key of their own are moved to the configured one */
    struct kms_logins logins;
};

#define CREDENTIALS_INIT ((struct credentials){ .config = KEY_PROVIDER_CONFIG_INIT })

void credentials_release(struct credentials *credentials);

int credentials_load(const char *state_dir, enum credentials_file file, struct credentials *ret,
                     struct error *err);
/* logins may be NULL: there are none. */
int credentials_store(const char *state_dir, enum credentials_file file,
                      const struct key_provider_config *config, bool converts,
                      const struct kms_logins *logins, struct error *err);

/* What is staged takes the place of what is in use, in one step. */
int credentials_promote(const char *state_dir, struct error *err);

/* It need not be there. */
int credentials_remove(const char *state_dir, enum credentials_file file, struct error *err);

int local_key_load(const char *state_dir, const char *uuid_text, struct secret *ret,
                   struct error *err);
/* Draws a new one and makes it durable; keeps one that is there. */
int local_key_make(const char *state_dir, const char *uuid_text, struct secret *ret,
                   struct error *err);
bool local_key_exists(const char *state_dir, const char *uuid_text);
int local_key_remove(const char *state_dir, const char *uuid_text, struct error *err);
int local_key_shred(const char *state_dir, const char *uuid_text, struct error *err);
