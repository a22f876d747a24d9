/* Which keys a snapshot that arrives shows otherwise, and putting them. */
#include "fs/snapshot_import_batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/history.h"

#define BATCH_BYTES ((uint64_t)16 * 1024 * 1024) /* of blocks */
#define BATCH_VALUES ((size_t)2 * 1024 * 1024)
#define BATCH_EXAMINED ((size_t)8 * 1024 * 1024) /* which the transaction keeps in memory */

static void copy_key(struct bytes from, struct record_key *to)
{
    memcpy(to->data, from.data, from.len);
    to->len = from.len;
}

/* Behind all records that have a history; LOCATION records are looked up one by one. */
static void end_key(struct record_key *ret)
{
    struct record_key first;

    kind_range(RECORD_QUOTA, &first, ret);
}

/* --- the dump --- */

static void next_record(struct import_batch *batch)
{
    const struct underlay_source *source = batch->import->origin->records;
    struct record_key end;

    end_key(&end);
    batch->has_record = batch->chunk != NULL &&
                        source->ops->next(&batch->body, &batch->key, &batch->value) &&
                        underlay_order(batch->key, record_key_bytes(&end)) < 0;
}

/* To the first record that is not in front of batch->at. */
static void rewind_records(struct import_batch *batch)
{
    batch->body = batch->chunk != NULL ? batch->chunk->body : (struct bytes){ .data = NULL };
    do
        next_record(batch);
    while (batch->has_record && underlay_order(batch->key, record_key_bytes(&batch->at)) < 0);
}

static int take_chunk(struct import_batch *batch)
{
    struct underlay_source *source = batch->import->origin->records;

    int r =
        source->ops->take(source, record_key_bytes(&batch->at), true, &batch->chunk, batch->err);
    if (r == -ENOENT)
        batch->chunk = NULL;
    return r == -ENOENT ? 0 : r;
}

/* --- what differs --- */

static int add_missing(struct import_batch *batch, const struct record_key *key,
                       const struct run_list *blocks)
{
    struct import_missing missing = { .origin = { .ino = 0 } };
    uint32_t chunk = 0;

    int r = record_key_inode(record_key_bytes(key), RECORD_EXTENTS, &missing.origin.ino, &chunk);
    if (r < 0)
        return r;
    missing.origin.offset = (uint64_t)chunk * CHUNK_SIZE;
    if (batch->missing_count + blocks->count > batch->missing_room) {
        size_t room = 2 * (batch->missing_count + blocks->count) + 64;
        struct import_missing *more = reallocarray(batch->missing, room, sizeof(*more));
        if (more == NULL)
            return -ENOMEM;
        batch->missing = more;
        batch->missing_room = room;
    }
    for (size_t i = 0; i < blocks->count; i++) {
        missing.run = blocks->items[i];
        batch->missing[batch->missing_count++] = missing;
    }
    batch->missing_bytes += run_list_sealed(blocks);
    return 0;
}

static int find_missing(struct volume_txn *txn, struct import_batch *batch,
                        const struct import_change *change)
{
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;

    int r = history_missing_blocks(txn, &change->key, change->value, &blocks);
    return r < 0 ? r : add_missing(batch, &change->key, &blocks);
}

struct finding {
    struct volume_txn *txn;
    struct import_batch *batch;
    size_t values;
};

/* 1: the batch is full, and goes on with this key next time. */
static int add_change(struct finding *finding, struct bytes key, const struct bytes *value)
{
    struct import_batch *batch = finding->batch;

    if (batch->count == IMPORT_CHANGES || batch->missing_bytes >= BATCH_BYTES ||
        finding->values >= BATCH_VALUES || finding->txn->examined >= BATCH_EXAMINED) {
        copy_key(key, &batch->next);
        return 1;
    }
    struct import_change *change = &batch->changes[batch->count++];
    *change = (struct import_change){ .is_there = value != NULL };
    copy_key(key, &change->key);
    if (value == NULL)
        return 0;
    change->value = *value;
    finding->values += value->len;
    return record_kind_of(key) == RECORD_EXTENTS ? find_missing(finding->txn, batch, change) : 0;
}

/* Records of the dump in front of a key are not here at all. */
static int add_until(struct finding *finding, struct bytes key)
{
    struct import_batch *batch = finding->batch;
    int r = 0;

    while (r == 0 && batch->has_record && underlay_order(batch->key, key) < 0) {
        r = add_change(finding, batch->key, &batch->value);
        if (r == 0)
            next_record(batch);
    }
    return r;
}

static int visit_seen(struct bytes key, struct bytes value, void *arg)
{
    struct finding *finding = arg;
    struct import_batch *batch = finding->batch;

    if (!history_has_kind(record_kind_of(key)))
        return 0;
    int r = add_until(finding, key);
    if (r != 0)
        return r;
    if (!batch->has_record || underlay_order(batch->key, key) != 0)
        return add_change(finding, key, NULL);
    if (batch->value.len != value.len || memcmp(batch->value.data, value.data, value.len) != 0)
        r = add_change(finding, key, &batch->value);
    if (r == 0)
        next_record(batch);
    return r;
}

static int find(struct volume_txn *txn, void *arg)
{
    struct import_batch *batch = arg;
    struct finding finding = { .txn = txn, .batch = batch };
    struct record_key end;

    end_key(&end);
    batch->next.len = 0;
    batch->count = 0;
    batch->missing_count = 0;
    batch->missing_bytes = 0;
    if (batch->chunk != NULL && batch->chunk->behind.data != NULL &&
        underlay_order(batch->chunk->behind, record_key_bytes(&end)) < 0) {
        copy_key(batch->chunk->behind, &end);
        batch->next = end;
    }
    txn->snapshot = batch->epoch; /* of what history_scan() shows */
    rewind_records(batch);
    int r = history_scan(txn, &batch->at, &end, visit_seen, &finding);
    if (r == 0)
        r = add_until(&finding, record_key_bytes(&end));
    return r < 0 ? r : 0;
}

int import_batch_find(struct import_batch *batch)
{
    int r = take_chunk(batch);

    if (r < 0)
        return r;
    batch->changes = calloc(IMPORT_CHANGES, sizeof(*batch->changes));
    if (batch->changes == NULL)
        return error_set(batch->err, -ENOMEM, "no memory for records of a snapshot");
    r = volume_view(batch->volume, find, batch);
    return r < 0 ? error_set(batch->err, r, "records of the snapshot cannot be compared: %s",
                             strerrordesc_np(-r))
                 : 0;
}

void import_batch_release(struct import_batch *batch)
{
    struct underlay_source *source = batch->import->origin->records;

    for (size_t i = 0; i < batch->copied; i++)
        segments_uncopy(batch->volume->segments, &batch->copies[i]);
    if (batch->chunk != NULL)
        source->ops->give(source, batch->chunk);
    free(batch->missing);
    free(batch->changes);
    free(batch->parts);
    free(batch->copies);
}

/* --- putting it --- */

/* Numbers of inodes that the snapshot shows are not given out any more: it can be restored. */
static void note_inode(struct volume_txn *txn, const struct record_key *key)
{
    struct volume *volume = txn->volume;
    uint64_t ino;

    if (record_key_inode(record_key_bytes(key), RECORD_INODE, &ino, NULL) < 0 ||
        ino < atomic_load(&volume->next_ino))
        return;
    atomic_store(&volume->next_ino, ino + 1);
    atomic_store(&volume->counters_changed, true);
}

/* Whether what was just found missing is what was found before. */
static int compare_missing(struct volume_txn *txn, const struct import_batch *batch)
{
    CLEANUP(run_list_release) struct run_list now = RUN_LIST_INIT;
    CLEANUP(run_list_release) struct run_list before = RUN_LIST_INIT;
    int r = run_list_join(&now, &txn->made_live);

    for (size_t i = 0; i < batch->missing_count && r == 0; i++)
        r = run_list_add(&before, &batch->missing[i].run);
    uint64_t bytes = run_list_sealed(&before);
    if (r == 0)
        r = run_list_subtract(&now, &before);
    if (r == 0 && (now.count > 0 || run_list_sealed(&txn->made_live) != bytes))
        r = -ESTALE;
    return r;
}

static int look_at_held(struct import_batch *batch)
{
    struct block_run front;
    bool is_held = true;
    int r = 0;

    for (size_t i = 0; i < batch->part_count && r == 0; i++) {
        struct block_run run = batch->parts[i].run;
        while (batch->parts[i].is_held && run.count > 0 && r == 0) {
            r = segments_find_held(batch->volume->segments, &run, &front, &is_held);
            if (r == 0 && !is_held)
                r = -ESTALE;
        }
    }
    return r;
}

int import_check_own(struct volume *volume, uint64_t epoch, struct error *err)
{
    struct snapshot_entry entry;

    if (snapshot_set_arriving(&volume->snapshots, &entry) && entry.epoch == epoch)
        return 0;
    return error_set(err, -EIDRM, "what was there of the snapshot was dropped meanwhile");
}

static int put_all(struct volume_txn *txn, void *arg)
{
    struct import_batch *batch = arg;

    int r = import_check_own(txn->volume, batch->epoch, batch->err);
    if (r < 0)
        return r;
    if (batch->count > 0 && txn->meta->epoch <= batch->epoch)
        return -ESTALE;
    for (size_t i = 0; i < batch->count && r == 0; i++) {
        const struct import_change *change = &batch->changes[i];
        if (change->is_there)
            note_inode(txn, &change->key);
        r = history_insert(txn, &change->key, batch->epoch,
                           change->is_there ? &change->value : NULL);
    }
    if (r == 0)
        r = compare_missing(txn, batch);
    if (r == 0)
        r = look_at_held(batch);
    if (r == 0)
        r = segments_place(txn->volume->segments, batch->copies, batch->copied, &txn->err);
    return r;
}

/* While compaction looks at where everything lies, nothing becomes live that was not. */
int import_batch_put(struct import_batch *batch)
{
    struct volume *volume = batch->volume;

    if (batch->count == 0)
        return 0;
    maintenance_begin(&volume->maintenance);
    int r = volume_change(volume, META_WRITE, put_all, batch);
    maintenance_end(&volume->maintenance);
    return r < 0 && r != -ESTALE && batch->err->code == 0
               ? error_set(batch->err, r, "records of the snapshot cannot be stored: %s",
                           strerrordesc_np(-r))
               : r;
}
