/* Locators and the objects of a bucket: the first byte says which reader. What a reader takes, its
 * writer must write in the same way. Sealed objects also as if the key were the attacker's: what
 * is in a manifest or a chunk is read without its seal. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/transfer_samples.h"
#include "transfer/locator.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct transfer_keys *keys;
static struct key_set key_set;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (secret_heap_init(NULL) < 0)
        abort();
    transfer_sample_keys(&keys);
    sample_keys(&key_set);
    return 0;
}

static void expect(bool is_so)
{
    if (!is_so)
        abort();
}

static void expect_same(struct bytes input, const struct buf *written)
{
    expect(written->len == input.len && memcmp(written->data, input.data, input.len) == 0);
}

static void locator(struct bytes input)
{
    struct locator found, again;
    char text[200], canonical[LOCATOR_SIZE];

    if (input.len >= sizeof(text))
        return;
    memcpy(text, input.data, input.len);
    text[input.len] = '\0';
    if (locator_parse(text, &found, NULL) < 0)
        return;
    expect(locator_format(&found, canonical, NULL) == 0);
    expect(locator_parse(canonical, &again, NULL) == 0);
    expect(memcmp(&found, &again, sizeof(found)) == 0);
}

static void head(struct bytes input)
{
    struct superblock superblock = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    struct transfer_keys *opened = NULL;
    struct buf changed = BUF_INIT;
    struct snapshot_head found;

    int decoded = head_decode(input, &found, NULL);
    if (decoded == 0) {
        expect(head_exchange_ring(input, found.ring, &changed, NULL) == 0);
        expect_same(input, &changed);
    }
    int r = head_verify(input, &key_set, (struct key_checks){ .items = NULL }, &superblock, &opened,
                        NULL);
    expect(decoded == 0 || r < 0);
    superblock_release(&superblock);
    transfer_keys_free(opened);
    buf_release(&changed);
}

static void manifest_plain(struct bytes input)
{
    struct manifest found = MANIFEST_INIT;
    struct buf written = BUF_INIT;

    if (manifest_decode(input, &found) == 0) {
        expect(manifest_encode(&found, &written) == 0);
        expect_same(input, &written);
        (void)manifest_find_chunk(&found, input);
    }
    manifest_release(&found);
    buf_release(&written);
}

static void manifest(struct bytes input)
{
    struct manifest found = MANIFEST_INIT;
    uint8_t name[HASH_LEN];

    expect(hash_sha256(&input, 1, name) == 0);
    (void)manifest_open(keys, name, input, &found, NULL);
    manifest_release(&found);
}

static void reference(struct bytes input)
{
    struct name_set names = NAME_SET_INIT;
    struct buf written = BUF_INIT;
    struct reference_head found;

    if (reference_decode(input, &found, &names) == 0) {
        expect(reference_encode(&found, &names, &written) == 0);
        expect_same(input, &written);
    }
    name_set_release(&names);
    buf_release(&written);
}

static void mark(struct bytes input)
{
    struct buf written = BUF_INIT;
    struct removing_mark found;

    if (mark_decode(input, &found) == 0) {
        expect(mark_encode(&found, &written) == 0);
        expect_same(input, &written);
    }
    buf_release(&written);
}

/* The same with a digest that fits, which anybody can make. */
static void with_digest(struct bytes input, void (*read)(struct bytes input))
{
    struct buf whole = BUF_INIT;
    uint8_t digest[HASH_LEN];

    expect(hash_sha256(&input, 1, digest) == 0 && buf_append(&whole, input) == 0 &&
           buf_append(&whole, (struct bytes){ digest, HASH_LEN }) == 0);
    read(buf_bytes(&whole));
    buf_release(&whole);
}

static void chunk_plain(struct bytes input)
{
    struct dump_record record;
    struct dump_chunk found;
    uint32_t records = 0;

    if (dump_chunk_decode(input, &found) < 0)
        return;
    while (dump_record_next(&found.body, &record))
        records++;
    expect(found.body.len == 0 && records == found.records);
}

static void chunk(struct bytes input)
{
    static const uint8_t name[CHUNK_NAME_LEN];
    struct buf plain = BUF_INIT;

    (void)chunk_open(keys, name, input, &plain);
    buf_release(&plain);
}

static void object_name(struct bytes input)
{
    const struct bucket bucket = { .prefix = "a/" };
    char text[OBJECT_NAME_MAX + 1], again[OBJECT_NAME_MAX + 1];
    struct bucket_name found;

    if (input.len > OBJECT_NAME_MAX)
        return;
    memcpy(text, input.data, input.len);
    text[input.len] = '\0';
    if (bucket_object_parse(&bucket, text, &found) < 0)
        return;
    bucket_object_name(&bucket, &found, again);
    expect(strcmp(text, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(struct bytes input) = { locator,     head,  manifest_plain,
                                                           reference,   mark,  manifest,
                                                           chunk_plain, chunk, object_name };

    if (size == 0)
        return 0;
    const struct bytes input = { data + 1, size - 1 };
    readers[data[0] % (sizeof(readers) / sizeof(readers[0]))](input);
    with_digest(input, data[0] % 2 ? reference : mark);
    return 0;
}
