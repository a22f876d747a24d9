/* head.h - the last object of an upload: with it the snapshot exists. In clear: what it is, and
 * the wrapped keys with which it opens; byte for byte in docs/formats/snap-to-object.md.
 *
 * A head is read before it can be verified, as a key ring is: head_decode() tells what must be
 * unwrapped, and what to show of a bucket without any key. Then head_verify() believes it if
 *
 *     the superblock in it opens, and the ring in it verifies with it (key_ring_verify());
 *     its own MAC, under the generation of that superblock, is right.
 *
 * That makes it a head of that key, not yet the one that is looked for: whoever may encrypt with a
 * shared master key can make a whole snapshot of his own. The locator tells: it holds the hash of
 * the manifest, and only the right key opens that.
 *
 * The ring stands behind the MAC, so that it can be exchanged for one that was wrapped anew: it
 * has MACs of its own.
 *
 * Errors     -EBADMSG: not a head, altered, or forged; -EPROTONOSUPPORT: of a later version;
 *            -ENOKEY: the key of its generation is not at hand.
 * Ownership  superblock and ring of a struct snapshot_head point into the bytes given.
 */
#pragma once

#include "keyring/key_ring.h"
#include "transfer/manifest.h"
#include "transfer/transfer_keys.h"

#define HEAD_MAX (KEY_RING_MAX + SUPERBLOCK_MAX + 4096u)

struct snapshot_head {
    uint8_t manifest[HASH_LEN];
    uint64_t manifest_len;
    struct uuid upload;
    struct snapshot_about about; /* without the epoch; names are empty unless has_names */
    uint64_t data_len;           /* ciphertext of file data */
    bool has_names;
    struct bytes superblock;
    struct bytes ring;
};

/* keys: of the superblock's generation. */
int head_encode(const struct snapshot_head *head, const struct transfer_keys *keys, struct buf *ret,
                struct error *err);

/* What stands in it, unverified. */
int head_decode(struct bytes encoded, struct snapshot_head *ret, struct error *err);

/* keys: those of the ring's own generations that could be unwrapped. ret_superblock: with its keys,
 * the caller's to release. */
int head_verify(struct bytes encoded, const struct key_set *keys, struct key_checks known,
                struct superblock *ret_superblock, struct transfer_keys **ret_keys,
                struct error *err);

/* The same with another ring in it, which the caller has verified. */
int head_exchange_ring(struct bytes encoded, struct bytes ring, struct buf *ret, struct error *err);

/* Gets the one that a locator names; -ENOENT says that there is no such snapshot here. */
int head_get(const struct bucket *bucket, const uint8_t manifest[static HASH_LEN], struct buf *ret,
             struct error *err);
