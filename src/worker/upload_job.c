/* A snapshot into a bucket, which another process holds for us (store/remote_store.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "fs/export.h"
#include "host/upload_order.h"
#include "store/remote_store.h"
#include "transfer/upload.h"
#include "worker/job.h"

#define MARK_PAUSE_MS 2000

/* What is wrong with the snapshot itself; a store may be better tomorrow. */
static bool is_final(int code)
{
    return is_altered(code) || code == -ESTALE || code == -ENAMETOOLONG || code == -ECANCELED;
}

static int open_export(struct job *job, uint64_t id, struct volume_export **ret, struct error *err)
{
    struct volume_snapshot snapshot;

    int r = volume_snapshot_find_epoch(job->volume, id, &snapshot);
    r = r == 0 ? volume_export_open(job->volume, snapshot.name, ret, err)
               : error_set(err, -ENOENT, "the snapshot was removed");
    if (r == -ENOENT)
        job_give_up(job);
    return r;
}

static void on_progress(const struct upload_progress *progress, void *arg)
{
    struct worker_task_progress report = { .total = progress->data,
                                           .done = progress->data_done,
                                           .moved = progress->put_bytes };
    struct job *job = arg;

    (void)snprintf(report.phase, sizeof(report.phase), "%s",
                   progress->records > 0 ? "metadata" : "data");
    job_report(job, &report);
}

static bool should_stop(const struct upload_progress *progress, void *arg)
{
    on_progress(progress, arg);
    return job_should_stop(arg);
}

static int wait_for_mark(const struct removing_mark *mark, void *arg)
{
    struct worker_task_progress report;
    struct job *job = arg;
    char id[UUID_TEXT_SIZE];

    uuid_format(&mark->mark, id);
    mutex_lock(&job->lock);
    report = job->progress;
    mutex_unlock(&job->lock);
    (void)snprintf(report.phase, sizeof(report.phase), "waits for removal %s", id);
    job_report(job, &report);
    return job_sleep(job, MARK_PAUSE_MS);
}

static int upload(struct job *job, const struct upload_order *order, struct volume_export *export,
                  struct object_store *store, struct error *err)
{
    CLEANUP(buf_release) struct buf superblock = BUF_INIT;
    struct volume_source source;
    struct bucket bucket;
    struct locator locator;
    struct upload_progress progress = { .data = 0 };

    int r = object_store_get(job->store, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX, &superblock, err);
    if (r == 0)
        r = bucket_init(&bucket, store, "", err);
    if (r < 0)
        return r;
    volume_source_init(&source, export);
    const struct upload_config config = {
        .bucket = &bucket,
        .source = &source.base,
        .superblock = buf_bytes(&superblock),
        .ring = order->ring,
        .keys = volume_export_keys(export),
        .upload = order->upload,
        .instance = order->instance,
        .started_ns = order->started_ns,
        .filesystem = order->filesystem,
        .hides_names = order->hides_names,
        .wait = { wait_for_mark, job },
        .should_stop = should_stop,
        .on_progress = on_progress,
        .arg = job,
    };
    r = upload_run(&config, &locator, &progress, err);
    if (r == 0)
        on_progress(&progress, job); /* the last one, which is not left out */
    if (r == 0)
        r = locator_format(&locator, job->done.result, err);
    if (is_final(r))
        job_give_up(job);
    return r;
}

int upload_job(struct job *job, struct error *err)
{
    CLEANUP(volume_export_closep) struct volume_export *export = NULL;
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    struct upload_order order;

    int r = upload_order_decode(
        (struct bytes){ job->order->parameters, job->order->parameters_len }, &order);
    if (r < 0) {
        job_give_up(job);
        return error_set(err, r, "the order to upload is malformed");
    }
    r = open_export(job, order.snapshot, &export, err);
    if (r == 0)
        r = remote_store_open(job_take_fd(job), &store, err);
    return r < 0 ? r : upload(job, &order, export, store, err);
}
