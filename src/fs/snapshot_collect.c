/* What removed snapshots leave behind: versions of records that no kept snapshot sees. The index by
 * epoch leads to them. With s the removed snapshot and n the next kept one, a version that only s
 * saw was saved in an epoch from s up to, without, n. */
#include "fs/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "fs/history.h"
#include "fs/restore.h"

struct collector {
    uint64_t epoch; /* the snapshot's */
    struct record_key from;
};

/* A transaction ends early when it removed or read so much: other writers wait for it. */
#define BATCH_REMOVED 256u
#define BATCH_EXAMINED ((size_t)16 << 20)

struct batch {
    struct collector *collector;
    size_t removed; /* versions, besides those of the index */
    struct index_batch index;
};

static int find_entries(struct volume_txn *txn, struct batch *batch)
{
    uint64_t behind = snapshot_set_kept_behind(&txn->volume->snapshots, batch->collector->epoch);

    return history_index_read(txn, &batch->collector->from,
                              behind == UINT64_MAX ? behind : behind + 1, &batch->index);
}

static int remove_created(struct volume_txn *txn, const struct index_entry *entry)
{
    struct record_key index;

    /* Who compares with an older snapshot still needs it. */
    if (snapshot_set_kept_before(&txn->volume->snapshots, entry->epoch) != 0)
        return 0;
    (void)history_index_encode(record_key_bytes(&entry->key), entry->epoch, HISTORY_CREATED,
                               &index);
    return meta_remove(txn->meta, record_key_bytes(&index), &txn->err);
}

/* Where any two versions may share blocks, with all others of its key that nobody sees. */
static int remove_unseen(struct volume_txn *txn, struct batch *batch,
                         const struct index_entry *entry, uint64_t written)
{
    bool is_mixed = false;
    bool is_on_line = false;
    size_t count = 0;

    int r = history_is_mixed(txn, &is_mixed);
    if (r == 0 && is_mixed)
        r = history_is_on_line(txn, written, &is_on_line);
    if (r < 0)
        return r;
    if (is_mixed && !is_on_line &&
        record_kind_of(record_key_bytes(&entry->key)) == RECORD_EXTENTS) {
        r = history_remove_unseen(txn, &entry->key, &count);
        batch->removed += count;
        if (!is_altered(r))
            return r;
        txn->err = (struct error){ .code = 0 };
    }
    return history_remove(txn, &entry->key, entry->epoch);
}

static int remove_saved(struct volume_txn *txn, struct batch *batch,
                        const struct index_entry *entry)
{
    struct version version;

    int r = history_find(txn, &entry->key, entry->epoch, &version);
    if (r == -ENOENT || (r == 0 && version.last != entry->epoch))
        return history_remove(txn, &entry->key, entry->epoch); /* its index entry alone */
    if (is_altered(r)) /* for whom it was is not known any more */
        version.written = 0;
    else if (r < 0)
        return r;
    return snapshot_set_has_kept(&txn->volume->snapshots, version.written, entry->epoch)
               ? 0
               : remove_unseen(txn, batch, entry, version.written);
}

/* Where to go on when not all entries were looked at. */
static void end_behind(struct batch *batch, const struct index_entry *entry)
{
    struct record_key *next = &batch->index.next;

    (void)history_index_encode(record_key_bytes(&entry->key), entry->epoch, entry->what, next);
    next->data[next->len++] = 0;
    batch->index.has_more = true;
}

static int collect_batch(struct volume_txn *txn, void *arg)
{
    struct batch *batch = arg;
    const struct index_batch *index = &batch->index;
    size_t examined = txn->examined;

    batch->removed = 0;
    int r = find_entries(txn, batch);
    for (size_t i = 0; i < index->count && r == 0; i++) {
        const struct index_entry *entry = &index->entries[i];
        r = entry->what == HISTORY_SAVED ? remove_saved(txn, batch, entry)
                                         : remove_created(txn, entry);
        if (batch->removed < BATCH_REMOVED && txn->examined - examined < BATCH_EXAMINED)
            continue;
        end_behind(batch, entry);
        break;
    }
    return r;
}

static int forget(struct volume_txn *txn, void *arg)
{
    const uint64_t *epoch = arg;
    struct record_key key;

    txn->volume->changed_snapshot = *epoch;
    snapshot_key(*epoch, &key);
    int r = txn_remove(txn, &key);
    return r < 0 ? r : restores_drop_idle(txn, *epoch);
}

/* 1: there is more. */
static int collect_some(struct volume *volume, struct collector *collector, struct batch *batch)
{
    uint64_t epoch = snapshot_set_removing(&volume->snapshots);

    if (epoch == 0)
        return 0;
    if (collector->epoch != epoch) {
        collector->epoch = epoch;
        history_index_start(epoch, &collector->from);
    }
    batch->collector = collector;
    int r = volume_change(volume, META_RECLAIM, collect_batch, batch);
    if (r < 0)
        return r;
    if (batch->index.has_more) {
        collector->from = batch->index.next;
        return 1;
    }
    r = snapshot_change(volume, META_RECLAIM, forget, &epoch, NULL);
    return r < 0 ? r : 1;
}

bool snapshots_collect(struct volume *volume)
{
    if (snapshot_set_removing(&volume->snapshots) == 0)
        return false;
    if (volume->collector == NULL)
        volume->collector = calloc(1, sizeof(*volume->collector));
    struct batch *batch = calloc(1, sizeof(*batch));
    int r = -ENOMEM;
    if (volume->collector != NULL && batch != NULL)
        r = collect_some(volume, volume->collector, batch);
    free(batch);
    return r > 0; /* a failure is tried again later, from where it was */
}

void snapshots_release(struct volume *volume)
{
    free(volume->collector);
    snapshot_set_release(&volume->snapshots);
}
