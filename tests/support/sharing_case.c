#include "tests/support/sharing_case.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "tests/support/cmocka_all.h"

#define CHUNK_LEN 24u

const struct uuid some_fs = { { 1, 2, 3 } };
const struct uuid some_instance = { { 4, 5, 6 } };

struct bucket_name sharing_chunk(unsigned i)
{
    struct bucket_name name = { .kind = BUCKET_CHUNK };

    memset(name.id, (int)(i + 1), sizeof(name.id));
    return name;
}

int sharing_put_chunk(const struct bucket *bucket, const struct bucket_name *name)
{
    uint8_t data[CHUNK_LEN];

    memset(data, name->id[0], sizeof(data));
    return bucket_put(bucket, name, (struct bytes){ data, sizeof(data) }, NULL);
}

#define MANIFEST_LEN (UUID_LEN + CHOSEN)

static void manifest_bytes(const struct sharing_snapshot *snapshot,
                           uint8_t ret[static MANIFEST_LEN])
{
    memcpy(ret, snapshot->upload.bytes, UUID_LEN);
    memcpy(ret + UUID_LEN, snapshot->chunks, CHOSEN);
}

/* The chunks are chosen. */
static void name_manifest(struct sharing_snapshot *ret)
{
    uint8_t encoded[MANIFEST_LEN], hash[HASH_LEN];
    const struct bytes whole = { encoded, sizeof(encoded) };

    random_uuid(&ret->upload);
    manifest_bytes(ret, encoded);
    if (hash_sha256(&whole, 1, hash) < 0)
        abort();
    ret->manifest = bucket_name_of(BUCKET_MANIFEST, hash);
}

void sharing_draw(struct sharing_snapshot *ret, unsigned *seed)
{
    for (unsigned i = 0; i < CHOSEN; i++)
        ret->chunks[i] = (uint8_t)((unsigned)rand_r(seed) % UNIVERSE);
    name_manifest(ret);
}

void sharing_choose(struct sharing_snapshot *ret, uint8_t first)
{
    for (uint8_t i = 0; i < CHOSEN; i++)
        ret->chunks[i] = first + i;
    name_manifest(ret);
}

struct bucket_name sharing_head(const struct sharing_snapshot *snapshot)
{
    return bucket_name_of(BUCKET_HEAD, snapshot->manifest.id);
}

void sharing_names(const struct sharing_snapshot *snapshot, struct name_set *ret)
{
    for (unsigned i = 0; i < CHOSEN; i++) {
        const struct bucket_name name = sharing_chunk(snapshot->chunks[i]);
        if (name_set_add(ret, &name, CHUNK_LEN) < 0)
            abort();
    }
    if (name_set_add(ret, &snapshot->manifest, MANIFEST_LEN) < 0)
        abort();
    name_set_sort(ret);
}

static int put_one(const struct bucket *bucket, const struct sharing_snapshot *snapshot,
                   const struct bucket_name *name)
{
    uint8_t encoded[MANIFEST_LEN];

    if (name->kind == BUCKET_CHUNK)
        return sharing_put_chunk(bucket, name);
    manifest_bytes(snapshot, encoded);
    return bucket_put(bucket, name, (struct bytes){ encoded, sizeof(encoded) }, NULL);
}

atomic_bool sharing_stopped;

static int look_again(const struct removing_mark *mark, void *arg)
{
    (void)mark;
    (void)arg;
    (void)sched_yield();
    return atomic_load(&sharing_stopped) ? -ETIMEDOUT : 0;
}

const struct share_wait sharing_patience = { look_again, NULL };

struct reference_head sharing_reference_head(enum reference_kind kind, const struct uuid *id)
{
    return (struct reference_head){ kind, *id, some_fs, some_instance, 1 };
}

int sharing_settle(struct reference *reference, const struct sharing_snapshot *snapshot,
                   const struct name_set *needed, const struct share_wait *wait)
{
    CLEANUP(name_set_release) struct name_set missing = NAME_SET_INIT;

    for (;;) {
        int r = reference_settle(reference, needed, wait, &missing, NULL);
        if (r < 0 || missing.count == 0)
            return r;
        for (size_t i = 0; i < missing.count && r == 0; i++)
            r = put_one(reference->bucket, snapshot, &missing.items[i].name);
        if (r < 0)
            return r;
    }
}

int sharing_upload(const struct bucket *bucket, const struct sharing_snapshot *snapshot,
                   const struct share_wait *wait)
{
    CLEANUP(name_set_release) struct name_set names = NAME_SET_INIT;
    CLEANUP(name_set_release) struct name_set there = NAME_SET_INIT;
    const struct reference_head about = sharing_reference_head(REFERENCE_UPLOAD, &snapshot->upload);
    struct reference reference;

    sharing_names(snapshot, &names);
    int r = bucket_list(bucket, BUCKET_CHUNK, &there, NULL);
    if (r == 0)
        r = reference_open(&reference, bucket, &about, NULL);
    if (r < 0)
        return r;
    r = reference_add(&reference, &names, NULL);
    for (size_t i = 0; i < names.count && r == 0; i++)
        if (!name_set_find(&there, &names.items[i].name))
            r = put_one(bucket, snapshot, &names.items[i].name);
    if (r == 0)
        r = sharing_settle(&reference, snapshot, &names, wait);
    if (r == 0)
        r = reference_publish(&reference, snapshot->manifest.id,
                              (struct bytes){ (const uint8_t *)"head", 4 }, NULL);
    reference_close(&reference);
    return r;
}

int sharing_download(const struct bucket *bucket, const struct sharing_snapshot *snapshot,
                     const struct uuid *id, const struct share_wait *wait)
{
    CLEANUP(name_set_release) struct name_set names = NAME_SET_INIT;
    CLEANUP(name_set_release) struct name_set missing = NAME_SET_INIT;
    const struct reference_head about = sharing_reference_head(REFERENCE_DOWNLOAD, id);
    struct reference reference;

    int r = reference_open(&reference, bucket, &about, NULL);
    if (r < 0)
        return r;
    sharing_names(snapshot, &names);
    r = reference_add(&reference, &names, NULL);
    if (r == 0)
        r = reference_settle(&reference, &names, wait, &missing, NULL);
    reference_close(&reference);
    return r == 0 && missing.count > 0 ? -ENOENT : r;
}

int sharing_remove(const struct bucket *bucket, const struct uuid *mark,
                   const struct bucket_name *manifest, struct removal_counts *ret,
                   struct error *err)
{
    const struct removing_mark about = { *mark, some_instance, 1 };
    struct removal removal;

    int r = removal_begin(&removal, bucket, &about, err);
    if (r == 0 && manifest)
        r = removal_snapshot(&removal, manifest->id, err);
    if (r == 0)
        r = removal_sweep(&removal, NULL, NULL, ret, err);
    return r == 0 ? removal_end(&removal, err) : r;
}

int sharing_read_manifest(const struct bucket *bucket, const struct bucket_name *manifest,
                          struct sharing_snapshot *ret)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    int r = bucket_get(bucket, manifest, MANIFEST_LEN, &encoded, NULL);
    if (r < 0)
        return r;
    memcpy(ret->upload.bytes, encoded.data, UUID_LEN);
    memcpy(ret->chunks, encoded.data + UUID_LEN, CHOSEN);
    ret->manifest = *manifest;
    return 0;
}

bool sharing_is_complete(const struct bucket *bucket, const struct sharing_snapshot *snapshot)
{
    CLEANUP(name_set_release) struct name_set names = NAME_SET_INIT;
    uint64_t size;

    sharing_names(snapshot, &names);
    for (size_t i = 0; i < names.count; i++)
        if (bucket_stat(bucket, &names.items[i].name, &size, NULL) < 0 ||
            size != names.items[i].size)
            return false;
    return true;
}

const char *sharing_check_heads(const struct bucket *bucket)
{
    CLEANUP(name_set_release) struct name_set heads = NAME_SET_INIT;
    uint64_t size;

    if (bucket_list(bucket, BUCKET_HEAD, &heads, NULL) < 0)
        return "heads cannot be listed";
    for (size_t i = 0; i < heads.count; i++) {
        const struct bucket_name manifest = bucket_name_of(BUCKET_MANIFEST, heads.items[i].name.id);
        struct sharing_snapshot snapshot;
        bool is_whole = sharing_read_manifest(bucket, &manifest, &snapshot) == 0 &&
                        sharing_is_complete(bucket, &snapshot);
        if (!is_whole && bucket_stat(bucket, &heads.items[i].name, &size, NULL) == 0)
            return "a snapshot exists and is not complete";
    }
    return NULL;
}

unsigned sharing_count(const struct bucket *bucket, enum bucket_kind kind)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;

    assert_int_equal(bucket_list(bucket, kind, &found, NULL), 0);
    return (unsigned)found.count;
}

struct bucket sharing_bucket(struct object_store *store)
{
    struct bucket bucket;

    if (bucket_init(&bucket, store, "shared/by-all", NULL) < 0)
        abort();
    return bucket;
}
