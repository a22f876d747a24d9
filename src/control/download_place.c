/* download_place.c - where what a downloaded filesystem still needs of its snapshot is, told by the
 * administrator: the registry that knew it was lost, or the object store got another name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "control/filesystem.h"
#include "control/object_stores.h"

static int check_store(struct control *control, const char *object_store, struct error *err)
{
    struct store_record *record = calloc(1, sizeof(*record));

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    *record = STORE_RECORD_INIT;
    int r = object_stores_load(control, object_store, record, err);
    store_record_release(record);
    free(record);
    return r;
}

int control_set_origin(struct control *control, const char *name, const char *object_store,
                       struct fs_view *ret, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);

    if (!fs)
        return -ENOENT;
    int r = check_store(control, object_store, err);
    if (r < 0)
        return r;
    mutex_lock(&fs->lock);
    if (fs->worker && !fs->record.has_origin) { /* it would not be up */
        mutex_unlock(&fs->lock);
        return error_set(err, -EINVAL, "filesystem %s is started, and all of it is here", name);
    }
    /* Its own record of what it needs is sealed in its metadata: a worker reads it there, and tells
     * if nothing is needed. */
    fs->record.has_origin = true;
    (void)snprintf(fs->record.origin.store, sizeof(fs->record.origin.store), "%s", object_store);
    mutex_unlock(&fs->lock);
    r = filesystem_save(fs, err);
    if (r < 0)
        return r;
    filesystem_wake(fs);
    filesystem_view(fs, ret);
    return 0;
}
