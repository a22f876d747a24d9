#include "worker/start.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "host/sandbox.h"

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

static int open_store(const struct worker_start *order, const char *url, struct object_store **ret,
                      struct error *err)
{
    if (order->store_settings.len > 0)
        return worker_open_packed(secret_bytes(&order->store_settings), ret, err);
    return object_store_open(url, ret, err);
}

static int open_volume(const struct worker_start *order, const struct volume_config *config,
                       struct volume **ret, struct error *err)
{
    int r = 0;

    if (order->flags & WORKER_FLAG_FORMAT)
        r = volume_format(config, order->block_size, err);
    return r < 0 ? r : volume_open(config, ret, err);
}

int worker_start(const struct worker_start *order, volume_event_fn *on_event, void *event_arg,
                 struct started *ret, struct error *err)
{
    struct place places[] = { { .url = order->meta_url }, { .url = order->store_url } };
    const struct volume_owner launcher = { .uid = getuid(), .gid = getgid() };
    struct started started = { .store = NULL };

    raise_descriptor_limit();
    mount_open_spares(started.spare_fds);
    int r = lock_in(order, places, 2, err);
    if (r == 0)
        r = open_store(order, places[1].inside, &started.store, err);
    if (r < 0)
        return r; /* the process ends: it closes what was opened */
    const struct volume_config config = {
        .uuid = order->uuid,
        .store = started.store,
        .meta_url = places[0].inside,
        .keys = &order->keys,
        .owner = order->owner,
        .capacity = order->capacity,
        .root = launcher, /* not whom the sandbox makes of us */
        .read_only = order->flags & WORKER_FLAG_READ_ONLY,
        .take_over = order->flags & WORKER_FLAG_TAKE_OVER,
        .on_event = on_event,
        .event_arg = event_arg,
    };
    r = open_volume(order, &config, &started.volume, err);
    if (r < 0) {
        object_store_close(started.store);
        return r;
    }
    *ret = started;
    return 0;
}
