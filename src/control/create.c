/* create.c - how a filesystem comes into being.
 *
 * Adding, each step durable before the next:
 *   1 draw the key, have it wrapped, have it unwrapped again and compare     nothing is stored
 *   2 a login of its own into the credentials, then record (creating) and
 *     ring into the registry                                                 it can be completed
 *   3 the folders of store and metadata
 *   4 the ring into the store
 *   5 a worker formats: superblock last
 *   6 the name and chunk keys, which the format drew, into the ring; record (ready)
 * A failure undoes all of it. A crash after 2 leaves a filesystem that a start completes from 3
 * on, each step of which may be done twice, or that can be removed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "control/download.h"
#include "control/filesystem.h"
#include "control/object_stores.h"
#include "control/own_key.h"
#include "control/rings.h"
#include "crypto/random.h"
#include "host/sandbox.h"
#include "keyring/key_blob.h"
#include "store/layers/cache.h"
#include "store/object_store.h"

#define FIRST_GENERATION 1u

int filesystem_set_url(char *to, const char *given, const char *scheme, const char *what,
                       struct error *err)
{
    size_t len = strlen(scheme);

    if (strncmp(given, scheme, len) != 0 || given[len] != '/')
        return error_set(err, -EINVAL, "the %s '%s' is not of the form %s/absolute/folder", what,
                         given, scheme);
    if (snprintf(to, FS_URL_SIZE, "%s", given) >= (int)FS_URL_SIZE)
        return error_set(err, -ENAMETOOLONG, "the %s's URL is too long", what);
    return 0;
}

int filesystem_default_url(const struct control *control, const struct uuid *uuid,
                           const char *scheme, const char *part, char *to, struct error *err)
{
    char folder[PATH_MAX];
    int r = filesystem_folder(control, uuid, part, folder, err);

    if (r < 0)
        return r;
    if (snprintf(to, FS_URL_SIZE, "%s%s", scheme, folder) >= (int)FS_URL_SIZE)
        return error_set(err, -ENAMETOOLONG, "the state folder's path is too long");
    return 0;
}

int filesystem_check_capacity(uint64_t bytes, struct error *err)
{
    return bytes != 0 && bytes < FS_CAPACITY_MIN
               ? error_set(err, -EINVAL, "a capacity is at least 1 GiB")
               : 0;
}

int filesystem_check_cache(uint64_t bytes, struct error *err)
{
    return bytes == 0 || (bytes >= FS_CACHE_MIN && bytes <= INT64_MAX)
               ? 0
               : error_set(err, -EINVAL, "a cache is at least 16 MiB, or 0: none");
}

/* A folder that is given is looked at now: later it would only be told in an event. */
static int set_cache(const struct fs_add *add, struct fs_record *record, struct error *err)
{
    bool is_in_bucket = place_is_s3(record->store_url);
    int fd = -1;

    record->cache_bytes = is_in_bucket ? FS_CACHE_DEFAULT : 0;
    if (!add->cache_bytes && !add->cache_folder)
        return 0;
    if (!is_in_bucket)
        return error_set(err, -EINVAL, "a cache is for a filesystem whose store is a bucket");
    if (add->cache_bytes)
        record->cache_bytes = *add->cache_bytes;
    int r = filesystem_check_cache(record->cache_bytes, err);
    if (r < 0 || !add->cache_folder)
        return r;
    if (add->cache_folder[0] != '/' || strlen(add->cache_folder) >= sizeof(record->cache_folder))
        return error_set(err, -EINVAL, "the cache's folder '%.128s' is not an absolute path",
                         add->cache_folder);
    r = cache_file_open(add->cache_folder, &fd, err);
    if (r == 0)
        (void)close(fd);
    memcpy(record->cache_folder, add->cache_folder, strlen(add->cache_folder) + 1);
    return r;
}

static int new_record(const struct control *control, const struct fs_add *add,
                      struct fs_record *ret, struct error *err)
{
    int r = fs_name_check(add->name, err);

    if (r < 0)
        return r;
    r = filesystem_check_capacity(add->capacity, err);
    if (r < 0)
        return r;
    *ret = (struct fs_record){ .phase = FS_PHASE_CREATING,
                               .capacity = add->capacity,
                               .created_ns = (uint64_t)clock_wall_ns(),
                               .has_own_store = !add->store_url,
                               .has_own_meta = !add->meta_url };
    (void)snprintf(ret->name, sizeof(ret->name), "%s", add->name);
    r = own_key_change(&add->kms, &ret->own, err);
    if (r < 0)
        return r;
    random_uuid(&ret->uuid);
    registry_instance(control->registry, &ret->owner);
    if (add->store_url && place_is_s3(add->store_url))
        r = place_name(add->store_url, &ret->uuid, ret->store_url, sizeof(ret->store_url), err);
    else if (add->store_url)
        r = filesystem_set_url(ret->store_url, add->store_url, "dir:", "store", err);
    else
        r = filesystem_default_url(control, &ret->uuid, "dir:", "/store", ret->store_url, err);
    if (r == 0)
        r = set_cache(add, ret, err);
    if (r < 0)
        return r;
    return add->meta_url
               ? filesystem_set_url(ret->meta_url, add->meta_url, "lmdb:", "metadata", err)
               : filesystem_default_url(control, &ret->uuid, "lmdb:", "/meta", ret->meta_url, err);
}

/* The key server, or, where the caller allows that there is none, a local key. */
static int open_wrapper(struct control *control, const struct fs_record *record,
                        const struct fs_add *add, struct key_provider **ret, bool *ret_is_local,
                        struct error *err)
{
    char text[UUID_TEXT_SIZE];
    int r = kms_provider_for(control->kms, &record->own, add->kms.secret_id, ret, err);

    *ret_is_local = r == -ENOKEY && add->allow_no_kms && !fs_record_has_own_key(record);
    if (*ret_is_local) {
        uuid_format(&record->uuid, text);
        return kms_local_provider(control->kms, text, true, ret, err);
    }
    if (r == -ENOKEY)
        return error_set(err, r,
                         "no KMS is configured, and without one the filesystem's key would lie "
                         "in a file on this host; set one with 'coffer security kms set', or "
                         "accept that with --allow-no-kms");
    return r;
}

int create_wrap(struct key_provider *provider, const struct secret *blob, struct wrapped_key *ret,
                struct error *err)
{
    CLEANUP(secret_release) struct secret back = SECRET_INIT;
    int r = key_provider_wrap(provider, secret_bytes(blob), ret, err);

    if (r == 0)
        r = key_provider_unwrap(provider, ret, 1, &back, err);
    if (r == 0 && !secret_equal(secret_bytes(blob), secret_bytes(&back)))
        r = error_set(err, -EPROTO,
                      "the KMS unwrapped something else than it had wrapped; nothing was changed");
    return r;
}

static int new_ring(struct control *control, struct key_provider *provider,
                    const struct downloading *from, struct fs_record *record,
                    struct rings_opened *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(secret_release) struct secret blob = SECRET_INIT;
    CLEANUP(free_ptr) struct wrapped_key *wrapped = calloc(1, sizeof(*wrapped));
    int r = secret_new(&key, FS_KEY_LEN);

    if (r < 0 || !wrapped)
        return error_set(err, -ENOMEM, "out of secret memory");
    random_bytes(key.data, key.len);
    r = key_blob_encode(&record->uuid, FIRST_GENERATION, &key, &blob, err);
    if (r == 0)
        r = create_wrap(provider, &blob, wrapped, err);
    if (r < 0)
        return r;
    /* A local key is one file for each filesystem; the ring names which. */
    if (strcmp(wrapped->provider, "local") == 0)
        uuid_format(&record->uuid, wrapped->key_name);
    struct key_generation_new generation = { .number = FIRST_GENERATION,
                                             .key = &key,
                                             .wrapped = wrapped,
                                             .now_ns = (uint64_t)clock_wall_ns() };
    key_ring_init(&ret->ring, &record->uuid);
    r = key_ring_add(&ret->ring, &generation, err);
    if (r == 0 && (r = key_set_add(&ret->keys, FIRST_GENERATION, &key)) < 0)
        (void)error_set(err, r, "out of secret memory");
    if (r == 0 && from)
        r = downloading_inherit(from, provider, ret, err);
    if (r == 0)
        r = key_ring_encode(&ret->ring, &ret->keys, &ret->encoded, err);
    if (r == 0)
        rings_learn(&ret->ring, record);
    return r < 0 ? r : control_step(control, STEP_ADD_KEY_PROVED);
}

/* Makes the folder and gives it to whom the worker becomes. */
static int make_folder(const struct control *control, const char *url, struct error *err)
{
    const char *folder = filesystem_url_folder(url);

    if (place_is_s3(url))
        return 0;
    if (geteuid() == 0)
        return sandbox_give_folder(folder, control->worker_uid, control->worker_gid, err);
    return folder_make(folder, 0700, err);
}

static int is_not_dot(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* That it can be used: nothing can be in the part of a filesystem that is new. */
static int check_s3_place(struct control *control, const char *url, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    struct error why = { .code = 0 };
    uint64_t size;
    int r = place_open(control, url, &store, err);

    if (r < 0)
        return r;
    r = object_store_stat(store, SUPERBLOCK_OBJECT, &size, &why);
    if (r == 0)
        return error_set(err, -ENOTEMPTY, "%s holds a filesystem already", url);
    return r == -ENOENT ? 0 : error_set(err, r, "%s", why.text);
}

/* A place that is given must be empty: what is there is somebody's, and a removal of the
 * filesystem must not take it along. */
static int check_place(struct control *control, const char *url, struct error *err)
{
    const char *folder = filesystem_url_folder(url);
    struct dirent **entries = NULL;

    if (place_is_s3(url))
        return check_s3_place(control, url, err);
    int count = scandir(folder, &entries, is_not_dot, NULL);

    if (count < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(err, -errno, "cannot read %s: %s", folder, strerrordesc_np(errno));
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return count == 0 ? 0
                      : error_set(err, -ENOTEMPTY,
                                  "%s is not empty; give an empty folder, or bring a filesystem "
                                  "that is there back with 'coffer fs adopt'",
                                  folder);
}

static int store_ring(struct control *control, const struct fs_record *record, struct bytes ring,
                      struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    int r = place_open(control, record->store_url, &store, err);

    return r < 0 ? r : object_store_replace(store, KEY_RING_OBJECT, ring, err);
}

static int read_superblock(struct control *control, const struct fs_record *record,
                           const struct key_set *keys, struct superblock *ret, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    int r = place_open(control, record->store_url, &store, err);

    if (r == 0)
        r = object_store_get(store, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX, &encoded, err);
    return r < 0 ? r : superblock_decode(buf_bytes(&encoded), keys, ret, err);
}

/* Has a worker format, unless that was done before the crash. */
static int format(struct filesystem *fs, struct rings_opened *opened, struct error *err)
{
    struct filesystem_spawn spawn = { .keys = &opened->keys, .format = true };
    struct worker *worker = NULL;

    if (read_superblock(fs->control, &fs->record, &opened->keys, &opened->superblock, NULL) == 0)
        return 0;
    int r = filesystem_spawn(fs, &spawn, &worker, err);
    if (r == 0)
        r = filesystem_end_worker(worker, err);
    return r < 0
               ? r
               : read_superblock(fs->control, &fs->record, &opened->keys, &opened->superblock, err);
}

static int set_names(struct rings_opened *opened, struct error *err)
{
    struct key_generation *generation = key_ring_find(&opened->ring, NULL, FIRST_GENERATION);
    const struct secret *key = key_set_find(&opened->keys, FIRST_GENERATION);

    if (!generation || !key)
        return error_set(err, -EBADMSG, "the new key ring has no first generation");
    return key_generation_set_names(generation, key, &opened->superblock.name_key,
                                    &opened->superblock.chunk_key, err);
}

/* Steps 3 to 6. */
static int finish_creating(struct filesystem *fs, struct rings_opened *opened, struct error *err)
{
    struct control *control = fs->control;
    CLEANUP(buf_release) struct buf final = BUF_INIT;
    int r = make_folder(control, fs->record.store_url, err);

    if (r == 0)
        r = make_folder(control, fs->record.meta_url, err);
    if (r == 0)
        r = control_step(control, STEP_ADD_FOLDERS);
    if (r == 0)
        r = store_ring(control, &fs->record, buf_bytes(&opened->encoded), err);
    if (r == 0)
        r = control_step(control, STEP_ADD_RING_STORED);
    if (r == 0)
        r = format(fs, opened, err);
    if (r == 0)
        r = control_step(control, STEP_ADD_FORMATTED);
    if (r == 0)
        r = set_names(opened, err);
    if (r == 0)
        r = key_ring_encode(&opened->ring, &opened->keys, &final, err);
    if (r < 0)
        return r;
    mutex_lock(&fs->lock);
    fs->record.phase = FS_PHASE_READY;
    if (rings_newest(&opened->ring))
        fs->wrapped = *rings_newest(&opened->ring);
    mutex_unlock(&fs->lock);
    r = registry_put(control->registry, &fs->record, buf_bytes(&final), err);
    if (r == 0)
        r = control_step(control, STEP_ADD_READY);
    return r < 0 ? r : store_ring(control, &fs->record, buf_bytes(&final), err);
}

int filesystem_complete(struct filesystem *filesystem, bool *ret_is_kms, struct error *err)
{
    CLEANUP(rings_opened_release) struct rings_opened opened = RINGS_OPENED_INIT;
    struct error why = { .code = 0 };

    filesystem_hold_rings(filesystem);
    int r = rings_open_new(filesystem->control, &filesystem->record, &opened, ret_is_kms, &why);
    int audited = filesystem_audit_unwrap(filesystem, r, "to complete its creation", &why, err);
    if (r < 0)
        (void)error_set(err, r, "%s", why.text);
    else
        r = audited < 0 ? audited : finish_creating(filesystem, &opened, err);
    filesystem_let_rings(filesystem);
    return r;
}

/* After a failure; a crash that a test asked for leaves all as it is. */
static void undo_adding(struct filesystem *fs, bool is_recorded, int r)
{
    char uuid[UUID_TEXT_SIZE];
    struct error err = { .code = 0 };

    if (r == CONTROL_CRASHED)
        return;
    uuid_format(&fs->record.uuid, uuid);
    int undone = is_recorded ? filesystem_delete(fs, &err)
                             : kms_remove_local_key(fs->control->kms, uuid, &err);
    if (undone < 0)
        events_add(&fs->control->events, LOG_LEVEL_ERROR, "add-not-undone", fs->record.name,
                   "an addition failed and could not be undone: %s", err.text);
}

/* Steps 1 and 2. While a key is new, the key server is not changed: a change proves all rings. */
static int add_recorded(struct filesystem *fs, const struct fs_add *add,
                        const struct downloading *from, struct rings_opened *ret, struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    struct control *control = fs->control;
    struct error first = { .code = 0 };
    bool is_local = false;

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = open_wrapper(control, record, add, &provider, &is_local, err);
    if (r < 0)
        return r;
    r = new_ring(control, provider, from, record, ret, &first);
    if (!is_local && !fs_record_has_own_login(record) && r != CONTROL_CRASHED)
        kms_note(control->kms, r, &first);
    if (r < 0)
        return error_set(err, r, "%s", first.text);
    filesystem_take_record(fs, record, rings_newest(&ret->ring));
    if (add->kms.secret_id)
        r = kms_put_login(control->kms, &record->own, add->kms.secret_id, err);
    if (r == 0)
        r = control_step(control, STEP_LOGIN_STORED);
    if (r == 0)
        r = filesystem_audit(fs, AUDIT_CREATE, 0, NULL, err);
    return r < 0 ? r : registry_put(control->registry, record, buf_bytes(&ret->encoded), err);
}

/* err is not NULL. */
static int add_listed(struct filesystem *fs, const struct fs_add *add,
                      const struct downloading *from, struct error *err)
{
    CLEANUP(rings_opened_release) struct rings_opened opened = RINGS_OPENED_INIT;
    struct control *control = fs->control;
    int r = check_place(control, fs->record.store_url, err);

    if (r == 0)
        r = check_place(control, fs->record.meta_url, err);
    if (r < 0)
        return r; /* nothing was done to keys */
    mutex_lock(&control->kms_changing);
    filesystem_hold_rings(fs);
    r = add_recorded(fs, add, from, &opened, err);
    mutex_unlock(&control->kms_changing);
    bool is_recorded = r == 0;
    if (r == 0)
        r = control_step(control, STEP_ADD_RECORDED);
    if (r == 0)
        r = finish_creating(fs, &opened, err);
    filesystem_let_rings(fs);
    if (r < 0)
        undo_adding(fs, is_recorded, r);
    if (r < 0)
        filesystem_audit_failure(fs, AUDIT_CREATE, r, err);
    return r;
}

static int add(struct control *control, const struct fs_add *add, const struct downloading *from,
               struct fs_view *ret, struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = malloc(sizeof(*record));
    struct filesystem *fs = NULL;

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = new_record(control, add, record, err);
    if (r == 0 && from) {
        record->has_origin = true;
        record->origin = from->origin;
    }
    if (r == 0)
        r = filesystem_list(control, record, &fs, err);
    if (r < 0)
        return r;
    struct error why = { .code = 0 };
    r = add_listed(fs, add, from, &why);
    filesystem_release(fs, "");
    if (r < 0) {
        (void)error_set(err, r, "%s", why.text);
        filesystem_unlist(fs);
        if (r != CONTROL_CRASHED)
            own_key_tidy(control);
    } else {
        filesystem_view(fs, ret);
        events_add(&control->events, LOG_LEVEL_INFO, "added", add->name,
                   "the filesystem was created; its key is wrapped by %s, key %s", ret->kms_type,
                   ret->kms_key);
    }
    filesystem_unref(fs);
    return r;
}

/* What is in the way is not in the way of the filesystem; its start tries again. */
static int begin_download(struct control *control, struct fs_view *view)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find_uuid(control, &view->uuid);
    struct error err = { .code = 0 };

    if (fs && download_begin_task(fs, &err) < 0)
        log_warning("%s filesystem=%s", err.text, view->name);
    if (fs)
        filesystem_view(fs, view);
    return 0;
}

/* What is refused without asking anybody: the key server is not, for what comes to nothing. All of
 * it is looked at again when the filesystem is made. */
static int check_download(struct control *control, const struct fs_add *what, struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = malloc(sizeof(*record));

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = new_record(control, what, record, err);
    if (r == 0 && !what->object_store)
        r = error_set(err, -EINVAL, "name the object store that holds the snapshot");
    if (r == 0)
        r = filesystem_expect_new(control, what->name, err);
    if (r == 0 && !place_is_s3(record->store_url))
        r = check_place(control, record->store_url, err);
    return r < 0 ? r : check_place(control, record->meta_url, err);
}

/* The locator and the keys are looked at first: nothing is made for a snapshot that does not open.
 */
int control_add(struct control *control, const struct fs_add *what, struct fs_view *ret,
                struct error *err)
{
    CLEANUP(free_ptr) struct downloading *from = NULL;

    if (!what->locator)
        return add(control, what, NULL, ret, err);
    from = malloc(sizeof(*from));
    if (!from)
        return error_set(err, -ENOMEM, "out of memory");
    int r = check_download(control, what, err);
    if (r == 0)
        r = downloading_open(control, what, from, err);
    if (r < 0)
        return r;
    r = add(control, what, from, ret, err);
    downloading_release(from);
    return r < 0 ? r : begin_download(control, ret);
}
