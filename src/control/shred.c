#include "control/shred.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "control/key_list.h"
#include "control/object_stores.h"
#include "store/object_store.h"

void shred_report_release(struct shred_report *report)
{
    free(report->keys);
    *report = (struct shred_report){ .count = 0 };
}

/* ------------------------------------------------------------------ what remains */

static int add_ring(struct bytes encoded, void *arg)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;

    return key_ring_peek(encoded, &ring, NULL) < 0 ? 0 : key_list_add_ring(arg, &ring, NULL);
}

static int add_registry(struct filesystem *fs, struct key_list *list)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    if (registry_get_ring(fs->control->registry, &fs->record.uuid, &encoded, NULL) < 0)
        return 0;
    return add_ring(buf_bytes(&encoded), list);
}

static int add_store(struct filesystem *fs, struct key_list *list)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    if (place_open(fs->control, fs->record.store_url, &store, NULL) < 0 ||
        object_store_get(store, KEY_RING_OBJECT, KEY_RING_MAX, &encoded, NULL) < 0)
        return 0;
    return add_ring(buf_bytes(&encoded), list);
}

struct sharing {
    struct filesystem *shredded;
    struct shred_report *report;
};

static void add_user(struct shred_key *key, const char *name)
{
    size_t used = strlen(key->names);

    key->users++;
    (void)snprintf(key->names + used, sizeof(key->names) - used, "%s%s", used ? ", " : "", name);
}

/* Whose keys the same ones wrap. */
static int count_user(struct filesystem *fs, void *arg, struct error *err)
{
    CLEANUP(key_list_release) struct key_list list = { .count = 0 };
    const struct sharing *sharing = arg;

    if (fs == sharing->shredded)
        return 0;
    if (add_registry(fs, &list) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < sharing->report->count; i++)
        if (key_list_has(&list, &sharing->report->keys[i].key))
            add_user(&sharing->report->keys[i], fs->record.name);
    return 0;
}

static int report_keys(struct filesystem *fs, const struct key_list *list, struct shred_report *ret,
                       struct error *err)
{
    struct sharing sharing = { .shredded = fs, .report = ret };

    if (list->count == 0)
        return 0;
    ret->keys = calloc(list->count, sizeof(*ret->keys));
    if (!ret->keys)
        return error_set(err, -ENOMEM, "out of memory");
    ret->count = list->count;
    for (size_t i = 0; i < list->count; i++)
        ret->keys[i].key = list->keys[i];
    return control_each(fs->control, count_user, &sharing, err);
}

/* What cannot be read is lost: the keys are to be destroyed all the same. */
static int add_noted(struct filesystem *fs, struct key_list *list)
{
    CLEANUP(buf_release) struct buf noted = BUF_INIT;
    int r = registry_get_shred(fs->control->registry, &fs->record.uuid, &noted, NULL);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = key_list_decode(buf_bytes(&noted), list, NULL);
    return r == -ENOMEM ? r : 0;
}

static int note(struct filesystem *fs, const struct key_list *list, struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    int r = list->count > 0 ? key_list_encode(list, &encoded, err) : 0;

    if (r < 0 || list->count == 0)
        return r == -ENOSPC ? 0 : r; /* they are told at least if nothing interrupts it */
    return registry_put_shred(fs->control->registry, &fs->record.uuid, buf_bytes(&encoded), err);
}

int shred_list_keys(struct filesystem *filesystem, struct shred_report *ret, struct error *err)
{
    CLEANUP(key_list_release) struct key_list list = { .count = 0 };
    int r = add_registry(filesystem, &list);

    if (r == 0)
        r = add_store(filesystem, &list);
    if (r == 0)
        r = registry_each_kept(filesystem->control->registry, &filesystem->record.uuid, add_ring,
                               &list, err);
    if (r == 0)
        r = add_noted(filesystem, &list);
    if (r < 0)
        return error_set(err, r, "cannot tell which keys wrap those of the filesystem");
    key_list_sort(&list);
    r = note(filesystem, &list, err);
    return r < 0 ? r : report_keys(filesystem, &list, ret, err);
}

void shred_describe(const struct shred_report *report, char *ret, size_t size)
{
    size_t used = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < report->count && used < size; i++) {
        const struct shred_key *one = &report->keys[i];
        char version[24] = "";
        if (one->key.version > 0)
            (void)snprintf(version, sizeof(version), " version %u", one->key.version);
        int n =
            snprintf(ret + used, size - used, "%s%s key %s%s%s%s", i ? "; " : "", one->key.type,
                     one->key.key, version, one->users ? ", which also wraps " : "", one->names);
        used += n > 0 ? (size_t)n : 0;
    }
}

/* ------------------------------------------------------------------ destruction */

static int remove_from_bucket(struct control *control, const struct fs_record *record,
                              const char *object, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    int r = place_open(control, record->store_url, &store, err);

    if (r == 0)
        r = object_store_replace(store, object, (struct bytes){ .len = 0 }, err);
    return r < 0 ? r : object_store_remove(store, object, err);
}

/* An object of a store in a folder is a file there. What a bucket does with one that is replaced
 * and removed is the server's: versions of it stay where they are kept. */
static int shred_object(struct control *control, const struct fs_record *record, const char *object,
                        struct error *err)
{
    char path[PATH_MAX];

    if (place_is_s3(record->store_url))
        return remove_from_bucket(control, record, object, err);
    if (snprintf(path, sizeof(path), "%s/%s", filesystem_url_folder(record->store_url), object) >=
        (int)sizeof(path))
        return error_set(err, -ENAMETOOLONG, "path too long: %s", record->store_url);
    return file_shred(path, err);
}

int shred_destroy(struct filesystem *filesystem, struct error *err)
{
    struct control *control = filesystem->control;
    const struct fs_record *record = &filesystem->record; /* busy: nobody else changes it */
    char uuid[UUID_TEXT_SIZE];
    int r = registry_remove_rings(control->registry, &record->uuid, err);

    if (r == 0)
        r = control_step(control, STEP_SHRED_REGISTRY);
    if (r == 0)
        r = shred_object(control, record, KEY_RING_OBJECT, err);
    if (r == 0)
        r = shred_object(control, record, SUPERBLOCK_OBJECT, err);
    if (r < 0)
        return r;
    uuid_format(&record->uuid, uuid);
    r = kms_shred_local_key(control->kms, uuid, err);
    return r < 0 ? r : control_step(control, STEP_SHRED_STORE);
}
