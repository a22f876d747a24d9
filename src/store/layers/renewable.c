/* Each store behind is held by the renewable one as long as it is the current one, and by whoever
 * uses it: an operation, an open object, a writer. The last one closes it. */
#include "store/layers/renewable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/thread.h"

struct held {
    struct object_store *store;
    unsigned users; /* guarded by the renewable store's lock */
};

struct renewable_store {
    struct object_store base;
    struct mutex lock; /* guards all below, and the counts; no store is called with it */
    struct held *current;
};

/* An object as it is open in one of the stores. */
struct opened {
    struct held *held;
    struct object *inner;
    unsigned users; /* likewise */
};

struct renewed_object {
    struct object base;
    struct renewable_store *store;
    struct opened *opened; /* guarded by the store's lock; NULL at first only */
    uint64_t said_size;    /* 0: it is not known */
    char name[OBJECT_NAME_MAX + 1];
};

struct renewed_writer {
    struct object_writer base;
    struct renewable_store *store;
    struct held *held;
    struct object_writer *inner;
};

/* --- who uses what --- */

static struct held *held_new(struct object_store *store)
{
    struct held *held = calloc(1, sizeof(*held));

    if (held != NULL)
        *held = (struct held){ store, 1 };
    return held;
}

static struct held *hold(struct renewable_store *store)
{
    mutex_lock(&store->lock);
    struct held *held = store->current;
    held->users++;
    mutex_unlock(&store->lock);
    return held;
}

static void let(struct renewable_store *store, struct held *held)
{
    mutex_lock(&store->lock);
    bool is_last = --held->users == 0;
    mutex_unlock(&store->lock);
    if (!is_last)
        return;
    object_store_close(held->store);
    free(held);
}

static void let_opened(struct renewable_store *store, struct opened *opened)
{
    mutex_lock(&store->lock);
    bool is_last = --opened->users == 0;
    mutex_unlock(&store->lock);
    if (!is_last)
        return;
    object_close(opened->inner);
    let(store, opened->held);
    free(opened);
}

/* --- whole objects --- */

static struct renewable_store *of(struct object_store *base)
{
    return (struct renewable_store *)base;
}

static int renewable_put(struct object_store *base, const char *name, struct bytes data,
                         struct error *err)
{
    struct held *held = hold(of(base));
    int r = object_store_put(held->store, name, data, err);

    let(of(base), held);
    return r;
}

static int renewable_replace(struct object_store *base, const char *name, struct bytes data,
                             struct error *err)
{
    struct held *held = hold(of(base));
    int r = object_store_replace(held->store, name, data, err);

    let(of(base), held);
    return r;
}

static int renewable_get(struct object_store *base, const char *name, size_t max, struct buf *ret,
                         struct error *err)
{
    struct held *held = hold(of(base));
    int r = object_store_get(held->store, name, max, ret, err);

    let(of(base), held);
    return r;
}

static int renewable_remove(struct object_store *base, const char *name, struct error *err)
{
    struct held *held = hold(of(base));
    int r = object_store_remove(held->store, name, err);

    let(of(base), held);
    return r;
}

static int renewable_list(struct object_store *base, const char *prefix, object_visit_fn *visit,
                          void *arg, struct error *err)
{
    struct held *held = hold(of(base));
    int r = object_store_list(held->store, prefix, visit, arg, err);

    let(of(base), held);
    return r;
}

static int renewable_stat(struct object_store *base, const char *name, uint64_t *ret_size,
                          struct error *err)
{
    struct held *held = hold(of(base));
    int r = object_store_stat(held->store, name, ret_size, err);

    let(of(base), held);
    return r;
}

static int renewable_space(struct object_store *base, struct object_store_space *ret,
                           struct error *err)
{
    struct held *held = hold(of(base));
    int r = object_store_space(held->store, ret, err);

    let(of(base), held);
    return r;
}

/* --- objects --- */

/* In the current store; with a use of its own for the caller. */
static int open_now(struct renewable_store *store, const char *name, uint64_t said_size,
                    struct opened **ret, struct error *err)
{
    struct opened *opened = calloc(1, sizeof(*opened));

    if (opened == NULL)
        return error_set(err, -ENOMEM, "no memory to open object %s", name);
    opened->held = hold(store);
    opened->users = 1;
    int r = object_store_open_sized(opened->held->store, name, said_size, &opened->inner, err);
    if (r < 0) {
        let(store, opened->held);
        free(opened);
        return r;
    }
    *ret = opened;
    return 0;
}

/* The object as it is open in the current store, for one use; NULL: it is not. */
static struct opened *use_current(struct renewed_object *object)
{
    struct renewable_store *store = object->store;

    mutex_lock(&store->lock);
    struct opened *opened = object->opened;
    if (opened->held == store->current)
        opened->users++;
    else
        opened = NULL;
    mutex_unlock(&store->lock);
    return opened;
}

static int reopen(struct renewed_object *object, struct opened **ret, struct error *err)
{
    struct opened *opened = NULL;

    int r = open_now(object->store, object->name, object->said_size, &opened, err);
    if (r < 0)
        return r;
    mutex_lock(&object->store->lock);
    struct opened *former = object->opened;
    object->opened = opened;
    opened->users++;
    mutex_unlock(&object->store->lock);
    let_opened(object->store, former);
    *ret = opened;
    return 0;
}

typedef int read_fn(struct object *object, uint64_t offset, size_t len, uint8_t *to,
                    size_t *ret_len, struct error *err);

static int read_by(read_fn *read, struct object *base, uint64_t offset, size_t len, uint8_t *to,
                   size_t *ret_len, struct error *err)
{
    struct renewed_object *object = (struct renewed_object *)base;
    struct opened *opened = use_current(object);
    int r = opened == NULL ? reopen(object, &opened, err) : 0;

    if (r < 0)
        return r;
    r = read(opened->inner, offset, len, to, ret_len, err);
    let_opened(object->store, opened);
    return r;
}

static int renewed_read(struct object *base, uint64_t offset, size_t len, uint8_t *to,
                        size_t *ret_len, struct error *err)
{
    return read_by(object_read, base, offset, len, to, ret_len, err);
}

static int renewed_read_origin(struct object *base, uint64_t offset, size_t len, uint8_t *to,
                               size_t *ret_len, struct error *err)
{
    return read_by(object_read_origin, base, offset, len, to, ret_len, err);
}

static void renewed_close(struct object *base)
{
    struct renewed_object *object = (struct renewed_object *)base;

    let_opened(object->store, object->opened);
    free(object);
}

static const struct object_ops object_ops = {
    .read = renewed_read,
    .read_origin = renewed_read_origin,
    .close = renewed_close,
};

static int renewable_open_sized(struct object_store *base, const char *name, uint64_t size,
                                struct object **ret, struct error *err)
{
    struct renewed_object *object = calloc(1, sizeof(*object));

    if (object == NULL)
        return error_set(err, -ENOMEM, "no memory to open object %s", name);
    int r = open_now(of(base), name, size, &object->opened, err);
    if (r < 0) {
        free(object);
        return r;
    }
    object->base.ops = &object_ops;
    object->store = of(base);
    object->said_size = size;
    memcpy(object->name, name, strnlen(name, OBJECT_NAME_MAX));
    *ret = &object->base;
    return 0;
}

static int renewable_open(struct object_store *base, const char *name, struct object **ret,
                          struct error *err)
{
    return renewable_open_sized(base, name, 0, ret, err);
}

/* --- writers --- */

static int renewed_write(struct object_writer *writer, uint64_t offset, struct bytes data,
                         struct error *err)
{
    return object_writer_write(((struct renewed_writer *)writer)->inner, offset, data, err);
}

static int renewed_sync(struct object_writer *writer, struct error *err)
{
    return object_writer_sync(((struct renewed_writer *)writer)->inner, err);
}

static int renewed_seal(struct object_writer *writer, struct error *err)
{
    return object_writer_seal(((struct renewed_writer *)writer)->inner, err);
}

static void renewed_writer_close(struct object_writer *base)
{
    struct renewed_writer *writer = (struct renewed_writer *)base;

    object_writer_close(writer->inner);
    let(writer->store, writer->held);
    free(writer);
}

static const struct object_writer_ops writer_ops = {
    .write = renewed_write,
    .sync = renewed_sync,
    .seal = renewed_seal,
    .close = renewed_writer_close,
};

static int renewable_create(struct object_store *base, const char *name, struct object_writer **ret,
                            struct error *err)
{
    struct renewed_writer *writer = calloc(1, sizeof(*writer));

    if (writer == NULL)
        return error_set(err, -ENOMEM, "no memory to write object %s", name);
    writer->base.ops = &writer_ops;
    writer->store = of(base);
    writer->held = hold(writer->store);
    int r = object_store_create(writer->held->store, name, &writer->inner, err);
    if (r < 0) {
        let(writer->store, writer->held);
        free(writer);
        return r;
    }
    *ret = &writer->base;
    return 0;
}

/* --- the store --- */

static void renewable_close(struct object_store *base)
{
    struct renewable_store *store = of(base);

    let(store, store->current);
    (void)pthread_mutex_destroy(&store->lock.native);
    free(store);
}

#define STORE_OPS                                                                                  \
    .type = "renewable", .put = renewable_put, .replace = renewable_replace, .get = renewable_get, \
    .open = renewable_open, .open_sized = renewable_open_sized, .remove = renewable_remove,        \
    .list = renewable_list, .stat = renewable_stat, .create = renewable_create,                    \
    .space = renewable_space, .close = renewable_close

/* In front of a store that does not prefer sealing, and of one that does. */
static const struct object_store_ops store_ops[2] = {
    { STORE_OPS },
    { STORE_OPS, .prefers_sealing = true },
};

int renewable_store_new(struct object_store *first, struct object_store **ret_store,
                        struct renewable_store **ret_renewable)
{
    struct renewable_store *store = calloc(1, sizeof(*store));
    struct held *held = held_new(first);

    if (store == NULL || held == NULL) {
        free(store);
        free(held);
        return -ENOMEM;
    }
    store->base.ops = &store_ops[object_store_prefers_sealing(first)];
    store->lock = MUTEX_INIT;
    store->current = held;
    *ret_store = &store->base;
    *ret_renewable = store;
    return 0;
}

int renewable_store_renew(struct renewable_store *renewable, struct object_store *next)
{
    struct held *held = held_new(next);

    if (held == NULL)
        return -ENOMEM;
    mutex_lock(&renewable->lock);
    struct held *former = renewable->current;
    renewable->current = held;
    mutex_unlock(&renewable->lock);
    let(renewable, former);
    return 0;
}
