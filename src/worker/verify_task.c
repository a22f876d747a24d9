#include "worker/verify_task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "host/sandbox.h"
#include "store/remote_store.h"
#include "transfer/verify.h"

#define TELL_EVERY_MS 500

struct verify_work {
    struct object_store *store;
    int stop_fd; /* the store's socket again, shut down to stop */
    struct locator locator;
    unsigned one_in;
    struct key_set keys;
    atomic_bool must_stop;
    struct check_report report;
    int news_fd;
    int64_t told_ms;   /* the task's own */
    struct mutex lock; /* guards all below */
    struct verify_progress progress;
    bool has_news;
};

static int lock_in(const struct worker_verify *order, struct error *err)
{
    const struct sandbox sandbox = { .uid = order->uid, .gid = order->gid };
    char no_folders[SANDBOX_FOLDERS_MAX][PATH_MAX];
    bool has_landlock = false;

    int r = sandbox_enter(&sandbox, no_folders, &has_landlock, err);
    if (r == 0 && !has_landlock)
        log_warning("this kernel has no Landlock: the worker is not kept from files");
    return r;
}

static int fill(struct verify_work *work, const struct worker_verify *order, int fd,
                struct error *err)
{
    int r = lock_in(order, err);

    if (r < 0)
        return r;
    memcpy(work->locator.manifest, order->manifest, sizeof(work->locator.manifest));
    work->one_in = order->one_in;
    if (key_set_copy(&work->keys, &order->keys) < 0)
        return error_set(err, -ENOMEM, "out of secret memory");
    work->stop_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (work->stop_fd >= 0)
        work->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (work->stop_fd < 0 || work->news_fd < 0)
        return error_set(err, -errno, "cannot keep a socket: %s", strerrordesc_np(errno));
    return remote_store_open(fd, &work->store, err);
}

int verify_work_new(const struct worker_verify *order, int fd, struct verify_work **ret,
                    struct error *err)
{
    struct verify_work *work = calloc(1, sizeof(*work));
    int r = work ? 0 : error_set(err, -ENOMEM, "out of memory");

    if (work) {
        work->stop_fd = work->news_fd = -1;
        work->lock = MUTEX_INIT;
        r = fill(work, order, fd, err);
    }
    if (r < 0) {
        if (!work || !work->store)
            close_fd(&fd);
        verify_work_free(work);
        return r;
    }
    *ret = work;
    return 0;
}

void verify_work_free(struct verify_work *work)
{
    if (!work)
        return;
    object_store_close(work->store);
    close_fd(&work->stop_fd);
    close_fd(&work->news_fd);
    key_set_release(&work->keys);
    free(work);
}

void verify_work_stop(struct verify_work *work)
{
    atomic_store(&work->must_stop, true);
    (void)shutdown(work->stop_fd, SHUT_RDWR);
}

static void report_fault(const char *text, void *arg)
{
    struct verify_work *work = arg;

    check_report_add(text, &work->report);
}

static void note_progress(struct verify_work *work, const struct verify_progress *progress)
{
    const uint64_t one = 1;
    int64_t now_ms = clock_monotonic_ms();

    if (now_ms - work->told_ms < TELL_EVERY_MS)
        return;
    work->told_ms = now_ms;
    mutex_lock(&work->lock);
    work->progress = *progress;
    work->has_news = true;
    mutex_unlock(&work->lock);
    (void)!write(work->news_fd, &one, sizeof(one)); /* full means readable already */
}

static bool should_stop(const struct verify_progress *progress, void *arg)
{
    struct verify_work *work = arg;

    note_progress(work, progress);
    return atomic_load(&work->must_stop);
}

int verify_work_fd(const struct verify_work *work)
{
    return work->news_fd;
}

bool verify_work_take_progress(struct verify_work *work, struct worker_task_progress *ret)
{
    uint64_t counter;

    (void)!read(work->news_fd, &counter, sizeof(counter));
    mutex_lock(&work->lock);
    const struct verify_progress *progress = &work->progress;
    *ret = (struct worker_task_progress){ .total = progress->chunks + progress->packs,
                                          .done = progress->chunks_done + progress->packs_done,
                                          .moved = progress->read_bytes };
    (void)snprintf(ret->phase, sizeof(ret->phase), "%s",
                   progress->packs_done > 0 ? "data" : "metadata");
    bool has_news = work->has_news;
    work->has_news = false;
    mutex_unlock(&work->lock);
    return has_news;
}

int verify_task(struct task *task, struct error *err)
{
    struct verify_work *work = task->verify;
    struct worker_check_reply *reply = &task->reply.check_reply;
    struct verify_progress progress;
    struct bucket bucket;

    memset(reply, 0, sizeof(*reply));
    task->reply.type = WORKER_CHECK_REPLY;
    work->report = (struct check_report){ .reply = reply };
    int r = bucket_init(&bucket, work->store, "", err);
    if (r < 0)
        return r;
    const struct verify_config config = { .bucket = &bucket,
                                          .locator = work->locator,
                                          .keys = &work->keys,
                                          .one_in = work->one_in,
                                          .report = report_fault,
                                          .should_stop = should_stop,
                                          .arg = work };
    return verify_run(&config, &progress, &reply->faults, err);
}
