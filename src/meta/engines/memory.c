/* The memory engine: what is "stored" is a map in this process, which the overlay brings up to
 * date as it does a database. The reference for tests: nothing outlives it. */
#include "meta/engines/engines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "meta/engines/overlay.h"
#include "meta/ordered_map.h"

/* A map keeps every version, so one that holds mostly old ones is copied to a new one. */
#define COMPACT_MIN ((size_t)4 * 1024 * 1024)

struct stored {
    unsigned refs; /* under the store's lock */
    struct ordered_map *map;
};

struct memory_store {
    struct overlay_store base;
    struct mutex lock; /* guards the three below */
    struct stored *now;
    uint64_t seq;
    size_t compact_at; /* bytes of memory */
};

struct overlay_reader {
    struct memory_store *store;
    struct stored *stored;
    uint64_t seq;
};

struct overlay_cursor {
    struct ordered_map_cursor map;
};

static int stored_new(struct stored **ret)
{
    struct stored *stored = calloc(1, sizeof(*stored));
    if (stored == NULL)
        return -ENOMEM;
    int r = ordered_map_new(&stored->map);
    if (r < 0) {
        free(stored);
        return r;
    }
    stored->refs = 1;
    *ret = stored;
    return 0;
}

static void stored_unref_locked(struct stored *stored)
{
    if (stored == NULL || --stored->refs > 0)
        return;
    ordered_map_free(stored->map);
    free(stored);
}

static int memory_reader_begin(struct overlay_store *base, struct overlay_reader **reader,
                               struct error *err)
{
    struct memory_store *store = (struct memory_store *)base;

    if (*reader == NULL) {
        *reader = calloc(1, sizeof(**reader));
        if (*reader == NULL)
            return error_set(err, -ENOMEM, "No memory to read the metadata.");
        (*reader)->store = store;
    }
    mutex_lock(&store->lock);
    (*reader)->stored = store->now;
    (*reader)->seq = store->seq;
    store->now->refs++;
    mutex_unlock(&store->lock);
    return 0;
}

static void memory_reader_end(struct overlay_reader *reader)
{
    mutex_lock(&reader->store->lock);
    stored_unref_locked(reader->stored);
    reader->stored = NULL;
    mutex_unlock(&reader->store->lock);
}

static void memory_reader_free(struct overlay_reader *reader)
{
    free(reader);
}

/* Nothing is ever patched here: all values are whole. */
static int get(const struct ordered_map *map, struct bytes key, uint64_t seq, struct bytes *ret)
{
    struct spliced value;

    if (ordered_map_get(map, key, seq, &value) != ORDERED_MAP_VALUE)
        return -ENOENT;
    *ret = value.base;
    return 0;
}

static int memory_get(struct overlay_reader *reader, struct bytes key, struct bytes *ret,
                      struct error *err)
{
    (void)err; /* it cannot fail */
    return get(reader->stored->map, key, reader->seq, ret);
}

static int cursor_settle(struct overlay_cursor *cursor, struct bytes *ret_key,
                         struct bytes *ret_value)
{
    while (cursor->map.node != NULL && cursor->map.removed)
        ordered_map_next(&cursor->map);
    if (cursor->map.node == NULL)
        return -ENOENT;
    struct spliced value;
    ordered_map_value(&cursor->map, &value);
    *ret_key = cursor->map.key;
    *ret_value = value.base;
    return 0;
}

static int memory_cursor_seek(struct overlay_reader *reader, struct bytes first,
                              struct overlay_cursor **ret_cursor, struct bytes *ret_key,
                              struct bytes *ret_value, struct error *err)
{
    *ret_cursor = calloc(1, sizeof(**ret_cursor));
    if (*ret_cursor == NULL)
        return error_set(err, -ENOMEM, "No memory to read the metadata.");
    ordered_map_seek(&(*ret_cursor)->map, reader->stored->map, first, reader->seq);
    return cursor_settle(*ret_cursor, ret_key, ret_value);
}

static int memory_cursor_next(struct overlay_cursor *cursor, struct bytes *ret_key,
                              struct bytes *ret_value, struct error *err)
{
    (void)err; /* it cannot fail */
    ordered_map_next(&cursor->map);
    return cursor_settle(cursor, ret_key, ret_value);
}

static void memory_cursor_free(struct overlay_cursor *cursor)
{
    free(cursor);
}

/* A new map with what is visible in the present one. */
static int compact(struct memory_store *store)
{
    struct ordered_map_cursor cursor;
    struct ordered_map_change change;
    struct spliced value;
    struct stored *fresh = NULL;
    int r = stored_new(&fresh);

    if (r < 0)
        return r;
    ordered_map_seek(&cursor, store->now->map, (struct bytes){ 0 }, store->seq);
    for (; cursor.node != NULL && r == 0; ordered_map_next(&cursor)) {
        if (cursor.removed)
            continue;
        ordered_map_value(&cursor, &value);
        r = ordered_map_put(fresh->map, cursor.key, value.base, false, store->seq, &change);
    }
    if (r < 0) {
        stored_unref_locked(fresh);
        return r;
    }
    ordered_map_commit(fresh->map);
    store->compact_at = COMPACT_MIN + 2 * ordered_map_memory(fresh->map);
    mutex_lock(&store->lock);
    stored_unref_locked(store->now);
    store->now = fresh;
    mutex_unlock(&store->lock);
    return 0;
}

static int memory_apply_begin(struct overlay_store *base, struct error *err)
{
    struct memory_store *store = (struct memory_store *)base;

    if (ordered_map_memory(store->now->map) > store->compact_at && compact(store) < 0)
        return error_set(err, -ENOMEM, "No memory for the metadata.");
    return 0;
}

static int memory_apply_find(struct overlay_store *base, struct bytes key, struct bytes *ret,
                             struct error *err)
{
    struct memory_store *store = (struct memory_store *)base;

    (void)err; /* it cannot fail */
    return get(store->now->map, key, store->seq + 1, ret);
}

static int apply_change(struct overlay_store *base, struct bytes key, struct bytes value,
                        bool removed, struct error *err)
{
    struct memory_store *store = (struct memory_store *)base;
    struct ordered_map_change change;

    if (ordered_map_put(store->now->map, key, value, removed, store->seq + 1, &change) < 0)
        return error_set(err, -ENOMEM, "No memory for the metadata.");
    return 0;
}

static int memory_apply_put(struct overlay_store *base, struct bytes key, struct bytes value,
                            struct error *err)
{
    return apply_change(base, key, value, false, err);
}

static int memory_apply_remove(struct overlay_store *base, struct bytes key, struct error *err)
{
    return apply_change(base, key, (struct bytes){ 0 }, true, err);
}

static int memory_apply_commit(struct overlay_store *base, struct error *err)
{
    struct memory_store *store = (struct memory_store *)base;

    (void)err; /* it cannot fail */
    ordered_map_commit(store->now->map);
    mutex_lock(&store->lock);
    store->seq++;
    mutex_unlock(&store->lock);
    return 0;
}

static void memory_apply_abort(struct overlay_store *base)
{
    struct memory_store *store = (struct memory_store *)base;

    ordered_map_rollback(store->now->map);
}

static void memory_close(struct overlay_store *base)
{
    struct memory_store *store = (struct memory_store *)base;

    stored_unref_locked(store->now);
    (void)pthread_mutex_destroy(&store->lock.native);
    free(store);
}

static const struct overlay_store_ops memory_ops = {
    .type = "memory",
    .reader_begin = memory_reader_begin,
    .reader_end = memory_reader_end,
    .reader_free = memory_reader_free,
    .get = memory_get,
    .cursor_seek = memory_cursor_seek,
    .cursor_next = memory_cursor_next,
    .cursor_free = memory_cursor_free,
    .apply_begin = memory_apply_begin,
    .apply_find = memory_apply_find,
    .apply_put = memory_apply_put,
    .apply_remove = memory_apply_remove,
    .apply_commit = memory_apply_commit,
    .apply_abort = memory_apply_abort,
    .close = memory_close,
};

int memory_engine_open(const char *path, const struct meta_options *options,
                       const struct meta_hooks *hooks, struct meta_engine **ret, struct error *err)
{
    (void)path; /* nothing is named */
    struct memory_store *store = calloc(1, sizeof(*store));
    if (store == NULL || stored_new(&store->now) < 0) {
        free(store);
        return error_set(err, -ENOMEM, "No memory for a metadata engine.");
    }
    store->base.ops = &memory_ops;
    store->lock = MUTEX_INIT;
    store->compact_at = COMPACT_MIN;
    return overlay_open(&store->base, options, hooks, ret, err);
}
