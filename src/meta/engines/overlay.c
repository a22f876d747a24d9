#include "meta/engines/overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "meta/engines/overlay_internal.h"

#define TXN_ARENA_BLOCK ((size_t)16 * 1024)
#define POOL_MAX 64u
#define DRAIN_WAIT_NS 50000000

/* A transaction is taken to need no more than this before it has begun. */
#define NEED_AHEAD ((uint64_t)256 * 1024)

static struct overlay_engine *engine_of(const struct overlay_txn *txn)
{
    return (struct overlay_engine *)txn->base.engine;
}

int overlay_layer_new(struct overlay_layer **ret)
{
    struct overlay_layer *layer = calloc(1, sizeof(*layer));
    if (layer == NULL)
        return -ENOMEM;
    int r = ordered_map_new(&layer->map);
    if (r < 0) {
        free(layer);
        return r;
    }
    atomic_init(&layer->refs, 1);
    *ret = layer;
    return 0;
}

static void layer_ref(struct overlay_layer *layer)
{
    atomic_fetch_add_explicit(&layer->refs, 1, memory_order_relaxed);
}

void overlay_layer_unref(struct overlay_layer *layer)
{
    if (layer == NULL || atomic_fetch_sub_explicit(&layer->refs, 1, memory_order_acq_rel) != 1)
        return;
    ordered_map_free(layer->map);
    free(layer);
}

static void txn_free(struct overlay_engine *engine, struct overlay_txn *txn)
{
    engine->store->ops->reader_free(txn->reader);
    arena_release(&txn->arena);
    free(txn);
}

void overlay_pool_clear(struct overlay_engine *engine)
{
    while (engine->pool != NULL) {
        struct overlay_txn *txn = engine->pool;
        engine->pool = txn->next;
        txn_free(engine, txn);
    }
    engine->pool_count = 0;
}

static struct overlay_txn *txn_take(struct overlay_engine *engine) REQUIRES(engine->state)
{
    struct overlay_txn *txn = engine->pool;

    if (txn != NULL) {
        engine->pool = txn->next;
        engine->pool_count--;
        return txn;
    }
    txn = calloc(1, sizeof(*txn));
    if (txn == NULL)
        return NULL;
    txn->base.engine = &engine->base;
    txn->arena = arena_init(TXN_ARENA_BLOCK);
    return txn;
}

/* Pins the three layers as they are now. */
static int txn_pin_locked(struct overlay_engine *engine, struct overlay_txn **ret,
                          struct error *err) REQUIRES(engine->state)
{
    struct overlay_txn *txn = txn_take(engine);
    if (txn == NULL)
        return error_set(err, -ENOMEM, "No memory for a metadata transaction.");

    int r = engine->store->ops->reader_begin(engine->store, &txn->reader, err);
    if (r < 0) {
        txn_free(engine, txn);
        return r;
    }
    txn->active = engine->active;
    layer_ref(txn->active);
    txn->frozen = engine->frozen;
    if (txn->frozen != NULL)
        layer_ref(txn->frozen);
    txn->seq = engine->seq;
    txn->failed = 0;
    txn->is_writer = false;
    txn->reads_count = 0;
    txn->base.access = META_READ;
    txn->base.epoch = 0;
    txn->base.found = 0;
    engine->pinned++;
    *ret = txn;
    return 0;
}

void overlay_txn_end(struct overlay_txn *txn)
{
    struct overlay_engine *engine = engine_of(txn);

    engine->store->ops->reader_end(txn->reader);
    overlay_layer_unref(txn->active);
    overlay_layer_unref(txn->frozen);
    arena_reset(&txn->arena);

    mutex_lock(&engine->state);
    engine->pinned--;
    if (engine->is_draining && engine->pinned == 0)
        (void)pthread_cond_signal(&engine->work);
    bool is_pooled = engine->pool_count < POOL_MAX;
    if (is_pooled) {
        txn->next = engine->pool;
        engine->pool = txn;
        engine->pool_count++;
    }
    mutex_unlock(&engine->state);
    if (!is_pooled)
        txn_free(engine, txn);
}

/* The committer wants to reopen the store and needs a moment without readers. It gets one, but
 * a thread that holds a transaction may begin another, so nobody is held up for long. */
static void let_drain(struct overlay_engine *engine) REQUIRES(engine->state)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += DRAIN_WAIT_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    int r = 0;
    while (engine->is_draining && r == 0)
        r = pthread_cond_clockwait(&engine->changed, &engine->state.native, CLOCK_MONOTONIC,
                                   &until);
}

/* For access that does not need the writer lock, at least not yet. */
static int begin_read(struct overlay_engine *engine, enum meta_access access, struct meta_txn **ret,
                      struct error *err)
{
    struct overlay_txn *txn = NULL;

    mutex_lock(&engine->state);
    if (engine->is_draining)
        let_drain(engine);
    int r = txn_pin_locked(engine, &txn, err);
    mutex_unlock(&engine->state);
    if (r < 0)
        return r;
    txn->base.access = access;
    *ret = &txn->base;
    return 0;
}

static int refusal(const struct overlay_engine *engine, struct error *err)
{
    if (engine->refused.code == 0)
        return 0;
    if (err != NULL)
        *err = engine->refused;
    return engine->refused.code;
}

/* The transaction is the one that writes now. */
static void note_writer(struct overlay_engine *engine, struct overlay_txn *txn)
    REQUIRES(engine->writer)
{
    struct overlay_layer *active = txn->active;

    if (atomic_load(&active->epoch) == 0 && engine->hooks.epoch != NULL)
        atomic_store(&active->epoch, engine->hooks.epoch(engine->hooks.arg));
    txn->base.epoch = atomic_load(&active->epoch);
    txn->need_before = active->need;
    txn->is_writer = true;
}

int overlay_txn_begin_locked(struct overlay_engine *engine, enum meta_access access,
                             struct overlay_txn **ret, struct error *err)
{
    struct overlay_txn *txn = NULL;

    mutex_lock(&engine->state);
    int r = txn_pin_locked(engine, &txn, err);
    mutex_unlock(&engine->state);
    if (r < 0)
        return r;
    txn->seq++;
    note_writer(engine, txn);
    txn->base.access = access;
    *ret = txn;
    return 0;
}

/* Until changes are accepted and there is room in memory for them. */
static int wait_admission(struct overlay_engine *engine, struct error *err)
{
    mutex_lock(&engine->state);
    while (engine->refused.code == 0 &&
           (engine->is_freezing || engine->active_bytes > OVERLAY_MAX_BYTES))
        cond_wait(&engine->changed, &engine->state);
    int r = refusal(engine, err);
    mutex_unlock(&engine->state);
    return r;
}

/* As begin_write, with the writer lock held when it returns 0. */
static int begin_write_once(struct overlay_engine *engine, enum meta_access access,
                            struct overlay_txn **ret, bool *ret_is_flush_needed, struct error *err)
    THREAD_CHECK(no_thread_safety_analysis)
{
    *ret_is_flush_needed = false;
    int r = wait_admission(engine, err);
    if (r < 0)
        return r;

    mutex_lock(&engine->writer);
    mutex_lock(&engine->state);
    r = refusal(engine, err); /* it may have begun while we waited for the lock */
    mutex_unlock(&engine->state);
    if (r == 0) {
        r = overlay_reserve(engine, access, NEED_AHEAD, err);
        *ret_is_flush_needed = r == -ENOSPC;
    }
    if (r == 0)
        r = overlay_txn_begin_locked(engine, access, ret, err);
    if (r < 0)
        mutex_unlock(&engine->writer);
    return r;
}

static int begin_write(struct overlay_engine *engine, enum meta_access access,
                       struct meta_txn **ret, struct error *err)
{
    struct overlay_txn *txn = NULL;
    bool is_flush_needed;

    int r = begin_write_once(engine, access, &txn, &is_flush_needed, err);
    if (is_flush_needed && meta_sync(&engine->base, NULL) == 0)
        r = begin_write_once(engine, access, &txn, &is_flush_needed, err);
    if (r < 0)
        return r;
    *ret = &txn->base;
    return 0;
}

static int overlay_begin(struct meta_engine *base, enum meta_access access, struct meta_txn **ret,
                         struct error *err)
{
    struct overlay_engine *engine = (struct overlay_engine *)base;

    if (access != META_READ && engine->read_only)
        return error_set(err, -EROFS, "The metadata was opened read-only.");
    return access == META_READ || access == META_OPTIMISTIC ? begin_read(engine, access, ret, err)
                                                            : begin_write(engine, access, ret, err);
}

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "No memory for a metadata record.");
}

/* A stored value as the transaction may see it. */
static int open_stored(struct overlay_txn *txn, struct bytes key, struct bytes stored,
                       struct bytes *ret, struct error *err)
{
    const struct meta_hooks *hooks = &engine_of(txn)->hooks;

    if (hooks->open == NULL) {
        *ret = stored;
        txn->base.found = 0;
        return 0;
    }
    if (stored.len > META_VALUE_MAX + META_SEAL_OVERHEAD_MAX)
        return error_set(err, -EBADMSG, "A metadata record is longer than any that was written.");
    uint8_t *plain = arena_alloc(&txn->arena, stored.len);
    size_t plain_len = 0;
    if (plain == NULL)
        return no_memory(err);
    int r = hooks->open(hooks->seal_arg, key, stored, plain, &plain_len, &txn->base.found, err);
    if (r < 0)
        return r;
    *ret = (struct bytes){ .data = plain, .len = plain_len };
    return 0;
}

/* So that it can be seen later whether it is still so. */
static int note_read(struct overlay_txn *txn, struct bytes key, const struct ordered_map_mark *mark)
{
    if (txn->base.access != META_OPTIMISTIC || txn->is_writer)
        return 0;
    if (txn->reads_count++ >= OVERLAY_READS_MAX)
        return 0;
    uint8_t *copy = arena_alloc(&txn->arena, key.len);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, key.data, key.len);
    txn->reads[txn->reads_count - 1] =
        (struct overlay_read){ .key = { .data = copy, .len = key.len }, .mark = *mark };
    return 0;
}

static bool reads_are_current(const struct overlay_txn *txn)
{
    if (txn->active != engine_of(txn)->active || txn->reads_count > OVERLAY_READS_MAX)
        return false;
    for (unsigned i = 0; i < txn->reads_count; i++)
        if (!ordered_map_is_current(txn->active->map, txn->reads[i].key, &txn->reads[i].mark))
            return false;
    return true;
}

/* Only if there is nothing to wait for: begin_write() knows how to wait, and whom to tell. */
static bool is_admitted(struct overlay_engine *engine, struct overlay_txn *txn)
    REQUIRES(engine->writer)
{
    mutex_lock(&engine->state);
    bool is_admitted = engine->refused.code == 0 && !engine->is_freezing &&
                       engine->active_bytes <= OVERLAY_MAX_BYTES;
    txn->seq = engine->seq + 1;
    mutex_unlock(&engine->state);
    return is_admitted && overlay_reserve(engine, META_WRITE, NEED_AHEAD, NULL) == 0;
}

/* Before each change: only an optimistic transaction is not the writer yet. */
static int become_writer(struct overlay_txn *txn) THREAD_CHECK(no_thread_safety_analysis)
{
    struct overlay_engine *engine = engine_of(txn);

    if (txn->is_writer)
        return 0;
    mutex_lock(&engine->writer);
    if (!reads_are_current(txn) || !is_admitted(engine, txn)) {
        mutex_unlock(&engine->writer);
        return -EAGAIN;
    }
    note_writer(engine, txn);
    return 0;
}

static int flatten(struct overlay_txn *txn, const struct spliced *value, struct bytes *ret,
                   struct error *err)
{
    *ret = value->base;
    if (value->count == 0)
        return 0;
    uint8_t *room = arena_alloc(&txn->arena, spliced_room(value));
    if (room == NULL)
        return no_memory(err);
    spliced_flatten(value, room);
    *ret = (struct bytes){ .data = room, .len = value->len };
    return 0;
}

static int overlay_view(struct meta_txn *base, struct bytes key, struct spliced *ret,
                        struct error *err)
{
    struct overlay_txn *txn = (struct overlay_txn *)base;
    struct bytes stored = { 0 };
    struct bytes plain = { 0 };

    const struct ordered_map_mark mark = ordered_map_mark(txn->active->map, key, txn->seq);
    if (note_read(txn, key, &mark) < 0)
        return no_memory(err);
    struct overlay_layer *layer = txn->active;
    enum ordered_map_found found = ordered_map_read(&mark, ret);
    if (found == ORDERED_MAP_ABSENT && txn->frozen != NULL) {
        layer = txn->frozen;
        found = ordered_map_get(layer->map, key, txn->seq, ret);
    }
    txn->base.found = atomic_load(&layer->epoch);
    if (found != ORDERED_MAP_ABSENT)
        return found == ORDERED_MAP_VALUE ? 0 : -ENOENT;

    int r = engine_of(txn)->store->ops->get(txn->reader, key, &stored, err);
    if (r == 0)
        r = open_stored(txn, key, stored, &plain, err);
    if (r < 0)
        return r;
    *ret = spliced_of(plain);
    return 0;
}

static int overlay_get(struct meta_txn *base, struct bytes key, struct bytes *ret,
                       struct error *err)
{
    struct spliced value;

    int r = overlay_view(base, key, &value, err);
    return r < 0 ? r : flatten((struct overlay_txn *)base, &value, ret, err);
}

static uint64_t record_cost(size_t key_len, size_t value_len)
{
    return key_len + value_len + META_SEAL_OVERHEAD_MAX;
}

static int change_failed(struct overlay_txn *txn, int r, struct error *err)
{
    txn->failed = r;
    return error_set(err, r, "No memory for a change of the metadata.");
}

static int change(struct overlay_txn *txn, struct bytes key, struct bytes value, bool removed,
                  struct error *err)
{
    struct overlay_need *need = &txn->active->need;
    struct ordered_map_change before;

    int r = become_writer(txn);
    if (r < 0)
        return r;
    r = ordered_map_put(txn->active->map, key, value, removed, txn->seq, &before);
    if (r < 0)
        return change_failed(txn, r, err);
    if (before.before == ORDERED_MAP_ABSENT)
        need->records++;
    if (before.before == ORDERED_MAP_VALUE)
        need->bytes -= record_cost(key.len, before.before_len);
    if (!removed)
        need->bytes += record_cost(key.len, value.len);
    return 0;
}

static int overlay_put(struct meta_txn *base, struct bytes key, struct bytes value,
                       struct error *err)
{
    return change((struct overlay_txn *)base, key, value, false, err);
}

/* The whole value anew, with the part in it. */
static int put_patched(struct overlay_txn *txn, struct bytes key, const struct splice *patch,
                       struct error *err)
{
    struct spliced before;

    int r = overlay_view(&txn->base, key, &before, err);
    if (r < 0)
        return r;
    if (!splice_fits(patch, before.len))
        return -EINVAL;
    size_t len = splice_len(patch, before.len);
    size_t room = spliced_room(&before);
    uint8_t *value = arena_alloc(&txn->arena, len > room ? len : room);
    if (value == NULL)
        return no_memory(err);
    spliced_flatten(&before, value);
    splice_apply(patch, value, before.len);
    return change(txn, key, (struct bytes){ .data = value, .len = len }, false, err);
}

static int overlay_patch(struct meta_txn *base, struct bytes key, const struct splice *patch,
                         struct error *err)
{
    struct overlay_txn *txn = (struct overlay_txn *)base;

    int r = become_writer(txn);
    if (r < 0)
        return r;
    r = ordered_map_patch(txn->active->map, key, patch, txn->seq);
    if (r == -ENOENT)
        return put_patched(txn, key, patch, err);
    if (r == 0)
        txn->active->need.bytes += patch->added.len - patch->removed;
    return r == -ENOMEM ? change_failed(txn, r, err) : r;
}

static int overlay_remove(struct meta_txn *base, struct bytes key, struct error *err)
{
    return change((struct overlay_txn *)base, key, (struct bytes){ 0 }, true, err);
}

static int bytes_order(struct bytes a, struct bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* The three sources of a scan, each at its next record. */
struct merge {
    struct overlay_txn *txn;
    struct ordered_map_cursor active;
    struct ordered_map_cursor frozen;
    struct overlay_cursor *cursor;
    bool stored_left;
    struct bytes stored_key;
    struct bytes stored_value;
};

static int stored_result(struct merge *merge, int r)
{
    merge->stored_left = r == 0;
    return r == -ENOENT ? 0 : r;
}

static int merge_begin(struct merge *merge, struct overlay_txn *txn, struct bytes first,
                       struct error *err)
{
    *merge = (struct merge){ .txn = txn };
    ordered_map_seek(&merge->active, txn->active->map, first, txn->seq);
    ordered_map_seek(&merge->frozen, txn->frozen == NULL ? NULL : txn->frozen->map, first,
                     txn->seq);
    return stored_result(merge, engine_of(txn)->store->ops->cursor_seek(
                                    txn->reader, first, &merge->cursor, &merge->stored_key,
                                    &merge->stored_value, err));
}

static int stored_next(struct merge *merge, struct error *err)
{
    return stored_result(merge, engine_of(merge->txn)
                                    ->store->ops->cursor_next(merge->cursor, &merge->stored_key,
                                                              &merge->stored_value, err));
}

/* The least of the keys at which the sources stand. */
static bool merge_key(const struct merge *merge, struct bytes *ret)
{
    bool found = merge->stored_left;

    *ret = merge->stored_key;
    if (merge->frozen.node != NULL && (!found || bytes_order(merge->frozen.key, *ret) < 0)) {
        *ret = merge->frozen.key;
        found = true;
    }
    if (merge->active.node != NULL && (!found || bytes_order(merge->active.key, *ret) < 0)) {
        *ret = merge->active.key;
        found = true;
    }
    return found;
}

static bool map_at(const struct ordered_map_cursor *cursor, struct bytes key)
{
    return cursor->node != NULL && bytes_order(cursor->key, key) == 0;
}

/* Visits the record at key, unless the uppermost source that has it says that it is gone. */
static int merge_visit(struct merge *merge, struct bytes key, meta_visit_fn *visit, void *arg,
                       struct error *err)
{
    const struct ordered_map_cursor *upper = map_at(&merge->active, key)   ? &merge->active
                                             : map_at(&merge->frozen, key) ? &merge->frozen
                                                                           : NULL;
    struct bytes value = { 0 };
    struct spliced found;

    if (upper != NULL && upper->removed)
        return 0;
    if (upper != NULL) {
        struct overlay_txn *txn = merge->txn;
        ordered_map_value(upper, &found);
        txn->base.found =
            atomic_load(upper == &merge->active ? &txn->active->epoch : &txn->frozen->epoch);
    }
    int r = upper != NULL ? flatten(merge->txn, &found, &value, err)
                          : open_stored(merge->txn, key, merge->stored_value, &value, err);
    return r < 0 ? r : visit(key, value, arg);
}

static int merge_step(struct merge *merge, struct bytes key, struct error *err)
{
    bool step_active = map_at(&merge->active, key);
    bool step_frozen = map_at(&merge->frozen, key);
    bool step_stored = merge->stored_left && bytes_order(merge->stored_key, key) == 0;

    if (step_active)
        ordered_map_next(&merge->active);
    if (step_frozen)
        ordered_map_next(&merge->frozen);
    return step_stored ? stored_next(merge, err) : 0;
}

static int overlay_scan(struct meta_txn *base, struct bytes first, struct bytes end,
                        meta_visit_fn *visit, void *arg, struct error *err)
{
    struct overlay_txn *txn = (struct overlay_txn *)base;
    struct merge merge;
    struct bytes key;

    txn->reads_count = OVERLAY_READS_MAX + 1; /* more than can be looked at again */
    int r = merge_begin(&merge, txn, first, err);
    while (r == 0 && merge_key(&merge, &key) && bytes_order(key, end) < 0) {
        r = merge_visit(&merge, key, visit, arg, err);
        if (r == 0)
            r = merge_step(&merge, key, err);
    }
    engine_of(txn)->store->ops->cursor_free(merge.cursor);
    return r;
}

/* Lets everybody see what the transaction wrote. */
void overlay_txn_publish(struct overlay_txn *txn)
{
    struct overlay_engine *engine = engine_of(txn);
    size_t bytes = ordered_map_memory(txn->active->map);

    ordered_map_commit(txn->active->map);
    mutex_lock(&engine->state);
    engine->seq = txn->seq;
    engine->active_bytes = bytes;
    if (!engine->is_dirty) {
        engine->is_dirty = true;
        engine->dirty_ms = clock_monotonic_ms();
        (void)pthread_cond_signal(&engine->work);
    } else if (bytes > OVERLAY_FLUSH_BYTES && engine->frozen == NULL) {
        (void)pthread_cond_signal(&engine->work);
    }
    mutex_unlock(&engine->state);
}

static void take_back(struct overlay_txn *txn)
{
    ordered_map_rollback(txn->active->map);
    txn->active->need = txn->need_before;
}

static int overlay_commit(struct meta_txn *base, struct error *err)
    THREAD_CHECK(no_thread_safety_analysis)
{
    struct overlay_txn *txn = (struct overlay_txn *)base;
    struct overlay_engine *engine = engine_of(txn);
    int r = 0;

    if (txn->is_writer) {
        if (txn->failed < 0)
            r = error_set(err, txn->failed, "No memory for a change of the metadata.");
        else if (ordered_map_is_changed(txn->active->map))
            r = overlay_reserve(engine, txn->base.access, 0, err);
        if (r < 0)
            take_back(txn);
        else if (ordered_map_is_changed(txn->active->map))
            overlay_txn_publish(txn);
        mutex_unlock(&engine->writer);
    }
    overlay_txn_end(txn);
    return r;
}

static void overlay_abort(struct meta_txn *base) THREAD_CHECK(no_thread_safety_analysis)
{
    struct overlay_txn *txn = (struct overlay_txn *)base;

    if (txn->is_writer) {
        take_back(txn);
        mutex_unlock(&engine_of(txn)->writer);
    }
    overlay_txn_end(txn);
}

static int overlay_scan_stored(struct meta_engine *base, struct bytes first, struct bytes end,
                               meta_visit_fn *visit, void *arg, struct error *err)
{
    struct overlay_engine *engine = (struct overlay_engine *)base;
    const struct overlay_store_ops *ops = engine->store->ops;
    struct overlay_cursor *cursor = NULL;
    struct bytes key;
    struct bytes value;
    struct meta_txn *txn = NULL;

    int r = begin_read(engine, META_READ, &txn, err);
    if (r < 0)
        return r;
    r = ops->cursor_seek(((struct overlay_txn *)txn)->reader, first, &cursor, &key, &value, err);
    int visited = 0;
    while (r == 0 && visited == 0 && bytes_order(key, end) < 0) {
        visited = visit(key, value, arg);
        if (visited == 0)
            r = ops->cursor_next(cursor, &key, &value, err);
    }
    ops->cursor_free(cursor);
    overlay_abort(txn);
    return r < 0 && r != -ENOENT ? r : visited;
}

static void engine_free(struct overlay_engine *engine) THREAD_CHECK(no_thread_safety_analysis)
{
    overlay_pool_clear(engine);
    overlay_layer_unref(engine->active);
    overlay_layer_unref(engine->frozen);
    engine->store->ops->close(engine->store);
    (void)pthread_mutex_destroy(&engine->writer.native);
    (void)pthread_mutex_destroy(&engine->state.native);
    (void)pthread_cond_destroy(&engine->work);
    (void)pthread_cond_destroy(&engine->changed);
    for (unsigned i = 0; i < 2; i++)
        (void)pthread_cond_destroy(&engine->flushed[i]);
    free(engine->seal_room);
    free(engine);
}

static int overlay_close(struct meta_engine *base, struct error *err)
{
    struct overlay_engine *engine = (struct overlay_engine *)base;

    int r = engine->read_only ? 0 : overlay_committer_stop(engine, err);
    engine_free(engine);
    return r;
}

static const struct meta_engine_ops overlay_ops = {
    .begin = overlay_begin,
    .get = overlay_get,
    .view = overlay_view,
    .put = overlay_put,
    .patch = overlay_patch,
    .expect = overlay_expect,
    .remove = overlay_remove,
    .scan = overlay_scan,
    .commit = overlay_commit,
    .abort = overlay_abort,
    .last_group = overlay_last_group,
    .sync = overlay_sync,
    .sync_later = overlay_sync_later,
    .scrub = overlay_scrub,
    .scan_stored = overlay_scan_stored,
    .close = overlay_close,
};

int overlay_open(struct overlay_store *store, const struct meta_options *options,
                 const struct meta_hooks *hooks, struct meta_engine **ret, struct error *err)
{
    struct overlay_engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL) {
        store->ops->close(store);
        return error_set(err, -ENOMEM, "No memory for a metadata engine.");
    }
    engine->ops = overlay_ops;
    engine->ops.type = store->ops->type;
    engine->base.ops = &engine->ops;
    engine->store = store;
    engine->read_only = options->read_only;
    if (hooks != NULL)
        engine->hooks = *hooks;
    engine->writer = MUTEX_INIT;
    engine->state = MUTEX_INIT;
    engine->work = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    engine->changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    for (unsigned i = 0; i < 2; i++)
        engine->flushed[i] = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    engine->group = 1;
    engine->seal_room = malloc(META_VALUE_MAX + META_SEAL_OVERHEAD_MAX);

    int r = overlay_layer_new(&engine->active);
    if (r < 0 || engine->seal_room == NULL)
        r = error_set(err, -ENOMEM, "No memory for a metadata engine.");
    if (r == 0 && !engine->read_only)
        r = overlay_committer_start(engine, err);
    if (r < 0) {
        engine_free(engine);
        return r;
    }
    *ret = &engine->base;
    return 0;
}
