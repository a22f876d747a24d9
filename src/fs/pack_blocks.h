/* pack_blocks.h - blocks that lie in packs, in the order in which they lie there, so that much of a
 * pack is read at a time: for fetching and for verification.
 *
 *     pack_blocks_add() of each ──► sort ──► pack_span_next(): what is read in one request
 *                                                ──► pack_blocks_check() of what is in it
 *
 * Units      sealed bytes.
 * Errors     -ENOMEM; of blocks that were altered: -EBADMSG.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "crypto/aead.h"
#include "fs/extents.h"
#include "fs/records.h"

#define PACK_BLOCKS_MAX (CHUNK_SIZE + 65536u)       /* of one item, unless a block is longer */
#define PACK_SPAN_MAX ((uint32_t)16 * 1024 * 1024)  /* of one request: a whole pack, as a rule */
#define PACK_SPAN_SMALL ((uint32_t)4 * 1024 * 1024) /* where that would take long */
#define PACK_GAP_MAX ((uint32_t)128 * 1024)         /* is cheaper to read than to ask twice */

/* Blocks of one run that lie together. */
struct pack_blocks {
    struct uuid pack;
    uint32_t offset; /* there */
    struct block_run run;
    struct block_identity identity; /* of the first one */
    uint64_t ino; /* the file they are of, and where in it; for who asks for that */
    uint64_t file_offset;
};

struct pack_blocks_list {
    struct pack_blocks *items;
    size_t count;
    size_t room;
};

#define PACK_BLOCKS_LIST_INIT ((struct pack_blocks_list){ .items = NULL })

/* As one item or several. */
int pack_blocks_add(struct pack_blocks_list *list, const struct pack_blocks *blocks);
/* And what is there twice is there once then. */
void pack_blocks_sort(struct pack_blocks_list *list);
void pack_blocks_clear(struct pack_blocks_list *list); /* keeps the memory */
void pack_blocks_release(struct pack_blocks_list *list);

struct pack_span {
    size_t first, count; /* of the items of a sorted list, all in one pack */
    uint32_t offset, len;
};

/* What is read in one request of at most max bytes (unless one item is longer), from the item at
 * *at on, which moves behind it. False: that is the end. */
bool pack_span_next(const struct pack_blocks_list *list, uint32_t max, size_t *at,
                    struct pack_span *ret);

/* Whether the blocks are what they are said to be. sealed: what there is of them. -EBADMSG:
 * *ret_bad is the first that is not. */
int pack_blocks_check(const struct pack_blocks *blocks, struct aead *aead, struct bytes sealed,
                      uint32_t *ret_bad);
