/* snapshot_download.h - an uploaded snapshot of a started filesystem, or of one of the same origin,
 * becomes one of its snapshots, as a task (tasks.h): its worker does it, with a process that has
 * the store's credentials (bucket_session.h). Keys that it needs and the filesystem's ring does not
 * have join the ring first (foreign_keys.h); otherwise no key server is asked.
 *
 * Errors     negative errno and a sentence. -EXDEV: it is of another origin; -EEXIST: its name is
 *            taken; those of foreign_keys_take(). Threads    any.
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
