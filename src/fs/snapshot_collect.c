/* What removed snapshots leave behind: versions of records that no kept snapshot sees. The index by
 * epoch leads to them. With s the removed snapshot and n the next kept one, a version that only s
 * saw was saved in an epoch from s up to, without, n. */
#include "fs/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/history.h"

#define BATCH 64u /* index entries in one transaction */

struct collector {
    uint64_t epoch; /* the snapshot's */
    struct record_key from;
};

struct index_entry {
    struct record_key key; /* the live record's */
    uint64_t epoch;
    enum history_what what;
};

struct batch {
    struct collector *collector;
    struct volume_txn *txn;
    size_t count;
    struct index_entry entries[BATCH];
    struct record_key next; /* behind them */
    bool has_more;
};

static int add_entry(struct bytes key, struct bytes value, void *arg)
{
    struct batch *batch = arg;
    struct index_entry *entry = &batch->entries[batch->count];

    (void)value; /* empty */
    if (history_index_decode(key, &entry->key, &entry->epoch, &entry->what) < 0)
        return error_set(&batch->txn->err, -EBADMSG,
                         "an index entry of saved records cannot be understood");
    batch->count++;
    memcpy(batch->next.data, key.data, key.len);
    batch->next.data[key.len] = 0;
    batch->next.len = key.len + 1;
    return batch->count == BATCH;
}

/* Every index entry of an epoch sorts behind this, those of the epochs before it in front. */
static void index_start(uint64_t epoch, struct record_key *ret)
{
    static const uint8_t live[] = { RECORD_TREE_LIVE, 0 };

    (void)history_index_encode((struct bytes){ .data = live, .len = sizeof(live) }, epoch,
                               (enum history_what)0, ret);
}

static int find_entries(struct volume_txn *txn, struct batch *batch)
{
    uint64_t behind = snapshot_set_kept_behind(&txn->volume->snapshots, batch->collector->epoch);
    struct record_key end;

    batch->txn = txn;
    batch->count = 0;
    index_start(behind == UINT64_MAX ? behind : behind + 1, &end);
    int r = meta_scan(txn->meta, record_key_bytes(&batch->collector->from), record_key_bytes(&end),
                      add_entry, batch, &txn->err);
    batch->has_more = r > 0;
    return r < 0 ? r : 0;
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

static int remove_saved(struct volume_txn *txn, const struct index_entry *entry)
{
    struct version version;

    int r = history_find(txn, &entry->key, entry->epoch, &version);
    if (r == -ENOENT || (r == 0 && version.last != entry->epoch))
        return history_remove(txn, &entry->key, entry->epoch); /* its index entry alone */
    if (r == -EBADMSG || r == -EPROTONOSUPPORT) /* for whom it was is not known any more */
        version.written = 0;
    else if (r < 0)
        return r;
    return snapshot_set_has_kept(&txn->volume->snapshots, version.written, entry->epoch)
               ? 0
               : history_remove(txn, &entry->key, entry->epoch);
}

static int collect_batch(struct volume_txn *txn, void *arg)
{
    struct batch *batch = arg;

    int r = find_entries(txn, batch);
    for (size_t i = 0; i < batch->count && r == 0; i++)
        r = batch->entries[i].what == HISTORY_SAVED ? remove_saved(txn, &batch->entries[i])
                                                    : remove_created(txn, &batch->entries[i]);
    return r;
}

static int forget(struct volume_txn *txn, void *arg)
{
    const uint64_t *epoch = arg;
    struct record_key key;

    txn->volume->changed_snapshot = *epoch;
    snapshot_key(*epoch, &key);
    return txn_remove(txn, &key);
}

/* 1: there is more. */
static int collect_some(struct volume *volume, struct collector *collector, struct batch *batch)
{
    uint64_t epoch = snapshot_set_removing(&volume->snapshots);

    if (epoch == 0)
        return 0;
    if (collector->epoch != epoch) {
        collector->epoch = epoch;
        index_start(epoch, &collector->from);
    }
    batch->collector = collector;
    int r = volume_change(volume, META_FREE, collect_batch, batch);
    if (r < 0)
        return r;
    if (batch->has_more) {
        collector->from = batch->next;
        return 1;
    }
    r = snapshot_change(volume, META_FREE, forget, &epoch, NULL);
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
