/* placed.h - where ranges of file data lie in a bucket: the LOCATION records of an uploaded
 * snapshot, in memory, sorted by the segment and address by which files name them.
 *
 * Units      sealed bytes.
 * Errors     -ENOMEM; -EBADMSG: not such a record.
 */
#pragma once

#include "fs/export.h"
#include "transfer/dump.h"

struct placed {
    struct uuid segment;
    uint32_t first;
    uint32_t len;
    uint8_t pack[PACK_ID_LEN];
    uint32_t offset;                /* in the pack */
    struct block_identity identity; /* of the first block */
};

struct placed_list {
    struct placed *items;
    size_t count;
    size_t room;
};

#define PLACED_LIST_INIT ((struct placed_list){ .items = NULL })

void placed_list_release(struct placed_list *list);
/* Behind the last one, and as one with it if it continues it. */
int placed_list_add(struct placed_list *list, const struct placed *placed);

/* The first one that does not end in front of an address; list->count: there is none. */
size_t placed_find(const struct placed_list *list, const struct uuid *segment, uint32_t address);

/* How many blocks from the front of run on lie in one of them together; where the first one is. */
uint32_t placed_blocks(const struct placed_list *list, const struct block_run *run,
                       struct placed *ret);

/* As a record, and back. */
struct location_bytes {
    struct record_key key;
    uint8_t value[LOCATION_VALUE_LEN];
    size_t len;
};

int placed_encode(const struct placed *placed, struct location_bytes *ret);
int placed_decode(const struct dump_record *record, struct placed *ret);

/* All of a snapshot that is in the bucket. */
int placed_load(const struct dump_source *source, struct placed_list *ret, struct error *err);
