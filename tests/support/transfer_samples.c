#include "tests/support/transfer_samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_TIME 1700000000000000000ull

const struct uuid sample_upload = { { 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x47, 0x88, 0x99, 0xaa,
                                      0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x01 } };
const struct uuid sample_instance = { { 0xaa, 0xbb } };

static void must(int r)
{
    if (r < 0)
        abort();
}

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

void transfer_sample_keys(struct transfer_keys **ret)
{
    struct superblock superblock;
    struct key_set keys;

    sample_superblock(&superblock);
    sample_keys(&keys);
    must(transfer_keys_new(&superblock, key_set_find(&keys, superblock.generation), ret));
    superblock_release(&superblock);
    key_set_release(&keys);
}

static void fill_about(struct snapshot_about *about)
{
    *about = (struct snapshot_about){ .epoch = 7,
                                      .created_ns = SAMPLE_TIME,
                                      .uploaded_ns = SAMPLE_TIME + 1000000000u,
                                      .size = 123456789,
                                      .inodes = 321,
                                      .filesystem = "projects",
                                      .snapshot = "nightly",
                                      .access_point = "@GMT_2023.11.14-22.13.20",
                                      .needed_count = 2 };
    about->needed[0] = (struct key_needed){ sample_uuid, 1 };
    about->needed[1] = (struct key_needed){ sample_uuid, 2 };
}

void transfer_sample_manifest(struct manifest *ret)
{
    struct manifest manifest = { .fs = sample_uuid,
                                 .generation = 2,
                                 .upload = sample_upload,
                                 .block_size = 16384,
                                 .data_len = 3 * 70000,
                                 .records = 12,
                                 .set = { 12, { 1, 2, 3, 4 } } };
    uint8_t name[CHUNK_NAME_LEN];

    fill_about(&manifest.about);
    memset(name, 0x31, sizeof(name));
    must(manifest_add_chunk(&manifest, name, 40000, 9, text("\1\20aaaaaaaa"), NULL));
    memset(name, 0x20, sizeof(name));
    must(manifest_add_chunk(&manifest, name, 900, 3, text("\1\27bbbbbbbbbbbbbbbbcccc"), NULL));
    for (uint8_t i = 3; i > 0; i--) {
        memset(name, i, sizeof(name));
        must(manifest_add_pack(&manifest, name, 70000, NULL));
    }
    manifest_sort_packs(&manifest);
    *ret = manifest;
}

void transfer_sample_head(const uint8_t manifest[static HASH_LEN], uint64_t manifest_len,
                          struct buf *superblock, struct buf *ring, struct snapshot_head *ret)
{
    uint8_t encoded[SUPERBLOCK_MAX];
    struct superblock sb;
    struct key_ring key_ring;
    struct key_set keys;
    size_t len = 0;

    sample_keys(&keys);
    sample_superblock(&sb);
    sample_ring(&key_ring);
    must(superblock_encode(&sb, key_set_find(&keys, sb.generation), encoded, &len, NULL));
    must(buf_assign(superblock, (struct bytes){ encoded, len }));
    must(key_ring_encode(&key_ring, &keys, ring, NULL));
    *ret = (struct snapshot_head){ .manifest_len = manifest_len,
                                   .upload = sample_upload,
                                   .data_len = 3 * 70000,
                                   .has_names = true,
                                   .superblock = buf_bytes(superblock),
                                   .ring = buf_bytes(ring) };
    memcpy(ret->manifest, manifest, HASH_LEN);
    fill_about(&ret->about);
    key_ring_release(&key_ring);
    superblock_release(&sb);
    key_set_release(&keys);
}

void transfer_sample_reference(struct reference_head *ret, struct name_set *ret_names)
{
    uint8_t id[BUCKET_ID_LEN];

    *ret = (struct reference_head){ .kind = REFERENCE_UPLOAD,
                                    .reference = sample_upload,
                                    .fs = sample_uuid,
                                    .instance = sample_instance,
                                    .written_ns = SAMPLE_TIME };
    for (int kind = BUCKET_PACK; kind <= BUCKET_MANIFEST; kind++) {
        memset(id, 0x40 + kind, sizeof(id));
        const struct bucket_name name = bucket_name_of((enum bucket_kind)kind, id);
        must(name_set_add(ret_names, &name, 0));
    }
}

void transfer_sample_mark(struct removing_mark *ret)
{
    *ret = (struct removing_mark){ sample_upload, sample_instance, SAMPLE_TIME };
}

void transfer_sample_chunk(struct buf *ret)
{
    uint8_t room[200];
    struct writer writer = writer_init(room, sizeof(room));
    const struct dump_record records[] = {
        { text("\1\20aaaaaaaa"), text("an inode") },
        { text("\1\20bbbbbbbb"), text("") },
        { text("\1\21aaaaaaaabbbbbbbbbbbbbbbb"), text("a name") },
    };

    dump_chunk_write_head(&writer, 3);
    for (unsigned i = 0; i < 3; i++)
        dump_record_write(&writer, &records[i]);
    must(writer_done(&writer));
    must(buf_assign(ret, writer_written(&writer)));
}
