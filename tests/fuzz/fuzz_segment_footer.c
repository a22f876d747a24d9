/* The end of a segment's object. First as it is found: nothing but what was sealed is believed.
 * Then as if the key were the attacker's: the input, sealed as a footer with a fitting tail, so
 * that the entries are read; what is accepted is written again, and the same. */
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "tests/support/fs_samples.h"
#include "tests/support/meta_samples.h"

static struct aead *aead;
static struct block_identity segment;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool is_so)
{
    if (!is_so)
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static struct key_set keys;
    static struct secret name_key;

    (void)argc;
    (void)argv;
    if (secret_heap_init(NULL) < 0)
        abort();
    meta_sample_keys(&keys, &name_key);
    fs_sample_segment(&segment);
    expect(segment_aead_new(&keys, segment.generation, &segment.segment, &aead) == 0);
    return 0;
}

static void read_as_found(const uint8_t *data, size_t size)
{
    struct segment_entry *entries = NULL;
    struct segment_tail tail;
    uint32_t count = 0;

    if (size < SEGMENT_TAIL_LEN)
        return;
    size_t end = size - SEGMENT_TAIL_LEN;
    const struct bytes tail_bytes = { .data = data + end, .len = SEGMENT_TAIL_LEN };
    if (segment_tail_decode(tail_bytes, &tail) < 0)
        return;
    size_t len = tail.footer_len < end ? tail.footer_len : end;
    (void)segment_footer_decode(aead, &segment,
                                (struct bytes){ .data = data + end - len, .len = len }, tail_bytes,
                                &entries, &count);
    free(entries);
}

static void make_tail(uint32_t offset, uint32_t count, uint8_t ret[static SEGMENT_TAIL_LEN])
{
    struct writer writer = writer_init(ret, SEGMENT_TAIL_LEN);

    writer_u32(&writer, 1);
    writer_u32(&writer, offset);
    writer_u32(&writer, count * SEGMENT_ENTRY_LEN + BLOCK_OVERHEAD);
    writer_u32(&writer, count);
    writer_u64(&writer, 0);
    writer_bytes(&writer, "COFFEND", 8);
}

/* As segment_footer_encode() does it, but of any entries. Footer and tail, to be freed. */
static uint8_t *seal(uint32_t offset, struct bytes plain)
{
    static const uint8_t nonce[AEAD_NONCE_LEN];
    uint8_t aad[BLOCK_AAD_LEN + SEGMENT_TAIL_LEN];
    struct block_identity identity = segment;
    uint8_t *sealed = calloc(1, plain.len + BLOCK_OVERHEAD + SEGMENT_TAIL_LEN);

    expect(sealed != NULL);
    uint8_t *tail = sealed + plain.len + BLOCK_OVERHEAD;
    make_tail(offset, (uint32_t)(plain.len / SEGMENT_ENTRY_LEN), tail);
    identity.address = offset;
    block_aad(&identity, aad);
    memcpy(aad + BLOCK_AAD_LEN, tail, SEGMENT_TAIL_LEN);
    expect(aead_seal(aead, nonce, (struct bytes){ .data = aad, .len = sizeof(aad) }, plain,
                     sealed + AEAD_NONCE_LEN) == 0);
    return sealed;
}

static void expect_written_again(uint32_t offset, struct bytes plain,
                                 const struct segment_entry *entries, uint32_t count)
{
    struct segment_entry *back = NULL;
    struct buf footer = BUF_INIT;
    uint32_t back_count = 0;

    expect(segment_footer_encode(aead, &segment, offset, entries, count, &footer) == 0);
    expect(footer.len == plain.len + BLOCK_OVERHEAD + SEGMENT_TAIL_LEN);
    size_t sealed_len = footer.len - SEGMENT_TAIL_LEN;
    expect(segment_footer_decode(
               aead, &segment, (struct bytes){ .data = footer.data, .len = sealed_len },
               (struct bytes){ .data = footer.data + sealed_len, .len = SEGMENT_TAIL_LEN }, &back,
               &back_count) == 0);
    expect(back_count == count && memcmp(back, entries, count * sizeof(*back)) == 0);
    free(back);
    buf_release(&footer);
}

static void read_as_sealed(struct reader *reader)
{
    uint32_t offset = reader_u32(reader);
    const struct bytes plain = { .data = reader->data,
                                 .len = reader->len / SEGMENT_ENTRY_LEN * SEGMENT_ENTRY_LEN };
    struct segment_entry *entries = NULL;
    uint32_t count = 0;

    if (reader->failed)
        return;
    uint8_t *sealed = seal(offset, plain);
    size_t sealed_len = plain.len + BLOCK_OVERHEAD;
    int r = segment_footer_decode(
        aead, &segment, (struct bytes){ .data = sealed, .len = sealed_len },
        (struct bytes){ .data = sealed + sealed_len, .len = SEGMENT_TAIL_LEN }, &entries, &count);
    if (r == 0) {
        for (uint32_t i = 0; i < count; i++)
            expect(entries[i].offset + segment_entry_sealed(&entries[i]) <= offset);
        expect_written_again(offset, plain, entries, count);
    }
    free(entries);
    free(sealed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = reader_init((struct bytes){ data, size });

    read_as_found(data, size);
    read_as_sealed(&reader);
    return 0;
}
