/* The RESTORE records: which restores there were, as long as that matters. */
#include <errno.h>

#include "fs/restore.h"

struct scan {
    restore_visit_fn *visit;
    void *arg;
    struct error *err;
};

static int visit_record(struct bytes key, struct bytes value, void *arg)
{
    struct scan *scan = arg;
    struct restore_record restore;
    uint64_t epoch;

    int r = record_key_epoch(key, RECORD_RESTORE, &epoch);
    if (r == 0)
        r = restore_decode(value, &restore);
    if (r == 0 && restore.target > epoch)
        r = -EBADMSG;
    if (r < 0)
        return error_set(scan->err, r, "the record of a restore cannot be understood");
    return scan->visit(epoch, &restore, scan->arg);
}

int restores_scan(struct meta_txn *txn, restore_visit_fn *visit, void *arg, struct error *err)
{
    struct scan scan = { .visit = visit, .arg = arg, .err = err };
    struct record_key first;
    struct record_key end;

    kind_range(RECORD_RESTORE, &first, &end);
    return meta_scan(txn, record_key_bytes(&first), record_key_bytes(&end), visit_record, &scan,
                     err);
}

int restores_put(struct volume_txn *txn, uint64_t epoch, const struct restore_record *restore)
{
    uint8_t value[RESTORE_VALUE_LEN];
    struct record_key key;
    size_t len;

    atomic_store(&txn->volume->has_branches, true);
    atomic_store(&txn->volume->held_changed, true); /* its version tells of it */
    restore_key(epoch, &key);
    int r = restore_encode(restore, value, &len);
    return r < 0 ? r : txn_put(txn, &key, (struct bytes){ .data = value, .len = len });
}

int restores_refuse(unsigned count, struct error *err)
{
    if (count < RESTORES_MAX)
        return 0;
    return error_set(err, -ENOSPC,
                     "snapshots from before %u earlier restores, or downloaded ones, are kept, and "
                     "no more can be remembered; remove some of them",
                     count);
}

struct loading {
    struct volume *volume;
    uint64_t newest;
};

static int load_one(uint64_t epoch, const struct restore_record *restore, void *arg)
{
    struct loading *loading = arg;

    loading->newest = epoch;
    atomic_store(&loading->volume->has_branches, true);
    if (restore->state == RESTORE_RUNNING)
        atomic_store(&loading->volume->restoring, restore->target);
    return 0;
}

int restores_load(struct volume *volume, struct meta_txn *txn, uint64_t *ret_newest,
                  struct error *err)
{
    struct loading loading = { .volume = volume };

    int r = restores_scan(txn, load_one, &loading, err);
    if (r == 0)
        *ret_newest = loading.newest;
    return r;
}

int restores_close_group(struct volume *volume, struct meta_txn *txn, struct error *err)
{
    uint64_t changed = volume->changed_restore;
    struct restore_record restore;
    struct record_key key;
    struct bytes value;

    if (changed == 0)
        return 0;
    restore_key(changed, &key);
    int r = meta_get(txn, record_key_bytes(&key), &value, err);
    if (r == 0)
        r = restore_decode(value, &restore);
    if (r < 0 && r != -ENOENT) /* -ENOENT: it was not committed */
        return error_set(err, r, "a restore cannot be begun");
    volume->changed_restore = 0;
    if (r == 0) {
        atomic_store(&volume->restoring, restore.target);
        if (changed == atomic_load(&volume->epoch))
            atomic_store(&volume->epoch, changed + 1);
    }
    return 0;
}

/* Those of no use, to be removed when they are not being looked through any more. */
struct idle {
    struct volume *volume;
    uint64_t gone;
    uint64_t mixed; /* the newest one of that kind: while it is there, none before tells anything */
    size_t count;
    uint64_t epochs[RESTORES_MAX];
};

/* What was saved between the target and the restore was saved for a snapshot there. Without one,
 * nothing is left of that branch. */
static bool has_branch(struct idle *idle, uint64_t epoch, const struct restore_record *restore)
{
    /* What came from outside has to do with any version from before. */
    struct snapshot_entry entry = { .epoch = restore->is_mixed ? 0 : restore->target };

    while (snapshot_set_next(&idle->volume->snapshots, entry.epoch, &entry) && entry.epoch <= epoch)
        if (entry.epoch != idle->gone)
            return true;
    return false;
}

static int note_mixed(uint64_t epoch, const struct restore_record *restore, void *arg)
{
    struct idle *idle = arg;

    if (restore->is_mixed)
        idle->mixed = epoch;
    return 0;
}

static int note_idle(uint64_t epoch, const struct restore_record *restore, void *arg)
{
    struct idle *idle = arg;
    bool is_needed = epoch >= idle->mixed && has_branch(idle, epoch, restore);

    if (restore->state != RESTORE_RUNNING && !is_needed && idle->count < RESTORES_MAX)
        idle->epochs[idle->count++] = epoch;
    return 0;
}

int restores_drop_idle(struct volume_txn *txn, uint64_t gone)
{
    struct idle idle = { .volume = txn->volume, .gone = gone };
    struct record_key key;

    if (!atomic_load(&txn->volume->has_branches))
        return 0;
    int r = restores_scan(txn->meta, note_mixed, &idle, &txn->err);
    if (r == 0)
        r = restores_scan(txn->meta, note_idle, &idle, &txn->err);
    for (size_t i = 0; r == 0 && i < idle.count; i++) {
        restore_key(idle.epochs[i], &key);
        r = txn_remove(txn, &key);
    }
    return r;
}
