/* Putting a volume back to a snapshot: the walk over what changed since. */
#include "fs/restore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "fs/history.h"
#include "fs/snapshot.h"

struct beginning {
    const char *name;
    struct snapshot_taking *keep; /* NULL: nothing is kept */
    struct restore_record record;
    unsigned count;
    struct error *err;
};

static int count_one(uint64_t epoch, const struct restore_record *restore, void *arg)
{
    struct beginning *beginning = arg;
    struct restore_record *record = &beginning->record;

    beginning->count++;
    if (restore->is_mixed || (restore->state == RESTORE_OUTSIDE && epoch == record->target))
        record->is_mixed = true;
    return 0;
}

static int find_target(struct volume *volume, const char *name, uint64_t *ret, struct error *err)
{
    struct snapshot_entry entry;

    if (!snapshot_set_find(&volume->snapshots, name, &entry))
        return error_set(err, -ENOENT, "there is no snapshot of that name");
    *ret = entry.epoch;
    return 0;
}

static int begin(struct volume_txn *txn, void *arg)
{
    struct beginning *beginning = arg;

    beginning->count = 0;
    beginning->record = (struct restore_record){ .state = RESTORE_RUNNING };
    int r = find_target(txn->volume, beginning->name, &beginning->record.target, beginning->err);
    if (r == 0)
        r = restores_scan(txn->meta, count_one, beginning, &txn->err);
    if (r == 0)
        r = restores_refuse(beginning->count, beginning->err);
    if (r == 0 && beginning->keep != NULL)
        r = snapshot_taking_put(txn, beginning->keep);
    if (r < 0)
        return r;
    txn->volume->changed_restore = txn->meta->epoch;
    return restores_put(txn, txn->meta->epoch, &beginning->record);
}

int restore_begin(struct volume *volume, const char *name, const char *keep_as,
                  const char *keep_access_point, struct error *err)
{
    struct beginning beginning = { .name = name, .err = err };
    struct snapshot_taking keep;
    int r = 0;

    if (keep_as != NULL) {
        r = snapshot_taking_init(&keep, keep_as, keep_access_point, err);
        beginning.keep = &keep;
    }
    if (r == 0)
        r = snapshot_refuse_import(volume, err);
    return r < 0 ? r : snapshot_change(volume, META_WRITE, begin, &beginning, err);
}

struct restore_walk {
    struct record_key from;
    uint64_t target;
    uint64_t inodes; /* that differ */
    bool is_trial;   /* only looks whether it can be done */
    struct index_batch index;
};

int restore_walk_new(struct restore_walk **ret)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret != NULL ? 0 : -ENOMEM;
}

void restore_walk_free(struct restore_walk *walk)
{
    free(walk);
}

/* A record as the snapshot sees it, and as it is; no data: it is not there. */
struct change {
    const struct record_key *key;
    bool has_past;
    bool has_live;
    struct bytes past;
    struct bytes live;
};

static int found(int r, bool *ret)
{
    *ret = r == 0;
    return r == -ENOENT ? 0 : r;
}

static int read_change(struct volume_txn *txn, struct change *change)
{
    int r = found(history_get(txn, change->key, &change->past), &change->has_past);

    if (r == 0)
        r = found(meta_get(txn->meta, record_key_bytes(change->key), &change->live, &txn->err),
                  &change->has_live);
    return r;
}

static bool is_same(const struct change *change)
{
    if (!change->has_past || !change->has_live)
        return change->has_past == change->has_live;
    return change->past.len == change->live.len &&
           memcmp(change->past.data, change->live.data, change->past.len) == 0;
}

static bool needs_orphan(const struct inode *inode)
{
    return inode->nlink == 0 || (inode->flags & INODE_UNTRIMMED) != 0;
}

/* What counts inodes and finds those without a name follows. */
static int count_inode(struct volume_txn *txn, const struct change *change, bool is_trial)
{
    struct inode past = { .nlink = 1 };
    struct inode live = { .nlink = 1 };
    uint64_t ino;

    int r = record_key_inode(record_key_bytes(change->key), RECORD_INODE, &ino, NULL);
    if (r == 0 && change->has_past)
        r = txn_refused(txn, inode_decode(change->past, &past), "a saved record", ino);
    if (r == 0 && change->has_live)
        r = txn_refused(txn, inode_decode(change->live, &live), "the record", ino);
    if (r < 0 || is_trial)
        return r;
    txn->files += (int)change->has_past - (int)change->has_live;
    txn->stored += (int64_t)(past.stored - live.stored);
    if (needs_orphan(&past) == needs_orphan(&live))
        return 0;
    return needs_orphan(&past) ? orphan_put(txn, ino) : orphan_remove(txn, ino);
}

static int blocks_of(struct volume_txn *txn, bool is_there, struct bytes value,
                     struct run_list *ret)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;

    int r = is_there ? extents_decode(value, &list) : 0;
    if (r < 0)
        return error_set(&txn->err, r, "a list of extents cannot be understood");
    return chunk_blocks(&list, ret);
}

/* The blocks that come back are those of a saved version: they are in use already. */
static int count_blocks(struct volume_txn *txn, const struct change *change, bool is_trial)
{
    CLEANUP(run_list_release) struct run_list past = RUN_LIST_INIT;
    CLEANUP(run_list_release) struct run_list live = RUN_LIST_INIT;
    CLEANUP(run_list_release) struct run_list dropped = RUN_LIST_INIT;

    int r = blocks_of(txn, change->has_past, change->past, &past);
    if (r == 0)
        r = blocks_of(txn, change->has_live, change->live, &live);
    if (r < 0 || is_trial)
        return r;
    r = run_list_join(&dropped, &live);
    if (r == 0)
        r = run_list_subtract(&dropped, &past);
    if (r == 0)
        r = history_drop_blocks(txn, change->key, &dropped);
    if (r == 0)
        r = run_list_subtract(&past, &live);
    if (r == 0)
        txn->held -= (int64_t)run_list_sealed(&past);
    return r;
}

static int put_back(struct volume_txn *txn, const struct change *change, bool is_trial)
{
    uint8_t kind = record_kind_of(record_key_bytes(change->key));
    int r = 0;

    if (kind == RECORD_INODE)
        r = count_inode(txn, change, is_trial);
    else if (kind == RECORD_EXTENTS)
        r = count_blocks(txn, change, is_trial);
    if (r < 0 || is_trial)
        return r;
    return change->has_past ? txn_put(txn, change->key, change->past)
                            : txn_remove(txn, change->key);
}

/* A trial found all of them whole. What was altered since stays as it is: the rest must not. */
static int leave_altered(struct volume_txn *txn, int r, const struct restore_walk *walk)
{
    if (walk->is_trial || !is_altered(r))
        return r;
    volume_report(txn->volume, VOLUME_EVENT_CORRUPTION,
                  "A restore could not put a record back: %s.",
                  txn->err.code != 0 ? txn->err.text : "it was altered");
    txn->err = (struct error){ .code = 0 };
    return 0;
}

static int step_one(struct volume_txn *txn, struct restore_walk *walk,
                    const struct index_entry *entry, uint64_t *inodes)
{
    struct change change = { .key = &entry->key };

    int r = read_change(txn, &change);
    if (r == 0 && is_same(&change))
        return 0;
    if (r == 0)
        r = put_back(txn, &change, walk->is_trial);
    if (r == 0 && record_kind_of(record_key_bytes(&entry->key)) == RECORD_INODE)
        (*inodes)++;
    return leave_altered(txn, r, walk);
}

static int step(struct volume_txn *txn, void *arg)
{
    struct restore_walk *walk = arg;
    uint64_t inodes = 0;

    txn->snapshot = walk->target; /* of what history_get() reads */
    int r = history_index_read(txn, &walk->from, UINT64_MAX, &walk->index);
    for (size_t i = 0; r == 0 && i < walk->index.count; i++)
        r = step_one(txn, walk, &walk->index.entries[i], &inodes);
    if (r == 0)
        walk->inodes += inodes;
    return r;
}

static int walk_on(struct volume *volume, struct restore_walk *walk, struct error *err)
{
    int r = walk->is_trial ? volume_view(volume, step, walk)
                           : volume_change(volume, META_FREE, step, walk);

    if (r == -ENOSPC || r == -EDQUOT)
        return error_set(err, r,
                         "there is no room for its metadata; make some on that disk, and start the "
                         "filesystem, which goes on with it");
    if (r == -EIO && walk->is_trial)
        return error_set(err, r,
                         "a record that it needs was altered (coffer events has the particulars); "
                         "nothing was changed. All but the damaged files can be copied out of the "
                         "snapshot's folder in .snapshots");
    if (r < 0)
        return error_set(err, r, "%s", strerrordesc_np(-r));
    if (!walk->index.has_more)
        return 0;
    walk->from = walk->index.next;
    return 1;
}

int restore_step(struct volume *volume, struct restore_walk *walk, struct error *err)
{
    if (walk->target == 0) {
        walk->target = atomic_load(&volume->restoring);
        history_index_start(walk->target, &walk->from);
    }
    return walk_on(volume, walk, err);
}

struct running {
    uint64_t epoch;
    struct restore_record record;
};

static int note_running(uint64_t epoch, const struct restore_record *restore, void *arg)
{
    if (restore->state == RESTORE_RUNNING)
        *(struct running *)arg = (struct running){ epoch, *restore };
    return 0;
}

static int end(struct volume_txn *txn, void *arg)
{
    struct running running = { .epoch = 0 };

    (void)arg;
    int r = restores_scan(txn->meta, note_running, &running, &txn->err);
    running.record.state = RESTORE_DONE;
    if (r == 0)
        r = restores_put(txn, running.epoch, &running.record);
    return r < 0 ? r : restores_drop_idle(txn, 0);
}

int restore_end(struct volume *volume, struct error *err)
{
    int r = volume_change(volume, META_FREE, end, NULL);

    if (r == 0)
        r = volume_sync(volume, err);
    if (r == 0)
        atomic_store(&volume->restoring, 0);
    return r;
}

static int run_to_end(struct volume *volume, struct restore_walk *walk, struct error *err)
{
    int r;

    do
        r = restore_step(volume, walk, err);
    while (r > 0);
    return r < 0 ? r : restore_end(volume, err);
}

int restore_resume(struct volume *volume, struct error *err)
{
    CLEANUP(restore_walk_freep) struct restore_walk *walk = NULL;
    struct error why = { .code = 0 };

    if (!volume_is_restoring(volume))
        return 0;
    int r = restore_walk_new(&walk);
    if (r == 0)
        r = run_to_end(volume, walk, &why);
    if (r == 0)
        return 0;
    return error_set(err, r,
                     "the filesystem is being put back to a snapshot, and that cannot go on: %s",
                     why.code != 0 ? why.text : strerrordesc_np(-r));
}

/* Whether every record is there and can be read. */
static int try_restore(struct volume *volume, const char *name, struct restore_walk *walk,
                       struct error *err)
{
    int r = find_target(volume, name, &walk->target, err);

    if (r < 0)
        return r;
    walk->is_trial = true;
    history_index_start(walk->target, &walk->from);
    do
        r = walk_on(volume, walk, err);
    while (r > 0);
    return r;
}

static int restore_all(struct volume *volume, const char *name, const char *keep_as,
                       const char *keep_access_point, struct volume_restored *ret,
                       struct error *err)
{
    CLEANUP(restore_walk_freep) struct restore_walk *trial = NULL;
    CLEANUP(restore_walk_freep) struct restore_walk *walk = NULL;

    int r = restore_walk_new(&trial);
    if (r == 0)
        r = restore_walk_new(&walk);
    if (r < 0)
        return r;
    reap_waiting(volume);
    r = try_restore(volume, name, trial, err);
    if (r == 0)
        r = restore_begin(volume, name, keep_as, keep_access_point, err);
    if (r < 0)
        return r;
    r = run_to_end(volume, walk, err);
    if (r == 0)
        r = inode_reap_all(volume);
    if (r == 0)
        ret->inodes = walk->inodes;
    return r;
}

int volume_restore(struct volume *volume, const char *snapshot, const char *keep_as,
                   const char *keep_access_point, struct volume_restored *ret, struct error *err)
{
    struct error why = { .code = 0 };

    if (volume->is_read_only)
        return error_set(err, -EROFS, "the filesystem is read-only");
    int r = restore_all(volume, snapshot, keep_as, keep_access_point, ret, &why);
    if (r == 0)
        return 0;
    return error_set(err, r, "%s", why.code != 0 ? why.text : strerrordesc_np(-r));
}

bool volume_is_restoring(const struct volume *volume)
{
    return atomic_load(&volume->restoring) != 0;
}
