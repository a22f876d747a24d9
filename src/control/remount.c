#include "control/remount.h"

#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/fuse_device.h"

#define MOUNT_TIMEOUT_MS 60000
#define MOUNT_LINE_SIZE (16 * 1024)

int remount_clear(const struct remounting *remounting, struct error *err)
{
    return fuse_device_detach_dead(remounting->mountpoint, remounting->name, err);
}

static void write_order(const struct remounting *remounting, struct worker_message *ret)
{
    if (remounting->snapshot != 0) {
        ret->type = WORKER_SNAPSHOT_MOUNT;
        ret->snapshot_mount.snapshot = remounting->snapshot;
        return;
    }
    ret->type = WORKER_MOUNT;
    ret->mount.is_noatime = remounting->flags & MS_NOATIME;
    (void)snprintf(ret->mount.mountpoint, sizeof(ret->mount.mountpoint), "%s",
                   remounting->mountpoint);
}

int remount_pass(struct worker *worker, const struct remounting *remounting, int fuse_fd,
                 struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    write_order(remounting, &message[0]);
    int r = worker_ask(worker, &message[0], fuse_fd, MOUNT_TIMEOUT_MS, &message[1], err);
    if (r == 0)
        worker_message_release(&message[1]);
    return r;
}

int remount(const struct remounting *remounting, struct worker *worker, struct error *err)
{
    CLEANUP(close_fd) int fd = -1;
    struct fuse_device_mount mount = { .name = remounting->name,
                                       .mountpoint = remounting->mountpoint,
                                       .flags = remounting->flags,
                                       .is_private = geteuid() != 0 };
    int r = remount_clear(remounting, err);

    if (r < 0)
        return r;
    r = fuse_device_mount(&mount, &fd, err);
    if (r < 0)
        return r;
    r = remount_pass(worker, remounting, fd, err);
    if (r < 0)
        (void)fuse_device_unmount(remounting->mountpoint, true, NULL); /* nobody serves it */
    return r;
}

static uint32_t flag_of(const char *option, size_t len)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } flags[] = {
        { "ro", MS_RDONLY },     { "nosuid", MS_NOSUID },   { "nodev", MS_NODEV },
        { "noexec", MS_NOEXEC }, { "noatime", MS_NOATIME }, { "nodiratime", MS_NODIRATIME },
    };

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (strlen(flags[i].name) == len && memcmp(flags[i].name, option, len) == 0)
            return flags[i].flag;
    return 0;
}

static uint32_t flags_of(const char *options)
{
    uint32_t flags = 0;

    while (*options) {
        size_t len = strcspn(options, ",");
        flags |= flag_of(options, len);
        options += len;
        options += *options == ',';
    }
    return flags;
}

uint32_t remount_flags_of(const char *mountpoint)
{
    CLEANUP(free_ptr) char *line = malloc(MOUNT_LINE_SIZE);
    FILE *file = setmntent("/proc/self/mounts", "re");
    struct mntent entry;
    uint32_t flags = 0;

    while (file && line && getmntent_r(file, &entry, line, MOUNT_LINE_SIZE))
        if (strcmp(entry.mnt_dir, mountpoint) == 0)
            flags = flags_of(entry.mnt_opts); /* the last one is the topmost */
    if (file)
        (void)endmntent(file);
    return flags;
}
