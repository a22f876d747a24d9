/* snapshot_mount.h - inside the control plane: snapshots of a filesystem that are mounted by
 * themselves. The registry knows where, so that they come back as the filesystem does: after the
 * end of the worker, of cofferd, of the host. They are named by their numbers, since names are in
 * the filesystem's metadata only. Used by the files of src/control only.
 *
 * A worker ends with its last mount; so one whose filesystem is unmounted goes on for these.
 *
 * Errors     negative errno and a sentence.
 * Threads    any. Mounting one and removing a snapshot exclude each other by filesystem->snapshots.
 */
#pragma once

#include "base/buf.h"
#include "control/filesystem.h"

struct snapshot_mount {
    struct snapshot_mount *next; /* guarded by filesystem->lock */
    uint64_t snapshot;
    uint32_t flags;                      /* MS_... */
    char mountpoint[FS_MOUNTPOINT_SIZE]; /* absolute */
};

/* Byte for byte in docs/formats/registry.md. -EBADMSG: not such a record; -EPROTONOSUPPORT: of a
 * later version. */
#define SNAPSHOT_MOUNT_MAX (FS_MOUNTPOINT_SIZE + 64u)
int snapshot_mount_encode(const struct snapshot_mount *mount, struct buf *ret, struct error *err);
int snapshot_mount_decode(struct bytes encoded, struct snapshot_mount *ret, struct error *err);

/* What the registry holds. */
int snapshot_mounts_load(struct filesystem *fs, struct error *err);
void snapshot_mounts_free(struct filesystem *fs); /* the memory only */

/* The keeper: mounts all where they were. What fails is an event. */
void snapshot_mounts_again(struct filesystem *fs);
/* Takes away what a dead worker left. */
void snapshot_mounts_clear(struct filesystem *fs);
/* A worker that an earlier cofferd left: what was unmounted meanwhile is forgotten. *ret_has_ended:
 * the filesystem itself was, too. */
int snapshot_mounts_compare(struct filesystem *fs, struct worker *worker, bool *ret_has_ended,
                            struct error *err);

/* It is not mounted any more; all: none is. */
void snapshot_mounts_ended(struct filesystem *fs, uint64_t snapshot);
void snapshot_mounts_forget(struct filesystem *fs);

/* Where it is mounted. False: it is not. */
bool snapshot_mounts_find(struct filesystem *fs, uint64_t snapshot,
                          char ret[static FS_MOUNTPOINT_SIZE]);

/* -EBUSY: a snapshot is mounted, as far as this mount namespace shows. */
int snapshot_mounts_none(struct filesystem *fs, struct error *err);
