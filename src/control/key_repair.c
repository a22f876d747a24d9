/* key_repair.c - the key ring of a filesystem that was lost or damaged in both of its places, back
 * from an uploaded snapshot of it: the newest whose ring verifies with the filesystem's superblock.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/bucket_session.h"
#include "control/filesystem.h"
#include "control/rings.h"
#include "control/upload_keys.h"
#include "control/uploads.h"

struct candidate {
    struct locator locator;
    uint64_t sequence; /* of its ring */
};

struct repairing {
    struct control *control;
    const char *store;
    struct fs_record *record;
    struct bucket bucket;
    struct candidate *candidates;
    size_t count;
    struct wrapped_key newest; /* of the ring that was put back, to show */
};

static int by_sequence(const void *a, const void *b)
{
    const struct candidate *first = a;
    const struct candidate *second = b;

    return (first->sequence < second->sequence) - (first->sequence > second->sequence);
}

/* One whose head says that it is of this filesystem. */
static void consider(struct repairing *repairing, const struct locator *locator)
{
    CLEANUP(upload_opened_release) struct upload_opened opened = UPLOAD_OPENED_INIT;

    if (upload_read(repairing->control, &repairing->bucket, locator, &opened, NULL) < 0 ||
        !uuid_equal(&opened.ring.uuid, &repairing->record->uuid))
        return;
    repairing->candidates[repairing->count++] =
        (struct candidate){ .locator = *locator, .sequence = opened.ring.sequence };
}

static int find_candidates(struct repairing *repairing, const char *text, struct error *err)
{
    CLEANUP(name_set_release) struct name_set heads = NAME_SET_INIT;
    struct locator locator;

    int r = text ? locator_parse(text, &locator, err) : 0;
    if (r == 0 && !text)
        r = bucket_list(&repairing->bucket, BUCKET_HEAD, &heads, err);
    if (r < 0)
        return r;
    repairing->candidates = calloc(heads.count + 1, sizeof(*repairing->candidates));
    if (!repairing->candidates)
        return error_set(err, -ENOMEM, "out of memory");
    if (text)
        consider(repairing, &locator);
    for (size_t i = 0; i < heads.count; i++) {
        memcpy(locator.manifest, heads.items[i].name.id, HASH_LEN);
        consider(repairing, &locator);
    }
    qsort(repairing->candidates, repairing->count, sizeof(*repairing->candidates), by_sequence);
    return repairing->count > 0
               ? 0
               : error_set(
                     err, -ENOENT, "object store %s holds no uploaded snapshot of filesystem %s%s",
                     repairing->store, repairing->record->name, text ? " of that locator" : "");
}

static int restore_from(struct repairing *repairing, const struct locator *locator,
                        char ret_locator[static LOCATOR_SIZE], struct error *err)
{
    CLEANUP(upload_opened_release) struct upload_opened opened = UPLOAD_OPENED_INIT;
    char from[AUDIT_TEXT_SIZE];

    int r = locator_format(locator, ret_locator, err);
    if (r == 0)
        r = upload_read(repairing->control, &repairing->bucket, locator, &opened, err);
    const struct upload_opening opening = { .purpose = "repair of a key ring",
                                            .may_lack_foreign = true };
    if (r == 0)
        r = upload_open(repairing->control, &opening, &opened, err);
    if (r < 0)
        return r;
    (void)snprintf(from, sizeof(from), "the key ring, from the uploaded snapshot %s in %s",
                   ret_locator, repairing->store);
    r = rings_restore(repairing->control, repairing->record, opened.head.ring, &opened.keys, from,
                      err);
    if (r == 0 && rings_newest(&opened.ring))
        repairing->newest = *rings_newest(&opened.ring);
    return r;
}

/* The first's error: its ring is the newest. */
static int restore(struct repairing *repairing, char ret_locator[static LOCATOR_SIZE],
                   struct error *err)
{
    int r = restore_from(repairing, &repairing->candidates[0].locator, ret_locator, err);

    for (size_t i = 1; i < repairing->count && r < 0 && r != CONTROL_CRASHED; i++) {
        int other = restore_from(repairing, &repairing->candidates[i].locator, ret_locator, NULL);
        if (other == 0 || other == CONTROL_CRASHED)
            r = other;
    }
    return r;
}

/* Whole, or repaired from its other place: -EALREADY. */
static int expect_broken(struct control *control, struct fs_record *record, struct error *err)
{
    CLEANUP(rings_opened_release) struct rings_opened opened = RINGS_OPENED_INIT;
    const struct rings_options options = { .may_repair = true,
                                           .may_lack_foreign = !record->has_origin };
    struct error why = { .code = 0 };
    bool is_kms = false;

    int r = rings_open(control, record, &options, &opened, &is_kms, &why);
    if (r == 0)
        return error_set(err, -EALREADY,
                         "the key ring of %s opens: there is nothing to repair. What was wrong in "
                         "one of its places was repaired from the other",
                         record->name);
    if (r == -EAGAIN || r == -EACCES || r == -ENXIO || r == CONTROL_CRASHED)
        return error_set(err, r, "nothing was changed: %s", why.text);
    return 0;
}

static int repair_held(struct control *control, struct filesystem *fs, struct fs_record *record,
                       const char *store, const char *locator,
                       char ret_locator[static LOCATOR_SIZE], struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct repairing repairing = { .control = control, .store = store, .record = record };

    int r = expect_broken(control, record, err);
    if (r == 0)
        r = bucket_session_open(control, store, &opened, err);
    if (r == 0)
        r = bucket_init(&repairing.bucket, opened, "", err);
    if (r == 0)
        r = find_candidates(&repairing, locator, err);
    if (r == 0)
        r = restore(&repairing, ret_locator, err);
    free(repairing.candidates);
    return r < 0 ? r : filesystem_learn(fs, record, &repairing.newest, err);
}

int control_key_repair(struct control *control, const char *name, const char *store,
                       const char *locator, char ret_locator[static CONTROL_LOCATOR_SIZE],
                       struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);
    CLEANUP(free_ptr) struct fs_record *record = fs ? filesystem_copy_record(fs) : NULL;

    if (!fs)
        return -ENOENT;
    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    filesystem_hold_rings(fs);
    int r = repair_held(control, fs, record, store, locator, ret_locator, err);
    filesystem_let_rings(fs);
    if (r < 0)
        return r;
    events_add(&control->events, LOG_LEVEL_WARNING, "ring-repaired", name,
               "the key ring was got back from the uploaded snapshot %s in object store %s",
               ret_locator, store);
    filesystem_wake(fs);
    return 0;
}
