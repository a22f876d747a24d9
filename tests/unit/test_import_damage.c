/* Snapshots in a bucket that become snapshots of a filesystem whose blocks were altered, or are
 * missing: what of that the bucket has is brought.
 */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/segment_format.h"
#include "fs/volume_internal.h"
#include "tests/support/file_case.h"
#include "tests/support/import_case.h"
#include "tests/support/snapshot_case.h"
#include "tests/support/transfer_case.h"

#define MIB ((size_t)1 << 20)

struct object_found {
    char name[SEGMENT_NAME_SIZE];
    uint64_t size;
};

static int note_largest(const char *name, uint64_t size, void *arg)
{
    struct object_found *largest = arg;

    if (size > largest->size) {
        largest->size = size;
        (void)snprintf(largest->name, sizeof(largest->name), "%s", name);
    }
    return 0;
}

/* What the largest segment holds, and its object's name. The volume is closed then. */
static void take_largest(struct volume_case *v, char name[static SEGMENT_NAME_SIZE],
                         struct buf *ret)
{
    struct object_found largest = { .size = 0 };

    volume_case_close(v);
    assert_int_equal(object_store_list(v->store, SEGMENT_PREFIX, note_largest, &largest, NULL), 0);
    assert_int_equal(object_store_get(v->store, largest.name, largest.size, ret, NULL), 0);
    memcpy(name, largest.name, SEGMENT_NAME_SIZE);
}

/* Nothing names them, so nothing told that they are lost; and the bucket has them. */
static void what_is_here_and_damaged_is_brought(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    CLEANUP(free_ptr) uint8_t *data = calloc(1, MIB);
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    char name[SEGMENT_NAME_SIZE];

    assert_non_null(data);
    uint64_t f = file_case_make(v, "f", 8 * MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    file_case_write(v, f, 2 * MIB, data, MIB);
    snapshot_case_drop(v, "a");
    snapshot_case_settle(v);
    take_largest(v, name, &object);
    object.data[MIB * 5 / 2 / 4096 * (4096 + BLOCK_OVERHEAD) + 100] ^= 1;
    assert_int_equal(object_store_replace(v->store, name, buf_bytes(&object), NULL), 0);
    volume_case_open(v);
    volume_case_check(v);
    struct volume_snapshot back = import_case_bring(v, &c->bucket, &a, "one", &progress);
    assert_true(progress.fetched > 0);
    assert_true(progress.fetched + progress.reused < MIB + MIB / 16);
    (void)transfer_case_compare(c, &a, &back);
    volume_case_check(v);
    volume_case_reopen(v);
    volume_case_check(v);
    snapshot_case_drop(v, "one");
    snapshot_case_settle(v);

    /* All of it is missing. */
    volume_case_close(v);
    assert_int_equal(object_store_remove(v->store, name, NULL), 0);
    volume_case_open(v);
    back = import_case_bring(v, &c->bucket, &a, "all", &progress);
    assert_true(progress.fetched >= MIB && progress.fetched < MIB + MIB / 16);
    volume_case_close(v);
    assert_int_equal(object_store_put(v->store, name, buf_bytes(&object), NULL), 0);
    volume_case_open(v);
    (void)transfer_case_compare(c, &a, &back);
    volume_case_check(v);
}

#define STEP (4096u + BLOCK_OVERHEAD)

/* Where what lay in a former segment lies now, in the largest one, it is altered. */
static void alter_in_largest(struct volume_case *v, const char *former, const struct buf *from,
                             const size_t *at, size_t count)
{
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    char name[SEGMENT_NAME_SIZE];

    take_largest(v, name, &object);
    assert_string_not_equal(name, former);
    for (size_t i = 0; i < count; i++) {
        uint8_t *found = memmem(object.data, object.len, from->data + at[i] / 4096 * STEP, STEP);
        assert_non_null(found);
        found[100] ^= 1;
    }
    assert_int_equal(object_store_replace(v->store, name, buf_bytes(&object), NULL), 0);
    volume_case_open(v);
}

/* Blocks that were moved once, of which the neighbours are still in use. */
static void what_is_damaged_among_what_was_moved_is_brought(void **state)
{
    static const size_t dead[] = { 4 * MIB, 5 * MIB + MIB / 2, 7 * MIB - 16384, 7 * MIB + 16384 };
    enum { DEAD = sizeof(dead) / sizeof(dead[0]) };
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    CLEANUP(free_ptr) uint8_t *data = malloc(8 * MIB);
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    char name[SEGMENT_NAME_SIZE];

    assert_non_null(data);
    uint64_t f = file_case_make(v, "f", 8 * MIB, 1);
    file_case_fill(data, 8 * MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    snapshot_case_drop(v, "a");
    take_largest(v, name, &before);
    volume_case_open(v);
    memset(data, 0, 2 * MIB);
    file_case_write(v, f, 0, data, 2 * MIB);
    snapshot_case_settle(v);
    (void)volume_make_room(v->volume); /* the keeper may have been faster */
    for (size_t i = 0; i < DEAD; i++) {
        memset(data + dead[i], 0, 16384);
        file_case_write(v, f, dead[i], data + dead[i], 16384);
    }
    alter_in_largest(v, name, &before, dead, DEAD);
    uint64_t now = volume_case_used(v);
    for (unsigned round = 0; round < 2; round++) {
        struct volume_snapshot back = import_case_bring(v, &c->bucket, &a, "back", &progress);
        assert_true(progress.fetched >= (uint64_t)DEAD * 16384);
        volume_case_check(v);
        (void)transfer_case_compare(c, &a, &back);
        file_case_expect(v, f, 0, data, 8 * MIB);
        volume_case_reopen(v);
        volume_case_check(v);
        (void)transfer_case_compare(c, &a, &back);
        file_case_expect(v, f, 0, data, 8 * MIB);
        snapshot_case_drop(v, "back");
        snapshot_case_settle(v);
        volume_case_check(v);
        assert_int_equal(volume_case_used(v), now);
        (void)volume_make_room(v->volume);
        volume_case_check(v);
        file_case_expect(v, f, 0, data, 8 * MIB);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, import_case_setup, import_case_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_here_and_damaged_is_brought),
        TEST(what_is_damaged_among_what_was_moved_is_brought),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
