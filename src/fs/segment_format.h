/* segment_format.h - the bytes of a segment's object: header, blocks, footer and tail; byte for
 * byte in docs/formats/segment.md.
 *
 * Header and tail are in clear and hold nothing that is not known otherwise: a reader compares
 * them with what it expects. Blocks and footer are sealed under the segment's own key.
 *
 * Units      bytes; offsets from the start of the object.
 * Errors     -EBADMSG: not such bytes, or altered; -EPROTONOSUPPORT: of a later version;
 *            -ENOKEY: a generation that is not in the set.
 * Ownership  the footer's entries are the caller's to free.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "crypto/aead.h"
#include "fs/records.h"
#include "keyring/superblock.h"

#define SEGMENT_HEADER_LEN 64u
#define SEGMENT_TAIL_LEN 32u
#define SEGMENT_ENTRY_LEN 68u
#define SEGMENT_ENTRIES_MAX 131072u
#define SEGMENT_FOOTER_MAX (SEGMENT_ENTRIES_MAX * SEGMENT_ENTRY_LEN + BLOCK_OVERHEAD)
#define SEGMENT_PREFIX "segments/"
#define SEGMENT_NAME_SIZE (sizeof(SEGMENT_PREFIX) + UUID_TEXT_SIZE)
#define BLOCK_AAD_LEN 44u

void segment_object_name(const struct uuid *segment, char ret[static SEGMENT_NAME_SIZE]);
int segment_of_object_name(const char *name, struct uuid *ret);

/* address is not looked at. */
void segment_header_encode(const struct block_identity *segment,
                           uint8_t ret[static SEGMENT_HEADER_LEN]);

void block_aad(const struct block_identity *block, uint8_t ret[static BLOCK_AAD_LEN]);

/* The cipher of all blocks of a segment. */
int segment_aead_new(const struct key_set *keys, uint32_t generation, const struct uuid *segment,
                     struct aead **ret);

/* The same for a block that may have come from another filesystem, whose key is a foreign one then;
 * own is the filesystem of the other keys. -ENOKEY. */
int block_aead_new(const struct key_set *keys, const struct uuid *own,
                   const struct block_identity *identity, struct aead **ret);

/* One block: plain.len + BLOCK_OVERHEAD bytes. */
int block_seal(struct aead *aead, const struct block_identity *block, struct nonce_batch *nonces,
               struct bytes plain, uint8_t *ret);
int block_open(struct aead *aead, const struct block_identity *block, struct bytes sealed,
               uint8_t *ret);
/* Whether it can be opened, which costs less than to do it. */
int block_check(struct aead *aead, const struct block_identity *block, struct bytes sealed);

/* What lies in an object: count blocks, one after the other. identity is that of the first; it is
 * another segment's if they were moved here. */
struct segment_entry {
    uint32_t offset;
    uint32_t count;
    uint32_t block_len;
    uint64_t ino; /* the file it was written for, and where in it */
    uint64_t file_offset;
    struct block_identity identity;
};

static inline uint64_t segment_entry_sealed(const struct segment_entry *entry)
{
    return (uint64_t)entry->count * (entry->block_len + BLOCK_OVERHEAD);
}

/* Footer and tail, to be written at offset. */
int segment_footer_encode(struct aead *aead, const struct block_identity *segment, uint32_t offset,
                          const struct segment_entry *entries, uint32_t count, struct buf *ret);

struct segment_tail {
    uint32_t footer_offset;
    uint32_t footer_len; /* sealed */
    uint32_t count;
};

int segment_tail_decode(struct bytes tail, struct segment_tail *ret);

/* sealed is what the tail names; tail its SEGMENT_TAIL_LEN bytes. */
int segment_footer_decode(struct aead *aead, const struct block_identity *segment,
                          struct bytes sealed, struct bytes tail, struct segment_entry **ret,
                          uint32_t *ret_count);
