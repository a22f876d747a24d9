#include "control/download.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/bucket_session.h"
#include "crypto/random.h"
#include "transfer/head.h"
#include "transfer/locator.h"
#include "transfer/sharing.h"

void downloading_release(struct downloading *downloading)
{
    key_ring_release(&downloading->ring);
    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++)
        secret_release(&downloading->blobs[i]);
}

/* Which key of which server would be needed, whatever the reason is that it cannot be used. */
static int describe_need(const struct key_ring *ring, int r, const char *why, struct error *err)
{
    const struct wrapped_key *key = &ring->generations[0].current.key;
    char where[WRAPPED_NAME_SIZE + 32] = "", version[32] = "";

    if (key->kms_namespace[0] != '\0')
        (void)snprintf(where, sizeof(where), " in the namespace %s", key->kms_namespace);
    if (key->key_version != 0)
        (void)snprintf(version, sizeof(version), ", version %u", key->key_version);
    return error_set(err, r,
                     "the snapshot's key was wrapped by the %s at %s with the key %s%s%s, and the "
                     "configured KMS does not unwrap it: %s",
                     key->provider, key->addresses, key->key_name, version, where, why);
}

static int unwrap_ring(struct control *control, struct downloading *downloading, struct error *err)
{
    const struct rings_options options = { .owner = NULL };
    const struct key_ring *ring = &downloading->ring;
    struct error why = { .code = 0 };
    bool used_previous = false;

    if (ring->count == 0)
        return error_set(err, -EBADMSG, "the key ring of the snapshot has no key");
    int r = rings_unwrap_all(control, ring, &options, downloading->blobs, &used_previous, &why);
    return r < 0 ? describe_need(ring, r, why.text, err) : 0;
}

static int own_keys(const struct downloading *downloading, struct key_set *ret, struct error *err)
{
    const struct key_ring *ring = &downloading->ring;
    int r = 0;

    for (uint32_t i = 0; i < ring->count && r == 0; i++) {
        const struct key_generation *generation = &ring->generations[i];
        CLEANUP(secret_release) struct secret key = SECRET_INIT;
        if (!key_generation_is_own(ring, generation))
            continue;
        r = key_generation_open(generation, &downloading->blobs[i], &key, err);
        if (r == 0 && (r = key_set_add(ret, generation->number, &key)) < 0)
            (void)error_set(err, r, "out of secret memory");
    }
    return r;
}

/* Nothing in the ring is believed before this. */
static int verify(const struct downloading *downloading, struct bytes head, struct error *err)
{
    CLEANUP(superblock_release)
    struct superblock superblock = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    CLEANUP(transfer_keys_freep) struct transfer_keys *transfer = NULL;
    CLEANUP(key_set_release) struct key_set keys = { .count = 0 };
    const struct key_checks known = { .items = NULL };
    int r = own_keys(downloading, &keys, err);

    return r < 0 ? r : head_verify(head, &keys, known, &superblock, &transfer, err);
}

static int read_head(struct control *control, const char *store_name, const struct locator *locator,
                     struct buf *ret, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    struct bucket bucket;
    int r = bucket_session_open(control, store_name, &store, err);

    if (r == 0)
        r = bucket_init(&bucket, store, "", err);
    return r < 0 ? r : head_get(&bucket, locator->manifest, ret, err);
}

static int open_head(struct control *control, struct bytes encoded, struct downloading *downloading,
                     struct error *err)
{
    struct snapshot_head head;
    int r = head_decode(encoded, &head, err);

    if (r == 0)
        r = key_ring_peek(head.ring, &downloading->ring, err);
    if (r == 0)
        r = unwrap_ring(control, downloading, err);
    if (r == 0)
        r = verify(downloading, encoded, err);
    if (r < 0)
        return r;
    downloading->origin.fs = downloading->ring.uuid;
    downloading->size = head.about.size;
    memcpy(downloading->origin.manifest, head.manifest, FS_MANIFEST_LEN);
    return 0;
}

int downloading_open(struct control *control, const char *store, const char *locator_text,
                     struct downloading *ret, struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct locator locator;
    int r = locator_parse(locator_text, &locator, err);

    memset(ret, 0, sizeof(*ret));
    ret->ring = KEY_RING_INIT;
    if (strlen(store) > STORE_NAME_MAX)
        return error_set(err, -ENOENT, "there is no object store of that name");
    (void)snprintf(ret->origin.store, sizeof(ret->origin.store), "%s", store);
    random_uuid(&ret->origin.reference);
    if (r == 0)
        r = read_head(control, store, &locator, &encoded, err);
    if (r == 0)
        r = open_head(control, buf_bytes(&encoded), ret, err);
    if (r < 0)
        downloading_release(ret);
    return r;
}

/* --- keys --- */

static int inherit_one(const struct downloading *downloading, uint32_t index,
                       struct key_provider *provider, struct rings_opened *opened,
                       struct error *err)
{
    const struct key_generation *from = &downloading->ring.generations[index];
    CLEANUP(free_ptr) struct wrapped_key *wrapped = calloc(1, sizeof(*wrapped));
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    if (!wrapped)
        return error_set(err, -ENOMEM, "out of memory");
    int r = key_generation_open(from, &downloading->blobs[index], &key, err);
    if (r == 0)
        r = create_wrap(provider, &downloading->blobs[index], wrapped, err);
    if (r < 0)
        return r;
    if (strcmp(wrapped->provider, "local") == 0)
        uuid_format(&opened->ring.uuid, wrapped->key_name);
    const struct key_generation_new generation = { .number = from->number,
                                                   .origin = &from->origin,
                                                   .key = &key,
                                                   .wrapped = wrapped,
                                                   .now_ns = (uint64_t)clock_wall_ns() };
    r = key_ring_add(&opened->ring, &generation, err);
    if (r == 0 && (r = key_set_add_foreign(&opened->keys, &from->origin, from->number, &key)) < 0)
        (void)error_set(err, r, "out of secret memory");
    return r;
}

int downloading_inherit(const struct downloading *downloading, struct key_provider *provider,
                        struct rings_opened *opened, struct error *err)
{
    int r = 0;

    for (uint32_t i = 0; i < downloading->ring.count && r == 0; i++)
        r = inherit_one(downloading, i, provider, opened, err);
    return r;
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

void download_drop(struct filesystem *fs)
{
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    struct error err = { .code = 0 };
    char id[UUID_TEXT_SIZE];

    if (!record || !record->has_origin || drop_reference(fs->control, &record->origin, &err) == 0)
        return;
    uuid_format(&record->origin.reference, id);
    events_add(&fs->control->events, LOG_LEVEL_WARNING, "reference-left", record->name,
               "the removed filesystem still holds what it was downloaded from in the object store "
               "%s, as use %s; expire that there: %s",
               record->origin.store, id, err.text);
}
