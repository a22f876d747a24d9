#include "fs/history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "base/wire.h"

#define WRITTEN_LEN 8u

bool history_has_kind(uint8_t kind)
{
    return kind == RECORD_INODE || kind == RECORD_DIRENT || kind == RECORD_EXTENTS ||
           kind == RECORD_XATTR || kind == RECORD_QUOTA;
}

int version_decode(struct bytes value, uint64_t last, struct version *ret)
{
    struct reader reader = reader_init(value);
    uint64_t written = reader_u64(&reader);

    if (value.len < WRITTEN_LEN || written > last)
        return -EBADMSG;
    *ret = (struct version){ .value = { .data = value.data + WRITTEN_LEN,
                                        .len = value.len - WRITTEN_LEN },
                             .written = written,
                             .last = last };
    return 0;
}

/* A key that is longer than any is refused by its encoder, and no record has one. */
static void history_key(const struct record_key *key, uint64_t last, struct record_key *ret)
{
    (void)history_key_encode(record_key_bytes(key), last, ret);
}

int history_put_version(struct volume_txn *txn, const struct record_key *key,
                        const struct spliced *value, uint64_t written, uint64_t last)
{
    CLEANUP(free_ptr) uint8_t *room = malloc(WRITTEN_LEN + spliced_room(value) + 1);
    struct record_key history;
    struct record_key index;

    if (room == NULL)
        return error_set(&txn->err, -ENOMEM, "no memory to save a record for a snapshot");
    struct writer writer = writer_init(room, WRITTEN_LEN);
    writer_u64(&writer, written);
    spliced_flatten(value, room + WRITTEN_LEN);
    history_key(key, last, &history);
    int r = history_index_encode(record_key_bytes(key), last, HISTORY_SAVED, &index);
    if (r == 0)
        r = meta_put(txn->meta, record_key_bytes(&history),
                     (struct bytes){ .data = room, .len = WRITTEN_LEN + value->len }, &txn->err);
    if (r == 0)
        r = meta_put(txn->meta, record_key_bytes(&index), (struct bytes){ 0 }, &txn->err);
    return r;
}

/* So that what looks for changes finds it without looking at everything. */
int history_put_created(struct volume_txn *txn, const struct record_key *key, uint64_t epoch)
{
    struct record_key index;

    if (snapshot_set_kept_before(&txn->volume->snapshots, epoch) == 0)
        return 0;
    int r = history_index_encode(record_key_bytes(key), epoch, HISTORY_CREATED, &index);
    return r < 0 ? r
                 : meta_put(txn->meta, record_key_bytes(&index), (struct bytes){ 0 }, &txn->err);
}

/* What came and went in one epoch concerns no snapshot. */
static int remove_created(struct volume_txn *txn, const struct record_key *key)
{
    struct record_key index;
    struct spliced value;

    int r = history_index_encode(record_key_bytes(key), txn->meta->epoch, HISTORY_CREATED, &index);
    if (r == 0)
        r = meta_view(txn->meta, record_key_bytes(&index), &value, &txn->err);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return meta_remove(txn->meta, record_key_bytes(&index), &txn->err);
}

static bool must_save(const struct volume_txn *txn, uint64_t written)
{
    return written < txn->meta->epoch &&
           snapshot_set_has_kept(&txn->volume->snapshots, written, txn->meta->epoch - 1);
}

static int history_find_last(struct volume_txn *txn, const struct record_key *key,
                             struct version *ret);

int history_save_lost(struct volume_txn *txn, const struct record_key *key)
{
    const uint64_t last = txn->meta->epoch - 1;
    const struct spliced nothing = spliced_of((struct bytes){ 0 });
    struct version before = { .last = 0 };

    if (!txn->has_history || !snapshot_set_has_kept(&txn->volume->snapshots, 0, last))
        return 0;
    int r = history_find_last(txn, key, &before);
    if (r < 0 && r != -ENOENT)
        return r;
    if (r == 0 && before.last == last)
        return 0; /* the lost one is of this epoch, and no snapshot showed it */
    return history_put_version(txn, key, &nothing, r == 0 ? before.last + 1 : 0, last);
}

int history_save(struct volume_txn *txn, const struct record_key *key, bool is_removed)
{
    struct spliced value;

    if (!history_has_kind(record_kind_of(record_key_bytes(key))))
        return 0;
    int r = meta_view(txn->meta, record_key_bytes(key), &value, &txn->err);
    if (r == -ENOENT)
        return is_removed ? 0 : history_put_created(txn, key, txn->meta->epoch);
    if (r < 0)
        return r;
    uint64_t written = txn->meta->found;
    if (must_save(txn, written))
        return history_put_version(txn, key, &value, written, txn->meta->epoch - 1);
    return is_removed && written == txn->meta->epoch ? remove_created(txn, key) : 0;
}

struct search {
    struct volume_txn *txn;
    struct version *ret;
    bool only_first;
    bool is_found;
};

static int visit_version(struct bytes key, struct bytes value, void *arg)
{
    struct search *search = arg;
    struct record_key live;
    uint64_t last;

    if (history_key_decode(key, &live, &last) < 0 || version_decode(value, last, search->ret) < 0)
        return error_set(&search->txn->err, -EBADMSG, "a saved record cannot be understood");
    search->is_found = true;
    return search->only_first;
}

/* Of those with first <= e < end. */
static int search(struct volume_txn *txn, const struct record_key *key, uint64_t first,
                  uint64_t end, bool only_first, struct version *ret)
{
    struct search search = { .txn = txn, .ret = ret, .only_first = only_first };
    struct record_key first_key;
    struct record_key end_key;

    if (first >= end)
        return -ENOENT;
    history_key(key, first, &first_key);
    history_key(key, end, &end_key);
    int r = meta_scan(txn->meta, record_key_bytes(&first_key), record_key_bytes(&end_key),
                      visit_version, &search, &txn->err);
    if (r < 0)
        return r;
    return search.is_found ? 0 : -ENOENT;
}

static int history_find_last(struct volume_txn *txn, const struct record_key *key,
                             struct version *ret)
{
    return search(txn, key, 0, txn->meta->epoch, false, ret);
}

int history_find(struct volume_txn *txn, const struct record_key *key, uint64_t first,
                 struct version *ret)
{
    return search(txn, key, first, UINT64_MAX, true, ret);
}

int history_next_written(struct volume_txn *txn, const struct record_key *key, uint64_t epoch,
                         struct version *ret)
{
    int r = history_find(txn, key, epoch, ret);

    if (r == 0 && ret->written < epoch)
        r = history_find(txn, key, ret->last + 1, ret);
    if (r != -ENOENT)
        return r;
    r = meta_get(txn->meta, record_key_bytes(key), &ret->value, &txn->err);
    ret->written = txn->meta->found;
    ret->last = UINT64_MAX;
    return r == 0 && ret->written < epoch ? -ENOENT : r;
}

/* The newest saved version from before epoch that can share blocks with what was current in it.
 * If the key was there when the newest kept snapshot in front of epoch was taken, its version of
 * then was saved when it was replaced, so there is no need to look further back. */
static int find_before(struct volume_txn *txn, const struct record_key *key, uint64_t epoch,
                       struct version *ret)
{
    uint64_t kept = snapshot_set_kept_before(&txn->volume->snapshots, epoch);

    return search(txn, key, kept, epoch, false, ret);
}

/* One that was lost, of history_save_lost(), names none: what nobody can find is not in use. */
int history_version_blocks(struct volume_txn *txn, struct bytes value, struct run_list *ret)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;

    if (value.len == 0)
        return 0;
    int r = extents_decode(value, &list);
    if (r < 0)
        return error_set(&txn->err, r, "a saved list of extents cannot be understood");
    return chunk_blocks(&list, ret);
}

int history_subtract_version(struct volume_txn *txn, const struct version *version,
                             struct run_list *from)
{
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;

    int r = history_version_blocks(txn, version->value, &blocks);
    return r < 0 ? r : run_list_subtract(from, &blocks);
}

/* Which blocks an altered version names is not known. So nothing is given up that it may name, and
 * what is in use is counted anew when it can be. The live filesystem does not suffer. */
static int unknown_blocks(struct volume_txn *txn)
{
    volume_report(txn->volume, VOLUME_EVENT_CORRUPTION,
                  "The metadata, a record that was saved for snapshots: %s.",
                  txn->err.code != 0 ? txn->err.text : "it was altered");
    txn->err = (struct error){ .code = 0 };
    segments_distrust(txn->volume->segments);
    return 0;
}

int history_drop_blocks(struct volume_txn *txn, const struct record_key *key,
                        struct run_list *dropped)
{
    struct version before;
    struct spliced value;

    if (!txn->has_history || dropped->count == 0)
        return run_list_join(&txn->freed, dropped);
    uint64_t all = run_list_sealed(dropped);
    int r = meta_view(txn->meta, record_key_bytes(key), &value, &txn->err);
    if (r < 0 && r != -ENOENT)
        return r;
    uint64_t self = txn->meta->found;
    if (r == 0 && must_save(txn, self)) {
        txn->held += (int64_t)all;
        return 0;
    }
    r = find_before(txn, key, txn->meta->epoch, &before);
    if (r == 0)
        r = history_subtract_version(txn, &before, dropped);
    if (r == 0 || r == -ENOENT)
        r = history_subtract_branches(txn, key, self, false, dropped);
    if (is_altered(r)) {
        txn->held += (int64_t)all;
        return unknown_blocks(txn);
    }
    if (r < 0)
        return r;
    txn->held += (int64_t)(all - run_list_sealed(dropped));
    return run_list_join(&txn->freed, dropped);
}

struct subtracting {
    struct volume_txn *txn;
    uint64_t self;
    bool only_behind;
    struct run_list *from;
};

static int subtract_saved(struct bytes key, struct bytes value, void *arg)
{
    struct subtracting *subtracting = arg;
    struct version version;
    struct record_key live;
    uint64_t last;

    if (history_key_decode(key, &live, &last) < 0 || version_decode(value, last, &version) < 0)
        return error_set(&subtracting->txn->err, -EBADMSG, "a saved record cannot be understood");
    subtracting->txn->examined += value.len;
    if (version.written == subtracting->self ||
        (subtracting->only_behind && version.written < subtracting->self))
        return 0;
    int r = history_subtract_version(subtracting->txn, &version, subtracting->from);
    return r == 0 && subtracting->from->count == 0 ? 1 : r; /* nothing is left to look for */
}

int history_subtract_all(struct volume_txn *txn, const struct record_key *key, uint64_t self,
                         bool only_behind, struct run_list *from)
{
    struct subtracting subtracting = { txn, self, only_behind, from };
    struct version live;
    struct record_key first;
    struct record_key end;

    if (from->count == 0)
        return 0;
    history_key(key, 0, &first);
    history_key(key, UINT64_MAX, &end);
    int r = meta_scan(txn->meta, record_key_bytes(&first), record_key_bytes(&end), subtract_saved,
                      &subtracting, &txn->err);
    if (r > 0)
        return 0;
    if (r == 0)
        r = meta_get(txn->meta, record_key_bytes(key), &live.value, &txn->err);
    if (r == 0 && txn->meta->found != self)
        r = history_subtract_version(txn, &live, from);
    return r == -ENOENT ? 0 : r;
}

static int subtract_behind(struct volume_txn *txn, const struct record_key *key, uint64_t last,
                           struct run_list *from)
{
    struct version behind;

    int r = search(txn, key, last + 1, UINT64_MAX, true, &behind);
    if (r == -ENOENT)
        r = meta_get(txn->meta, record_key_bytes(key), &behind.value, &txn->err);
    if (r == 0)
        r = history_subtract_version(txn, &behind, from);
    return r == -ENOENT ? 0 : r;
}

int history_own_blocks(struct volume_txn *txn, const struct record_key *key,
                       const struct version *version, bool only_behind, struct run_list *ret)
{
    struct version before;

    int r = history_version_blocks(txn, version->value, ret);
    if (r == 0)
        r = subtract_behind(txn, key, version->last, ret);
    if (r == 0)
        r = history_subtract_branches(txn, key, version->written, only_behind, ret);
    if (r < 0 || only_behind)
        return r;
    r = find_before(txn, key, version->written, &before);
    if (r == 0)
        r = history_subtract_version(txn, &before, ret);
    return r == -ENOENT ? 0 : r;
}

static int give_up_blocks(struct volume_txn *txn, const struct record_key *key,
                          const struct version *version)
{
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;

    int r = history_own_blocks(txn, key, version, false, &blocks);
    if (is_altered(r))
        return unknown_blocks(txn);
    if (r < 0)
        return r;
    txn->held -= (int64_t)run_list_sealed(&blocks);
    return run_list_join(&txn->freed, &blocks);
}

int history_forget_version(struct volume_txn *txn, const struct record_key *key, uint64_t last)
{
    struct record_key history;
    struct record_key index;

    history_key(key, last, &history);
    (void)history_index_encode(record_key_bytes(key), last, HISTORY_SAVED, &index);
    int r = meta_remove(txn->meta, record_key_bytes(&history), &txn->err);
    return r < 0 ? r : meta_remove(txn->meta, record_key_bytes(&index), &txn->err);
}

int history_remove(struct volume_txn *txn, const struct record_key *key, uint64_t last)
{
    struct version version;

    int r = search(txn, key, last, last + 1, true, &version);
    if (r == 0 && record_kind_of(record_key_bytes(key)) == RECORD_EXTENTS)
        r = give_up_blocks(txn, key, &version);
    else if (is_altered(r))
        r = unknown_blocks(txn);
    return r < 0 && r != -ENOENT ? r : history_forget_version(txn, key, last);
}

struct saved_scan {
    struct volume_txn *txn;
    blocks_visit_fn *visit;
    void *arg;
    struct run_list blocks;

    /* Where versions are compared with all others of their key: those of a key together. */
    bool is_mixed;
    struct record_key key;
    struct run_list all;
    size_t united; /* so many of these were there when no two had a block in common */
};

#define UNITED_MIN 4096u

/* Parts of a chunk's length, as lists of versions have them. */
static int visit_parts(struct saved_scan *scan, uint64_t ino, uint32_t chunk)
{
    int r = 0;

    for (size_t i = 0; i < scan->all.count && r == 0; i++) {
        struct block_run run = scan->all.items[i];
        const uint32_t most = CHUNK_SIZE / run.block_len;
        while (run.count > 0 && r == 0) {
            struct block_run part = run;
            part.count = run.count < most ? run.count : most;
            const struct run_list one = { .items = &part, .count = 1 };
            r = scan->visit(ino, chunk, &one, scan->arg);
            run.address += (uint32_t)block_run_sealed(&part);
            run.count -= part.count;
        }
    }
    return r;
}

/* What any saved version of the key names, and the current one does not. */
static int end_key(struct saved_scan *scan)
{
    struct volume_txn *txn = scan->txn;
    struct bytes live;
    uint64_t ino;
    uint32_t chunk;

    if (scan->key.len == 0)
        return 0;
    (void)record_key_inode(record_key_bytes(&scan->key), RECORD_EXTENTS, &ino, &chunk);
    run_list_unite(&scan->all);
    run_list_clear(&scan->blocks);
    int r = meta_get(txn->meta, record_key_bytes(&scan->key), &live, &txn->err);
    if (r == 0)
        r = history_version_blocks(txn, live, &scan->blocks);
    if (r == 0)
        r = run_list_subtract(&scan->all, &scan->blocks);
    if (r == 0 || r == -ENOENT)
        r = visit_parts(scan, ino, chunk);
    run_list_clear(&scan->all);
    scan->united = 0;
    return r;
}

/* Each is looked at once, and the memory is that of what they name together. */
static int join_version(struct saved_scan *scan, const struct record_key *key, struct bytes value)
{
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;

    int r = history_version_blocks(scan->txn, value, &blocks);
    if (r == 0 && (key->len != scan->key.len || memcmp(key->data, scan->key.data, key->len) != 0)) {
        r = end_key(scan);
        scan->key = *key;
    }
    if (r == 0)
        r = run_list_join(&scan->all, &blocks);
    if (r == 0 && scan->all.count > 2 * scan->united + UNITED_MIN) {
        run_list_unite(&scan->all);
        scan->united = scan->all.count;
    }
    return r;
}

static int visit_saved(struct bytes key, struct bytes value, void *arg)
{
    struct saved_scan *scan = arg;
    struct version version;
    struct record_key live;
    uint64_t last;
    uint64_t ino;
    uint32_t chunk;

    if (history_key_decode(key, &live, &last) < 0 || version_decode(value, last, &version) < 0 ||
        record_key_inode(record_key_bytes(&live), RECORD_EXTENTS, &ino, &chunk) < 0)
        return error_set(&scan->txn->err, -EBADMSG, "a saved list of extents cannot be understood");
    if (scan->is_mixed)
        return join_version(scan, &live, version.value);
    run_list_clear(&scan->blocks);
    int r = history_own_blocks(scan->txn, &live, &version, true, &scan->blocks);
    return r < 0 ? r : scan->visit(ino, chunk, &scan->blocks, scan->arg);
}

int history_scan_blocks(struct volume_txn *txn, blocks_visit_fn *visit, void *arg)
{
    struct saved_scan scan = { .txn = txn, .visit = visit, .arg = arg };
    struct record_key kind;
    struct record_key end_kind;
    struct record_key first;
    struct record_key end;

    if (snapshot_set_is_empty(&txn->volume->snapshots))
        return 0;
    int r = history_is_mixed(txn, &scan.is_mixed);
    if (r < 0)
        return r;
    kind_range(RECORD_EXTENTS, &kind, &end_kind);
    history_key(&kind, 0, &first);
    history_key(&end_kind, 0, &end);
    r = meta_scan(txn->meta, record_key_bytes(&first), record_key_bytes(&end), visit_saved, &scan,
                  &txn->err);
    if (r == 0)
        r = end_key(&scan);
    run_list_release(&scan.blocks);
    run_list_release(&scan.all);
    return r;
}

/* What a snapshot sees: two sources, each at its next record. */
struct past_source {
    struct record_key at; /* where to look on */
    struct record_key end;
    struct record_key key; /* of a live record, also from history */
    struct bytes value;
    uint64_t written;
    bool is_read;
    bool is_left;
};

struct past_scan {
    struct volume_txn *txn;
    struct past_source live;
    struct past_source saved;
};

static void key_copy(struct bytes from, struct record_key *to)
{
    memcpy(to->data, from.data, from.len);
    to->len = from.len;
}

static int take_first(struct bytes key, struct bytes value, void *arg)
{
    struct past_source *source = arg;

    key_copy(key, &source->key);
    source->value = value;
    source->is_left = true;
    return 1;
}

static int read_first(struct past_scan *scan, struct past_source *source)
{
    struct meta_txn *meta = scan->txn->meta;

    source->is_left = false;
    source->is_read = true;
    int r = meta_scan(meta, record_key_bytes(&source->at), record_key_bytes(&source->end),
                      take_first, source, &scan->txn->err);
    source->written = meta->found;
    return r < 0 ? r : 0;
}

static int read_live(struct past_scan *scan)
{
    struct past_source *live = &scan->live;

    int r = live->is_read ? 0 : read_first(scan, live);
    if (r == 0 && live->is_left) {
        live->at = live->key;
        live->at.data[live->at.len++] = 0; /* the least key behind it */
    }
    return r;
}

/* To the version that the snapshot sees of the next key that has one. */
static int read_saved(struct past_scan *scan)
{
    struct past_source *saved = &scan->saved;
    struct version version;
    struct record_key key;
    uint64_t last;

    if (saved->is_read)
        return 0;
    do {
        int r = read_first(scan, saved);
        if (r < 0 || !saved->is_left)
            return r;
        if (history_key_decode(record_key_bytes(&saved->key), &key, &last) < 0 ||
            version_decode(saved->value, last, &version) < 0)
            return error_set(&scan->txn->err, -EBADMSG, "a saved record cannot be understood");
        history_key(&key, last < scan->txn->snapshot ? scan->txn->snapshot : UINT64_MAX,
                    &saved->at);
    } while (last < scan->txn->snapshot);
    saved->key = key;
    saved->value = version.value;
    saved->written = version.written;
    return 0;
}

static int key_order(const struct record_key *a, const struct record_key *b)
{
    size_t common = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->data, b->data, common);

    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

static int past_step(struct past_scan *scan, meta_visit_fn *visit, void *arg)
{
    struct past_source *live = &scan->live;
    struct past_source *saved = &scan->saved;

    int order = !saved->is_left ? -1 : !live->is_left ? 1 : key_order(&live->key, &saved->key);
    struct past_source *seen = order < 0 ? live : saved; /* what was saved comes before */
    live->is_read = order > 0;
    saved->is_read = order < 0;
    return seen->written <= scan->txn->snapshot
               ? visit(record_key_bytes(&seen->key), seen->value, arg)
               : 0;
}

int history_scan(struct volume_txn *txn, const struct record_key *first,
                 const struct record_key *end, meta_visit_fn *visit, void *arg)
{
    struct past_scan scan = { .txn = txn, .live = { .at = *first, .end = *end } };
    int r = 0;

    history_key(first, 0, &scan.saved.at);
    history_key(end, 0, &scan.saved.end);
    while (r == 0) {
        r = read_live(&scan);
        if (r == 0)
            r = read_saved(&scan);
        if (r < 0 || (!scan.live.is_left && !scan.saved.is_left))
            break;
        r = past_step(&scan, visit, arg);
    }
    return r;
}

int history_get(struct volume_txn *txn, const struct record_key *key, struct bytes *ret)
{
    struct version version;

    int r = history_find(txn, key, txn->snapshot, &version);
    if (r == -ENOENT) {
        r = meta_get(txn->meta, record_key_bytes(key), &version.value, &txn->err);
        version.written = txn->meta->found;
    }
    if (r == 0 && version.written > txn->snapshot)
        r = -ENOENT;
    if (r == 0)
        *ret = version.value;
    return r;
}
