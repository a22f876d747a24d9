/* A volume that is put back to a snapshot: what it shows then, what other snapshots show, what is
 * counted as in use, and how it goes on after a crash at any step. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/commit.h"
#include "fs/history.h"
#include "fs/restore.h"
#include "fs/snapshot.h"
#include "tests/support/file_case.h"
#include "tests/support/snapshot_case.h"
#include "tests/support/tree_model.h"

#define MIB ((uint64_t)1 << 20)

static uint64_t restore(struct volume_case *c, const char *name, const char *keep_as)
{
    struct volume_restored restored;
    struct error err = { 0 };

    if (volume_restore(c->volume, name, keep_as, keep_as, &restored, &err) != 0)
        fail_msg("%s", err.text);
    return restored.inodes;
}

static uint64_t find(struct volume_case *c, uint64_t parent, const char *name)
{
    struct volume_attr attr;

    assert_int_equal(volume_lookup(c->volume, parent, name, &attr), 0);
    volume_forget(c->volume, attr.ino, 1);
    return attr.ino;
}

static uint64_t make_file(struct volume_case *c, const char *name, const char *text)
{
    uint64_t ino = volume_case_file(c, name);

    file_case_write(c, ino, 0, text, strlen(text));
    volume_forget(c->volume, ino, 1);
    return ino;
}

static void a_restore_brings_all_back_and_leaves_snapshots_alone(void **state)
{
    struct volume_case *c = *state;
    struct volume_attr attr;

    uint64_t changed = make_file(c, "changed", "before");
    (void)make_file(c, "removed", "gone for a while");
    struct volume_snapshot one = snapshot_case_take(c, "one");
    file_case_write(c, changed, 0, "AFTER!", 6);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "removed"), 0);
    (void)make_file(c, "new", "of later");
    struct volume_snapshot two = snapshot_case_take(c, "two");
    (void)make_file(c, "newest", "of later still");
    assert_true(restore(c, "one", NULL) >= 4);
    for (int i = 0; i < 2; i++) {
        file_case_expect(c, changed, 0, "before", 6);
        file_case_expect(c, find(c, VOLUME_ROOT, "removed"), 0, "gone for a while", 16);
        assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, "new", &attr), -ENOENT);
        assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, "newest", &attr), -ENOENT);
        file_case_expect(c, find(c, snapshot_case_root(&two), "new"), 0, "of later", 8);
        file_case_expect(c, find(c, snapshot_case_root(&two), "changed"), 0, "AFTER!", 6);
        file_case_expect(c, find(c, snapshot_case_root(&one), "changed"), 0, "before", 6);
        assert_int_equal(file_case_attr(c, VOLUME_ROOT).nlink, 2);
        volume_case_check(c);
        volume_case_reopen(c);
    }
    (void)restore(c, "one", NULL); /* reading set times of access */
    assert_int_equal(restore(c, "one", NULL), 0);
    assert_true(make_file(c, "another", "x") > changed + 3); /* numbers are never used again */
}

static void what_was_overwritten_is_kept_under_the_name_that_was_asked_for(void **state)
{
    struct volume_case *c = *state;
    struct volume_restored restored;
    struct volume_attr attr;

    uint64_t f = make_file(c, "f", "old");
    (void)snapshot_case_take(c, "one");
    file_case_write(c, f, 0, "new", 3);
    (void)make_file(c, "g", "also new");
    assert_int_equal(volume_restore(c->volume, "one", "one", "x", &restored, NULL), -EEXIST);
    file_case_expect(c, f, 0, "new", 3);
    (void)restore(c, "one", "kept");
    file_case_expect(c, f, 0, "old", 3);
    uint64_t kept = find(c, find(c, VOLUME_ROOT, ".snapshots"), "kept");
    file_case_expect(c, find(c, kept, "g"), 0, "also new", 8);
    (void)restore(c, "kept", NULL);
    file_case_expect(c, f, 0, "new", 3);
    file_case_expect(c, find(c, VOLUME_ROOT, "g"), 0, "also new", 8);
    (void)restore(c, "one", NULL);
    assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, "g", &attr), -ENOENT);
    snapshot_case_drop(c, "kept");
    snapshot_case_settle(c);
    file_case_expect(c, f, 0, "old", 3);
}

static void blocks_that_come_back_are_counted_once_and_given_up_once(void **state)
{
    struct volume_case *c = *state;
    CLEANUP(free_ptr) uint8_t *old = malloc(2 * MIB);
    CLEANUP(free_ptr) uint8_t *new = malloc(2 * MIB);

    assert_non_null(old);
    assert_non_null(new);
    memset(old, 1, 2 * MIB);
    memset(new, 2, 2 * MIB);
    uint64_t f = make_file(c, "f", "");
    file_case_write(c, f, 0, old, 2 * MIB);
    uint64_t all = volume_case_used(c);
    (void)snapshot_case_take(c, "one");
    file_case_write(c, f, 0, new, MIB);
    (void)snapshot_case_take(c, "two"); /* holds half of old and half of new */
    file_case_write(c, f, 0, new, 2 * MIB);
    (void)restore(c, "one", NULL);
    file_case_expect(c, f, 0, old, 2 * MIB);
    assert_true(volume_case_used(c) > all + MIB && volume_case_used(c) < all + MIB + MIB / 8);
    volume_case_check(c);
    snapshot_case_drop(c, "one"); /* "two" and the file share what it had */
    snapshot_case_settle(c);
    volume_case_check(c);
    file_case_write(c, f, MIB, new, 4096); /* which "two" still has */
    volume_case_check(c);
    file_case_truncate(c, f, 0);
    volume_case_check(c);
    struct volume_snapshot two;
    assert_int_equal(volume_snapshot_take(c->volume, "three", "three", &two, NULL), 0);
    snapshot_case_drop(c, "two");
    snapshot_case_settle(c);
    volume_case_check(c);
    assert_true(volume_case_used(c) <= all - 2 * MIB);
}

static void an_open_file_without_a_name_does_not_come_back(void **state)
{
    static const struct volume_owner owner = { .uid = 0 };
    CLEANUP(free_ptr) uint8_t *data = calloc(1, MIB);
    struct volume_case *c = *state;
    struct volume_attr attr;

    assert_non_null(data);
    uint64_t before = volume_case_used(c);
    assert_int_equal(volume_tmpfile(c->volume, VOLUME_ROOT, 0600, &owner, &attr), 0);
    file_case_write(c, attr.ino, 0, data, MIB);
    (void)snapshot_case_take(c, "one");
    volume_forget(c->volume, attr.ino, 1);
    (void)restore(c, "one", NULL);
    volume_case_check(c);
    snapshot_case_drop(c, "one");
    snapshot_case_settle(c);
    assert_int_equal(volume_case_used(c), before);
}

static void what_cannot_be_restored_is_refused_and_nothing_changed(void **state)
{
    struct volume_case *c = *state;
    struct volume_restored restored;
    struct error err = { 0 };

    uint64_t f = make_file(c, "f", "text");
    assert_int_equal(volume_restore(c->volume, "none", NULL, NULL, &restored, &err), -ENOENT);
    (void)snapshot_case_take(c, "one");
    file_case_write(c, f, 0, "TEXT", 4);
    assert_int_equal(volume_restore(c->volume, "one", "a/b", "x", &restored, &err), -EINVAL);
    assert_int_equal(volume_restore(c->volume, "one", "b", "one", &restored, &err), -EEXIST);
    file_case_expect(c, f, 0, "TEXT", 4);
    c->read_only = true;
    volume_case_reopen(c);
    assert_int_equal(volume_restore(c->volume, "one", NULL, NULL, &restored, &err), -EROFS);
    c->read_only = false;
    volume_case_reopen(c);
    file_case_expect(c, f, 0, "TEXT", 4);
}

/* So that each restore is remembered: what it overwrote is kept. */
static void so_many_restores_are_remembered_as_their_snapshots_are_kept(void **state)
{
    struct volume_case *c = *state;
    struct volume_restored restored;
    struct error err = { 0 };
    char name[32] = "first";

    uint64_t f = make_file(c, "f", "0");
    (void)snapshot_case_take(c, name);
    for (unsigned i = 0; i < RESTORES_MAX; i++) {
        file_case_write(c, f, i * 100, "some text", 9);
        (void)snprintf(name, sizeof(name), "kept %u", i);
        (void)restore(c, "first", name);
    }
    assert_int_equal(volume_restore(c->volume, "first", NULL, NULL, &restored, &err), -ENOSPC);
    volume_case_check(c);
    snapshot_case_drop(c, "kept 0");
    snapshot_case_settle(c);
    (void)restore(c, "first", NULL);
    volume_case_check(c);
}

static void records_of_restores_that_cannot_be_are_refused(void **state)
{
    struct restore_record restore = { .state = RESTORE_RUNNING, .target = 7 };
    uint8_t value[RESTORE_VALUE_LEN + 1] = { 0 };
    struct restore_record found;
    size_t len;

    (void)state;
    assert_int_equal(restore_encode(&restore, value, &len), 0);
    assert_int_equal(len, RESTORE_VALUE_LEN);
    assert_int_equal(restore_decode((struct bytes){ value, len }, &found), 0);
    assert_true(found.state == RESTORE_RUNNING && found.target == 7);
    for (size_t other = 0; other <= sizeof(value); other++)
        if (other != len)
            assert_int_equal(restore_decode((struct bytes){ value, other }, &found), -EBADMSG);
    value[0] = 2;
    assert_int_equal(restore_decode((struct bytes){ value, len }, &found), -EPROTONOSUPPORT);
    value[0] = 1;
    value[1] = 4;
    assert_int_equal(restore_decode((struct bytes){ value, len }, &found), -EBADMSG);
    value[1] = RESTORE_OUTSIDE | 0x80;
    assert_int_equal(restore_decode((struct bytes){ value, len }, &found), -EBADMSG);
    restore.is_mixed = true;
    assert_int_equal(restore_encode(&restore, value, &len), 0);
    assert_int_equal(value[1], 0x81);
    assert_int_equal(restore_decode((struct bytes){ value, len }, &found), 0);
    assert_true(found.state == RESTORE_RUNNING && found.is_mixed && found.target == 7);
    restore.target = 0;
    assert_int_equal(restore_encode(&restore, value, &len), -EINVAL);
    restore = (struct restore_record){ .state = RESTORE_OUTSIDE };
    assert_int_equal(restore_encode(&restore, value, &len), 0);
    assert_int_equal(restore_decode((struct bytes){ value, len }, &found), 0);
    assert_true(found.state == RESTORE_OUTSIDE && !found.is_mixed && found.target == 0);
}

/* Random changes, snapshots, removals and restores. */
#define COPIES 8u

struct copy {
    struct volume_snapshot snapshot; /* no name: none */
    struct tree_model tree;
};

struct model {
    struct volume_case *c;
    struct tree_model tree;
    struct copy copies[COPIES];
    uint64_t random;
};

static unsigned draw(struct model *model, unsigned below)
{
    model->random = model->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(model->random >> 33) % below;
}

static void forget_copy(struct copy *copy)
{
    if (copy->snapshot.name[0] == '\0')
        return;
    copy->snapshot.name[0] = '\0';
    tree_model_free(&copy->tree);
}

static void model_drop(struct model *model, struct copy *copy)
{
    if (copy->snapshot.name[0] != '\0')
        snapshot_case_drop(model->c, copy->snapshot.name);
    forget_copy(copy);
}

static int find_by_name(const struct volume_snapshot *snapshot, void *arg)
{
    struct volume_snapshot *wanted = arg;

    if (strcmp(snapshot->name, wanted->name) != 0)
        return 0;
    *wanted = *snapshot;
    return 1;
}

static void model_restore(struct model *model, const struct copy *from, uint64_t number)
{
    struct copy *keep = draw(model, 3) == 0 ? &model->copies[draw(model, COPIES)] : NULL;
    char name[32];

    if (from->snapshot.name[0] == '\0' || keep == from)
        return;
    (void)snprintf(name, sizeof(name), "k%llu", (unsigned long long)number);
    if (keep != NULL) {
        model_drop(model, keep);
        tree_model_copy(&model->tree, &keep->tree);
    }
    (void)restore(model->c, from->snapshot.name, keep != NULL ? name : NULL);
    if (keep != NULL) {
        (void)snprintf(keep->snapshot.name, sizeof(keep->snapshot.name), "%s", name);
        assert_int_equal(volume_snapshot_list(model->c->volume, find_by_name, &keep->snapshot), 1);
    }
    tree_model_free(&model->tree);
    tree_model_copy(&from->tree, &model->tree);
}

static void model_take(struct model *model, struct copy *copy, uint64_t number)
{
    char name[32];

    model_drop(model, copy);
    (void)snprintf(name, sizeof(name), "s%llu", (unsigned long long)number);
    copy->snapshot = snapshot_case_take(model->c, name);
    tree_model_copy(&model->tree, &copy->tree);
}

static void expect_all(const struct model *model)
{
    (void)tree_model_compare(&model->tree, model->c->volume, VOLUME_ROOT, true);
    for (unsigned i = 0; i < COPIES; i++)
        if (model->copies[i].snapshot.name[0] != '\0')
            (void)tree_model_compare(&model->copies[i].tree, model->c->volume,
                                     snapshot_case_root(&model->copies[i].snapshot), true);
}

static void model_step(struct model *model, uint64_t number)
{
    struct copy *copy = &model->copies[draw(model, COPIES)];

    tree_model_change(&model->tree, model->c->volume, number);
    if (draw(model, 20) == 0)
        model_take(model, copy, number);
    else if (draw(model, 40) == 0)
        model_drop(model, copy);
    else if (draw(model, 40) == 0)
        model_restore(model, copy, number);
    if (number % 100 == 0) {
        expect_all(model);
        volume_case_check(model->c);
    }
    if (number % 350 == 0)
        volume_case_reopen(model->c);
}

static void random_restores_agree_with_copies_of_the_tree(void **state)
{
    CLEANUP(free_ptr) struct model *model = calloc(1, sizeof(*model));
    const char *deep = getenv("COFFER_DEEP");
    unsigned count = deep != NULL ? 60000 : 1500;

    assert_non_null(model);
    model->c = *state;
    tree_model_new(&model->tree);
    for (uint64_t i = 1; i <= count; i++)
        model_step(model, i);
    expect_all(model);
    for (unsigned i = 0; i < COPIES; i++)
        model_drop(model, &model->copies[i]);
    snapshot_case_settle(model->c);
    volume_case_check(model->c);
    (void)tree_model_compare(&model->tree, model->c->volume, VOLUME_ROOT, true);
    tree_model_free(&model->tree);
}

/* Steps are done durably, and then the process ends without any end of the volume's. */
static void crash_after(struct volume_case *c, unsigned steps, bool keeps)
{
    struct restore_walk *walk = NULL;
    int status;

    volume_case_close(c);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        volume_case_open(c);
        int r = restore_begin(c->volume, "one", keeps ? "kept" : NULL, "kept", NULL);
        if (r == 0)
            r = restore_walk_new(&walk);
        for (unsigned i = 0; i < steps && r >= 0; i++)
            r = restore_step(c->volume, walk, NULL);
        _exit(r < 0 || volume_sync(c->volume, NULL) < 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void expect_refused_while_read_only(struct volume_case *c)
{
    uint64_t faults;

    c->read_only = true;
    volume_case_open(c);
    assert_true(volume_is_restoring(c->volume));
    assert_int_equal(volume_check(c->volume, false, NULL, NULL, &faults, NULL), -EBUSY);
    volume_case_close(c);
    c->read_only = false;
}

static void a_crash_at_any_step_is_made_good_by_the_next_start(void **state)
{
    struct volume_case *c = *state;
    struct tree_model before;
    struct tree_model after;

    tree_model_new(&before);
    for (uint64_t i = 1; i <= 300; i++)
        tree_model_change(&before, c->volume, i);
    struct volume_snapshot one = snapshot_case_take(c, "one");
    tree_model_copy(&before, &after);
    for (unsigned steps = 0; steps < 6; steps++) {
        uint64_t first = 301 + steps * 200;
        for (uint64_t i = first; i < first + 200; i++) {
            tree_model_change(&after, c->volume, i);
            if (i == first + 100)
                (void)snapshot_case_take(c, "two");
        }
        crash_after(c, steps, steps % 2 == 0);
        expect_refused_while_read_only(c);
        volume_case_open(c);
        assert_false(volume_is_restoring(c->volume));
        (void)tree_model_compare(&before, c->volume, VOLUME_ROOT, true);
        (void)tree_model_compare(&before, c->volume, snapshot_case_root(&one), true);
        volume_case_check(c);
        if (steps % 2 == 0) {
            struct volume_snapshot kept = { .name = "kept" };
            assert_int_equal(volume_snapshot_list(c->volume, find_by_name, &kept), 1);
            (void)tree_model_compare(&after, c->volume, snapshot_case_root(&kept), true);
            snapshot_case_drop(c, "kept");
        }
        snapshot_case_drop(c, "two");
        snapshot_case_settle(c);
        volume_case_check(c);
        tree_model_free(&after);
        tree_model_copy(&before, &after);
    }
    tree_model_free(&after);
    tree_model_free(&before);
}

/* --- what came from outside was restored: any two versions may share blocks --- */

#define MIXED_VERSIONS 40u

static int mix_one(uint64_t epoch, const struct restore_record *restore, void *arg)
{
    *(uint64_t *)arg = restore->state == RESTORE_DONE ? epoch : 0;
    return 0;
}

static int mix(struct volume_txn *txn, void *arg)
{
    struct restore_record restore = { .state = RESTORE_DONE, .is_mixed = true };
    uint64_t epoch = 0;

    restore.target = *(const uint64_t *)arg;
    int r = restores_scan(txn->meta, mix_one, &epoch, &txn->err);
    return r < 0 || epoch == 0 ? -ENOENT : restores_put(txn, epoch, &restore);
}

/* Some of two chunks, so that no two versions are alike. */
static void take_versions(struct volume_case *c, uint64_t ino, unsigned first, unsigned count)
{
    uint8_t block[4096];
    char name[16];

    for (unsigned i = first; i < first + count; i++) {
        (void)snprintf(name, sizeof(name), "s%u", i);
        (void)snapshot_case_take(c, name);
        file_case_fill(block, sizeof(block), 1000 + i);
        file_case_write(c, ino, (uint64_t)(i * 37 % 512) * 4096, block, sizeof(block));
        file_case_write(c, ino, (uint64_t)(i * 101 % 512) * 4096 + 100, block, 1000);
    }
}

static void each_block_of_mixed_versions_is_counted_once(void **state)
{
    struct volume_case *c = *state;
    struct segments_space before;
    struct segments_space after;

    uint64_t ino = file_case_make(c, "file", 2 * MIB, 1);
    take_versions(c, ino, 0, MIXED_VERSIONS / 2);
    struct volume_snapshot target = snapshot_case_take(c, "target");
    take_versions(c, ino, MIXED_VERSIONS / 2, MIXED_VERSIONS / 4);
    restore(c, "target", NULL);
    ino = find(c, VOLUME_ROOT, "file");
    take_versions(c, ino, MIXED_VERSIONS / 4 * 3, MIXED_VERSIONS / 4);
    assert_int_equal(volume_recount(c->volume, NULL), 0);
    uint64_t held = atomic_load(&c->volume->held);
    segments_space(c->volume->segments, &before);

    assert_int_equal(volume_change(c->volume, META_WRITE, mix, &target.epoch), 0);
    assert_int_equal(volume_recount(c->volume, NULL), 0);
    segments_space(c->volume->segments, &after);
    assert_int_equal(after.live, before.live);
    assert_int_equal(atomic_load(&c->volume->held), held);
    volume_case_check(c);
}

/* Without the keeper, so that what is removed is there when all of it is. */
static void collect_all(struct volume_case *c)
{
    while (snapshots_collect(c->volume))
        ;
}

/* One chunk, of which each version has another block, and lists that are equally long. */
static void take_equal_versions(struct volume_case *c, uint64_t ino, unsigned count)
{
    uint8_t block[4096];
    char name[16];

    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "s%u", i);
        (void)snapshot_case_take(c, name);
        file_case_fill(block, sizeof(block), i);
        file_case_write(c, ino, 5 * 4096, block, sizeof(block));
    }
}

/* The bytes of saved versions that are read while so many go. */
static uint64_t removal_of(struct volume_case *c, uint64_t ino, unsigned count)
{
    struct volume_snapshot target = snapshot_case_take(c, "target");
    char name[16];

    take_equal_versions(c, ino, count);
    restore(c, "target", NULL);
    assert_int_equal(volume_change(c->volume, META_WRITE, mix, &target.epoch), 0);
    uint64_t before = atomic_load(&c->volume->examined);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "s%u", i);
        snapshot_case_drop(c, name);
    }
    collect_all(c);
    uint64_t examined = atomic_load(&c->volume->examined) - before;
    volume_case_check(c);
    snapshot_case_drop(c, "target");
    collect_all(c);
    assert_int_equal(snapshot_case_kept(c), 0);
    assert_int_equal(atomic_load(&c->volume->held), 0);
    return examined;
}

static void removing_twice_as_many_mixed_versions_reads_twice_as_much(void **state)
{
    struct volume_case *c = *state;

    keeper_stop(c->volume);
    uint64_t ino = file_case_make(c, "file", MIB, 1);
    uint64_t some = removal_of(c, ino, 40);
    uint64_t more = removal_of(c, find(c, VOLUME_ROOT, "file"), 80);
    assert_true(some > 0);
    assert_in_range(more, some, 5 * some / 2);
    /* More than go at a time. */
    (void)removal_of(c, find(c, VOLUME_ROOT, "file"), HISTORY_UNSEEN_MAX + 10);
}

/* What was appended behind a snapshot from behind the restore nobody else can know. */
static void overwriting_behind_a_mixed_restore_reads_no_other_versions(void **state)
{
    struct volume_case *c = *state;
    uint8_t block[4096];

    uint64_t ino = file_case_make(c, "file", MIB, 1);
    struct volume_snapshot target = snapshot_case_take(c, "target");
    take_equal_versions(c, ino, 20);
    restore(c, "target", NULL);
    assert_int_equal(volume_change(c->volume, META_WRITE, mix, &target.epoch), 0);
    ino = find(c, VOLUME_ROOT, "file");
    file_case_fill(block, sizeof(block), 100);
    for (unsigned i = 0; i < 2; i++)
        file_case_write(c, ino, 5 * 4096, block, sizeof(block));
    uint64_t before = atomic_load(&c->volume->examined);
    assert_true(before > 0);

    (void)snapshot_case_take(c, "behind");
    for (unsigned i = 0; i < 10; i++)
        file_case_write(c, ino, 5 * 4096 + i * 100, block, sizeof(block));
    (void)snapshot_case_take(c, "next");
    file_case_write(c, ino, 5 * 4096, block, sizeof(block));
    snapshot_case_drop(c, "next");
    snapshot_case_settle(c);
    assert_true(atomic_load(&c->volume->examined) == before);
    volume_case_check(c);
    snapshot_case_drop(c, "target");
    volume_case_check(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_restores_that_cannot_be_are_refused),
        FILE_CASE_TEST(a_restore_brings_all_back_and_leaves_snapshots_alone, "dir"),
        FILE_CASE_TEST(what_was_overwritten_is_kept_under_the_name_that_was_asked_for, "dir"),
        FILE_CASE_TEST(blocks_that_come_back_are_counted_once_and_given_up_once, "dir"),
        FILE_CASE_TEST(an_open_file_without_a_name_does_not_come_back, "dir"),
        FILE_CASE_TEST(what_cannot_be_restored_is_refused_and_nothing_changed, "dir"),
        FILE_CASE_TEST(so_many_restores_are_remembered_as_their_snapshots_are_kept, "dir"),
        FILE_CASE_TEST(random_restores_agree_with_copies_of_the_tree, "dir"),
        FILE_CASE_TEST(a_crash_at_any_step_is_made_good_by_the_next_start, "dir"),
        FILE_CASE_TEST(each_block_of_mixed_versions_is_counted_once, "dir"),
        FILE_CASE_TEST(removing_twice_as_many_mixed_versions_reads_twice_as_much, "dir"),
        FILE_CASE_TEST(overwriting_behind_a_mixed_restore_reads_no_other_versions, "dir"),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
