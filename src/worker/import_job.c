/* An uploaded snapshot becomes one of the filesystem, out of a bucket that another process holds
 * for us (store/remote_store.h). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "fs/snapshot_import.h"
#include "host/import_order.h"
#include "store/remote_store.h"
#include "transfer/download.h"
#include "worker/job.h"

/* What a better day of store, disk or filesystem does not mend. A key that is missing may be in the
 * ring since the worker started: cofferd looks, and tells it. */
static bool is_final(int code)
{
    return is_altered(code) || code == -EXDEV || code == -ENOENT || code == -EFBIG ||
           code == -EEXIST || code == -EINVAL || code == -EROFS;
}

static bool on_progress(const struct snapshot_import_progress *progress, void *arg)
{
    const struct worker_task_progress report = { .total = progress->chunks,
                                                 .done = progress->chunks_done,
                                                 .moved = progress->fetched };
    struct job *job = arg;

    job_report(job, &report);
    return !job_should_stop(job);
}

/* Of a task that ended without taking it away (cofferd has one at a time for a filesystem). */
static int drop_other(struct job *job, const struct snapshot_import *import, struct error *err)
{
    struct volume_snapshot left;

    if (!volume_snapshot_arriving(job->volume, &left) ||
        (strcmp(left.name, import->name) == 0 && left.created_ns == import->created_ns))
        return 0;
    return volume_snapshot_import_drop(job->volume, err);
}

static int import(struct job *job, const struct import_order *order, struct volume_origin *origin,
                  struct error *err)
{
    const struct snapshot_about *about = download_about(origin);
    bool is_renamed = order->name[0] != '\0';
    struct snapshot_import_progress progress = { .chunks = 0 };
    struct snapshot_import import = {
        .name = is_renamed ? order->name : about->snapshot,
        .access_point = is_renamed ? order->name : about->access_point,
        .gives_way = !is_renamed, /* both may have been taken in one second */
        .created_ns = (int64_t)about->created_ns,
        .origin = origin,
        .on_progress = on_progress,
        .arg = job,
    };

    memcpy(import.manifest, order->manifest, sizeof(import.manifest));
    int r = drop_other(job, &import, err);
    if (r == 0)
        r = volume_snapshot_import(job->volume, &import, &progress, err);
    if (r < 0)
        return r;
    (void)on_progress(&progress, job); /* the last one, which is not left out */
    (void)snprintf(job->done.result, sizeof(job->done.result), "snapshot %" PRIu64,
                   progress.snapshot);
    return 0;
}

/* Who waits for the bucket to come back. */
static void stop_waiting(void *arg)
{
    struct volume_origin *origin = arg;

    origin->ops->stop(origin);
}

static int open_and_import(struct job *job, const struct import_order *order,
                           struct object_store *store, struct error *err)
{
    CLEANUP(buf_release) struct buf superblock = BUF_INIT;
    struct volume_origin *origin = NULL;
    struct bucket bucket;

    int r = object_store_get(job->store, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX, &superblock, err);
    if (r < 0)
        return r == -ENOENT ? error_set(err, -EIO, "the filesystem's superblock is missing") : r;
    r = bucket_init(&bucket, store, "", err);
    if (r < 0)
        return r;
    struct download_snapshot snapshot = { .bucket = &bucket,
                                          .superblock = buf_bytes(&superblock),
                                          .keys = volume_keys(job->volume) };
    memcpy(snapshot.locator.manifest, order->manifest, sizeof(snapshot.locator.manifest));
    r = download_open_snapshot(&snapshot, &origin, err);
    if (r < 0)
        return r;
    job_on_stop(job, stop_waiting, origin);
    r = import(job, order, origin, err);
    job_on_stop(job, NULL, NULL);
    origin->ops->close(origin);
    return r;
}

static int drop(struct job *job, struct error *err)
{
    struct volume_snapshot arriving;

    if (!volume_snapshot_arriving(job->volume, &arriving))
        return 0; /* it never began, or came to its end; the filesystem may be read-only */
    int r = volume_snapshot_import_drop(job->volume, err);
    return r == -ENOENT ? 0 : r;
}

static int import_from_bucket(struct job *job, const struct import_order *order, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    int fd = job_take_fd(job);

    if (fd < 0)
        return error_set(err, -EINVAL, "the order to download a snapshot has no object store");
    int r = remote_store_open(fd, &store, err);
    if (r < 0)
        return r;
    r = open_and_import(job, order, store, err);
    if (is_final(r))
        job_give_up(job);
    return r;
}

/* --- the name that it is to get --- */

static struct bytes context_of(const struct import_order *order)
{
    return (struct bytes){ order->manifest, sizeof(order->manifest) };
}

int import_seal(struct volume *volume, struct worker_task_start *start, struct error *err)
{
    struct import_order order;
    size_t len = 0;

    int r = import_order_decode((struct bytes){ start->parameters, start->parameters_len }, &order);
    if (r == 0 && (order.is_sealed || order.is_drop))
        r = -EINVAL;
    if (r == 0)
        r = sealed_name_seal(volume_keys(volume), context_of(&order), order.name, order.sealed);
    if (r < 0)
        return error_set(err, r, "the name of a snapshot cannot be sealed: %s",
                         strerrordesc_np(-r));
    order.is_sealed = true;
    r = import_order_encode(&order, start->parameters, &len);
    start->parameters_len = (uint32_t)len;
    return r;
}

static int open_name(struct job *job, struct import_order *order)
{
    return order->is_sealed ? sealed_name_open(volume_keys(job->volume), context_of(order),
                                               order->sealed, order->name)
                            : 0;
}

int import_job(struct job *job, struct error *err)
{
    struct import_order order;

    int r = import_order_decode(
        (struct bytes){ job->order->parameters, job->order->parameters_len }, &order);
    if (r == 0)
        r = open_name(job, &order);
    if (r < 0) {
        job_give_up(job);
        return error_set(err, r, "the order to download a snapshot is malformed");
    }
    return order.is_drop ? drop(job, err) : import_from_bucket(job, &order, err);
}
