/* session.h - the FUSE face of a volume: answers what the kernel asks on a /dev/fuse descriptor
 * that somebody else mounted.
 *
 * The kernel is told to cache as much as it can (pages, attributes, names, directories), since
 * nobody but this mount changes the volume. It writes dirty pages back when it likes, and at
 * the latest when a file is closed.
 *
 * Errors     negative errno and a sentence.
 * Ownership  the volume stays the caller's and must outlive the session.
 * Threads    one thread starts, stops and asks; another may have pages written back and tell of
 *            snapshots; the session has up to MOUNT_THREADS of its own.
 */
#pragma once

#include "base/error.h"
#include "fs/volume.h"

#define MOUNT_THREADS 8u

struct mount_session;

/* What has to be opened before a process gives up its rights: further descriptors of /dev/fuse,
 * one for each thread, so that threads do not wait for each other at one queue. Those that cannot
 * be had are -1, and the session works without. */
void mount_open_spares(int ret_fds[static MOUNT_THREADS]);

/* Shows the volume, or with the root of a snapshot (volume_snapshot_root()) that alone, of which
 * the kernel keeps what it has read for ever: it must not be removed meanwhile. Several sessions
 * may run, one of them of the volume. Takes over device_fd and, one for each thread, what spare_fds
 * holds (each becomes -1), also when it fails. */
int mount_session_start(struct volume *volume, uint64_t root, int device_fd,
                        int spare_fds[static MOUNT_THREADS], struct mount_session **ret,
                        struct error *err);

/* Becomes readable when the kernel has ended the mount. */
int mount_session_end_fd(const struct mount_session *session);

/* Has the kernel hand over what it still keeps of the files that are open for writing, and waits
 * for it. */
void mount_session_write_back(struct mount_session *session);

/* A snapshot came, went or got another access point (the name that was; NULL: it is new): what the
 * kernel keeps of their folder is not so any more. */
void mount_session_snapshots_changed(struct mount_session *session, const char *access_point);

/* Ends the mount if the kernel has not: programs that still use it get ENOTCONN. Frees it. */
void mount_session_stop(struct mount_session *session);
