/* task_run.c - the thread of a task that has not ended: works, waits when something is in the way,
 * tries again, and obeys what the record says. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/tasks_internal.h"

#define PAUSE_FIRST_MS 1000
#define PAUSE_MAX_MS 60000
#define SAVE_AGAIN_MS 5000

static bool is_shutting_down(const struct task *task)
{
    return atomic_load(&task->control->is_shutting_down);
}

static void tell(struct task *task, enum log_level level, const char *type, const char *text)
{
    char about[TASK_ABOUT_SIZE];

    task_about(&task->record, about);
    events_add(&task->control->events, level, type, task->record.filesystem,
               "task %" PRIu64 " (%s) %s", task->record.id, about, text);
}

void task_audit_ending(struct task *task, enum task_state to, enum audit_operation operation,
                       const char *what)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = NULL;
    const struct task_record *record = task_record(task);
    struct error why = { .code = record->code < 0 ? record->code : -EINTR };

    if (to == TASK_DONE || task_filesystem(task, &fs, NULL) < 0)
        return;
    (void)snprintf(why.text, sizeof(why.text), "%.100s %s: %.380s", what,
                   to == TASK_FAILED ? "failed" : "was aborted",
                   record->code < 0 ? record->text : "as somebody asked for");
    filesystem_audit_failure(fs, operation, why.code, &why);
}

static void tell_end(struct task *task)
{
    char text[600];

    if (task->record.state == TASK_DONE) {
        (void)snprintf(text, sizeof(text), "is done%s%s", task->record.result[0] ? ": " : "",
                       task->record.result);
        tell(task, LOG_LEVEL_INFO, "task-done", text);
    } else if (task->record.state == TASK_FAILED) {
        (void)snprintf(text, sizeof(text), "failed: %s", task->record.text);
        tell(task, LOG_LEVEL_ERROR, "task-failed", text);
    } else {
        tell(task, LOG_LEVEL_INFO, "task-aborted", "was aborted");
    }
}

static void tell_waiting(struct task *task, const struct error *why)
{
    char text[600];

    (void)snprintf(text, sizeof(text), "waits: %s", why->text);
    tell(task, LOG_LEVEL_WARNING, "task-waits", text);
}

/* As long as the registry does not take it, it has not ended: after a restart it would go on. */
static void end(struct task *task, enum task_state to)
{
    struct tasks *tasks = task->control->tasks;
    struct error err = { .code = 0 };

    if (task->kind->ending)
        task->kind->ending(task, to);
    while (task_end(task, to, &err) < 0) {
        tell(task, LOG_LEVEL_ERROR, "registry", err.text);
        int64_t until = clock_monotonic_ms() + SAVE_AGAIN_MS;
        mutex_lock(&tasks->lock);
        while (!is_shutting_down(task) && cond_wait_until(&tasks->changed, &tasks->lock, until))
            ;
        mutex_unlock(&tasks->lock);
        if (is_shutting_down(task))
            return;
    }
    tell_end(task);
}

static int64_t pause_ms(unsigned failures)
{
    int64_t pause = PAUSE_FIRST_MS;

    for (unsigned i = 1; i < failures && pause < PAUSE_MAX_MS; i++)
        pause *= 2;
    return pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
}

/* Until it is worth trying again, or something else is to be done. */
static void wait_a_while(struct task *task, const struct error *why)
{
    struct tasks *tasks = task->control->tasks;
    int64_t now = clock_monotonic_ms();

    mutex_lock(&tasks->lock);
    task->waiting = *why;
    task->is_waiting = true;
    task->waiting_since_ms = task->waiting_since_ms == 0 ? now : task->waiting_since_ms;
    bool is_first = task->failures++ == 0;
    int64_t until = now + pause_ms(task->failures);
    (void)pthread_cond_broadcast(&tasks->changed); /* task_wait_end() */
    mutex_unlock(&tasks->lock);
    if (is_first)
        tell_waiting(task, why);
    mutex_lock(&tasks->lock);
    while (!task->wake && !task_should_stop_locked(tasks, task) &&
           cond_wait_until(&tasks->changed, &tasks->lock, until))
        ;
    task->wake = false;
    mutex_unlock(&tasks->lock);
}

static bool gives_up(struct task *task)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    bool gives_up = task->gives_up;
    task->gives_up = false;
    mutex_unlock(&tasks->lock);
    return gives_up;
}

/* Somebody has paused or aborted it, and perhaps resumed it already: what it says then is what
 * stopping it looks like. */
static bool was_interrupted_locked(const struct tasks *tasks, const struct task *task)
    REQUIRES(tasks->lock)
{
    return task->was_interrupted || task_should_stop_locked(tasks, task);
}

static bool was_interrupted(struct task *task)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    bool was = was_interrupted_locked(tasks, task);
    mutex_unlock(&tasks->lock);
    return was;
}

static bool note_failure(struct task *task, const struct error *why)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    bool is_own = !was_interrupted_locked(tasks, task);
    if (is_own) {
        task->record.code = why->code;
        memcpy(task->record.text, why->text, sizeof(task->record.text));
    }
    mutex_unlock(&tasks->lock);
    return is_own;
}

static bool is_without_filesystem(const struct task *task)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find_uuid(task->control, &task->record.fs);

    return task->kind->goes_with_filesystem && !fs;
}

static void fail(struct task *task, const struct error *why)
{
    struct error err = { .code = 0 };

    /* It may find out before who removes the filesystem ends it. */
    if (is_without_filesystem(task)) {
        tasks_end_with(task->control, &task->record.fs);
        if (!task_should_stop(task))
            wait_a_while(task, why);
        return;
    }
    if (!note_failure(task, why))
        return;
    if (!task->kind->undo)
        end(task, TASK_FAILED);
    else if (task_move(task, TASK_RUNNING, TASK_ABORTING, &err) < 0 && err.code < 0)
        wait_a_while(task, &err);
}

static void run_once(struct task *task)
{
    struct error err = { .code = 0 };

    int r = task->kind->run(task, &err);
    if (is_shutting_down(task))
        return;
    if (r == 0)
        end(task, TASK_DONE);
    else if (gives_up(task))
        fail(task, &err);
    else if (!was_interrupted(task))
        wait_a_while(task, &err);
}

static void undo_once(struct task *task)
{
    struct tasks *tasks = task->control->tasks;
    struct error err = { .code = 0 };

    int r = task_settle_worker(task, &err);
    if (r == 0 && task->kind->undo)
        r = task->kind->undo(task, &err);
    if (is_shutting_down(task))
        return;
    mutex_lock(&tasks->lock);
    bool is_forced = task->is_forced;
    mutex_unlock(&tasks->lock);
    if (r < 0 && !is_forced && !gives_up(task)) {
        wait_a_while(task, &err);
        return;
    }
    if (r < 0)
        tell(task, LOG_LEVEL_WARNING, "task-leftovers", err.text);
    end(task, task->record.code < 0 ? TASK_FAILED : TASK_ABORTED);
}

static void rest_once(struct task *task)
{
    struct tasks *tasks = task->control->tasks;
    struct error err = { .code = 0 };

    int r = task_settle_worker(task, &err);
    if (r == 0 && task->kind->rest)
        r = task->kind->rest(task, &err);
    if (r < 0) {
        if (!task_should_stop(task))
            wait_a_while(task, &err);
        return;
    }
    mutex_lock(&tasks->lock);
    task->is_waiting = false;
    task->waiting_since_ms = 0;
    task->failures = 0;
    while (!task_should_stop_locked(tasks, task))
        cond_wait(&tasks->changed, &tasks->lock);
    mutex_unlock(&tasks->lock);
}

static enum task_state begin_step(struct task *task)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    enum task_state state = task->record.state;
    task->wake = false;              /* from here on it sees what is possible now */
    if (state != task->working_as) { /* what was in the way before does not count any more */
        task->is_waiting = false;
        task->waiting_since_ms = 0;
        task->failures = 0;
    }
    task->working_as = state;
    task->was_interrupted = false;
    task->gives_up = false;
    mutex_unlock(&tasks->lock);
    return state;
}

static void *task_main(void *arg)
{
    struct task *task = arg;
    struct tasks *tasks = task->control->tasks;
    enum task_state state;

    audit_act_for(task->actor);
    while (!is_shutting_down(task) && !task_state_is_end(state = begin_step(task))) {
        if (state == TASK_RUNNING)
            run_once(task);
        else if (state == TASK_PAUSED)
            rest_once(task);
        else
            undo_once(task);
    }
    mutex_lock(&tasks->lock);
    bool is_saved = task->is_saved;
    mutex_unlock(&tasks->lock);
    if (!is_saved)
        (void)task_save(task, NULL);
    mutex_lock(&tasks->lock);
    task->has_thread = false;
    tasks->threads--;
    (void)pthread_cond_broadcast(&tasks->changed);
    mutex_unlock(&tasks->lock);
    return NULL;
}

int task_start_thread(struct task *task, struct error *err)
{
    struct tasks *tasks = task->control->tasks;
    pthread_attr_t attributes;
    pthread_t thread;

    mutex_lock(&tasks->lock);
    task->has_thread = true;
    tasks->threads++;
    mutex_unlock(&tasks->lock);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int r = -pthread_create(&thread, &attributes, task_main, task);
    (void)pthread_attr_destroy(&attributes);
    if (r == 0)
        return 0;
    mutex_lock(&tasks->lock);
    task->has_thread = false;
    tasks->threads--;
    mutex_unlock(&tasks->lock);
    return error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r));
}

static int judge_end(const struct task_view *view, int code, struct error *err)
{
    if (view->state == TASK_DONE)
        return 0;
    if (view->is_waiting && view->state != TASK_PAUSED)
        return error_set(err, code, "%.300s; task %" PRIu64 " goes on when that has passed",
                         view->text, view->id);
    if (view->state == TASK_FAILED)
        return error_set(err, code, "%.500s", view->text);
    if (view->state == TASK_RUNNING || view->state == TASK_ABORTING)
        return error_set(err, -ESHUTDOWN,
                         "cofferd is stopping; the next one goes on with task %" PRIu64, view->id);
    return error_set(err, -EBUSY, "task %" PRIu64 ", which does it, is %s", view->id,
                     task_state_name(view->state));
}

static bool goes_on_locked(const struct tasks *tasks, const struct task *task) REQUIRES(tasks->lock)
{
    enum task_state state = task->record.state;

    (void)tasks;
    return (state == TASK_RUNNING || state == TASK_ABORTING) && !task->is_waiting &&
           !is_shutting_down(task);
}

int task_wait_end(struct control *control, uint64_t id, struct task_view *ret, struct error *err)
{
    struct tasks *tasks = control->tasks;
    const struct task *task;

    mutex_lock(&tasks->lock);
    while ((task = tasks_find_locked(tasks, id)) != NULL && goes_on_locked(tasks, task))
        cond_wait(&tasks->changed, &tasks->lock);
    int code = !task ? 0 : task->is_waiting ? task->waiting.code : task->record.code;
    mutex_unlock(&tasks->lock);
    int r = control_task_get(control, id, ret, err);
    return r < 0 ? r : judge_end(ret, code < 0 ? code : -EIO, err);
}
