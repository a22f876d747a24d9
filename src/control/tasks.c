#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/tasks_internal.h"
#include "crypto/random.h"

#define KIND "task/"
#define KEY_SIZE (sizeof(KIND) + 16u)
#define TASKS_ACTIVE_MAX 64u
#define TASKS_ENDED_MAX 256u
#define RATE_EVERY_MS 1000

/* --- records --- */

static void key_of(uint64_t id, char ret[static KEY_SIZE])
{
    (void)snprintf(ret, KEY_SIZE, KIND "%016" PRIx64, id);
}

static int put(struct control *control, const struct task_record *record, struct error *err)
{
    uint8_t encoded[TASK_RECORD_MAX];
    char key[KEY_SIZE];
    size_t len = 0;

    key_of(record->id, key);
    int r = task_record_encode(record, encoded, &len, err);
    return r < 0 ? r
                 : registry_put_value(control->registry, key, (struct bytes){ encoded, len }, err);
}

static int save_as(struct tasks *tasks, struct task *task, enum task_state state, struct error *err)
    REQUIRES(tasks->saving)
{
    CLEANUP(free_ptr) struct task_record *record = malloc(sizeof(*record));

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    mutex_lock(&tasks->lock);
    *record = task->record;
    record->state = state;
    task->is_saved = true;
    mutex_unlock(&tasks->lock);
    if (task_state_is_end(state) && record->ended_ns == 0)
        record->ended_ns = clock_wall_ns();
    int r = put(task->control, record, err);
    mutex_lock(&tasks->lock);
    if (r < 0) {
        task->is_saved = false;
    } else {
        task->record.state = state;
        task->was_interrupted = task->was_interrupted || state != task->working_as;
        task->record.ended_ns = record->ended_ns;
        task->is_waiting = task->is_waiting && !task_state_is_end(state);
        (void)pthread_cond_broadcast(&tasks->changed);
    }
    mutex_unlock(&tasks->lock);
    return r;
}

static enum task_state state_of(struct task *task)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    enum task_state state = task->record.state;
    mutex_unlock(&tasks->lock);
    return state;
}

int task_save(struct task *task, struct error *err)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->saving);
    int r = save_as(tasks, task, state_of(task), err);
    mutex_unlock(&tasks->saving);
    return r;
}

int task_move(struct task *task, enum task_state from, enum task_state to, struct error *err)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->saving);
    int r = state_of(task) == from ? save_as(tasks, task, to, err) : -EBUSY;
    mutex_unlock(&tasks->saving);
    return r;
}

int task_end(struct task *task, enum task_state to, struct error *err)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->saving);
    int r = save_as(tasks, task, to, err);
    mutex_unlock(&tasks->saving);
    return r;
}

/* --- what kinds call --- */

const struct task_record *task_record(const struct task *task)
{
    return &task->record;
}

struct control *task_control(const struct task *task)
{
    return task->control;
}

int task_filesystem(struct task *task, struct filesystem **ret, struct error *err)
{
    struct filesystem *fs = filesystem_find_uuid(task->control, &task->record.fs);

    if (!fs) {
        task_give_up(task);
        return error_set(err, -ENOENT, "filesystem %s was removed", task->record.filesystem);
    }
    *ret = fs;
    return 0;
}

bool task_should_stop_locked(const struct tasks *tasks, const struct task *task)
{
    (void)tasks;
    return task->record.state != task->working_as || task->is_forced ||
           atomic_load(&task->control->is_shutting_down);
}

bool task_should_stop(struct task *task)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    bool must_stop = task_should_stop_locked(tasks, task);
    mutex_unlock(&tasks->lock);
    return must_stop;
}

int task_sleep(struct task *task, int64_t ms)
{
    struct tasks *tasks = task->control->tasks;
    int64_t until = clock_monotonic_ms() + ms;

    mutex_lock(&tasks->lock);
    while (!task_should_stop_locked(tasks, task) &&
           cond_wait_until(&tasks->changed, &tasks->lock, until))
        ;
    bool must_stop = task_should_stop_locked(tasks, task);
    mutex_unlock(&tasks->lock);
    return must_stop ? -ECANCELED : 0;
}

static void measure_locked(const struct tasks *tasks, struct task *task, uint64_t done)
    REQUIRES(tasks->lock)
{
    int64_t now = clock_monotonic_ms();
    int64_t passed = now - task->sample_ms;

    (void)tasks;
    if (task->sample_ms == 0 || done < task->sample_done) {
        task->rate = 0;
    } else if (passed < RATE_EVERY_MS) {
        return;
    } else {
        uint64_t rate = (done - task->sample_done) * 1000 / (uint64_t)passed;
        task->rate = task->rate == 0 ? rate : (3 * task->rate + rate) / 4;
    }
    task->sample_ms = now;
    task->sample_done = done;
}

void task_report_locked(struct tasks *tasks, struct task *task, uint64_t total, uint64_t done,
                        uint64_t moved, const char *phase)
{
    struct task_record *record = &task->record;

    measure_locked(tasks, task, done);
    if (record->done < done || record->moved < moved) {
        task->failures = 0;
        task->waiting_since_ms = 0;
    }
    task->is_waiting = false;
    record->total = total;
    record->done = done;
    record->moved = moved;
    (void)snprintf(task->phase, sizeof(task->phase), "%s", phase);
    task->is_saved = false;
    (void)pthread_cond_broadcast(&tasks->changed);
}

void task_report(struct task *task, uint64_t total, uint64_t done, uint64_t moved,
                 const char *phase)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    task_report_locked(tasks, task, total, done, moved, phase);
    mutex_unlock(&tasks->lock);
}

void task_give_up(struct task *task)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    task->gives_up = true;
    mutex_unlock(&tasks->lock);
}

void task_set_result(struct task *task, const char *result)
{
    struct tasks *tasks = task->control->tasks;

    mutex_lock(&tasks->lock);
    (void)snprintf(task->record.result, sizeof(task->record.result), "%s", result);
    mutex_unlock(&tasks->lock);
}

/* --- looking --- */

const char *task_state_name(enum task_state state)
{
    static const char *const names[] = {
        [TASK_RUNNING] = "running", [TASK_PAUSED] = "paused", [TASK_ABORTING] = "aborting",
        [TASK_DONE] = "done",       [TASK_FAILED] = "failed", [TASK_ABORTED] = "aborted",
    };

    return names[state];
}

void task_about(const struct task_record *record, char ret[static TASK_ABOUT_SIZE])
{
    char snapshot[48] = "";

    if (record->snapshot != 0)
        (void)snprintf(snapshot, sizeof(snapshot), " of snapshot %" PRIu64, record->snapshot);
    (void)snprintf(ret, TASK_ABOUT_SIZE, "%s%s%s%s%s%s", record->kind, snapshot,
                   record->filesystem[0] ? " of " : "", record->filesystem,
                   record->store[0] ? ", object store " : "", record->store);
}

static void view_locked(const struct tasks *tasks, const struct task *task, struct task_view *ret)
    REQUIRES(tasks->lock)
{
    const struct task_record *record = &task->record;

    (void)tasks;
    *ret = (struct task_view){ .id = record->id,
                               .snapshot = record->snapshot,
                               .state = record->state,
                               .is_waiting = task->is_waiting,
                               .unit = task->kind ? task->kind->unit : "",
                               .total = record->total,
                               .done = record->done,
                               .moved = record->moved,
                               .left_s = -1,
                               .created_ns = record->created_ns,
                               .ended_ns = record->ended_ns,
                               .no_abort = "" };
    if (task->kind && task->kind->no_abort && !task_state_is_end(record->state))
        ret->no_abort = task->kind->no_abort;
    memcpy(ret->kind, record->kind, sizeof(ret->kind));
    memcpy(ret->filesystem, record->filesystem, sizeof(ret->filesystem));
    memcpy(ret->store, record->store, sizeof(ret->store));
    memcpy(ret->result, record->result, sizeof(ret->result));
    memcpy(ret->text, task->is_waiting ? task->waiting.text : record->text, sizeof(ret->text));
    task_about(record, ret->about);
    if (record->state != TASK_RUNNING || task->is_waiting)
        return;
    memcpy(ret->phase, task->phase, sizeof(ret->phase));
    ret->rate = task->rate;
    if (task->rate > 0 && record->total >= record->done)
        ret->left_s = (int64_t)((record->total - record->done) / task->rate);
}

struct task *tasks_find_locked(const struct tasks *tasks, uint64_t id)
{
    struct task *task = tasks->items;

    while (task && task->record.id != id)
        task = task->next;
    return task;
}

static int no_task(uint64_t id, struct error *err)
{
    return error_set(err, -ENOENT, "there is no task %" PRIu64 "; 'coffer task' lists them", id);
}

int control_task_get(struct control *control, uint64_t id, struct task_view *ret, struct error *err)
{
    struct tasks *tasks = control->tasks;

    mutex_lock(&tasks->lock);
    const struct task *task = tasks_find_locked(tasks, id);
    if (task)
        view_locked(tasks, task, ret);
    mutex_unlock(&tasks->lock);
    return task ? 0 : no_task(id, err);
}

int control_task_list(struct control *control, struct task_view **ret, size_t *ret_count,
                      struct error *err)
{
    struct tasks *tasks = control->tasks;
    size_t count = 0;

    mutex_lock(&tasks->lock);
    for (const struct task *task = tasks->items; task; task = task->next)
        count++;
    struct task_view *views = calloc(count + 1, sizeof(*views));
    count = 0;
    for (const struct task *task = tasks->items; task && views; task = task->next)
        view_locked(tasks, task, &views[count++]);
    mutex_unlock(&tasks->lock);
    if (!views)
        return error_set(err, -ENOMEM, "out of memory for the list of tasks");
    *ret = views;
    *ret_count = count;
    return 0;
}

int tasks_each_waiting(struct control *control, task_waiting_fn *visit, void *arg,
                       struct error *err)
{
    CLEANUP(free_ptr) struct task_view *views = NULL;
    struct tasks *tasks = control->tasks;
    size_t count = 0;

    int r = control_task_list(control, &views, &count, err);
    for (size_t i = 0; i < count && r == 0; i++) {
        mutex_lock(&tasks->lock);
        const struct task *task = tasks_find_locked(tasks, views[i].id);
        bool is_due = task && task->is_waiting &&
                      clock_monotonic_ms() - task->waiting_since_ms >= tasks->alert_after_ms;
        mutex_unlock(&tasks->lock);
        if (is_due)
            r = visit(&views[i], arg, err);
    }
    return r;
}

static bool is_about(const struct task *task, const struct task_use *use)
{
    const struct task_record *record = &task->record;

    if (use->ignores_companions && task->kind && task->kind->goes_with_filesystem)
        return false;
    return (!use->fs || uuid_equal(use->fs, &record->fs)) &&
           (use->snapshot == 0 || use->snapshot == record->snapshot) &&
           (!use->store || strcmp(use->store, record->store) == 0);
}

int tasks_expect_none(struct control *control, const struct task_use *use, struct error *err)
{
    struct tasks *tasks = control->tasks;
    const char *no_abort = NULL;
    char about[TASK_ABOUT_SIZE];
    uint64_t id = 0;

    mutex_lock(&tasks->lock);
    for (const struct task *task = tasks->items; task && id == 0; task = task->next) {
        if (task_state_is_end(task->record.state) || !is_about(task, use))
            continue;
        id = task->record.id;
        no_abort = task->kind ? task->kind->no_abort : NULL;
        task_about(&task->record, about);
    }
    mutex_unlock(&tasks->lock);
    if (id == 0)
        return 0;
    if (no_abort)
        return error_set(err, -EBUSY, "task %" PRIu64 " (%s) needs it; wait until it has ended: %s",
                         id, about, no_abort);
    return error_set(err, -EBUSY,
                     "task %" PRIu64 " (%s) needs it; wait until it has ended, or abort it "
                     "with 'coffer task abort %" PRIu64 "'",
                     id, about, id);
}

static bool is_running_kind(const struct task *task, const struct task_kind *kind,
                            const struct uuid *fs)
{
    return task->kind == kind && !task_state_is_end(task->record.state) &&
           uuid_equal(&task->record.fs, fs);
}

uint64_t tasks_find(struct control *control, const struct task_kind *kind, const struct uuid *fs)
{
    struct tasks *tasks = control->tasks;
    uint64_t id = 0;

    mutex_lock(&tasks->lock);
    for (const struct task *task = tasks->items; task && id == 0; task = task->next)
        if (is_running_kind(task, kind, fs))
            id = task->record.id;
    mutex_unlock(&tasks->lock);
    return id;
}

bool tasks_has(struct control *control, const struct task_kind *kind, const char *store)
{
    const struct task_use use = { .store = store };
    struct tasks *tasks = control->tasks;
    bool has = false;

    mutex_lock(&tasks->lock);
    for (const struct task *task = tasks->items; task && !has; task = task->next)
        has = task->kind == kind && !task_state_is_end(task->record.state) && is_about(task, &use);
    mutex_unlock(&tasks->lock);
    return has;
}

/* --- changing --- */

/* The oldest that ended, but never the one with the highest number. */
static struct task *take_surplus(struct tasks *tasks)
{
    struct task **oldest = NULL;
    unsigned ended = 0;

    mutex_lock(&tasks->lock);
    for (struct task **link = &tasks->items; *link; link = &(*link)->next) {
        if (!task_state_is_end((*link)->record.state) || (*link)->has_thread || !(*link)->next)
            continue;
        ended++;
        oldest = oldest ? oldest : link;
    }
    struct task *surplus = ended > TASKS_ENDED_MAX ? *oldest : NULL;
    if (surplus)
        *oldest = surplus->next;
    mutex_unlock(&tasks->lock);
    return surplus;
}

static void forget_surplus(struct control *control)
{
    struct task *surplus;

    while ((surplus = take_surplus(control->tasks)) != NULL) {
        char key[KEY_SIZE];
        key_of(surplus->record.id, key);
        (void)registry_put_value(control->registry, key, (struct bytes){ .len = 0 }, NULL);
        free(surplus);
    }
}

static int list(struct tasks *tasks, struct task *task, bool is_single, struct error *err)
{
    struct task **link = &tasks->items;
    unsigned active = 0;
    int r = 0;

    mutex_lock(&tasks->lock);
    for (; *link; link = &(*link)->next) {
        active += !task_state_is_end((*link)->record.state);
        if (is_single && is_running_kind(*link, task->kind, &task->record.fs))
            r = error_set(err, -EEXIST, "task %" PRIu64 " does that already", (*link)->record.id);
    }
    if (r == 0 && active >= TASKS_ACTIVE_MAX)
        r = error_set(err, -EUSERS, "%u tasks have not ended; wait for one of them, or abort it",
                      TASKS_ACTIVE_MAX);
    if (r == 0) {
        task->record.id = ++tasks->last_id;
        *link = task;
    }
    mutex_unlock(&tasks->lock);
    return r;
}

static void unlist(struct tasks *tasks, const struct task *task)
{
    mutex_lock(&tasks->lock);
    struct task **link = &tasks->items;
    while (*link != task)
        link = &(*link)->next;
    *link = task->next;
    mutex_unlock(&tasks->lock);
}

static struct task *make(struct control *control, const struct task_new *what)
{
    struct task *task = calloc(1, sizeof(*task));

    if (!task)
        return NULL;
    struct task_record *record = &task->record;
    task->control = control;
    task->kind = what->kind;
    task->actor = audit_acting_for();
    task->working_as = record->state = TASK_RUNNING;
    record->created_ns = clock_wall_ns();
    record->snapshot = what->snapshot;
    random_uuid(&record->uuid);
    (void)snprintf(record->kind, sizeof(record->kind), "%s", what->kind->name);
    (void)snprintf(record->store, sizeof(record->store), "%s", what->store ? what->store : "");
    if (what->fs) {
        record->fs = what->fs->record.uuid;
        memcpy(record->filesystem, what->fs->record.name, sizeof(record->filesystem));
    }
    assert(what->parameters.len <= sizeof(record->parameters));
    record->parameters_len = (uint32_t)what->parameters.len;
    if (what->parameters.len > 0)
        memcpy(record->parameters, what->parameters.data, what->parameters.len);
    return task;
}

int task_add(struct control *control, const struct task_new *what, struct task_view *ret,
             struct error *err)
{
    struct task *task = make(control, what);
    struct tasks *tasks = control->tasks;
    char about[TASK_ABOUT_SIZE];

    if (!task)
        return error_set(err, -ENOMEM, "out of memory");
    int r = list(tasks, task, what->is_single, err);
    if (r < 0) {
        free(task);
        return r;
    }
    const uint64_t id = task->record.id;
    task_about(&task->record, about);
    r = task_save(task, err);
    if (r == 0 && ret)
        r = control_task_get(control, id, ret, err);
    if (r == 0) /* from here on it may end, and be forgotten, at any moment */
        r = task_start_thread(task, err);
    if (r < 0) {
        char key[KEY_SIZE];
        key_of(id, key);
        (void)registry_put_value(control->registry, key, (struct bytes){ .len = 0 }, NULL);
        unlist(tasks, task);
        free(task);
        return r;
    }
    events_add(&control->events, LOG_LEVEL_INFO, "task-started",
               what->fs ? what->fs->record.name : "", "task %" PRIu64 " was started: %s", id,
               about);
    forget_surplus(control);
    return 0;
}

/* It must have come to an end neither here nor, by somebody else, meanwhile: so the state is looked
 * at under the lock that every change of it takes. */
static int change(struct control *control, uint64_t id, enum task_state to, bool is_forced,
                  struct error *err)
{
    struct tasks *tasks = control->tasks;
    int r = 0;

    mutex_lock(&tasks->saving);
    mutex_lock(&tasks->lock);
    struct task *task = tasks_find_locked(tasks, id);
    enum task_state state = task ? task->record.state : TASK_DONE;
    if (!task)
        r = no_task(id, err);
    else if (task_state_is_end(state))
        r = error_set(err, -EBUSY, "task %" PRIu64 " has ended: it is %s", id,
                      task_state_name(state));
    else if (!task->kind)
        r = error_set(err, -EPROTONOSUPPORT,
                      "task %" PRIu64 " is of a kind that a later version of coffer knows", id);
    else if (state == TASK_ABORTING && to != TASK_ABORTING)
        r = error_set(err, -EBUSY, "task %" PRIu64 " is being aborted", id);
    else if (to == TASK_ABORTING && task->kind->no_abort)
        r = error_set(err, -EBUSY, "task %" PRIu64 " cannot be aborted: %s", id,
                      task->kind->no_abort);
    if (r == 0) {
        task->is_forced = task->is_forced || is_forced;
        task->wake = true;
        (void)pthread_cond_broadcast(&tasks->changed);
    }
    mutex_unlock(&tasks->lock);
    if (r == 0 && state != to)
        r = save_as(tasks, task, to, err);
    mutex_unlock(&tasks->saving);
    return r;
}

static void tell(struct control *control, const struct task_view *view, const char *type,
                 const char *what)
{
    events_add(&control->events, LOG_LEVEL_INFO, type, view->filesystem, "task %" PRIu64 " (%s) %s",
               view->id, view->about, what);
}

static int change_and_tell(struct control *control, uint64_t id, enum task_state to, bool is_forced,
                           const char *type, const char *what, struct task_view *ret,
                           struct error *err)
{
    int r = change(control, id, to, is_forced, err);

    if (r == 0)
        r = control_task_get(control, id, ret, err);
    if (r == 0)
        tell(control, ret, type, what);
    return r;
}

int control_task_pause(struct control *control, uint64_t id, struct task_view *ret,
                       struct error *err)
{
    return change_and_tell(control, id, TASK_PAUSED, false, "task-paused", "is paused", ret, err);
}

int control_task_resume(struct control *control, uint64_t id, struct task_view *ret,
                        struct error *err)
{
    return change_and_tell(control, id, TASK_RUNNING, false, "task-resumed", "goes on", ret, err);
}

int control_task_abort(struct control *control, uint64_t id, bool is_forced, struct task_view *ret,
                       struct error *err)
{
    return change_and_tell(control, id, TASK_ABORTING, is_forced, "task-aborting",
                           "is being aborted", ret, err);
}

void tasks_wake(struct control *control, const struct uuid *fs)
{
    struct tasks *tasks = control->tasks;

    mutex_lock(&tasks->lock);
    for (struct task *task = tasks->items; task; task = task->next)
        if (!fs || uuid_equal(fs, &task->record.fs))
            task->wake = true; /* also one that is about to wait */
    (void)pthread_cond_broadcast(&tasks->changed);
    mutex_unlock(&tasks->lock);
}

static struct task *take_one_of(struct tasks *tasks, const struct uuid *fs)
{
    mutex_lock(&tasks->lock);
    struct task *task = tasks->items;
    while (task && !(task->kind && task->kind->goes_with_filesystem &&
                     uuid_equal(&task->record.fs, fs) && task->record.state < TASK_ABORTING))
        task = task->next;
    if (task)
        (void)snprintf(task->record.text, sizeof(task->record.text), "its filesystem was removed");
    mutex_unlock(&tasks->lock);
    return task;
}

/* One that is not ended here finds out by itself that its filesystem is not there. */
void tasks_end_with(struct control *control, const struct uuid *fs)
{
    struct tasks *tasks = control->tasks;
    struct error err = { .code = 0 };
    struct task *task;
    int r = 0;

    mutex_lock(&tasks->saving);
    while (r == 0 && (task = take_one_of(tasks, fs)) != NULL)
        r = save_as(tasks, task, TASK_ABORTING, &err);
    mutex_unlock(&tasks->saving);
    if (r < 0)
        log_warning("a task of a removed filesystem cannot be ended: %s", err.text);
}

/* --- all of them --- */

static int load(struct bytes value, void *arg)
{
    struct control *control = arg;
    struct task **link = &control->tasks->items;
    struct task *task = calloc(1, sizeof(*task));
    struct error err = { .code = 0 };

    if (!task)
        return -ENOMEM;
    task->control = control;
    if (task_record_decode(value, &task->record, &err) < 0) {
        log_error("a task of the registry is passed over: %s", err.text);
        free(task);
        return 0;
    }
    task->kind = task_kind_find(task->record.kind);
    task->working_as = task->record.state;
    task->is_saved = task->is_loaded = true;
    while (*link) /* the registry's keys are sorted */
        link = &(*link)->next;
    *link = task;
    control->tasks->last_id = task->record.id;
    return 0;
}

int tasks_open(struct control *control, struct error *err)
{
    struct tasks *tasks = calloc(1, sizeof(*tasks));

    if (!tasks)
        return error_set(err, -ENOMEM, "out of memory");
    tasks->saving = MUTEX_INIT;
    tasks->lock = MUTEX_INIT;
    (void)pthread_cond_init(&tasks->changed, NULL);
    tasks->alert_after_ms = TASK_ALERT_AFTER_MS;
    control->tasks = tasks;
    int r = registry_each_value(control->registry, KIND, load, control, err);
    return r == -ENOMEM ? error_set(err, r, "out of memory for the tasks") : r;
}

/* Others are added meanwhile, by filesystems that come up and by policies. */
static struct task *take_loaded(struct tasks *tasks)
{
    mutex_lock(&tasks->lock);
    struct task *task = tasks->items;
    while (task && !(task->is_loaded && task->kind && !task_state_is_end(task->record.state)))
        task = task->next;
    if (task)
        task->is_loaded = false;
    mutex_unlock(&tasks->lock);
    return task;
}

void tasks_resume(struct control *control)
{
    struct error err = { .code = 0 };
    struct task *task;

    while ((task = take_loaded(control->tasks)) != NULL)
        if (task_start_thread(task, &err) < 0)
            events_add(&control->events, LOG_LEVEL_ERROR, "task-failed", task->record.filesystem,
                       "task %" PRIu64 " does not go on until cofferd is restarted: %s",
                       task->record.id, err.text);
}

void tasks_shut_down(struct control *control)
{
    struct tasks *tasks = control->tasks;

    if (!tasks)
        return;
    mutex_lock(&tasks->lock);
    (void)pthread_cond_broadcast(&tasks->changed);
    mutex_unlock(&tasks->lock);
}

void tasks_close(struct control *control)
{
    struct tasks *tasks = control->tasks;

    if (!tasks)
        return;
    mutex_lock(&tasks->lock);
    while (tasks->threads > 0)
        cond_wait(&tasks->changed, &tasks->lock);
    mutex_unlock(&tasks->lock);
    while (tasks->items) {
        struct task *task = tasks->items;
        tasks->items = task->next;
        free(task);
    }
    (void)pthread_cond_destroy(&tasks->changed);
    free(TAKE(control->tasks));
}
