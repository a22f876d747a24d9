/* remove.c - how a filesystem goes.
 *
 *   1 record (removing, or shredding)      from here on it never comes back
 *   2 to shred: every wrapped key, and     from here on nobody can open it
 *     what is left of them in the registry
 *   3 its data
 *   4 its entry in the registry
 * A crash after 1 leaves one that the next start of cofferd goes on with; each step may be done
 * twice.
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/download.h"
#include "control/filesystem.h"
#include "control/locators.h"
#include "control/object_stores.h"
#include "control/own_key.h"
#include "control/shred.h"
#include "control/tasks.h"
#include "store/object_store.h"

int filesystem_folder(const struct control *control, const struct uuid *uuid, const char *part,
                      char ret[static PATH_MAX], struct error *err)
{
    char text[UUID_TEXT_SIZE];

    uuid_format(uuid, text);
    if (snprintf(ret, PATH_MAX, "%s/filesystems/%s%s", control->state_dir, text, part) >= PATH_MAX)
        return error_set(err, -ENAMETOOLONG, "the state folder's path is too long");
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_tree(const char *path, struct error *err)
{
    int r = nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);

    if (r == -1)
        r = -errno;
    return r < 0 && r != -ENOENT
               ? error_set(err, r, "cannot remove %s: %s", path, strerrordesc_np(-r))
               : 0;
}

#define SEGMENTS_PREFIX "segments/"

static int remove_object(const char *name, uint64_t size, void *arg)
{
    struct object_store *store = arg;

    (void)size;
    return object_store_remove(store, name, NULL);
}

/* Somebody's own folder: what we put there, and no more. */
static int empty_store(struct control *control, const struct fs_record *record, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    const char *folder = filesystem_url_folder(record->store_url);
    char segments[PATH_MAX];
    struct stat st;

    bool is_folder = !place_is_s3(record->store_url);

    if (is_folder && stat(folder, &st) < 0 && errno == ENOENT)
        return 0;
    int r = place_open(control, record->store_url, &store, err);
    if (r == 0)
        r = object_store_remove(store, SUPERBLOCK_OBJECT, err);
    if (r == 0)
        r = object_store_list(store, SEGMENTS_PREFIX, remove_object, store, err);
    /* So that the place can be used again; what else may be in it is somebody's. */
    if (r == 0 && is_folder &&
        snprintf(segments, PATH_MAX, "%s/" SEGMENTS_PREFIX, folder) < PATH_MAX)
        (void)rmdir(segments);
    return r < 0 ? r : object_store_remove(store, KEY_RING_OBJECT, err);
}

static int empty_meta(const struct fs_record *record, struct error *err)
{
    static const char *const files[] = { "metadata.mdb", "metadata.mdb-lock", "metadata.mdb.copy" };
    const char *folder = filesystem_url_folder(record->meta_url);
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (snprintf(path, sizeof(path), "%s/%s", folder, files[i]) >= (int)sizeof(path))
            return error_set(err, -ENAMETOOLONG, "path too long: %s", folder);
        if (unlink(path) < 0 && errno != ENOENT)
            return error_set(err, -errno, "cannot remove %s: %s", path, strerrordesc_np(errno));
    }
    return 0;
}

static int delete_data(struct control *control, const struct fs_record *record, struct error *err)
{
    char folder[PATH_MAX];
    char text[UUID_TEXT_SIZE];
    int r = 0;

    uuid_format(&record->uuid, text);
    if (!record->has_own_store)
        r = empty_store(control, record, err);
    if (r == 0 && !record->has_own_meta)
        r = empty_meta(record, err);
    if (r == 0)
        r = filesystem_folder(control, &record->uuid, "", folder, err);
    if (r == 0)
        r = remove_tree(folder, err);
    return r < 0 ? r : kms_remove_local_key(control->kms, text, err);
}

static int mark(struct filesystem *filesystem, enum fs_phase phase, struct error *err)
{
    mutex_lock(&filesystem->lock);
    filesystem->record.phase = phase;
    mutex_unlock(&filesystem->lock);
    filesystem_end_orphan(filesystem);
    int r = filesystem_save(filesystem, err);
    return r < 0 ? r : control_step(filesystem->control, STEP_REMOVE_MARKED);
}

static int destroy_keys(struct filesystem *filesystem, struct shred_report *ret, struct error *err)
{
    char text[400];
    int r = shred_list_keys(filesystem, ret, err);

    if (r == 0)
        r = filesystem_audit(filesystem, AUDIT_SHRED, 0, NULL, err);
    if (r == 0)
        r = shred_destroy(filesystem, err);
    if (r < 0)
        return r;
    shred_describe(ret, text, sizeof(text));
    events_add(&filesystem->control->events, LOG_LEVEL_WARNING, "keys-shredded",
               filesystem->record.name, "its wrapped keys were destroyed%s%s",
               text[0] ? "; what wrapped them stays in the KMS: " : "", text);
    return 0;
}

/* ret is NULL unless it is to be shredded. */
static int delete_marked(struct filesystem *filesystem, struct shred_report *ret, struct error *err)
{
    struct control *control = filesystem->control;
    int r = mark(filesystem, ret ? FS_PHASE_SHREDDING : FS_PHASE_REMOVING, err);

    if (r == 0)
        r = ret ? destroy_keys(filesystem, ret, err)
                : filesystem_audit(filesystem, AUDIT_REMOVE, 0, NULL, err);
    if (r < 0)
        return r;
    int scrubbed = ret ? registry_scrub(control->registry, NULL) : 0;
    if (scrubbed == 0 && ret)
        r = control_step(control, STEP_SHRED_SCRUBBED);
    if (r < 0)
        return r;
    r = delete_data(control, &filesystem->record, err);
    if (r < 0)
        return ret ? error_prefix(err, r, "its keys are destroyed, but its data is still there")
                   : r;
    /* On a full disk there is room now. */
    return scrubbed < 0 ? registry_scrub(control->registry, err) : 0;
}

static int delete_held(struct filesystem *filesystem, struct shred_report *ret, struct error *err)
{
    struct control *control = filesystem->control;
    int r = delete_marked(filesystem, ret, err);

    if (r == 0)
        r = control_step(control, STEP_REMOVE_DELETED);
    if (r < 0)
        return r;
    download_drop(filesystem);
    own_key_tidy(control); /* its login, unless others have it too */
    r = policies_forget(control->policies, &filesystem->record.uuid, err);
    if (r == 0)
        r = locators_forget_filesystem(control, &filesystem->record.uuid, err);
    return r < 0 ? r : registry_remove(control->registry, &filesystem->record.uuid, err);
}

/* One whose shredding was begun is shredded, whatever is asked. */
static int delete_one(struct filesystem *filesystem, struct shred_report *ret, struct error *err)
{
    CLEANUP(shred_report_release) struct shred_report own = { .count = 0 };

    filesystem_hold_rings(filesystem);
    if (!ret && filesystem->record.phase == FS_PHASE_SHREDDING)
        ret = &own;
    int r = delete_held(filesystem, ret, err);
    filesystem_let_rings(filesystem);
    return r;
}

int filesystem_delete(struct filesystem *filesystem, struct error *err)
{
    return delete_one(filesystem, NULL, err);
}

static int remove_one(struct control *control, const char *name, struct shred_report *ret,
                      struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);

    if (!fs)
        return -ENOENT;
    const struct task_use use = { .fs = &fs->record.uuid, .ignores_companions = true };
    int r = tasks_expect_none(control, &use, err);
    if (r == 0)
        r = filesystem_acquire(fs, "is being removed", err);
    if (r < 0)
        return r;
    mutex_lock(&fs->lock);
    filesystem_move_locked(fs, FS_REMOVING, "is being removed");
    mutex_unlock(&fs->lock);
    struct error why = { .code = 0 };
    r = delete_one(fs, ret, &why);
    bool is_shred = fs->record.phase == FS_PHASE_SHREDDING; /* busy: nobody else changes it */
    filesystem_release(fs, r < 0 ? "its removal was not finished; remove it again" : "");
    if (r < 0) {
        filesystem_audit_failure(fs, is_shred ? AUDIT_SHRED : AUDIT_REMOVE, r, &why);
        return error_set(err, r, "%s", why.text);
    }
    filesystem_unlist(fs);
    tasks_end_with(control, &fs->record.uuid);
    events_add(&control->events, LOG_LEVEL_INFO, "removed", name, "the filesystem was removed");
    return 0;
}

int control_remove(struct control *control, const char *name, struct error *err)
{
    return remove_one(control, name, NULL, err);
}

int control_shred(struct control *control, const char *name, struct shred_report *ret,
                  struct error *err)
{
    *ret = (struct shred_report){ .count = 0 };
    int r = remove_one(control, name, ret, err);
    if (r < 0)
        shred_report_release(ret);
    return r;
}
