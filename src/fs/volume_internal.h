/* volume_internal.h - what the files of fs/ share behind volume.h.
 *
 * A change is one write transaction of the metadata engine, which runs one at a time: what it
 * reads stays true until it commits, so inodes need no locks. New data is sealed and written to
 * the store before, outside of it.
 *
 *     volume_change(volume, META_WRITE, fn, arg)
 *         fn(txn, arg)      reads and puts records; adds to txn->made_live, freed, files, stored
 *         account, commit   again from the start after -EAGAIN: fn must be repeatable
 *
 * Errors     functions here return engine errors (-EBADMSG: altered) with a sentence in txn->err;
 *            volume_change() and volume_view() turn them into what volume.h says and report them.
 */
#pragma once

#include <errno.h>
#include <stdatomic.h>

#include "base/thread.h"
#include "crypto/hash.h"
#include "fs/extents.h"
#include "fs/maintenance.h"
#include "fs/records.h"
#include "fs/references.h"
#include "fs/segments.h"
#include "fs/snapshot_set.h"
#include "fs/volume.h"
#include "meta/sealer.h"

/* What an inode counts for in the capacity, besides its data. */
#define INODE_COST 512u

/* As many restores are remembered at most, each of which begins two branches. */
#define RESTORES_MAX 32u
#define HISTORY_BRANCHES_MAX (2 * RESTORES_MAX + 1)

struct keeper;      /* keeper.c */
struct origin_work; /* origin.c */

#define CHUNKS_MAX ((uint64_t)1 << 32) /* of a file */
#define FILE_SIZE_MAX (CHUNKS_MAX * CHUNK_SIZE)

/* reaper.c: orphans that nobody refers to any more. */
struct reaper {
    struct mutex ending; /* held while they are ended, so that who asks waits for all */
    struct mutex lock;   /* short; guards the rest */
    uint64_t *inos;
    size_t count;
    size_t room;
};

/* Up to where a snapshot that arrives is here, for who tries again. */
struct import_cursor {
    struct mutex lock;    /* guards all below */
    uint64_t epoch;       /* 0: none arrives, that we know of */
    uint8_t manifest[32]; /* whose records were compared */
    struct record_key at;
};

struct volume {
    struct uuid uuid;
    struct uuid owner;
    struct object_store *store;
    struct meta_engine *engine;
    struct sealer *sealer;
    struct segments *segments;
    struct origin_work *origin;   /* NULL: all is here */
    bool has_underlay;            /* the engine is one of meta/underlay.h */
    struct meta_hooks seal_hooks; /* the sealer's */
    struct keeper *keeper;
    atomic_bool has_keeper;
    struct references references;
    struct reaper reaper;
    struct hmac *name_hmac; /* lookup keys */
    struct key_set keys;
    struct snapshot_set snapshots;
    struct mutex snapshot_change; /* one at a time, to the group's end; outside of transactions */
    atomic_uint_fast64_t epoch;   /* of the next group of transactions */
    uint64_t group_epoch;         /* the committer's: of the group that is being written */
    struct import_cursor import_cursor;
    uint64_t changed_snapshot;      /* its record is in the group that collects, and counts from the
                                     * group's end on; under the engine's write transaction */
    uint64_t changed_restore;       /* likewise of the beginning of a restore */
    atomic_bool has_branches;       /* there are RESTORE records, or were in this run */
    atomic_uint_fast64_t restoring; /* to which snapshot the volume is being put back; 0: none */
    struct collector *collector;    /* the keeper's: how far the removal of a snapshot is */
    struct mutex superblock_lock;
    struct superblock superblock;      /* as last written */
    struct maintenance maintenance;    /* which of these may go on at once */
    int64_t compaction_rests_until_ms; /* the keeper's */
    _Atomic int64_t key_event_due_ms;  /* when a missing key may be told of again */
    atomic_uint_fast64_t claimed_room; /* of the store's disk, by compaction */
    atomic_int_fast64_t known_room;    /* may be appended before the store is asked again */
    unsigned extra_count;              /* the committer's: records of rescues in this group */
    atomic_bool is_refusing;           /* the last commit failed */
    atomic_bool has_news;              /* commits since the superblock was written */
    atomic_bool must_publish;          /* it could not be written when the volume was opened */
    uint32_t block_size;
    bool is_read_only;
    bool salvages;            /* then it is read-only, too */
    atomic_uint lost_records; /* that were passed over for it */
    atomic_bool is_noatime;
    atomic_bool leaves_times; /* of regular files */
    volume_event_fn *on_event;
    void *event_arg;

    atomic_uint_fast64_t capacity; /* 0: none */

    /* Changed under the engine's write transaction, read anywhere. */
    atomic_uint_fast64_t next_ino;
    atomic_uint_fast64_t files;
    atomic_uint_fast64_t stored;
    atomic_uint_fast64_t held; /* sealed bytes that only snapshots hold */
    atomic_bool counters_changed;
    atomic_bool held_changed;
    atomic_uint_fast64_t reaps;    /* attempts to end an inode */
    atomic_uint_fast64_t examined; /* as volume_txn.examined, ever; for tests */
};

struct volume_txn {
    struct volume *volume;
    struct meta_txn *meta;
    struct run_list made_live; /* runs that records name now and did not before */
    struct run_list freed;     /* and that they name no more */
    int64_t files;             /* inodes more */
    int64_t stored;            /* bytes more, as the inodes count them */
    int64_t held;              /* sealed bytes more that only snapshots hold */
    uint64_t snapshot;         /* what is read is what this one sees; 0: the live filesystem */
    bool has_history;          /* there are snapshots */
    unsigned branch_count;     /* 0: not looked up yet */
    uint64_t branches[HISTORY_BRANCHES_MAX]; /* where they begin, ascending: history_branch.c */
    uint64_t newest_branch; /* the epoch of the newest restore, or snapshot from outside; 0: none */
    unsigned outside_count;
    uint64_t outside[RESTORES_MAX]; /* epochs of snapshots from outside */
    bool is_mixed;                  /* what came from there was restored */
    size_t examined;                /* bytes of saved versions, to find who else names blocks */
    int64_t now_ns;                 /* of this operation */
    struct error err;
};

typedef int volume_txn_fn(struct volume_txn *txn, void *arg);

/* access: META_WRITE, or META_FREE or META_RECLAIM for what makes room. -EROFS on a read-only
 * volume. Returns what volume.h promises: 0, what fn returned, -EIO for what was altered. */
int volume_change(struct volume *volume, enum meta_access access, volume_txn_fn *fn, void *arg);
/* Puts the counters as they are: for who changes nothing but what is put when a group is closed, so
 * that there is a group. */
int txn_touch(struct volume_txn *txn);
int volume_view(struct volume *volume, volume_txn_fn *fn, void *arg);

/* Inodes of snapshots have the number of a slot in the upper 16 bits; 0: of the live filesystem. */
static inline uint64_t inode_number(uint64_t ino)
{
    return ino & INODE_NUMBER_MAX;
}

static inline uint64_t inode_slot(uint64_t ino)
{
    return ino & ~INODE_NUMBER_MAX;
}

/* As volume_view(), of the tree that ino is in. -ESTALE: that snapshot is gone. */
int volume_view_of(struct volume *volume, uint64_t ino, volume_txn_fn *fn, void *arg);

/* Reports an event if r says that something was altered (ino 0: none), and gives what volume.h
 * promises for it. Other codes are returned as they are. */
int volume_result(struct volume *volume, int r, uint64_t ino, const struct error *err);
void volume_report(struct volume *volume, enum volume_event event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether the volume is there to salvage from, and r says that a record was altered or is missing,
 * without which files can be read. Counts it. */
bool salvage_passes(struct volume *volume, int r);

/* Bytes that count towards the capacity. */
uint64_t volume_used(struct volume *volume);
/* -ENOSPC if the capacity does not allow so many bytes and inodes more. Not in a transaction. */
int volume_reserve(struct volume *volume, uint64_t bytes, uint64_t inodes);

/* history.c. history_save: before a record is changed or removed. The others read what
 * txn->snapshot sees. */
int history_save(struct volume_txn *txn, const struct record_key *key, bool is_removed);
int history_get(struct volume_txn *txn, const struct record_key *key, struct bytes *ret);
int history_scan(struct volume_txn *txn, const struct record_key *first,
                 const struct record_key *end, meta_visit_fn *visit, void *arg);

/* Records in a transaction. Everything that has a history is read and changed through these. */
static inline int txn_get(struct volume_txn *txn, const struct record_key *key, struct bytes *ret)
{
    if (txn->snapshot != 0)
        return history_get(txn, key, ret);
    return meta_get(txn->meta, record_key_bytes(key), ret, &txn->err);
}

static inline int txn_view(struct volume_txn *txn, const struct record_key *key,
                           struct spliced *ret)
{
    if (txn->snapshot != 0) {
        struct bytes value;
        int r = history_get(txn, key, &value);
        if (r == 0)
            *ret = spliced_of(value);
        return r;
    }
    return meta_view(txn->meta, record_key_bytes(key), ret, &txn->err);
}

static inline int txn_patch(struct volume_txn *txn, const struct record_key *key,
                            const struct splice *patch)
{
    int r = txn->has_history ? history_save(txn, key, false) : 0;

    return r < 0 ? r : meta_patch(txn->meta, record_key_bytes(key), patch, &txn->err);
}

static inline int txn_put(struct volume_txn *txn, const struct record_key *key, struct bytes value)
{
    int r = txn->has_history ? history_save(txn, key, false) : 0;

    return r < 0 ? r : meta_put(txn->meta, record_key_bytes(key), value, &txn->err);
}

static inline int txn_remove(struct volume_txn *txn, const struct record_key *key)
{
    int r = txn->has_history ? history_save(txn, key, true) : 0;

    return r < 0 ? r : meta_remove(txn->meta, record_key_bytes(key), &txn->err);
}

static inline int txn_scan(struct volume_txn *txn, const struct record_key *first,
                           const struct record_key *end, meta_visit_fn *visit, void *arg)
{
    if (txn->snapshot != 0)
        return history_scan(txn, first, end, visit, arg);
    return meta_scan(txn->meta, record_key_bytes(first), record_key_bytes(end), visit, arg,
                     &txn->err);
}

/* A record of an inode that its decoder refused with r: puts that into words. Returns r. */
int txn_refused(struct volume_txn *txn, int r, const char *what, uint64_t ino);

/* inode.c. inode_get: -ENOENT if there is none. */
int inode_get(struct volume_txn *txn, uint64_t ino, struct inode *ret);
int inode_put(struct volume_txn *txn, uint64_t ino, const struct inode *inode);
void inode_attr(uint64_t ino, const struct inode *inode, struct volume_attr *ret);
/* Whether relatime sets atime now. */
bool inode_atime_is_old(const struct inode *inode, int64_t now_ns);
/* Draws a number; counts the inode; does not put it. Under a write transaction. */
int inode_allocate(struct volume_txn *txn, uint64_t *ret_ino);

/* extent_damage.c: the inode has no name and no user any more, and a list of its extents cannot be
 * read. Such lists go: that is told, what is in use is counted anew, and snapshots that showed them
 * are refused there. Returns how many. */
int inode_drop_damaged(struct volume *volume, uint64_t ino);

/* A name is gone: nlink goes down by one (a directory: to 0). Without any link the inode becomes
 * an orphan, which inode_reap() ends. Puts it. */
int inode_unlinked(struct volume_txn *txn, uint64_t ino, struct inode *inode);
/* The record by which inode_reap_all() finds it. */
int orphan_put(struct volume_txn *txn, uint64_t ino);
int orphan_remove(struct volume_txn *txn, uint64_t ino);
/* Ends an orphan that nobody refers to; finishes the trimming of one that is still linked. May
 * take several transactions. */
int inode_reap(struct volume *volume, uint64_t ino);
/* The same for several in one transaction. has_more: not all are ended; inode_reap() each. */
struct reap_batch {
    const uint64_t *inos;
    size_t count;
    bool has_more;
};

int inode_reap_batch(struct volume *volume, struct reap_batch *batch);
/* All orphans that a run before left; at open. */
int inode_reap_all(struct volume *volume);

/* reaper.c. Soon, by the keeper; failures are reported, and the next open tries again. */
void reap_later(struct volume *volume, uint64_t ino);
/* All that wait, now: for who wants to see that they are gone. Not in a transaction. */
void reap_waiting(struct volume *volume);
void reaper_release(struct reaper *reaper);

/* name_key.c: under which a name in a directory, or of an attribute of an inode, is found. */
enum lookup_domain {
    LOOKUP_DIRENT = 'd',
    LOOKUP_XATTR = 'x',
};

int lookup_key(struct volume *volume, enum lookup_domain domain, uint64_t ino, const char *name,
               uint8_t ret[static LOOKUP_KEY_LEN]);

/* xattr.c: removes all of an inode. */
int xattr_remove_all(struct volume_txn *txn, uint64_t ino);

/* extent_change.c. chunk_get: an empty list if there is no record. */
int chunk_get(struct volume_txn *txn, uint64_t ino, uint32_t chunk, struct extents *ret);
/* Only what shows something of offset up to, without, end. */
int chunk_get_part(struct volume_txn *txn, uint64_t ino, uint32_t chunk, uint32_t offset,
                   uint32_t end, struct extents *ret);
/* An empty list removes the record. */
int chunk_put(struct volume_txn *txn, uint64_t ino, uint32_t chunk, const struct extents *list);
/* offset to offset + len of the chunk of which list is the record of key now shows what with shows,
 * which becomes live; inode->stored and txn follow. Neither the list nor the inode is put. After
 * -EXFULL nothing was changed. */
int chunk_replace(struct volume_txn *txn, const struct record_key *key, struct inode *inode,
                  struct extents *list, uint32_t offset, uint32_t len, const struct extent *with,
                  size_t count);
/* with, one whole block, in the place of another: as chunk_get, chunk_replace and chunk_put, but
 * little of the record is looked at and changed. -ENOENT: it is not as simple as that. */
int chunk_put_block(struct volume_txn *txn, uint64_t ino, uint32_t chunk,
                    const struct extent *with);
int chunk_cut(struct volume_txn *txn, uint64_t ino, struct inode *inode, uint32_t chunk,
              uint32_t offset, uint32_t len);
/* The first max chunks that show anything, from first up to, without, end. */
int chunks_find(struct volume_txn *txn, uint64_t ino, uint64_t first, uint64_t end, uint32_t *ret,
                size_t max, size_t *ret_count);
/* Makes all behind size a hole: the tail of the chunk in which it lies and up to max_chunks
 * whole ones; *ret_more: there are others. inode->stored and txn follow; the inode is not put. */
int chunks_trim(struct volume_txn *txn, uint64_t ino, struct inode *inode, uint64_t size,
                unsigned max_chunks, bool *ret_more);
void inode_add_stored(struct volume_txn *txn, struct inode *inode, int64_t bytes);

/* file_space.c: what a change of size does to a regular file, in one transaction, for setattr;
 * mtime becomes now. The caller puts the inode. When *ret_more is set, INODE_UNTRIMMED is set
 * too, the inode is in ORPHAN, and inode_reap() must follow. -ERESTART: it would grow and is
 * INODE_UNTRIMMED; nothing was changed; inode_reap(), then again. -EFBIG. */
int file_set_size(struct volume_txn *txn, uint64_t ino, struct inode *inode, uint64_t size,
                  bool *ret_more);

/* room.c. -ENOSPC, with words, if the store's disk has no room for so many bytes more, and the
 * keeper could win none. Waits for it, so without any lock. */
int room_find(struct volume *volume, uint64_t bytes, struct error *err);
/* How large segments are in this store. */
uint32_t room_segment_size(struct object_store *store);
/* Of what is free on a disk. */
uint64_t room_for_data(const struct object_store_space *disk);
/* segments_append(), which waits for the keeper to make room if there is none. */
int room_append(struct volume *volume, const struct segment_origin *origin, struct bytes data,
                struct block_run ret[APPEND_RUNS_MAX], size_t *ret_count, struct error *err);

/* compaction.c: one round, if it is due. Returns 1 if there was something to do, 0 if not. */
int volume_compact(struct volume *volume, struct error *err);
/* For somebody who found the disk full: deletes what is dead, also what is about to be, or moves
 * what is left in segments together. True if an object was deleted. By the keeper. */
bool volume_make_room(struct volume *volume);
/* Counts anew what is in use of each object. -EBUSY: a check is at work. */
int volume_recount(struct volume *volume, struct error *err);
