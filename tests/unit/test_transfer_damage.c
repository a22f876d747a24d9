/* What is brought in from a bucket when something is damaged here, or the store here fails: blocks
 * of which the bucket has a good copy are brought, what is behind a damaged record is fetched, and
 * nothing that failed is silent.
 */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/segment_format.h"
#include "fs/snapshot_import.h"
#include "fs/volume_internal.h"
#include "store/layers/fault.h"
#include "tests/support/download_case.h"
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

    /* All of it is missing; a store that lacks all segments would not be opened. */
    (void)file_case_make(v, "other", 16384, 2);
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

/* --- downloads --- */

static uint64_t find(struct volume_case *v, const char *name)
{
    struct volume_attr attr;

    assert_int_equal(volume_lookup(v->volume, VOLUME_ROOT, name, &attr), 0);
    volume_forget(v->volume, attr.ino, 1);
    return attr.ino;
}

static void expect_file(struct volume_case *v, const char *name, unsigned seed)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(MIB);

    assert_non_null(data);
    file_case_fill(data, MIB, seed);
    file_case_expect(v, find(v, name), 0, data, MIB);
}

/* The closed volume's first record of an inode. */
static void alter_record(struct volume_case *v, const uint8_t *kind, size_t len, uint64_t ino)
{
    uint8_t first[64];
    char path[4096];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cursor;
    MDB_val value;

    memcpy(first, kind, len);
    for (unsigned i = 0; i < 8; i++)
        first[len + i] = (uint8_t)(ino >> (56 - 8 * i));
    MDB_val key = { .mv_data = first, .mv_size = len + 8 };
    (void)snprintf(path, sizeof(path), "%s/meta/metadata.mdb", v->folder);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_mapsize(env, (size_t)1 << 28), 0);
    assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE), 0);
    assert_memory_equal(key.mv_data, first, len + 8);
    CLEANUP(free_ptr) uint8_t *altered = malloc(value.mv_size);
    assert_non_null(altered);
    memcpy(altered, value.mv_data, value.mv_size);
    altered[value.mv_size - 1] ^= 1;
    value.mv_data = altered;
    assert_int_equal(mdb_cursor_put(cursor, &key, &value, MDB_CURRENT), 0);
    mdb_cursor_close(cursor);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

/* Until it rests for that reason. */
static void wait_for_reason(struct volume *volume, int code, struct origin_progress *ret)
{
    do
        assert_true(volume_origin_progress(volume, ret));
    while (ret->waits_for.code != code);
}

/* One of a file as it is, and one that was saved for a snapshot; both in front of others. */
static void what_is_behind_a_damaged_record_is_fetched(void **state)
{
    static const uint8_t live[] = { RECORD_TREE_LIVE, RECORD_EXTENTS };
    static const uint8_t saved[] = { RECORD_TREE_LIVE, RECORD_HISTORY, RECORD_EXTENTS };
    struct transfer_case *c = *state;
    struct fault_store *fault = NULL;
    struct origin_progress progress;
    struct download_case d;

    assert_int_equal(fault_store_new(c->store, &c->store, &fault), 0);
    assert_int_equal(bucket_init(&c->bucket, c->store, "", NULL), 0);
    for (unsigned i = 0; i < 6; i++)
        (void)file_case_make(&c->volume, (char[]){ (char)('a' + i), 0 }, MIB, i);
    (void)transfer_case_take(c, "s");
    struct locator locator = transfer_case_upload(c, "s");
    download_case_new(&d, c, &locator, NULL);
    fault_arm(fault, FAULT_OPEN, "coffer-1/packs/", 0, FAULT_ALWAYS, -EAGAIN);
    fault_arm(fault, FAULT_READ, "coffer-1/packs/", 0, FAULT_ALWAYS, -EAGAIN);
    download_case_wait_records(&d);
    struct volume_snapshot then = snapshot_case_take(&d.volume, "then");
    CLEANUP(free_ptr) uint8_t *zeros = calloc(1, MIB);
    assert_non_null(zeros);
    uint64_t b = find(&d.volume, "b"), c_ino = find(&d.volume, "c"), e = find(&d.volume, "e");
    file_case_write(&d.volume, c_ino, 0, zeros, MIB);
    file_case_write(&d.volume, e, 0, zeros, MIB);
    volume_case_close(&d.volume);
    alter_record(&d.volume, live, sizeof(live), b);
    alter_record(&d.volume, saved, sizeof(saved), c_ino);
    fault_disarm(fault);
    download_case_open(&d);
    for (unsigned i = 0; i < 4; i++) { /* two for each time that all is looked at */
        download_case_go(&d);
        wait_for_reason(d.volume.volume, -EBADMSG, &progress);
    }
    assert_true(progress.data_left >= 2 * MIB && progress.data_left < 2 * MIB + MIB / 8);
    assert_true(d.volume.events[VOLUME_EVENT_CORRUPTION] > 0);
    fault_arm(fault, FAULT_OPEN, "coffer-1/packs/", 0, FAULT_ALWAYS, -EAGAIN);
    fault_arm(fault, FAULT_READ, "coffer-1/packs/", 0, FAULT_ALWAYS, -EAGAIN);
    expect_file(&d.volume, "a", 0);
    expect_file(&d.volume, "d", 3);
    expect_file(&d.volume, "f", 5);
    file_case_fill(zeros, MIB, 4);
    file_case_expect(&d.volume, snapshot_case_root(&then) - VOLUME_ROOT + e, 0, zeros, MIB);

    /* The way out: who removes what is damaged needs the bucket no more. */
    fault_disarm(fault);
    assert_int_equal(volume_unlink(d.volume.volume, VOLUME_ROOT, "b"), 0);
    volume_forget(d.volume.volume, b, 1);
    snapshot_case_drop(&d.volume, "then");
    download_case_finish(&d);
    volume_case_reopen(&d.volume);
    volume_case_check(&d.volume);
    expect_file(&d.volume, "a", 0);
    expect_file(&d.volume, "f", 5);
    download_case_end(&d);
}

/* As if its folder were gone: nothing of that says that a block was freed. */
static void a_store_that_misses_something_is_told_of(void **state)
{
    struct transfer_case *c = *state;
    struct fault_store *fault = NULL;
    struct origin_progress progress;
    struct download_case d;

    (void)file_case_make(&c->volume, "f", MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    download_case_new(&d, c, &locator, NULL);
    volume_case_close(&d.volume);
    assert_int_equal(fault_store_new(d.volume.store, &d.volume.store, &fault), 0);
    fault_arm(fault, FAULT_CREATE, "segments/", 0, FAULT_ALWAYS, -ENOENT);
    download_case_open(&d);
    download_case_go(&d);
    wait_for_reason(d.volume.volume, -ENOENT, &progress);
    assert_true(progress.data_left >= MIB);
    fault_disarm(fault);
    download_case_finish(&d);
    expect_file(&d.volume, "f", 1);
    volume_case_check(&d.volume);
    download_case_end(&d);
}

struct waiting {
    struct download_case *d;
    uint64_t ino;
    atomic_uint failed;
    int result;
};

static int fail_packs(const char *operation, const char *name, void *arg)
{
    struct waiting *waiting = arg;

    (void)operation;
    if (strstr(name, "/packs/") == NULL)
        return 0;
    atomic_fetch_add(&waiting->failed, 1);
    return -EAGAIN;
}

static void *read_in_vain(void *arg)
{
    struct waiting *waiting = arg;
    uint8_t block[4096];
    size_t len;

    waiting->result =
        volume_read(waiting->d->volume.volume, waiting->ino, 0, sizeof(block), block, &len);
    return NULL;
}

/* However patient it is; the filesystem can be closed then. */
static void who_waits_for_the_bucket_ends_when_it_is_stopped(void **state)
{
    struct transfer_case *c = *state;
    struct mortal_store mortal;
    struct download_case d;
    pthread_t thread;

    (void)file_case_make(&c->volume, "f", MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    mortal_store_init(&mortal, c->store, MORTAL_FOREVER);
    download_case_new(&d, c, &locator, &mortal.base);
    d.place.patience_ms = (int64_t)3600 * 1000;
    download_case_reopen(&d);
    struct waiting waiting = { .d = &d, .ino = find(&d.volume, "f") };
    mortal.arg = &waiting;
    mortal.before = fail_packs;
    assert_int_equal(pthread_create(&thread, NULL, read_in_vain, &waiting), 0);
    while (atomic_load(&waiting.failed) < 2)
        (void)sched_yield();
    volume_origin_stop(d.volume.volume);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiting.result, -EIO);
    mortal.before = NULL;
    download_case_reopen(&d);
    expect_file(&d.volume, "f", 1);
    download_case_end(&d);
}

struct stopping {
    struct volume_origin *origin;
    atomic_uint failed;
};

static int fail_chunks(const char *operation, const char *name, void *arg)
{
    struct stopping *stopping = arg;

    (void)operation;
    if (strstr(name, "/chunks/") == NULL)
        return 0;
    atomic_fetch_add(&stopping->failed, 1);
    return -EAGAIN;
}

static void *stop_when_it_waits(void *arg)
{
    struct stopping *stopping = arg;

    while (atomic_load(&stopping->failed) < 2)
        (void)sched_yield();
    stopping->origin->ops->stop(stopping->origin);
    return NULL;
}

/* However patient it is. */
static void an_import_that_waits_for_the_bucket_can_be_stopped(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct error err = { .code = 0 };
    struct stopping stopping = { .origin = NULL };
    struct mortal_store mortal;
    struct bucket bucket;
    pthread_t thread;

    (void)file_case_make(v, "f", MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    mortal_store_init(&mortal, c->store, MORTAL_FOREVER);
    mortal.before = fail_chunks;
    mortal.arg = &stopping;
    assert_int_equal(bucket_init(&bucket, &mortal.base, "", NULL), 0);
    const int64_t hour_ms = 3600 * 1000;
    assert_int_equal(import_case_open(v, &bucket, &a, hour_ms, &stopping.origin, &err), 0);
    const struct snapshot_import import = { .name = "b",
                                            .access_point = "b",
                                            .origin = stopping.origin };
    assert_int_equal(pthread_create(&thread, NULL, stop_when_it_waits, &stopping), 0);
    assert_int_equal(volume_snapshot_import(v->volume, &import, &progress, &err), -EIO);
    assert_int_equal(pthread_join(thread, NULL), 0);
    stopping.origin->ops->close(stopping.origin);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, import_case_setup, import_case_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_here_and_damaged_is_brought),
        TEST(what_is_damaged_among_what_was_moved_is_brought),
        TEST(what_is_behind_a_damaged_record_is_fetched),
        TEST(a_store_that_misses_something_is_told_of),
        TEST(who_waits_for_the_bucket_ends_when_it_is_stopped),
        TEST(an_import_that_waits_for_the_bucket_can_be_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
