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
#include "fs/pack_blocks.h"
#include "fs/records.h"
#include "keyring/superblock.h"
#include "meta/meta_engine.h"
#include "store/object_store.h"

/* The largest size of a segment, without footer. On a small disk they are smaller, so that what
 * compaction moves at a time finds room there. */
#define SEGMENT_SIZE ((uint32_t)64 * 1024 * 1024)

struct segments;

/* The store failed, and coffer helped itself. Must not call back. */
typedef void segments_trouble_fn(const char *text, void *arg);

/* Objects of a bucket, from which a downloaded snapshot has not been fetched entirely. */
struct segment_packs {
    bool (*has)(void *arg, const struct uuid *pack);
    int (*open)(void *arg, const struct uuid *pack, struct object **ret, struct error *err);
    void *arg;
};

struct segments_config {
    struct object_store *store;
    const struct segment_packs *packs; /* NULL: there are none. Stays the caller's */
    struct uuid fs;
    const struct key_set *keys;      /* copied */
    uint32_t segment_size;           /* at most SEGMENT_SIZE; 0: that */
    bool salvages;                   /* passes over records that cannot be understood */
    segments_trouble_fn *on_trouble; /* may be NULL */
    void *trouble_arg;
};

int segments_new(const struct segments_config *config, struct segments **ret, struct error *err);
/* As key_set_join_foreign(). */
int segments_add_keys(struct segments *segments, const struct key_set *keys);
/* Adds the keys of other filesystems that any range names, in use or not given up yet. It looks at
 * all of them with the lock held, as nobody needs it often. -ENOSPC */
int segments_foreign_keys(struct segments *segments, struct foreign_key_ids *ids);
void segments_free(struct segments *segments); /* NULL is allowed; loses what is not durable */

/* Reads USAGE and LOCATION. Once, before anything else. Who salvages then looks for segments that
 * no USAGE record tells of in the store, too. */
int segments_load(struct segments *segments, struct meta_txn *txn, struct error *err);

/* -ENOENT: there are segments in use, and the store holds no object of any of them. */
int segments_look(struct segments *segments, struct error *err);

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
/* Once for each append, with its runs. */
void segments_release(struct segments *segments, const struct block_run *runs, size_t count);

/* Reads len bytes from skip bytes behind the start of the run's first block. -EBADMSG, -EIO: err
 * names the segment. */
int segments_read(struct segments *segments, const struct block_run *run, uint64_t skip, size_t len,
                  uint8_t *to, struct error *err);
/* The same, and never from a copy on the way to the store: for a check. */
int segments_read_origin(struct segments *segments, const struct block_run *run, uint64_t skip,
                         size_t len, uint8_t *to, struct error *err);

/* The runs are now in use, or no more. settled: the transaction's commit has returned; between
 * the two nothing is given up for dead. */
void segments_account(struct segments *segments, const struct run_list *made_live,
                      const struct run_list *freed);
void segments_settled(struct segments *segments);

/* The account made anew, under one write transaction: begin, then segments_account() of all runs
 * that any record names, settled, end. */
bool segments_need_recount(struct segments *segments);
void segments_distrust(struct segments *segments); /* it is to be made anew */
void segments_recount_begin(struct segments *segments);
void segments_recount_end(struct segments *segments);

/* The hooks of the metadata engine, see there. */
int segments_close_group(struct segments *segments, struct meta_txn *txn, struct error *err);
int segments_sync(struct segments *segments, struct error *err);
/* The same unless another thread is at it. Failures are kept for the next segments_sync(). */
int segments_try_sync(struct segments *segments);
/* By who is about to wait for a group: where objects are stored whole, begins with what is there,
 * if it is worth an object, while the group before is still being written. Failures are kept
 * likewise. */
void segments_push(struct segments *segments);
int segments_group_record(struct segments *segments, unsigned index, struct bytes *ret_key,
                          struct bytes *ret_plain);
void segments_group_end(struct segments *segments, bool is_durable);

/* Ids whose group is durable. When the superblock knows of the group, so many may be used; if it
 * could not be written, who waits for an id gets that error. */
unsigned segments_announced(struct segments *segments);
void segments_confirm(struct segments *segments, unsigned count);
void segments_ids_failed(struct segments *segments, const struct error *why);

/* Deletes objects whose death is durable. True if something must be written: their records go
 * with the next group. */
bool segments_delete_dead(struct segments *segments);

/* A check of what lies where: begin while nothing changes, then each run of that moment once, then
 * the objects; then end, also if it did not begin. Meanwhile blocks may be moved, and objects
 * deleted, but what tells where blocks lay stays. report gets a sentence for each fault.
 * segments_check_run(): -ENOENT if the segment is not known. */
typedef void segments_report_fn(const char *text, void *arg);
void segments_check_begin(struct segments *segments);
int segments_check_run(struct segments *segments, const struct block_run *run);
int segments_check_objects(struct segments *segments, segments_report_fn *report, void *arg,
                           struct error *err);
void segments_check_end(struct segments *segments);

/* Compaction: see segment_move.c. */
struct segment_copy {
    struct uuid segment; /* what was copied, by its address */
    uint32_t address;
    uint32_t len;
    struct block_identity identity; /* of its first block */
    struct uuid object;             /* where it lies now, but nobody knows yet */
    uint32_t offset;
};

/* Which segments are worth it, and how much may be moved in one round. */
struct segment_choice {
    unsigned max;
    unsigned live_max_8; /* eighths of an object that are in use, at most */
    uint64_t budget;     /* sealed bytes in use, of all of them together */
};

/* Those with the least in use first. Returns how many. */
unsigned segments_choose_victims(struct segments *segments, const struct segment_choice *choice);
void segments_end_victims(struct segments *segments);

/* Takes from the front of *run what lies together, into ret: in a victim or not. */
int segments_in_victim(struct segments *segments, struct block_run *run, struct block_run *ret,
                       bool *ret_is_victim);
/* Copies what lies together, at most CHUNK_SIZE of plaintext, without opening it. Each copy is
 * taken back once by segments_uncopy(), moved or not. -EAGAIN: no segment id is left; it does not
 * wait, as who compacts also announces ids. */
int segments_copy(struct segments *segments, const struct block_run *run,
                  const struct segment_origin *origin, struct segment_copy *ret, struct error *err);
void segments_uncopy(struct segments *segments, const struct segment_copy *copy);
/* The copies are where the runs lie from now on: all runs in victims that were in use when these
 * were chosen. By who holds the engine's write transaction. */
int segments_moved(struct segments *segments, const struct segment_copy *copies, size_t count);

/* Fetching: what of a downloaded snapshot lies in packs is copied, sealed as it is, and checked
 * once before it is believed. Ranges that lie in packs are in use as a whole or not at all. While
 * somebody reads blocks of packs, one thread at a time fetches. */

/* Takes from the front of *run what lies together, into ret: in a pack or not. */
int segments_in_pack(struct segments *segments, struct block_run *run, struct pack_blocks *ret,
                     bool *ret_is_pack);
/* Reads what a span tells of the items of a sorted list, and copies what is as it should be: one
 * copy for blocks that follow each other, at most span->count of them in all; each is taken back by
 * segments_uncopy(), whatever is returned. That is the first failure, and of the others nothing is
 * heard: -EBADMSG: the pack was altered. -EAGAIN: as segments_copy(). Waits while too much is not
 * durable yet. */
#define SEGMENT_FETCHES_MAX 6u   /* at once; who asks for more waits */
#define SEGMENT_FETCHES_LARGE 4u /* enough of PACK_SPAN_MAX */
int segments_fetch(struct segments *segments, const struct pack_blocks_list *list,
                   const struct pack_span *span, struct segment_copy *ret, size_t *ret_count,
                   struct error *err);
/* As segments_moved(), of these copies only. */
int segments_fetched(struct segments *segments, const struct segment_copy *copies, size_t count);
/* Sealed bytes in use that lie in packs: as far as is known, and less during a recount. */
uint64_t segments_in_packs(struct segments *segments);
/* There are none, for certain. Under the engine's writer lock. */
bool segments_are_here(struct segments *segments);

/* Bringing: blocks of a snapshot from outside (segment_bring.c), of which nothing here tells yet.
 */

/* Takes from the front of *run what lies together, into ret: in an object that is there, even if
 * nothing names it any more; or nowhere. -EBADMSG: it cannot be a run of blocks. */
int segments_find_held(struct segments *segments, struct block_run *run, struct block_run *ret,
                       bool *ret_is_held);

/* Where they lie, as the snapshot says. */
struct segment_outside {
    const struct segment_packs *packs;
    struct uuid pack;
    uint32_t offset;
    struct block_identity identity; /* of the first block */
};

/* As segments_fetch(), and waits for a segment's id. */
int segments_bring(struct segments *segments, const struct block_run *run,
                   const struct segment_outside *from, const struct segment_origin *origin,
                   struct segment_copy *ret, struct error *err);
/* The copies are where the runs lie, of which nothing is in use yet. By who holds the engine's
 * write transaction, in which they become live. -ESTALE: the object of a copy has failed. */
int segments_place(struct segments *segments, const struct segment_copy *copies, size_t count,
                   struct error *err);

/* For an upload. What of a run, from its first block on, lies together, and under what that is
 * sealed; -ENOENT: no such segment. */
int segments_locate(struct segments *segments, const struct block_run *run,
                    struct block_run *ret_front, struct block_identity *ret_identity);
/* All of a run that lies together, sealed as it is: block_run_sealed() bytes, which are not
 * verified. -EAGAIN: it does not lie together any more. */
int segments_read_sealed(struct segments *segments, const struct block_run *run, uint8_t *to,
                         struct block_identity *ret_identity, struct error *err);

/* Gives back memory that was kept for the next appends. */
void segments_trim(struct segments *segments);

/* Ends the current segments, which the next sync completes. */
void segments_end_current(struct segments *segments);
/* Only those of who fetches. */
void segments_end_fetched(struct segments *segments);
/* Only that of who writes, if less than so many eighths of it are in use. False if not. */
bool segments_end_wasteful(struct segments *segments, unsigned live_max_8);

struct segments_space {
    uint64_t live;   /* sealed bytes in use */
    uint64_t stored; /* bytes of all objects */
    uint64_t not_durable;
    uint64_t appended; /* sealed bytes, ever in this run */
    unsigned usable_ids;
    bool wants_ids;     /* a group should be closed soon */
    bool waits_for_ids; /* at once: somebody waits */
};

void segments_space(struct segments *segments, struct segments_space *ret);
