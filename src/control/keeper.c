/* keeper.c - the thread of each started filesystem: it brings it up, notices its end, and brings
 * it up again, until it is stopped or the control plane shuts down.
 *
 *   bring up      connect to the worker of an earlier cofferd, or: unwrap the keys, start a worker,
 *                 hand it the keys, mount again where it was mounted
 *   serve         wait until the worker ends
 *   afterwards    ended by request or unmounted: stopped. Anything else: report it, take the dead
 *                 mount away, and begin again after a pause that grows
 *
 * The first start that somebody waits for is tried once. All others are repeated for ever: every
 * few seconds while a key server cannot be reached, slowly when it answers that it will not.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/download.h"
#include "control/filesystem.h"
#include "control/object_stores.h"
#include "control/remount.h"
#include "control/snapshot_mount.h"
#include "control/tasks.h"
#include "crypto/random.h"

#define PAUSE_FIRST_MS 500
#define PAUSE_MAX_MS 30000
#define PAUSE_REFUSED_MS 60000
#define LIFE_GOOD_MS 60000 /* who lived that long starts again without a pause */
#define GONE_PATIENCE_MS 60000
#define RECONNECT_TIMEOUT_MS 10000
#define BUCKET_PAUSE_MS 2000

struct keeper {
    struct filesystem *fs;
    struct control *control;
    unsigned failures; /* in a row */
};

static void on_event(const struct worker_event *event, void *arg)
{
    static const struct {
        enum log_level level;
        const char *type;
    } kinds[WORKER_EVENT_COUNT] = {
        [WORKER_EVENT_CORRUPTION] = { LOG_LEVEL_ERROR, "corruption" },
        [WORKER_EVENT_WRITE_LOST] = { LOG_LEVEL_ERROR, "write-lost" },
        [WORKER_EVENT_FULL] = { LOG_LEVEL_WARNING, "store-full" },
        [WORKER_EVENT_ROOM_AGAIN] = { LOG_LEVEL_INFO, "room-again" },
        [WORKER_EVENT_READ_ONLY] = { LOG_LEVEL_WARNING, "read-only" },
        [WORKER_EVENT_ORIGIN_AWAY] = { LOG_LEVEL_WARNING, "bucket-away" },
        [WORKER_EVENT_CACHE_OFF] = { LOG_LEVEL_WARNING, "cache-off" },
        [WORKER_EVENT_ORIGIN_DONE] = { LOG_LEVEL_INFO, NULL },
        [WORKER_EVENT_ARRIVING_DROPPED] = { LOG_LEVEL_WARNING, "snapshot-dropped" },
        [WORKER_EVENT_KEY_MISSING] = { LOG_LEVEL_WARNING, "key-missing" },
    };
    struct filesystem *fs = arg;

    if (kinds[event->kind].type) /* else it is told with what follows from it */
        events_add(&fs->control->events, kinds[event->kind].level, kinds[event->kind].type,
                   fs->record.name, "%s", event->text);
    mutex_lock(&fs->lock);
    switch (event->kind) {
    case WORKER_EVENT_CORRUPTION:
        fs->saw_corruption = true;
        break;
    case WORKER_EVENT_WRITE_LOST:
        fs->saw_write_lost = true;
        break;
    case WORKER_EVENT_FULL:
    case WORKER_EVENT_ROOM_AGAIN:
        fs->is_full = event->kind == WORKER_EVENT_FULL;
        break;
    case WORKER_EVENT_READ_ONLY:
        fs->seen.is_read_only = true;
        break;
    case WORKER_EVENT_ORIGIN_DONE:
        fs->is_downloaded = true;
        (void)pthread_cond_broadcast(&fs->changed);
        break;
    case WORKER_EVENT_ORIGIN_AWAY:
    case WORKER_EVENT_CACHE_OFF:
    case WORKER_EVENT_ARRIVING_DROPPED:
    case WORKER_EVENT_KEY_MISSING:
    case WORKER_EVENT_COUNT:
        break;
    }
    mutex_unlock(&fs->lock);
}

static void on_unmounted(const struct worker_done *done, void *arg)
{
    struct filesystem *fs = arg;

    if (done->code < 0)
        events_add(&fs->control->events, LOG_LEVEL_ERROR, "commit-failed", fs->record.name,
                   "unmounted, but its last commit failed: %s", done->text);
    else
        events_add(&fs->control->events, LOG_LEVEL_INFO, "unmounted", fs->record.name,
                   "the filesystem was unmounted");
    mutex_lock(&fs->lock);
    fs->worker_ended_cleanly = true;
    fs->last_commit_failed = done->code < 0;
    mutex_unlock(&fs->lock);
}

static void on_task_progress(const struct worker_task_progress *progress, void *arg)
{
    struct filesystem *fs = arg;

    tasks_on_progress(fs->control, &fs->record.uuid, progress);
}

static void on_task_done(const struct worker_task_done *done, void *arg)
{
    struct filesystem *fs = arg;

    tasks_on_done(fs->control, &fs->record.uuid, done);
}

/* The filesystem itself is not mounted any more, snapshots of it are. */
static void note_unmounted(struct filesystem *fs)
{
    struct error err = { .code = 0 };

    mutex_lock(&fs->lock);
    if (fs->state == FS_MOUNTED)
        filesystem_move_locked(fs, FS_STARTED, "");
    fs->record.mountpoint[0] = '\0';
    mutex_unlock(&fs->lock);
    if (filesystem_save(fs, &err) < 0)
        events_add(&fs->control->events, LOG_LEVEL_ERROR, "registry", fs->record.name,
                   "it will be mounted again after a restart: %s", err.text);
}

static void on_mount_ended(const struct worker_mount_ended *ended, void *arg)
{
    struct filesystem *fs = arg;

    if (ended->snapshot != 0)
        snapshot_mounts_ended(fs, ended->snapshot);
    else
        note_unmounted(fs);
    if (ended->code < 0)
        events_add(&fs->control->events, LOG_LEVEL_ERROR, "commit-failed", fs->record.name,
                   "unmounted, but its last commit failed: %s", ended->text);
    else
        events_add(&fs->control->events, LOG_LEVEL_INFO, "unmounted", fs->record.name,
                   ended->snapshot != 0 ? "a snapshot was unmounted"
                                        : "the filesystem was unmounted; snapshots are mounted");
}

static void on_bucket_ended(void *arg)
{
    struct filesystem *fs = arg;

    mutex_lock(&fs->lock);
    fs->wants_bucket = true;
    (void)pthread_cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
}

static void on_ended(void *arg)
{
    struct filesystem *fs = arg;

    tasks_on_worker_end(fs->control, &fs->record.uuid);
    mutex_lock(&fs->lock);
    fs->worker_ended = true;
    (void)pthread_cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
}

static struct worker_watcher watcher_of(struct filesystem *fs)
{
    return (struct worker_watcher){ .on_event = on_event,
                                    .on_unmounted = on_unmounted,
                                    .on_mount_ended = on_mount_ended,
                                    .on_bucket_ended = on_bucket_ended,
                                    .on_task_progress = on_task_progress,
                                    .on_task_done = on_task_done,
                                    .on_ended = on_ended,
                                    .arg = fs };
}

static bool is_shutting_down(const struct keeper *keeper)
{
    return atomic_load(&keeper->control->is_shutting_down);
}

static void adopt_worker(struct keeper *keeper, struct worker *worker)
{
    struct filesystem *fs = keeper->fs;

    mutex_lock(&fs->lock);
    fs->worker = worker;
    mutex_unlock(&fs->lock);
}

static void prepare_worker(struct filesystem *fs)
{
    mutex_lock(&fs->lock);
    fs->worker_ended = false;
    fs->worker_ended_cleanly = false;
    fs->last_commit_failed = false;
    fs->is_full = false; /* it tells if it is */
    fs->wants_bucket = false;
    fs->bucket_due_ms = 0;
    fs->bucket_failed = false;
    fs->seen = (struct worker_status_reply){ .used = 0 };
    mutex_unlock(&fs->lock);
}

/* What it holds of keys and secrets is borrowed: encoding leaves it whose it is. */
static struct worker_message *start_message(struct filesystem *fs,
                                            const struct filesystem_spawn *spawn,
                                            const struct secret *store_settings)
{
    struct worker_message *message = calloc(1, sizeof(*message));
    const struct fs_record *record = &fs->record;

    if (!message)
        return NULL;
    message->type = WORKER_START;
    struct worker_start *start = &message->start;
    start->uuid = record->uuid;
    start->owner = record->owner;
    (void)snprintf(start->meta_url, sizeof(start->meta_url), "%s", record->meta_url);
    (void)snprintf(start->store_url, sizeof(start->store_url), "%s", record->store_url);
    start->capacity = record->capacity;
    start->cache_bytes = record->cache_bytes;
    start->block_size = FS_BLOCK_SIZE;
    start->uid = fs->control->worker_uid;
    start->gid = fs->control->worker_gid;
    start->keys = *spawn->keys;
    start->store_settings = *store_settings;
    start->has_origin = record->has_origin;
    memcpy(start->origin.manifest, record->origin.manifest, FS_MANIFEST_LEN);
    start->origin.fs = record->origin.fs;
    start->origin.reference = record->origin.reference;
    start->flags |= spawn->read_only ? WORKER_FLAG_READ_ONLY : 0;
    start->flags |= spawn->format ? WORKER_FLAG_FORMAT : 0;
    start->flags |= spawn->take_over ? WORKER_FLAG_TAKE_OVER : 0;
    start->flags |= spawn->salvage ? WORKER_FLAG_SALVAGE : 0;
    if (tasks_find(fs->control, &import_kind, &fs->record.uuid) == 0) /* nor can one begin now */
        start->flags |= WORKER_FLAG_DROP_ARRIVING;
    return message;
}

static int find_cache_folder(const struct filesystem *fs, struct worker_start *start,
                             struct error *err)
{
    char folder[PATH_MAX];

    if (start->store_settings.len == 0)
        return 0;
    memcpy(start->cache_folder, fs->record.cache_folder, sizeof(fs->record.cache_folder));
    if (start->cache_folder[0] != '\0')
        return 0;
    int r = filesystem_folder(fs->control, &fs->record.uuid, "", folder, err);
    if (r == 0)
        (void)snprintf(start->cache_folder, sizeof(start->cache_folder), "%s", folder);
    return r;
}

int filesystem_spawn(struct filesystem *filesystem, const struct filesystem_spawn *spawn,
                     struct worker **ret, struct error *err)
{
    CLEANUP(secret_release) struct secret store_settings = SECRET_INIT;
    int r = place_pack(filesystem->control, filesystem->record.store_url, &store_settings, err);
    CLEANUP(free_ptr)
    struct worker_message *message = start_message(filesystem, spawn, &store_settings);
    CLEANUP(free_ptr) struct worker_message *answer = calloc(1, sizeof(*answer));
    struct worker_watcher watcher = watcher_of(filesystem);
    struct worker *worker = NULL;
    char path[PATH_MAX], program[PATH_MAX];
    CLEANUP(close_fd) int bucket_fd = -1;

    if (r < 0)
        return r;
    (void)snprintf(program, sizeof(program), "%s%s", filesystem->control->worker_program,
                   store_settings.len > 0 ? "-s3" : "");
    if (!message || !answer)
        return error_set(err, -ENOMEM, "out of memory");
    r = find_cache_folder(filesystem, &message->start, err);
    if (r == 0)
        r = filesystem_socket_path(filesystem, path, err);
    if (r < 0)
        return r;
    r = download_session(filesystem->control, &filesystem->record, &bucket_fd, err);
    if (r < 0)
        return r;
    filesystem_end_orphan(filesystem);
    prepare_worker(filesystem);
    r = worker_spawn(program, path, &watcher, &worker, err);
    if (r < 0)
        return r;
    r = worker_ask(worker, message, bucket_fd, -1, answer, err);
    if (r < 0) {
        worker_discard(worker);
        return r;
    }
    worker_message_release(answer);
    *ret = worker;
    return 0;
}

/* A worker that an earlier cofferd left, if it still serves. */
static int reconnect(struct keeper *keeper, struct worker_status_reply *ret, struct error *err)
{
    struct filesystem *fs = keeper->fs;
    struct worker_watcher watcher = watcher_of(fs);
    struct worker *worker = NULL;
    char path[PATH_MAX];
    int r = filesystem_socket_path(fs, path, err);

    if (r < 0)
        return r;
    prepare_worker(fs);
    r = worker_connect(path, &watcher, &worker, err);
    if (r < 0)
        return r;
    r = worker_status(worker, RECONNECT_TIMEOUT_MS, ret, err);
    if (r == 0 && ret->is_started && uuid_equal(&ret->uuid, &fs->record.uuid)) {
        adopt_worker(keeper, worker);
        return 0;
    }
    worker_discard(worker); /* it never got its keys: of no use to anyone */
    return r < 0 ? r : -ENOENT;
}

static int start_new(struct keeper *keeper, bool *ret_is_kms, struct error *err)
{
    struct filesystem *fs = keeper->fs;
    struct key_set keys = { .count = 0 };
    struct worker *worker = NULL;
    int r = 0;

    *ret_is_kms = false;
    if (fs->record.phase == FS_PHASE_CREATING)
        r = filesystem_complete(fs, ret_is_kms, err);
    if (r == 0)
        r = filesystem_unlock(fs, true, &keys, ret_is_kms, err);
    mutex_lock(&fs->lock);
    struct filesystem_spawn spawn = { .keys = &keys,
                                      .take_over = fs->take_over,
                                      .salvage = fs->salvage };
    mutex_unlock(&fs->lock);
    if (r == 0)
        r = filesystem_spawn(fs, &spawn, &worker, err);
    key_set_release(&keys);
    if (r < 0)
        return r;
    adopt_worker(keeper, worker);
    mutex_lock(&fs->lock);
    fs->take_over = false;
    mutex_unlock(&fs->lock);
    return 0;
}

static void remember_started(struct filesystem *fs)
{
    struct error err = { .code = 0 };

    mutex_lock(&fs->lock);
    bool was_wanted = fs->record.is_wanted;
    fs->record.is_wanted = true;
    mutex_unlock(&fs->lock);
    if (!was_wanted && filesystem_save(fs, &err) < 0)
        events_add(&fs->control->events, LOG_LEVEL_ERROR, "registry", fs->record.name,
                   "it will not come back by itself after a restart: %s", err.text);
}

static struct remounting remounting_of(const struct fs_record *record)
{
    return (struct remounting){ .name = record->name,
                                .mountpoint = record->mountpoint,
                                .flags = record->mount_flags };
}

static int mount_record(struct filesystem *fs, bool *ret_is_mounted, struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    if (record->mountpoint[0] == '\0')
        return 0;
    const struct remounting remounting = remounting_of(record);
    int r = remount(&remounting, fs->worker, err);
    *ret_is_mounted = r == 0;
    return r;
}

/* Mounts where it was mounted before; failing that it stays started and says why. */
static void mount_again(struct filesystem *fs)
{
    struct error err = { .code = 0 };
    char text[512] = "";
    bool is_mounted = false;

    if (mount_record(fs, &is_mounted, &err) < 0) {
        (void)snprintf(text, sizeof(text), "cannot be mounted again: %.480s", err.text);
        events_add(&fs->control->events, LOG_LEVEL_ERROR, "mount-failed", fs->record.name, "%s",
                   text);
    }
    mutex_lock(&fs->lock);
    filesystem_move_locked(fs, is_mounted ? FS_MOUNTED : FS_STARTED, text);
    mutex_unlock(&fs->lock);
}

static int bring_up(struct keeper *keeper, bool *ret_is_kms, struct error *err)
{
    struct filesystem *fs = keeper->fs;
    struct worker_status_reply status;

    *ret_is_kms = false;
    mutex_lock(&fs->lock);
    audit_act_for(fs->starter); /* this attempt; those that follow are cofferd's own */
    fs->starter = (struct audit_actor){ .is_user = false };
    bool may_reconnect = fs->may_reconnect;
    fs->may_reconnect = false;
    filesystem_move_locked(fs, FS_STARTING, "");
    mutex_unlock(&fs->lock);

    struct error ignored = { .code = 0 };
    if (may_reconnect && reconnect(keeper, &status, &ignored) == 0) {
        mutex_lock(&fs->lock);
        fs->seen = status;
        fs->salvage = status.salvages;
        filesystem_move_locked(fs, status.is_mounted ? FS_MOUNTED : FS_STARTED, "");
        mutex_unlock(&fs->lock);
        events_add(&keeper->control->events, LOG_LEVEL_INFO, "worker-found", fs->record.name,
                   "the worker that runs was connected to%s",
                   worker_is_older(fs->worker) ? "; it is of an older version of coffer" : "");
        /* The cofferd before ended after it had started the worker anew, and before it mounted. */
        bool has_ended = false;
        if (snapshot_mounts_compare(fs, fs->worker, &has_ended, &ignored) < 0)
            log_warning("%s filesystem=%s", ignored.text, fs->record.name);
        if (has_ended)
            note_unmounted(fs);
        else if (!status.is_mounted)
            mount_again(fs);
        return 0;
    }
    int r = start_new(keeper, ret_is_kms, err);
    if (r < 0)
        return r;
    remember_started(fs);
    mount_again(fs);
    snapshot_mounts_again(fs);
    events_add(&keeper->control->events, LOG_LEVEL_INFO, "started", fs->record.name,
               "the filesystem is up");
    return 0;
}

/* Somebody wanted it to stop while there was no worker yet to be told. */
static void stop_if_wanted(struct filesystem *fs)
{
    struct error err = { .code = 0 };

    mutex_lock(&fs->lock);
    bool is_wanted = fs->stop_wanted && !fs->stop_is_told;
    fs->stop_is_told = fs->stop_is_told || is_wanted;
    mutex_unlock(&fs->lock);
    if (!is_wanted)
        return;
    (void)worker_stop(fs->worker, &err); /* who wanted it judges the answer */
    mutex_lock(&fs->lock);
    fs->stop_answer = err;
    fs->stop_is_answered = true;
    (void)pthread_cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
}

/* All of a downloaded filesystem is here: it starts without the bucket from now on. */
static void forget_origin(struct filesystem *fs) REQUIRES(fs->lock)
{
    struct error err = { .code = 0 };

    fs->is_downloaded = false;
    mutex_unlock(&fs->lock);
    if (download_forget_origin(fs, &err) < 0)
        events_add(&fs->control->events, LOG_LEVEL_ERROR, "registry", fs->record.name,
                   "the next start will ask for the object store again: %s", err.text);
    mutex_lock(&fs->lock);
}

/* What waits for the bucket goes on then. */
static void renew_bucket(struct filesystem *fs) REQUIRES(fs->lock)
{
    CLEANUP(worker_unrefp) struct worker *worker = worker_ref(fs->worker);
    struct error err = { .code = 0 };
    bool is_first = !fs->bucket_failed;

    fs->wants_bucket = false;
    mutex_unlock(&fs->lock);
    int r = download_renew_bucket(fs, worker, &err);
    if (r < 0 && r != -EPIPE && is_first)
        events_add(&fs->control->events, LOG_LEVEL_WARNING, "bucket-away", fs->record.name,
                   "%s; what is not here yet cannot be read, and it is tried again", err.text);
    mutex_lock(&fs->lock);
    fs->wants_bucket = fs->wants_bucket || r < 0;
    fs->bucket_failed = r < 0;
    fs->bucket_due_ms = clock_monotonic_ms() + BUCKET_PAUSE_MS;
}

static void wait_for_change(struct filesystem *fs) REQUIRES(fs->lock)
{
    if (fs->is_downloaded)
        forget_origin(fs);
    else if (fs->wants_bucket && fs->bucket_due_ms <= clock_monotonic_ms())
        renew_bucket(fs);
    else if (fs->wants_bucket)
        (void)filesystem_wait_locked(fs, fs->bucket_due_ms);
    else
        cond_wait(&fs->changed, &fs->lock);
}

/* Waits for the worker's end; true if it ended as it was meant to. */
static bool serve(struct keeper *keeper)
{
    struct filesystem *fs = keeper->fs;
    struct error err = { .code = 0 };

    mutex_lock(&fs->lock);
    fs->attempts++;
    fs->failure = 0;
    fs->is_first_try = false;
    (void)pthread_cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
    policies_wake(fs->control->policies, &fs->record.uuid);
    if (download_begin_task(fs, &err) < 0)
        events_add(&fs->control->events, LOG_LEVEL_WARNING, "task-failed", fs->record.name,
                   "nothing is downloaded in the background until it is started again: %s",
                   err.text);
    tasks_wake(fs->control, &fs->record.uuid);
    stop_if_wanted(fs);
    mutex_lock(&fs->lock);
    while (!fs->worker_ended && !is_shutting_down(keeper))
        wait_for_change(fs);
    bool is_clean = fs->worker_ended_cleanly || fs->stop_wanted;
    mutex_unlock(&fs->lock);
    return is_clean;
}

static void drop_worker(struct keeper *keeper, char how[static WORKER_HOW_SIZE])
{
    struct filesystem *fs = keeper->fs;

    mutex_lock(&fs->lock);
    struct worker *worker = TAKE(fs->worker);
    mutex_unlock(&fs->lock);
    worker_disconnect(worker);
    if (!is_shutting_down(keeper) && worker_wait_gone(worker, GONE_PATIENCE_MS, how) < 0)
        events_add(&keeper->control->events, LOG_LEVEL_ERROR, "worker-stuck", fs->record.name,
                   "the worker does not end; the host may have to be restarted");
    worker_unref(worker);
}

static void report_death(struct keeper *keeper, const char *how)
{
    struct filesystem *fs = keeper->fs;
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    struct error err = { .code = 0 };

    events_add(&keeper->control->events, LOG_LEVEL_ERROR, "worker-died", fs->record.name,
               "the worker ended unexpectedly (%s); its mount is gone, it is started again", how);
    struct remounting remounting = record ? remounting_of(record) : (struct remounting){ 0 };
    if (record && record->mountpoint[0] != '\0' && remount_clear(&remounting, &err) < 0)
        events_add(&keeper->control->events, LOG_LEVEL_WARNING, "mount-stuck", fs->record.name,
                   "%s", err.text);
    snapshot_mounts_clear(fs);
    mutex_lock(&fs->lock);
    fs->seen = (struct worker_status_reply){ .used = 0 };
    filesystem_move_locked(fs, FS_FAILED, "its worker ended unexpectedly; it is started again");
    mutex_unlock(&fs->lock);
}

/* Doubles from one failure in a row to the next, with up to a quarter more by chance, so that
 * many filesystems do not ask a returning key server all at once. */
static int64_t pause_ms(unsigned failures, int code)
{
    uint16_t chance;
    int64_t pause = PAUSE_FIRST_MS;

    random_bytes(&chance, sizeof(chance));
    for (unsigned i = 1; i < failures && pause < PAUSE_MAX_MS; i++)
        pause *= 2;
    if (pause > PAUSE_MAX_MS)
        pause = PAUSE_MAX_MS;
    if (code != -EAGAIN && code != 0 && failures > 3)
        pause = PAUSE_REFUSED_MS;
    return pause + pause * chance / (4 * (int64_t)UINT16_MAX);
}

/* False: it is not to be tried again. */
static bool pause_after_failure(struct keeper *keeper, int code)
{
    struct filesystem *fs = keeper->fs;

    mutex_lock(&fs->lock);
    int64_t until = clock_monotonic_ms() + pause_ms(keeper->failures, code);
    while (!fs->retry_now && !fs->stop_wanted && !is_shutting_down(keeper))
        if (!filesystem_wait_locked(fs, until))
            break;
    fs->retry_now = false;
    bool go_on = !fs->stop_wanted && !is_shutting_down(keeper);
    mutex_unlock(&fs->lock);
    return go_on;
}

/* Notes why it did not come up; false if it is not to be tried again. */
static bool note_failure(struct keeper *keeper, int code, bool is_kms, const struct error *err)
{
    struct filesystem *fs = keeper->fs;
    char text[512];

    (void)snprintf(text, sizeof(text), "%.511s", err->text);
    keeper->failures++;
    mutex_lock(&fs->lock);
    fs->attempts++;
    fs->failure = code;
    bool is_over = fs->is_first_try || fs->stop_wanted;
    enum fs_state next = is_kms ? FS_WAITING_FOR_KMS : FS_FAILED;
    if (!is_over)
        filesystem_move_locked(fs, next, text);
    else
        (void)snprintf(fs->status_text, sizeof(fs->status_text), "%s", text);
    (void)pthread_cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
    if (is_over || keeper->failures == 1)
        events_add(&keeper->control->events, LOG_LEVEL_ERROR,
                   is_kms ? "waiting-for-kms" : "start-failed", fs->record.name, "%s", text);
    return !is_over;
}

/* One life of the filesystem. True: another one follows. */
static bool live(struct keeper *keeper)
{
    struct filesystem *fs = keeper->fs;
    struct error err = { .code = 0 };
    char how[WORKER_HOW_SIZE] = "";
    bool is_kms = false;
    int r = bring_up(keeper, &is_kms, &err);

    if (r < 0)
        return note_failure(keeper, r, is_kms, &err) && pause_after_failure(keeper, r);

    int64_t began = clock_monotonic_ms();
    bool is_clean = serve(keeper);
    drop_worker(keeper, how);
    if (is_shutting_down(keeper) || is_clean)
        return false;
    report_death(keeper, how);
    if (clock_monotonic_ms() - began > LIFE_GOOD_MS)
        keeper->failures = 0;
    bool is_first = keeper->failures++ == 0;
    mutex_lock(&fs->lock);
    bool stop_wanted = fs->stop_wanted;
    mutex_unlock(&fs->lock);
    return !stop_wanted && (is_first || pause_after_failure(keeper, 0));
}

/* It is stopped, by whom it may be: it does not come back by itself. */
static void finish(struct keeper *keeper)
{
    struct filesystem *fs = keeper->fs;
    struct error err = { .code = 0 };

    if (!is_shutting_down(keeper)) {
        mutex_lock(&fs->lock);
        fs->record.is_wanted = false;
        fs->record.mountpoint[0] = '\0';
        mutex_unlock(&fs->lock);
        if (filesystem_save(fs, &err) < 0)
            events_add(&keeper->control->events, LOG_LEVEL_ERROR, "registry", fs->record.name,
                       "it will be started again after a restart: %s", err.text);
        snapshot_mounts_forget(fs);
    }
    mutex_lock(&fs->lock);
    char text[512];
    (void)snprintf(text, sizeof(text), "%s", fs->failure < 0 ? fs->status_text : "");
    if (fs->stop_wanted)
        text[0] = '\0';
    fs->has_keeper = false;
    fs->stop_wanted = false;
    fs->is_first_try = false;
    fs->saw_write_lost = false; /* what was lost is lost; the next start is another beginning */
    fs->seen = (struct worker_status_reply){ .used = 0 };
    filesystem_move_locked(fs, FS_STOPPED, text);
    mutex_unlock(&fs->lock);
}

static void keep(void *arg)
{
    struct filesystem *fs = arg;
    struct keeper keeper = { .fs = fs, .control = fs->control };

    while (live(&keeper))
        ;
    finish(&keeper);
    filesystem_unref(fs);
}

int filesystem_keep(struct filesystem *filesystem, struct error *err)
{
    struct control *control = filesystem->control;

    mutex_lock(&control->lock);
    filesystem->references++;
    mutex_unlock(&control->lock);
    int r = thread_group_start(&control->keepers, 0, keep, filesystem);
    if (r == 0)
        return 0;

    mutex_lock(&filesystem->lock);
    filesystem->has_keeper = false;
    filesystem_move_locked(filesystem, FS_STOPPED, "");
    mutex_unlock(&filesystem->lock);
    filesystem_unref(filesystem);
    return error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r));
}
