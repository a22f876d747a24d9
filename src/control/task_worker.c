/* task_worker.c - a task whose work is done in its filesystem's worker: it is told to begin and to
 * stop, and tells how far it is and how it ended, also after cofferd was away for a while. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/tasks_internal.h"
#include "crypto/random.h"

#define ASK_TIMEOUT_MS 30000
#define SAVE_EVERY_MS 10000

/* --- what the worker tells --- */

static struct task *find_locked(const struct tasks *tasks, const struct uuid *fs, uint64_t id,
                                uint64_t run) REQUIRES(tasks->lock)
{
    struct task *task = tasks->items;

    while (task && task->record.id != id)
        task = task->next;
    return task && uuid_equal(&task->record.fs, fs) && (task->run == 0 || task->run == run) ? task
                                                                                            : NULL;
}

void tasks_on_progress(struct control *control, const struct uuid *fs,
                       const struct worker_task_progress *progress)
{
    struct tasks *tasks = control->tasks;

    mutex_lock(&tasks->lock);
    struct task *task = find_locked(tasks, fs, progress->task, progress->run);
    if (task && !task_state_is_end(task->record.state))
        task_report_locked(tasks, task, progress->total, progress->done, progress->moved,
                           progress->phase);
    mutex_unlock(&tasks->lock);
}

void tasks_on_done(struct control *control, const struct uuid *fs,
                   const struct worker_task_done *done)
{
    struct tasks *tasks = control->tasks;

    mutex_lock(&tasks->lock);
    struct task *task = find_locked(tasks, fs, done->task, done->run);
    if (task) {
        task->worker_end = *done;
        task->has_worker_end = true;
        (void)pthread_cond_broadcast(&tasks->changed);
    }
    mutex_unlock(&tasks->lock);
}

void tasks_on_worker_end(struct control *control, const struct uuid *fs)
{
    static const struct worker_task_done lost = { .code = -EPIPE,
                                                  .text = "the filesystem's worker ended" };
    struct tasks *tasks = control->tasks;

    mutex_lock(&tasks->lock);
    for (struct task *task = tasks->items; task; task = task->next) {
        if (!task->is_in_worker || task->has_worker_end || !uuid_equal(&task->record.fs, fs))
            continue;
        task->worker_end = lost;
        task->has_worker_end = true;
    }
    (void)pthread_cond_broadcast(&tasks->changed);
    mutex_unlock(&tasks->lock);
}

/* --- what it is told --- */

static int order_stop(struct worker *worker, uint64_t id, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = WORKER_TASK_STOP;
    message[0].task_stop.task = id;
    int r = worker_ask(worker, &message[0], -1, ASK_TIMEOUT_MS, &message[1], err);
    if (r == 0)
        worker_message_release(&message[1]);
    return r;
}

/* False: an earlier run has ended, which was told as soon as the worker was found again. */
static bool begin_run(struct task *task, uint64_t *ret_run)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    bool is_new = !task->has_worker_end;
    if (is_new) {
        random_bytes(&task->run, sizeof(task->run));
        task->run |= 1;
    }
    task->is_in_worker = true;
    *ret_run = task->run;
    mutex_unlock(&tasks->lock);
    return is_new;
}

static void end_run(struct task *task)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    task->is_in_worker = task->has_worker_end = false;
    mutex_unlock(&tasks->lock);
}

static int order_start(struct task *task, struct worker *worker, struct worker_message *order,
                       int fd, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *answer = calloc(1, sizeof(*answer));
    struct worker_task_start *start = &order->task_start;

    if (!answer)
        return error_set(err, -ENOMEM, "out of memory");
    order->type = WORKER_TASK_START;
    start->task = task->record.id;
    (void)snprintf(start->kind, sizeof(start->kind), "%s", task->kind->name);
    int r = worker_ask(worker, order, fd, ASK_TIMEOUT_MS, answer, err);
    if (r == 0)
        worker_message_release(answer);
    return r;
}

/* True: it has ended; else it is to be stopped. What it tells meanwhile is kept in the registry
 * from time to time. */
static bool wait_for_end(struct task *task, bool is_stopping)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    for (;;) {
        int64_t until = clock_monotonic_ms() + SAVE_EVERY_MS;
        while (!task->has_worker_end && !atomic_load(&task->control->is_shutting_down) &&
               (is_stopping || !task_should_stop_locked(tasks, task)) &&
               cond_wait_until(&tasks->changed, &tasks->lock, until))
            ;
        if (clock_monotonic_ms() < until)
            break;
        bool is_saved = task->is_saved;
        mutex_unlock(&tasks->lock);
        if (!is_saved)
            (void)task_save(task, NULL); /* only progress: it is not lost that it runs */
        mutex_lock(&tasks->lock);
    }
    bool has_ended = task->has_worker_end;
    mutex_unlock(&tasks->lock);
    return has_ended;
}

/* After it was told to stop, or was not there any more. */
static void stop(struct task *task, struct worker *worker)
{
    struct error ignored = { .code = 0 };

    /* -ENOENT: its end is on the way, or was told; a worker that has ended tells, too */
    if (order_stop(worker, task->record.id, &ignored) == 0)
        (void)wait_for_end(task, true);
}

static int take_end(struct task *task, struct error *err)
{
    struct tasks *tasks = task->control->tasks;
    int r = -ECANCELED;

    mutex_lock(&tasks->lock);
    const struct worker_task_done *end = &task->worker_end;
    if (task->has_worker_end) {
        r = end->code < 0 ? error_set(err, end->code, "%s", end->text) : 0;
        task->gives_up = task->gives_up || (r < 0 && end->is_final);
        if (r == 0)
            memcpy(task->record.result, end->result, sizeof(end->result));
    }
    mutex_unlock(&tasks->lock);
    return r;
}

int task_run_in_worker(struct task *task, struct filesystem *fs, struct worker_message *order,
                       int fd, struct error *err)
{
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);
    int r = 0;

    if (!worker)
        return error_set(err, -EAGAIN,
                         "filesystem %s is not started; it goes on when that is mounted",
                         fs->record.name);
    if (begin_run(task, &order->task_start.run))
        r = order_start(task, worker, order, fd, err);
    if (r == 0 && !wait_for_end(task, false) && !atomic_load(&task->control->is_shutting_down))
        stop(task, worker);
    if (r == 0)
        r = take_end(task, err);
    end_run(task);
    return r;
}

/* From now on the end of the worker is its end, too. */
static void note_in_worker(struct task *task)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    task->is_in_worker = true;
    mutex_unlock(&tasks->lock);
}

int task_settle_worker(struct task *task, struct error *err)
{
    struct filesystem *fs = NULL;
    CLEANUP(worker_unrefp) struct worker *worker = NULL;

    if (uuid_is_zero(&task->record.fs) || task_filesystem(task, &fs, NULL) < 0)
        return 0;
    mutex_lock(&fs->lock);
    bool is_unknown = fs->state == FS_STARTING;
    if (fs->worker && fs_state_has_worker(fs->state))
        worker = worker_ref(fs->worker);
    mutex_unlock(&fs->lock);
    if (worker) {
        note_in_worker(task); /* before it can answer and end */
        stop(task, worker);
        end_run(task);
    }
    filesystem_unref(fs);
    return is_unknown ? error_set(err, -EAGAIN, "the filesystem is starting") : 0;
}
