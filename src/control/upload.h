/* upload.h - a snapshot of a started filesystem into an object store, as a task (tasks.h): its
 * worker does it, with a process that has the store's credentials (bucket_session.h).
 *
 * Errors     negative errno and a sentence. -EPERM: a local key wraps the filesystem's, and that
 * was not allowed. Threads    any.
 */
#pragma once

#include "control/object_stores.h"
#include "control/tasks.h"

struct snapshot_upload {
    const char *snapshot; /* its name */
    struct store_choice store;
    bool hides_names; /* of filesystem and snapshot, which who has the bucket could read */
    bool allow_no_kms;
};

int control_snapshot_upload(struct control *control, const char *fs_name,
                            const struct snapshot_upload *upload, struct task_view *ret,
                            struct error *err);
