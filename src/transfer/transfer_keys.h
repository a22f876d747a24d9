/* transfer_keys.h - the keys with which one generation of one filesystem seals and names what it
 * uploads; how they derive is in docs/formats/keys.md.
 *
 * Chunks are sealed convergently: the name of a chunk is a keyed hash of its content, its key
 * derives from the name, and the nonce is always zeros. So equal content is equal bytes under an
 * equal name, which is what makes an upload incremental; and since another content has another
 * name, and thus another key, no nonce is ever used with two contents under one key.
 *
 * Errors     -ENOMEM; -EBADMSG: altered, exchanged for another, or sealed under another key.
 * Ownership  secrets that are handed in stay the caller's.
 * Threads    any number may use one at once, except transfer_keys_free().
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/secret.h"
#include "keyring/superblock.h"

#define CHUNK_NAME_LEN HASH_LEN
#define PACK_ID_LEN 16u

struct transfer_keys {
    struct uuid fs;
    uint32_t generation;
    struct secret transfer; /* from which those of chunks and manifests derive */
    struct hmac *names;     /* of chunks */
    struct hmac *packs;     /* names of packs */
    struct hmac *cuts;      /* where chunks end */
    struct hmac *set;       /* over all records of a dump */
    struct hmac *nonces;    /* of manifests */
    struct hmac *heads;     /* over heads */
};

/* fs_key: of the superblock's generation; the chunk key is in it. */
int transfer_keys_new(const struct superblock *superblock, const struct secret *fs_key,
                      struct transfer_keys **ret);
void transfer_keys_free(struct transfer_keys *keys); /* NULL is allowed */

static inline void transfer_keys_freep(struct transfer_keys **keys)
{
    transfer_keys_free(*keys);
}

/* A chunk, whose plain bytes transfer/chunk.h makes. Sealed it is AEAD_TAG_LEN longer. */
int chunk_name(const struct transfer_keys *keys, struct bytes plain,
               uint8_t ret[static CHUNK_NAME_LEN]);
int chunk_seal(const struct transfer_keys *keys, const uint8_t name[static CHUNK_NAME_LEN],
               struct bytes plain, struct buf *ret);
/* Verifies the name, too. */
int chunk_open(const struct transfer_keys *keys, const uint8_t name[static CHUNK_NAME_LEN],
               struct bytes sealed, struct buf *ret);

/* What seals the manifest of one upload, and the nonce for this content. */
int manifest_aead(const struct transfer_keys *keys, const struct uuid *upload, struct aead **ret);
int manifest_nonce(const struct transfer_keys *keys, const struct uuid *upload, struct bytes plain,
                   uint8_t ret[static AEAD_NONCE_LEN]);
