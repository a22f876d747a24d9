/* meta_engine.h - an ordered, transactional map of bytes: all that a metadata database must be.
 *
 * Inodes, directories and extents are encoded above this line, once, in fs/. An engine knows
 * nothing of them. It must pass tests/conformance/meta_engine_conformance.
 *
 * Two things are told apart: commit makes a transaction visible, whole and in order; sync makes
 * everything committed so far durable. An engine makes a group of transactions durable at once,
 * here called a group: on sync, and by itself about every
 * second. After a crash it holds exactly one of these.
 *
 * Values are plain above this line and sealed below it: whatever an engine gives to a file or a
 * network it first has sealed by the hooks (fs/ gives them meta/sealer.h). Keys are stored as
 * they are.
 *
 * Units      lengths are bytes; keys are at most META_KEY_MAX, values at most META_VALUE_MAX.
 * Errors     0 or a negative errno. -ENOENT: no such key. -EAGAIN: another writer won; nothing
 *            was changed, run the whole transaction again. -ENOSPC, -EDQUOT, -EIO from begin:
 *            the engine cannot make changes durable at present and refuses new ones; what is
 *            committed is kept and goes out when it can. -EBADMSG: a stored value was altered.
 * Ownership  keys and values given stay the caller's. Bytes returned belong to the transaction
 *            and live until it ends.
 * Threads    any thread may begin a transaction; one transaction is used by one thread. Hooks
 *            are called by the engine's committer thread or a thread inside sync or close.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/spliced.h"

#define META_KEY_MAX 500u
#define META_VALUE_MAX (64u * 1024u)

/* What sealing may add to a value. */
#define META_SEAL_OVERHEAD_MAX 128u

enum meta_access {
    META_READ,
    META_WRITE,
    META_OPTIMISTIC, /* a META_WRITE that lets other writers go on until its first change, which
                      * is -EAGAIN if what it got has changed meanwhile, and for other reasons:
                      * abort, and run it again as META_WRITE. For few gets, and no scan. */
    META_FREE,       /* a META_WRITE that should make room (unlink, truncation): it may use what an
                      * engine keeps back for these when a disk is full */
    META_RECLAIM,    /* one that always makes room in the end, or without which a filesystem cannot
                      * open (removal of snapshots, accounts): also what META_FREE has to leave. What
                      * a snapshot keeps makes an unlink take room, so META_FREE may use up its part */
};

struct meta_engine;
struct meta_txn;

/* Somebody who waits for a group to be durable, but not with a thread. */
struct meta_waiter {
    /* Called once: why is NULL if result is 0. By the engine's committer or by the caller of
     * meta_sync_later(); it must not block, nor call the engine. The waiter is its owner's again.
     */
    void (*done)(struct meta_waiter *waiter, int result, const struct error *why);

    /* The engine's until then. */
    uint64_t group;
    struct meta_waiter *next;
};

/* Returns 0 to go on; anything else ends the scan, which returns it. */
typedef int meta_visit_fn(struct bytes key, struct bytes value, void *arg);

/* What the engine asks of its owner. All are optional but seal and open, which an engine that
 * stores outside the process needs; an engine on which only scan_stored is called needs none. */
struct meta_hooks {
    /* Of the groups: fs/ gives these five. */
    void *arg;

    /* When the first change of a group is about to be made: the epoch in which all changes of the
     * group are, which meta_txn tells. Epochs mean something to the owner only. */
    uint64_t (*epoch)(void *arg);

    /* Before a group of transactions is closed: the last one of the group, in which the owner
     * puts what describes it (counters). Other write transactions wait meanwhile, so it must
     * not wait for a lock under which somebody begins one. */
    int (*close_group)(void *arg, struct meta_txn *txn, struct error *err);

    /* Before anything of group number group is written: everything that its records refer to
     * must be durable when this returns 0. Transactions go on meanwhile. */
    int (*before_durable)(void *arg, uint64_t group, struct error *err);

    /* The group is durable / was not written after all, and before_durable, seal, removed and
     * group_record will be called again for it. */
    void (*durable)(void *arg, uint64_t group);
    void (*not_durable)(void *arg, uint64_t group, const struct error *err);

    /* Of the values on their way out and in: sealer_hooks() gives these five. All but open are
     * called by one thread at a time. */
    void *seal_arg;

    /* *ret_len is at most plain.len + META_SEAL_OVERHEAD_MAX, respectively stored.len. old is
     * what is stored under the key at present (no data: none); seal and removed see each changed
     * record of a group once. */
    int (*seal)(void *seal_arg, struct bytes key, struct bytes plain, struct bytes old,
                uint8_t *ret, size_t *ret_len, struct error *err);
    int (*open)(void *seal_arg, struct bytes key, struct bytes stored, uint8_t *ret,
                size_t *ret_len, uint64_t *ret_epoch, struct error *err);
    int (*removed)(void *seal_arg, struct bytes key, struct bytes old, struct error *err);

    /* After the last record of the group, with index 0, 1, 2 until it returns -ENOENT: more
     * records for the same durable step, which are sealed as the others. Key and value live until
     * it is called again. */
    int (*group_record)(void *seal_arg, uint64_t group, unsigned index, struct bytes *ret_key,
                        struct bytes *ret_plain, struct error *err);

    /* Just before durable or not_durable is called for it. */
    void (*group_end)(void *seal_arg, uint64_t group, bool is_durable);
};

struct meta_engine_ops {
    const char *type; /* as the URL spells it: "lmdb" */

    /* META_WRITE may wait for another writer to finish, and for a flush if too much waits for
     * one. */
    int (*begin)(struct meta_engine *engine, enum meta_access access, struct meta_txn **ret_txn,
                 struct error *err);

    /* Everything read in one transaction is of one moment, its own writes included. */
    int (*get)(struct meta_txn *txn, struct bytes key, struct bytes *ret, struct error *err);
    /* As get, without putting a value together that was patched: for who reads little of it. */
    int (*view)(struct meta_txn *txn, struct bytes key, struct spliced *ret, struct error *err);
    int (*put)(struct meta_txn *txn, struct bytes key, struct bytes value, struct error *err);

    /* A part of a value becomes another; cheap for little of a long value. -ENOENT: no such key.
     * -EINVAL: the value is not that long. */
    int (*patch)(struct meta_txn *txn, struct bytes key, const struct splice *patch,
                 struct error *err);

    /* A key that is not there counts as removed. */
    int (*remove)(struct meta_txn *txn, struct bytes key, struct error *err);

    /* The owner will put so many records more when the group is closed, for which nobody is asked:
     * len bytes of keys and values, sealed, in all. -ENOSPC: there is no room for them, and
     * nothing was changed. Taken back with the transaction. Optional. */
    int (*expect)(struct meta_txn *txn, uint64_t records, uint64_t len, struct error *err);

    /* Visits first <= key < end in ascending byte order. The visitor may get, but not change. */
    int (*scan)(struct meta_txn *txn, struct bytes first, struct bytes end, meta_visit_fn *visit,
                void *arg, struct error *err);

    /* Both end the transaction, whatever they return. After a commit that returned 0 every
     * transaction begun later sees all of its changes; after a crash it is there whole or not
     * at all, and never without those committed before it. */
    int (*commit)(struct meta_txn *txn, struct error *err);
    void (*abort)(struct meta_txn *txn);

    /* The number of the group that holds the last commit that has returned; they ascend. */
    uint64_t (*last_group)(struct meta_engine *engine);
    /* After 0, all that was committed in this group and before it survives a crash of this host. */
    int (*sync)(struct meta_engine *engine, uint64_t group, struct error *err);
    /* Returns at once; the waiter is told what sync would have returned. */
    void (*sync_later)(struct meta_engine *engine, uint64_t group, struct meta_waiter *waiter);

    /* Syncs, and then has what is stored written anew, so that nothing of what was removed or
     * replaced before the call is left where the engine keeps it: in free pages, or between
     * records. Takes as long as copying everything, and needs that much room. After a failure
     * (-ENOSPC: no room) all is as it was, and the remains may still be there. A crash leaves the
     * one or the other. -EBUSY: somebody reads and does not end; try again. */
    int (*scrub)(struct meta_engine *engine, struct error *err);

    /* Visits what is stored, as it is stored: sealed, the group record included, and durable
     * only (call sync first). For check, and for finding altered records. */
    int (*scan_stored)(struct meta_engine *engine, struct bytes first, struct bytes end,
                       meta_visit_fn *visit, void *arg, struct error *err);

    /* Syncs, unless the engine is read-only or cannot, and frees. Returns what sync did. Nobody
     * waits any more. */
    int (*close)(struct meta_engine *engine, struct error *err);
};

/* An engine embeds these as the first member of its own structs. */
struct meta_engine {
    const struct meta_engine_ops *ops;
};

/* The wrappers below mind a transaction's access; engines need not. */
struct meta_txn {
    struct meta_engine *engine;
    enum meta_access access;
    uint64_t epoch; /* in which its changes are, once it may make any */
    uint64_t found; /* in which what get, view or scan found last was put; of what is stored as
                     * open tells */
};

struct meta_options {
    bool read_only; /* begin(META_WRITE) is -EROFS, and nothing is written */
    bool create;    /* make an empty one; -EEXIST if there is one that holds records */
    /* Ordinary writers leave some of the disk free: what else has to grow may be there. */
    bool leaves_room;
};

/* url: "lmdb:/absolute/folder" or "memory:". hooks are copied; what they point to lives on, and
 * none is called before the first transaction begins. Groups are numbered 1, 2, 3 since open. */
int meta_engine_open(const char *url, const struct meta_options *options,
                     const struct meta_hooks *hooks, struct meta_engine **ret, struct error *err);

int meta_begin(struct meta_engine *engine, enum meta_access access, struct meta_txn **ret_txn,
               struct error *err);
int meta_get(struct meta_txn *txn, struct bytes key, struct bytes *ret, struct error *err);
int meta_view(struct meta_txn *txn, struct bytes key, struct spliced *ret, struct error *err);
int meta_put(struct meta_txn *txn, struct bytes key, struct bytes value, struct error *err);
int meta_patch(struct meta_txn *txn, struct bytes key, const struct splice *patch,
               struct error *err);
int meta_remove(struct meta_txn *txn, struct bytes key, struct error *err);
int meta_expect(struct meta_txn *txn, uint64_t records, uint64_t len, struct error *err);
int meta_scan(struct meta_txn *txn, struct bytes first, struct bytes end, meta_visit_fn *visit,
              void *arg, struct error *err);
int meta_commit(struct meta_txn *txn, struct error *err);
void meta_abort(struct meta_txn *txn); /* NULL is allowed */
/* After 0, all that was committed before the call survives a crash of this host. */
int meta_sync(struct meta_engine *engine, struct error *err);
uint64_t meta_last_group(struct meta_engine *engine);
int meta_sync_group(struct meta_engine *engine, uint64_t group, struct error *err);
void meta_sync_later(struct meta_engine *engine, uint64_t group, struct meta_waiter *waiter);
int meta_scrub(struct meta_engine *engine, struct error *err);
int meta_scan_stored(struct meta_engine *engine, struct bytes first, struct bytes end,
                     meta_visit_fn *visit, void *arg, struct error *err);
int meta_close(struct meta_engine *engine, struct error *err); /* NULL is allowed */

static inline void meta_abortp(struct meta_txn **txn)
{
    meta_abort(*txn);
}
