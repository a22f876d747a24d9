/* Writes segment-v1.bin, fs-records-v1.bin, fs-snapshots-v1.bin, fs-restores-v1.bin and so on into
 * the folder that it is given, and beginnings for the fuzzers of both into folders of the second:
 * segment_footer and fs_record. What is in the repository is never written again: a later version
 * of coffer must go on reading it. */
#include <stdio.h>
#include <string.h>

#include "base/file_io.h"
#include "base/wire.h"
#include "tests/support/fs_samples.h"
#include "tests/support/meta_samples.h"

static int save(const char *folder, const char *name, struct bytes data)
{
    char path[512];

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
        return -1;
    return file_replace(path, data, 0644, NULL);
}

/* A key behind the number by which the fuzzer knows that it is one. */
static int save_key_seed(const char *seeds, unsigned number, uint8_t kind, struct bytes key)
{
    uint8_t room[1 + META_KEY_MAX];
    char name[64];
    struct writer writer = writer_init(room, sizeof(room));

    writer_u8(&writer, kind == RECORD_SNAPSHOT || kind == RECORD_RESTORE ? 13
                       : kind == RECORD_USAGE || kind == RECORD_LOCATION ? 9
                                                                         : 8);
    writer_bytes(&writer, key.data, key.len);
    (void)snprintf(name, sizeof(name), "fs_record/key-%u", number);
    return writer_done(&writer) < 0 ? -1 : save(seeds, name, writer_written(&writer));
}

static int make_records(const char *folder, const char *name, const char *seeds, unsigned first,
                        unsigned end)
{
    static uint8_t value[FS_SAMPLE_VALUE_MAX];
    struct buf file = BUF_INIT;
    struct record_key key;
    struct fs_sample sample;
    int r = 0;

    for (unsigned i = first; i < end && r == 0; i++) {
        struct bytes plain = { .data = value };
        fs_sample(i, &sample);
        fs_sample_key(&sample, &key);
        r = fs_sample_encode(&sample, value, &plain.len);
        if (r == 0)
            r = meta_sample_append(&file, record_key_bytes(&key), plain);
        if (r == 0)
            r = save_key_seed(seeds, i, sample.kind, record_key_bytes(&key));
    }
    if (r == 0)
        r = save(folder, name, buf_bytes(&file));
    buf_release(&file);
    return r;
}

/* Plain entries, with the offset of their footer in front. */
static int save_entries_seed(const struct key_set *keys, const char *seeds, struct bytes object)
{
    uint8_t room[4 + FS_SAMPLE_ENTRIES * SEGMENT_ENTRY_LEN];
    uint8_t aad[BLOCK_AAD_LEN + SEGMENT_TAIL_LEN];
    const uint8_t *end = object.data + object.len - SEGMENT_TAIL_LEN;
    struct writer writer = writer_init(room, 4);
    struct block_identity segment;
    struct segment_tail tail;
    struct aead *aead = NULL;

    fs_sample_segment(&segment);
    int r = segment_tail_decode((struct bytes){ .data = end, .len = SEGMENT_TAIL_LEN }, &tail);
    if (r == 0)
        r = segment_aead_new(keys, segment.generation, &segment.segment, &aead);
    if (r < 0)
        return r;
    segment.address = tail.footer_offset;
    writer_u32(&writer, tail.footer_offset);
    block_aad(&segment, aad);
    memcpy(aad + BLOCK_AAD_LEN, end, SEGMENT_TAIL_LEN);
    r = aead_open(aead, end - tail.footer_len, (struct bytes){ .data = aad, .len = sizeof(aad) },
                  (struct bytes){ .data = end - tail.footer_len + AEAD_NONCE_LEN,
                                  .len = tail.footer_len - AEAD_NONCE_LEN },
                  room + 4);
    aead_free(aead);
    return r < 0 ? r
                 : save(seeds, "segment_footer/entries",
                        (struct bytes){ .data = room, .len = sizeof(room) });
}

/* The fuzzer takes plain entries, or a whole object whose end it looks at. */
static int make_segment(const char *folder, const char *seeds)
{
    struct buf object = BUF_INIT;
    struct secret name_key;
    struct key_set keys;

    meta_sample_keys(&keys, &name_key);
    int r = fs_sample_object(&keys, &object);
    if (r == 0)
        r = save(folder, "segment-v1.bin", buf_bytes(&object));
    if (r == 0)
        r = save(seeds, "segment_footer/object", buf_bytes(&object));
    if (r == 0)
        r = save_entries_seed(&keys, seeds, buf_bytes(&object));
    buf_release(&object);
    key_set_release(&keys);
    secret_release(&name_key);
    return r;
}

int main(int argc, char **argv)
{
    if (argc != 3 || secret_heap_init(NULL) < 0)
        return 2;
    int r = make_records(argv[1], "fs-records-v1.bin", argv[2], 0, FS_SAMPLES_BEFORE_SNAPSHOTS);
    if (r == 0)
        r = make_records(argv[1], "fs-snapshots-v1.bin", argv[2], FS_SAMPLES_BEFORE_SNAPSHOTS,
                         FS_SAMPLES_BEFORE_DOWNLOADS);
    if (r == 0)
        r = make_records(argv[1], "fs-downloads-v1.bin", argv[2], FS_SAMPLES_BEFORE_DOWNLOADS,
                         FS_SAMPLES_BEFORE_RESTORES);
    if (r == 0)
        r = make_records(argv[1], "fs-restores-v1.bin", argv[2], FS_SAMPLES_BEFORE_RESTORES,
                         FS_SAMPLES_BEFORE_IMPORTS);
    if (r == 0)
        r = make_records(argv[1], "fs-imports-v1.bin", argv[2], FS_SAMPLES_BEFORE_IMPORTS,
                         FS_SAMPLES);
    return (r == 0 ? make_segment(argv[1], argv[2]) : r) < 0;
}
