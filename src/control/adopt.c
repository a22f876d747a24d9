/* adopt.c - a filesystem that this instance does not know, brought back from its store and
 * metadata.
 *
 *   1 its ring is read from the store, opened by the key server or by a recovery copy of its keys,
 *     and believed only if it verifies with the superblock
 *   2 record and ring into the registry                    from here on it is known
 *   3 with a recovery copy: its keys are wrapped anew      as by an import (key_copy.h)
 * A failure leaves nothing in the registry; a crash after 2 leaves a filesystem into which the copy
 * can be imported. The store is not changed before 3.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/key_copy.h"
#include "control/object_stores.h"
#include "control/rings.h"
#include "store/object_store.h"

static int adopt_record(struct control *control, const struct fs_adopt *adopt,
                        struct fs_record *ret, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    int r = fs_name_check(adopt->name, err);

    *ret =
        (struct fs_record){ .phase = FS_PHASE_READY,
                            .created_ns = (uint64_t)clock_wall_ns(),
                            .cache_bytes = place_is_s3(adopt->store_url) ? FS_CACHE_DEFAULT : 0 };
    if (r == 0 && place_is_s3(adopt->store_url))
        (void)snprintf(ret->store_url, sizeof(ret->store_url), "%s", adopt->store_url);
    else if (r == 0)
        r = filesystem_set_url(ret->store_url, adopt->store_url, "dir:", "store", err);
    if (r == 0)
        r = filesystem_set_url(ret->meta_url, adopt->meta_url, "lmdb:", "metadata", err);
    if (r == 0)
        r = place_open(control, ret->store_url, &store, err);
    if (r == 0)
        r = object_store_get(store, KEY_RING_OBJECT, KEY_RING_MAX, &encoded, err);
    if (r == -ENOENT)
        return error_set(
            err, r,
            "%s holds no key ring of a filesystem; check the path (coffer fs adopt METADATA STORE)",
            adopt->store_url);
    if (r == 0)
        r = key_ring_peek(buf_bytes(&encoded), &ring, err);
    if (r < 0)
        return r;
    (void)snprintf(ret->name, sizeof(ret->name), "%s", adopt->name);
    ret->uuid = ring.uuid; /* unverified until the ring is */
    return 0;
}

/* Whether it lies where this state folder has its own: they outlived a lost registry. */
static void recognise_places(const struct control *control, struct fs_record *record)
{
    char url[FS_URL_SIZE];

    record->has_own_store =
        filesystem_default_url(control, &record->uuid, "dir:", "/store", url, NULL) == 0 &&
        strcmp(url, record->store_url) == 0;
    record->has_own_meta =
        filesystem_default_url(control, &record->uuid, "lmdb:", "/meta", url, NULL) == 0 &&
        strcmp(url, record->meta_url) == 0;
}

/* Keys of other engines of the same server cannot be somebody's own. */
static bool is_of_configured_engine(struct control *control, const struct wrapped_key *newest)
{
    struct kms_status status;

    kms_status(control->kms, &status);
    return strcmp(newest->provider, status.type) == 0 &&
           (strcmp(newest->mount_path, status.mount_path) == 0 ||
            (status.mount_path[0] == '\0' && strcmp(newest->mount_path, "transit") == 0));
}

/* The ring names what wraps it. If that is another key of the configured server than the configured
 * one, it was the filesystem's own: nobody else's filesystems are to depend on it, nor is a rewrap
 * to take it away. Of a login of its own nothing is known. */
static void learn_own_key(struct control *control, const struct wrapped_key *newest,
                          struct fs_record *record)
{
    struct fs_kms_key own = { .key = "" };

    if (!newest || !is_of_configured_engine(control, newest) ||
        kms_key_names(control->kms, &own, newest))
        return;
    memcpy(own.key, newest->key_name, sizeof(own.key));
    if (!kms_key_names(control->kms, &own, newest))
        memcpy(own.kms_namespace, newest->kms_namespace, sizeof(own.kms_namespace));
    if (kms_key_names(control->kms, &own, newest))
        record->own = own;
}

static int open_ring(struct filesystem *fs, struct fs_record *record, const struct key_export *copy,
                     struct rings_opened *ret, struct error *err)
{
    CLEANUP(key_copy_forget) struct unwrapped known = { .count = 0 };
    /* What is damaged in one place is repaired by the first start. */
    struct rings_options options = { .may_repair = false, .may_lack_foreign = true };
    bool is_kms;
    int r = copy ? key_copy_know(fs->control, record, copy, &known, err) : 0;

    if (copy)
        options.unwrapped = &known;
    options.asks_nobody = copy != NULL;
    return r < 0 ? r : rings_open(fs->control, record, &options, ret, &is_kms, err);
}

static int adopt_held(struct filesystem *fs, const struct key_export *copy, struct error *err)
{
    CLEANUP(rings_opened_release) struct rings_opened opened = RINGS_OPENED_INIT;
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = open_ring(fs, record, copy, &opened, err);
    if (r < 0)
        return r;
    /* It keeps its owner's name, so that commits of yet another owner would still be seen. */
    record->owner = opened.superblock.owner;
    record->created_ns = opened.superblock.created_ns;
    recognise_places(fs->control, record);
    if (!copy)
        learn_own_key(fs->control, rings_newest(&opened.ring), record);
    filesystem_take_record(fs, record, rings_newest(&opened.ring));
    r = filesystem_audit(fs, AUDIT_ADOPT, 0, copy ? "with a recovery copy of its keys" : NULL, err);
    if (r == 0)
        r = registry_put(fs->control->registry, record, buf_bytes(&opened.encoded), err);
    return r < 0 ? r : control_step(fs->control, STEP_ADOPT_RECORDED);
}

/* Nothing was known of it before. */
static void undo(struct filesystem *fs)
{
    struct error err = { .code = 0 };

    if (registry_remove(fs->control->registry, &fs->record.uuid, &err) < 0)
        events_add(&fs->control->events, LOG_LEVEL_ERROR, "adopt-not-undone", fs->record.name,
                   "an adoption failed and could not be undone: %s", err.text);
}

static int adopt_listed(struct filesystem *fs, const struct key_export *copy, bool allow_no_kms,
                        struct error *err)
{
    mutex_lock(&fs->control->kms_changing); /* a change of the key server proves all rings */
    filesystem_hold_rings(fs);
    int r = adopt_held(fs, copy, err);
    filesystem_let_rings(fs);
    if (r == 0 && copy) {
        r = key_copy_import(fs->control, fs, copy, allow_no_kms, err);
        if (r < 0 && r != CONTROL_CRASHED)
            undo(fs);
    }
    mutex_unlock(&fs->control->kms_changing);
    return r;
}

static int read_copy(struct bytes keys, struct key_export **ret, struct error *err)
{
    if (keys.len == 0)
        return 0;
    *ret = calloc(1, sizeof(**ret));
    return *ret ? key_export_decode(keys, *ret, err) : error_set(err, -ENOMEM, "out of memory");
}

static void copy_free(struct key_export **copy)
{
    if (*copy)
        key_export_release(*copy);
    free(*copy);
}

static void tell(struct filesystem *fs, const struct fs_view *view)
{
    events_add(&fs->control->events, LOG_LEVEL_INFO, "adopted", view->name,
               "the filesystem was brought back; its key is wrapped by %s%s, key %s",
               view->kms_type, view->has_own_kms_key ? ", by one of its own" : "", view->kms_key);
}

int control_adopt(struct control *control, const struct fs_adopt *adopt, struct fs_view *ret,
                  struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = malloc(sizeof(*record));
    CLEANUP(copy_free) struct key_export *copy = NULL;
    struct filesystem *fs = NULL;

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = read_copy(adopt->keys, &copy, err);
    if (r == 0)
        r = adopt_record(control, adopt, record, err);
    if (r == 0)
        r = filesystem_list(control, record, &fs, err);
    if (r < 0)
        return r;
    assert(fs != NULL);
    struct error why = { .code = 0 };
    r = adopt_listed(fs, copy, adopt->allow_no_kms, &why);
    filesystem_release(fs, "");
    if (r < 0) {
        filesystem_audit_failure(fs, AUDIT_ADOPT, r, &why);
        (void)error_set(err, r, "%s", why.text);
        filesystem_unlist(fs);
    } else {
        filesystem_view(fs, ret);
        tell(fs, ret);
    }
    filesystem_unref(fs);
    return r;
}
