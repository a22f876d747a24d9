/* remount.h - mounting what comes back: the one case in which cofferd mounts by itself, in its own
 * mount namespace.
 *
 * Errors     negative errno and a sentence.
 * Threads    any, one at a time for one mountpoint.
 */
#pragma once

#include "base/error.h"
#include "control/worker.h"

/* What is to be mounted, and where. */
struct remounting {
    const char *name; /* of the filesystem */
    const char *mountpoint;
    uint32_t flags;    /* MS_... */
    uint64_t snapshot; /* of it alone; 0: the filesystem */
};

/* Clears what a dead worker left there, mounts with these flags, and hands the descriptor to the
 * worker. */
int remount(const struct remounting *remounting, struct worker *worker, struct error *err);

/* Takes away what a dead worker left there; nothing is there counts as taken away. */
int remount_clear(const struct remounting *remounting, struct error *err);

/* Hands the mounted descriptor to the worker; it stays the caller's to close. */
int remount_pass(struct worker *worker, const struct remounting *remounting, int fuse_fd,
                 struct error *err);

/* The MS_... flags of the mount at this path, as this namespace sees it; 0 if it does not. */
uint32_t remount_flags_of(const char *mountpoint);
