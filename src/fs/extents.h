/* extents.h - what the bytes of one chunk of a file are: a sorted list of extents, each of which
 * shows a part of a run of blocks. What no extent covers is a hole. Pure: no records, no store.
 *
 * A run is count blocks of equal plaintext length, sealed one after the other in one segment.
 * The blocks of a chunk belong to it alone, and every block shows its bytes at one place only
 * (offset in the chunk minus offset in the block never changes), so what is still in use of a
 * block is decided among the extents around it.
 *
 * Units      bytes of plaintext, from the start of the chunk; addresses are bytes in a segment.
 * Errors     -ENOMEM; -EXFULL: the list would be longer than EXTENTS_MAX; -EBADMSG from
 *            extents_append().
 * Ownership  lists own their items.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"

#define CHUNK_SIZE ((uint32_t)1 << 20)
#define EXTENTS_MAX 1024u

/* What sealing adds to a block: its nonce in front and its tag behind. */
#define BLOCK_OVERHEAD 28u

struct block_run {
    struct uuid segment;
    uint32_t address;   /* of the first block, as first written */
    uint32_t block_len; /* plaintext of each */
    uint32_t count;
};

static inline uint64_t block_run_sealed(const struct block_run *run)
{
    return (uint64_t)run->count * (run->block_len + BLOCK_OVERHEAD);
}

struct run_list {
    struct block_run *items;
    size_t count;
    size_t room;
};

#define RUN_LIST_INIT ((struct run_list){ .items = NULL })

/* Joined to the last one where it continues it. */
int run_list_add(struct run_list *list, const struct block_run *run);
void run_list_clear(struct run_list *list); /* keeps the memory */
int run_list_join(struct run_list *to, const struct run_list *more);
uint64_t run_list_sealed(const struct run_list *list);
/* By segment and address. No two have a block in common, or are the same. */
void run_list_sort(struct run_list *list);
/* Sorts them so that each block is in one of them only. None becomes longer. */
void run_list_unite(struct run_list *list);
/* Leaves the blocks that are not in other, which is sorted by it. */
int run_list_subtract(struct run_list *list, struct run_list *other);
void run_list_release(struct run_list *list);

struct extent {
    uint32_t offset; /* in the chunk */
    uint32_t len;    /* shown */
    struct uuid segment;
    uint32_t address; /* of the block that holds the first byte shown */
    uint32_t block_len;
    uint32_t skip; /* bytes of that block in front of the first byte shown; < block_len */
};

/* Whether it lies in a chunk and shows something of blocks that may be. */
bool extent_is_possible(const struct extent *extent);

/* The blocks that an extent shows something of. */
struct block_run extent_run(const struct extent *extent);

struct extents {
    struct extent *items; /* ascending, none overlapping */
    size_t count;
    size_t room;
};

#define EXTENTS_INIT ((struct extents){ .items = NULL })

void extents_release(struct extents *list);

/* Room for so many, so that appending them needs no memory. */
int extents_reserve(struct extents *list, size_t count);

/* For a decoder: behind the last one. -EBADMSG if it overlaps, is empty, leaves the chunk or could
 * not be one for another reason. */
int extents_append(struct extents *list, const struct extent *extent);

/* The first extent that ends behind offset; count if there is none. */
size_t extents_find(const struct extents *list, uint32_t offset);

/* Plaintext bytes shown; of them, those from offset up to, without, end. */
uint64_t extents_bytes(const struct extents *list);
uint64_t extents_bytes_between(const struct extents *list, uint32_t offset, uint32_t end);

/* offset to offset + len now shows what the count extents of with show (sorted, inside that
 * range; 0: a hole), which are of blocks that the list does not know yet. Blocks of which nothing
 * is shown any more are added to freed. Neighbours that continue one another are joined. After
 * -EXFULL or -ENOMEM the list is as it was, and freed too. */
int extents_replace(struct extents *list, uint32_t offset, uint32_t len, const struct extent *with,
                    size_t count, struct run_list *freed);
