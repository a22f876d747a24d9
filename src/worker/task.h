/* task.h - work that takes long, in a thread of its own, so that orders and questions are answered
 * meanwhile: checks, and changes of snapshots.
 *
 * Threads    one starts it, asks and finishes it.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "base/error.h"
#include "fs/volume.h"
#include "host/worker_protocol.h"
#include "mount/session.h"

struct task;
struct verify_work; /* worker/verify_task.h */

/* The sentences of a check's answer. */
struct check_report {
    struct worker_check_reply *reply;
    size_t len;
};

/* arg: the report. What finds no room is left out, and that is told. */
void check_report_add(const char *text, void *arg);

/* Fills task->reply, but for its request, unless it returns a failure: then DONE tells it. */
typedef int task_fn(struct task *task, struct error *err);

struct task {
    const char *what; /* "a check" */
    bool is_running;
    int done_fd; /* an eventfd: readable when it is over */
    pthread_t thread;
    task_fn *run;
    struct volume *volume;
    struct mount_session *session; /* NULL: not mounted */
    struct verify_work *verify;    /* of WORKER_VERIFY, which has no volume */
    struct volume_diff *diff;      /* kept from one order to the next, which goes on with it */
    struct worker_message order;
    int code;
    struct error err;
    struct worker_message reply;
};

int task_init(struct task *task, const char *what);
void task_release(struct task *task);

/* -EBUSY: one runs. */
int task_start(struct task *task, task_fn *fn, const struct worker_message *order,
               struct error *err);

/* Waits for its end. The answer is in task->reply. */
void task_finish(struct task *task);

/* check_task.c, snapshot_task.c and others: one for each order that they serve. */
task_fn check_task;
task_fn verify_task;
task_fn snapshot_take_task;
task_fn snapshot_update_task;
task_fn snapshot_remove_task;
task_fn restore_task;
task_fn snapshot_diff_task;
task_fn key_uses_task;
