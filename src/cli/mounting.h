/* mounting.h - mounting and unmounting as the caller does it: in his mount namespace, with his
 * rights. cofferd starts the worker and hands it the FUSE descriptor that is passed on.
 *
 * Errors     negative errno and a sentence. A mount that fails is undone: nothing stays mounted,
 *            and a worker that was started for it is stopped.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"
#include "host/instance.h"

struct mounting {
    const char *name;
    const char *folder;
    const char *snapshot; /* only this one, read-only; NULL: the filesystem */
    bool take_over;
    bool salvage;
    unsigned long flags; /* MS_NOSUID and the like, for mount(2) */
};

/* ret_folder is the folder's absolute path. */
int mounting_mount(const struct instance *instance, const struct mounting *mounting,
                   char ret_folder[static PATH_MAX], struct error *err);

/* Of a snapshot that is mounted by itself: by the names, or snapshot NULL and the folder. Returns
 * when cofferd knows that it is gone. -ENOENT: none is mounted so. */
int mounting_umount_snapshot(const struct instance *instance, const char *name_or_folder,
                             const char *snapshot, char ret_folder[static PATH_MAX],
                             struct error *err);

/* name_or_folder: a filesystem, or the path that one is mounted on. Returns when the worker has
 * made its last commit and is gone. ret_name is the filesystem's. */
#define MOUNTING_NAME_SIZE 64
int mounting_umount(const struct instance *instance, const char *name_or_folder,
                    char ret_name[static MOUNTING_NAME_SIZE], struct error *err);
