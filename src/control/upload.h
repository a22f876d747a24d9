/* upload.h - a snapshot of a started filesystem into an object store, as a task (tasks.h): its
 * worker does it, with a process that has the store's credentials (bucket_session.h).
 *
 * Errors     negative errno and a sentence. -EPERM: a local key wraps the filesystem's, and that
 * was not allowed. Threads    any.
 */
#pragma once

#include "control/tasks.h"

struct snapshot_upload {
    const char *snapshot; /* its name */
    const char *store;    /* NULL: the only one that there is */
    bool hides_names;     /* of filesystem and snapshot, which who has the bucket could read */
    bool allow_no_kms;
};

int control_snapshot_upload(struct control *control, const char *fs_name,
                            const struct snapshot_upload *upload, struct task_view *ret,
                            struct error *err);

/* The one that was given, or the only one that there is. */
int upload_choose_store(struct control *control, const char *given,
                        char ret[static STORE_NAME_MAX + 1], struct error *err);
