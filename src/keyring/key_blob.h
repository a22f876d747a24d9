/* key_blob.h - what a key server wraps: a filesystem key together with whose it is and a digest
 * over all of it; byte for byte in docs/formats/keys.md.
 *
 * It carries its own check because a key server cannot be relied on for one: AES-CBC over KMIP
 * authenticates nothing, nor does anybody promise that a server returns the right plaintext. The
 * digest covers 256 secret bits, so that whoever can only alter the ciphertext cannot make it fit.
 *
 * Errors     -EBADMSG: not a key of this filesystem and generation, or altered; which of them is
 *            not said, and the time that it takes does not tell.
 * Ownership  secrets that are returned are the caller's to release.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/uuid.h"
#include "crypto/secret.h"
#include "keyring/superblock.h"

#define KEY_BLOB_DIGEST_LEN 16u
#define KEY_BLOB_LEN (8u + UUID_LEN + 4u + FS_KEY_LEN + KEY_BLOB_DIGEST_LEN)

/* uuid is that of the filesystem that the key was made for: a foreign key's is its origin's. */
int key_blob_encode(const struct uuid *uuid, uint32_t generation, const struct secret *key,
                    struct secret *ret, struct error *err);
int key_blob_decode(const struct secret *blob, const struct uuid *uuid, uint32_t generation,
                    struct secret *ret_key, struct error *err);
