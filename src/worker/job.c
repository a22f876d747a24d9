#include "worker/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define TELL_EVERY_MS 500

static const struct {
    const char *kind;
    bool has_fd;
    job_fn *run;
    bool fd_is_optional;
} kinds[] = {
    { "upload", true, upload_job },
    { "download", false, download_job },
    { "import", true, import_job, .fd_is_optional = true },
};

/* --- for a kind --- */

bool job_should_stop(struct job *job)
{
    mutex_lock(&job->lock);
    bool must_stop = job->must_stop;
    mutex_unlock(&job->lock);
    return must_stop;
}

int job_sleep(struct job *job, int64_t ms)
{
    int64_t until = clock_monotonic_ms() + ms;

    mutex_lock(&job->lock);
    while (!job->must_stop && cond_wait_until(&job->changed, &job->lock, until))
        ;
    bool must_stop = job->must_stop;
    mutex_unlock(&job->lock);
    return must_stop ? -ECANCELED : 0;
}

void job_on_stop(struct job *job, job_stop_fn *on_stop, void *arg)
{
    mutex_lock(&job->lock);
    job->on_stop = on_stop;
    job->on_stop_arg = arg;
    if (job->must_stop && on_stop)
        on_stop(arg);
    mutex_unlock(&job->lock);
}

static void signal_news(struct jobs *jobs)
{
    const uint64_t one = 1;

    (void)!write(jobs->fd, &one, sizeof(one)); /* full means readable already */
}

void job_report(struct job *job, const struct worker_task_progress *progress)
{
    int64_t now = clock_monotonic_ms();

    mutex_lock(&job->lock);
    bool is_new_phase = strcmp(job->progress.phase, progress->phase) != 0;
    uint64_t run = job->progress.run;
    job->progress = *progress;
    job->progress.task = job->order->task;
    job->progress.run = run;
    bool is_due = is_new_phase || now - job->told_ms >= TELL_EVERY_MS;
    if (is_due) {
        job->told_ms = now;
        job->has_news = true;
    }
    mutex_unlock(&job->lock);
    if (is_due)
        signal_news(job->jobs);
}

void job_give_up(struct job *job)
{
    job->done.is_final = true;
}

int job_take_fd(struct job *job)
{
    int fd = job->fd;

    job->fd = -1;
    return fd;
}

/* --- for the service --- */

int jobs_init(struct jobs *jobs)
{
    memset(jobs, 0, sizeof(*jobs));
    for (size_t i = 0; i < JOBS_MAX; i++) {
        struct job *job = &jobs->items[i];
        job->jobs = jobs;
        job->fd = job->stop_fd = -1;
        job->lock = MUTEX_INIT;
        (void)pthread_cond_init(&job->changed, NULL);
    }
    jobs->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return jobs->fd < 0 ? -errno : 0;
}

void jobs_release(struct jobs *jobs)
{
    for (size_t i = 0; i < JOBS_MAX; i++)
        (void)pthread_cond_destroy(&jobs->items[i].changed);
    if (jobs->fd >= 0)
        (void)close(jobs->fd);
    jobs->fd = -1;
}

static struct job *find(struct jobs *jobs, uint64_t task)
{
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (jobs->items[i].is_used && jobs->items[i].order->task == task)
            return &jobs->items[i];
    return NULL;
}

static struct job *find_free(struct jobs *jobs)
{
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (!jobs->items[i].is_used)
            return &jobs->items[i];
    return NULL;
}

static void *run(void *arg)
{
    struct job *job = arg;
    struct error err = { .code = 0 };

    int r = job->run(job, &err);
    mutex_lock(&job->lock);
    /* Stopping cuts the connection to the store, so a failure then says nothing. */
    if (r < 0 && job->must_stop) {
        job->done.code = -ECANCELED;
        job->done.is_final = false;
    } else {
        job->done.code = r;
    }
    if (r < 0)
        (void)snprintf(job->done.text, sizeof(job->done.text), "%s", err.text);
    job->has_ended = true;
    mutex_unlock(&job->lock);
    signal_news(job->jobs);
    return NULL;
}

static void close_fds(struct job *job)
{
    if (job->fd >= 0)
        (void)close(job->fd);
    if (job->stop_fd >= 0)
        (void)close(job->stop_fd);
    job->fd = job->stop_fd = -1;
}

static int choose_kind(const struct worker_task_start *order, int fd, job_fn **ret,
                       struct error *err)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].kind, order->kind) != 0)
            continue;
        if (kinds[i].has_fd != (fd >= 0) && !kinds[i].fd_is_optional)
            return error_set(err, -EINVAL, "a task of kind %s comes %s a descriptor", order->kind,
                             fd >= 0 ? "without" : "with");
        *ret = kinds[i].run;
        return 0;
    }
    return error_set(err, -EINVAL,
                     "this worker knows no task of kind %s; it is of another version than cofferd: "
                     "unmount the filesystem and mount it again",
                     order->kind);
}

/* Under the lock, since its thread may be reporting. */
static void renew(struct job *job, uint64_t new_run)
{
    mutex_lock(&job->lock);
    job->progress.run = new_run;
    mutex_unlock(&job->lock);
}

static int launch(struct job *job, const struct worker_task_start *order, int fd, struct error *err)
{
    job->order = malloc(sizeof(*job->order));
    if (!job->order)
        return error_set(err, -ENOMEM, "out of memory");
    *job->order = *order;
    job->fd = fd;
    job->stop_fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    job->done = (struct worker_task_done){ .task = order->task };
    job->must_stop = job->has_ended = job->has_news = false;
    job->on_stop = NULL;
    job->told_ms = 0;
    job->progress = (struct worker_task_progress){ .task = order->task, .run = order->run };
    int r = fd >= 0 && job->stop_fd < 0 ? -errno : -pthread_create(&job->thread, NULL, run, job);
    if (r < 0)
        return error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r));
    job->is_used = true;
    return 0;
}

int jobs_start(struct jobs *jobs, const struct worker_task_start *order, int fd,
               struct volume *volume, struct object_store *store, struct error *err)
{
    CLEANUP(close_fd) int given = fd;
    struct job *job = find(jobs, order->task);
    job_fn *function = NULL;

    if (job) {
        renew(job, order->run);
        return 0;
    }
    int r = choose_kind(order, fd, &function, err);
    job = find_free(jobs);
    if (r == 0 && !job)
        r = error_set(err, -EUSERS, "%u tasks run in this filesystem's worker already", JOBS_MAX);
    if (r < 0)
        return r;
    given = -1;
    job->run = function;
    job->volume = volume;
    job->store = store;
    r = launch(job, order, fd, err);
    if (r < 0) {
        close_fds(job);
        free(TAKE(job->order));
    }
    return r;
}

static void stop(struct job *job)
{
    mutex_lock(&job->lock);
    job->must_stop = true;
    (void)pthread_cond_broadcast(&job->changed);
    if (job->on_stop)
        job->on_stop(job->on_stop_arg);
    mutex_unlock(&job->lock);
    if (job->stop_fd >= 0)
        (void)shutdown(job->stop_fd, SHUT_RDWR); /* whatever waits for the store goes on at once */
}

int jobs_stop(struct jobs *jobs, uint64_t task, struct error *err)
{
    struct job *job = find(jobs, task);

    if (!job)
        return error_set(err, -ENOENT, "the task does not run");
    stop(job);
    return 0;
}

static void finish(struct job *job)
{
    (void)pthread_join(job->thread, NULL);
    close_fds(job);
    free(TAKE(job->order));
    job->is_used = false;
}

void jobs_stop_all(struct jobs *jobs)
{
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (jobs->items[i].is_used)
            stop(&jobs->items[i]);
    for (size_t i = 0; i < JOBS_MAX; i++)
        if (jobs->items[i].is_used)
            finish(&jobs->items[i]);
}

/* True: it has ended, and ret says how. */
static bool take_news(struct job *job, struct worker_message *ret, bool *ret_is_news)
{
    mutex_lock(&job->lock);
    bool has_ended = job->has_ended;
    *ret_is_news = has_ended || job->has_news;
    if (has_ended) {
        ret->type = WORKER_TASK_DONE;
        ret->task_done = job->done;
        ret->task_done.run = job->progress.run;
    } else if (job->has_news) {
        ret->type = WORKER_TASK_PROGRESS;
        ret->task_progress = job->progress;
        job->has_news = false;
    }
    mutex_unlock(&job->lock);
    return has_ended;
}

/* How far it came, in front of its end: what was reported last may not have been told. */
static bool tell_last(struct job *job, jobs_send_fn *send, void *arg)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(1, sizeof(*message));

    if (!message || job->progress.total == 0)
        return true;
    message->type = WORKER_TASK_PROGRESS;
    message->task_progress = job->progress;
    return send(message, arg);
}

void jobs_tell(struct jobs *jobs, jobs_send_fn *send, void *arg)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(1, sizeof(*message));
    uint64_t counter;
    bool can_send = message != NULL;

    (void)!read(jobs->fd, &counter, sizeof(counter));
    for (size_t i = 0; i < JOBS_MAX && can_send; i++) {
        struct job *job = &jobs->items[i];
        bool is_news = false;
        bool has_ended = job->is_used && take_news(job, message, &is_news);
        if (has_ended)
            can_send = tell_last(job, send, arg);
        if (is_news && can_send)
            can_send = send(message, arg);
        if (has_ended && can_send)
            finish(job);
    }
}
