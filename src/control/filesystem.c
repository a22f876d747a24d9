#include "control/filesystem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control/snapshot_mount.h"
#include "control/tasks.h"

#define STATUS_PATIENCE_MS 2000

int control_step(struct control *control, enum control_step step)
{
    return control->on_step ? control->on_step(step, control->step_arg) : 0;
}

static struct filesystem *find_locked(struct control *control, const char *name)
    REQUIRES(control->lock)
{
    for (struct filesystem *fs = control->filesystems; fs; fs = fs->next)
        if (fs->is_listed && strcmp(fs->record.name, name) == 0)
            return fs;
    return NULL;
}

struct filesystem *filesystem_find(struct control *control, const char *name, struct error *err)
{
    mutex_lock(&control->lock);
    struct filesystem *fs = find_locked(control, name);
    if (fs)
        fs->references++;
    mutex_unlock(&control->lock);
    if (!fs)
        (void)error_set(err, -ENOENT, "there is no filesystem '%s'; 'coffer fs' lists them", name);
    return fs;
}

struct filesystem *filesystem_find_uuid(struct control *control, const struct uuid *uuid)
{
    mutex_lock(&control->lock);
    struct filesystem *fs = control->filesystems;
    while (fs && !(fs->is_listed && uuid_equal(&fs->record.uuid, uuid)))
        fs = fs->next;
    if (fs)
        fs->references++;
    mutex_unlock(&control->lock);
    return fs;
}

static void filesystem_free(struct filesystem *filesystem)
{
    worker_unref(filesystem->worker);
    snapshot_mounts_free(filesystem);
    (void)pthread_cond_destroy(&filesystem->changed);
    free(filesystem);
}

static void unchain_locked(struct control *control, const struct filesystem *filesystem)
    REQUIRES(control->lock)
{
    struct filesystem **link = &control->filesystems;

    while (*link != filesystem)
        link = &(*link)->next;
    *link = filesystem->next;
}

struct filesystem *filesystem_ref(struct filesystem *filesystem)
{
    mutex_lock(&filesystem->control->lock);
    filesystem->references++;
    mutex_unlock(&filesystem->control->lock);
    return filesystem;
}

void filesystem_unref(struct filesystem *filesystem)
{
    struct control *control = filesystem->control;

    mutex_lock(&control->lock);
    bool is_last = --filesystem->references == 0;
    if (is_last)
        unchain_locked(control, filesystem);
    mutex_unlock(&control->lock);
    if (is_last)
        filesystem_free(filesystem);
}

/* uuid: NULL, or not to be of one that is listed. */
static int expect_new_locked(const struct control *control, const char *name,
                             const struct uuid *uuid, struct error *err) REQUIRES(control->lock)
{
    for (const struct filesystem *other = control->filesystems; other; other = other->next) {
        if (!other->is_listed)
            continue;
        if (strcmp(other->record.name, name) == 0)
            return error_set(err, -EEXIST, "there is already a filesystem '%s'", name);
        if (uuid && uuid_equal(&other->record.uuid, uuid))
            return error_set(err, -EEXIST, "this filesystem is already here, as '%s'",
                             other->record.name);
    }
    return 0;
}

int filesystem_expect_new(struct control *control, const char *name, struct error *err)
{
    mutex_lock(&control->lock);
    int r = expect_new_locked(control, name, NULL, err);
    mutex_unlock(&control->lock);
    return r;
}

int filesystem_list(struct control *control, const struct fs_record *record,
                    struct filesystem **ret, struct error *err)
{
    struct filesystem *fs = calloc(1, sizeof(*fs));

    if (!fs)
        return error_set(err, -ENOMEM, "out of memory");
    fs->control = control;
    fs->snapshots = MUTEX_INIT;
    fs->saving = MUTEX_INIT;
    fs->lock = MUTEX_INIT;
    (void)pthread_cond_init(&fs->changed, NULL);
    fs->record = *record;
    fs->is_busy = true;
    fs->is_listed = true;
    fs->references = 2; /* the list's and the caller's */

    mutex_lock(&control->lock);
    int r = expect_new_locked(control, record->name, &record->uuid, err);
    if (r == 0) {
        fs->next = control->filesystems;
        control->filesystems = fs;
    }
    mutex_unlock(&control->lock);
    if (r < 0) {
        filesystem_free(fs);
        return r;
    }
    *ret = fs;
    return 0;
}

void filesystem_unlist(struct filesystem *filesystem)
{
    struct control *control = filesystem->control;

    mutex_lock(&control->lock);
    bool was_listed = filesystem->is_listed;
    filesystem->is_listed = false;
    mutex_unlock(&control->lock);
    if (was_listed)
        filesystem_unref(filesystem);
}

int filesystem_acquire(struct filesystem *filesystem, const char *what, struct error *err)
{
    mutex_lock(&filesystem->lock);
    int r = filesystem_wait_left_locked(filesystem, err);
    if (r == 0 && filesystem->is_busy)
        r = error_set(err, -EBUSY, "filesystem %s %s; try again later", filesystem->record.name,
                      filesystem->status_text);
    else if (r == 0 && (filesystem->has_keeper || filesystem->state != FS_STOPPED))
        r = error_set(err, -EBUSY, "filesystem %s is %s; 'coffer fs umount %s' stops it",
                      filesystem->record.name, fs_state_name(filesystem->state),
                      filesystem->record.name);
    if (r == 0) {
        filesystem->is_busy = true;
        (void)snprintf(filesystem->status_text, sizeof(filesystem->status_text), "%s", what);
    }
    mutex_unlock(&filesystem->lock);
    return r;
}

void filesystem_release(struct filesystem *filesystem, const char *status_text)
{
    mutex_lock(&filesystem->lock);
    filesystem->is_busy = false;
    filesystem_move_locked(filesystem, FS_STOPPED, status_text);
    mutex_unlock(&filesystem->lock);
}

void filesystem_hold_rings(struct filesystem *filesystem)
{
    mutex_lock(&filesystem->lock);
    while (filesystem->are_rings_held)
        cond_wait(&filesystem->changed, &filesystem->lock);
    filesystem->are_rings_held = true;
    mutex_unlock(&filesystem->lock);
}

void filesystem_let_rings(struct filesystem *filesystem)
{
    mutex_lock(&filesystem->lock);
    filesystem->are_rings_held = false;
    (void)pthread_cond_broadcast(&filesystem->changed);
    mutex_unlock(&filesystem->lock);
}

int filesystem_learn(struct filesystem *filesystem, const struct fs_record *record,
                     const struct wrapped_key *newest, struct error *err)
{
    mutex_lock(&filesystem->lock);
    bool is_new = filesystem->record.check_count != record->check_count;
    filesystem->record.check_count = record->check_count;
    for (uint32_t i = 0; i < record->check_count; i++)
        filesystem->record.checks[i] = record->checks[i];
    if (newest)
        filesystem->wrapped = *newest;
    mutex_unlock(&filesystem->lock);
    return is_new ? filesystem_save(filesystem, err) : 0;
}

void filesystem_move_locked(struct filesystem *filesystem, enum fs_state state,
                            const char *status_text)
{
    assert(fs_state_allows(filesystem->state, state));
    filesystem->state = state;
    (void)snprintf(filesystem->status_text, sizeof(filesystem->status_text), "%s", status_text);
    (void)pthread_cond_broadcast(&filesystem->changed);
}

struct fs_record *filesystem_copy_record(struct filesystem *filesystem)
{
    struct fs_record *copy = malloc(sizeof(*copy));

    mutex_lock(&filesystem->lock);
    if (copy)
        *copy = filesystem->record;
    mutex_unlock(&filesystem->lock);
    return copy;
}

void filesystem_take_record(struct filesystem *filesystem, const struct fs_record *record,
                            const struct wrapped_key *newest)
{
    mutex_lock(&filesystem->lock);
    filesystem->record = *record;
    if (newest)
        filesystem->wrapped = *newest;
    mutex_unlock(&filesystem->lock);
}

int filesystem_save(struct filesystem *filesystem, struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = malloc(sizeof(*record));

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    mutex_lock(&filesystem->saving);
    mutex_lock(&filesystem->lock);
    *record = filesystem->record;
    mutex_unlock(&filesystem->lock);
    int r = registry_put(filesystem->control->registry, record, (struct bytes){ .len = 0 }, err);
    mutex_unlock(&filesystem->saving);
    return r;
}

bool filesystem_wait_locked(struct filesystem *filesystem, int64_t until_ms)
{
    return cond_wait_until(&filesystem->changed, &filesystem->lock, until_ms);
}

int filesystem_socket_path(const struct filesystem *filesystem, char ret[static PATH_MAX],
                           struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    uuid_format(&filesystem->record.uuid, uuid);
    if (snprintf(ret, PATH_MAX, "%s/run/%s.sock", filesystem->control->state_dir, uuid) >= PATH_MAX)
        return error_set(err, -ENAMETOOLONG, "the state folder's path is too long");
    return 0;
}

static bool is_mounted_read_only(const struct filesystem *filesystem) REQUIRES(filesystem->lock)
{
    return filesystem->state == FS_MOUNTED && (filesystem->record.mount_flags & MS_RDONLY);
}

bool filesystem_has_older_worker(const struct filesystem *filesystem)
{
    return filesystem->worker && fs_state_has_worker(filesystem->state) &&
           worker_is_older(filesystem->worker);
}

static void view_lacking_locked(const struct filesystem *filesystem, struct fs_view *ret)
    REQUIRES(filesystem->lock)
{
    const char *text = filesystem->missing_text;

    if (!filesystem->record.lacks_keys)
        return;
    (void)snprintf(ret->lacking, sizeof(ret->lacking), "%s",
                   text[0] ? text : "the KMS refuses keys of other filesystems");
    if (ret->status_text[0] == '\0')
        (void)snprintf(ret->status_text, sizeof(ret->status_text),
                       "some data that came from other filesystems cannot be read: %.440s",
                       ret->lacking);
}

static void view_locked(const struct filesystem *filesystem, struct fs_view *ret)
    REQUIRES(filesystem->lock)
{
    const struct fs_record *record = &filesystem->record;

    *ret = (struct fs_view){
        .uuid = record->uuid,
        .state = filesystem->state,
        .capacity = record->capacity,
        .created_ns = record->created_ns,
        .used = filesystem->seen.used,
        .free = filesystem->seen.free,
        .is_read_only = filesystem->seen.is_read_only || is_mounted_read_only(filesystem),
        .has_older_worker = filesystem_has_older_worker(filesystem),
        .kms_key_version = filesystem->wrapped.key_version,
        .kms_cipher_mode = filesystem->wrapped.mode,
        .cache_bytes = record->cache_bytes,
        .cache_used = filesystem->seen.cache_used,
        .cache_hits = filesystem->seen.cache_hits,
        .cache_misses = filesystem->seen.cache_misses,
    };
    memcpy(ret->name, record->name, sizeof(ret->name));
    memcpy(ret->status_text, filesystem->status_text, sizeof(ret->status_text));
    if (filesystem->seen.is_read_only && ret->status_text[0] == '\0')
        (void)snprintf(
            ret->status_text, sizeof(ret->status_text), "%s",
            filesystem->salvage
                ? "read-only, to salvage files (--salvage): copy them into another "
                  "filesystem, and do not write to this one again"
                : "read-only: the store knows a later state, or another owner; find out which "
                  "copy is right, and mount with --take-over to go on with this one");
    view_lacking_locked(filesystem, ret);
    memcpy(ret->store_url, record->store_url, sizeof(ret->store_url));
    memcpy(ret->meta_url, record->meta_url, sizeof(ret->meta_url));
    memcpy(ret->cache_folder, record->cache_folder, sizeof(ret->cache_folder));
    memcpy(ret->kms_type, filesystem->wrapped.provider, sizeof(ret->kms_type));
    memcpy(ret->kms_key, filesystem->wrapped.key_name, sizeof(ret->kms_key));
    memcpy(ret->kms_namespace, filesystem->wrapped.kms_namespace, sizeof(ret->kms_namespace));
    ret->has_own_kms_key = fs_record_has_own_key(record);
    memcpy(ret->kms_role, record->own.role_id, sizeof(ret->kms_role));
    if (record->has_origin) {
        (void)snprintf(ret->origin_store, sizeof(ret->origin_store), "%s", record->origin.store);
        ret->has_origin_left = filesystem->seen.has_origin;
        ret->origin_data = filesystem->seen.origin_data;
        ret->origin_data_left = filesystem->seen.origin_data_left;
    }
    if (filesystem->state == FS_MOUNTED)
        memcpy(ret->mounted_at, record->mountpoint, sizeof(ret->mounted_at));
}

/* Asks the worker how full it is, briefly; keeps the last answer if it is slow. */
static void refresh_seen(struct filesystem *filesystem)
{
    CLEANUP(worker_unrefp) struct worker *worker = NULL;
    struct worker_status_reply seen;

    mutex_lock(&filesystem->lock);
    if (filesystem->worker && fs_state_has_worker(filesystem->state))
        worker = worker_ref(filesystem->worker);
    mutex_unlock(&filesystem->lock);
    if (!worker || worker_status(worker, STATUS_PATIENCE_MS, &seen, NULL) < 0)
        return;
    mutex_lock(&filesystem->lock);
    if (filesystem->worker == worker)
        filesystem->seen = seen;
    mutex_unlock(&filesystem->lock);
}

void filesystem_wake(struct filesystem *filesystem)
{
    mutex_lock(&filesystem->lock);
    filesystem->retry_now = filesystem->has_keeper;
    (void)pthread_cond_broadcast(&filesystem->changed);
    mutex_unlock(&filesystem->lock);
}

void filesystem_view(struct filesystem *filesystem, struct fs_view *ret)
{
    refresh_seen(filesystem);
    mutex_lock(&filesystem->lock);
    view_locked(filesystem, ret);
    mutex_unlock(&filesystem->lock);
    if (ret->origin_store[0] != '\0')
        ret->origin_task =
            tasks_find(filesystem->control, &download_kind, &filesystem->record.uuid);
}

int control_get(struct control *control, const char *name, struct fs_view *ret, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);

    if (!fs)
        return -ENOENT;
    filesystem_view(fs, ret);
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct fs_view *)a)->name, ((const struct fs_view *)b)->name);
}

int filesystem_take_all(struct control *control, struct filesystem ***ret, size_t *ret_count,
                        struct error *err)
{
    size_t count = 0;

    mutex_lock(&control->lock);
    for (struct filesystem *fs = control->filesystems; fs; fs = fs->next)
        count += fs->is_listed;
    struct filesystem **all = calloc(count + 1, sizeof(struct filesystem *));
    size_t taken = 0;
    for (struct filesystem *fs = control->filesystems; fs && all; fs = fs->next) {
        if (!fs->is_listed)
            continue;
        fs->references++;
        all[taken++] = fs;
    }
    mutex_unlock(&control->lock);
    if (!all)
        return error_set(err, -ENOMEM, "out of memory");
    *ret = all;
    *ret_count = count;
    return 0;
}

void filesystem_unref_all(struct filesystem **all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        filesystem_unref(all[i]);
    free(all);
}

int control_each(struct control *control, control_each_fn *visit, void *arg, struct error *err)
{
    CLEANUP(free_ptr) struct filesystem **all = NULL;
    size_t count = 0;
    int r = filesystem_take_all(control, &all, &count, err);

    for (size_t i = 0; i < count; i++) {
        if (r == 0)
            r = visit(all[i], arg, err);
        filesystem_unref(all[i]);
    }
    return r;
}

struct list_arg {
    struct fs_view *views;
    size_t count;
};

static int list_one(struct filesystem *filesystem, void *arg, struct error *err)
{
    struct list_arg *list = arg;
    struct fs_view *grown = realloc(list->views, (list->count + 1) * sizeof(*grown));

    if (!grown)
        return error_set(err, -ENOMEM, "out of memory");
    list->views = grown;
    filesystem_view(filesystem, &list->views[list->count++]);
    return 0;
}

int control_list(struct control *control, struct fs_view **ret, size_t *ret_count,
                 struct error *err)
{
    struct list_arg list = { .count = 0 };
    int r = control_each(control, list_one, &list, err);

    if (r < 0) {
        free(list.views);
        return r;
    }
    if (list.count > 1)
        qsort(list.views, list.count, sizeof(*list.views), compare_names);
    *ret = list.views;
    *ret_count = list.count;
    return 0;
}
