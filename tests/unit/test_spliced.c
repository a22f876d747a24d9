/* Splices upon splices: what is read in place is what putting all together gives. */
#include "tests/support/cmocka_all.h"

#include <stdlib.h>

#include "base/spliced.h"

#define LEN_MAX 4096u

static uint32_t draw(uint64_t *random, size_t below)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*random >> 33) % below);
}

static void add_random_splice(struct spliced *spliced, uint64_t *random, uint8_t *room)
{
    struct splice *splice = &spliced->splices[spliced->count];
    uint32_t added = draw(random, 40);

    splice->at = draw(random, spliced->len + 1);
    splice->removed = draw(random, spliced->len - splice->at + 1) % 40;
    for (uint32_t i = 0; i < added; i++)
        room[i] = (uint8_t)draw(random, 256);
    splice->added = (struct bytes){ .data = room, .len = added };
    assert_true(splice_fits(splice, spliced->len));
    spliced->len = splice_len(splice, spliced->len);
    spliced->count++;
}

static void expect_all_reads(const struct spliced *spliced, uint64_t *random)
{
    uint8_t flat[LEN_MAX];
    uint8_t part[LEN_MAX];

    assert_true(spliced_room(spliced) >= spliced->len && spliced_room(spliced) <= sizeof(flat));
    spliced_flatten(spliced, flat);
    for (unsigned i = 0; i < 50; i++) {
        size_t at = draw(random, spliced->len + 1);
        size_t len = draw(random, spliced->len - at + 1);
        assert_true(spliced_read(spliced, at, len, part));
        assert_memory_equal(part, flat + at, len);
        assert_false(spliced_read(spliced, at, spliced->len - at + 1, part));
    }
    assert_false(spliced_read(spliced, spliced->len + 1, 0, part));
}

static void reading_in_place_and_putting_together_agree(void **state)
{
    uint8_t base[200];
    uint8_t added[SPLICES_MAX][40];
    uint64_t random = 4711;

    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        size_t len = draw(&random, sizeof(base) + 1);
        for (size_t i = 0; i < len; i++)
            base[i] = (uint8_t)draw(&random, 256);
        struct spliced spliced = spliced_of((struct bytes){ .data = base, .len = len });
        for (unsigned i = 0; i < SPLICES_MAX; i++) {
            expect_all_reads(&spliced, &random);
            add_random_splice(&spliced, &random, added[i]);
        }
        expect_all_reads(&spliced, &random);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_in_place_and_putting_together_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
