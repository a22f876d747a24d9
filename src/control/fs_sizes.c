/* fs_sizes.c - sizes of a filesystem that can be changed at any time: its capacity, and the cache
 * of one whose data is in a bucket. Each is kept first: a worker that is started meanwhile reads it
 * there. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "control/filesystem.h"
#include "control/object_stores.h"

static int tell_worker(struct filesystem *fs, enum worker_message_type type, uint64_t bytes,
                       struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);

    if (!worker)
        return 0;
    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = type;
    if (type == WORKER_SET_CACHE)
        message[0].set_cache.bytes = bytes;
    else
        message[0].set_capacity.capacity = bytes;
    int r = worker_ask(worker, &message[0], -1, -1, &message[1], err);
    if (r == 0)
        worker_message_release(&message[1]);
    return r;
}

/* of_record: what it is in the record. */
static int set_size(struct filesystem *fs, uint64_t *of_record, enum worker_message_type type,
                    uint64_t bytes, struct error *err)
{
    mutex_lock(&fs->lock);
    uint64_t before = *of_record;
    *of_record = bytes;
    mutex_unlock(&fs->lock);
    int r = filesystem_save(fs, err);
    if (r == 0)
        return tell_worker(fs, type, bytes, err);
    mutex_lock(&fs->lock);
    if (*of_record == bytes)
        *of_record = before;
    mutex_unlock(&fs->lock);
    return r;
}

int control_set_cache(struct control *control, const char *name, uint64_t bytes,
                      struct fs_view *ret, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);

    if (!fs)
        return -ENOENT;
    if (!place_is_s3(fs->record.store_url))
        return error_set(err, -EINVAL,
                         "filesystem %s has its data in a folder; a cache is for one whose store "
                         "is a bucket",
                         name);
    int r = filesystem_check_cache(bytes, err);
    if (r == 0)
        r = set_size(fs, &fs->record.cache_bytes, WORKER_SET_CACHE, bytes, err);
    if (r == 0)
        filesystem_view(fs, ret);
    return r;
}

int control_set_capacity(struct control *control, const char *name, uint64_t bytes,
                         struct fs_view *ret, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);

    if (!fs)
        return -ENOENT;
    int r = filesystem_check_capacity(bytes, err);
    if (r == 0)
        r = set_size(fs, &fs->record.capacity, WORKER_SET_CAPACITY, bytes, err);
    if (r == 0)
        filesystem_view(fs, ret);
    return r;
}
