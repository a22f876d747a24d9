/* tasks.h - work that takes minutes or days: it is listed, says how far it is, is paused, resumed
 * and aborted, and goes on after a restart of cofferd, of a worker or of the host.
 *
 * A task is a record in the registry, and a thread here as long as it has not ended:
 *
 *     running ──pause──► paused ──resume──► running
 *        │ done             │
 *        ├─► done           │ abort
 *        │ abort, or fails  ▼
 *        └────────────► aborting ──what it left is away──► aborted, or failed
 *
 * What a task does is its kind's: a line in the table in task_kinds.c, with two functions. run()
 * does it all, from wherever it is, and is called again after anything that may pass (the store is
 * away, the filesystem is not started), after each restart, and after a pause: so it must be
 * written so that beginning again goes on. It returns soon when task_should_stop() is true; with a
 * failure it waits, longer from time to time, says why in the list, and after a while in an alert,
 * and is called again. Only what cannot pass, task_give_up(), ends it.
 *
 * Work that needs the filesystem's key is done in its worker: run() is then some preparation and
 * task_run_in_worker(), and the worker has a function of the same kind (worker/job.h).
 *
 * Units      times are nanoseconds since 1970, or milliseconds of the clock that never steps.
 * Errors     negative errno and a sentence. -ENOENT: no such task; -EBUSY: not in this state.
 * Ownership  views are copies.
 * Threads    any. What a kind may call is the task's own thread's.
 */
#pragma once

#include "control/control.h"
#include "control/filesystem.h"
#include "control/task_record.h"

/* --- for people --- */

#define TASK_PHASE_SIZE WORKER_TASK_PHASE_SIZE
#define TASK_ABOUT_SIZE 160u

struct task_view {
    uint64_t id;
    char kind[TASK_KIND_SIZE];
    char about[TASK_ABOUT_SIZE]; /* "upload of snapshot 12 of projects to backup" */
    char filesystem[FS_NAME_MAX + 1];
    char store[STORE_NAME_MAX + 1];
    uint64_t snapshot;
    enum task_state state;
    bool is_waiting;             /* for something that has to pass; text says for what */
    char phase[TASK_PHASE_SIZE]; /* what a running one does; "" */
    const char *unit;            /* of total and done: "bytes", "records" */
    uint64_t total;              /* 0: not known */
    uint64_t done;
    uint64_t moved; /* bytes, that went over the network */
    uint64_t rate;  /* of done, a second; 0: not known */
    int64_t left_s; /* -1: not known */
    int64_t created_ns;
    int64_t ended_ns; /* 0: it has not */
    char text[512];   /* why it waits, or failed */
    char result[TASK_RESULT_SIZE];
    const char *no_abort; /* why it cannot be aborted; "": it can, or has ended */
};

const char *task_state_name(enum task_state state);

/* By id; *ret is the caller's to free. */
int control_task_list(struct control *control, struct task_view **ret, size_t *ret_count,
                      struct error *err);
int control_task_get(struct control *control, uint64_t id, struct task_view *ret,
                     struct error *err);
/* They return when the record says so; the work ends a little later. An abort that is forced does
 * not wait until what the task left can be taken away. */
int control_task_pause(struct control *control, uint64_t id, struct task_view *ret,
                       struct error *err);
int control_task_resume(struct control *control, uint64_t id, struct task_view *ret,
                        struct error *err);
int control_task_abort(struct control *control, uint64_t id, bool is_forced, struct task_view *ret,
                       struct error *err);

/* --- for kinds --- */

struct task;

struct task_kind {
    const char *name; /* in records: it never changes */
    const char *unit; /* of its progress */
    int (*run)(struct task *task, struct error *err);
    /* Of one that was aborted or given up: takes away what it left, and is called again as run()
     * is. NULL: it leaves nothing. */
    int (*undo)(struct task *task, struct error *err);
    /* Of one that is paused: lets go of what others wait for; called again until it returns 0.
     * NULL: there is no such thing. */
    int (*rest)(struct task *task, struct error *err);
    /* Before its record says that it is done, failed or aborted; twice if a crash comes in between.
     * NULL: nothing is to be done. */
    void (*ending)(struct task *task, enum task_state to);
    /* NULL, or why it cannot be aborted. */
    const char *no_abort;
    /* It is nothing by itself: the removal of its filesystem is not refused, and ends it. */
    bool goes_with_filesystem;
};

/* task_kinds.c. NULL: there is none of that name. */
const struct task_kind *task_kind_find(const char *name);

/* One for each kind: upload.c, download_task.c, uploads_verify.c, uploads_rewrap_task.c,
 * uploads_remove_task.c, snapshot_download.c */
extern const struct task_kind upload_kind;
extern const struct task_kind download_kind;
extern const struct task_kind verify_kind;
extern const struct task_kind rewrap_kind;
extern const struct task_kind removal_kind;
extern const struct task_kind import_kind;

struct task_new {
    const struct task_kind *kind;
    struct filesystem *fs; /* NULL: of none */
    const char *store;     /* NULL: of none */
    uint64_t snapshot;     /* 0: of none */
    struct bytes parameters;
    bool is_single; /* one of the kind for a filesystem at a time */
};

/* Begins one. ret may be NULL. -EUSERS: too many have not ended; -EEXIST: it is to be the only one,
 * and another has not ended. */
int task_add(struct control *control, const struct task_new *what, struct task_view *ret,
             struct error *err);

/* Waits until it is done; ret is how it was then. A failure: it has failed or was aborted, or waits
 * for something that has to pass, and goes on then. */
int task_wait_end(struct control *control, uint64_t id, struct task_view *ret, struct error *err);

/* What never changes of it: kind, uuid, what it is about, parameters. */
const struct task_record *task_record(const struct task *task);
struct control *task_control(const struct task *task);
/* Its filesystem, with a reference; -ENOENT, given up: it was removed. */
int task_filesystem(struct task *task, struct filesystem **ret, struct error *err);

bool task_should_stop(struct task *task);
/* 0, or -ECANCELED if it is to stop. */
int task_sleep(struct task *task, int64_t ms);
void task_report(struct task *task, uint64_t total, uint64_t done, uint64_t moved,
                 const char *phase);
/* The failure that it returns is not to be tried again. */
void task_give_up(struct task *task);
void task_set_result(struct task *task, const char *result);
/* Of a kind's ending(), when what it began has an entry in the audit log: that it failed, or was
 * aborted. what: "the upload of snapshot 12 to backup". */
void task_audit_ending(struct task *task, enum task_state to, enum audit_operation operation,
                       const char *what);

/* Has the filesystem's worker do it, and reports what it reports; order has kind and parameters
 * left to fill in. fd: what goes with it, or -1; stays the caller's. -EAGAIN: the filesystem is not
 * started. -ECANCELED: task_should_stop(). When cofferd ends, the worker goes on. */
int task_run_in_worker(struct task *task, struct filesystem *fs, struct worker_message *order,
                       int fd, struct error *err);

/* --- for the rest of the control plane --- */

/* Something may be possible that was not: those of this filesystem that wait try now (NULL: all).
 */
void tasks_wake(struct control *control, const struct uuid *fs);

/* -EBUSY and a sentence, while one has not ended that is about all of these. */
struct task_use {
    const struct uuid *fs;   /* NULL: any */
    uint64_t snapshot;       /* 0: any, or none */
    const char *store;       /* NULL: any, or none */
    bool ignores_companions; /* those that go with their filesystem */
};
int tasks_expect_none(struct control *control, const struct task_use *use, struct error *err);

/* Of a filesystem that is not listed any more: what goes with it is aborted. */
void tasks_end_with(struct control *control, const struct uuid *fs);

/* The one of this kind and filesystem that has not ended; 0: there is none. */
uint64_t tasks_find(struct control *control, const struct task_kind *kind, const struct uuid *fs);
/* One of this kind and object store has not ended. */
bool tasks_has(struct control *control, const struct task_kind *kind, const char *store);

/* From a worker's reader thread. */
void tasks_on_progress(struct control *control, const struct uuid *fs,
                       const struct worker_task_progress *progress);
void tasks_on_done(struct control *control, const struct uuid *fs,
                   const struct worker_task_done *done);
void tasks_on_worker_end(struct control *control, const struct uuid *fs);

/* Those that have waited so long that somebody should know, for an alert. */
#define TASK_ALERT_AFTER_MS (5 * 60 * 1000)
typedef int task_waiting_fn(const struct task_view *view, void *arg, struct error *err);
int tasks_each_waiting(struct control *control, task_waiting_fn *visit, void *arg,
                       struct error *err);

/* control.c: opened before the filesystems come up; then what has not ended goes on. Closed when no
 * worker is connected any more. */
int tasks_open(struct control *control, struct error *err);
void tasks_resume(struct control *control);
void tasks_shut_down(struct control *control);
void tasks_close(struct control *control); /* NULL is allowed */
