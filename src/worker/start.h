/* start.h - from the order START to an open volume: rights are given up in between.
 *
 * Errors     negative errno and a sentence. After a failure the process is of no more use.
 * Ownership  the stores and the volume are the caller's to close, volume first.
 * Threads    the process's only one.
 */
#pragma once

#include "base/error.h"
#include "fs/volume.h"
#include "host/worker_protocol.h"
#include "mount/session.h"
#include "store/layers/cache.h"
#include "worker/bucket.h"

/* To whom the cache tells that it turned itself off. */
struct cache_teller;

struct started {
    struct object_store *store;
    struct cache_store *cache;    /* a layer of store; NULL: there is none */
    struct cache_teller *teller;  /* freed behind the store */
    struct worker_bucket *bucket; /* of one that was downloaded; NULL: it needs none */
    struct volume *volume;
    int spare_fds[MOUNT_THREADS]; /* for mount_session_start() */
};

/* Opens a store by settings that cofferd packed. Two programs are made of a worker, each with one
 * of these: coffer-fsd with packed_none.c, and coffer-fsd-s3 with packed_s3.c, since what speaks
 * HTTP costs each process memory, and is no part of one that has no network. */
int worker_open_packed(struct bytes settings, struct object_store **ret, struct error *err);

/* fd: the socket of the bucket's process, or -1; taken over. */
int worker_start(const struct worker_start *order, int fd, volume_event_fn *on_event,
                 void *event_arg, struct started *ret, struct error *err);

/* How full it is, and what there is of cache and origin. */
int started_status(const struct started *started, struct worker_status_reply *ret,
                   struct error *err);
