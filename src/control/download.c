#include "control/download.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/bucket_session.h"
#include "control/foreign_keys.h"
#include "control/kms.h"
#include "control/left_references.h"
#include "control/own_key.h"
#include "crypto/random.h"
#include "transfer/sharing.h"

#define GIB (1ull << 30)

void downloading_release(struct downloading *downloading)
{
    upload_opened_release(&downloading->opened);
}

/* The login that the new filesystem gets, where it is that of the origin's key: whoever has a key
 * of their own need not let the instance use it. NULL in *ret: the instance's login is to ask. */
static int own_login(struct control *control, const struct fs_key_change *change,
                     const struct key_ring *ring, struct key_provider **ret, struct error *err)
{
    CLEANUP(free_ptr) struct fs_kms_key *own = calloc(1, sizeof(*own));
    const struct wrapped_key *newest = rings_newest(ring);

    *ret = NULL;
    if (!own)
        return error_set(err, -ENOMEM, "out of memory");
    int r = change->role_id ? own_key_change(change, own, err) : 0;
    if (r < 0 || own->role_id[0] == '\0' || !newest || !kms_key_names(control->kms, own, newest))
        return r;
    return kms_provider_for(control->kms, own, change->secret_id, ret, err);
}

/* It would be full from the start. */
static int expect_room(const struct fs_add *add, const struct snapshot_about *about,
                       struct error *err)
{
    const unsigned long long size = about->size;

    if (add->capacity == 0 || size <= add->capacity)
        return 0;
    return error_set(err, -EINVAL,
                     "the files of the snapshot have %llu bytes, more than the capacity that is "
                     "given; give %lluGiB or more, or none",
                     size, (size - 1) / GIB + 1);
}

static int open_head(struct control *control, const struct fs_add *add,
                     const struct locator *locator, struct upload_opened *ret, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(key_provider_closep) struct key_provider *login = NULL;
    struct bucket bucket;
    int r = bucket_session_open(control, add->object_store, &store, err);

    if (r == 0)
        r = bucket_init(&bucket, store, "", err);
    if (r == 0)
        r = upload_read(control, &bucket, locator, ret, err);
    if (r == 0)
        r = expect_room(add, &ret->head.about, err);
    if (r == 0)
        r = own_login(control, &add->kms, &ret->ring, &login, err);
    const struct upload_opening opening = { .server = login,
                                            .purpose = "download of its snapshot" };
    return r < 0 ? r : upload_open(control, &opening, ret, err);
}

int downloading_open(struct control *control, const struct fs_add *add, struct downloading *ret,
                     struct error *err)
{
    struct locator locator;
    int r = locator_parse(add->locator, &locator, err);

    memset(ret, 0, sizeof(*ret));
    ret->opened = UPLOAD_OPENED_INIT;
    if (strlen(add->object_store) > STORE_NAME_MAX)
        return error_set(err, -ENOENT, "there is no object store of that name");
    (void)snprintf(ret->origin.store, sizeof(ret->origin.store), "%s", add->object_store);
    if (!add->is_read_only_store)
        random_uuid(&ret->origin.reference);
    if (r == 0)
        r = open_head(control, add, &locator, &ret->opened, err);
    if (r < 0) {
        downloading_release(ret);
        return r;
    }
    ret->origin.fs = ret->opened.ring.uuid;
    memcpy(ret->origin.manifest, locator.manifest, FS_MANIFEST_LEN);
    return 0;
}

/* --- keys --- */

int downloading_inherit(const struct downloading *downloading, struct key_provider *provider,
                        struct rings_opened *opened, struct error *err)
{
    int r = 0;

    for (uint32_t i = 0; i < downloading->opened.ring.count && r == 0; i++)
        if (!rings_lacks(&downloading->opened.outcome, i)) /* nothing needs it */
            r = foreign_key_inherit(&downloading->opened, i, provider, opened, err);
    return r < 0 ? r : key_ring_check_room(&opened->ring, err);
}

/* --- the bucket --- */

int download_session(struct control *control, const struct fs_record *record, int *ret_fd,
                     struct error *err)
{
    struct error why = { .code = 0 };

    *ret_fd = -1;
    if (!record->has_origin)
        return 0;
    int r = bucket_session_start(control, record->origin.store, ret_fd, &why);
    return r < 0 ? error_set(err, r,
                             "the filesystem was downloaded, not all of it is here yet, and the "
                             "object store %s cannot be used: %s",
                             record->origin.store, why.text)
                 : 0;
}

static int drop_reference(struct control *control, const struct fs_origin *origin,
                          struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    struct bucket bucket;
    int r = bucket_session_open(control, origin->store, &store, err);

    if (r == 0)
        r = bucket_init(&bucket, store, "", err);
    return r < 0 ? r : reference_drop(&bucket, &origin->reference, err);
}

/* One that was adopted may have one: nothing is known of its origin. */
static bool is_without_reference(const struct fs_record *record)
{
    return uuid_is_zero(&record->origin.reference) && !uuid_is_zero(&record->origin.fs);
}

void download_drop(struct filesystem *fs)
{
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    struct error err = { .code = 0 };
    char id[UUID_TEXT_SIZE];

    if (!record || !record->has_origin)
        return;
    if (is_without_reference(record))
        return;
    if (uuid_is_zero(&record->origin.reference)) {
        events_add(&fs->control->events, LOG_LEVEL_WARNING, "reference-left", record->name,
                   "the removed filesystem, which was adopted, may still hold what it was "
                   "downloaded from in the object store %s; coffer fs tier ops %s shows such uses, "
                   "and expires them",
                   record->origin.store, record->origin.store);
        return;
    }
    if (drop_reference(fs->control, &record->origin, &err) == 0)
        return;
    uuid_format(&record->origin.reference, id);
    bool is_noted = left_references_note(fs->control, &record->origin, NULL) == 0;
    events_add(&fs->control->events, LOG_LEVEL_WARNING, "reference-left", record->name,
               "the removed filesystem still holds what it was downloaded from in the object store "
               "%s, as use %s; %s: %s",
               record->origin.store, id,
               is_noted ? "it is dropped as soon as that store can be reached"
                        : "expire that there",
               err.text);
}
