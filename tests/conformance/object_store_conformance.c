/* What every object store promises (store/object_store.h), tried on each, alone and in layers.
 * What it promises to threads is in object_store_threads.c. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/probe.h"
#include "tests/support/store_case.h"

/* Reads up to len bytes at offset, and expects these. */
static void expect_read(struct object *object, uint64_t offset, size_t len, const char *value)
{
    uint8_t found[256];
    size_t found_len = 999;

    assert_true(len <= sizeof(found));
    assert_int_equal(object_read(object, offset, len, found, &found_len, NULL), 0);
    assert_int_equal(found_len, strlen(value));
    assert_memory_equal(found, value, found_len);
}

/* --- whole objects --- */

static void what_was_put_is_read_back(void **state)
{
    static const size_t lengths[] = { 0, 1, 4095, 4096, 4097, 300000 };
    struct store_case *c = *state;
    uint8_t *data = malloc(300000);

    assert_non_null(data);
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        CLEANUP(buf_release) struct buf found = BUF_INIT;
        char name[32];
        (void)snprintf(name, sizeof(name), "sizes/of/%zu", lengths[i]);
        store_case_fill(data, lengths[i], i);
        struct bytes bytes = { data, lengths[i] };
        assert_int_equal(object_store_put(c->store, name, bytes, NULL), 0);
        store_case_expect_size(c, name, lengths[i]);
        assert_int_equal(object_store_get(c->store, name, lengths[i], &found, NULL), 0);
        assert_int_equal(found.len, lengths[i]);
        if (found.len > 0)
            assert_memory_equal(found.data, data, found.len);
    }
    free(data);
}

static void put_never_overwrites(void **state)
{
    struct store_case *c = *state;
    struct error err = { 0 };

    store_case_put(c, "a", "first");
    store_case_expect_error(object_store_put(c->store, "a", text("second"), &err), -EEXIST, &err);
    store_case_expect(c, "a", "first");
    struct object_writer *writer = store_case_create(c, "folder/b");
    store_case_expect_error(object_store_put(c->store, "folder/b", text("x"), &err), -EEXIST, &err);
    store_case_write(writer, 0, "appended");
    object_writer_close(writer);
    store_case_expect_error(object_store_put(c->store, "folder/b", text("x"), &err), -EEXIST, &err);
    store_case_expect(c, "folder/b", "appended");
}

static void replace_makes_an_object_or_takes_its_place(void **state)
{
    struct store_case *c = *state;

    assert_int_equal(object_store_replace(c->store, "folder/ring", text("long first one"), NULL),
                     0);
    store_case_expect(c, "folder/ring", "long first one");
    CLEANUP(object_closep) struct object *old = store_case_open_object(c, "folder/ring");
    assert_int_equal(object_store_replace(c->store, "folder/ring", text("second"), NULL), 0);
    store_case_expect(c, "folder/ring", "second");
    store_case_expect_size(c, "folder/ring", 6);
    expect_read(old, 0, 100, "long first one");
    assert_int_equal(object_store_replace(c->store, "folder/ring", text(""), NULL), 0);
    store_case_expect(c, "folder/ring", "");
}

static void get_refuses_what_is_larger_than_asked_for(void **state)
{
    CLEANUP(buf_release) struct buf found = BUF_INIT;
    struct store_case *c = *state;
    struct error err = { 0 };

    store_case_put(c, "a", "12345");
    assert_int_equal(buf_assign(&found, text("untouched")), 0);
    store_case_expect_error(object_store_get(c->store, "a", 4, &found, &err), -EFBIG, &err);
    store_case_expect_error(object_store_get(c->store, "a", 0, &found, &err), -EFBIG, &err);
    store_case_expect_error(object_store_get(c->store, "b", 4, &found, &err), -ENOENT, &err);
    assert_int_equal(found.len, 9);
    assert_memory_equal(found.data, "untouched", 9);
    assert_int_equal(object_store_get(c->store, "a", 5, &found, &err), 0);
    assert_int_equal(found.len, 5);
}

/* --- names --- */

struct listing {
    struct object_store *store;
    char names[64][OBJECT_NAME_MAX + 1];
    uint64_t sizes[64];
    unsigned count;
    unsigned stop_after;
    int stop_with;
    bool removes;
};

static int list_one(const char *name, uint64_t size, void *arg)
{
    struct listing *listing = arg;

    assert_true(listing->count < 64);
    (void)snprintf(listing->names[listing->count], OBJECT_NAME_MAX + 1, "%s", name);
    listing->sizes[listing->count++] = size;
    if (listing->removes)
        assert_int_equal(object_store_remove(listing->store, name, NULL), 0);
    return listing->count == listing->stop_after ? listing->stop_with : 0;
}

static bool is_listed(const struct listing *listing, const char *name, uint64_t size)
{
    unsigned found = 0;

    for (unsigned i = 0; i < listing->count; i++)
        if (strcmp(listing->names[i], name) == 0 && listing->sizes[i] == size)
            found++;
    return found == 1;
}

static void expect_count(struct store_case *c, const char *prefix, unsigned count)
{
    struct listing *listing = calloc(1, sizeof(*listing));
    struct error err = { 0 };

    assert_non_null(listing);
    assert_int_equal(object_store_list(c->store, prefix, list_one, listing, &err), 0);
    assert_int_equal(listing->count, count);
    free(listing);
}

static void expect_no_such_name(struct store_case *c, const char *name)
{
    CLEANUP(buf_release) struct buf found = BUF_INIT;
    struct object_writer *writer = NULL;
    struct object *object = NULL;
    struct error err = { 0 };
    uint64_t size = 77;

    store_case_expect_error(object_store_put(c->store, name, text("x"), &err), -EINVAL, &err);
    store_case_expect_error(object_store_replace(c->store, name, text("x"), &err), -EINVAL, &err);
    store_case_expect_error(object_store_open_object(c->store, name, &object, &err), -EINVAL, &err);
    store_case_expect_error(object_store_remove(c->store, name, &err), -EINVAL, &err);
    store_case_expect_error(object_store_stat(c->store, name, &size, &err), -EINVAL, &err);
    store_case_expect_error(object_store_create(c->store, name, &writer, &err), -EINVAL, &err);
    store_case_expect_error(object_store_get(c->store, name, 10, &found, &err), -EINVAL, &err);
    assert_null(writer);
    assert_null(object);
    assert_int_equal(size, 77);
}

static void names_that_are_none_are_refused(void **state)
{
    static const char *const names[] = {
        "",         "/",   "/a",   "a/",   "a//b",     ".",      "..",     "../a", "a/..",
        "a/../b",   "./a", "a/./", "A",    "a b",      "a\n",    "a\\b",   "~a",   "~new.1.2",
        "a/~fault", "a:b", "a*",   "\xc3", "\xc3\xa4", "a\177b", "%2e%2e", "a,b",  "a/B/c",
    };
    struct store_case *c = *state;
    char long_name[OBJECT_NAME_MAX + 2];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        expect_no_such_name(c, names[i]);
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    expect_no_such_name(c, long_name);
    expect_count(c, "", 0);
}

static void all_other_names_are_good_for_objects(void **state)
{
    static const char *const names[] = {
        "a", "-", "_", "...", ".a", "a.", "..a", "0/1/2", "abcdefghijklmnopqrstuvwxyz0123456789._-"
    };
    struct store_case *c = *state;
    char long_name[OBJECT_NAME_MAX + 1];
    char deep_name[OBJECT_NAME_MAX + 1];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        store_case_put(c, names[i], names[i]);
        store_case_expect(c, names[i], names[i]);
    }
    for (size_t i = 0; i < OBJECT_NAME_MAX; i++) {
        long_name[i] = 'x';
        deep_name[i] = i % 2 == 0 ? 'y' : '/';
    }
    long_name[OBJECT_NAME_MAX] = deep_name[OBJECT_NAME_MAX] = '\0';
    store_case_put(c, long_name, "long");
    store_case_put(c, deep_name, "deep");
    store_case_expect(c, long_name, "long");
    store_case_expect(c, deep_name, "deep");
    expect_count(c, "x", 1);
    expect_count(c, "y/y/y/y/", 1);
}

static void list_visits_each_name_with_the_prefix_once(void **state)
{
    static const char *const names[] = { "seg/aa/1", "seg/aa/2", "seg/ab/1", "seg.x", "other" };
    struct store_case *c = *state;
    struct listing *listing = calloc(1, sizeof(*listing));

    assert_non_null(listing);
    expect_count(c, "", 0);
    for (size_t i = 0; i < 5; i++)
        store_case_put(c, names[i], names[i]);
    assert_int_equal(object_store_list(c->store, "", list_one, listing, NULL), 0);
    assert_int_equal(listing->count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_true(is_listed(listing, names[i], strlen(names[i])));
    expect_count(c, "s", 4);
    expect_count(c, "seg", 4);
    expect_count(c, "seg/", 3);
    expect_count(c, "seg/a", 3);
    expect_count(c, "seg/aa", 2);
    expect_count(c, "seg/aa/", 2);
    expect_count(c, "seg/aa/2", 1);
    expect_count(c, "seg/aa/2/", 0);
    expect_count(c, "seg/aa/22", 0);
    expect_count(c, "g/aa", 0);
    expect_count(c, "nothing/of/it", 0);
    expect_count(c, "..", 0);
    expect_count(c, "/", 0);
    free(listing);
}

static void a_visit_ends_the_listing_with_its_value(void **state)
{
    static const int values[] = { 5, -EIO };
    struct store_case *c = *state;
    struct listing *listing = calloc(1, sizeof(*listing));

    assert_non_null(listing);
    for (char name[] = "d/a"; name[2] < 'f'; name[2]++)
        store_case_put(c, name, "x");
    for (size_t i = 0; i < 2; i++) {
        *listing = (struct listing){ .stop_after = 2, .stop_with = values[i] };
        assert_int_equal(object_store_list(c->store, "d", list_one, listing, NULL), values[i]);
        assert_int_equal(listing->count, 2);
    }
    free(listing);
}

static void a_visit_may_remove_what_it_is_shown(void **state)
{
    struct store_case *c = *state;
    struct listing *listing = calloc(1, sizeof(*listing));
    char name[16];

    assert_non_null(listing);
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(name, sizeof(name), "d%u/%u", i % 3, i);
        store_case_put(c, name, "x");
    }
    listing->removes = true;
    listing->store = c->store;
    assert_int_equal(object_store_list(c->store, "d", list_one, listing, NULL), 0);
    assert_int_equal(listing->count, 40);
    expect_count(c, "", 0);
    free(listing);
}

static void what_is_not_there_is_enoent_and_counts_as_removed(void **state)
{
    static const char *const names[] = { "a", "folder", "folder/a/b", "folder/b", "no/such/one" };
    struct store_case *c = *state;
    struct error err = { 0 };

    store_case_put(c, "folder/a", "kept"); /* so that "folder" and "folder/a" are none of them */
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct object *object = NULL;
        uint64_t size = 77;
        int r = object_store_open_object(c->store, names[i], &object, &err);
        assert_non_null(strstr(err.text, names[i]));
        store_case_expect_error(r, -ENOENT, &err);
        r = object_store_stat(c->store, names[i], &size, &err);
        assert_non_null(strstr(err.text, names[i]));
        store_case_expect_error(r, -ENOENT, &err);
        assert_int_equal(object_store_remove(c->store, names[i], &err), 0);
        assert_null(object);
        assert_int_equal(size, 77);
    }
    assert_int_equal(err.code, 0);
    store_case_expect(c, "folder/a", "kept");
}

/* Which is true, or not. */
static void an_object_can_be_opened_with_the_size_that_it_is_said_to_have(void **state)
{
    static const uint64_t said[] = { 0, 10, 9, 11, 1 };
    struct store_case *c = *state;
    struct object_writer *writer = store_case_create(c, "seg");
    struct error err = { 0 };
    struct object *object = NULL;
    uint8_t byte;
    size_t len = 0;

    store_case_put(c, "a", "0123456789");
    store_case_write(writer, 0, "appended");
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        assert_int_equal(object_store_open_sized(c->store, "a", said[i], &object, NULL), 0);
        expect_read(object, 0, 100, "0123456789");
        expect_read(object, 3, 4, "3456");
        expect_read(object, 0, 10, "0123456789");
        object_close(object);
        assert_int_equal(object_store_open_sized(c->store, "a", said[i], &object, NULL), 0);
        expect_read(object, 3, 100, "3456789");
        object_close(object);
    }
    assert_int_equal(object_store_open_sized(c->store, "seg", 8, &object, NULL), 0);
    expect_read(object, 0, 8, "appended");
    object_close(object);
    object_writer_close(writer);

    int r = object_store_open_sized(c->store, "none", 1, &object, &err);
    if (r == 0) {
        r = object_read(object, 0, 1, &byte, &len, &err);
        object_close(object);
    }
    assert_non_null(strstr(err.text, "none"));
    store_case_expect_error(r, -ENOENT, &err);
}

static void a_removed_object_is_away_and_its_name_free(void **state)
{
    struct store_case *c = *state;

    store_case_put(c, "f/a", "1");
    store_case_put(c, "f/b", "2");
    assert_int_equal(object_store_remove(c->store, "f/a", NULL), 0);
    store_case_expect(c, "f/a", NULL);
    store_case_expect(c, "f/b", "2");
    expect_count(c, "", 1);
    store_case_put(c, "f/a", "3");
    store_case_expect(c, "f/a", "3");
}

static void an_open_object_is_read_after_its_removal(void **state)
{
    struct store_case *c = *state;
    struct object_writer *writer = store_case_create(c, "seg");

    store_case_put(c, "a", "whole");
    store_case_write(writer, 0, "appended");
    CLEANUP(object_closep) struct object *whole = store_case_open_object(c, "a");
    CLEANUP(object_closep) struct object *appended = store_case_open_object(c, "seg");
    assert_int_equal(object_store_remove(c->store, "a", NULL), 0);
    assert_int_equal(object_store_remove(c->store, "seg", NULL), 0);
    store_case_put(c, "a", "another");
    store_case_put(c, "seg", "another");
    expect_read(whole, 0, 100, "whole");
    expect_read(appended, 0, 100, "appended");
    object_writer_close(writer);
    expect_read(appended, 2, 100, "pended");
    store_case_expect(c, "seg", "another");
}

/* --- reading --- */

static void a_read_is_short_only_at_the_end(void **state)
{
    struct store_case *c = *state;

    store_case_put(c, "a", "0123456789");
    store_case_put(c, "empty", "");
    CLEANUP(object_closep) struct object *object = store_case_open_object(c, "a");
    CLEANUP(object_closep) struct object *empty = store_case_open_object(c, "empty");
    expect_read(object, 0, 10, "0123456789");
    expect_read(object, 0, 3, "012");
    expect_read(object, 3, 4, "3456");
    expect_read(object, 9, 1, "9");
    expect_read(object, 7, 100, "789");
    expect_read(object, 10, 1, "");
    expect_read(object, 11, 100, "");
    expect_read(object, 5, 0, "");
    expect_read(object, 1ULL << 40, 100, "");
    expect_read(empty, 0, 100, "");
}

/* --- writers --- */

static void what_was_written_is_read_at_once(void **state)
{
    struct store_case *c = *state;
    struct object_writer *writer = store_case_create(c, "f/seg");

    CLEANUP(object_closep) struct object *before = store_case_open_object(c, "f/seg");
    store_case_expect_size(c, "f/seg", 0);
    expect_read(before, 0, 10, "");
    store_case_write(writer, 0, "abc");
    CLEANUP(object_closep) struct object *after = store_case_open_object(c, "f/seg");
    expect_read(before, 0, 10, "abc");
    expect_read(after, 0, 10, "abc");
    store_case_write(writer, 3, "def");
    store_case_write(writer, 6, "");
    expect_read(before, 0, 10, "abcdef");
    expect_read(after, 2, 3, "cde");
    store_case_expect_size(c, "f/seg", 6);
    expect_count(c, "f/s", 1);
    assert_int_equal(object_writer_sync(writer, NULL), 0);
    store_case_write(writer, 6, "ghi");
    expect_read(before, 0, 10, "abcdefghi");
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    object_writer_close(writer);
    expect_read(before, 0, 10, "abcdefghi");
    store_case_expect(c, "f/seg", "abcdefghi");
}

static void a_hole_reads_as_zeros_until_it_is_written(void **state)
{
    static const uint8_t zeros[100000];
    struct store_case *c = *state;
    struct object_writer *writer = store_case_create(c, "seg");
    uint8_t *found = malloc(sizeof(zeros));
    size_t len = 0;

    assert_non_null(found);
    memset(found, 1, sizeof(zeros));
    store_case_write(writer, sizeof(zeros), "end");
    store_case_expect_size(c, "seg", sizeof(zeros) + 3);
    CLEANUP(object_closep) struct object *object = store_case_open_object(c, "seg");
    assert_int_equal(object_read(object, 0, sizeof(zeros), found, &len, NULL), 0);
    assert_int_equal(len, sizeof(zeros));
    assert_memory_equal(found, zeros, len);
    store_case_write(writer, 5000, "middle");
    expect_read(object, 5000, 6, "middle");
    expect_read(object, sizeof(zeros), 10, "end");
    assert_int_equal(object_read(object, 5006, 1000, found, &len, NULL), 0);
    assert_int_equal(len, 1000);
    assert_memory_equal(found, zeros, len);
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    object_writer_close(writer);
    store_case_expect_size(c, "seg", sizeof(zeros) + 3);
    free(found);
}

/* At once, or where asking would be dear, with the first sync. */
static void expect_taken(struct store_case *c, const char *name)
{
    struct object_writer *writer = NULL;
    struct error err = { 0 };

    int r = object_store_create(c->store, name, &writer, &err);
    if (r == 0 && object_store_prefers_sealing(c->store)) {
        store_case_write(writer, 0, "lost");
        r = object_writer_sync(writer, &err);
        object_writer_close(writer);
    } else {
        assert_null(writer);
    }
    store_case_expect_error(r, -EEXIST, &err);
}

static void create_finds_a_name_taken(void **state)
{
    struct store_case *c = *state;
    struct object_writer *second = NULL;
    struct error err = { 0 };

    store_case_put(c, "a", "kept");
    struct object_writer *writer = store_case_create(c, "seg");
    store_case_write(writer, 0, "kept");
    expect_taken(c, "a");
    store_case_expect_error(object_store_create(c->store, "seg", &second, &err), -EEXIST, &err);
    assert_null(second);
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    object_writer_close(writer);
    expect_taken(c, "seg");
    store_case_expect(c, "a", "kept");
    store_case_expect(c, "seg", "kept");
}

static void space_is_told(void **state)
{
    struct store_case *c = *state;
    struct object_store_space space = { 1, 2 };

    assert_int_equal(object_store_space(c->store, &space, NULL), 0);
    if (space.total == 0)
        assert_int_equal(space.free, 0);
    else
        assert_true(space.free <= space.total);
    assert_true(space.total != 1);
}

static void a_trial_finds_what_is_promised_and_leaves_nothing(void **state)
{
    struct store_case *c = *state;
    struct error err = { 0 };

    store_case_put(c, "a", "kept");
    if (object_store_probe(c->store, &err) != 0)
        fail_msg("%s", err.text);
    expect_count(c, "", 1);
}

/* --- many steps at random, compared with a plain table --- */

#define MODEL_NAMES 8u

struct model {
    struct store_case *c;
    char values[MODEL_NAMES][32]; /* empty: no object */
    uint64_t seed;
};

static unsigned next_random(struct model *model, unsigned below)
{
    model->seed = model->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(model->seed >> 33) % below;
}

static int append_whole(struct object_store *store, const char *name, const char *value)
{
    struct object_writer *writer = NULL;

    int r = object_store_create(store, name, &writer, NULL);
    if (r < 0)
        return r;
    for (size_t i = strlen(value); i-- > 0;) /* backwards: holes that are filled */
        assert_int_equal(
            object_writer_write(writer, i, (struct bytes){ (const uint8_t *)value + i, 1 }, NULL),
            0);
    r = object_writer_seal(writer, NULL);
    object_writer_close(writer);
    return r;
}

static void random_step(struct model *model, unsigned step)
{
    unsigned which = next_random(model, MODEL_NAMES);
    char *known = model->values[which];
    char name[16], value[32];
    int expected = known[0] != '\0' ? -EEXIST : 0;

    (void)snprintf(name, sizeof(name), "m%u/%u", which % 3, which);
    (void)snprintf(value, sizeof(value), "%u-%.*s", step, (int)(step % 16), "abcdefghijklmnop");
    switch (next_random(model, 4)) {
    case 0:
        assert_int_equal(object_store_put(model->c->store, name, text(value), NULL), expected);
        break;
    case 1:
        assert_int_equal(append_whole(model->c->store, name, value), expected);
        break;
    case 2:
        assert_int_equal(object_store_replace(model->c->store, name, text(value), NULL), 0);
        expected = 0;
        break;
    default:
        assert_int_equal(object_store_remove(model->c->store, name, NULL), 0);
        known[0] = '\0';
        expected = -EEXIST;
        break;
    }
    if (expected == 0)
        memcpy(known, value, sizeof(value));
    store_case_expect(model->c, name, known[0] != '\0' ? known : NULL);
}

static void random_steps_agree_with_a_plain_table(void **state)
{
    struct model model = { .c = *state, .seed = 1 };
    unsigned left = 0;

    for (unsigned step = 0; step < 600; step++)
        random_step(&model, step);
    for (unsigned i = 0; i < MODEL_NAMES; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "m%u/%u", i % 3, i);
        store_case_expect(model.c, name, model.values[i][0] != '\0' ? model.values[i] : NULL);
        left += model.values[i][0] != '\0';
    }
    expect_count(model.c, "m", left);
}

#define EVERY(test)                                                                                \
    {                                                                                              \
#test, test, store_case_setup, store_case_teardown, NULL                                   \
    }

int main(int argc, char **argv)
{
    struct CMUnitTest tests[] = {
        EVERY(what_was_put_is_read_back),
        EVERY(put_never_overwrites),
        EVERY(replace_makes_an_object_or_takes_its_place),
        EVERY(get_refuses_what_is_larger_than_asked_for),
        EVERY(names_that_are_none_are_refused),
        EVERY(all_other_names_are_good_for_objects),
        EVERY(list_visits_each_name_with_the_prefix_once),
        EVERY(a_visit_ends_the_listing_with_its_value),
        EVERY(a_visit_may_remove_what_it_is_shown),
        EVERY(what_is_not_there_is_enoent_and_counts_as_removed),
        EVERY(an_object_can_be_opened_with_the_size_that_it_is_said_to_have),
        EVERY(a_removed_object_is_away_and_its_name_free),
        EVERY(an_open_object_is_read_after_its_removal),
        EVERY(a_read_is_short_only_at_the_end),
        EVERY(what_was_written_is_read_at_once),
        EVERY(a_hole_reads_as_zeros_until_it_is_written),
        EVERY(create_finds_a_name_taken),
        EVERY(space_is_told),
        EVERY(a_trial_finds_what_is_promised_and_leaves_nothing),
        EVERY(random_steps_agree_with_a_plain_table),
    };
    size_t count = sizeof(tests) / sizeof(tests[0]);

    if (argc != 2)
        return 2;
    for (size_t i = 0; i < count; i++)
        tests[i].initial_state = argv[1];
    return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
