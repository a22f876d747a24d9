#include "store/layers/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/thread.h"

#define RUN_MAX 8u                                     /* blocks that are asked for at once */
#define RESERVE_MAX ((uint64_t)4 * 1024 * 1024 * 1024) /* of the disk */

struct cache_store {
    struct layer base;
    int fd;
    const char *prefix;
    cache_off_fn *on_off;
    void *arg;

    struct mutex lock;      /* guards all below, and all entries */
    pthread_cond_t changed; /* a block was filled, or will not be */
    struct cache_table table;
    uint64_t max_bytes;
    uint64_t hits, misses;
    bool is_off;
    bool must_truncate; /* when nobody holds a slot any more */
};

struct cache_object {
    struct object base;
    struct cache_store *cache;
    struct cache_entry *entry;

    struct mutex opening; /* held while inner is opened */
    struct object *inner; /* NULL: nothing had to be asked for yet */
};

/* What is kept for each writer. */
struct cache_writer {
    struct cache_store *cache;
    struct cache_entry *entry;
};

static uint32_t slots_of(uint64_t bytes)
{
    uint64_t slots = bytes / CACHE_BLOCK;

    return (uint32_t)(slots < CACHE_SLOTS_MAX ? slots : CACHE_SLOTS_MAX);
}

/* --- the disk under it --- */

int cache_file_open(const char *folder, int *ret_fd, struct error *err)
{
    char path[4096];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
        if (snprintf(path, sizeof(path), "%s/cache-XXXXXX", folder) >= (int)sizeof(path))
            return error_set(err, -ENAMETOOLONG, "the folder of the cache has too long a path");
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0)
            (void)unlink(path); /* what is left is a name that the next start does not use */
    }
    if (fd < 0)
        return error_set(err, -errno, "cannot make a file for the cache in %.256s: %s", folder,
                         strerrordesc_np(errno));
    *ret_fd = fd;
    return 0;
}

enum disk { DISK_ROOMY, DISK_TIGHT, DISK_FULL };

static enum disk look_at_disk(const struct cache_store *cache)
{
    struct statvfs disk;

    if (fstatvfs(cache->fd, &disk) < 0)
        return DISK_TIGHT;
    uint64_t reserve = (uint64_t)disk.f_blocks * disk.f_frsize / 8;
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    reserve = reserve < RESERVE_MAX ? reserve : RESERVE_MAX;
    if (free_bytes < reserve / 2)
        return DISK_FULL;
    return free_bytes < reserve + RUN_MAX * CACHE_BLOCK ? DISK_TIGHT : DISK_ROOMY;
}

/* Its room goes back to the disk as soon as nobody reads from it. */
static void truncate_when_free(struct cache_store *cache) REQUIRES(cache->lock)
{
    if (!cache->must_truncate || cache->table.held > 0)
        return;
    cache->must_truncate = false;
    if (ftruncate(cache->fd, (off_t)(cache->table.begun * CACHE_BLOCK)) < 0)
        return; /* it stays long */
}

static void turn_off(struct cache_store *cache, const char *why)
{
    mutex_lock(&cache->lock);
    bool is_news = !cache->is_off;
    cache->is_off = true;
    if (is_news) {
        cache_table_drop_all(&cache->table);
        (void)cache_table_resize(&cache->table, 0); /* smaller needs no memory */
        cache->must_truncate = true;
        truncate_when_free(cache);
        (void)pthread_cond_broadcast(&cache->changed);
    }
    mutex_unlock(&cache->lock);
    if (is_news && cache->on_off != NULL)
        cache->on_off(why, cache->arg);
}

static void fail_off(struct cache_store *cache, const char *what, int code)
{
    char why[160];

    (void)snprintf(why, sizeof(why), "%s: %s", what, strerrordesc_np(code));
    turn_off(cache, why);
}

static int read_file(const struct cache_store *cache, uint64_t at, size_t len, uint8_t *to)
{
    while (len > 0) {
        ssize_t n = pread(cache->fd, to, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA; /* it was made shorter */
        to += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int write_file(const struct cache_store *cache, uint64_t at, struct bytes data)
{
    while (data.len > 0) {
        ssize_t n = pwrite(cache->fd, data.data, data.len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data.data += n;
        at += (uint64_t)n;
        data.len -= (size_t)n;
    }
    return 0;
}

/* --- the original --- */

static bool is_detached(struct cache_object *object)
{
    mutex_lock(&object->cache->lock);
    bool is = object->entry->is_detached;
    mutex_unlock(&object->cache->lock);
    return is;
}

static int open_inner(struct cache_object *object, struct error *err)
{
    int r = 0;

    mutex_lock(&object->opening);                     /* who comes second needs the same answer */
    if (object->inner == NULL && is_detached(object)) /* never other bytes by this name */
        r = error_set(err, -ENOENT, "object %s was removed since it was opened",
                      object->entry->name);
    else if (object->inner == NULL)
        r = object_store_open_object(object->cache->base.inner, object->entry->name, &object->inner,
                                     err);
    mutex_unlock(&object->opening);
    return r;
}

static int read_inner(struct cache_object *object, uint64_t offset, size_t len, uint8_t *to,
                      size_t *ret_len, struct error *err)
{
    int r = open_inner(object, err);

    return r < 0 ? r : object_read(object->inner, offset, len, to, ret_len, err);
}

/* --- reading --- */

/* What is asked for, from its first byte that is not there yet. */
struct wish {
    struct cache_object *object;
    uint64_t offset;
    size_t len;
    uint8_t *to;
    size_t got;
    bool is_at_end;
};

static void advance(struct wish *wish, size_t len)
{
    wish->offset += len;
    wish->len -= len;
    wish->to += len;
    wish->got += len;
}

static int wish_from_inner(struct wish *wish, struct error *err)
{
    size_t len = 0;

    int r = read_inner(wish->object, wish->offset, wish->len, wish->to, &len, err);
    if (r < 0)
        return r;
    advance(wish, len);
    wish->is_at_end = true; /* of what is asked for, or of the object */
    return 0;
}

/* A run of blocks that the caller fills. */
struct run {
    uint64_t first;
    unsigned count;
    uint32_t slots[RUN_MAX];
};

static void end_run(struct cache_store *cache, const struct run *run, const uint32_t *lens)
{
    mutex_lock(&cache->lock);
    for (unsigned i = 0; i < run->count; i++) {
        if (lens != NULL && lens[i] > 0)
            cache_slot_filled(&cache->table, run->slots[i], lens[i]);
        else
            cache_slot_drop(&cache->table, run->slots[i]);
        cache_slot_let_go(&cache->table, run->slots[i]);
    }
    truncate_when_free(cache);
    (void)pthread_cond_broadcast(&cache->changed);
    mutex_unlock(&cache->lock);
}

/* What was read goes into the file as far as that takes it. */
static void keep_run(struct cache_store *cache, const struct run *run, struct bytes data)
{
    uint32_t lens[RUN_MAX] = { 0 };
    int r = 0;

    for (unsigned i = 0; i < run->count && r == 0; i++) {
        size_t at = i * CACHE_BLOCK;
        if (at >= data.len)
            break;
        size_t len = data.len - at < CACHE_BLOCK ? data.len - at : CACHE_BLOCK;
        r = write_file(cache, run->slots[i] * (uint64_t)CACHE_BLOCK,
                       (struct bytes){ data.data + at, len });
        lens[i] = r == 0 ? (uint32_t)len : 0;
    }
    end_run(cache, run, lens);
    if (r < 0)
        fail_off(cache, "its disk cannot be written", -r);
}

static int fill_run(struct wish *wish, const struct run *run, struct error *err)
{
    struct cache_store *cache = wish->object->cache;
    uint64_t start = run->first * CACHE_BLOCK;
    size_t skip = (size_t)(wish->offset - start), len = 0;
    CLEANUP(free_ptr) uint8_t *data = malloc(run->count * CACHE_BLOCK);

    if (data == NULL) {
        end_run(cache, run, NULL);
        return wish_from_inner(wish, err);
    }
    int r = read_inner(wish->object, start, run->count * CACHE_BLOCK, data, &len, err);
    if (r < 0) {
        end_run(cache, run, NULL);
        return r;
    }
    size_t shown = len > skip ? len - skip : 0;
    shown = shown < wish->len ? shown : wish->len;
    if (shown > 0)
        memcpy(wish->to, data + skip, shown);
    advance(wish, shown);
    wish->is_at_end = len < run->count * CACHE_BLOCK;
    keep_run(cache, run, (struct bytes){ data, len });
    return 0;
}

static int read_slot(struct wish *wish, uint32_t slot, uint32_t slot_len, struct error *err)
{
    struct cache_store *cache = wish->object->cache;
    size_t skip = (size_t)(wish->offset % CACHE_BLOCK);
    size_t len = skip < slot_len ? slot_len - skip : 0;

    len = len < wish->len ? len : wish->len;
    int r = read_file(cache, slot * (uint64_t)CACHE_BLOCK + skip, len, wish->to);
    mutex_lock(&cache->lock);
    if (r < 0)
        cache_slot_drop(&cache->table, slot);
    cache_slot_let_go(&cache->table, slot);
    truncate_when_free(cache);
    mutex_unlock(&cache->lock);
    if (r < 0 && r != -ENODATA)
        fail_off(cache, "its disk cannot be read", -r);
    if (r < 0)
        return wish_from_inner(wish, err);
    advance(wish, len);
    wish->is_at_end = slot_len < CACHE_BLOCK;
    return 0;
}

/* As many blocks in a row as are wanted and have no slot. */
static void claim_run(struct cache_store *cache, const struct wish *wish, bool grows,
                      struct run *ret) REQUIRES(cache->lock)
{
    uint64_t last = (wish->offset + wish->len - 1) / CACHE_BLOCK;

    *ret = (struct run){ .first = wish->offset / CACHE_BLOCK };
    for (uint64_t block = ret->first; block <= last && ret->count < RUN_MAX; block++) {
        if (cache_slot_find(wish->object->entry, block) != CACHE_NO_SLOT)
            break;
        uint32_t slot = cache_slot_claim(&cache->table, wish->object->entry, block, grows);
        if (slot == CACHE_NO_SLOT)
            break;
        ret->slots[ret->count++] = slot;
        cache->misses++;
    }
}

static bool may_cache(const struct cache_store *cache, const struct cache_entry *entry)
    REQUIRES(cache->lock)
{
    return !cache->is_off && cache->table.limit > 0 && entry->writers == 0 && !entry->is_detached;
}

/* The slot that has the wish's first block, held; else CACHE_NO_SLOT and perhaps a run to fill. */
static uint32_t find_or_claim(struct wish *wish, bool grows, uint32_t *ret_len, struct run *ret)
{
    struct cache_store *cache = wish->object->cache;
    const struct cache_entry *entry = wish->object->entry;
    uint32_t slot = CACHE_NO_SLOT;

    *ret = (struct run){ .count = 0 };
    mutex_lock(&cache->lock);
    while (may_cache(cache, entry)) {
        slot = cache_slot_find(entry, wish->offset / CACHE_BLOCK);
        if (slot == CACHE_NO_SLOT || cache->table.slots[slot].is_filled)
            break;
        slot = CACHE_NO_SLOT;
        cond_wait(&cache->changed, &cache->lock); /* somebody reads it just now */
    }
    if (slot != CACHE_NO_SLOT) {
        cache_slot_hold(&cache->table, slot);
        cache->hits++;
        *ret_len = cache->table.slots[slot].len;
    } else if (may_cache(cache, entry)) {
        claim_run(cache, wish, grows, ret);
    }
    mutex_unlock(&cache->lock);
    return slot;
}

static int wish_part(struct wish *wish, struct error *err)
{
    struct cache_store *cache = wish->object->cache;
    uint32_t len = 0;
    struct run run;

    enum disk disk = look_at_disk(cache);
    if (disk == DISK_FULL)
        turn_off(cache, "its disk is nearly full");
    uint32_t slot = find_or_claim(wish, disk == DISK_ROOMY, &len, &run);
    if (slot != CACHE_NO_SLOT)
        return read_slot(wish, slot, len, err);
    return run.count > 0 ? fill_run(wish, &run, err) : wish_from_inner(wish, err);
}

static int cached_read(struct object *base, uint64_t offset, size_t len, uint8_t *to,
                       size_t *ret_len, struct error *err)
{
    struct wish wish = {
        .object = (struct cache_object *)base, .offset = offset, .len = len, .to = to
    };
    int r = 0;

    if (offset > UINT64_MAX - len)
        return read_inner(wish.object, offset, len, to, ret_len, err);
    while (r == 0 && wish.len > 0 && !wish.is_at_end)
        r = wish_part(&wish, err);
    if (r == 0)
        *ret_len = wish.got;
    return r;
}

static int cached_read_origin(struct object *base, uint64_t offset, size_t len, uint8_t *to,
                              size_t *ret_len, struct error *err)
{
    struct cache_object *object = (struct cache_object *)base;
    struct cache_store *cache = object->cache;

    mutex_lock(&cache->lock);
    for (uint64_t at = offset - offset % CACHE_BLOCK; len > 0 && at < offset + len;
         at += CACHE_BLOCK) {
        uint32_t slot = cache_slot_find(object->entry, at / CACHE_BLOCK);
        if (slot != CACHE_NO_SLOT && cache->table.slots[slot].is_filled)
            cache_slot_drop(&cache->table, slot);
    }
    mutex_unlock(&cache->lock);
    return read_inner(object, offset, len, to, ret_len, err);
}

static void unref_entry(struct cache_store *cache, struct cache_entry *entry)
{
    mutex_lock(&cache->lock);
    cache_entry_put(&cache->table, entry);
    mutex_unlock(&cache->lock);
}

static void cached_close(struct object *base)
{
    struct cache_object *object = (struct cache_object *)base;

    object_close(object->inner);
    unref_entry(object->cache, object->entry);
    free(object);
}

static const struct object_ops object_ops = {
    .read = cached_read,
    .read_origin = cached_read_origin,
    .close = cached_close,
};

/* --- the layer --- */

static bool is_ours(const struct cache_store *cache, const char *name)
{
    return strncmp(name, cache->prefix, strlen(cache->prefix)) == 0;
}

/* Of an object of which something is there nothing is asked before it has to be. */
static int cached_open(struct cache_store *cache, const struct store_call *call, struct error *err)
{
    CLEANUP(free_ptr) struct cache_object *object = calloc(1, sizeof(*object));

    if (object == NULL)
        return error_set(err, -ENOMEM, "no memory to open object %s", call->name);
    *object = (struct cache_object){ { &object_ops }, cache, .opening = MUTEX_INIT };
    mutex_lock(&cache->lock);
    object->entry = cache_entry_get(&cache->table, call->name);
    bool is_known = object->entry != NULL && object->entry->filled > 0;
    mutex_unlock(&cache->lock);
    if (object->entry == NULL)
        return error_set(err, -ENOMEM, "no memory to open object %s", call->name);
    int r = is_known ? 0 : open_inner(object, err);
    if (r < 0)
        unref_entry(cache, object->entry);
    else
        *call->ret_object = &TAKE(object)->base;
    return r;
}

static void forget_name(struct cache_store *cache, const char *name)
{
    mutex_lock(&cache->lock);
    cache_entry_detach(&cache->table, name);
    (void)pthread_cond_broadcast(&cache->changed);
    mutex_unlock(&cache->lock);
}

/* Until the writer is closed what is read by that name comes from the store. */
static int cached_create(struct cache_store *cache, const struct store_call *call,
                         struct error *err)
{
    struct cache_writer *writer = call->own;

    mutex_lock(&cache->lock);
    cache_entry_detach(&cache->table, call->name);
    writer->entry = cache_entry_get(&cache->table, call->name);
    if (writer->entry != NULL) {
        writer->entry->writers++;
        writer->cache = cache;
    }
    mutex_unlock(&cache->lock);
    return writer->entry != NULL ? store_call_perform(call, err)
                                 : error_set(err, -ENOMEM, "no memory for object %s", call->name);
}

static void writer_release(void *own)
{
    struct cache_writer *writer = own;

    if (writer->entry == NULL)
        return;
    mutex_lock(&writer->cache->lock);
    writer->entry->writers--;
    cache_entry_put(&writer->cache->table, writer->entry);
    mutex_unlock(&writer->cache->lock);
}

static int cache_around(struct layer *layer, struct store_call *call, struct error *err)
{
    struct cache_store *cache = (struct cache_store *)layer;
    bool changes_name =
        call->op == STORE_PUT || call->op == STORE_REPLACE || call->op == STORE_REMOVE;

    if (!is_ours(cache, call->name))
        return store_call_perform(call, err);
    if (call->op == STORE_OPEN)
        return cached_open(cache, call, err);
    if (call->op == STORE_CREATE)
        return cached_create(cache, call, err);
    int r = store_call_perform(call, err);
    if (changes_name)
        forget_name(cache, call->name);
    return r;
}

static void cache_release(struct layer *layer)
{
    struct cache_store *cache = (struct cache_store *)layer;

    cache_table_release(&cache->table);
    (void)close(cache->fd);
    free(cache);
}

static const struct layer_kind cache_kind = {
    .around = cache_around,
    .own_size = sizeof(struct cache_writer),
    .own_release = writer_release,
    .release = cache_release,
};

int cache_store_new(struct object_store *inner, const struct cache_config *config,
                    struct object_store **ret_store, struct cache_store **ret_cache)
{
    struct cache_store *cache = calloc(1, sizeof(*cache));

    if (cache == NULL || cache_table_init(&cache->table, slots_of(config->max_bytes)) < 0) {
        if (cache != NULL)
            cache_table_release(&cache->table);
        free(cache);
        return -ENOMEM;
    }
    layer_init(&cache->base, &cache_kind, inner);
    cache->fd = config->fd;
    cache->prefix = config->prefix;
    cache->on_off = config->on_off;
    cache->arg = config->arg;
    cache->lock = MUTEX_INIT;
    cache->changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    cache->max_bytes = config->max_bytes;
    *ret_store = &cache->base.base;
    *ret_cache = cache;
    return 0;
}

int cache_store_resize(struct cache_store *cache, uint64_t max_bytes)
{
    mutex_lock(&cache->lock);
    int r = cache_table_resize(&cache->table, slots_of(max_bytes));
    if (r == 0) {
        cache->max_bytes = max_bytes;
        cache->is_off = false;
        cache->must_truncate = true;
        truncate_when_free(cache);
        (void)pthread_cond_broadcast(&cache->changed);
    }
    mutex_unlock(&cache->lock);
    return r;
}

void cache_store_counts(struct cache_store *cache, struct cache_counts *ret)
{
    mutex_lock(&cache->lock);
    *ret = (struct cache_counts){ .max_bytes = cache->max_bytes,
                                  .used_bytes = cache->table.filled * (uint64_t)CACHE_BLOCK,
                                  .hits = cache->hits,
                                  .misses = cache->misses,
                                  .is_off = cache->is_off };
    mutex_unlock(&cache->lock);
}
