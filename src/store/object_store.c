#include "store/object_store.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/stores/stores.h"

static bool part_is_valid(const char *part, size_t len)
{
    if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && memcmp(part, "..", 2) == 0))
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = part[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

bool object_name_is_valid(const char *name)
{
    if (strlen(name) > OBJECT_NAME_MAX)
        return false;
    for (;;) {
        size_t len = strcspn(name, "/");
        if (!part_is_valid(name, len))
            return false;
        if (name[len] == '\0')
            return true;
        name += len + 1;
    }
}

bool object_prefix_is_possible(const char *prefix)
{
    char name[OBJECT_NAME_MAX + 2];
    size_t len = strlen(prefix);

    if (len == OBJECT_NAME_MAX)
        return object_name_is_valid(prefix);
    if (len > OBJECT_NAME_MAX)
        return false;
    (void)snprintf(name, sizeof(name), "%sx", prefix);
    return object_name_is_valid(name);
}

/* A return value and not an assert: names also come out of manifests that others wrote. */
static int check_name(const char *name, struct error *err)
{
    if (object_name_is_valid(name))
        return 0;
    return error_set(err, -EINVAL, "'%.64s' cannot be the name of an object", name);
}

int object_store_put(struct object_store *store, const char *name, struct bytes data,
                     struct error *err)
{
    int r = check_name(name, err);
    return r < 0 ? r : store->ops->put(store, name, data, err);
}

int object_store_replace(struct object_store *store, const char *name, struct bytes data,
                         struct error *err)
{
    int r = check_name(name, err);
    return r < 0 ? r : store->ops->replace(store, name, data, err);
}

int object_store_open_object(struct object_store *store, const char *name, struct object **ret,
                             struct error *err)
{
    int r = check_name(name, err);
    return r < 0 ? r : store->ops->open(store, name, ret, err);
}

int object_store_open_sized(struct object_store *store, const char *name, uint64_t size,
                            struct object **ret, struct error *err)
{
    int r = check_name(name, err);

    if (r < 0 || size == 0 || store->ops->open_sized == NULL)
        return r < 0 ? r : store->ops->open(store, name, ret, err);
    return store->ops->open_sized(store, name, size, ret, err);
}

int object_store_remove(struct object_store *store, const char *name, struct error *err)
{
    int r = check_name(name, err);
    return r < 0 ? r : store->ops->remove(store, name, err);
}

int object_store_list(struct object_store *store, const char *prefix, object_visit_fn *visit,
                      void *arg, struct error *err)
{
    return store->ops->list(store, prefix, visit, arg, err);
}

int object_store_stat(struct object_store *store, const char *name, uint64_t *ret_size,
                      struct error *err)
{
    int r = check_name(name, err);
    return r < 0 ? r : store->ops->stat(store, name, ret_size, err);
}

int object_store_create(struct object_store *store, const char *name, struct object_writer **ret,
                        struct error *err)
{
    int r = check_name(name, err);
    if (r < 0)
        return r;
    if (store->ops->create == NULL)
        return error_set(err, -EOPNOTSUPP, "A store of type %s cannot append", store->ops->type);
    return store->ops->create(store, name, ret, err);
}

int object_store_space(struct object_store *store, struct object_store_space *ret,
                       struct error *err)
{
    return store->ops->space(store, ret, err);
}

void object_store_close(struct object_store *store)
{
    if (store != NULL)
        store->ops->close(store);
}

static int get_by_reading(struct object_store *store, const char *name, size_t max, struct buf *ret,
                          struct error *err)
{
    CLEANUP(object_closep) struct object *object = NULL;
    uint64_t size = 0;
    size_t len = 0;

    int r = object_store_stat(store, name, &size, err);
    if (r == 0)
        r = object_store_open_object(store, name, &object, err);
    if (r < 0)
        return r;
    assert(object != NULL);
    /* The object may have been replaced since by a longer one: the bound is what is read up to. */
    size_t room = size < max ? (size_t)size + 1 : max + 1;
    for (;;) {
        CLEANUP(free_ptr) uint8_t *data = malloc(room);
        if (data == NULL)
            return error_set(err, -ENOMEM, "no memory to read object %s", name);
        r = object_read(object, 0, room, data, &len, err);
        if (r < 0)
            return r;
        if (len <= max && len < room) {
            buf_release(ret);
            *ret = (struct buf){ .data = TAKE(data), .len = len };
            return 0;
        }
        if (room == max + 1)
            return error_set(err, -EFBIG, "object %s is larger than %zu bytes", name, max);
        room = max + 1;
    }
}

int object_store_get(struct object_store *store, const char *name, size_t max, struct buf *ret,
                     struct error *err)
{
    if (store->ops->get == NULL)
        return get_by_reading(store, name, max, ret, err);
    int r = check_name(name, err);
    return r < 0 ? r : store->ops->get(store, name, max, ret, err);
}

int object_read(struct object *object, uint64_t offset, size_t len, uint8_t *to, size_t *ret_len,
                struct error *err)
{
    return object->ops->read(object, offset, len, to, ret_len, err);
}

int object_read_origin(struct object *object, uint64_t offset, size_t len, uint8_t *to,
                       size_t *ret_len, struct error *err)
{
    if (object->ops->read_origin == NULL)
        return -EOPNOTSUPP;
    return object->ops->read_origin(object, offset, len, to, ret_len, err);
}

int object_look_by_read(struct object *object, uint64_t offset, size_t len,
                        const struct object_look *look, struct error *err)
{
    size_t found = 0;

    int r = object_read(object, offset, len, look->room, &found, err);
    if (r == 0)
        look->fn((struct bytes){ look->room, found }, look->arg);
    return r;
}

int object_look(struct object *object, uint64_t offset, size_t len, const struct object_look *look,
                struct error *err)
{
    if (object->ops->look == NULL)
        return object_look_by_read(object, offset, len, look, err);
    return object->ops->look(object, offset, len, look, err);
}

void object_close(struct object *object)
{
    if (object != NULL)
        object->ops->close(object);
}

int object_writer_write(struct object_writer *writer, uint64_t offset, struct bytes data,
                        struct error *err)
{
    return writer->ops->write(writer, offset, data, err);
}

int object_writer_sync(struct object_writer *writer, struct error *err)
{
    return writer->ops->sync(writer, err);
}

int object_writer_seal(struct object_writer *writer, struct error *err)
{
    return writer->ops->seal(writer, err);
}

void object_writer_close(struct object_writer *writer)
{
    if (writer != NULL)
        writer->ops->close(writer);
}
