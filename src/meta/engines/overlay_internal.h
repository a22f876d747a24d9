/* overlay_internal.h - what overlay.c (transactions) and overlay_flush.c (groups) share.
 *
 * The layers, from above: active (transactions write into it), frozen (the group that is being
 * written), the store. A reader pins all three at once, under state.
 *
 *   dirty ──close_group──► frozen ──before_durable──► applied ──► durable: frozen is dropped
 *                             ▲                          │
 *                             └────── a second later ◄───┘ failed: not_durable; changes refused
 *
 * Locks, in this order: writer (from begin to the end of a write transaction), state (short; the
 * store's reader_begin is called under it, so that a reader's layers are of one moment).
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/thread.h"
#include "meta/arena.h"
#include "meta/engines/overlay.h"
#include "meta/ordered_map.h"

/* A flush begins early when a layer reaches the first, and writers wait for it at the second:
 * with one layer frozen, twice that is all that transactions can fill. */
#define OVERLAY_FLUSH_BYTES ((size_t)16 * 1024 * 1024)
#define OVERLAY_MAX_BYTES ((size_t)32 * 1024 * 1024)
#define OVERLAY_AGE_MS 1000
#define OVERLAY_RETRY_MS 1000

/* Kept free in the store for closing a group, and on top of that for transactions that make room:
 * what META_FREE leaves for META_RECLAIM, and what others leave for both. */
#define OVERLAY_KEEP_CLOSE ((uint64_t)1024 * 1024)
#define OVERLAY_KEEP_RECLAIM ((uint64_t)1536 * 1024)
#define OVERLAY_KEEP_FREE ((uint64_t)4 * 1024 * 1024)

struct overlay_layer {
    atomic_uint refs;
    atomic_uint_fast64_t epoch; /* of all changes in it; 0: not known yet */
    struct ordered_map *map;
    struct overlay_need need; /* under the writer lock; fixed when frozen */
};

/* What an optimistic transaction may have got before its first change. */
#define OVERLAY_READS_MAX 4u

struct overlay_read {
    struct bytes key; /* in the transaction's arena */
    struct ordered_map_mark mark;
};

struct overlay_txn {
    struct meta_txn base;
    bool is_writer; /* it holds the writer lock */
    struct overlay_layer *active;
    struct overlay_layer *frozen; /* NULL: none */
    uint64_t seq;                 /* what it sees, and what it writes */
    struct overlay_reader *reader;
    bool reader_begun;
    struct arena arena;
    struct overlay_need need_before; /* of active, when it became the writer */
    unsigned reads_count;            /* of reads, or more: then it cannot become the writer */
    struct overlay_read reads[OVERLAY_READS_MAX];
    int failed;               /* of a put: it cannot be committed any more */
    struct overlay_txn *next; /* in the pool */
};

struct overlay_engine {
    struct meta_engine base;
    struct meta_engine_ops ops;
    struct overlay_store *store;
    struct meta_hooks hooks;
    bool read_only;
    pthread_t committer;
    uint8_t *seal_room; /* the committer's */

    struct mutex writer;
    struct mutex state;  /* guards all below */
    pthread_cond_t work; /* the committer waits here */
    /* Who waits for a group, by the last bit of its number: nobody waits for more than the one that
     * is being written and the one that collects. */
    pthread_cond_t flushed[2];
    pthread_cond_t changed;      /* everybody else */
    struct meta_waiter *waiters; /* for a group that is not durable yet, without a thread */

    struct overlay_layer *active;
    struct overlay_layer *frozen;
    struct overlay_need frozen_need;
    uint64_t seq;        /* of the last committed transaction */
    size_t active_bytes; /* memory */
    bool is_dirty;       /* active holds something */
    int64_t dirty_ms;    /* since when */
    bool is_freezing;    /* the committer wants the writer lock: others let it pass */
    bool is_draining;    /* it wants no reader for a moment */
    bool is_stopping;

    uint64_t group;       /* the number of the one that active collects */
    uint64_t durable;     /* the last one that is */
    uint64_t wanted;      /* somebody waits for this one */
    uint64_t failures;    /* of flushes, ever */
    int64_t retry_ms;     /* not before, unless wanted */
    struct error refused; /* code 0: changes are accepted */

    uint64_t scrubs_wanted;
    uint64_t scrubs_done;
    struct error scrub_failed; /* the last one; code 0: it did not */

    unsigned pinned; /* transactions with a reader */
    struct overlay_txn *pool;
    unsigned pool_count;
};

void overlay_layer_unref(struct overlay_layer *layer);
int overlay_layer_new(struct overlay_layer **ret);

/* overlay_room.c. What must be free in the store for a group with the changes of active, and extra
 * bytes, in it. */
int overlay_reserve(struct overlay_engine *engine, enum meta_access access, uint64_t extra,
                    struct error *err) REQUIRES(engine->writer);
int overlay_expect(struct meta_txn *base, uint64_t records, uint64_t len, struct error *err);

/* A write transaction under the writer lock, which stays the caller's business. */
int overlay_txn_begin_locked(struct overlay_engine *engine, enum meta_access access,
                             struct overlay_txn **ret, struct error *err) REQUIRES(engine->writer);
void overlay_txn_publish(struct overlay_txn *txn);
void overlay_txn_end(struct overlay_txn *txn);
void overlay_pool_clear(struct overlay_engine *engine) REQUIRES(engine->state);

int overlay_committer_start(struct overlay_engine *engine, struct error *err);
int overlay_committer_stop(struct overlay_engine *engine, struct error *err);

/* Waits until group is durable or a flush failed. */
int overlay_wait_durable(struct overlay_engine *engine, uint64_t group, struct error *err)
    REQUIRES(engine->state);
uint64_t overlay_last_group(struct meta_engine *base);
int overlay_sync(struct meta_engine *base, uint64_t group, struct error *err);
void overlay_sync_later(struct meta_engine *base, uint64_t group, struct meta_waiter *waiter);

/* Brings the next group to the store, after opening that again if it is wanted. The committer. */
void overlay_flush(struct overlay_engine *engine, bool reopen);

/* Keeps new readers out for a while and waits until there is none; false: there still is. The
 * committer calls end in any case. */
bool overlay_drain_begin(struct overlay_engine *engine, int seconds) REQUIRES(engine->state);
void overlay_drain_end(struct overlay_engine *engine) REQUIRES(engine->state);

/* overlay_scrub.c: the committer's part, and everybody's. */
void overlay_scrub_run(struct overlay_engine *engine);
int overlay_scrub(struct meta_engine *base, struct error *err);
