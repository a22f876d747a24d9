/* snapshot_download.h - an uploaded snapshot of a started filesystem, or of one of the same origin,
 * becomes one of its snapshots, as a task (tasks.h): its worker does it, with a process that has
 * the store's credentials (bucket_session.h). The keys that it needs are in the filesystem's ring,
 * so no key server is asked.
 *
 * Errors     negative errno and a sentence. -EXDEV: it is of a filesystem whose key the ring does
 *            not have; -EEXIST: its name is taken. Threads    any.
 */
#pragma once

#include "control/object_stores.h"
#include "control/tasks.h"

struct snapshot_download {
    const char *locator;
    struct store_choice store;
    const char *name; /* NULL: that which it has there */
};

int control_snapshot_download(struct control *control, const char *fs_name,
                              const struct snapshot_download *download, struct task_view *ret,
                              struct error *err);
