/* download_task.c - the task that stands for a downloaded filesystem until all of it is here: while
 * it runs, and the filesystem is started, its worker fetches in the background. And the bucket's
 * process of such a worker, which can end before that. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/download.h"
#include "control/tasks.h"

#define ASK_TIMEOUT_MS 30000

static bool needs_bucket(struct filesystem *fs)
{
    mutex_lock(&fs->lock);
    bool needs_bucket = fs->record.has_origin;
    mutex_unlock(&fs->lock);
    return needs_bucket;
}

int download_begin_task(struct filesystem *fs, struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    if (!record->has_origin)
        return 0;
    const struct task_new what = {
        .kind = &download_kind, .fs = fs, .store = record->origin.store, .is_single = true
    };
    int r = task_add(fs->control, &what, NULL, err);
    return r == -EEXIST ? 0 : r;
}

/* Both the worker's event and the end of its job bring us here; either may go unheard. */
int download_forget_origin(struct filesystem *fs, struct error *err)
{
    mutex_lock(&fs->lock);
    bool is_known = fs->record.has_origin;
    fs->record.has_origin = false;
    mutex_unlock(&fs->lock);
    if (!is_known)
        return 0;
    events_add(&fs->control->events, LOG_LEVEL_INFO, "downloaded", fs->record.name,
               "all of the downloaded snapshot is here; its object store is needed no more");
    return filesystem_save(fs, err);
}

int download_renew_bucket(struct filesystem *fs, struct worker *worker, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    CLEANUP(close_fd) int fd = -1;

    if (!message || !record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = download_session(fs->control, record, &fd, err);
    if (r < 0 || fd < 0)
        return r;
    message[0].type = WORKER_SET_BUCKET;
    r = worker_ask(worker, &message[0], fd, ASK_TIMEOUT_MS, &message[1], err);
    if (r == 0)
        worker_message_release(&message[1]);
    return r;
}

/* --- the kind --- */

/* The address or the credentials of the store may be others now, which a process has from its
 * start: it is exchanged before the next try. */
static void renew_if_useful(struct filesystem *fs, int r)
{
    if (r == -ECANCELED || r == -EPIPE || r == -EAGAIN || r == -EBADMSG)
        return;
    mutex_lock(&fs->lock);
    fs->wants_bucket = true;
    (void)pthread_cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
}

static int fetch(struct task *task, struct filesystem *fs, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(1, sizeof(*message));

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    int r = needs_bucket(fs) ? task_run_in_worker(task, fs, message, -1, err) : 0;
    if (r == 0)
        r = download_forget_origin(fs, err);
    if (r == 0)
        task_set_result(task, "all of it is here");
    else
        renew_if_useful(fs, r);
    return r;
}

static int run(struct task *task, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = NULL;
    int r = task_filesystem(task, &fs, err);

    return r == 0 ? fetch(task, fs, err) : r;
}

const struct task_kind download_kind = {
    .name = "download",
    .unit = "bytes",
    .run = run,
    .no_abort = "the filesystem needs what is only in the object store. 'coffer task pause' has it "
                "rest, and removing the filesystem ends it ('coffer fs remove')",
    .goes_with_filesystem = true,
};
