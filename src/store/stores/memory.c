/* memory.c - objects in memory: the reference that the other stores are compared with. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "store/stores/stores.h"

/* One object. The list of names and each open object hold a reference. */
struct file {
    struct file *next;
    unsigned refs;
    uint8_t *data;
    size_t len, room;
    char name[OBJECT_NAME_MAX + 1];
};

struct memory_store {
    struct object_store base;
    struct mutex lock; /* guards the list, all refs and all data */
    struct file *files;
};

struct memory_object {
    struct object base;
    struct memory_store *store;
    struct file *file;
};

struct memory_writer {
    struct object_writer base;
    struct memory_store *store;
    struct file *file;
};

static struct file **find_locked(struct memory_store *store, const char *name)
    REQUIRES(&store->lock)
{
    struct file **at = &store->files;

    while (*at != NULL && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static void unref_locked(struct memory_store *store, struct file *file) REQUIRES(&store->lock)
{
    (void)store;
    if (--file->refs > 0)
        return;
    free(file->data);
    free(file);
}

static void unref(struct memory_store *store, struct file *file)
{
    mutex_lock(&store->lock);
    unref_locked(store, file);
    mutex_unlock(&store->lock);
}

static struct file *file_new(const char *name, struct bytes data)
{
    struct file *file = calloc(1, sizeof(*file));

    if (file == NULL)
        return NULL;
    if (data.len > 0) {
        file->data = malloc(data.len);
        if (file->data == NULL) {
            free(file);
            return NULL;
        }
        memcpy(file->data, data.data, data.len);
    }
    file->len = file->room = data.len;
    file->refs = 1;
    memcpy(file->name, name, strlen(name) + 1);
    return file;
}

static int no_memory(const char *name, struct error *err)
{
    return error_set(err, -ENOMEM, "no memory for object %s", name);
}

static int no_object(const char *name, struct error *err)
{
    return error_set(err, -ENOENT, "there is no object %s", name);
}

/* Takes one reference of its own if ret_file is wanted. */
static int add(struct memory_store *store, const char *name, struct bytes data, bool may_replace,
               struct file **ret_file, struct error *err)
{
    struct file *file = file_new(name, data);
    int r = 0;

    if (file == NULL)
        return no_memory(name, err);
    mutex_lock(&store->lock);
    struct file **at = find_locked(store, name);
    struct file *old = *at;
    if (old != NULL && !may_replace) {
        unref_locked(store, file);
        r = error_set(err, -EEXIST, "there already is an object %s", name);
    } else {
        file->next = old != NULL ? old->next : NULL;
        *at = file;
        if (old != NULL)
            unref_locked(store, old);
        if (ret_file != NULL) {
            file->refs++;
            *ret_file = file;
        }
    }
    mutex_unlock(&store->lock);
    return r;
}

static int memory_put(struct object_store *base, const char *name, struct bytes data,
                      struct error *err)
{
    return add((struct memory_store *)base, name, data, false, NULL, err);
}

static int memory_replace(struct object_store *base, const char *name, struct bytes data,
                          struct error *err)
{
    return add((struct memory_store *)base, name, data, true, NULL, err);
}

static int memory_remove(struct object_store *base, const char *name, struct error *err)
{
    struct memory_store *store = (struct memory_store *)base;

    (void)err;
    mutex_lock(&store->lock);
    struct file **at = find_locked(store, name);
    struct file *file = *at;
    if (file != NULL) {
        *at = file->next;
        unref_locked(store, file);
    }
    mutex_unlock(&store->lock);
    return 0;
}

static int memory_stat(struct object_store *base, const char *name, uint64_t *ret_size,
                       struct error *err)
{
    struct memory_store *store = (struct memory_store *)base;

    mutex_lock(&store->lock);
    const struct file *file = *find_locked(store, name);
    if (file != NULL)
        *ret_size = file->len;
    mutex_unlock(&store->lock);
    return file != NULL ? 0 : no_object(name, err);
}

struct listed {
    char name[OBJECT_NAME_MAX + 1];
    uint64_t size;
};

static int copy_names(struct memory_store *store, const char *prefix, struct listed **ret,
                      size_t *ret_count)
{
    size_t count = 0;
    size_t prefix_len = strlen(prefix);

    mutex_lock(&store->lock);
    for (const struct file *file = store->files; file != NULL; file = file->next)
        count++;
    struct listed *names = calloc(count + 1, sizeof(*names));
    count = 0;
    for (const struct file *file = store->files; file != NULL && names != NULL; file = file->next) {
        if (strncmp(file->name, prefix, prefix_len) != 0)
            continue;
        memcpy(names[count].name, file->name, sizeof(file->name));
        names[count++].size = file->len;
    }
    mutex_unlock(&store->lock);
    *ret_count = count;
    *ret = names;
    return names != NULL ? 0 : -ENOMEM;
}

/* The names are copied first, so that visit may call the store. */
static int memory_list(struct object_store *base, const char *prefix, object_visit_fn *visit,
                       void *arg, struct error *err)
{
    CLEANUP(free_ptr) struct listed *names = NULL;
    size_t count = 0;

    if (copy_names((struct memory_store *)base, prefix, &names, &count) < 0)
        return error_set(err, -ENOMEM, "no memory to list objects");
    for (size_t i = 0; i < count; i++) {
        int r = visit(names[i].name, names[i].size, arg);
        if (r != 0)
            return r;
    }
    return 0;
}

static int memory_read(struct object *base, uint64_t offset, size_t len, uint8_t *to,
                       size_t *ret_len, struct error *err)
{
    struct memory_object *object = (struct memory_object *)base;
    struct file *file = object->file;
    size_t n = 0;

    (void)err;
    mutex_lock(&object->store->lock);
    if (offset < file->len)
        n = len < file->len - (size_t)offset ? len : file->len - (size_t)offset;
    if (n > 0)
        memcpy(to, file->data + offset, n);
    mutex_unlock(&object->store->lock);
    *ret_len = n;
    return 0;
}

static void memory_object_close(struct object *base)
{
    struct memory_object *object = (struct memory_object *)base;

    unref(object->store, object->file);
    free(object);
}

static const struct object_ops object_ops = {
    .read = memory_read,
    .close = memory_object_close,
};

static int memory_open_object(struct object_store *base, const char *name, struct object **ret,
                              struct error *err)
{
    struct memory_store *store = (struct memory_store *)base;
    struct memory_object *object = calloc(1, sizeof(*object));

    if (object == NULL)
        return no_memory(name, err);
    mutex_lock(&store->lock);
    struct file *file = *find_locked(store, name);
    if (file != NULL)
        file->refs++;
    mutex_unlock(&store->lock);
    if (file == NULL) {
        free(object);
        return no_object(name, err);
    }
    *object = (struct memory_object){ { &object_ops }, store, file };
    *ret = &object->base;
    return 0;
}

static int reserve_locked(struct memory_store *store, struct file *file, size_t end)
    REQUIRES(&store->lock)
{
    (void)store;
    if (end <= file->room)
        return 0;
    size_t room = end > file->room * 2 ? end : file->room * 2;
    uint8_t *data = realloc(file->data, room);
    if (data == NULL)
        return -ENOMEM;
    memset(data + file->room, 0, room - file->room);
    file->data = data;
    file->room = room;
    return 0;
}

static int memory_write(struct object_writer *base, uint64_t offset, struct bytes data,
                        struct error *err)
{
    struct memory_writer *writer = (struct memory_writer *)base;
    struct file *file = writer->file;
    size_t end = (size_t)offset + data.len;

    if (data.len == 0)
        return 0;
    mutex_lock(&writer->store->lock);
    int r = reserve_locked(writer->store, file, end);
    if (r == 0) {
        memcpy(file->data + offset, data.data, data.len);
        if (end > file->len)
            file->len = end;
    }
    mutex_unlock(&writer->store->lock);
    return r < 0 ? no_memory(file->name, err) : 0;
}

static int memory_sync(struct object_writer *base, struct error *err)
{
    (void)base;
    (void)err;
    return 0;
}

static void memory_writer_close(struct object_writer *base)
{
    struct memory_writer *writer = (struct memory_writer *)base;

    unref(writer->store, writer->file);
    free(writer);
}

static const struct object_writer_ops writer_ops = {
    .write = memory_write,
    .sync = memory_sync,
    .seal = memory_sync,
    .close = memory_writer_close,
};

static int memory_create(struct object_store *base, const char *name, struct object_writer **ret,
                         struct error *err)
{
    struct memory_store *store = (struct memory_store *)base;
    struct memory_writer *writer = calloc(1, sizeof(*writer));
    struct file *file = NULL;

    if (writer == NULL)
        return no_memory(name, err);
    int r = add(store, name, (struct bytes){ NULL, 0 }, false, &file, err);
    if (r < 0) {
        free(writer);
        return r;
    }
    *writer = (struct memory_writer){ { &writer_ops }, store, file };
    *ret = &writer->base;
    return 0;
}

static int memory_space(struct object_store *base, struct object_store_space *ret,
                        struct error *err)
{
    (void)base;
    (void)err;
    *ret = (struct object_store_space){ .total = 0, .free = 0 };
    return 0;
}

static void memory_close(struct object_store *base)
{
    struct memory_store *store = (struct memory_store *)base;

    mutex_lock(&store->lock);
    while (store->files != NULL) {
        struct file *file = store->files;
        store->files = file->next;
        unref_locked(store, file);
    }
    mutex_unlock(&store->lock);
    free(store);
}

static const struct object_store_ops store_ops = {
    .type = "memory",
    .put = memory_put,
    .replace = memory_replace,
    .open = memory_open_object,
    .remove = memory_remove,
    .list = memory_list,
    .stat = memory_stat,
    .create = memory_create,
    .space = memory_space,
    .close = memory_close,
};

int memory_store_open(const char *place, struct object_store **ret, struct error *err)
{
    (void)place;
    struct memory_store *store = malloc(sizeof(*store));

    if (store == NULL)
        return error_set(err, -ENOMEM, "no memory for a store");
    *store = (struct memory_store){ { &store_ops }, MUTEX_INIT, NULL };
    *ret = &store->base;
    return 0;
}
