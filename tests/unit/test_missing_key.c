/* A volume with blocks of another filesystem whose key it was not given: what that sealed cannot be
 * read, and is told of as that; all else, and all that takes ciphertext as it is, goes on. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/restore.h"
#include "fs/segments.h"
#include "fs/volume_internal.h"
#include "tests/support/download_case.h"
#include "tests/support/file_case.h"
#include "tests/support/import_case.h"
#include "tests/support/snapshot_case.h"

#define MIB ((size_t)1 << 20)
#define THEIRS_LEN (4 * MIB)

/* A filesystem that has lived on elsewhere, and whose snapshot was brought here and gone on with.
 */
struct both {
    struct transfer_case *here;
    struct download_case there;
    struct locator after;
    struct key_set with_key;
};

static uint64_t find(struct volume_case *v, const char *name)
{
    struct volume_attr attr;

    assert_int_equal(volume_lookup(v->volume, VOLUME_ROOT, name, &attr), 0);
    return attr.ino;
}

static void restore(struct volume_case *v, const char *name)
{
    struct volume_restored restored;
    struct error err = { .code = 0 };

    if (volume_restore(v->volume, name, NULL, NULL, &restored, &err) != 0)
        fail_msg("%s", err.text);
}

/* All the keys, and then only its own. */
static void bring_theirs(struct transfer_case *c, struct both *ret)
{
    struct volume_case *v = &c->volume, *other = &ret->there.volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct transfer_case side;

    *ret = (struct both){ .here = c };
    (void)file_case_make(v, "ours", MIB, 1);
    (void)transfer_case_take(c, "first");
    struct locator first = transfer_case_upload(c, "first");
    download_case_new(&ret->there, c, &first, NULL);
    download_case_finish(&ret->there);
    (void)file_case_make(other, "theirs", THEIRS_LEN, 2);
    transfer_case_adopt(&side, other, c->store);
    (void)transfer_case_take(&side, "after");
    ret->after = transfer_case_upload(&side, "after");
    transfer_case_disown(&side);
    assert_int_equal(key_set_add_foreign(&v->keys, &other->uuid, 1, key_set_find(&other->keys, 1)),
                     0);
    volume_case_reopen(v);
    (void)import_case_bring(v, &c->bucket, &ret->after, "after", &progress);
    restore(v, "after");
    snapshot_case_drop(v, "after");
    snapshot_case_settle(v);
    assert_int_equal(key_set_copy(&ret->with_key, &v->keys), 0);
    secret_release(&v->keys.foreign[0].key);
    v->keys.foreign_count = 0;
    volume_case_reopen(v);
}

static void end(struct both *both)
{
    key_set_release(&both->with_key);
    download_case_end(&both->there);
}

static int read_theirs(struct volume_case *v)
{
    uint8_t data[4096];
    size_t got = 0;

    return volume_read(v->volume, find(v, "theirs"), MIB, sizeof(data), data, &got);
}

static void expect_data(struct volume_case *v, const char *name, size_t from, size_t len,
                        unsigned seed)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(THEIRS_LEN);

    assert_non_null(data);
    file_case_fill(data, THEIRS_LEN, seed);
    file_case_expect(v, find(v, name), from, data + from, len);
}

static void what_it_seals_cannot_be_read_until_it_is_given(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct error err = { .code = 0 };
    char id[UUID_TEXT_SIZE];
    struct both both;

    bring_theirs(c, &both);
    uuid_format(&both.there.volume.uuid, id);
    expect_data(v, "ours", 0, MIB, 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(read_theirs(v), -EIO);
    assert_int_equal(v->events[VOLUME_EVENT_KEY_MISSING], 1);
    assert_int_equal(v->events[VOLUME_EVENT_CORRUPTION], 0);
    assert_non_null(strstr(v->last_event, "generation 1 of the key of filesystem "));
    assert_non_null(strstr(v->last_event, id));
    assert_int_equal(volume_case_faults(v, false), 0);
    assert_true(volume_case_faults(v, true) > 0);

    assert_int_equal(volume_add_keys(v->volume, &both.with_key, &err), 0);
    expect_data(v, "theirs", 0, THEIRS_LEN, 2);
    volume_case_check(v);
    end(&both);
}

static int count_uses(struct volume_case *v, const struct uuid *origin)
{
    struct foreign_key_ids uses = { .count = 0 };
    struct error err = { .code = 0 };

    if (volume_foreign_keys(v->volume, &uses, &err) != 0)
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < uses.count; i++)
        assert_true(uuid_equal(&uses.items[i].origin, origin) && uses.items[i].generation == 1);
    return (int)uses.count;
}

static void a_key_is_used_until_nothing_that_it_seals_is_left(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct both both;

    bring_theirs(c, &both);
    const struct uuid *origin = &both.there.volume.uuid;
    assert_int_equal(count_uses(v, origin), 1);
    (void)transfer_case_take(c, "kept");
    uint64_t ino = find(v, "theirs");
    file_case_truncate(v, ino, 4096);
    assert_int_equal(count_uses(v, origin), 1); /* also for a part of it */
    assert_int_equal(volume_unlink(v->volume, VOLUME_ROOT, "theirs"), 0);
    volume_forget(v->volume, ino, 1);
    volume_case_reopen(v);
    assert_int_equal(count_uses(v, origin), 1); /* for the snapshot alone */
    snapshot_case_drop(v, "kept");
    snapshot_case_settle(v);
    assert_int_equal(count_uses(v, origin), 0);
    volume_case_reopen(v);
    assert_int_equal(count_uses(v, origin), 0);
    volume_case_check(v); /* with no key of others, it has all */
    end(&both);
}

static void a_check_tells_of_what_only_a_snapshot_holds(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct error err = { .code = 0 };
    struct both both;

    bring_theirs(c, &both);
    (void)transfer_case_take(c, "kept");
    uint64_t ino = find(v, "theirs");
    assert_int_equal(volume_unlink(v->volume, VOLUME_ROOT, "theirs"), 0);
    volume_forget(v->volume, ino, 1);
    volume_case_reopen(v);
    assert_int_equal(volume_case_faults(v, false), 0);
    assert_true(volume_case_faults(v, true) > 0);
    assert_int_equal(volume_add_keys(v->volume, &both.with_key, &err), 0);
    volume_case_check(v);
    end(&both);
}

static void what_is_over_it_can_be_written_and_read(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct error err = { .code = 0 };
    uint8_t mine[5000];
    struct both both;

    bring_theirs(c, &both);
    memset(mine, 7, sizeof(mine));
    file_case_write(v, find(v, "theirs"), 100, mine, sizeof(mine));
    file_case_expect(v, find(v, "theirs"), 100, mine, sizeof(mine));
    volume_case_reopen(v);
    file_case_expect(v, find(v, "theirs"), 100, mine, sizeof(mine));
    assert_int_equal(read_theirs(v), -EIO);
    assert_int_equal(volume_add_keys(v->volume, &both.with_key, &err), 0);
    expect_data(v, "theirs", 5100, THEIRS_LEN - 5100, 2);
    volume_case_check(v);
    end(&both);
}

static void it_is_moved_and_counted_as_it_is(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct segments_space before, after;
    struct error err = { .code = 0 };
    struct both both;

    bring_theirs(c, &both);
    file_case_truncate(v, find(v, "theirs"), 2 * MIB);
    snapshot_case_drop(v, "first");
    snapshot_case_settle(v);
    volume_case_reopen(v); /* ends the segment */
    segments_space(v->volume->segments, &before);
    while (volume_make_room(v->volume))
        assert_int_equal(volume_sync(v->volume, NULL), 0);
    segments_space(v->volume->segments, &after);
    assert_true(after.stored < before.stored);
    assert_int_equal(after.live, before.live);
    assert_int_equal(volume_recount(v->volume, &err), 0);
    segments_space(v->volume->segments, &after);
    assert_int_equal(after.live, before.live);
    assert_int_equal(volume_case_faults(v, false), 0);
    assert_int_equal(read_theirs(v), -EIO);
    volume_case_reopen(v);
    assert_int_equal(volume_add_keys(v->volume, &both.with_key, &err), 0);
    expect_data(v, "theirs", 0, 2 * MIB, 2);
    volume_case_check(v);
    end(&both);
}

static void it_is_uploaded_as_it_is(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct both both;

    bring_theirs(c, &both);
    (void)file_case_make(v, "later", MIB, 3);
    (void)transfer_case_take(c, "later");
    struct locator later = transfer_case_upload(c, "later");
    /* Who has the key reads all of it. */
    assert_int_equal(key_set_copy(&v->keys, &both.with_key), 0);
    assert_int_equal(transfer_case_verify(c, &later, 1), 0);
    /* And so does the one that it came from, which has ours since its download. */
    both.there.volume.open_origin = NULL;
    volume_case_reopen(&both.there.volume);
    (void)import_case_bring(&both.there.volume, &c->bucket, &later, "later", &progress);
    volume_case_check(&both.there.volume);
    end(&both);
}

static void a_snapshot_that_needs_it_is_refused_by_name(void **state)
{
    struct transfer_case *c = *state;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct error err = { .code = 0 };
    struct both both;

    bring_theirs(c, &both);
    assert_int_equal(import_case_try(&c->volume, &c->bucket, &both.after, "again", &progress, &err),
                     -ENOKEY);
    assert_non_null(strstr(err.text, "generation 1 of the key of filesystem "));
    assert_int_equal(volume_case_faults(&c->volume, false), 0);
    end(&both);
}

#define KEY_TEST(function)                                                                         \
    cmocka_unit_test_setup_teardown(function, import_case_setup, import_case_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KEY_TEST(what_it_seals_cannot_be_read_until_it_is_given),
        KEY_TEST(a_key_is_used_until_nothing_that_it_seals_is_left),
        KEY_TEST(a_check_tells_of_what_only_a_snapshot_holds),
        KEY_TEST(what_is_over_it_can_be_written_and_read),
        KEY_TEST(it_is_moved_and_counted_as_it_is),
        KEY_TEST(it_is_uploaded_as_it_is),
        KEY_TEST(a_snapshot_that_needs_it_is_refused_by_name),
    };

    return cmocka_run_group_tests_name("missing_key", tests, NULL, NULL);
}
