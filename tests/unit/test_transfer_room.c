/* What is brought in from a bucket, on a disk that is nearly full: the room of garbage is won
 * first; where there is none, it says so, and goes on when there is.
 */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/volume_internal.h"
#include "store/layers/layer.h"
#include "tests/support/download_case.h"
#include "tests/support/file_case.h"
#include "tests/support/import_case.h"
#include "tests/support/snapshot_case.h"

#define MIB ((size_t)1 << 20)
#define TOTAL ((uint64_t)96 * MIB)
#define BROUGHT (8 * MIB)
#define ROOM (4 * MIB) /* for a part of it */

/* On a disk of its own, of which something else uses a part. */
struct small_store {
    struct layer layer;
    atomic_uint_fast64_t elsewhere;
};

static int add_size(const char *name, uint64_t size, void *arg)
{
    uint64_t *sum = arg;

    (void)name;
    *sum += size;
    return 0;
}

static uint64_t stored(struct object_store *store)
{
    uint64_t sum = 0;

    assert_int_equal(object_store_list(store, "", add_size, &sum, NULL), 0);
    return sum;
}

static int around(struct layer *layer, struct store_call *call, struct error *err)
{
    struct small_store *small = (struct small_store *)layer;

    if (call->op != STORE_SPACE)
        return store_call_perform(call, err);
    uint64_t used = stored(layer->inner) + small->elsewhere;
    *call->ret_space =
        (struct object_store_space){ .total = TOTAL, .free = used < TOTAL ? TOTAL - used : 0 };
    return 0;
}

static void release(struct layer *layer)
{
    free(layer);
}

/* Under the volume, which is opened again. */
static struct small_store *put_under(struct volume_case *v)
{
    static const struct layer_kind kind = { .around = around, .release = release };
    struct small_store *small = calloc(1, sizeof(*small));

    assert_non_null(small);
    volume_case_close(v);
    layer_init(&small->layer, &kind, v->store);
    v->store = &small->layer.base;
    volume_case_open(v);
    return small;
}

/* Of what may be used: writers leave some of the disk to compaction. */
static void leave(struct volume_case *v, struct small_store *small, uint64_t room)
{
    struct object_store_space disk = { .total = TOTAL, .free = TOTAL };
    uint64_t kept = TOTAL - room_for_data(&disk);

    assert_int_equal(volume_sync(v->volume, NULL), 0);
    small->elsewhere = TOTAL - stored(small->layer.inner) - kept - room;
}

/* Of each segment a quarter is in use. */
static void make_garbage(struct volume_case *v)
{
    char name[8];

    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof(name), "g%u", i);
        volume_forget(v->volume, file_case_make(v, name, MIB, i), 1);
    }
    segments_end_current(v->volume->segments);
    assert_int_equal(volume_sync(v->volume, NULL), 0);
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof(name), "g%u", i);
        if (i % 4 != 0)
            assert_int_equal(volume_unlink(v->volume, VOLUME_ROOT, name), 0);
    }
}

static void expect_files(struct volume_case *v)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(MIB);
    struct volume_attr attr;
    char name[8];

    assert_non_null(data);
    for (unsigned i = 0; i < 20; i += 4) {
        (void)snprintf(name, sizeof(name), "g%u", i);
        file_case_fill(data, MIB, i);
        assert_int_equal(volume_lookup(v->volume, VOLUME_ROOT, name, &attr), 0);
        file_case_expect(v, attr.ino, 0, data, MIB);
        volume_forget(v->volume, attr.ino, 1);
    }
}

static void a_download_wins_room_or_waits_for_it(void **state)
{
    struct transfer_case *c = *state;
    struct origin_progress progress;
    struct download_case d;

    (void)file_case_make(&c->volume, "f", BROUGHT, 1);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    for (unsigned is_full = 0; is_full < 2; is_full++) {
        download_case_new(&d, c, &locator, NULL);
        struct small_store *small = put_under(&d.volume);
        make_garbage(&d.volume);
        leave(&d.volume, small, is_full ? 0 : ROOM);
        if (is_full)
            small->elsewhere = TOTAL;
        download_case_go(&d);
        if (is_full) {
            do
                assert_true(volume_origin_progress(d.volume.volume, &progress));
            while (progress.waits_for.code == 0);
            assert_int_equal(progress.waits_for.code, -ENOSPC);
            assert_non_null(strstr(progress.waits_for.text, "make the disk larger"));
            small->elsewhere = 0;
        }
        download_case_finish(&d);
        expect_files(&d.volume);
        volume_case_check(&d.volume);
        download_case_end(&d);
    }
}

static void an_import_wins_room_or_says_that_there_is_none(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct error err = { .code = 0 };

    struct small_store *small = put_under(v);
    uint64_t f = file_case_make(v, "f", BROUGHT, 1);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    segments_end_current(v->volume->segments);
    assert_int_equal(volume_unlink(v->volume, VOLUME_ROOT, "f"), 0);
    volume_forget(v->volume, f, 1);
    snapshot_case_drop(v, "a");
    snapshot_case_settle(v);
    volume_case_reopen(v);
    while (stored(small->layer.inner) >= BROUGHT)
        (void)volume_make_room(v->volume);
    make_garbage(v);
    small->elsewhere = TOTAL;
    assert_int_equal(import_case_try(v, &c->bucket, &a, "back", &progress, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "make the disk larger"));
    leave(v, small, ROOM);
    (void)import_case_bring(v, &c->bucket, &a, "back", &progress);
    assert_true(progress.fetched >= BROUGHT);
    expect_files(v);
    volume_case_check(v);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, import_case_setup, import_case_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_download_wins_room_or_waits_for_it),
        TEST(an_import_wins_room_or_says_that_there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
