/* key_export.h - the keys of one filesystem as a recovery copy holds them, before it is sealed to a
 * certificate and after it was opened; byte for byte in docs/formats/key-export.md.
 *
 * Nothing in it is believed for being in it: each key is checked against the ring's check value by
 * whoever uses it.
 *
 * Errors     -EBADMSG: not such a copy; -EPROTONOSUPPORT: of a later version.
 * Ownership  outputs are the caller's to release.
 */
#pragma once

#include "crypto/secret.h"
#include "keyring/key_blob.h"
#include "keyring/key_ring.h"

#define KEY_EXPORT_MAX (26u + KEY_GENERATIONS_MAX * (UUID_LEN + 4u + KEY_BLOB_LEN))

struct exported_key {
    struct uuid origin;
    uint32_t generation;
    struct secret blob; /* what a key server unwraps: key_blob.h */
};

struct key_export {
    struct uuid uuid;
    uint32_t count;
    struct exported_key keys[KEY_GENERATIONS_MAX];
};

void key_export_release(struct key_export *copy);

/* blobs: one for each generation of the ring; an empty one of a foreign generation is left out. */
int key_export_encode(const struct key_ring *ring, const struct secret *blobs, struct secret *ret,
                      struct error *err);
int key_export_decode(struct bytes encoded, struct key_export *ret, struct error *err);

/* NULL: it has no key of that generation. */
const struct secret *key_export_find(const struct key_export *copy, const struct uuid *origin,
                                     uint32_t generation);
