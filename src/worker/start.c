#include "worker/start.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "base/log.h"
#include "fs/segment_format.h"
#include "fs/snapshot_import.h"
#include "host/sandbox.h"
#include "transfer/download.h"

#define MARK_WAITS_MAX 300u /* of a second */

/* The schemes whose URL is a folder of this host. */
static const char *const folder_schemes[] = { "dir:", "lmdb:", "fault+dir:" };

/* NULL if the URL does not name a folder. */
static const char *folder_of(const char *url)
{
    for (size_t i = 0; i < sizeof(folder_schemes) / sizeof(folder_schemes[0]); i++) {
        size_t len = strlen(folder_schemes[i]);
        if (strncmp(url, folder_schemes[i], len) == 0)
            return url + len;
    }
    return NULL;
}

struct place {
    const char *url;
    char inside[WORKER_URL_SIZE + PATH_MAX]; /* the URL as it is after the sandbox was entered */
};

/* Every segment and the database want a descriptor. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* works with the lower one, too */
    }
}

static int add_folder(struct sandbox *sandbox, const struct place *place, struct error *err)
{
    const char *folder = folder_of(place->url);
    int r = 0;

    if (!folder)
        return 0;
    if (geteuid() == 0)
        r = sandbox_give_folder(folder, sandbox->uid, sandbox->gid, err);
    if (r == 0)
        sandbox->folders[sandbox->folder_count++] = folder;
    return r;
}

static void rename_place(struct place *place, const char *inside)
{
    int scheme_len = (int)(folder_of(place->url) - place->url);

    (void)snprintf(place->inside, sizeof(place->inside), "%.*s%s", scheme_len, place->url, inside);
}

static int lock_in(const struct worker_start *order, struct place *places, size_t count,
                   struct error *err)
{
    struct sandbox sandbox = { .uid = order->uid,
                               .gid = order->gid,
                               .needs_network = order->store_settings.len > 0 };
    char inside[SANDBOX_FOLDERS_MAX][PATH_MAX];
    bool has_landlock = false;
    size_t folder = 0;
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++)
        r = add_folder(&sandbox, &places[i], err);
    if (r == 0)
        r = sandbox_enter(&sandbox, inside, &has_landlock, err);
    if (r < 0)
        return r;
    if (!has_landlock)
        log_warning("this kernel has no Landlock: the worker is not kept to its own folders");
    for (size_t i = 0; i < count; i++) {
        if (folder_of(places[i].url))
            rename_place(&places[i], inside[folder++]);
        else
            (void)snprintf(places[i].inside, sizeof(places[i].inside), "%s", places[i].url);
    }
    return 0;
}

struct cache_teller {
    volume_event_fn *on_event;
    void *arg;
};

static void tell_off(const char *why, void *arg)
{
    const struct cache_teller *teller = arg;
    char text[WORKER_TEXT_SIZE];

    (void)snprintf(text, sizeof(text),
                   "The cache of what is read from the bucket is off until its size is set (coffer "
                   "fs update --cache) or the filesystem is started again: %.300s.",
                   why);
    teller->on_event(VOLUME_EVENT_CACHE_OFF, text, teller->arg);
}

/* Before the rights for its folder are given up; the file has no name. A filesystem works without
 * one, so that a failure is told, and no more. */
static int open_cache_file(const struct worker_start *order, struct cache_teller *teller)
{
    struct error err = { .code = 0 };
    int fd = -1;

    if (order->cache_folder[0] == '\0')
        return -1;
    int r = folder_make(order->cache_folder, 0700, &err);
    if (r == 0)
        r = cache_file_open(order->cache_folder, &fd, &err);
    if (r < 0)
        tell_off(err.text, teller);
    return fd;
}

static int wrap_in_cache(const struct worker_start *order, int fd, struct started *started,
                         struct error *err)
{
    const struct cache_config config = { .fd = fd,
                                         .max_bytes = order->cache_bytes,
                                         .prefix = SEGMENT_PREFIX,
                                         .on_off = tell_off,
                                         .arg = started->teller };

    return cache_store_new(started->store, &config, &started->store, &started->cache) < 0
               ? error_set(err, -ENOMEM, "out of memory for a cache of that size")
               : 0;
}

static int open_store(const struct worker_start *order, const char *url, struct object_store **ret,
                      struct error *err)
{
    if (order->store_settings.len > 0)
        return worker_open_packed(secret_bytes(&order->store_settings), ret, err);
    return object_store_open(url, ret, err);
}

/* Somebody removes something from the bucket; that is over soon, or he is dead. */
static int wait_for_mark(const struct removing_mark *mark, void *arg)
{
    const struct timespec pause = { .tv_sec = 1 };
    unsigned *waited = arg;

    (void)mark;
    if (++*waited > MARK_WAITS_MAX)
        return -EBUSY;
    (void)nanosleep(&pause, NULL);
    return 0;
}

/* The keys of the origin, as its own: with these its head is verified. */
static int origin_keys(const struct worker_start *order, struct key_set *ret)
{
    const struct key_set *keys = &order->keys;
    int r = 0;

    for (uint32_t i = 0; i < keys->foreign_count && r == 0; i++)
        if (uuid_equal(&keys->foreign[i].origin, &order->origin.fs))
            r = key_set_add(ret, keys->foreign[i].generation, &keys->foreign[i].key);
    return r;
}

static int prepare(const struct worker_start *order, const struct bucket *bucket,
                   struct download *ret, struct error *err)
{
    CLEANUP(key_set_release) struct key_set keys = { .count = 0 };
    unsigned waited = 0;
    struct download_config config = { .bucket = bucket,
                                      .keys = &keys,
                                      .fs = order->uuid,
                                      .instance = order->owner,
                                      .reference = order->origin.reference,
                                      .now_ns = (uint64_t)clock_wall_ns(),
                                      .wait = { wait_for_mark, &waited } };

    memcpy(config.locator.manifest, order->origin.manifest, sizeof(config.locator.manifest));
    if (origin_keys(order, &keys) < 0)
        return error_set(err, -ENOMEM, "out of secret memory");
    int r = download_prepare(&config, ret, err);
    return r == -EBUSY ? error_set(err, r,
                                   "somebody has been removing something from the object store for "
                                   "minutes; try again, or expire what he left")
                       : r;
}

static int format_downloaded(const struct worker_start *order, const struct bucket *bucket,
                             const struct volume_config *config, struct error *err)
{
    struct download download;

    int r = prepare(order, bucket, &download, err);
    if (r < 0)
        return r;
    const struct volume_inheritance inheritance = download_inheritance(&download);
    r = volume_format_inherited(config, &inheritance, err);
    download_release(&download);
    return r;
}

static void end_bucket(void *arg)
{
    worker_bucket_end(arg);
}

static int open_downloaded(const struct worker_start *order, struct volume_config *config,
                           struct started *started, struct error *err)
{
    struct bucket bucket;
    /* Its task says when it goes on in the background (download_job.c). */
    struct download_place place = {
        .bucket = &bucket, .starts_paused = true, .end = end_bucket, .end_arg = started->bucket
    };

    int r = bucket_init(&bucket, started->bucket->store, "", err);
    if (r == 0 && (order->flags & WORKER_FLAG_FORMAT))
        r = format_downloaded(order, &bucket, config, err);
    if (r < 0)
        return r;
    config->open_origin = download_open;
    config->origin_arg = &place;
    r = volume_open(config, &started->volume, err);
    return r;
}

static int open_volume(const struct worker_start *order, struct volume_config *config,
                       struct started *started, struct error *err)
{
    int r = 0;

    if (started->bucket)
        return open_downloaded(order, config, started, err);
    if (order->flags & WORKER_FLAG_FORMAT)
        r = volume_format(config, order->block_size, err);
    return r < 0 ? r : volume_open(config, &started->volume, err);
}

/* Nobody would see it, or take it away, and it holds blocks. */
static void drop_arriving(struct volume *volume, volume_event_fn *on_event, void *event_arg)
{
    struct volume_snapshot arriving;
    struct error err = { .code = 0 };
    char text[WORKER_TEXT_SIZE];

    if (!volume_snapshot_arriving(volume, &arriving))
        return;
    int r = volume_snapshot_import_drop(volume, &err);
    (void)snprintf(text, sizeof(text),
                   "No task knows of the download of snapshot %llu any more: what had arrived of "
                   "it %s%.200s.",
                   (unsigned long long)arriving.epoch, r < 0 ? "cannot be removed: " : "is removed",
                   r < 0 ? err.text : "");
    on_event(VOLUME_EVENT_ARRIVING_DROPPED, text, event_arg);
}

/* The socket is taken over, whatever becomes of it. */
static int open_bucket(const struct worker_start *order, int fd, struct worker_bucket **ret,
                       struct error *err)
{
    if (fd < 0)
        return order->has_origin ? error_set(err, -EINVAL, "no socket came for the bucket") : 0;
    if (order->has_origin)
        return worker_bucket_open(fd, ret, err);
    (void)close(fd);
    return error_set(err, -EINVAL, "a socket came for a bucket that is not needed");
}

static void close_stores(struct started *started)
{
    worker_bucket_close(started->bucket);
    object_store_close(started->store);
}

int worker_start(const struct worker_start *order, int fd, volume_event_fn *on_event,
                 void *event_arg, struct started *ret, struct error *err)
{
    struct place places[] = { { .url = order->meta_url }, { .url = order->store_url } };
    const struct volume_owner launcher = { .uid = getuid(), .gid = getgid() };
    struct started started = { .teller = calloc(1, sizeof(struct cache_teller)) };

    if (!started.teller)
        return error_set(err, -ENOMEM, "out of memory");
    *started.teller = (struct cache_teller){ on_event, event_arg };
    raise_descriptor_limit();
    mount_open_spares(started.spare_fds);
    int cache_fd = open_cache_file(order, started.teller);
    int r = lock_in(order, places, 2, err);
    if (r == 0)
        r = open_store(order, places[1].inside, &started.store, err);
    if (r == 0 && cache_fd >= 0)
        r = wrap_in_cache(order, cache_fd, &started, err);
    if (r == 0)
        r = open_bucket(order, fd, &started.bucket, err);
    if (r < 0)
        return r; /* the process ends: it closes what was opened */
    struct volume_config config = {
        .uuid = order->uuid,
        .store = started.store,
        .meta_url = places[0].inside,
        .keys = &order->keys,
        .owner = order->owner,
        .capacity = order->capacity,
        .root = launcher, /* not whom the sandbox makes of us */
        .read_only = order->flags & WORKER_FLAG_READ_ONLY,
        .take_over = order->flags & WORKER_FLAG_TAKE_OVER,
        .salvage = order->flags & WORKER_FLAG_SALVAGE,
        .on_event = on_event,
        .event_arg = event_arg,
    };
    r = open_volume(order, &config, &started, err);
    if (r < 0) {
        close_stores(&started);
        free(started.teller);
        return r;
    }
    if ((order->flags & WORKER_FLAG_DROP_ARRIVING) && !config.read_only && !config.salvage)
        drop_arriving(started.volume, on_event, event_arg);
    *ret = started;
    return 0;
}
