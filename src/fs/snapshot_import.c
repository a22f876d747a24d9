/* Importing a snapshot: beginning, batch after batch, and the end. */
#include "fs/snapshot_import.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/commit.h"
#include "fs/restore.h"
#include "fs/snapshot.h"
#include "fs/snapshot_import_batch.h"

/* What lies here may change between the look and the change, but hardly so often. */
#define ATTEMPTS 20u

static int count_one(uint64_t epoch, const struct restore_record *restore, void *arg)
{
    unsigned *count = arg;

    (void)epoch;
    (void)restore;
    ++*count;
    return 0;
}

static int put_begun(struct volume_txn *txn, void *arg)
{
    struct snapshot_taking *taking = arg;
    unsigned count = 0;

    int r = restores_scan(txn->meta, count_one, &count, &txn->err);
    if (r == 0)
        r = restores_refuse(count, taking->err);
    if (r == 0)
        r = snapshot_taking_put(txn, taking);
    if (r < 0)
        return r;
    const struct restore_record outside = { .state = RESTORE_OUTSIDE,
                                            .target = txn->meta->epoch - 1 };
    return restores_put(txn, txn->meta->epoch, &outside);
}

static int begin(struct volume *volume, const struct snapshot_import *import, uint64_t *ret_epoch,
                 struct error *err)
{
    struct snapshot_taking taking;

    int r = snapshot_taking_init(&taking, import->name, import->access_point, err);
    taking.record.state = SNAPSHOT_ARRIVING;
    taking.record.created_ns = import->created_ns;
    taking.gives_way = import->gives_way;
    if (r == 0)
        r = snapshot_change(volume, META_WRITE, put_begun, &taking, err);
    if (r == 0)
        *ret_epoch = taking.epoch;
    return r;
}

struct lookup {
    uint64_t epoch;
    bool is_outside;
};

static int look_for_outside(uint64_t epoch, const struct restore_record *restore, void *arg)
{
    struct lookup *lookup = arg;

    if (epoch == lookup->epoch && restore->state == RESTORE_OUTSIDE)
        lookup->is_outside = true;
    return 0;
}

static int look_at_restores(struct volume_txn *txn, void *arg)
{
    return restores_scan(txn->meta, look_for_outside, arg, &txn->err);
}

/* Whether it is kept already: its end may have been durable, and who asked for it not have heard.
 */
static int find_kept(struct volume *volume, const struct snapshot_import *import,
                     uint64_t *ret_epoch, bool *ret_is_kept)
{
    struct snapshot_entry entry;

    *ret_is_kept = false;
    if (!snapshot_set_find(&volume->snapshots, import->name, &entry) ||
        entry.record.created_ns != import->created_ns)
        return 0;
    struct lookup lookup = { .epoch = entry.epoch };
    int r = volume_view(volume, look_at_restores, &lookup);
    *ret_is_kept = lookup.is_outside;
    *ret_epoch = entry.epoch;
    return r;
}

static int begin_or_go_on(struct volume *volume, const struct snapshot_import *import,
                          uint64_t *ret_epoch, struct error *err)
{
    struct snapshot_entry entry;

    if (!snapshot_set_arriving(&volume->snapshots, &entry))
        return begin(volume, import, ret_epoch, err);
    if (strcmp(entry.record.name, import->name) != 0)
        return error_set(err, -EBUSY,
                         "another snapshot is being downloaded into the filesystem; wait until "
                         "it is here, or abort that");
    *ret_epoch = entry.epoch;
    return 0;
}

static void note_done(const struct import_batch *batch, struct snapshot_import_progress *progress)
{
    for (size_t i = 0; i < batch->part_count; i++)
        *(batch->parts[i].is_held ? &progress->reused : &progress->fetched) +=
            block_run_sealed(&batch->parts[i].run);
    if (batch->next.len == 0)
        progress->chunks_done = progress->chunks;
    else if (batch->chunk != NULL)
        progress->chunks_done = batch->chunk->index;
}

/* *at goes on, or becomes empty. */
static int try_batch(struct import_batch *batch, struct record_key *at,
                     struct snapshot_import_progress *progress)
{
    int r = import_batch_find(batch);

    if (r == 0)
        r = import_batch_bring(batch);
    if (r == 0)
        r = import_batch_put(batch);
    if (r == 0) {
        *at = batch->next;
        note_done(batch, progress);
    }
    import_batch_release(batch);
    return r;
}

static int do_batch(struct volume *volume, const struct snapshot_import *import, uint64_t epoch,
                    struct record_key *at, struct snapshot_import_progress *progress,
                    struct error *err)
{
    int r = -ESTALE;

    for (unsigned i = 0; i < ATTEMPTS && r == -ESTALE; i++) {
        struct import_batch batch = {
            .volume = volume, .import = import, .epoch = epoch, .at = *at, .err = err
        };
        *err = (struct error){ .code = 0 };
        r = try_batch(&batch, at, progress);
        if (r == -ESTALE) { /* what is dead goes with a group */
            int synced = volume_sync(volume, err);
            r = synced < 0 ? synced : r;
        }
    }
    return r == -ESTALE ? error_set(err, -EAGAIN,
                                    "what is in use changed again and again meanwhile; try again")
                        : r;
}

/* What is in front of it stays as the snapshot shows it, whatever becomes of the live records. */
static void go_on_at(struct import_cursor *cursor, const struct snapshot_import *import,
                     uint64_t epoch, struct record_key *at)
{
    mutex_lock(&cursor->lock);
    if (cursor->epoch == epoch &&
        memcmp(cursor->manifest, import->manifest, sizeof(cursor->manifest)) == 0)
        *at = cursor->at;
    mutex_unlock(&cursor->lock);
}

static void note_at(struct import_cursor *cursor, const struct snapshot_import *import,
                    uint64_t epoch, const struct record_key *at)
{
    mutex_lock(&cursor->lock);
    cursor->epoch = epoch;
    memcpy(cursor->manifest, import->manifest, sizeof(cursor->manifest));
    cursor->at = *at;
    mutex_unlock(&cursor->lock);
}

static int do_all(struct volume *volume, const struct snapshot_import *import, uint64_t epoch,
                  struct snapshot_import_progress *progress, struct error *err)
{
    struct record_key at;
    struct record_key end;
    int r = 0;

    kind_range(RECORD_INODE, &at, &end);
    go_on_at(&volume->import_cursor, import, epoch, &at);
    progress->chunks_done = at.len == 0 ? progress->chunks : 0;
    while (r == 0 && at.len > 0) {
        if (import->on_progress != NULL && !import->on_progress(progress, import->arg))
            return error_set(err, -ECANCELED, "it was told to stop");
        r = do_batch(volume, import, epoch, &at, progress, err);
        if (r == 0)
            note_at(&volume->import_cursor, import, epoch, &at);
    }
    return r;
}

struct state_change {
    enum snapshot_state state;
    uint64_t epoch; /* 0: whichever arrives */
    struct error *err;
};

static int change_state(struct volume_txn *txn, void *arg)
{
    const struct state_change *change = arg;
    struct snapshot_entry entry;

    if (change->epoch != 0) {
        int r = import_check_own(txn->volume, change->epoch, change->err);
        if (r < 0)
            return r;
    }
    if (!snapshot_set_arriving(&txn->volume->snapshots, &entry))
        return error_set(change->err, -ENOENT, "no snapshot is being downloaded");
    entry.record.state = change->state;
    return snapshot_put(txn, entry.epoch, &entry.record);
}

static int refuse(struct volume *volume, struct error *err)
{
    struct origin_progress progress;

    if (volume->is_read_only)
        return error_set(err, -EROFS, "the filesystem is read-only");
    if (volume_is_restoring(volume))
        return error_set(err, -EBUSY, "the filesystem is being put back to a snapshot");
    if (volume_origin_progress(volume, &progress))
        return error_set(err, -EBUSY,
                         "the filesystem is itself still being downloaded; wait until all of it "
                         "is here");
    return 0;
}

static int in_words(int r, const struct error *why, const char *what, struct error *err)
{
    if (r >= 0)
        return r;
    return why->code != 0 ? error_set(err, r, "%s", why->text)
                          : error_set(err, r, "%s: %s", what, strerrordesc_np(-r));
}

static int import_all(struct volume *volume, const struct snapshot_import *import,
                      struct snapshot_import_progress *progress, struct error *err)
{
    struct state_change keep = { .state = SNAPSHOT_KEPT, .err = err };

    int r = begin_or_go_on(volume, import, &keep.epoch, err);
    progress->snapshot = keep.epoch;
    if (r == 0)
        r = do_all(volume, import, keep.epoch, progress, err);
    return r < 0 ? r : snapshot_change(volume, META_WRITE, change_state, &keep, err);
}

int volume_snapshot_import(struct volume *volume, const struct snapshot_import *import,
                           struct snapshot_import_progress *ret, struct error *err)
{
    struct error why = { .code = 0 };
    bool is_kept = false;

    *ret = (struct snapshot_import_progress){ .chunks = import->origin->chunk_count };
    int r = refuse(volume, &why);
    if (r == 0)
        r = find_kept(volume, import, &ret->snapshot, &is_kept);
    if (is_kept)
        ret->chunks_done = ret->chunks;
    if (r == 0) /* who closed its group may have failed to sync it */
        r = is_kept ? volume_sync(volume, &why) : import_all(volume, import, ret, &why);
    return in_words(r, &why, "the snapshot could not be brought in", err);
}

bool volume_snapshot_arriving(struct volume *volume, struct volume_snapshot *ret)
{
    struct snapshot_entry entry;
    bool is_there = snapshot_set_arriving(&volume->snapshots, &entry);

    if (is_there)
        snapshot_entry_describe(&entry, ret);
    return is_there;
}

int volume_snapshot_import_drop(struct volume *volume, struct error *err)
{
    struct error why = { .code = 0 };
    struct state_change drop = { .state = SNAPSHOT_REMOVING, .err = &why };

    int r = snapshot_change(volume, META_RECLAIM, change_state, &drop, &why);
    keeper_wake(volume);
    return in_words(r, &why, "the snapshot could not be removed", err);
}
