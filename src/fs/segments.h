/* segments.h - the sealed blocks of one filesystem in its object store: append, read, sync, and
 * the account of what is in use where.
 *
 * Blocks are appended to the current segment and never changed. Its id was announced in the
 * metadata before. Where a block lies now is asked of the table in memory: in the object of its
 * own segment, unless a LOCATION record says otherwise (docs/formats/segment.md). What was
 * appended stays in memory, sealed, until it is durable; if a sync fails, it goes into another
 * object.
 *
 *     append ──► write transaction: segments_account() ──► commit ──► segments_release()
 *
 * Every append is released once, whether its transaction was committed or not.
 *
 * Units      bytes; of plaintext in runs' block_len and in reads, sealed in the account.
 * Errors     as object_store.h, and -EBADMSG: a block was altered; -EROFS.
 * Ownership  the store stays the caller's.
 * Threads    any, except new, load and free. segments_account() and segments_close_group() are
 *            called by who holds the engine's write transaction.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "fs/extents.h"
#include "fs/records.h"
#include "keyring/superblock.h"
#include "meta/meta_engine.h"
#include "store/object_store.h"

#define SEGMENT_SIZE ((uint32_t)64 * 1024 * 1024) /* without footer */

struct segments;

struct segments_config {
    struct object_store *store;
    struct uuid fs;
    const struct key_set *keys; /* not kept */
};

int segments_new(const struct segments_config *config, struct segments **ret, struct error *err);
void segments_free(struct segments *segments); /* NULL is allowed; loses what is not durable */

/* Reads USAGE and LOCATION. Once, before anything else. */
int segments_load(struct segments *segments, struct meta_txn *txn, struct error *err);

/* Where data of a file belongs: for the footer. */
struct segment_origin {
    uint64_t ino;
    uint64_t offset;
};

#define APPEND_RUNS_MAX 2u

/* Seals data, at most CHUNK_SIZE, as blocks of block_len and a shorter last one, and writes them.
 * They can be read at once. Waits while too much is not durable yet. */
int segments_append(struct segments *segments, const struct segment_origin *origin,
                    struct bytes data, uint32_t block_len, struct block_run ret[APPEND_RUNS_MAX],
                    size_t *ret_count, struct error *err);
void segments_release(struct segments *segments, const struct block_run *runs, size_t count);

/* Reads len bytes from skip bytes behind the start of the run's first block. -EBADMSG, -EIO: err
 * names the segment. */
int segments_read(struct segments *segments, const struct block_run *run, uint64_t skip, size_t len,
                  uint8_t *to, struct error *err);

/* The runs are now in use, or no more. settled: the transaction's commit has returned; between
 * the two nothing is given up for dead. */
void segments_account(struct segments *segments, const struct run_list *made_live,
                      const struct run_list *freed);
void segments_settled(struct segments *segments);

/* The hooks of the metadata engine, see there. */
int segments_close_group(struct segments *segments, struct meta_txn *txn, bool *ret_announced,
                         struct error *err);
int segments_sync(struct segments *segments, struct error *err);
int segments_group_record(struct segments *segments, unsigned index, struct bytes *ret_key,
                          struct bytes *ret_plain);
void segments_group_end(struct segments *segments, bool is_durable);

/* The superblock knows of the announced ids whose group is durable: they may be used. */
void segments_confirm(struct segments *segments);

/* Deletes objects whose death is durable. True if something must be written: their records go
 * with the next group. */
bool segments_delete_dead(struct segments *segments);

/* Ends the current segment, which the next sync completes. */
void segments_end_current(struct segments *segments);

struct segments_space {
    uint64_t live;   /* sealed bytes in use */
    uint64_t stored; /* bytes of all objects */
    uint64_t not_durable;
    unsigned usable_ids;
    bool wants_ids; /* a group should be closed soon */
};

void segments_space(struct segments *segments, struct segments_space *ret);
