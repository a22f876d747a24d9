/* snapshot_import_batch.h - some keys of a snapshot that arrives, and what they need: found in one
 * look, brought outside of any transaction, put in a second one.
 *
 * Ownership  values lie in the chunk, which the batch holds until import_batch_release().
 */
#pragma once

#include "fs/snapshot_import.h"
#include "fs/volume_internal.h"

struct import_change {
    struct record_key key;
    bool is_there;
    struct bytes value;
};

/* Blocks of one chunk of a file. */
struct import_missing {
    struct block_run run;
    struct segment_origin origin;
};

/* Those that lie together. */
struct import_part {
    struct block_run run;
    struct segment_origin origin;
    bool is_held; /* here; else it is brought */
    struct segment_outside from;
    struct segment_copy copy;
    bool is_copied;
    int result;
    struct error err;
};

#define IMPORT_CHANGES 256u

struct import_batch {
    struct volume *volume;
    const struct snapshot_import *import;
    uint64_t epoch;
    struct record_key at;   /* the first key */
    struct record_key next; /* where the one behind begins; empty: nowhere */

    struct underlay_chunk *chunk;  /* NULL: the dump has no records */
    struct bytes body, key, value; /* what is left of it, and its next record */
    bool has_record;

    struct import_change *changes;
    size_t count;
    struct import_missing *missing; /* blocks that nothing names */
    size_t missing_count, missing_room;
    uint64_t missing_bytes;
    struct import_part *parts;
    size_t part_count, part_room;
    struct segment_copy *copies;
    size_t copied;
    struct error *err;
};

/* -EIDRM: that which arrives is not, or not any more, the one of that epoch, as somebody
 * dropped it. In a transaction. */
int import_check_own(struct volume *volume, uint64_t epoch, struct error *err);

/* What differs from batch->at on. */
int import_batch_find(struct import_batch *batch);
/* Copies what is not here, and opens what is. */
int import_batch_bring(struct import_batch *batch);
/* -ESTALE: what is here has changed meanwhile; find it again. */
int import_batch_put(struct import_batch *batch);
void import_batch_release(struct import_batch *batch);
