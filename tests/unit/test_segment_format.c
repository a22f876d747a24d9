/* A segment that version 1 wrote: read, compared member by member, and every altered byte noticed.
 */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file_io.h"
#include "tests/support/fs_samples.h"
#include "tests/support/meta_samples.h"

struct fixture {
    struct key_set keys;
    struct secret name_key;
    struct buf object;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    meta_sample_keys(&fixture->keys, &fixture->name_key);
    assert_int_equal(file_read(FORMATS_FOLDER "/segment-v1.bin", 65536, &fixture->object, NULL), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    buf_release(&fixture->object);
    key_set_release(&fixture->keys);
    secret_release(&fixture->name_key);
    free(fixture);
    return 0;
}

/* Header, footer and tail. */
static int read_frame(const struct key_set *keys, struct bytes object, struct segment_entry **ret,
                      uint32_t *ret_count)
{
    struct block_identity segment;
    uint8_t header[SEGMENT_HEADER_LEN];
    struct segment_tail tail;
    struct aead *aead = NULL;

    if (object.len < SEGMENT_HEADER_LEN + SEGMENT_TAIL_LEN)
        return -EBADMSG;
    fs_sample_segment(&segment);
    segment_header_encode(&segment, header);
    if (memcmp(object.data, header, sizeof(header)) != 0)
        return -EBADMSG;
    size_t end = object.len - SEGMENT_TAIL_LEN;
    const struct bytes tail_bytes = { .data = object.data + end, .len = SEGMENT_TAIL_LEN };
    int r = segment_tail_decode(tail_bytes, &tail);
    if (r < 0)
        return r;
    if (tail.footer_offset + (uint64_t)tail.footer_len != end)
        return -EBADMSG;
    const struct bytes footer = { .data = object.data + tail.footer_offset,
                                  .len = tail.footer_len };
    assert_int_equal(segment_aead_new(keys, segment.generation, &segment.segment, &aead), 0);
    r = segment_footer_decode(aead, &segment, footer, tail_bytes, ret, ret_count);
    aead_free(aead);
    return r;
}

/* Each block of an entry, which holds what was written. *number counts the blocks. */
static int read_entry(const struct key_set *keys, struct bytes object,
                      const struct segment_entry *entry, unsigned *number)
{
    struct block_identity identity = entry->identity;
    const uint32_t step = entry->block_len + BLOCK_OVERHEAD;
    uint32_t at = entry->offset;
    struct aead *aead = NULL;
    int r = 0;

    assert_true(entry->offset + segment_entry_sealed(entry) <= object.len);
    assert_int_equal(segment_aead_new(keys, identity.generation, &identity.segment, &aead), 0);
    for (uint32_t i = 0; i < entry->count && r == 0; i++, (*number)++) {
        uint8_t room[FS_SAMPLE_BLOCK_MAX];
        uint8_t plain[FS_SAMPLE_BLOCK_MAX];
        const struct bytes wanted = fs_sample_block(*number, room);
        r = block_open(aead, &identity, (struct bytes){ .data = object.data + at, .len = step },
                       plain);
        if (r == 0) {
            assert_int_equal(wanted.len, entry->block_len);
            assert_memory_equal(plain, wanted.data, wanted.len);
        }
        at += step;
        identity.address += step;
    }
    aead_free(aead);
    return r;
}

/* All of it; *ret_entries: as far as the footer was read, to be freed. */
static int read_object(const struct key_set *keys, struct bytes object,
                       struct segment_entry **ret_entries, uint32_t *ret_count)
{
    unsigned number = 0;

    int r = read_frame(keys, object, ret_entries, ret_count);
    for (uint32_t i = 0; r == 0 && i < *ret_count; i++)
        r = read_entry(keys, object, &(*ret_entries)[i], &number);
    if (r == 0)
        assert_int_equal(number, FS_SAMPLE_BLOCKS);
    return r;
}

static void assert_entry(const struct segment_entry *found, const struct segment_entry *wanted)
{
    assert_int_equal(found->offset, wanted->offset);
    assert_int_equal(found->count, wanted->count);
    assert_int_equal(found->block_len, wanted->block_len);
    assert_int_equal(found->ino, wanted->ino);
    assert_int_equal(found->file_offset, wanted->file_offset);
    assert_true(uuid_equal(&found->identity.fs, &wanted->identity.fs));
    assert_int_equal(found->identity.generation, wanted->identity.generation);
    assert_true(uuid_equal(&found->identity.segment, &wanted->identity.segment));
    assert_int_equal(found->identity.address, wanted->identity.address);
}

static void a_segment_of_format_version_1_is_read(void **state)
{
    struct fixture *fixture = *state;
    struct segment_entry wanted[FS_SAMPLE_ENTRIES];
    struct segment_entry *entries = NULL;
    uint32_t count = 0;

    fs_sample_entries(wanted);
    assert_int_equal(read_object(&fixture->keys, buf_bytes(&fixture->object), &entries, &count), 0);
    assert_int_equal(count, FS_SAMPLE_ENTRIES);
    for (unsigned i = 0; i < FS_SAMPLE_ENTRIES; i++)
        assert_entry(&entries[i], &wanted[i]);
    free(entries);
}

/* As docs/formats/segment.md says, by its numbers. */
static void a_segment_lies_as_documented(void **state)
{
    struct fixture *fixture = *state;
    struct block_identity segment;
    const uint8_t *bytes = fixture->object.data;
    const size_t footer = 64 + 2 * (64 + 28) + (10 + 28) + 2 * (32 + 28);
    const uint8_t tail[] = {
        1, 0, 0, 0, footer & 0xff, footer >> 8, 0, 0, 28 + 3 * 68, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0
    };

    fs_sample_segment(&segment);
    assert_int_equal(fixture->object.len, footer + 28 + 3 * 68 + 32);
    assert_memory_equal(bytes, "COFFSEG\0\1\0\0\0\2\0\0\0", 16);
    assert_memory_equal(bytes + 16, segment.fs.bytes, 16);
    assert_memory_equal(bytes + 32, segment.segment.bytes, 16);
    assert_memory_equal(bytes + 48, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    assert_memory_equal(bytes + fixture->object.len - 32, tail, sizeof(tail));
    assert_memory_equal(bytes + fixture->object.len - 8, "COFFEND", 8);
}

static void every_altered_byte_of_a_segment_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *bytes = fixture->object.data;

    for (size_t at = 0; at < fixture->object.len; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            struct segment_entry *entries = NULL;
            uint32_t count = 0;
            bytes[at] ^= (uint8_t)(1u << bit);
            int r = read_object(&fixture->keys, buf_bytes(&fixture->object), &entries, &count);
            assert_true(r == -EBADMSG || r == -EPROTONOSUPPORT);
            bytes[at] ^= (uint8_t)(1u << bit);
            free(entries);
        }
}

static void a_segment_that_was_cut_short_is_noticed(void **state)
{
    struct fixture *fixture = *state;

    for (size_t len = 0; len < fixture->object.len; len++) {
        struct segment_entry *entries = NULL;
        uint32_t count = 0;
        const struct bytes part = { .data = fixture->object.data, .len = len };
        assert_int_equal(read_object(&fixture->keys, part, &entries, &count), -EBADMSG);
        free(entries);
    }
}

/* Who looks for another block does not get this one. */
static void a_block_opens_under_its_own_identity_only(void **state)
{
    struct fixture *fixture = *state;
    struct segment_entry entries[FS_SAMPLE_ENTRIES];
    const struct bytes block = { .data = fixture->object.data + 64, .len = 64 + BLOCK_OVERHEAD };
    uint8_t plain[64];
    struct aead *aead = NULL;

    fs_sample_entries(entries);
    struct block_identity identity = entries[0].identity;
    assert_int_equal(
        segment_aead_new(&fixture->keys, identity.generation, &identity.segment, &aead), 0);
    assert_int_equal(block_open(aead, &identity, block, plain), 0);
    identity.address += 64 + BLOCK_OVERHEAD;
    assert_int_equal(block_open(aead, &identity, block, plain), -EBADMSG);
    identity = entries[0].identity;
    identity.generation = 1;
    assert_int_equal(block_open(aead, &identity, block, plain), -EBADMSG);
    identity = entries[0].identity;
    identity.fs.bytes[0] ^= 1;
    assert_int_equal(block_open(aead, &identity, block, plain), -EBADMSG);
    identity = entries[0].identity;
    identity.segment.bytes[15] ^= 1;
    assert_int_equal(block_open(aead, &identity, block, plain), -EBADMSG);
    aead_free(aead);
    assert_int_equal(segment_aead_new(&fixture->keys, 3, &identity.segment, &aead), -ENOKEY);
}

static void the_footer_of_a_segment_without_blocks_comes_back(void **state)
{
    struct fixture *fixture = *state;
    struct segment_entry *entries = NULL;
    struct block_identity segment;
    struct buf footer = BUF_INIT;
    struct aead *aead = NULL;
    uint32_t count = 1;

    fs_sample_segment(&segment);
    assert_int_equal(segment_aead_new(&fixture->keys, 2, &segment.segment, &aead), 0);
    assert_int_equal(segment_footer_encode(aead, &segment, 64, NULL, 0, &footer), 0);
    assert_int_equal(footer.len, 28 + 32);
    assert_int_equal(segment_footer_decode(aead, &segment, (struct bytes){ footer.data, 28 },
                                           (struct bytes){ footer.data + 28, 32 }, &entries,
                                           &count),
                     0);
    assert_int_equal(count, 0);
    free(entries);
    buf_release(&footer);
    aead_free(aead);
}

static void names_of_objects_come_back_and_others_are_refused(void **state)
{
    static const char *const bad[] = {
        "segments/",
        "segments/5e090807-0605-0403-0201-00010203040",
        "segments/5e090807-0605-0403-0201-000102030405 ",
        "segments/5E090807-0605-0403-0201-000102030405",
        "segments/5e090807-0605-0403-0201-000102030405.tmp",
        "segment/5e090807-0605-0403-0201-000102030405",
        "superblock",
    };
    struct block_identity segment;
    struct uuid back;
    char name[SEGMENT_NAME_SIZE];
    (void)state;

    fs_sample_segment(&segment);
    segment_object_name(&segment.segment, name);
    assert_string_equal(name, "segments/5e090807-0605-0403-0201-000102030405");
    assert_int_equal(segment_of_object_name(name, &back), 0);
    assert_true(uuid_equal(&back, &segment.segment));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(segment_of_object_name(bad[i], &back), -EBADMSG);
}

#define EVERY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERY(a_segment_of_format_version_1_is_read),
        EVERY(a_segment_lies_as_documented),
        EVERY(every_altered_byte_of_a_segment_is_noticed),
        EVERY(a_segment_that_was_cut_short_is_noticed),
        EVERY(a_block_opens_under_its_own_identity_only),
        EVERY(the_footer_of_a_segment_without_blocks_comes_back),
        cmocka_unit_test(names_of_objects_come_back_and_others_are_refused),
    };
    if (secret_heap_init(NULL) < 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
