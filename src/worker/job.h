/* job.h - what a worker does of a task of cofferd (control/tasks.h): work of minutes or days, in a
 * thread of its own, beside the mounted filesystem. It reports how far it has come, is told to
 * stop, and what it leaves when it is stopped or killed is gone on from by the next start of the
 * same task.
 *
 * A new kind is a function and a line in the table in job.c; its parameters and its result are its
 * own to encode, and bounded by host/worker_protocol.h.
 *
 * Ownership  a job owns its socket; the volume and the store stay the service's, and open until all
 *            jobs have ended.
 * Threads    one starts, stops and finishes jobs; what a job does, and what it may call in here, is
 *            its own thread's.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/thread.h"
#include "fs/volume.h"
#include "host/worker_protocol.h"
#include "store/object_store.h"

#define JOBS_MAX 8u

struct job;

/* Returns as volume.h does; -ECANCELED if job_should_stop() was true. What trying again does not
 * change is told by job_give_up(). On success job->done.result is what it says. */
typedef int job_fn(struct job *job, struct error *err);

/* It is told to stop. Under a lock, so that it must not call what is here. */
typedef void job_stop_fn(void *arg);

struct job {
    bool is_used;
    struct jobs *jobs;
    pthread_t thread;
    job_fn *run;
    struct volume *volume;
    struct object_store *store; /* the filesystem's own */
    struct worker_task_start *order;
    int fd;                       /* what came with the order, or -1; job_take_fd() */
    int stop_fd;                  /* the same again, shut down to stop; or -1 */
    struct worker_task_done done; /* its own thread's, until has_ended */
    struct mutex lock;            /* guards all below */
    pthread_cond_t changed;
    bool must_stop;
    job_stop_fn *on_stop; /* NULL: there is nobody to tell */
    void *on_stop_arg;
    bool has_ended;
    bool has_news; /* progress that was not taken yet */
    int64_t told_ms;
    struct worker_task_progress progress;
};

/* --- for a kind --- */

bool job_should_stop(struct job *job);
/* 0, or -ECANCELED if it is to stop. */
int job_sleep(struct job *job, int64_t ms);
/* From now on who waits for something else than a store is told, at once if it is to stop already.
 * NULL: no more, and it is not being called. */
void job_on_stop(struct job *job, job_stop_fn *on_stop, void *arg);
/* total, done, moved and phase; the rest is filled in. Cheap enough to be called often. */
void job_report(struct job *job, const struct worker_task_progress *progress);
/* The failure that it returns is not to be tried again. */
void job_give_up(struct job *job);
/* The caller's from then on; -1: none came. */
int job_take_fd(struct job *job);

/* --- for the service --- */

struct jobs {
    struct job items[JOBS_MAX];
    int fd; /* an eventfd: readable when one has ended or progressed */
};

int jobs_init(struct jobs *jobs);
void jobs_release(struct jobs *jobs); /* none runs */

/* Takes over fd, also when it fails. One that runs already goes on under the new run. -EINVAL: no
 * such kind, or not with a socket as it must be; -EUSERS: too many. */
int jobs_start(struct jobs *jobs, const struct worker_task_start *order, int fd,
               struct volume *volume, struct object_store *store, struct error *err);
/* -ENOENT: it does not run. */
int jobs_stop(struct jobs *jobs, uint64_t task, struct error *err);
/* Tells each to stop, and waits for all. */
void jobs_stop_all(struct jobs *jobs);

/* What there is to tell: send gets messages, and returns false if it cannot send: then what has
 * ended is told the next time. */
typedef bool jobs_send_fn(const struct worker_message *message, void *arg);
void jobs_tell(struct jobs *jobs, jobs_send_fn *send, void *arg);

/* One for each kind: upload_job.c, download_job.c, import_job.c */
job_fn upload_job;
job_fn download_job;
job_fn import_job;

/* import_job.c: seals what its parameters say of names. */
int import_seal(struct volume *volume, struct worker_task_start *start, struct error *err);
