/* The map that transactions write into: order, versions, and going back. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "meta/ordered_map.h"

static int setup(void **state)
{
    return ordered_map_new((struct ordered_map **)state);
}

static int teardown(void **state)
{
    ordered_map_free(*state);
    return 0;
}

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static struct ordered_map_change put(struct ordered_map *map, const char *key, const char *value,
                                     uint64_t seq)
{
    struct ordered_map_change change;
    struct bytes bytes = value == NULL ? (struct bytes){ 0 } : text(value);

    assert_int_equal(ordered_map_put(map, text(key), bytes, value == NULL, seq, &change), 0);
    return change;
}

static void expect(struct ordered_map *map, const char *key, uint64_t seq, const char *value)
{
    struct spliced found;
    uint8_t flat[128];

    assert_int_equal(ordered_map_get(map, text(key), seq, &found), ORDERED_MAP_VALUE);
    assert_int_equal(found.len, strlen(value));
    assert_true(spliced_room(&found) <= sizeof(flat));
    spliced_flatten(&found, flat);
    assert_memory_equal(flat, value, found.len);
}

static void a_reader_sees_the_newest_version_that_is_not_later(void **state)
{
    struct spliced found;

    put(*state, "a", "one", 1);
    put(*state, "a", "three", 3);
    put(*state, "a", NULL, 5);
    assert_int_equal(ordered_map_get(*state, text("a"), 0, &found), ORDERED_MAP_ABSENT);
    expect(*state, "a", 1, "one");
    expect(*state, "a", 2, "one");
    expect(*state, "a", 4, "three");
    assert_int_equal(ordered_map_get(*state, text("a"), 5, &found), ORDERED_MAP_REMOVED);
}

static void put_says_what_was_there_before(void **state)
{
    assert_int_equal(put(*state, "a", "12345", 1).before, ORDERED_MAP_ABSENT);
    struct ordered_map_change change = put(*state, "a", NULL, 1);
    assert_int_equal(change.before, ORDERED_MAP_VALUE);
    assert_int_equal(change.before_len, 5);
    assert_int_equal(put(*state, "a", "", 2).before, ORDERED_MAP_REMOVED);
    assert_int_equal(put(*state, "a", "", 2).before, ORDERED_MAP_VALUE);
}

static void rollback_takes_back_to_the_last_commit(void **state)
{
    struct spliced found;

    put(*state, "a", "kept", 1);
    ordered_map_commit(*state);
    assert_false(ordered_map_is_changed(*state));
    put(*state, "a", "x", 2);
    put(*state, "a", "y", 2);
    put(*state, "b", "z", 2);
    assert_true(ordered_map_is_changed(*state));
    ordered_map_rollback(*state);
    expect(*state, "a", 9, "kept");
    assert_int_equal(ordered_map_get(*state, text("b"), 9, &found), ORDERED_MAP_ABSENT);
    put(*state, "b", "again", 2);
    expect(*state, "b", 9, "again");
}

static int patch(struct ordered_map *map, const char *key, size_t at, size_t removed,
                 const char *added, uint64_t seq)
{
    const struct splice splice = { .at = at, .removed = removed, .added = text(added) };

    return ordered_map_patch(map, text(key), &splice, seq);
}

static void a_patch_is_a_version_of_the_whole_value(void **state)
{
    put(*state, "a", "hello world", 1);
    assert_int_equal(patch(*state, "a", 6, 5, "there", 2), 0);
    assert_int_equal(patch(*state, "a", 0, 5, "I am", 3), 0);
    assert_int_equal(patch(*state, "a", 10, 0, ", you", 4), 0);
    assert_int_equal(patch(*state, "a", 0, 5, "", 5), 0);
    expect(*state, "a", 1, "hello world");
    expect(*state, "a", 2, "hello there");
    expect(*state, "a", 3, "I am there");
    expect(*state, "a", 4, "I am there, you");
    expect(*state, "a", 5, "there, you");
    assert_int_equal(put(*state, "a", "new", 6).before_len, strlen("there, you"));
}

static void a_patch_needs_a_value_that_is_long_enough(void **state)
{
    assert_int_equal(patch(*state, "a", 0, 0, "x", 1), -ENOENT);
    put(*state, "a", "12345", 1);
    assert_int_equal(patch(*state, "a", 6, 0, "x", 1), -EINVAL);
    assert_int_equal(patch(*state, "a", 5, 1, "x", 1), -EINVAL);
    assert_int_equal(patch(*state, "a", 5, 0, "6", 1), 0);
    assert_int_equal(patch(*state, "a", 5, 1, "x", 1), 0);
    assert_int_equal(patch(*state, "a", 6, 1, "x", 1), -EINVAL);
    expect(*state, "a", 1, "12345x");
    put(*state, "a", NULL, 2);
    assert_int_equal(patch(*state, "a", 0, 0, "x", 3), -ENOENT);
}

static void rollback_takes_patches_back(void **state)
{
    put(*state, "a", "kept", 1);
    assert_int_equal(patch(*state, "a", 0, 1, "sl", 1), 0);
    ordered_map_commit(*state);
    assert_int_equal(patch(*state, "a", 0, 2, "", 2), 0);
    assert_true(ordered_map_is_changed(*state));
    ordered_map_rollback(*state);
    expect(*state, "a", 9, "slept");
}

/* Who reads needs not put together more and more. */
static void at_some_point_a_value_must_be_put_whole(void **state)
{
    char value[65] = "";
    unsigned patches = 0;
    int r = 0;

    put(*state, "a", value, 1);
    while (r == 0 && patches < 64) {
        value[patches] = (char)('a' + patches % 26);
        r = patch(*state, "a", patches, 0, value + patches, 1);
        patches += r == 0;
    }
    assert_int_equal(r, -ENOENT);
    assert_true(patches >= 8);
    value[patches] = '\0';
    expect(*state, "a", 1, value);
    put(*state, "a", value, 1);
    assert_int_equal(patch(*state, "a", 0, 1, "A", 1), 0);
}

static void a_mark_knows_whether_anything_was_changed(void **state)
{
    struct ordered_map_mark absent = ordered_map_mark(*state, text("a"), 9);
    assert_true(ordered_map_is_current(*state, text("a"), &absent));
    put(*state, "a", "undone", 1);
    assert_false(ordered_map_is_current(*state, text("a"), &absent));
    ordered_map_rollback(*state);
    assert_true(ordered_map_is_current(*state, text("a"), &absent));

    put(*state, "a", "value", 1);
    struct ordered_map_mark found = ordered_map_mark(*state, text("a"), 9);
    assert_true(ordered_map_is_current(*state, text("a"), &found));
    put(*state, "b", "value", 2);
    assert_true(ordered_map_is_current(*state, text("a"), &found));
    assert_int_equal(patch(*state, "a", 0, 0, "x", 2), 0);
    assert_false(ordered_map_is_current(*state, text("a"), &found));
    found = ordered_map_mark(*state, text("a"), 1); /* older than the newest */
    assert_false(ordered_map_is_current(*state, text("a"), &found));
    found = ordered_map_mark(*state, text("a"), 2);
    put(*state, "a", NULL, 3);
    assert_false(ordered_map_is_current(*state, text("a"), &found));
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Keys that agree in their first 16 bytes, prefixes of one another, and short ones. */
static void a_cursor_walks_in_byte_order(void **state)
{
    static char keys[3000][32];
    struct ordered_map_cursor cursor;
    size_t seen = 0;

    for (unsigned i = 0; i < 3000; i++) {
        unsigned mixed = i * 2654435761u;
        (void)snprintf(keys[i], sizeof(keys[i]), i % 3 == 0 ? "%u" : "sixteen-bytes-in%u", mixed);
        put(*state, keys[i], keys[i], 1);
    }
    put(*state, "sixteen-bytes-in", "itself", 1);
    ordered_map_rollback(*state);
    for (unsigned i = 0; i < 3000; i++)
        put(*state, keys[i], keys[i], 1);
    qsort(keys, 3000, sizeof(keys[0]), compare_keys);

    ordered_map_seek(&cursor, *state, (struct bytes){ 0 }, 1);
    for (; cursor.node != NULL; ordered_map_next(&cursor), seen++) {
        assert_int_equal(cursor.key.len, strlen(keys[seen]));
        assert_memory_equal(cursor.key.data, keys[seen], cursor.key.len);
    }
    assert_int_equal(seen, 3000);
    ordered_map_seek(&cursor, *state, text(keys[1500]), 1);
    assert_memory_equal(cursor.key.data, keys[1500], cursor.key.len);
    ordered_map_seek(&cursor, *state, text("zzz"), 1);
    assert_null(cursor.node);
}

struct race {
    struct ordered_map *map;
    atomic_uint_fast64_t seq;
};

/* At each moment both keys hold the same number. */
static void *read_pairs(void *arg)
{
    struct race *race = arg;
    uint64_t seq = 0;

    while (seq < 3000) {
        uint8_t flat[2][16] = { 0 };
        struct spliced a;
        struct spliced b;
        seq = atomic_load(&race->seq);
        if (seq == 0)
            continue;
        assert_int_equal(ordered_map_get(race->map, text("first"), seq, &a), ORDERED_MAP_VALUE);
        assert_int_equal(ordered_map_get(race->map, text("second"), seq, &b), ORDERED_MAP_VALUE);
        assert_int_equal(a.len, b.len);
        assert_true(spliced_room(&a) <= 16 && spliced_room(&b) <= 16);
        spliced_flatten(&a, flat[0]);
        spliced_flatten(&b, flat[1]);
        assert_memory_equal(flat[0], flat[1], sizeof(flat[0]));
    }
    return NULL;
}

static void readers_go_on_beside_the_writer(void **state)
{
    struct race race = { .map = *state };
    pthread_t reader;

    assert_int_equal(pthread_create(&reader, NULL, read_pairs, &race), 0);
    for (uint64_t seq = 1; seq <= 3000; seq++) {
        char value[16];
        char key[16];
        (void)snprintf(value, sizeof(value), "%08u", (unsigned)seq);
        (void)snprintf(key, sizeof(key), "s%u", (unsigned)(seq * 2654435761u));
        put(*state, "first", value, seq);
        put(*state, key, value, seq);
        if (patch(*state, "second", 0, 8, value, seq) == -ENOENT)
            put(*state, "second", value, seq);
        ordered_map_commit(*state);
        atomic_store(&race.seq, seq);
    }
    assert_int_equal(pthread_join(reader, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_reader_sees_the_newest_version_that_is_not_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(put_says_what_was_there_before, setup, teardown),
        cmocka_unit_test_setup_teardown(rollback_takes_back_to_the_last_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_patch_is_a_version_of_the_whole_value, setup, teardown),
        cmocka_unit_test_setup_teardown(a_patch_needs_a_value_that_is_long_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(rollback_takes_patches_back, setup, teardown),
        cmocka_unit_test_setup_teardown(at_some_point_a_value_must_be_put_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mark_knows_whether_anything_was_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cursor_walks_in_byte_order, setup, teardown),
        cmocka_unit_test_setup_teardown(readers_go_on_beside_the_writer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
