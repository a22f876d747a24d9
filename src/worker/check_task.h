/* check_task.h - one run of volume_check() in a thread of its own, so that orders and questions
 * are answered meanwhile.
 *
 * Threads    one starts it, asks and finishes it.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "fs/volume.h"
#include "host/worker_protocol.h"

struct check_task {
    bool is_running;
    uint32_t request;
    int done_fd; /* an eventfd: readable when it is over */
    pthread_t thread;
    struct volume *volume;
    bool read_data;
    int code;
    struct error err;
    struct worker_check_reply reply;
    size_t report_len;
};

int check_task_init(struct check_task *task);
void check_task_release(struct check_task *task);

/* -EBUSY: one runs. */
int check_task_start(struct check_task *task, struct volume *volume, bool read_data,
                     uint32_t request, struct error *err);

/* Waits for its end, and gives the answer: CHECK_REPLY, or DONE with the failure. */
void check_task_finish(struct check_task *task, struct worker_message *ret);
