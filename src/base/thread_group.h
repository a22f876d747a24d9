/* thread_group.h - threads that nobody waits for one by one, but all of which have ended, down to
 * what libraries keep for each of them, before what they work on goes away.
 *
 * A detached thread that says "done" as its last act still runs for a moment, and a process that
 * ends in that moment loses what OpenSSL would have freed with it. So each thread that ends joins
 * the one that ended before it, and whoever waits for the group joins the last.
 *
 * Errors     negative errno.
 * Ownership  the group is part of its owner, who waits for it before it goes.
 * Threads    any may start others, those of the group too; one waits.
 */
#pragma once

#include <pthread.h>

#include "base/thread.h"

struct thread_group {
    struct mutex lock;   /* guards all below */
    pthread_cond_t idle; /* none runs */
    unsigned running;
    bool has_ended; /* ended is to be joined */
    pthread_t ended;
};

typedef void thread_work_fn(void *arg);

void thread_group_init(struct thread_group *group);

/* Runs work on a new thread of the group; arg is work's from here on, the caller's again if this
 * fails. With a max other than 0, -EBUSY if so many run already. */
int thread_group_start(struct thread_group *group, unsigned max, thread_work_fn *work, void *arg);

/* Until none runs. The caller has seen to it that none is started any more. */
void thread_group_wait(struct thread_group *group);

/* After thread_group_wait(), or if none was ever started. */
void thread_group_destroy(struct thread_group *group);
