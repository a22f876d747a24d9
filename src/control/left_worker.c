/* left_worker.c - ending workers that a command used, and those that an interrupted one left.
 *
 * What a worker is at when it is told to stop, a restore for example, is done first. */
#include <errno.h>

#include "base/log.h"
#include "control/filesystem.h"

#define GONE_PATIENCE_MS 60000
#define STATUS_TIMEOUT_MS 10000

static void ignore_end(void *arg)
{
    (void)arg;
}

/* Has it end, which it was asked to with that result. */
static int end_asked(struct worker *worker, int r, struct error *err)
{
    char how[WORKER_HOW_SIZE];

    worker_disconnect(worker);
    if (worker_wait_gone(worker, GONE_PATIENCE_MS, how) < 0 && r == 0)
        r = error_set(err, -EBUSY, "the filesystem's worker does not end");
    worker_unref(worker);
    return r;
}

int filesystem_end_worker(struct worker *worker, struct error *err)
{
    int r = worker_stop(worker, err);

    return end_asked(worker, r, err);
}

/* NULL: there is none, as a rule. */
static struct worker *connect_orphan(struct filesystem *filesystem)
{
    struct worker_watcher watcher = { .on_ended = ignore_end };
    struct worker *worker = NULL;
    char path[PATH_MAX];

    if (filesystem_socket_path(filesystem, path, NULL) < 0 ||
        worker_connect(path, &watcher, &worker, NULL) < 0)
        return NULL;
    return worker;
}

static void note_orphan(const struct filesystem *filesystem)
{
    log_warning("a worker that an interrupted operation left is stopped filesystem=%s",
                filesystem->record.name);
}

void filesystem_end_orphan(struct filesystem *filesystem)
{
    struct worker *worker = connect_orphan(filesystem);
    struct error err = { .code = 0 };

    if (!worker)
        return;
    note_orphan(filesystem);
    if (filesystem_end_worker(worker, &err) < 0)
        log_error("%s filesystem=%s", err.text, filesystem->record.name);
}

static bool is_control_ending(void *arg)
{
    return atomic_load(&((struct control *)arg)->is_shutting_down);
}

static bool is_in_use(struct worker *worker)
{
    struct worker_status_reply status;

    return worker_status(worker, STATUS_TIMEOUT_MS, &status, NULL) == 0 && status.is_mounted;
}

void filesystem_end_unused_orphan(struct filesystem *filesystem)
{
    struct worker *worker = connect_orphan(filesystem);
    struct error err = { .code = 0 };

    if (!worker)
        return;
    if (is_in_use(worker)) {
        log_warning("a worker that nobody started is mounted, and left alone filesystem=%s",
                    filesystem->record.name);
        worker_disconnect(worker);
        worker_unref(worker);
        return;
    }
    note_orphan(filesystem);
    int r = worker_stop_until(worker, is_control_ending, filesystem->control, &err);
    if (r ==
        -ECANCELED) { /* it ends by itself, when what it is at is done; it must not be killed */
        worker_disconnect(worker);
        worker_unref(worker);
        return;
    }
    if (end_asked(worker, r, &err) < 0)
        log_error("%s filesystem=%s", err.text, filesystem->record.name);
}

void filesystem_end_left(struct filesystem *filesystem)
{
    mutex_lock(&filesystem->lock);
    filesystem->ends_left_worker = false;
    (void)pthread_cond_broadcast(&filesystem->changed);
    mutex_unlock(&filesystem->lock);
}

int filesystem_wait_left_locked(struct filesystem *filesystem, struct error *err)
{
    while (filesystem->ends_left_worker && !atomic_load(&filesystem->control->is_shutting_down))
        cond_wait(&filesystem->changed, &filesystem->lock);
    return filesystem->ends_left_worker ? error_set(err, -ESHUTDOWN, "cofferd is stopping") : 0;
}
