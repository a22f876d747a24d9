/* Snapshots in a bucket that become snapshots of a filesystem of the same origin: what they and all
 * others show then, what is moved, what is counted as in use, and what a crash at any step leaves.
 */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/restore.h"
#include "fs/snapshot_import.h"
#include "fs/volume_internal.h"
#include "tests/support/download_case.h"
#include "tests/support/file_case.h"
#include "tests/support/import_case.h"
#include "tests/support/snapshot_case.h"
#include "tests/support/tree_model.h"

#define MIB ((size_t)1 << 20)

static void change(struct tree_model *tree, struct volume *volume, uint64_t *number, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        tree_model_change(tree, volume, (*number)++);
}

static void restore(struct volume_case *c, const char *name)
{
    struct volume_restored restored;
    struct error err = { .code = 0 };

    if (volume_restore(c->volume, name, NULL, NULL, &restored, &err) != 0)
        fail_msg("%s", err.text);
}

/* --- what it shows --- */

static void what_was_removed_here_comes_back(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct tree_model then, now;
    uint64_t number = 1;

    tree_model_new(&then);
    change(&then, v->volume, &number, 300);
    struct volume_snapshot old = transfer_case_take(c, "old");
    tree_model_copy(&then, &now);
    change(&then, v->volume, &number, 100);
    tree_model_free(&now);
    tree_model_copy(&then, &now);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    change(&now, v->volume, &number, 200);
    snapshot_case_drop(v, "a");
    snapshot_case_settle(v);
    volume_case_check(v);
    uint64_t before = volume_case_used(v);
    struct volume_snapshot back = import_case_bring(v, &c->bucket, &locator, "back", &progress);
    for (unsigned i = 0; i < 2; i++) {
        (void)tree_model_compare(&then, v->volume, snapshot_case_root(&back), true);
        (void)tree_model_compare(&now, v->volume, VOLUME_ROOT, true);
        volume_case_check(v);
        volume_case_reopen(v);
    }
    assert_true(volume_case_used(v) >= before);
    snapshot_case_drop(v, "back");
    snapshot_case_settle(v);
    assert_int_equal(volume_case_used(v), before);
    volume_case_check(v);

    back = import_case_bring(v, &c->bucket, &locator, "again", &progress);
    change(&now, v->volume, &number, 100);
    (void)tree_model_compare(&then, v->volume, snapshot_case_root(&back), true);
    restore(v, "again");
    (void)tree_model_compare(&then, v->volume, VOLUME_ROOT, true);
    volume_case_check(v);
    snapshot_case_drop(v, "again");
    snapshot_case_settle(v);
    volume_case_check(v);
    change(&then, v->volume, &number, 200);
    volume_case_check(v);
    snapshot_case_drop(v, old.name);
    snapshot_case_settle(v);
    (void)tree_model_compare(&then, v->volume, VOLUME_ROOT, true);
    volume_case_check(v);
    tree_model_free(&then);
    tree_model_free(&now);
}

static void only_what_is_missing_is_moved(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct download_case d;

    uint64_t f = file_case_make(v, "f", 8 * MIB, 1);
    (void)file_case_make(v, "g", MIB, 2);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    CLEANUP(free_ptr) uint8_t *data = calloc(1, MIB);
    assert_non_null(data);
    file_case_write(v, f, 2 * MIB, data, MIB);
    (void)transfer_case_take(c, "b");
    struct locator b = transfer_case_upload(c, "b");
    download_case_new(&d, c, &a, NULL);
    download_case_finish(&d);
    struct volume_snapshot here = import_case_bring(&d.volume, &d.bucket, &b, "b", &progress);
    assert_true(progress.fetched >= MIB && progress.fetched < MIB + MIB / 16);
    assert_int_equal(progress.reused, 0);
    file_case_expect(&d.volume, snapshot_case_root(&here) - VOLUME_ROOT + f, 2 * MIB, data, MIB);
    volume_case_check(&d.volume);
    (void)import_case_bring(&d.volume, &d.bucket, &b, "b2", &progress); /* all of it is here now */
    assert_int_equal(progress.fetched, 0);
    snapshot_case_drop(&d.volume, "b");
    snapshot_case_settle(&d.volume);
    volume_case_check(&d.volume);
    download_case_reopen(&d);
    volume_case_check(&d.volume);
    download_case_end(&d);

    /* Its blocks are named by nobody any more, but their segment is still there. */
    (void)import_case_bring(v, &c->bucket, &b, "kept", &progress);
    snapshot_case_drop(v, "kept");
    snapshot_case_drop(v, "a");
    snapshot_case_settle(v);
    here = import_case_bring(v, &c->bucket, &a, "back", &progress);
    assert_int_equal(progress.fetched, 0);
    assert_true(progress.reused >= MIB && progress.reused < MIB + MIB / 16);
    volume_case_check(v);
}

/* Which may take hours. */
static void a_snapshot_arrives_during_a_check(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };

    (void)file_case_make(v, "f", MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    snapshot_case_drop(v, "a");
    assert_int_equal(volume_unlink(v->volume, VOLUME_ROOT, "f"), 0);
    snapshot_case_settle(v);
    maintenance_begin_check(&v->volume->maintenance);
    (void)import_case_bring(v, &c->bucket, &locator, "back", &progress);
    maintenance_end_check(&v->volume->maintenance);
    volume_case_check(v);
}

/* A version that is neither the first nor the last one names some of its blocks, also when the
 * filesystem goes on from it. */
static void blocks_of_a_version_in_the_middle_are_not_given_up(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    CLEANUP(free_ptr) uint8_t *data = calloc(1, MIB);

    assert_non_null(data);
    uint64_t f = file_case_make(v, "f", 64 * 1024, 1);
    (void)transfer_case_take(c, "first");
    file_case_write(v, f, 0, data, 64 * 1024);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    file_case_write(v, f, 0, data, 16 * 1024);
    struct volume_snapshot middle = transfer_case_take(c, "middle");
    file_case_write(v, f, 0, data, 64 * 1024);
    (void)transfer_case_take(c, "last");
    file_case_write(v, f, 0, data, 64 * 1024);
    snapshot_case_drop(v, "a");
    snapshot_case_settle(v);
    volume_case_check(v);
    for (unsigned round = 0; round < 2; round++) {
        (void)import_case_bring(v, &c->bucket, &a, "back", &progress);
        assert_true(progress.fetched + progress.reused < 17 * 1024);
        volume_case_check(v);
        if (round == 1) {
            restore(v, "back");
            snapshot_case_drop(v, "back");
            snapshot_case_settle(v);
            volume_case_check(v);
            file_case_write(v, f, 0, data, 64 * 1024);
            volume_case_check(v);
            file_case_expect(v, snapshot_case_root(&middle) - VOLUME_ROOT + f, 0, data, 64 * 1024);
        } else {
            snapshot_case_drop(v, "back");
            snapshot_case_settle(v);
        }
        volume_case_check(v);
    }
}

/* The only segment with its blocks is gone, or so says nobody. */
static void what_is_not_here_any_more_is_brought(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct volume_attr attr;

    uint64_t f = file_case_make(v, "f", 3 * MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    segments_end_current(v->volume->segments);
    assert_int_equal(volume_sync(v->volume, NULL), 0);
    assert_int_equal(volume_unlink(v->volume, VOLUME_ROOT, "f"), 0);
    volume_forget(v->volume, f, 1);
    snapshot_case_drop(v, "a");
    snapshot_case_settle(v);
    volume_case_reopen(v);
    (void)volume_make_room(v->volume);
    for (unsigned i = 0; i < 3; i++) {
        (void)file_case_make(v, (char[]){ 'x', (char)('0' + i), 0 }, 5000, i);
        assert_int_equal(volume_sync(v->volume, NULL), 0);
        (void)volume_make_room(v->volume);
    }
    struct volume_snapshot back = import_case_bring(v, &c->bucket, &a, "a", &progress);
    assert_true(progress.fetched >= 3 * MIB);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(volume_lookup(v->volume, snapshot_case_root(&back), "f", &attr), 0);
        CLEANUP(free_ptr) uint8_t *data = malloc(3 * MIB);
        assert_non_null(data);
        file_case_fill(data, 3 * MIB, 1);
        file_case_expect(v, attr.ino, 0, data, 3 * MIB);
        volume_case_check(v);
        volume_case_reopen(v);
    }
    restore(v, "a");
    volume_case_check(v);
    snapshot_case_drop(v, "a");
    snapshot_case_settle(v);
    volume_case_check(v);
    volume_case_reopen(v);
    volume_case_check(v);
}

/* --- what is refused --- */

static bool stop_at_once(const struct snapshot_import_progress *progress, void *arg)
{
    (void)progress;
    return --*(int *)arg >= 0;
}

static void what_cannot_be_is_refused_with_words(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct volume_snapshot arriving;
    struct error err = { .code = 0 };
    struct transfer_case other;
    struct locator locator;
    int left = 0;

    (void)file_case_make(v, "f", MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    assert_int_equal(import_case_try(v, &c->bucket, &a, "a", &progress, &err), -EEXIST);
    assert_int_equal(import_case_try(v, &c->bucket, &a, "a/b", &progress, &err), -EINVAL);
    locator = a;
    locator.manifest[3] ^= 1;
    assert_int_equal(import_case_try(v, &c->bucket, &locator, "b", &progress, &err), -ENOENT);

    transfer_case_new(&other, "memory");
    (void)transfer_case_take(&other, "x");
    locator = transfer_case_upload(&other, "x");
    assert_int_equal(import_case_try(v, &other.bucket, &locator, "x", &progress, &err), -ENOKEY);
    assert_non_null(strstr(err.text, "generation 1 of the key of filesystem "));
    assert_int_equal(
        key_set_add_foreign(&v->keys, &other.volume.uuid, 1, &other.volume.keys.keys[0]), 0);
    assert_int_equal(import_case_try(v, &other.bucket, &locator, "x", &progress, &err), -EXDEV);
    assert_non_null(strstr(err.text, "coffer fs download"));
    transfer_case_end(&other);

    /* One that arrives is not seen, and is in the way of others. */
    struct volume_origin *origin = NULL;
    assert_int_equal(import_case_open(v, &c->bucket, &a, 0, &origin, &err), 0);
    struct snapshot_import import = { .name = "late",
                                      .access_point = "late",
                                      .origin = origin,
                                      .on_progress = stop_at_once,
                                      .arg = &left };
    assert_int_equal(volume_snapshot_import(v->volume, &import, &progress, &err), -ECANCELED);
    assert_true(volume_snapshot_arriving(v->volume, &arriving));
    assert_string_equal(arriving.name, "late");
    assert_int_equal(snapshot_case_kept(v), 1);
    assert_int_equal(volume_snapshot_take(v->volume, "late", "x", &arriving, NULL), -EEXIST);
    assert_int_equal(volume_snapshot_remove(v->volume, "late", NULL), -ENOENT);
    volume_case_check(v);
    volume_case_reopen(v);
    import.name = "other";
    left = 100;
    assert_int_equal(volume_snapshot_import(v->volume, &import, &progress, &err), -EBUSY);
    assert_int_equal(volume_snapshot_import_drop(v->volume, &err), 0);
    assert_int_equal(volume_snapshot_import_drop(v->volume, &err), -ENOENT);
    snapshot_case_settle(v);
    volume_case_check(v);
    assert_int_equal(volume_snapshot_import(v->volume, &import, &progress, &err), 0);
    origin->ops->close(origin);
    volume_case_check(v);
}

static int find_access(const struct volume_snapshot *snapshot, void *arg)
{
    return strcmp(snapshot->access_point, arg) == 0;
}

/* Both were taken in one second, as those of two hosts may be. */
static void an_access_point_that_another_one_has_gets_a_number(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct volume_origin *origin = NULL;
    struct volume_snapshot taken;
    char wanted[] = "then.3";

    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    assert_int_equal(volume_snapshot_take(v->volume, "one", "then", &taken, NULL), 0);
    assert_int_equal(volume_snapshot_take(v->volume, "two", "then.2", &taken, NULL), 0);
    assert_int_equal(import_case_open(v, &c->bucket, &locator, 0, &origin, NULL), 0);
    struct snapshot_import import = { .name = "b", .access_point = "then", .origin = origin };
    memcpy(import.manifest, locator.manifest, sizeof(import.manifest));
    assert_int_equal(volume_snapshot_import(v->volume, &import, &progress, NULL), -EEXIST);
    import.gives_way = true;
    assert_int_equal(volume_snapshot_import(v->volume, &import, &progress, NULL), 0);
    origin->ops->close(origin);
    assert_int_equal(volume_snapshot_list(v->volume, find_access, wanted), 1);
    volume_case_check(v);
}

struct dropping {
    struct volume *volume;
    const struct snapshot_import *other; /* which begins then; NULL: none */
    bool is_done;
};

static bool drop_meanwhile(const struct snapshot_import_progress *progress, void *arg)
{
    struct dropping *dropping = arg;
    struct snapshot_import_progress none;
    struct error err;

    (void)progress;
    if (dropping->is_done)
        return true;
    dropping->is_done = true;
    assert_int_equal(volume_snapshot_import_drop(dropping->volume, &err), 0);
    if (dropping->other != NULL)
        assert_int_equal(volume_snapshot_import(dropping->volume, dropping->other, &none, &err),
                         -ECANCELED);
    return true;
}

/* Of one that somebody dropped, and of another of that name, nothing is stored or kept. */
static void one_that_is_not_its_own_is_left_alone(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct volume_snapshot arriving;
    struct error err = { .code = 0 };
    struct volume_origin *origin = NULL;
    int left = 0;

    uint64_t f = file_case_make(v, "f", MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    assert_int_equal(import_case_open(v, &c->bucket, &a, 0, &origin, &err), 0);
    for (unsigned i = 0; i < 4; i++) {
        left = 0;
        struct snapshot_import other = { "n", "n", 1, { 0 }, origin, stop_at_once, &left };
        struct dropping dropping = { v->volume, i % 2 == 0 ? NULL : &other, false };
        const struct snapshot_import import = { "n",      "n", 1, { 0 }, origin, drop_meanwhile,
                                                &dropping };
        if (i == 2)
            file_case_write(v, f, 0, "other", 5); /* so that there is something to store */
        assert_int_equal(volume_snapshot_import(v->volume, &import, &progress, &err), -EIDRM);
        assert_non_null(strstr(err.text, "dropped"));
        assert_int_equal(snapshot_case_kept(v), 1);
        assert_int_equal(volume_snapshot_arriving(v->volume, &arriving), i % 2 == 1);
        if (i % 2 == 1)
            assert_int_equal(volume_snapshot_import_drop(v->volume, &err), 0);
        snapshot_case_settle(v);
        volume_case_check(v);
    }
    origin->ops->close(origin);
}

static int put_outside(struct volume_txn *txn, void *arg)
{
    const struct restore_record outside = { .state = RESTORE_OUTSIDE,
                                            .target = txn->meta->epoch - 1 };
    (void)arg;

    return restores_put(txn, txn->meta->epoch, &outside);
}

/* Before its group is closed, with which the next epoch begins. */
static void one_that_begins_just_now_is_no_fault(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;

    (void)file_case_make(v, "f", MIB, 1);
    assert_int_equal(volume_change(v->volume, META_WRITE, put_outside, NULL), 0);
    volume_case_check(v);
}

/* --- crashes --- */

/* Who asked for it may not have heard of its end. */
static void what_is_kept_already_is_done(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct error err = { .code = 0 };

    (void)file_case_make(v, "f", MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    struct volume_snapshot back = import_case_bring(v, &c->bucket, &a, "back", &progress);
    volume_case_reopen(v);
    struct volume_snapshot again = import_case_bring(v, &c->bucket, &a, "back", &progress);
    assert_int_equal(again.epoch, back.epoch);
    assert_int_equal(progress.snapshot, back.epoch);
    assert_int_equal(progress.chunks_done, progress.chunks);
    assert_int_equal(snapshot_case_kept(v), 2);
    /* One of that name that was taken here is not. */
    assert_int_equal(import_case_try(v, &c->bucket, &a, "a", &progress, &err), -EEXIST);
}

/* So that the records are many chunks, each of which is a batch. */
static void pad(struct volume_case *c, unsigned count, unsigned seed)
{
    static uint8_t value[40000];
    char name[32];

    for (unsigned i = 0; i < count; i++) {
        memset(value, (int)(i + seed), sizeof(value));
        (void)snprintf(name, sizeof(name), "user.pad-%u", i);
        assert_int_equal(volume_setxattr(c->volume, VOLUME_ROOT, name,
                                         (struct bytes){ value, sizeof(value) }, 0),
                         0);
    }
}

static bool stop_in_time(const struct snapshot_import_progress *progress, void *arg)
{
    unsigned *left = arg;

    (void)progress;
    if (*left == 0)
        return false;
    --*left;
    return true;
}

/* But for the place up to which it was compared, it begins anew. */
static void what_tries_again_goes_on_where_it_was(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct volume_origin *origin = NULL;
    struct error err = { .code = 0 };
    unsigned left = 1000, all;

    pad(v, 40, 0);
    (void)transfer_case_take(c, "a");
    struct locator a = transfer_case_upload(c, "a");
    pad(v, 40, 100);
    assert_int_equal(import_case_open(v, &c->bucket, &a, 0, &origin, &err), 0);
    struct snapshot_import import = { "whole", "whole", 1, { 1 }, origin, stop_in_time, &left };
    assert_int_equal(volume_snapshot_import(v->volume, &import, &progress, &err), 0);
    all = 1000 - left;
    assert_true(all > 10);
    import.name = import.access_point = "parts";
    for (unsigned i = 0; i < 2; i++) {
        left = 4;
        assert_int_equal(volume_snapshot_import(v->volume, &import, &progress, &err), -ECANCELED);
    }
    left = all - 8; /* what was done by the others is not done again */
    assert_int_equal(volume_snapshot_import(v->volume, &import, &progress, &err), 0);
    assert_int_equal(left, 0);
    origin->ops->close(origin);
    volume_case_check(v);
    struct volume_snapshot here = { .name = "parts" };
    assert_int_equal(volume_snapshot_list(v->volume, import_case_find, &here), 1);
    (void)transfer_case_compare(c, &a, &here);
}

struct dying {
    struct volume *volume;
    unsigned left;
};

static bool die_in_time(const struct snapshot_import_progress *progress, void *arg)
{
    struct dying *dying = arg;

    (void)progress;
    if (dying->left-- == 0)
        _exit(volume_sync(dying->volume, NULL) < 0);
    return true;
}

/* After so many batches; what came before is durable. False: it was through before. */
static bool crash_after(struct transfer_case *c, const struct locator *locator, unsigned batches)
{
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    int status;

    volume_case_close(v);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct volume_origin *origin = NULL;
        volume_case_open(v);
        struct dying dying = { v->volume, batches };
        if (import_case_open(v, &c->bucket, locator, 0, &origin, NULL) < 0)
            _exit(1);
        const struct snapshot_import import = { .name = "a",
                                                .access_point = "a",
                                                .created_ns = IMPORT_CASE_CREATED,
                                                .origin = origin,
                                                .on_progress = die_in_time,
                                                .arg = &dying };
        int r = volume_snapshot_import(v->volume, &import, &progress, NULL);
        _exit(r < 0 ? 1 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 1);
    volume_case_open(v);
    return WEXITSTATUS(status) == 0;
}

static void a_crash_at_any_step_leaves_what_can_be_gone_on_with(void **state)
{
    struct transfer_case *c = *state;
    struct volume_case *v = &c->volume;
    struct snapshot_import_progress progress = { .fetched = 0 };
    struct volume_snapshot arriving;
    struct tree_model then, now;
    uint64_t number = 1;
    bool has_crashed = true;

    tree_model_new(&now);
    change(&now, v->volume, &number, 300);
    pad(v, 40, 0);
    (void)transfer_case_take(c, "a");
    tree_model_copy(&now, &then);
    struct locator locator = transfer_case_upload(c, "a");
    snapshot_case_drop(v, "a");
    change(&now, v->volume, &number, 200);
    pad(v, 40, 100);
    snapshot_case_settle(v);
    for (unsigned batches = 0; has_crashed; batches += 3) {
        has_crashed = crash_after(c, &locator, batches);
        assert_int_equal(volume_snapshot_arriving(v->volume, &arriving), has_crashed);
        (void)tree_model_compare(&now, v->volume, VOLUME_ROOT, true);
        volume_case_check(v);
        change(&now, v->volume, &number, 20);
        if (has_crashed && batches % 2 == 0) {
            assert_int_equal(volume_snapshot_import_drop(v->volume, NULL), 0);
        } else {
            struct volume_snapshot here = { .name = "a" };
            if (has_crashed)
                here = import_case_bring(v, &c->bucket, &locator, "a", &progress);
            else
                assert_int_equal(volume_snapshot_list(v->volume, import_case_find, &here), 1);
            (void)tree_model_compare(&then, v->volume, snapshot_case_root(&here), true);
            volume_case_check(v);
            snapshot_case_drop(v, "a");
        }
        snapshot_case_settle(v);
        volume_case_check(v);
        (void)tree_model_compare(&now, v->volume, VOLUME_ROOT, true);
        assert_true(batches < 200);
    }
    tree_model_free(&now);
    tree_model_free(&then);
}

/* --- random changes --- */

#define COPIES 6u
#define UPLOADS 6u

struct copy {
    struct volume_snapshot snapshot; /* no name: none */
    struct tree_model tree;
};

struct side {
    struct transfer_case transfer; /* its volume is that of this side */
    struct volume_case *volume;
    struct tree_model tree;
    struct copy copies[COPIES];
};

struct model {
    struct side sides[2];
    struct bucket *bucket;
    struct {
        struct locator locator;
        struct tree_model tree;
        bool is_there;
    } uploads[UPLOADS];
    uint64_t random;
    uint64_t imports;
};

static unsigned draw(struct model *model, unsigned below)
{
    model->random = model->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(model->random >> 33) % below;
}

static void drop(struct side *side, struct copy *copy)
{
    if (copy->snapshot.name[0] == '\0')
        return;
    snapshot_case_drop(side->volume, copy->snapshot.name);
    copy->snapshot.name[0] = '\0';
    tree_model_free(&copy->tree);
}

static void take(struct side *side, struct copy *copy, uint64_t number)
{
    char name[32];

    drop(side, copy);
    (void)snprintf(name, sizeof(name), "s%llu", (unsigned long long)number);
    copy->snapshot = snapshot_case_take(side->volume, name);
    tree_model_copy(&side->tree, &copy->tree);
}

static void upload(struct model *model, struct side *side, const struct copy *copy)
{
    unsigned i = draw(model, UPLOADS);

    if (copy->snapshot.name[0] == '\0')
        return;
    if (model->uploads[i].is_there)
        tree_model_free(&model->uploads[i].tree);
    side->transfer.volume = *side->volume;
    model->uploads[i].locator = transfer_case_upload(&side->transfer, copy->snapshot.name);
    model->uploads[i].is_there = true;
    tree_model_copy(&copy->tree, &model->uploads[i].tree);
}

static void bring(struct model *model, struct side *side, struct copy *copy, uint64_t number)
{
    struct snapshot_import_progress progress = { .fetched = 0 };
    unsigned i = draw(model, UPLOADS);
    char name[32];

    if (!model->uploads[i].is_there)
        return;
    drop(side, copy);
    (void)snprintf(name, sizeof(name), "i%llu", (unsigned long long)number);
    copy->snapshot =
        import_case_bring(side->volume, model->bucket, &model->uploads[i].locator, name, &progress);
    tree_model_copy(&model->uploads[i].tree, &copy->tree);
    model->imports++;
}

static void put_back(struct side *side, const struct copy *copy)
{
    if (copy->snapshot.name[0] == '\0')
        return;
    restore(side->volume, copy->snapshot.name);
    tree_model_free(&side->tree);
    tree_model_copy(&copy->tree, &side->tree);
}

static void expect_all(struct model *model)
{
    for (unsigned s = 0; s < 2; s++) {
        struct side *side = &model->sides[s];
        (void)tree_model_compare(&side->tree, side->volume->volume, VOLUME_ROOT, true);
        for (unsigned i = 0; i < COPIES; i++)
            if (side->copies[i].snapshot.name[0] != '\0')
                (void)tree_model_compare(&side->copies[i].tree, side->volume->volume,
                                         snapshot_case_root(&side->copies[i].snapshot), true);
        volume_case_check(side->volume);
    }
}

static void model_step(struct model *model, uint64_t number)
{
    struct side *side = &model->sides[draw(model, 2)];
    struct copy *copy = &side->copies[draw(model, COPIES)];

    tree_model_change(&side->tree, side->volume->volume, number);
    unsigned what = draw(model, 200);
    if (what < 8)
        take(side, copy, number);
    else if (what < 14)
        drop(side, copy);
    else if (what < 20)
        upload(model, side, copy);
    else if (what < 28)
        bring(model, side, copy, number);
    else if (what < 31)
        put_back(side, copy);
    else if (what < 32)
        (void)volume_make_room(side->volume->volume);
    if (number % 100 == 0)
        expect_all(model);
    if (number % 350 == 0)
        volume_case_reopen(side->volume);
}

static void random_imports_agree_with_copies_of_the_tree(void **state)
{
    struct transfer_case *c = *state;
    CLEANUP(free_ptr) struct model *model = calloc(1, sizeof(*model));
    const char *deep = getenv("COFFER_DEEP");
    unsigned count = deep != NULL ? 6000 : 1200;
    struct download_case d;
    uint64_t number = 1;

    assert_non_null(model);
    tree_model_new(&model->sides[0].tree);
    change(&model->sides[0].tree, c->volume.volume, &number, 100);
    (void)transfer_case_take(c, "first");
    struct locator first = transfer_case_upload(c, "first");
    download_case_new(&d, c, &first, NULL);
    download_case_finish(&d);
    d.volume.open_origin = NULL;
    volume_case_reopen(&d.volume);
    tree_model_copy(&model->sides[0].tree, &model->sides[1].tree);
    /* Each has the other's key, too. */
    assert_int_equal(
        key_set_add_foreign(&c->volume.keys, &d.volume.uuid, 1, key_set_find(&d.volume.keys, 1)),
        0);
    volume_case_reopen(&c->volume);
    transfer_case_adopt(&model->sides[0].transfer, &c->volume, c->store);
    transfer_case_adopt(&model->sides[1].transfer, &d.volume, c->store);
    model->sides[0].volume = &c->volume;
    model->sides[1].volume = &d.volume;
    model->bucket = &c->bucket;
    for (uint64_t i = 0; i < count; i++)
        model_step(model, number++);
    expect_all(model);
    assert_true(model->imports > 10);
    for (unsigned s = 0; s < 2; s++) {
        for (unsigned i = 0; i < COPIES; i++)
            drop(&model->sides[s], &model->sides[s].copies[i]);
        snapshot_case_settle(model->sides[s].volume);
    }
    expect_all(model);
    for (unsigned s = 0; s < 2; s++) {
        tree_model_free(&model->sides[s].tree);
        transfer_case_disown(&model->sides[s].transfer);
    }
    for (unsigned i = 0; i < UPLOADS; i++)
        if (model->uploads[i].is_there)
            tree_model_free(&model->uploads[i].tree);
    download_case_end(&d);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, import_case_setup, import_case_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_removed_here_comes_back),
        TEST(only_what_is_missing_is_moved),
        TEST(a_snapshot_arrives_during_a_check),
        TEST(blocks_of_a_version_in_the_middle_are_not_given_up),
        TEST(what_is_not_here_any_more_is_brought),
        TEST(what_cannot_be_is_refused_with_words),
        TEST(an_access_point_that_another_one_has_gets_a_number),
        TEST(one_that_is_not_its_own_is_left_alone),
        TEST(one_that_begins_just_now_is_no_fault),
        TEST(what_is_kept_already_is_done),
        TEST(what_tries_again_goes_on_where_it_was),
        TEST(a_crash_at_any_step_leaves_what_can_be_gone_on_with),
        TEST(random_imports_agree_with_copies_of_the_tree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
