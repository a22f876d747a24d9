#include "store/layers/layer.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct layer_object {
    struct object base;
    struct layer *layer;
    struct object *inner;
    char name[OBJECT_NAME_MAX + 1];
};

struct layer_writer {
    struct object_writer base;
    struct layer *layer;
    struct object_writer *inner;
    char name[OBJECT_NAME_MAX + 1];
    alignas(max_align_t) unsigned char own[];
};

static const char *const op_names[STORE_OPS] = {
    [STORE_PUT] = "put",   [STORE_REPLACE] = "replace", [STORE_OPEN] = "open",
    [STORE_READ] = "read", [STORE_REMOVE] = "remove",   [STORE_LIST] = "list",
    [STORE_STAT] = "stat", [STORE_CREATE] = "create",   [STORE_WRITE] = "write",
    [STORE_SYNC] = "sync", [STORE_SEAL] = "seal",       [STORE_SPACE] = "space",
    [STORE_GET] = "get",
};

const char *store_op_name(enum store_op op)
{
    return op < STORE_OPS ? op_names[op] : NULL;
}

int store_call_perform(const struct store_call *call, struct error *err)
{
    switch (call->op) {
    case STORE_PUT:
        return object_store_put(call->store, call->name, call->data, err);
    case STORE_REPLACE:
        return object_store_replace(call->store, call->name, call->data, err);
    case STORE_OPEN:
        return object_store_open_sized(call->store, call->name, call->size, call->ret_object, err);
    case STORE_READ:
        if (call->look != NULL)
            return object_look(call->object, call->offset, call->len, call->look, err);
        return object_read(call->object, call->offset, call->len, call->to, call->ret_len, err);
    case STORE_REMOVE:
        return object_store_remove(call->store, call->name, err);
    case STORE_LIST:
        return object_store_list(call->store, call->name, call->visit, call->arg, err);
    case STORE_STAT:
        return object_store_stat(call->store, call->name, call->ret_size, err);
    case STORE_CREATE:
        return object_store_create(call->store, call->name, call->ret_writer, err);
    case STORE_WRITE:
        return object_writer_write(call->writer, call->offset, call->data, err);
    case STORE_SYNC:
        return object_writer_sync(call->writer, err);
    case STORE_SEAL:
        return object_writer_seal(call->writer, err);
    case STORE_SPACE:
        return object_store_space(call->store, call->ret_space, err);
    case STORE_GET:
        return object_store_get(call->store, call->name, call->len, call->ret_buf, err);
    case STORE_OPS:
        break;
    }
    abort();
}

static int go_around(struct layer *layer, struct store_call call, struct error *err)
{
    return layer->kind->around(layer, &call, err);
}

static int on_store(struct object_store *base, struct store_call call, struct error *err)
{
    struct layer *layer = (struct layer *)base;

    call.store = layer->inner;
    return go_around(layer, call, err);
}

/* --- whole objects --- */

static int layer_put(struct object_store *store, const char *name, struct bytes data,
                     struct error *err)
{
    return on_store(store, (struct store_call){ STORE_PUT, name, .data = data }, err);
}

static int layer_replace(struct object_store *store, const char *name, struct bytes data,
                         struct error *err)
{
    return on_store(store, (struct store_call){ STORE_REPLACE, name, .data = data }, err);
}

static int layer_get(struct object_store *store, const char *name, size_t max, struct buf *ret,
                     struct error *err)
{
    return on_store(store, (struct store_call){ STORE_GET, name, .len = max, .ret_buf = ret }, err);
}

static int layer_remove(struct object_store *store, const char *name, struct error *err)
{
    return on_store(store, (struct store_call){ STORE_REMOVE, name }, err);
}

static int layer_list(struct object_store *store, const char *prefix, object_visit_fn *visit,
                      void *arg, struct error *err)
{
    return on_store(store, (struct store_call){ STORE_LIST, prefix, .visit = visit, .arg = arg },
                    err);
}

static int layer_stat(struct object_store *store, const char *name, uint64_t *ret_size,
                      struct error *err)
{
    return on_store(store, (struct store_call){ STORE_STAT, name, .ret_size = ret_size }, err);
}

static int layer_space(struct object_store *store, struct object_store_space *ret,
                       struct error *err)
{
    return on_store(store, (struct store_call){ STORE_SPACE, "", .ret_space = ret }, err);
}

static void layer_close(struct object_store *base)
{
    struct layer *layer = (struct layer *)base;

    object_store_close(layer->inner);
    layer->kind->release(layer);
}

/* --- reading --- */

static int layer_read(struct object *base, uint64_t offset, size_t len, uint8_t *to,
                      size_t *ret_len, struct error *err)
{
    struct layer_object *object = (struct layer_object *)base;

    return go_around(object->layer,
                     (struct store_call){ STORE_READ, object->name, .object = object->inner,
                                          .offset = offset, .to = to, .len = len,
                                          .ret_len = ret_len },
                     err);
}

/* Layers that look at what was read see it in the copy. */
static int layer_look(struct object *base, uint64_t offset, size_t len,
                      const struct object_look *look, struct error *err)
{
    struct layer_object *object = (struct layer_object *)base;

    if (!object->layer->kind->lets_look)
        return object_look_by_read(base, offset, len, look, err);
    return go_around(object->layer,
                     (struct store_call){ STORE_READ, object->name, .object = object->inner,
                                          .offset = offset, .look = look, .len = len },
                     err);
}

/* No operation of its own: what reads, though, and no layer has a say in it. */
static int layer_read_origin(struct object *base, uint64_t offset, size_t len, uint8_t *to,
                             size_t *ret_len, struct error *err)
{
    return object_read_origin(((struct layer_object *)base)->inner, offset, len, to, ret_len, err);
}

static void layer_object_close(struct object *base)
{
    struct layer_object *object = (struct layer_object *)base;

    object_close(object->inner);
    free(object);
}

static const struct object_ops object_ops = {
    .read = layer_read,
    .read_origin = layer_read_origin,
    .look = layer_look,
    .close = layer_object_close,
};

static int layer_open_sized(struct object_store *store, const char *name, uint64_t size,
                            struct object **ret, struct error *err)
{
    CLEANUP(free_ptr) struct layer_object *object = calloc(1, sizeof(*object));

    if (object == NULL)
        return error_set(err, -ENOMEM, "no memory to open object %s", name);
    int r = on_store(
        store, (struct store_call){ STORE_OPEN, name, .size = size, .ret_object = &object->inner },
        err);
    if (r < 0)
        return r;
    object->base.ops = &object_ops;
    object->layer = (struct layer *)store;
    memcpy(object->name, name, strlen(name) + 1);
    *ret = &TAKE(object)->base;
    return 0;
}

static int layer_open(struct object_store *store, const char *name, struct object **ret,
                      struct error *err)
{
    return layer_open_sized(store, name, 0, ret, err);
}

/* --- writing --- */

static int on_writer(struct object_writer *base, struct store_call call, struct error *err)
{
    struct layer_writer *writer = (struct layer_writer *)base;

    call.name = writer->name;
    call.writer = writer->inner;
    call.own = writer->own;
    return go_around(writer->layer, call, err);
}

static int layer_write(struct object_writer *writer, uint64_t offset, struct bytes data,
                       struct error *err)
{
    return on_writer(writer, (struct store_call){ STORE_WRITE, .offset = offset, .data = data },
                     err);
}

static int layer_sync(struct object_writer *writer, struct error *err)
{
    return on_writer(writer, (struct store_call){ STORE_SYNC }, err);
}

static int layer_seal(struct object_writer *writer, struct error *err)
{
    return on_writer(writer, (struct store_call){ STORE_SEAL }, err);
}

static void layer_writer_close(struct object_writer *base)
{
    struct layer_writer *writer = (struct layer_writer *)base;

    object_writer_close(writer->inner);
    if (writer->layer->kind->own_release != NULL)
        writer->layer->kind->own_release(writer->own);
    free(writer);
}

static const struct object_writer_ops writer_ops = {
    .write = layer_write,
    .sync = layer_sync,
    .seal = layer_seal,
    .close = layer_writer_close,
};

static int layer_create(struct object_store *store, const char *name, struct object_writer **ret,
                        struct error *err)
{
    struct layer *layer = (struct layer *)store;
    CLEANUP(free_ptr)
    struct layer_writer *writer = calloc(1, sizeof(*writer) + layer->kind->own_size);

    if (writer == NULL)
        return error_set(err, -ENOMEM, "no memory to create object %s", name);
    int r = on_store(
        store,
        (struct store_call){ STORE_CREATE, name, .ret_writer = &writer->inner, .own = writer->own },
        err);
    if (r < 0 && layer->kind->own_release != NULL)
        layer->kind->own_release(writer->own);
    if (r < 0)
        return r;
    writer->base.ops = &writer_ops;
    writer->layer = layer;
    memcpy(writer->name, name, strlen(name) + 1);
    *ret = &TAKE(writer)->base;
    return 0;
}

#define STORE_OPS_OF_A_LAYER                                                                       \
    .type = "layer", .put = layer_put, .replace = layer_replace, .open = layer_open,               \
    .open_sized = layer_open_sized, .remove = layer_remove, .list = layer_list,                    \
    .stat = layer_stat, .create = layer_create, .space = layer_space, .close = layer_close

/* Around a store with and without a get of its own, and one that prefers sealing. */
static const struct object_store_ops store_ops[2][2] = {
    { { STORE_OPS_OF_A_LAYER }, { STORE_OPS_OF_A_LAYER, .prefers_sealing = true } },
    { { STORE_OPS_OF_A_LAYER, .get = layer_get },
      { STORE_OPS_OF_A_LAYER, .get = layer_get, .prefers_sealing = true } },
};

void layer_init(struct layer *layer, const struct layer_kind *kind, struct object_store *inner)
{
    *layer = (struct layer){
        .base = { &store_ops[inner->ops->get != NULL][inner->ops->prefers_sealing] },
        .kind = kind,
        .inner = inner,
    };
}

void layer_prefer_sealing(struct layer *layer)
{
    layer->base.ops = &store_ops[layer->inner->ops->get != NULL][true];
}
