/* sealed_names.h - the name key and the chunk key, sealed together under a filesystem key, as the
 * superblock and each generation of the key ring hold them (docs/formats/keys.md).
 *
 * Both are the same for a filesystem's whole life and the associated data is constant, so that a
 * nonce drawn twice under one key would only produce the same bytes twice.
 *
 * Errors     -EBADMSG: altered, or sealed under another key or for another filesystem.
 */
#pragma once

#include "crypto/aead.h"
#include "crypto/secret.h"
#include "keyring/superblock.h"

#define NAME_KEY_LEN 32u
#define CHUNK_KEY_LEN 32u
#define SEALED_NAMES_LEN (AEAD_NONCE_LEN + NAME_KEY_LEN + CHUNK_KEY_LEN + AEAD_TAG_LEN)

/* label: KEY_LABEL_SUPERBLOCK or KEY_LABEL_RING_NAMES. */
struct names_context {
    const char *label;
    const struct uuid *uuid; /* the filesystem whose key seals: a foreign generation's origin */
    uint32_t generation;
};

int sealed_names_seal(const struct names_context *context, const struct secret *fs_key,
                      const struct secret *name_key, const struct secret *chunk_key,
                      uint8_t ret[static SEALED_NAMES_LEN]);
int sealed_names_open(const struct names_context *context, const struct secret *fs_key,
                      const uint8_t sealed[static SEALED_NAMES_LEN], struct secret *ret_name_key,
                      struct secret *ret_chunk_key);
