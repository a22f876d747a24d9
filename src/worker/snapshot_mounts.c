#include "worker/snapshot_mounts.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"

static int watch(struct snapshot_mounts *mounts, struct mount_session *session, struct error *err)
{
    int fd = mount_session_end_fd(session);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = session };

    if (mounts->ends_fd < 0)
        mounts->ends_fd = epoll_create1(EPOLL_CLOEXEC);
    if (mounts->ends_fd < 0 || epoll_ctl(mounts->ends_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return error_set(err, -errno, "cannot watch the mount: %s", strerrordesc_np(errno));
    return 0;
}

static int start(struct snapshot_mounts *mounts, struct volume *volume, uint64_t root,
                 int device_fd, struct mount_session **ret, struct error *err)
{
    int no_spares[MOUNT_THREADS];
    struct mount_session *session = NULL;

    for (unsigned i = 0; i < MOUNT_THREADS; i++)
        no_spares[i] = -1;
    int r = mount_session_start(volume, root, device_fd, no_spares, &session, err);
    if (r < 0)
        return r;
    r = watch(mounts, session, err);
    if (r < 0) {
        mount_session_stop(session);
        return r;
    }
    *ret = session;
    return 0;
}

int snapshot_mounts_add(struct snapshot_mounts *mounts, struct volume *volume, uint64_t snapshot,
                        int device_fd, struct error *err)
{
    struct volume_snapshot found;
    CLEANUP(close_fd) int fd = device_fd;

    for (uint32_t i = 0; i < mounts->count; i++)
        if (mounts->items[i].snapshot == snapshot)
            return error_set(err, -EBUSY, "the snapshot is mounted already");
    if (mounts->count == WORKER_SNAPSHOT_MOUNTS_MAX)
        return error_set(err, -EUSERS, "%u snapshots of a filesystem can be mounted at a time",
                         WORKER_SNAPSHOT_MOUNTS_MAX);
    if (volume_snapshot_find_epoch(volume, snapshot, &found) < 0)
        return error_set(err, -ENOENT, "the snapshot is gone");
    device_fd = fd;
    fd = -1;
    int r = start(mounts, volume, volume_snapshot_root(&found), device_fd,
                  &mounts->items[mounts->count].session, err);
    if (r == 0)
        mounts->items[mounts->count++].snapshot = snapshot;
    return r;
}

/* Closing its descriptor takes it out of what is watched. */
static void drop(struct snapshot_mounts *mounts, uint32_t i)
{
    mount_session_stop(mounts->items[i].session);
    mounts->items[i] = mounts->items[--mounts->count];
}

bool snapshot_mounts_take_ended(struct snapshot_mounts *mounts, uint64_t *ret_snapshot)
{
    struct epoll_event event;

    if (mounts->ends_fd < 0 || epoll_wait(mounts->ends_fd, &event, 1, 0) != 1)
        return false;
    for (uint32_t i = 0; i < mounts->count; i++) {
        if (mounts->items[i].session != event.data.ptr)
            continue;
        *ret_snapshot = mounts->items[i].snapshot;
        drop(mounts, i);
        return true;
    }
    return false;
}

void snapshot_mounts_stop(struct snapshot_mounts *mounts)
{
    while (mounts->count > 0)
        drop(mounts, mounts->count - 1);
    close_fd(&mounts->ends_fd);
    mounts->ends_fd = -1;
}
