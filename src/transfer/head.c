#include "transfer/head.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define VERSION 1u

static const uint8_t magic[8] = { 'C', 'O', 'F', 'F', 'E', 'R', 'H', 'D' };

static void write_covered(struct writer *writer, const struct snapshot_head *head)
{
    writer_bytes(writer, magic, sizeof(magic));
    writer_u32(writer, VERSION);
    writer_bytes(writer, head->manifest, HASH_LEN);
    writer_u64(writer, head->manifest_len);
    writer_bytes(writer, head->upload.bytes, UUID_LEN);
    writer_u64(writer, head->about.created_ns);
    writer_u64(writer, head->about.uploaded_ns);
    writer_u64(writer, head->about.size);
    writer_u64(writer, head->about.inodes);
    writer_u64(writer, head->data_len);
    needed_write(writer, head->about.needed_count, head->about.needed);
    writer_u8(writer, head->has_names ? 1 : 0);
    if (head->has_names) {
        about_text_write(writer, head->about.filesystem);
        about_text_write(writer, head->about.snapshot);
        about_text_write(writer, head->about.access_point);
    }
    writer_string(writer, head->superblock);
}

int head_encode(const struct snapshot_head *head, const struct transfer_keys *keys, struct buf *ret,
                struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    uint8_t mac[HASH_LEN];

    encoded.data = malloc(HEAD_MAX);
    if (!encoded.data)
        return error_set(err, -ENOMEM, "cannot write a snapshot's head: out of memory");
    struct writer writer = writer_init(encoded.data, HEAD_MAX);
    write_covered(&writer, head);
    const struct bytes covered = writer_written(&writer);
    if (hmac_sha256(keys->heads, &covered, 1, mac) < 0)
        return error_set(err, -ENOMEM, "cannot write a snapshot's head: out of memory");
    writer_bytes(&writer, mac, HASH_LEN);
    writer_string(&writer, head->ring);
    if (writer_done(&writer) < 0)
        return error_set(err, -EINVAL,
                         "the snapshot cannot be uploaded under these names: they are too long, or"
                         " hold letters that cannot be shown");
    encoded.len = writer.len;
    buf_move(ret, &encoded);
    return 0;
}

struct parts {
    struct bytes covered;
    const uint8_t *mac;
};

static void read_covered(struct reader *reader, struct snapshot_head *ret)
{
    reader_copy(reader, ret->manifest, HASH_LEN);
    ret->manifest_len = reader_u64(reader);
    reader_copy(reader, ret->upload.bytes, UUID_LEN);
    ret->about.created_ns = reader_u64(reader);
    ret->about.uploaded_ns = reader_u64(reader);
    ret->about.size = reader_u64(reader);
    ret->about.inodes = reader_u64(reader);
    ret->data_len = reader_u64(reader);
    ret->about.needed_count = needed_read(reader, ret->about.needed);
    uint8_t has_names = reader_u8(reader);
    ret->has_names = has_names == 1;
    if (has_names > 1)
        reader_fail(reader);
    if (ret->has_names) {
        about_text_read(reader, ret->about.filesystem);
        about_text_read(reader, ret->about.snapshot);
        about_text_read(reader, ret->about.access_point);
    }
    ret->superblock = reader_string(reader, SUPERBLOCK_MAX);
}

static int parse(struct bytes encoded, struct snapshot_head *ret, struct parts *ret_parts,
                 struct error *err)
{
    struct reader reader = reader_init(encoded);
    struct snapshot_head head = { .has_names = false };
    uint8_t found[sizeof(magic)];
    struct parts parts;

    reader_copy(&reader, found, sizeof(found));
    uint32_t version = reader_u32(&reader);
    if (reader.failed || memcmp(found, magic, sizeof(magic)) != 0)
        return error_set(err, -EBADMSG,
                         "the head of the snapshot is not one: its beginning is"
                         " altered");
    if (version != VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "the head of the snapshot is of format version %u, and this coffer reads"
                         " only %u: use a newer coffer",
                         version, VERSION);
    read_covered(&reader, &head);
    parts.covered = (struct bytes){ encoded.data, encoded.len - reader.len };
    parts.mac = reader_bytes(&reader, HASH_LEN).data;
    head.ring = reader_string(&reader, KEY_RING_MAX);
    if (reader_done(&reader) < 0 || !parts.mac || head.manifest_len > MANIFEST_MAX)
        return error_set(err, -EBADMSG, "the head of the snapshot is malformed");
    *ret = head;
    *ret_parts = parts;
    return 0;
}

int head_decode(struct bytes encoded, struct snapshot_head *ret, struct error *err)
{
    struct parts parts;

    return parse(encoded, ret, &parts, err);
}

static int verify_mac(const struct parts *parts, const struct transfer_keys *keys,
                      struct error *err)
{
    uint8_t mac[HASH_LEN];

    if (hmac_sha256(keys->heads, &parts->covered, 1, mac) < 0)
        return error_set(err, -ENOMEM, "cannot verify the head of the snapshot: out of memory");
    if (!secret_equal((struct bytes){ mac, HASH_LEN }, (struct bytes){ parts->mac, HASH_LEN }))
        return error_set(err, -EBADMSG,
                         "the head of the snapshot was altered or forged: its MAC is wrong");
    return 0;
}

int head_verify(struct bytes encoded, const struct key_set *keys, struct key_checks known,
                struct superblock *ret_superblock, struct transfer_keys **ret_keys,
                struct error *err)
{
    CLEANUP(superblock_release)
    struct superblock superblock = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(transfer_keys_freep) struct transfer_keys *transfer = NULL;
    struct snapshot_head head;
    struct parts parts;

    int r = parse(encoded, &head, &parts, err);
    if (r < 0)
        return r;
    const struct key_ring_evidence evidence = { head.superblock, keys, known };
    r = key_ring_verify(head.ring, &evidence, &ring, err);
    if (r == 0)
        r = superblock_decode(head.superblock, keys, &superblock, err);
    if (r < 0)
        return r;
    r = transfer_keys_new(&superblock, key_set_find(keys, superblock.generation), &transfer);
    if (r < 0)
        return error_set(err, r, "cannot verify the head of the snapshot: out of memory");
    r = verify_mac(&parts, transfer, err);
    if (r < 0)
        return r;
    *ret_superblock = superblock;
    superblock = (struct superblock){ .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    *ret_keys = TAKE(transfer);
    return 0;
}

int head_exchange_ring(struct bytes encoded, struct bytes ring, struct buf *ret, struct error *err)
{
    CLEANUP(buf_release) struct buf changed = BUF_INIT;
    struct snapshot_head head;
    struct parts parts;

    int r = parse(encoded, &head, &parts, err);
    if (r < 0)
        return r;
    changed.data = malloc(HEAD_MAX);
    if (!changed.data)
        return error_set(err, -ENOMEM, "cannot write a snapshot's head: out of memory");
    struct writer writer = writer_init(changed.data, HEAD_MAX);
    writer_bytes(&writer, parts.covered.data, parts.covered.len);
    writer_bytes(&writer, parts.mac, HASH_LEN);
    writer_string(&writer, ring);
    if (ring.len > KEY_RING_MAX || writer_done(&writer) < 0)
        return error_set(err, -EINVAL, "the key ring is longer than any can be");
    changed.len = writer.len;
    buf_move(ret, &changed);
    return 0;
}

int head_get(const struct bucket *bucket, const uint8_t manifest[static HASH_LEN], struct buf *ret,
             struct error *err)
{
    const struct bucket_name name = bucket_name_of(BUCKET_HEAD, manifest);
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    char object[OBJECT_NAME_MAX + 1];
    struct error why = { .code = 0 };
    struct snapshot_head head;

    int r = bucket_get(bucket, &name, HEAD_MAX, &encoded, err);
    if (r == -ENOENT)
        return error_set(err, r,
                         "the object store holds no snapshot of this locator: it was removed, its"
                         " upload did not end, or it is in another object store");
    if (r < 0)
        return r;
    r = head_decode(buf_bytes(&encoded), &head, &why);
    bucket_object_name(bucket, &name, object);
    if (r < 0)
        return error_set(err, r, "%s: %s", object, why.text);
    if (memcmp(head.manifest, manifest, HASH_LEN) != 0)
        return error_set(err, -EBADMSG,
                         "%s is the head of another snapshot: objects were exchanged", object);
    buf_move(ret, &encoded);
    return 0;
}
