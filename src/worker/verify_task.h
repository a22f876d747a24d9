/* verify_task.h - whether an uploaded snapshot could be downloaded (transfer/verify.h), by a worker
 * that serves no filesystem: it has the snapshot's keys, the bucket's socket, and no folder at all.
 *
 * Ownership  the work owns its store and its keys; the descriptor is taken over, also by a failure.
 * Threads    verify_work_stop() by any, beside the task.
 */
#pragma once

#include "host/worker_protocol.h"
#include "worker/task.h"

struct verify_work;

/* Locks this process in, for good. */
int verify_work_new(const struct worker_verify *order, int fd, struct verify_work **ret,
                    struct error *err);
void verify_work_free(struct verify_work *work); /* NULL is allowed */

/* An eventfd: readable when there is progress that was not taken yet. */
int verify_work_fd(const struct verify_work *work);
/* False: none is new. */
bool verify_work_take_progress(struct verify_work *work, struct worker_task_progress *ret);

/* What is under way fails soon. */
void verify_work_stop(struct verify_work *work);
