/* Fetches what of a downloaded snapshot lies in packs, in the order of the files; then what only
 * snapshots that were taken since show. A batch at a time: found in one transaction, read in large
 * pieces, several at once, and copied outside of any, moved in a second one. That is durable with
 * its group, which makes the copies so first, as of any change; so while one batch becomes durable,
 * the next one is fetched.
 *
 * A batch is more than is fetched in the time that it has, unless the bucket is very fast: at its
 * end there are fewer requests than there might be. What was left is found again by the next one.
 * From a fast bucket whole packs are read, which costs the bucket the least; else less at a time,
 * so that who reads a file, or ends this, does not wait for what is under way.
 *
 * Memory: a batch is found as a list of runs, 150 bytes each; requests, SEGMENT_FETCHES_LARGE of
 * PACK_SPAN_MAX or SEGMENT_FETCHES_MAX of PACK_SPAN_SMALL; and copies that are not durable yet,
 * which are bounded as of any writer (segments.h). */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parallel.h"
#include "fs/chunk_scan.h"
#include "fs/commit.h"
#include "fs/history.h"
#include "fs/origin.h"
#include "fs/volume_internal.h"

#define BATCH_BYTES ((uint64_t)512 * 1024 * 1024)
#define BATCH_MS 2000
#define BATCH_FIRST_MS 300 /* to see how fast the bucket is: */
#define BATCH_FIRST_BYTES ((uint64_t)2 * PACK_SPAN_SMALL)
#define FAST_PER_MS ((uint64_t)32 * 1024) /* bytes: where large requests keep nobody waiting */
#define BATCH_RUNS ((size_t)65536)
#define SCAN_BYTES ((size_t)4 * 1024 * 1024) /* of records, in one transaction */

/* One request. */
struct fetched {
    struct pack_span span;
    size_t copied; /* of its part of the copies */
    int code;
    struct error err;
};

struct batch {
    struct volume *volume;
    struct fetch_cursor *cursor;
    struct record_key next; /* where the cursor goes, if all went well */
    struct record_key last; /* that was seen; empty: none */
    struct error damage;    /* of a record; what is behind it is fetched all the same */
    bool is_cut;            /* such a one ended the scan */
    struct pack_blocks_list blocks;
    uint64_t bytes;
    size_t scanned;
    bool is_full;
    struct fetched *spans;
    size_t span_count;
    struct segment_copy *copies; /* as many as blocks, then without gaps */
    size_t copied;
    int64_t until_ms;
    atomic_uint_fast64_t claimed; /* bytes on their way to the disk */
    atomic_bool is_altered;       /* some of it was */
    atomic_bool has_failed;       /* some of it for another reason */
    atomic_bool is_left;          /* some of it was not tried */
    struct error *err;
};

/* --- what there is to fetch --- */

/* A run that is not known is what check tells about. */
static int add_run(struct batch *batch, struct block_run run, uint64_t ino, uint64_t offset)
{
    struct pack_blocks part = { .ino = ino, .file_offset = offset };
    bool is_pack;
    int r = 0;

    while (run.count > 0 && r == 0) {
        if (segments_in_pack(batch->volume->segments, &run, &part, &is_pack) < 0)
            return 0;
        if (is_pack) {
            r = pack_blocks_add(&batch->blocks, &part);
            batch->bytes += block_run_sealed(&part.run);
        }
    }
    return r;
}

/* The first one is told of, in the end. */
static int note_damage(struct batch *batch, int r, const char *what)
{
    if (!is_altered(r))
        return error_set(batch->err, r, "%s", what);
    if (batch->damage.code == 0)
        (void)error_set(&batch->damage, -EBADMSG, "%s", what);
    return 0;
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
        return note_damage(batch, r, "a list of extents cannot be understood");
    r = chunk_blocks(&list, &blocks);
    for (size_t i = 0; i < blocks.count && r == 0; i++)
        r = add_run(batch, blocks.items[i], ino, (uint64_t)chunk * CHUNK_SIZE);
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

    if (batch->bytes >= (batch->cursor->is_measured ? BATCH_BYTES : BATCH_FIRST_BYTES) ||
        batch->blocks.count >= BATCH_RUNS || batch->scanned >= SCAN_BYTES) {
        memcpy(batch->next.data, key.data, key.len);
        batch->next.len = key.len;
        batch->is_full = true;
        return 1;
    }
    batch->scanned += key.len + value.len;
    memcpy(batch->last.data, key.data, key.len);
    batch->last.len = key.len;
    if (batch->cursor->is_in_history) {
        r = history_key_decode(key, &live, &last);
        if (r == 0)
            r = version_decode(value, last, &version);
        live_key = record_key_bytes(&live);
        if (r == 0 && version.value.len == 0)
            return 0; /* lost, and told when its file was removed (history_save_lost) */
    }
    return r < 0 ? note_damage(batch, r, "a saved record cannot be understood")
                 : add_list(batch, live_key, version.value);
}

static void range(const struct fetch_cursor *cursor, struct record_key *first,
                  struct record_key *end)
{
    static const uint8_t saved[] = { RECORD_TREE_LIVE, RECORD_HISTORY, RECORD_EXTENTS };
    static const uint8_t saved_end[] = { RECORD_TREE_LIVE, RECORD_HISTORY, RECORD_EXTENTS + 1 };

    kind_range(RECORD_EXTENTS, first, end);
    if (cursor->is_in_history) {
        memcpy(first->data, saved, sizeof(saved));
        memcpy(end->data, saved_end, sizeof(saved_end));
        first->len = end->len = sizeof(saved);
    }
    if (cursor->at.len > 0)
        *first = cursor->at;
}

static int find_blocks(struct volume_txn *txn, void *arg)
{
    struct batch *batch = arg;
    struct record_key first, end;

    range(batch->cursor, &first, &end);
    pack_blocks_clear(&batch->blocks);
    batch->bytes = 0;
    batch->scanned = 0;
    batch->is_full = batch->is_cut = false;
    batch->last.len = 0;
    batch->damage = (struct error){ .code = 0 };
    int r = meta_scan(txn->meta, record_key_bytes(&first), record_key_bytes(&end), visit, batch,
                      &txn->err);
    if (is_altered(r)) {
        batch->is_cut = true;
        return note_damage(batch, r, txn->err.text);
    }
    return r > 0 ? 0 : r;
}

/* The least key behind it. */
static int note_behind(struct bytes key, struct bytes value, void *arg)
{
    struct record_key *next = arg;

    (void)value;
    memcpy(next->data, key.data, key.len);
    next->data[key.len] = 0;
    next->len = key.len + 1;
    return 1;
}

/* And what to do about it: nothing gives up by itself what such a record may name. */
static void name_damaged(struct batch *batch)
{
    const struct bytes key = { .data = batch->next.data, .len = batch->next.len - 1 };
    struct record_key live = { .len = 0 };
    uint64_t ino, last;
    uint32_t chunk;

    int r = batch->cursor->is_in_history ? history_key_decode(key, &live, &last) : 0;
    if (r == 0)
        r = record_key_inode(live.len > 0 ? record_key_bytes(&live) : key, RECORD_EXTENTS, &ino,
                             &chunk);
    if (r == 0 && batch->damage.code < 0)
        (void)error_set(
            &batch->damage, -EBADMSG,
            live.len > 0 ? "what snapshots show of inode %llu at MiB %u was altered here, so that "
                           "it cannot be fetched; the bucket is needed until those snapshots "
                           "are removed"
                         : "what is stored of inode %llu at MiB %u was altered here, so that it "
                           "cannot be fetched; the bucket is needed until that file is removed "
                           "('find DIR -inum' finds it, and a snapshot may have it whole)",
            (unsigned long long)ino, chunk);
}

/* What cannot be opened is stored, behind the last record that was seen, and none is in between
 * but those that were removed since: so the batch ends behind the first one there. */
static int skip_damaged(struct batch *batch)
{
    struct record_key first, end;

    range(batch->cursor, &first, &end);
    if (batch->last.len > 0)
        (void)note_behind(record_key_bytes(&batch->last), (struct bytes){ 0 }, &first);
    int r = meta_scan_stored(batch->volume->engine, record_key_bytes(&first),
                             record_key_bytes(&end), note_behind, &batch->next, batch->err);
    batch->is_full = r > 0;
    if (r > 0)
        name_damaged(batch);
    return r < 0 ? r : 0;
}

/* --- the copies --- */

/* Whether another request is made. Each batch gets on; and one with something that was altered is
 * brought to its end, as the next one would find that again. */
static bool goes_on(struct batch *batch, size_t index)
{
    if (index == 0)
        return true;
    if (atomic_load(&batch->has_failed) || !origin_goes_on(batch->volume))
        return false;
    return batch->damage.code < 0 || atomic_load(&batch->is_altered) ||
           clock_monotonic_ms() < batch->until_ms;
}

static void copy_one(void *arg, size_t index)
{
    struct batch *batch = arg;
    struct fetched *fetched = &batch->spans[index];
    struct volume *volume = batch->volume;

    if (!goes_on(batch, index)) {
        atomic_store(&batch->is_left, true);
        return;
    }
    const uint64_t len = fetched->span.len;
    int r = room_find(volume, atomic_fetch_add(&batch->claimed, len) + len, &fetched->err);
    if (r == 0)
        r = segments_fetch(volume->segments, &batch->blocks, &fetched->span,
                           &batch->copies[fetched->span.first], &fetched->copied, &fetched->err);
    atomic_fetch_sub(&batch->claimed, len);
    fetched->code = r;
    if (r < 0)
        atomic_store(r == -EBADMSG ? &batch->is_altered : &batch->has_failed, true);
}

static int plan(struct batch *batch)
{
    struct pack_span span;
    size_t at = 0;

    pack_blocks_sort(&batch->blocks);
    batch->copies = calloc(batch->blocks.count, sizeof(*batch->copies));
    batch->spans = calloc(batch->blocks.count, sizeof(*batch->spans));
    if (batch->copies == NULL || batch->spans == NULL)
        return error_set(batch->err, -ENOMEM, "no memory to fetch blocks");
    const uint32_t max = batch->cursor->is_fast ? PACK_SPAN_MAX : PACK_SPAN_SMALL;
    while (pack_span_next(&batch->blocks, max, &at, &span))
        batch->spans[batch->span_count++].span = span;
    return 0;
}

/* The first failure is told. */
static void gather(struct batch *batch)
{
    for (size_t i = 0; i < batch->span_count; i++) {
        const struct fetched *fetched = &batch->spans[i];
        memmove(&batch->copies[batch->copied], &batch->copies[fetched->span.first],
                fetched->copied * sizeof(*batch->copies));
        batch->copied += fetched->copied;
        if (fetched->code < 0 && batch->err->code == 0)
            *batch->err = fetched->err;
    }
}

static int apply(struct volume_txn *txn, void *arg)
{
    struct batch *batch = arg;

    int r = txn_touch(txn);
    return r < 0 ? r : segments_fetched(txn->volume->segments, batch->copies, batch->copied);
}

/* While maintenance looks at where everything lies, nothing changes that. */
static int move_all(struct batch *batch)
{
    struct volume *volume = batch->volume;

    maintenance_begin(&volume->maintenance);
    int r = volume_change(volume, META_FREE, apply, batch);
    maintenance_end(&volume->maintenance);
    for (size_t i = 0; i < batch->copied; i++)
        segments_uncopy(volume->segments, &batch->copies[i]);
    return r < 0 && batch->err->code == 0
               ? error_set(batch->err, r, "what was fetched cannot be stored: %s",
                           strerrordesc_np(-r))
               : r;
}

static void fetch_spans(struct batch *batch)
{
    struct fetch_cursor *cursor = batch->cursor;
    const unsigned at_once = cursor->is_fast ? SEGMENT_FETCHES_LARGE : SEGMENT_FETCHES_MAX;
    const int64_t began_ms = clock_monotonic_ms();
    uint64_t bytes = 0;

    batch->until_ms = began_ms + (cursor->is_measured ? BATCH_MS : BATCH_FIRST_MS);
    parallel_each(batch->span_count, at_once, copy_one, batch);
    for (size_t i = 0; i < batch->span_count; i++)
        bytes += batch->spans[i].copied > 0 ? batch->spans[i].span.len : 0;
    cursor->is_measured = true;
    cursor->is_fast = bytes >= FAST_PER_MS * (uint64_t)(clock_monotonic_ms() - began_ms);
}

static int fetch_found(struct batch *batch)
{
    struct error *err = batch->err;

    int r = plan(batch);
    if (r < 0)
        return r;
    fetch_spans(batch);
    gather(batch);
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

static void release(struct batch *batch)
{
    pack_blocks_release(&batch->blocks);
    free(batch->spans);
    free(batch->copies);
}

int origin_fetch(struct volume *volume, struct fetch_cursor *cursor, uint64_t *ret_bytes,
                 struct error *err)
{
    struct batch batch = {
        .volume = volume, .cursor = cursor, .blocks = PACK_BLOCKS_LIST_INIT, .err = err
    };

    int r = volume_view(volume, find_blocks, &batch);
    if (r < 0 && err->code == 0)
        r = error_set(err, r, "it cannot be found what is to be fetched: %s", strerrordesc_np(-r));
    if (r == 0 && batch.is_cut)
        r = skip_damaged(&batch);
    if (r == 0 && batch.blocks.count > 0)
        r = fetch_found(&batch);
    for (size_t i = 0; i < batch.copied && r == 0; i++)
        *ret_bytes += batch.copies[i].len;
    if (r == 0 && batch.damage.code < 0)
        r = error_set(err, -EBADMSG, "%s", batch.damage.text);
    /* What was altered is not waited for: the rest is brought in safety first. */
    if (r == 0 || r == -EBADMSG) {
        struct error failed = *err;
        cursor->has_failed = cursor->has_failed || r < 0;
        int advanced = atomic_load(&batch.is_left) ? 0 : advance(&batch);
        if (r < 0)
            *err = failed;
        else
            r = advanced;
    }
    release(&batch);
    return r;
}
