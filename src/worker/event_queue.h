/* event_queue.h - what the volume reports, from any thread, on its way to the one thread that
 * talks to cofferd.
 *
 * While nobody takes them the newest EVENT_QUEUE_MAX are kept. One that says the same as the one
 * before it is not kept again: a damaged file that is read in a loop must not flood the log.
 *
 * Threads    any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/thread.h"
#include "host/worker_protocol.h"

#define EVENT_QUEUE_MAX 64u

struct event_queue {
    struct mutex lock; /* everything below */
    struct worker_event events[EVENT_QUEUE_MAX];
    unsigned first;
    unsigned count;
    uint64_t corruptions; /* of all time, repetitions too */
    struct worker_event last;
    bool has_last;
    int fd; /* an eventfd: readable when something was added */
};

int event_queue_init(struct event_queue *queue);
void event_queue_release(struct event_queue *queue);

void event_queue_add(struct event_queue *queue, enum worker_event_kind kind, const char *text);

/* False if there is none. */
bool event_queue_take(struct event_queue *queue, struct worker_event *ret);

uint64_t event_queue_corruptions(struct event_queue *queue);
