#include "tests/support/transfer_case.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "fs/segment_format.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/s3_case.h"
#include "transfer/placed.h"

static void make_ring(struct transfer_case *c)
{
    CLEANUP(superblock_release)
    struct superblock superblock = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    const struct key_set *keys = &c->volume.keys;
    const struct wrapped_key wrapped = { .provider = "vault", .key_name = "coffer", .blob_len = 1 };
    struct key_ring ring;

    assert_int_equal(superblock_decode(buf_bytes(&c->superblock), keys, &superblock, NULL), 0);
    key_ring_init(&ring, &c->volume.uuid);
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct key_generation_new new = { .number = keys->generations[i],
                                                .key = &keys->keys[i],
                                                .wrapped = &wrapped,
                                                .now_ns = 1,
                                                .name_key = &superblock.name_key,
                                                .chunk_key = &superblock.chunk_key };
        assert_int_equal(key_ring_add(&ring, &new, NULL), 0);
    }
    for (uint32_t i = 0; i < keys->foreign_count; i++) {
        const struct key_generation_new new = { .number = keys->foreign[i].generation,
                                                .origin = &keys->foreign[i].origin,
                                                .key = &keys->foreign[i].key,
                                                .wrapped = &wrapped,
                                                .now_ns = 1 };
        assert_int_equal(key_ring_add(&ring, &new, NULL), 0);
    }
    assert_int_equal(key_ring_encode(&ring, keys, &c->ring, NULL), 0);
    key_ring_release(&ring);
}

void transfer_case_new(struct transfer_case *ret, const char *kind)
{
    char url[128] = "memory:", path[96];

    memset(ret, 0, sizeof(*ret));
    volume_case_new(&ret->volume, 0);
    if (strcmp(kind, "dir") == 0) {
        (void)snprintf(path, sizeof(path), "%s/bucket", ret->volume.folder);
        assert_int_equal(mkdir(path, 0700), 0);
        (void)snprintf(url, sizeof(url), "dir:%s", path);
    }
    if (s3_case_is_there())
        ret->store = s3_case_open(NULL);
    else
        assert_int_equal(object_store_open(url, &ret->store, NULL), 0);
    assert_int_equal(bucket_init(&ret->bucket, ret->store, "", NULL), 0);
    assert_int_equal(object_store_get(ret->volume.store, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX,
                                      &ret->superblock, NULL),
                     0);
    make_ring(ret);
    ret->pack_len = 256 * 1024;
}

void transfer_case_adopt(struct transfer_case *ret, const struct volume_case *volume,
                         struct object_store *store)
{
    memset(ret, 0, sizeof(*ret));
    ret->volume = *volume;
    ret->store = store;
    ret->pack_len = 256 * 1024;
    assert_int_equal(bucket_init(&ret->bucket, store, "", NULL), 0);
    assert_int_equal(
        object_store_get(volume->store, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX, &ret->superblock, NULL),
        0);
    make_ring(ret);
}

void transfer_case_disown(struct transfer_case *c)
{
    buf_release(&c->superblock);
    buf_release(&c->ring);
}

void transfer_case_end(struct transfer_case *c)
{
    object_store_close(c->store);
    buf_release(&c->superblock);
    buf_release(&c->ring);
    volume_case_end(&c->volume);
}

struct volume_snapshot transfer_case_take(struct transfer_case *c, const char *name)
{
    struct volume_snapshot snapshot;

    assert_int_equal(volume_snapshot_take(c->volume.volume, name, name, &snapshot, NULL), 0);
    return snapshot;
}

static int look_again(const struct removing_mark *mark, void *arg)
{
    (void)mark;
    (void)arg;
    return sched_yield();
}

int transfer_case_try_upload(struct transfer_case *c, const char *name, const struct uuid *upload,
                             struct object_store *store, struct locator *ret, struct error *err)
{
    CLEANUP(volume_export_closep) struct volume_export *export = NULL;
    struct volume_source source;
    struct bucket bucket;

    int r = volume_export_open(c->volume.volume, name, &export, err);
    if (r < 0)
        return r;
    assert_int_equal(bucket_init(&bucket, store ? store : c->store, "", NULL), 0);
    volume_source_init(&source, export);
    const struct upload_config config = {
        .bucket = &bucket,
        .source = &source.base,
        .superblock = buf_bytes(&c->superblock),
        .ring = buf_bytes(&c->ring),
        .keys = &c->volume.keys,
        .upload = *upload,
        .instance = c->volume.owner,
        .started_ns = 77,
        .filesystem = "projects",
        .pack_len = c->pack_len,
        .parallel = store ? 1 : 3, /* a mortal store counts for one thread */
        .wait = { look_again, NULL },
    };
    return upload_run(&config, ret, &c->progress, err);
}

struct locator transfer_case_upload(struct transfer_case *c, const char *name)
{
    struct error err = { .code = 0 };
    struct locator locator;
    struct uuid upload;

    random_uuid(&upload);
    if (transfer_case_try_upload(c, name, &upload, NULL, &locator, &err) != 0)
        fail_msg("%s", err.text);
    return locator;
}

static void note_fault(const char *text, void *arg)
{
    struct transfer_case *c = arg;
    size_t len = strlen(c->faults);

    (void)snprintf(c->faults + len, sizeof(c->faults) - len, "%s\n", text);
}

int64_t transfer_case_verify(struct transfer_case *c, const struct locator *locator,
                             unsigned one_in)
{
    const struct verify_config config = { .bucket = &c->bucket,
                                          .locator = *locator,
                                          .keys = &c->volume.keys,
                                          .one_in = one_in,
                                          .report = note_fault,
                                          .arg = c };
    struct verify_progress progress;
    struct error err = { .code = 0 };
    uint64_t faults = 0;

    c->faults[0] = '\0';
    int r = verify_run(&config, &progress, &faults, &err);
    if (r < 0)
        note_fault(err.text, c);
    return r < 0 ? r : (int64_t)faults;
}

/* --- content --- */

struct content {
    struct transfer_case *c;
    struct superblock superblock;
    struct transfer_keys *keys;
    struct manifest manifest;
    struct placed_list placed;
    const struct volume_snapshot *snapshot;
    unsigned files;
};

static void open_content(struct content *content, const struct locator *locator)
{
    CLEANUP(buf_release) struct buf head = BUF_INIT;
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    struct transfer_case *c = content->c;
    const struct bucket_name name = bucket_name_of(BUCKET_MANIFEST, locator->manifest);

    assert_int_equal(head_get(&c->bucket, locator->manifest, &head, NULL), 0);
    assert_int_equal(head_verify(buf_bytes(&head), &c->volume.keys,
                                 (struct key_checks){ .items = NULL }, &content->superblock,
                                 &content->keys, NULL),
                     0);
    assert_int_equal(bucket_get(&c->bucket, &name, MANIFEST_MAX, &object, NULL), 0);
    assert_int_equal(manifest_open(content->keys, locator->manifest, buf_bytes(&object),
                                   &content->manifest, NULL),
                     0);
    const struct dump_source source = { &c->bucket, content->keys, &content->manifest };
    assert_int_equal(placed_load(&source, &content->placed, NULL), 0);
}

static void read_block(const struct content *content, const struct block_run *block, uint8_t *plain)
{
    static uint8_t sealed[CHUNK_SIZE + BLOCK_OVERHEAD];
    CLEANUP(object_closep) struct object *object = NULL;
    char text[OBJECT_NAME_MAX + 1];
    struct aead *aead = NULL;
    struct placed at;
    size_t got = 0;

    assert_int_equal(placed_blocks(&content->placed, block, &at), 1);
    const struct bucket_name name = bucket_name_of(BUCKET_PACK, at.pack);
    bucket_object_name(&content->c->bucket, &name, text);
    assert_int_equal(object_store_open_object(content->c->store, text, &object, NULL), 0);
    assert_int_equal(object_read(object, at.offset, at.len, sealed, &got, NULL), 0);
    assert_int_equal(got, at.len);
    assert_int_equal(segment_aead_new(&content->c->volume.keys, at.identity.generation,
                                      &at.identity.segment, &aead),
                     0);
    assert_int_equal(block_open(aead, &at.identity, (struct bytes){ sealed, at.len }, plain), 0);
    aead_free(aead);
}

static void fill_chunk(const struct content *content, const struct extents *list, uint8_t *to)
{
    static uint8_t plain[CHUNK_SIZE];

    for (size_t i = 0; i < list->count; i++) {
        const struct extent *extent = &list->items[i];
        struct block_run block = extent_run(extent);
        uint32_t skip = extent->skip, done = 0;
        for (uint32_t n = block.count; n > 0; n--, skip = 0) {
            block.count = 1;
            read_block(content, &block, plain);
            uint32_t len = block.block_len - skip;
            len = len < extent->len - done ? len : extent->len - done;
            memcpy(to + extent->offset + done, plain + skip, len);
            done += len;
            block.address += block.block_len + BLOCK_OVERHEAD;
        }
    }
}

static void compare_file(struct content *content, uint64_t ino, const struct inode *inode)
{
    static uint8_t expected[CHUNK_SIZE], found[CHUNK_SIZE];
    const uint64_t seen = (uint64_t)content->snapshot->slot << 48 | ino;
    const struct dump_source source = { &content->c->bucket, content->keys, &content->manifest };

    for (uint64_t at = 0; at < inode->size; at += CHUNK_SIZE) {
        CLEANUP(extents_release) struct extents list = EXTENTS_INIT;
        struct dump_reader reader;
        struct dump_record record;
        struct record_key key;
        size_t len = 0;
        extents_key(ino, (uint32_t)(at / CHUNK_SIZE), &key);
        memset(found, 0, sizeof(found));
        if (at == 0)
            memcpy(found, inode->body, inode->body_len);
        dump_reader_init(&reader, &source);
        assert_int_equal(dump_reader_seek(&reader, record_key_bytes(&key), NULL), 0);
        if (dump_reader_next(&reader, &record, NULL) == 0 &&
            dump_key_compare(record.key, record_key_bytes(&key)) == 0) {
            assert_int_equal(extents_decode(record.value, &list), 0);
            fill_chunk(content, &list, found);
        }
        dump_reader_release(&reader);
        assert_int_equal(
            volume_read(content->c->volume.volume, seen, at, CHUNK_SIZE, expected, &len), 0);
        assert_memory_equal(found, expected, len);
    }
    content->files++;
}

unsigned transfer_case_compare(struct transfer_case *c, const struct locator *locator,
                               const struct volume_snapshot *snapshot)
{
    struct content content = { .c = c, .snapshot = snapshot };
    static struct inode inode;
    struct dump_reader reader;
    struct dump_record record;
    uint64_t ino;

    open_content(&content, locator);
    const struct dump_source source = { &c->bucket, content.keys, &content.manifest };
    dump_reader_init(&reader, &source);
    while (dump_reader_next(&reader, &record, NULL) == 0) {
        if (record_key_inode(record.key, RECORD_INODE, &ino, NULL) < 0)
            continue;
        assert_int_equal(inode_decode(record.value, &inode), 0);
        if (S_ISREG(inode.mode))
            compare_file(&content, ino, &inode);
    }
    dump_reader_release(&reader);
    superblock_release(&content.superblock);
    transfer_keys_free(content.keys);
    manifest_release(&content.manifest);
    placed_list_release(&content.placed);
    return content.files;
}

struct removal_counts transfer_case_remove(struct transfer_case *c, const struct locator *locator)
{
    struct removal_counts counts;
    struct removal removal;
    struct removing_mark mark = { .instance = c->volume.owner };
    struct error err = { .code = 0 };

    random_uuid(&mark.mark);
    assert_int_equal(removal_begin(&removal, &c->bucket, &mark, NULL), 0);
    if (locator)
        assert_int_equal(removal_snapshot(&removal, locator->manifest, NULL), 0);
    if (removal_sweep(&removal, NULL, NULL, &counts, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(removal_end(&removal, NULL), 0);
    return counts;
}

unsigned transfer_case_count(struct transfer_case *c, enum bucket_kind kind)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;

    assert_int_equal(bucket_list(&c->bucket, kind, &found, NULL), 0);
    return (unsigned)found.count;
}
