/* snapshot_mounts.h - snapshots that are mounted by themselves, beside the filesystem: one FUSE
 * session each, whose root is the snapshot's.
 *
 * Errors     negative errno and a sentence.
 * Threads    one.
 */
#pragma once

#include "fs/volume.h"
#include "host/worker_protocol.h"
#include "mount/session.h"

struct snapshot_mounts {
    int ends_fd; /* readable when one of them has ended; -1: there was none yet */
    uint32_t count;
    struct {
        uint64_t snapshot;
        struct mount_session *session;
    } items[WORKER_SNAPSHOT_MOUNTS_MAX];
};

#define SNAPSHOT_MOUNTS_INIT ((struct snapshot_mounts){ .ends_fd = -1 })

/* Takes over device_fd, also when it fails. -ENOENT: there is no such snapshot. */
int snapshot_mounts_add(struct snapshot_mounts *mounts, struct volume *volume, uint64_t snapshot,
                        int device_fd, struct error *err);

/* One whose mount the kernel has ended is forgotten. False: there is none. */
bool snapshot_mounts_take_ended(struct snapshot_mounts *mounts, uint64_t *ret_snapshot);

/* Ends all of them. */
void snapshot_mounts_stop(struct snapshot_mounts *mounts);
