#include "tests/support/upload_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/bucket_session.h"
#include "control/rings.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "transfer/head.h"
#include "transfer/sharing.h"

#define PACK_LEN 5000u
#define CHUNK_LEN 700u

void must_add_folder_store(struct fixture *fixture, const char *name)
{
    struct store_record record = STORE_RECORD_INIT;
    struct store_view view;
    struct error err = { .code = 0 };

    (void)snprintf(record.name, sizeof(record.name), "%s", name);
    (void)snprintf(record.path, sizeof(record.path), "%s/%s", fixture->state_dir, name);
    assert_int_equal(mkdir(record.path, 0700), 0);
    must(control_store_add(fixture->control, &record, false, &view, &err), &err);
}

struct object_store *must_open_bucket(struct fixture *fixture, const char *store,
                                      struct bucket *ret)
{
    struct object_store *opened = NULL;
    struct error err = { .code = 0 };

    must(bucket_session_open(fixture->control, store, &opened, &err), &err);
    must(bucket_init(ret, opened, "", &err), &err);
    return opened;
}

/* --- an upload --- */

struct uploading {
    const struct upload_sender *sender;
    const struct superblock *superblock;
    struct bucket bucket;
    struct transfer_keys *keys;
    struct manifest manifest;
    struct name_set names;
    struct uuid id;
};

static int compare_needed(const void *a, const void *b)
{
    return memcmp(a, b, UUID_LEN); /* none twice of one origin */
}

static void fill_about(struct snapshot_about *about, const struct uploading *up,
                       const char *filesystem, const char *snapshot)
{
    const struct upload_sender *sender = up->sender;

    about->created_ns = (uint64_t)clock_wall_ns();
    about->uploaded_ns = about->created_ns;
    about->size = UPLOAD_CASE_SIZE;
    about->inodes = 12;
    (void)snprintf(about->filesystem, sizeof(about->filesystem), "%s", filesystem);
    (void)snprintf(about->snapshot, sizeof(about->snapshot), "%s", snapshot);
    (void)snprintf(about->access_point, sizeof(about->access_point), "at-%s", snapshot);
    about->needed_count = 1 + sender->more_count;
    about->needed[0] = (struct key_needed){ up->superblock->uuid, up->superblock->generation };
    for (uint32_t i = 0; i < sender->more_count; i++)
        about->needed[1 + i] = sender->more[i];
    qsort(about->needed, about->needed_count, sizeof(about->needed[0]), compare_needed);
}

/* A pack by the name of the snapshot, and a chunk of this upload alone. */
static void fill_manifest(struct uploading *up, const char *filesystem, const char *snapshot)
{
    const struct bytes text = { (const uint8_t *)snapshot, strlen(snapshot) };
    const struct superblock *superblock = up->superblock;
    uint8_t name[HASH_LEN];
    struct error err = { .code = 0 };

    up->manifest = (struct manifest){ .fs = superblock->uuid,
                                      .generation = superblock->generation,
                                      .upload = up->id,
                                      .block_size = 4096,
                                      .data_len = PACK_LEN,
                                      .records = 1 };
    fill_about(&up->manifest.about, up, filesystem, snapshot);
    assert_int_equal(hash_sha256(&text, 1, name), 0);
    must(manifest_add_pack(&up->manifest, name, PACK_LEN, &err), &err);
    random_bytes(name, sizeof(name));
    must(manifest_add_chunk(&up->manifest, name, CHUNK_LEN, 1, text, &err), &err);
}

static void put_objects(struct uploading *up)
{
    static const uint8_t content[PACK_LEN] = { 1, 2, 3 };
    struct error err = { .code = 0 };

    assert_int_equal(manifest_names(&up->manifest, &up->names), 0);
    name_set_sort(&up->names);
    for (size_t i = 0; i < up->names.count; i++) {
        const struct bucket_name *name = &up->names.items[i].name;
        size_t len = name->kind == BUCKET_PACK ? PACK_LEN : CHUNK_LEN;
        must(bucket_put(&up->bucket, name, (struct bytes){ content, len }, &err), &err);
    }
}

static void publish(struct fixture *fixture, struct uploading *up, char *ret_locator)
{
    CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    CLEANUP(name_set_release) struct name_set missing = NAME_SET_INIT;
    struct snapshot_head head = { .upload = up->id,
                                  .about = up->manifest.about,
                                  .data_len = PACK_LEN,
                                  .has_names = true,
                                  .superblock = up->sender->superblock,
                                  .ring = buf_bytes(&up->sender->opened->encoded) };
    struct reference_head about = { .kind = REFERENCE_UPLOAD,
                                    .reference = up->id,
                                    .fs = up->manifest.fs,
                                    .written_ns = up->manifest.about.created_ns };
    const struct share_wait wait = { NULL, NULL };
    struct reference reference;
    struct locator locator;
    struct error err = { .code = 0 };

    control_instance(fixture->control, &about.instance);
    must(manifest_seal(&up->manifest, up->keys, &sealed, head.manifest, &err), &err);
    head.manifest_len = sealed.len;
    const struct bucket_name name = bucket_name_of(BUCKET_MANIFEST, head.manifest);
    assert_int_equal(name_set_add(&up->names, &name, sealed.len), 0);
    must(reference_open(&reference, &up->bucket, &about, &err), &err);
    must(reference_add(&reference, &up->names, &err), &err);
    must(bucket_put(&up->bucket, &name, buf_bytes(&sealed), &err), &err);
    must(reference_settle(&reference, NULL, &wait, &missing, &err), &err);
    assert_int_equal(missing.count, 0);
    must(head_encode(&head, up->keys, &encoded, &err), &err);
    must(reference_publish(&reference, head.manifest, buf_bytes(&encoded), &err), &err);
    reference_close(&reference);
    memcpy(locator.manifest, head.manifest, HASH_LEN);
    must(locator_format(&locator, ret_locator, &err), &err);
}

static void upload(struct fixture *fixture, const struct upload_sender *sender,
                   const char *filesystem, const char *store, const char *snapshot,
                   char *ret_locator)
{
    const struct superblock *superblock = &sender->opened->superblock;
    struct uploading up = { .sender = sender, .superblock = superblock, .names = NAME_SET_INIT };
    CLEANUP(object_store_closep)
    struct object_store *opened = must_open_bucket(fixture, store, &up.bucket);

    assert_int_equal(transfer_keys_new(superblock,
                                       key_set_find(&sender->opened->keys, superblock->generation),
                                       &up.keys),
                     0);
    random_uuid(&up.id);
    fill_manifest(&up, filesystem, snapshot);
    put_objects(&up);
    publish(fixture, &up, ret_locator);
    name_set_release(&up.names);
    manifest_release(&up.manifest);
    transfer_keys_free(up.keys);
}

void must_upload_from(struct fixture *fixture, const struct upload_sender *sender,
                      const char *store, const char *snapshot, char *ret_locator)
{
    upload(fixture, sender, "elsewhere", store, snapshot, ret_locator);
}

void must_upload(struct fixture *fixture, const char *filesystem, const char *store,
                 const char *snapshot, char *ret_locator)
{
    struct filesystem *fs = filesystem_find(fixture->control, filesystem, NULL);
    CLEANUP(rings_opened_release) struct rings_opened opened = RINGS_OPENED_INIT;
    CLEANUP(object_store_closep) struct object_store *own = NULL;
    CLEANUP(buf_release) struct buf superblock = BUF_INIT;
    const struct rings_options options = { .may_repair = false };
    struct error err = { .code = 0 };
    bool is_kms = false;

    assert_non_null(fs);
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    must(rings_open(fixture->control, record, &options, &opened, &is_kms, &err), &err);
    must(place_open(fixture->control, record->store_url, &own, &err), &err);
    must(object_store_get(own, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX, &superblock, &err), &err);
    const struct upload_sender sender = { .opened = &opened, .superblock = buf_bytes(&superblock) };
    upload(fixture, &sender, filesystem, store, snapshot, ret_locator);
    filesystem_unref(fs);
}

/* --- what is there --- */

size_t count_objects(struct fixture *fixture, const char *store, enum bucket_kind kind)
{
    struct bucket bucket;
    CLEANUP(object_store_closep)
    struct object_store *opened = must_open_bucket(fixture, store, &bucket);
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;
    struct error err = { .code = 0 };

    must(bucket_list(&bucket, kind, &found, &err), &err);
    return found.count;
}

static struct bucket_name head_name(const char *locator)
{
    struct locator parsed;
    struct error err = { .code = 0 };

    must(locator_parse(locator, &parsed, &err), &err);
    return bucket_name_of(BUCKET_HEAD, parsed.manifest);
}

void must_get_head(struct fixture *fixture, const char *store, const char *locator, struct buf *ret)
{
    const struct bucket_name name = head_name(locator);
    struct bucket bucket;
    CLEANUP(object_store_closep)
    struct object_store *opened = must_open_bucket(fixture, store, &bucket);
    struct error err = { .code = 0 };

    must(bucket_get(&bucket, &name, 1u << 20, ret, &err), &err);
}

void must_put_head(struct fixture *fixture, const char *store, const char *locator,
                   struct bytes head)
{
    const struct bucket_name name = head_name(locator);
    char text[OBJECT_NAME_MAX + 1];
    struct bucket bucket;
    CLEANUP(object_store_closep)
    struct object_store *opened = must_open_bucket(fixture, store, &bucket);
    struct error err = { .code = 0 };

    bucket_object_name(&bucket, &name, text);
    must(object_store_replace(opened, text, head, &err), &err);
}
