/* uploads_shred.c - the uploaded snapshots of a filesystem that is about to be shredded: they carry
 * its wrapped keys, too.
 *
 * What another instance uploaded is that one's, and named; so is a filesystem that was downloaded
 * elsewhere: its data stays, and it has the keys in its own ring. A store that is not reached is
 * named, and nothing is claimed of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "control/bucket_session.h"
#include "control/filesystem.h"
#include "control/object_stores.h"
#include "control/upload_keys.h"
#include "control/uploads.h"
#include "control/uploads_removal.h"
#include "transfer/sharing.h"

struct shredding {
    struct control *control;
    struct uuid fs;
    struct uuid instance;
    control_report_fn *report;
    void *arg;
    uint64_t removed;
};

static void tell(const struct shredding *shredding, const char *text)
{
    shredding->report(text, shredding->arg);
}

/* --- one store --- */

struct store_shredding {
    struct shredding *all;
    const char *store;
    struct locator *locators; /* that are ours to remove */
    size_t count;
    size_t room;
    struct name_set others; /* references of other instances: their ids */
};

static int look_at_reference(const struct reference_head *head, const struct name_set *names,
                             void *arg)
{
    struct store_shredding *one = arg;
    const struct bucket_name name = reference_name(&head->reference, 0);
    char text[320], fs[UUID_TEXT_SIZE], instance[UUID_TEXT_SIZE];

    (void)names;
    if (uuid_equal(&head->instance, &one->all->instance) || !uuid_equal(&head->fs, &one->all->fs))
        return 0;
    if (name_set_find(&one->others, &name))
        return 0;
    uuid_format(&head->fs, fs);
    uuid_format(&head->instance, instance);
    (void)snprintf(
        text, sizeof(text), "object store %s: what instance %s needs of this filesystem stays (%s)",
        one->store, instance, head->kind == REFERENCE_DOWNLOAD ? "downloaded" : "uploaded by it");
    tell(one->all, text);
    if (name_set_add(&one->others, &name, 0) < 0)
        return -ENOMEM;
    name_set_sort(&one->others);
    return 0;
}

static int add_locator(struct store_shredding *one, const struct locator *locator)
{
    if (one->count == one->room) {
        size_t room = one->room == 0 ? 16 : 2 * one->room;
        struct locator *locators = reallocarray(one->locators, room, sizeof(*locators));
        if (!locators)
            return -ENOMEM;
        one->locators = locators;
        one->room = room;
    }
    one->locators[one->count++] = *locator;
    return 0;
}

/* One whose head cannot be read may be of this filesystem. */
static int look_at_head(struct store_shredding *one, const struct bucket *bucket,
                        const struct locator *locator, struct error *err)
{
    CLEANUP(upload_opened_release) struct upload_opened opened = UPLOAD_OPENED_INIT;
    char text[640], name[LOCATOR_SIZE];
    struct error why = { .code = 0 };

    int r = upload_read(one->all->control, bucket, locator, &opened, &why);
    if (r == -ENOENT)
        return 0;
    if (r < 0 && !is_altered(r) && r != -EFBIG)
        return error_set(err, r, "%s", why.text);
    if (r < 0) {
        (void)locator_format(locator, name, NULL);
        (void)snprintf(text, sizeof(text), "object store %s: %s may hold its keys: %.400s",
                       one->store, name, why.text);
        tell(one->all, text);
        return 0;
    }
    const struct bucket_name reference = reference_name(&opened.head.upload, 0);
    if (!uuid_equal(&opened.ring.uuid, &one->all->fs) || name_set_find(&one->others, &reference))
        return 0;
    return add_locator(one, locator) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
}

static int look(struct store_shredding *one, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    CLEANUP(name_set_release) struct name_set heads = NAME_SET_INIT;
    struct locator locator;
    struct bucket bucket;

    int r = bucket_session_open(one->all->control, one->store, &opened, err);
    if (r == 0)
        r = bucket_init(&bucket, opened, "", err);
    if (r == 0)
        r = bucket_references(&bucket, look_at_reference, one, err);
    if (r == 0)
        r = bucket_list(&bucket, BUCKET_HEAD, &heads, err);
    for (size_t i = 0; r == 0 && i < heads.count; i++) {
        memcpy(locator.manifest, heads.items[i].name.id, HASH_LEN);
        r = look_at_head(one, &bucket, &locator, err);
    }
    return r;
}

static void shred_store(struct shredding *shredding, const char *store)
{
    struct store_shredding one = { .all = shredding, .store = store, .others = NAME_SET_INIT };
    struct uploads_removed removed = { .snapshots = 0 };
    struct error why = { .code = 0 };
    char text[700];

    int r = look(&one, &why);
    if (r == 0 && one.count > 0)
        r = uploads_remove(shredding->control, store, one.locators, one.count, &removed, &why);
    if (r < 0) {
        (void)snprintf(text, sizeof(text),
                       "object store %s was not reached, or not cleared, and may hold uploaded "
                       "snapshots with its keys: %.500s",
                       store, why.text);
        tell(shredding, text);
    }
    shredding->removed += removed.snapshots;
    free(one.locators);
    name_set_release(&one.others);
}

int control_shred_uploads(struct control *control, const char *name, control_report_fn *report,
                          void *arg, uint64_t *ret_removed, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);
    CLEANUP(free_ptr) struct store_view *views = NULL;
    struct shredding shredding = { .control = control, .report = report, .arg = arg };
    size_t count = 0;

    if (!fs)
        return -ENOENT;
    shredding.fs = fs->record.uuid; /* never changes */
    control_instance(control, &shredding.instance);
    int r = filesystem_acquire(fs, "is being removed", err); /* nobody uploads of it meanwhile */
    if (r < 0)
        return r;
    r = control_store_list(control, &views, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        shred_store(&shredding, views[i].name);
    filesystem_release(fs, "");
    *ret_removed = shredding.removed;
    return r;
}
