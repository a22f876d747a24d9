/* The table of references against a plain array of counts, and from several threads. */
#include "tests/support/cmocka_all.h"

#include <pthread.h>
#include <string.h>

#include "fs/references.h"

static void a_reference_holds_until_it_is_given_back(void **state)
{
    struct references references;
    (void)state;

    references_init(&references);
    assert_false(references_held(&references, 5));
    assert_int_equal(references_add(&references, 5, 1), 0);
    assert_int_equal(references_add(&references, 5, 2), 0);
    assert_true(references_held(&references, 5));
    assert_false(references_held(&references, 6));
    assert_false(references_drop(&references, 5, 2));
    assert_true(references_held(&references, 5));
    assert_int_equal(references_drop(&references, 5, 1), REFERENCES_LAST);
    assert_false(references_held(&references, 5));
    references_release(&references);
}

static void who_gives_the_last_one_of_an_orphan_back_is_told(void **state)
{
    struct references references;
    (void)state;

    references_init(&references);
    assert_false(references_mark_orphan(&references, 5));
    assert_int_equal(references_add(&references, 5, 2), 0);
    assert_false(references_is_orphan(&references, 5));
    assert_true(references_mark_orphan(&references, 5));
    assert_true(references_is_orphan(&references, 5));
    assert_int_equal(references_drop(&references, 5, 1), REFERENCES_HELD);
    assert_int_equal(references_add(&references, 5, 1), 0);
    assert_int_equal(references_drop(&references, 5, 2), REFERENCES_LAST_ORPHAN);
    assert_int_equal(references_add(&references, 5, 1), 0);
    assert_int_equal(references_drop(&references, 5, 1), REFERENCES_LAST);
    assert_int_equal(references_drop(&references, 5, 1), REFERENCES_LAST_ORPHAN);
    references_release(&references);
}

static void more_given_back_than_taken_ends_it(void **state)
{
    struct references references;
    (void)state;

    references_init(&references);
    assert_true(references_drop(&references, 7, 1));
    assert_int_equal(references_add(&references, 7, 1), 0);
    assert_true(references_drop(&references, 7, 3));
    assert_false(references_held(&references, 7));
    assert_int_equal(references_add(&references, 7, 0), 0);
    assert_false(references_held(&references, 7));
    references_release(&references);
}

#define INODES 5000u
#define STEPS 400000u

static void assert_same(struct references *references, const uint64_t *counts)
{
    for (uint64_t ino = 1; ino < INODES; ino++)
        assert_int_equal(references_held(references, ino), counts[ino] > 0);
}

/* Numbers in a row and many removals: what moves slots around. */
static void it_agrees_with_plain_counts(void **state)
{
    static uint64_t counts[INODES];
    struct references references;
    uint64_t random = 1;
    (void)state;

    memset(counts, 0, sizeof(counts));
    references_init(&references);
    for (unsigned step = 0; step < STEPS; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t ino = 1 + (random >> 33) % (INODES - 1);
        if (random >> 63) {
            assert_int_equal(references_add(&references, ino, 1), 0);
            counts[ino]++;
        } else if (counts[ino]) {
            counts[ino]--;
            assert_int_equal(references_drop(&references, ino, 1), counts[ino] == 0);
        }
        if (step % 50000 == 0)
            assert_same(&references, counts);
    }
    assert_same(&references, counts);
    for (uint64_t ino = 1; ino < INODES; ino++)
        if (counts[ino])
            assert_true(references_drop(&references, ino, counts[ino]));
    memset(counts, 0, sizeof(counts));
    assert_same(&references, counts);
    references_release(&references);
}

static void *take_and_give(void *arg)
{
    struct references *references = arg;

    for (unsigned round = 0; round < 20; round++) {
        for (uint64_t ino = 1; ino < 1000; ino++)
            (void)references_add(references, ino, 2);
        for (uint64_t ino = 1; ino < 1000; ino++)
            (void)references_drop(references, ino, 1);
    }
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    struct references references;
    pthread_t threads[4];
    (void)state;

    references_init(&references);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &references), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint64_t ino = 1; ino < 1000; ino++) {
        assert_false(references_drop(&references, ino, 79));
        assert_true(references_drop(&references, ino, 1));
    }
    references_release(&references);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reference_holds_until_it_is_given_back),
        cmocka_unit_test(who_gives_the_last_one_of_an_orphan_back_is_told),
        cmocka_unit_test(more_given_back_than_taken_ends_it),
        cmocka_unit_test(it_agrees_with_plain_counts),
        cmocka_unit_test(threads_lose_no_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
