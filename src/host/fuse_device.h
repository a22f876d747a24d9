/* fuse_device.h - mounting and unmounting coffer filesystems, without libfuse: as root by
 * mount(2), as an ordinary user by fusermount3, in the caller's mount namespace either way.
 *
 * Errors     negative errno and a sentence. -EBUSY: files are open under the mount point;
 *            -EINVAL, -ENOENT: nothing is mounted there.
 * Ownership  the descriptor is the caller's; the mount ends when the last copy of it is closed.
 * Threads    any.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"

#define FUSE_DEVICE_MAX_READ (1024u * 1024u)

struct fuse_device_mount {
    const char *name;       /* of the filesystem: what mount(8) shows as the source */
    const char *mountpoint; /* absolute, without links: fuse_device_resolve() */
    unsigned long flags;    /* MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME */
    bool is_private;        /* only for the user who mounts it (an ordinary user's default) */
};

/* The real path of a mount point, also of one whose filesystem is dead. */
int fuse_device_resolve(const char *path, char ret[static PATH_MAX], struct error *err);

int fuse_device_mount(const struct fuse_device_mount *mount, int *ret_fd, struct error *err);

/* lazy: takes it out of the tree at once, whoever still uses it. */
int fuse_device_unmount(const char *mountpoint, bool lazy, struct error *err);

/* Whether the topmost mount at this real path is a coffer filesystem. name (of
 * FUSE_DEVICE_NAME_SIZE, may be NULL) gets its source. */
#define FUSE_DEVICE_NAME_SIZE 256u
int fuse_device_is_mounted(const char *mountpoint, bool *ret_is_mounted, char *ret_name,
                           struct error *err);

/* Whether it is an open /dev/fuse. */
bool fuse_device_is(int fd);

/* Whether that is so, as far as this mount namespace shows, and its source this name. */
bool fuse_device_is_mounted_as(const char *mountpoint, const char *name);

/* Has the kernel begin to hand over what it keeps of files that are written there, if this
 * filesystem is mounted there. It does not wait, and a failure says nothing. */
void fuse_device_start_write_back(const char *mountpoint, const char *name);

/* Takes away the mounts that a dead worker of this filesystem left at the mount point; those
 * that still answer, and those of others, stay. */
int fuse_device_detach_dead(const char *mountpoint, const char *name, struct error *err);
