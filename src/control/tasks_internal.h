/* tasks_internal.h - a task in memory; used by tasks.c, task_run.c and task_worker.c only.
 *
 * Locks: saving, which is held while a record goes to the registry, then lock. Both come after all
 * others of the control plane but those of the registry, the events, the audit log and workers;
 * inside of lock none is taken.
 */
#pragma once

#include "control/tasks.h"

struct tasks {
    struct mutex saving;    /* one record's way to the registry at a time; taken before lock */
    struct mutex lock;      /* guards all below */
    pthread_cond_t changed; /* of any task */
    struct task *items;     /* by id */
    uint64_t last_id;
    unsigned threads; /* that run */
    int64_t alert_after_ms;
};

struct task {
    struct task
        *next; /* guarded by tasks->lock; it is freed when it has ended, and no thread is left
                */
    struct control *control;
    const struct task_kind *kind; /* NULL: of a later version; it is shown only */
    struct audit_actor actor;     /* who asked for it, as long as we know */
    struct task_record record;    /* what changes of it is guarded by tasks->lock */
    /* Guarded by tasks->lock: */
    enum task_state working_as; /* what its thread is at: running or aborting */
    bool was_interrupted;       /* by another state since it began that, be it over again */
    bool is_loaded;             /* from the registry, and no thread was started yet */
    bool has_thread;
    bool is_waiting;
    bool wake; /* it need not wait any longer */
    bool gives_up;
    bool is_forced; /* what it left may stay */
    int64_t waiting_since_ms;
    unsigned failures; /* in a row, without progress */
    struct error waiting;
    char phase[TASK_PHASE_SIZE];
    uint64_t rate;
    int64_t sample_ms; /* when and with what the rate was looked at last; 0: not yet */
    uint64_t sample_done;
    bool is_saved; /* the record, with its progress, is in the registry */
    uint64_t run;  /* in its worker; 0: whatever the worker says */
    bool is_in_worker;
    bool has_worker_end;
    struct worker_task_done worker_end;
};

/* NULL: there is none. */
struct task *tasks_find_locked(const struct tasks *tasks, uint64_t id) REQUIRES(tasks->lock);

/* Moves it, in the registry and here, unless it is in another state than from. */
int task_move(struct task *task, enum task_state from, enum task_state to, struct error *err);
/* From whatever state it is in. */
int task_end(struct task *task, enum task_state to, struct error *err);
/* Its record as it is now. */
int task_save(struct task *task, struct error *err);
void task_report_locked(struct tasks *tasks, struct task *task, uint64_t total, uint64_t done,
                        uint64_t moved, const char *phase) REQUIRES(tasks->lock);
bool task_should_stop_locked(const struct tasks *tasks, const struct task *task)
    REQUIRES(tasks->lock);
void task_about(const struct task_record *record, char ret[static TASK_ABOUT_SIZE]);

/* task_run.c: the thread. */
int task_start_thread(struct task *task, struct error *err);

/* task_worker.c: one that does not run here any more does not run in its worker either. -EAGAIN: it
 * is not known yet. */
int task_settle_worker(struct task *task, struct error *err);
