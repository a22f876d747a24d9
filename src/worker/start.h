/* start.h - from the order START to an open volume: rights are given up in between.
 *
 * Errors     negative errno and a sentence. After a failure the process is of no more use.
 * Ownership  the store and the volume are the caller's to close, volume first.
 * Threads    the process's only one.
 */
#pragma once

#include "base/error.h"
#include "fs/volume.h"
#include "host/worker_protocol.h"
#include "mount/session.h"

struct started {
    struct object_store *store;
    struct volume *volume;
    int spare_fds[MOUNT_THREADS]; /* for mount_session_start() */
};

int worker_start(const struct worker_start *order, volume_event_fn *on_event, void *event_arg,
                 struct started *ret, struct error *err);
