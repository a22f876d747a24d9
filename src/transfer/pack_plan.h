/* pack_plan.h - which packs an upload needs, and what is in those that are not in the bucket yet.
 * The name of a pack follows from what is in it, and what is in it from the snapshot and what was
 * there before: so an upload that goes on plans the same packs.
 *
 * Units      sealed bytes.
 * Errors     of the source, with a sentence.
 * Threads    one at a time; pack_read() any number.
 */
#pragma once

#include "transfer/placed.h"
#include "transfer/upload_source.h"

#define PACK_LEN (16u * 1024u * 1024u)

struct pack_range {
    struct block_run run;
    struct block_identity identity;
};

struct planned_pack {
    uint8_t id[PACK_ID_LEN];
    uint32_t len;
    size_t first; /* of its ranges */
    size_t count;
};

struct pack_plan {
    struct pack_range *ranges;
    size_t range_count, range_room;
    struct planned_pack *packs; /* to be uploaded */
    size_t pack_count, pack_room;
    struct placed_list placed; /* all ranges, also those in older packs */
    uint64_t new_len, old_len; /* in new packs, and in older ones */
};

#define PACK_PLAN_INIT ((struct pack_plan){ .ranges = NULL })

/* base: what is in the bucket already. pack_len 0: PACK_LEN. */
int pack_plan_make(struct pack_plan *plan, const struct transfer_keys *keys,
                   struct upload_source *source, const struct placed_list *base, uint32_t pack_len,
                   struct error *err);
void pack_plan_release(struct pack_plan *plan);

/* The bytes of a planned pack, its len. */
int pack_read(const struct pack_plan *plan, const struct planned_pack *pack,
              struct upload_source *source, uint8_t *to, struct error *err);
