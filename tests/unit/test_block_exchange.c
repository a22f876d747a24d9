/* A block put in the place of another by changing the record, against what decoding the list,
 * replacing, and encoding it makes. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/records.h"

#define BLOCK 4096u
#define ROUNDS 20000u

struct model {
    struct extents list;
    uint8_t value[EXTENTS_VALUE_MAX];
    struct spliced spliced; /* value, with what exchanges did since */
    struct block_exchange exchanges[SPLICES_MAX];
    unsigned kept;
    uint64_t random;
    uint32_t next_address;
    unsigned exchanged;
    unsigned refused;
};

static uint32_t draw(struct model *model, uint32_t below)
{
    model->random = model->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(model->random >> 33) % below;
}

static void encode(struct model *model)
{
    size_t len;

    assert_int_equal(extents_encode(&model->list, model->value, &len), 0);
    model->spliced = spliced_of((struct bytes){ model->value, len });
    model->kept = 0;
}

/* len bytes at offset become new blocks, the slow way. */
static void replace(struct model *model, const struct extent *with, struct run_list *freed)
{
    int r = extents_replace(&model->list, with->offset, with->len, with, 1, freed);

    assert_int_equal(r, 0);
}

static struct extent new_blocks(struct model *model, uint32_t offset, uint32_t count,
                                uint32_t block_len)
{
    struct extent extent = { .offset = offset,
                             .len = count * block_len,
                             .address = model->next_address,
                             .block_len = block_len };

    extent.segment.bytes[0] = 7;
    model->next_address += count * (block_len + BLOCK_OVERHEAD);
    return extent;
}

/* Few, long, with gaps, and in two lengths of blocks. */
static void start_list(struct model *model)
{
    struct run_list freed = RUN_LIST_INIT;

    model->next_address = 64;
    model->list.count = 0;
    for (unsigned i = 0; i < 3; i++) {
        uint32_t at = i * 64 * BLOCK + draw(model, 8) * BLOCK;
        const struct extent run = i < 2 ? new_blocks(model, at, 30 + draw(model, 20), BLOCK)
                                        : new_blocks(model, at, 40, BLOCK / 2);
        replace(model, &run, &freed);
        model->next_address += draw(model, 3) * 100;
    }
    const struct extent odd = new_blocks(model, 10 * BLOCK + 100, 1, 1000);
    replace(model, &odd, &freed);
    run_list_release(&freed);
    encode(model);
}

static void add_splice(struct model *model, const struct splice *splice)
{
    struct spliced *spliced = &model->spliced;

    assert_true(splice_fits(splice, spliced->len));
    spliced->splices[spliced->count++] = *splice;
    spliced->len = splice_len(splice, spliced->len);
}

/* As the metadata engine does: splices upon splices, and at some point a whole value again. */
static void expect_exchanged(struct model *model, const uint8_t *expected, size_t expected_len)
{
    static uint8_t flat[2 * EXTENTS_VALUE_MAX];
    const struct block_exchange *exchange = &model->exchanges[model->kept++];

    if (exchange->count.added.len > 0)
        add_splice(model, &exchange->count);
    add_splice(model, &exchange->extents);
    assert_int_equal(model->spliced.len, expected_len);
    assert_true(spliced_room(&model->spliced) <= sizeof(flat));
    spliced_flatten(&model->spliced, flat);
    assert_memory_equal(flat, expected, expected_len);
    if (model->spliced.count + 2 > SPLICES_MAX)
        encode(model);
}

static void expect_freed(const struct run_list *freed, const struct extent *replaced)
{
    const struct block_run run = extent_run(replaced);

    assert_int_equal(freed->count, 1);
    assert_int_equal(freed->items[0].address, run.address);
    assert_int_equal(freed->items[0].block_len, run.block_len);
    assert_int_equal(freed->items[0].count, run.count);
    assert_true(uuid_equal(&freed->items[0].segment, &run.segment));
}

static void step(struct model *model)
{
    struct run_list freed = RUN_LIST_INIT;
    uint8_t expected[EXTENTS_VALUE_MAX];
    size_t expected_len;

    uint32_t block_len = draw(model, 16) == 0 ? BLOCK / 2 : BLOCK;
    uint32_t offset = draw(model, 180) * BLOCK + (draw(model, 16) == 0 ? 2048 : 0);
    const struct extent with = new_blocks(model, offset, 1, block_len);
    int r = extents_exchange(&model->spliced, &with, &model->exchanges[model->kept]);
    replace(model, &with, &freed);
    assert_int_equal(extents_encode(&model->list, expected, &expected_len), 0);
    if (r == 0) {
        expect_freed(&freed, &model->exchanges[model->kept].replaced);
        expect_exchanged(model, expected, expected_len);
        model->exchanged++;
    } else {
        assert_int_equal(r, -ENOENT);
        encode(model);
        model->refused++;
    }
    run_list_release(&freed);
    model->next_address += draw(model, 3) == 0 ? 0 : 36; /* some continue the one before */
}

static void an_exchange_makes_the_record_that_replacing_makes(void **state)
{
    (void)state;
    static struct model model = { .random = 77 };

    for (unsigned i = 0; i < ROUNDS; i++) {
        if (i % 400 == 0)
            start_list(&model);
        step(&model);
    }
    assert_true(model.exchanged > ROUNDS / 4);
    assert_true(model.refused > ROUNDS / 10);
    extents_release(&model.list);
}

static void a_full_list_is_not_made_longer(void **state)
{
    (void)state;
    static struct model model = { .random = 5 };
    struct block_exchange exchange;

    model.next_address = 64;
    for (uint32_t i = 0; i < EXTENTS_MAX; i++) {
        const struct extent one = new_blocks(&model, i * 512, i + 1 < EXTENTS_MAX ? 1 : 2, 256);
        assert_int_equal(extents_append(&model.list, &one), 0);
    }
    encode(&model);
    const struct extent with = new_blocks(&model, (EXTENTS_MAX - 1) * 512, 1, 256);
    assert_int_equal(extents_exchange(&model.spliced, &with, &exchange), -ENOENT);
    extents_release(&model.list);
}

static void a_damaged_record_is_refused(void **state)
{
    (void)state;
    static struct model model = { .random = 5 };
    struct block_exchange exchange;

    start_list(&model);
    const struct extent with = new_blocks(&model, model.list.items[0].offset, 1, BLOCK);
    for (size_t len = 0; len < model.spliced.len; len++) {
        const struct spliced cut = spliced_of((struct bytes){ model.value, len });
        assert_int_equal(extents_exchange(&cut, &with, &exchange), -EBADMSG);
    }
    assert_int_equal(extents_exchange(&model.spliced, &with, &exchange), 0);
    model.value[0]++;
    assert_int_equal(extents_exchange(&model.spliced, &with, &exchange), -EPROTONOSUPPORT);
    extents_release(&model.list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exchange_makes_the_record_that_replacing_makes),
        cmocka_unit_test(a_full_list_is_not_made_longer),
        cmocka_unit_test(a_damaged_record_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
