/* wrapped_key.h - one filesystem key as a key server wrapped it, and all that is needed to have
 * it unwrapped again. A key ring stores it (docs/formats/key-ring.md); a key provider makes and
 * reads it.
 *
 * The addresses say where it was wrapped, for people. They are never contacted: a ring is read
 * before it can be verified, and credentials go only to configured servers.
 *
 * Units      lengths are bytes; texts end with NUL and hold no control characters.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/wire.h"

#define WRAPPED_ADDRESSES_SIZE 512u
#define WRAPPED_NAME_SIZE 256u
#define WRAPPED_BLOB_MAX 1024u
#define WRAPPED_IV_MAX 16u
#define WRAPPED_TAG_MAX 16u

enum wrap_mode {
    WRAP_MODE_SERVER = 0,    /* the server chooses and the blob says: Vault transit */
    WRAP_MODE_CBC_PKCS5 = 1, /* AES-CBC, PKCS5 padding, explicit IV: KMIP */
    WRAP_MODE_GCM = 2,       /* AES-GCM with IV and tag: KMIP 1.4 and later, local */
};

/* "cbc", "gcm"; "" if the server chooses. */
const char *wrap_mode_name(enum wrap_mode mode);

struct wrapped_key {
    char provider[16];                      /* "vault", "kmip", "local" */
    char addresses[WRAPPED_ADDRESSES_SIZE]; /* comma-separated; for people only */
    char kms_namespace[WRAPPED_NAME_SIZE];  /* Vault; "" if none */
    char mount_path[WRAPPED_NAME_SIZE];     /* Vault: of the transit engine; "" otherwise */
    char key_name[WRAPPED_NAME_SIZE];       /* Vault key name, KMIP UID */
    uint32_t key_version;                   /* 0: the server has none or did not say */
    enum wrap_mode mode;
    uint8_t iv[WRAPPED_IV_MAX];
    uint8_t iv_len;
    uint8_t tag[WRAPPED_TAG_MAX];
    uint8_t tag_len;
    uint16_t blob_len;
    uint8_t blob[WRAPPED_BLOB_MAX];
};

/* As docs/formats/key-ring.md has it. A text too long, a control character, an unknown mode or a
 * length beyond its maximum fails the reader. */
#define WRAPPED_KEY_ENCODED_MAX 2400u
void wrapped_key_write(struct writer *writer, const struct wrapped_key *wrapped);
void wrapped_key_read(struct reader *reader, struct wrapped_key *ret);
