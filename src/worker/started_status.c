#include <string.h>

#include "fs/volume.h"
#include "worker/start.h"

static void put_cache_counts(const struct started *started, struct worker_status_reply *status)
{
    struct cache_counts counts;

    if (!started->cache)
        return;
    cache_store_counts(started->cache, &counts);
    status->cache_used = counts.used_bytes;
    status->cache_hits = counts.hits;
    status->cache_misses = counts.misses;
}

static void put_origin(const struct started *started, struct worker_status_reply *status)
{
    struct origin_progress progress;

    status->has_origin = volume_origin_progress(started->volume, &progress);
    if (!status->has_origin)
        return;
    status->origin_data = progress.data;
    status->origin_data_left = progress.data_left;
}

int started_status(const struct started *started, struct worker_status_reply *ret,
                   struct error *err)
{
    struct volume_statfs have;
    int r = volume_statfs(started->volume, &have);

    if (r < 0)
        return error_set(err, r, "cannot read the filesystem's state: %s", strerrordesc_np(-r));
    ret->is_read_only = volume_is_read_only(started->volume);
    ret->total = have.total;
    ret->free = have.free;
    ret->used = have.used;
    ret->files = have.files;
    ret->files_free = have.files_free;
    put_cache_counts(started, ret);
    put_origin(started, ret);
    return 0;
}
