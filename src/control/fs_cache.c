/* fs_cache.c - the cache of a filesystem whose data is in a bucket: its size. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "control/filesystem.h"
#include "control/object_stores.h"

static int tell_worker(struct worker *worker, uint64_t bytes, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = WORKER_SET_CACHE;
    message[0].set_cache.bytes = bytes;
    int r = worker_ask(worker, &message[0], -1, -1, &message[1], err);
    if (r == 0)
        worker_message_release(&message[1]);
    return r;
}

/* Kept first: a worker that is started meanwhile reads it there. */
static int set_size(struct filesystem *fs, uint64_t bytes, struct error *err)
{
    mutex_lock(&fs->lock);
    fs->record.cache_bytes = bytes;
    mutex_unlock(&fs->lock);
    int r = filesystem_save(fs, err);
    if (r < 0)
        return r;
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);
    return worker ? tell_worker(worker, bytes, err) : 0;
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
        r = set_size(fs, bytes, err);
    if (r == 0)
        filesystem_view(fs, ret);
    return r;
}
