/* What of packs is read in one request: blocks in their order, none twice, over small gaps. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "crypto/random.h"
#include "fs/pack_blocks.h"
#include "fs/segment_format.h"

#define LEN 4096u
#define STEP (LEN + BLOCK_OVERHEAD)

/* Blocks of pack p, which holds the addresses of one segment in their order. */
static struct pack_blocks blocks_at(uint8_t p, uint32_t first, uint32_t count)
{
    struct pack_blocks blocks = { .offset = first * STEP,
                                  .run = { .block_len = LEN, .count = count } };

    memset(&blocks.pack, p, sizeof(blocks.pack));
    memset(&blocks.run.segment, p, sizeof(blocks.run.segment));
    blocks.run.address = SEGMENT_HEADER_LEN + first * STEP;
    blocks.identity = (struct block_identity){ .generation = 1,
                                               .segment = blocks.run.segment,
                                               .address = blocks.run.address };
    return blocks;
}

static void add(struct pack_blocks_list *list, uint8_t p, uint32_t first, uint32_t count)
{
    const struct pack_blocks blocks = blocks_at(p, first, count);

    assert_int_equal(pack_blocks_add(list, &blocks), 0);
}

static uint32_t count_all(const struct pack_blocks_list *list)
{
    uint32_t count = 0;

    for (size_t i = 0; i < list->count; i++)
        count += list->items[i].run.count;
    return count;
}

static void what_is_there_twice_is_read_once(void **state)
{
    struct pack_blocks_list list = PACK_BLOCKS_LIST_INIT;

    (void)state;
    add(&list, 1, 10, 20);
    add(&list, 1, 15, 30); /* reaches further */
    add(&list, 1, 12, 3);
    add(&list, 1, 18, 40);
    add(&list, 2, 10, 20); /* of another pack */
    add(&list, 1, 10, 20);
    pack_blocks_sort(&list);
    assert_int_equal(count_all(&list), 48 + 20);
    for (size_t i = 1; i < list.count; i++)
        if (uuid_equal(&list.items[i].pack, &list.items[i - 1].pack))
            assert_true(list.items[i].offset >=
                        list.items[i - 1].offset + block_run_sealed(&list.items[i - 1].run));

    /* The same place under another name is not the same: it is opened, and refused. */
    struct pack_blocks other = blocks_at(1, 10, 20);
    other.identity.address += STEP;
    assert_int_equal(pack_blocks_add(&list, &other), 0);
    pack_blocks_sort(&list);
    assert_int_equal(count_all(&list), 48 + 20 + 20);
    pack_blocks_release(&list);
}

static void a_request_spans_small_gaps_of_one_pack(void **state)
{
    struct pack_blocks_list list = PACK_BLOCKS_LIST_INIT;
    const uint32_t gap = PACK_GAP_MAX / STEP;
    struct pack_span span;
    size_t at = 0;

    (void)state;
    pack_blocks_sort(&list);
    assert_false(pack_span_next(&list, PACK_SPAN_MAX, &at, &span)); /* of nothing */
    add(&list, 1, 0, 2);
    add(&list, 1, 2 + gap, 1);               /* as far apart as it may be */
    add(&list, 1, 2 + gap + 1 + gap + 1, 1); /* and further */
    add(&list, 2, 2 + gap + 1, 1);
    pack_blocks_sort(&list);
    assert_true(pack_span_next(&list, PACK_SPAN_MAX, &at, &span));
    assert_int_equal(span.count, 2);
    assert_int_equal(span.offset, 0);
    assert_int_equal(span.len, (3 + gap) * STEP);
    assert_true(pack_span_next(&list, PACK_SPAN_MAX, &at, &span));
    assert_int_equal(span.first, 2);
    assert_int_equal(span.count, 1);
    assert_int_equal(span.len, STEP);
    assert_true(pack_span_next(&list, PACK_SPAN_MAX, &at, &span));
    assert_int_equal(span.first, 3);
    assert_false(pack_span_next(&list, PACK_SPAN_MAX, &at, &span));
    pack_blocks_release(&list);
}

static void check_requests(const struct pack_blocks_list *list, uint32_t max)
{
    struct pack_span span;
    uint64_t all = 0;
    size_t at = 0, next = 0;

    while (pack_span_next(list, max, &at, &span)) {
        assert_int_equal(span.first, next);
        assert_true(span.len <= max);
        assert_int_equal(span.offset, all);
        all += span.len;
        next = span.first + span.count;
    }
    assert_int_equal(all, 4096 * (uint64_t)STEP);
}

static void a_request_is_no_longer_than_it_may_be(void **state)
{
    struct pack_blocks_list list = PACK_BLOCKS_LIST_INIT;

    (void)state;
    add(&list, 1, 0, 4096); /* more than 16 MiB */
    assert_true(list.count > 1);
    pack_blocks_sort(&list);
    check_requests(&list, PACK_SPAN_SMALL);
    check_requests(&list, PACK_SPAN_MAX);
    pack_blocks_release(&list);
}

static void the_first_block_that_is_altered_or_missing_is_told(void **state)
{
    static uint8_t sealed[8 * STEP], block[LEN];
    const struct pack_blocks blocks = blocks_at(1, 3, 8);
    struct secret key = SECRET_INIT;
    struct block_identity identity = blocks.identity;
    struct nonce_batch nonces = { 0 };
    struct aead *aead;
    uint32_t bad = 99;

    (void)state;
    assert_int_equal(secret_heap_init(NULL), 0);
    assert_int_equal(secret_new(&key, AEAD_KEY_LEN), 0);
    random_bytes(key.data, key.len);
    assert_int_equal(aead_new(&key, &aead), 0);
    for (uint32_t i = 0; i < 8; i++, identity.address += STEP)
        assert_int_equal(block_seal(aead, &identity, &nonces, (struct bytes){ block, LEN },
                                    sealed + (size_t)i * STEP),
                         0);
    const struct bytes all = { sealed, sizeof(sealed) };
    assert_int_equal(pack_blocks_check(&blocks, aead, all, &bad), 0);
    assert_int_equal(bad, 99);
    assert_int_equal(
        pack_blocks_check(&blocks, aead, (struct bytes){ sealed, sizeof(sealed) - 1 }, &bad),
        -EBADMSG);
    assert_int_equal(bad, 7);
    sealed[5 * STEP + 100] ^= 1;
    assert_int_equal(pack_blocks_check(&blocks, aead, all, &bad), -EBADMSG);
    assert_int_equal(bad, 5);
    aead_free(aead);
    secret_release(&key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there_twice_is_read_once),
        cmocka_unit_test(a_request_spans_small_gaps_of_one_pack),
        cmocka_unit_test(a_request_is_no_longer_than_it_may_be),
        cmocka_unit_test(the_first_block_that_is_altered_or_missing_is_told),
    };

    return cmocka_run_group_tests_name("pack blocks", tests, NULL, NULL);
}
