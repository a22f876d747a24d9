/* Fetches what of a downloaded snapshot lies in packs, in the order of the files; then what only
 * snapshots that were taken since show. Some megabytes at a time: found in one transaction, copied
 * outside of any, moved in a second one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parallel.h"
#include "fs/chunk_scan.h"
#include "fs/commit.h"
#include "fs/history.h"
#include "fs/origin.h"
#include "fs/volume_internal.h"

#define BATCH_BYTES ((uint64_t)16 * 1024 * 1024)
#define SCAN_BYTES ((size_t)4 * 1024 * 1024) /* of records, in one transaction */
#define THREADS 4u

struct fetched {
    struct block_run run;
    struct segment_origin origin;
    struct segment_copy copy;
    struct error err;
    bool is_copied;
};

struct batch {
    struct volume *volume;
    struct fetch_cursor *cursor;
    struct record_key next; /* where the cursor goes, if all went well */
    struct fetched *items;
    size_t count, room;
    uint64_t bytes;
    size_t scanned;
    bool is_full;
    struct segment_copy *copies;
    size_t copied;
    struct error *err;
};

static int add_item(struct batch *batch, const struct block_run *run,
                    const struct segment_origin *origin)
{
    if (batch->count == batch->room) {
        size_t room = batch->room == 0 ? 64 : 2 * batch->room;
        struct fetched *items = reallocarray(batch->items, room, sizeof(*items));
        if (items == NULL)
            return -ENOMEM;
        batch->items = items;
        batch->room = room;
    }
    batch->items[batch->count++] = (struct fetched){ .run = *run, .origin = *origin };
    batch->bytes += block_run_sealed(run);
    return 0;
}

/* A run that is not known is what check tells about. */
static int add_run(struct batch *batch, struct block_run run, const struct segment_origin *origin)
{
    struct block_run part;
    bool is_pack;
    int r = 0;

    while (run.count > 0 && r == 0) {
        if (segments_in_pack(batch->volume->segments, &run, &part, &is_pack) < 0)
            return 0;
        if (is_pack)
            r = add_item(batch, &part, origin);
    }
    return r;
}

static int add_list(struct batch *batch, struct bytes live_key, struct bytes value)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;
    uint64_t ino;
    uint32_t chunk;

    int r = record_key_inode(live_key, RECORD_EXTENTS, &ino, &chunk);
    if (r == 0)
        r = extents_decode(value, &list);
    if (r < 0)
        return error_set(batch->err, r, "an EXTENTS record cannot be understood");
    const struct segment_origin origin = { .ino = ino, .offset = (uint64_t)chunk * CHUNK_SIZE };
    r = chunk_blocks(&list, &blocks);
    for (size_t i = 0; i < blocks.count && r == 0; i++)
        r = add_run(batch, blocks.items[i], &origin);
    return r;
}

static int visit(struct bytes key, struct bytes value, void *arg)
{
    struct batch *batch = arg;
    struct record_key live;
    struct version version = { .value = value };
    struct bytes live_key = key;
    uint64_t last;
    int r = 0;

    if (batch->bytes >= BATCH_BYTES || batch->scanned >= SCAN_BYTES) {
        memcpy(batch->next.data, key.data, key.len);
        batch->next.len = key.len;
        batch->is_full = true;
        return 1;
    }
    batch->scanned += key.len + value.len;
    if (batch->cursor->is_in_history) {
        r = history_key_decode(key, &live, &last);
        if (r == 0)
            r = version_decode(value, last, &version);
        live_key = record_key_bytes(&live);
    }
    return r < 0 ? error_set(batch->err, r, "a saved record cannot be understood")
                 : add_list(batch, live_key, version.value);
}

static int find_blocks(struct volume_txn *txn, void *arg)
{
    static const uint8_t saved[] = { RECORD_TREE_LIVE, RECORD_HISTORY, RECORD_EXTENTS };
    static const uint8_t saved_end[] = { RECORD_TREE_LIVE, RECORD_HISTORY, RECORD_EXTENTS + 1 };
    struct batch *batch = arg;
    struct record_key first, end;

    kind_range(RECORD_EXTENTS, &first, &end);
    if (batch->cursor->is_in_history) {
        memcpy(first.data, saved, sizeof(saved));
        memcpy(end.data, saved_end, sizeof(saved_end));
        first.len = end.len = sizeof(saved);
    }
    if (batch->cursor->at.len > 0)
        first = batch->cursor->at;
    batch->count = 0;
    batch->bytes = 0;
    batch->scanned = 0;
    batch->is_full = false;
    int r = meta_scan(txn->meta, record_key_bytes(&first), record_key_bytes(&end), visit, batch,
                      &txn->err);
    return r > 0 ? 0 : r;
}

static void copy_one(void *arg, size_t index)
{
    struct batch *batch = arg;
    struct fetched *item = &batch->items[index];

    item->is_copied = segments_fetch(batch->volume->segments, &item->run, &item->origin,
                                     &item->copy, &item->err) == 0;
}

/* Freed since, or not to be read; the first that cannot be read is told. */
static void sort_out(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct fetched *item = &batch->items[i];
        struct block_run run = item->run, part;
        bool is_pack = false;
        if (item->is_copied)
            batch->copies[batch->copied++] = item->copy;
        else if (segments_in_pack(batch->volume->segments, &run, &part, &is_pack) == 0 && is_pack &&
                 batch->err->code == 0)
            *batch->err = item->err;
    }
}

/* The counters make sure that there is a group to close. */
static int apply(struct volume_txn *txn, void *arg)
{
    struct batch *batch = arg;
    struct record_key key;
    struct bytes counters;

    state_key(STATE_COUNTERS, &key);
    int r = txn_get(txn, &key, &counters);
    if (r == 0)
        r = txn_put(txn, &key, counters);
    return r < 0 ? r : segments_fetched(txn->volume->segments, batch->copies, batch->copied);
}

/* While maintenance looks at where everything lies, nothing changes that. */
static int move_all(struct batch *batch)
{
    struct volume *volume = batch->volume;

    mutex_lock(&volume->maintenance);
    int r = volume_change(volume, META_FREE, apply, batch);
    mutex_unlock(&volume->maintenance);
    for (size_t i = 0; i < batch->copied; i++)
        segments_uncopy(volume->segments, &batch->copies[i]);
    if (r == 0)
        r = volume_sync(volume, batch->err);
    return r < 0 && batch->err->code == 0
               ? error_set(batch->err, r, "what was fetched cannot be stored: %s",
                           strerrordesc_np(-r))
               : r;
}

static int fetch_found(struct batch *batch)
{
    struct error *err = batch->err;

    int r = room_refuse(batch->volume, batch->bytes, err);
    if (r < 0)
        return r;
    batch->copies = calloc(batch->count, sizeof(*batch->copies));
    if (batch->copies == NULL)
        return error_set(err, -ENOMEM, "no memory to fetch blocks");
    parallel_each(batch->count, THREADS, copy_one, batch);
    sort_out(batch);
    struct error failed = *err;
    *err = (struct error){ .code = 0 };
    r = batch->copied > 0 ? move_all(batch) : 0;
    if (r < 0 || failed.code == 0)
        return r;
    *err = failed;
    return failed.code;
}

/* To what is behind the batch; then to what snapshots hold; then from the beginning. */
static int advance(struct batch *batch)
{
    struct fetch_cursor *cursor = batch->cursor;

    if (batch->is_full) {
        cursor->at = batch->next;
        return 0;
    }
    cursor->at.len = 0;
    cursor->is_in_history = !cursor->is_in_history;
    if (cursor->is_in_history)
        return 0;
    bool has_failed = cursor->has_failed;
    cursor->has_failed = false;
    return has_failed || segments_in_packs(batch->volume->segments) == 0
               ? 0
               : error_set(batch->err, -EAGAIN,
                           "some blocks of the snapshot are named by no file "
                           "any more, which is looked at again");
}

int origin_fetch(struct volume *volume, struct fetch_cursor *cursor, uint64_t *ret_bytes,
                 struct error *err)
{
    struct batch batch = { .volume = volume, .cursor = cursor, .err = err };

    int r = volume_view(volume, find_blocks, &batch);
    if (r < 0 && err->code == 0)
        r = error_set(err, r, "it cannot be found what is to be fetched: %s", strerrordesc_np(-r));
    if (r == 0 && batch.count > 0)
        r = fetch_found(&batch);
    for (size_t i = 0; i < batch.copied && r == 0; i++)
        *ret_bytes += block_run_sealed(&batch.copies[i].run);
    /* What was altered is not waited for: the rest is brought in safety first. */
    if (r == 0 || r == -EBADMSG) {
        struct error failed = *err;
        cursor->has_failed = cursor->has_failed || r < 0;
        int advanced = advance(&batch);
        if (r < 0)
            *err = failed;
        else
            r = advanced;
    }
    free(batch.items);
    free(batch.copies);
    return r;
}
