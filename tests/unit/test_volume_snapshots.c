/* Snapshots of a volume: what they show, what they hold, and what becomes of both after removals,
 * stops and crashes. The model keeps a copy of everything for each of them. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "tests/support/file_case.h"
#include "tests/support/snapshot_case.h"
#include "tests/support/tree_model.h"

#define MIB ((uint64_t)1 << 20)

static uint64_t used(struct volume_case *c)
{
    struct volume_statfs st;

    assert_int_equal(volume_statfs(c->volume, &st), 0);
    return st.used;
}

static uint64_t find(struct volume_case *c, uint64_t parent, const char *name)
{
    struct volume_attr attr;

    assert_int_equal(volume_lookup(c->volume, parent, name, &attr), 0);
    volume_forget(c->volume, attr.ino, 1);
    return attr.ino;
}

static void write_text(struct volume_case *c, uint64_t ino, const char *text)
{
    file_case_truncate(c, ino, 0);
    file_case_write(c, ino, 0, text, strlen(text));
}

static void a_snapshot_shows_what_was_there_when_it_was_taken(void **state)
{
    struct volume_case *c = *state;
    struct volume_attr attr;

    uint64_t file = volume_case_file(c, "file");
    uint64_t other = volume_case_file(c, "other");
    write_text(c, file, "before");
    write_text(c, other, "gone later");
    struct volume_snapshot s = snapshot_case_take(c, "one");
    write_text(c, file, "after");
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "other"), 0);
    volume_forget(c->volume, other, 1);
    volume_case_file(c, "new");

    uint64_t folder = find(c, VOLUME_ROOT, ".snapshots");
    assert_true(folder == VOLUME_SNAPSHOTS);
    uint64_t root = find(c, folder, "one");
    assert_true(root == snapshot_case_root(&s));
    assert_true(find(c, root, "file") == (root & ~UINT64_C(0xffffffffffff)) + file);
    for (int i = 0; i < 2; i++) {
        file_case_expect(c, find(c, root, "file"), 0, "before", 6);
        file_case_expect(c, find(c, root, "other"), 0, "gone later", 10);
        assert_int_equal(volume_lookup(c->volume, root, "new", &attr), -ENOENT);
        file_case_expect(c, file, 0, "after", 5);
        volume_case_reopen(c);
    }
}

static int note_name(const char *name, const struct volume_attr *attr, uint64_t next, void *arg)
{
    char *names = arg;
    size_t len = strlen(names);

    (void)next;
    assert_true(S_ISDIR(attr->mode));
    (void)snprintf(names + len, 256 - len, "%s ", name);
    return 0;
}

static void the_folder_of_snapshots_lists_access_points_and_is_not_listed_itself(void **state)
{
    struct volume_case *c = *state;
    struct volume_snapshot s;
    char names[256] = "";

    assert_int_equal(volume_readdir(c->volume, VOLUME_SNAPSHOTS, 0, true, note_name, names), 0);
    assert_string_equal(names, ". .. ");
    (void)snapshot_case_take(c, "b");
    assert_int_equal(volume_snapshot_take(c->volume, "a", "first access", &s, NULL), 0);
    names[0] = '\0';
    assert_int_equal(volume_readdir(c->volume, VOLUME_SNAPSHOTS, 0, true, note_name, names), 0);
    assert_string_equal(names, ". .. b first access ");
    names[0] = '\0';
    assert_int_equal(volume_readdir(c->volume, VOLUME_ROOT, 0, false, note_name, names), 0);
    assert_string_equal(names, ". .. ");
    assert_int_equal(file_case_attr(c, VOLUME_SNAPSHOTS).nlink, 4);
    snapshot_case_drop(c, "b");
    assert_int_equal(file_case_attr(c, VOLUME_SNAPSHOTS).nlink, 3);
    volume_case_reopen(c);
    assert_int_equal(file_case_attr(c, VOLUME_SNAPSHOTS).nlink, 3);
    assert_int_equal(volume_snapshot_update(c->volume, "a", "c", NULL, NULL), 0);
    assert_int_equal(file_case_attr(c, VOLUME_SNAPSHOTS).nlink, 3);
    names[0] = '\0';
    assert_int_equal(volume_readdir(c->volume, VOLUME_SNAPSHOTS, 2, false, note_name, names), 0);
    assert_string_equal(names, "first access ");
}

static void nothing_can_be_changed_in_a_snapshot(void **state)
{
    static const struct volume_owner owner = { .uid = 0 };
    struct volume_case *c = *state;
    struct volume_attr attr = { .mode = 0600 };

    write_text(c, volume_case_file(c, "f"), "text");
    struct volume_snapshot s = snapshot_case_take(c, "one");
    uint64_t root = snapshot_case_root(&s);
    uint64_t f = find(c, root, "f");
    const struct bytes data = { (const uint8_t *)"x", 1 };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(volume_write(c->volume, f, 0, data), -EROFS);
        assert_int_equal(volume_setattr(c->volume, f, &attr, VOLUME_SET_MODE, &attr), -EROFS);
        assert_int_equal(volume_fallocate(c->volume, f, 0, 0, 10), -EROFS);
        assert_int_equal(volume_setxattr(c->volume, f, "user.a", data, 0), -EROFS);
        assert_int_equal(volume_removexattr(c->volume, f, "user.a"), -EROFS);
        assert_int_equal(volume_mknod(c->volume, root, "n", S_IFREG, 0, &owner, &attr), -EROFS);
        assert_int_equal(volume_symlink(c->volume, root, "n", "t", &owner, &attr), -EROFS);
        assert_int_equal(volume_tmpfile(c->volume, root, 0600, &owner, &attr), -EROFS);
        assert_int_equal(volume_link(c->volume, f, root, "n", &attr), -EROFS);
        assert_int_equal(volume_link(c->volume, f, VOLUME_ROOT, "n", &attr), -EXDEV);
        assert_int_equal(volume_unlink(c->volume, root, "f"), -EROFS);
        assert_int_equal(volume_rmdir(c->volume, root, "f"), -EROFS);
        assert_int_equal(volume_rename(c->volume, root, "f", root, "g", 0), -EROFS);
        assert_int_equal(volume_rename(c->volume, root, "f", VOLUME_ROOT, "g", 0), -EROFS);
        assert_int_equal(volume_rename(c->volume, VOLUME_ROOT, "f", root, "g", 0), -EROFS);
        assert_int_equal(volume_touch_atime(c->volume, f), 0);
        root = VOLUME_SNAPSHOTS; /* where none of it is there at all */
    }
    assert_int_equal(volume_mknod(c->volume, VOLUME_ROOT, ".snapshots", S_IFDIR, 0, &owner, &attr),
                     -EEXIST);
    assert_int_equal(volume_rename(c->volume, VOLUME_ROOT, "f", VOLUME_ROOT, ".snapshots", 0),
                     -EEXIST);
    file_case_expect(c, f, 0, "text", 4);
}

static void names_and_access_points_are_used_once(void **state)
{
    struct volume_case *c = *state;
    struct volume_snapshot s;
    struct error err = { 0 };

    (void)snapshot_case_take(c, "one");
    assert_int_equal(volume_snapshot_take(c->volume, "one", "x", &s, &err), -EEXIST);
    assert_int_equal(volume_snapshot_take(c->volume, "x", "one", &s, &err), -EEXIST);
    assert_int_equal(volume_snapshot_take(c->volume, "a/b", "x", &s, &err), -EINVAL);
    assert_int_equal(volume_snapshot_take(c->volume, "x", "..", &s, &err), -EINVAL);
    (void)snapshot_case_take(c, "two");
    assert_int_equal(volume_snapshot_update(c->volume, "two", "one", NULL, &err), -EEXIST);
    assert_int_equal(volume_snapshot_update(c->volume, "two", NULL, "one", &err), -EEXIST);
    assert_int_equal(volume_snapshot_update(c->volume, "none", "x", NULL, &err), -ENOENT);
    assert_int_equal(volume_snapshot_update(c->volume, "two", "three", "3", &err), 0);
    volume_case_reopen(c);
    (void)find(c, VOLUME_SNAPSHOTS, "3");
    assert_int_equal(volume_snapshot_remove(c->volume, "two", &err), -ENOENT);
    snapshot_case_drop(c, "three");
    assert_int_equal(volume_snapshot_remove(c->volume, "three", &err), -ENOENT);
    (void)snapshot_case_take(c, "three");
    assert_int_equal(snapshot_case_kept(c), 2);
}

static void what_only_a_snapshot_holds_comes_back_when_it_is_removed(void **state)
{
    struct volume_case *c = *state;
    CLEANUP(free_ptr) uint8_t *data = malloc(3 * MIB);

    assert_non_null(data);
    memset(data, 7, 3 * MIB);
    uint64_t before = used(c);
    uint64_t kept = volume_case_file(c, "kept");
    uint64_t gone = volume_case_file(c, "gone");
    file_case_write(c, kept, 0, data, 3 * MIB);
    file_case_write(c, gone, 0, data, 3 * MIB);
    uint64_t written = used(c);
    (void)snapshot_case_take(c, "one");
    assert_int_equal(used(c), written);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "gone"), 0);
    volume_forget(c->volume, gone, 1);
    file_case_write(c, kept, MIB, data, MIB);
    file_case_write(c, kept, MIB, data, MIB); /* the second time nobody holds what it was */
    assert_true(used(c) > written + MIB);
    assert_true(used(c) < written + MIB + MIB / 10);
    (void)snapshot_case_take(c, "two");
    volume_case_check(c);
    snapshot_case_drop(c, "one");
    snapshot_case_settle(c);
    volume_case_check(c);
    assert_int_equal(used(c), before + 3 * MIB + 512);
    snapshot_case_drop(c, "two");
    snapshot_case_settle(c);
    assert_int_equal(used(c), before + 3 * MIB + 512);
}

static void a_removed_snapshot_is_gone_for_who_still_looks_at_it(void **state)
{
    struct volume_case *c = *state;
    struct volume_attr attr;
    uint8_t byte;
    size_t len;

    write_text(c, volume_case_file(c, "f"), "text");
    struct volume_snapshot s = snapshot_case_take(c, "one");
    uint64_t f = find(c, snapshot_case_root(&s), "f");
    snapshot_case_drop(c, "one");
    assert_int_equal(volume_getattr(c->volume, f, &attr), -ESTALE);
    assert_int_equal(volume_read(c->volume, f, 0, 1, &byte, &len), -ESTALE);
    assert_int_equal(volume_lookup(c->volume, snapshot_case_root(&s), "f", &attr), -ESTALE);
    assert_int_equal(volume_lookup(c->volume, VOLUME_SNAPSHOTS, "one", &attr), -ENOENT);
    struct volume_snapshot next = snapshot_case_take(c, "one");
    assert_true(next.slot != s.slot && next.epoch > s.epoch);
}

static void an_open_file_without_a_name_ends_while_a_snapshot_holds_its_data(void **state)
{
    static const struct volume_owner owner = { .uid = 0 };
    CLEANUP(free_ptr) uint8_t *data = calloc(1, MIB);
    struct volume_case *c = *state;
    struct volume_attr attr;

    assert_non_null(data);
    assert_int_equal(volume_tmpfile(c->volume, VOLUME_ROOT, 0600, &owner, &attr), 0);
    file_case_write(c, attr.ino, 0, data, MIB);
    (void)snapshot_case_take(c, "one");
    volume_forget(c->volume, attr.ino, 1);
    volume_case_check(c);
    snapshot_case_drop(c, "one");
    snapshot_case_settle(c);
    volume_case_check(c);
    assert_int_equal(used(c), 512);
}

/* Random changes, snapshots and removals. */
#define COPIES 8u

struct copy {
    struct volume_snapshot snapshot; /* no name: none */
    struct tree_model tree;
};

static void expect_all(struct volume_case *c, const struct tree_model *tree,
                       const struct copy *copies)
{
    (void)tree_model_compare(tree, c->volume, VOLUME_ROOT, true);
    for (unsigned i = 0; i < COPIES; i++)
        if (copies[i].snapshot.name[0] != '\0')
            (void)tree_model_compare(&copies[i].tree, c->volume,
                                     snapshot_case_root(&copies[i].snapshot), true);
}

static void random_changes(struct volume_case *c, uint64_t first, unsigned count)
{
    CLEANUP(free_ptr) struct copy *copies = calloc(COPIES, sizeof(*copies));
    struct tree_model tree;
    char name[32];

    assert_non_null(copies);
    tree_model_new(&tree);
    for (uint64_t i = first; i < first + count; i++) {
        struct copy *copy = &copies[i * 2654435761u / 64 % COPIES];
        tree_model_change(&tree, c->volume, i);
        if (i % 23 == 0) {
            if (copy->snapshot.name[0] != '\0') {
                snapshot_case_drop(c, copy->snapshot.name);
                tree_model_free(&copy->tree);
            }
            (void)snprintf(name, sizeof(name), "s%llu", (unsigned long long)i);
            copy->snapshot = snapshot_case_take(c, name);
            tree_model_copy(&tree, &copy->tree);
        } else if (i % 37 == 0 && copy->snapshot.name[0] != '\0') {
            snapshot_case_drop(c, copy->snapshot.name);
            copy->snapshot.name[0] = '\0';
            tree_model_free(&copy->tree);
        }
        if (i % 250 == 0) {
            expect_all(c, &tree, copies);
            volume_case_check(c);
        }
        if (i % 400 == 0)
            volume_case_reopen(c);
    }
    expect_all(c, &tree, copies);
    for (unsigned i = 0; i < COPIES; i++) {
        if (copies[i].snapshot.name[0] == '\0')
            continue;
        snapshot_case_drop(c, copies[i].snapshot.name);
        tree_model_free(&copies[i].tree);
    }
    snapshot_case_settle(c);
    volume_case_check(c);
    (void)tree_model_compare(&tree, c->volume, VOLUME_ROOT, true);
    tree_model_free(&tree);
}

static void random_changes_agree_with_copies_of_the_tree(void **state)
{
    const char *deep = getenv("COFFER_DEEP");

    random_changes(*state, 1, deep != NULL ? 60000 : 1500);
}

/* One process changes, another kills it. The number of the last change is an attribute of the root,
 * set after it, so that the volume is that change's or the next one's. */
static void snapshot_name(uint64_t number, char ret[static 32])
{
    (void)snprintf(ret, 32, "s%llu", (unsigned long long)number);
}

static bool takes_snapshot(uint64_t number)
{
    return number % 7 == 0;
}

/* So that some are always there. */
static bool removes_snapshot(uint64_t number, uint64_t *ret_taken)
{
    *ret_taken = number < 28 ? 0 : number - 28 - number % 3 * 7;
    *ret_taken -= *ret_taken % 7;
    return number % 7 == 3 && *ret_taken > 0;
}

/* done counts the changes, for who kills. */
static void run_until_killed(struct volume_case *c, struct tree_model *tree, uint64_t number,
                             atomic_uint *done)
{
    struct volume_snapshot snapshot;
    uint64_t taken;
    char name[32];

    for (;; number++) {
        tree_model_change(tree, c->volume, number);
        snapshot_name(number, name);
        const struct bytes value = { (const uint8_t *)name, strlen(name) };
        if (volume_setxattr(c->volume, VOLUME_ROOT, "user.number", value, 0) != 0)
            _exit(1);
        if (takes_snapshot(number) &&
            volume_snapshot_take(c->volume, name, name, &snapshot, NULL) != 0)
            _exit(2);
        if (removes_snapshot(number, &taken)) {
            snapshot_name(taken, name);
            (void)volume_snapshot_remove(c->volume, name, NULL); /* may be gone since a crash */
        }
        atomic_fetch_add(done, 1);
    }
}

static uint64_t last_number(struct volume_case *c)
{
    char text[33] = "";
    size_t len;

    int r = volume_getxattr(c->volume, VOLUME_ROOT, "user.number", (uint8_t *)text, 32, &len);
    return r < 0 ? 0 : strtoull(text + 1, NULL, 10);
}

struct crashed {
    struct volume_case *c;
    struct tree_model tree;
    uint64_t number;
};

static int expect_snapshot(const struct volume_snapshot *snapshot, void *arg)
{
    struct crashed *crashed = arg;
    uint64_t number = strtoull(snapshot->name + 1, NULL, 10);
    struct tree_model tree;

    if (snapshot->is_removing)
        return 0;
    assert_true(takes_snapshot(number) && number <= crashed->number);
    tree_model_new(&tree);
    for (uint64_t i = 1; i <= number; i++)
        tree_model_change(&tree, NULL, i);
    (void)tree_model_compare(&tree, crashed->c->volume, snapshot_case_root(snapshot), true);
    tree_model_free(&tree);
    return 0;
}

/* Returns the number of the next change. */
static uint64_t expect_crashed(struct volume_case *c)
{
    struct crashed crashed = { .c = c, .number = last_number(c) };
    struct tree_model *tree = &crashed.tree;
    uint64_t next = crashed.number + 1;

    tree_model_new(tree);
    for (uint64_t i = 1; i <= crashed.number; i++)
        tree_model_change(tree, NULL, i);
    if (!tree_model_compare(tree, c->volume, VOLUME_ROOT, false)) {
        tree_model_change(tree, NULL, next);
        (void)tree_model_compare(tree, c->volume, VOLUME_ROOT, true);
        next++;
    }
    assert_int_equal(volume_snapshot_list(c->volume, expect_snapshot, &crashed), 0);
    tree_model_free(tree);
    return next;
}

/* After so many changes and microseconds: how fast the machine is makes it no longer. */
static void crash_once(struct volume_case *c, uint64_t number, unsigned changes, unsigned after_us)
{
    const struct timespec moment = { .tv_nsec = after_us * 1000L };
    struct tree_model tree;
    int status;
    atomic_uint *done =
        mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(done, MAP_FAILED);
    volume_case_close(c);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        tree_model_new(&tree);
        for (uint64_t i = 1; i < number; i++)
            tree_model_change(&tree, NULL, i);
        volume_case_open(c);
        run_until_killed(c, &tree, number, done);
    }
    while (atomic_load(done) < changes && waitpid(child, &status, WNOHANG) == 0)
        clock_sleep_ms(1);
    (void)nanosleep(&moment, NULL); /* whenever it is, it must be right */
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(munmap(done, sizeof(*done)), 0);
    volume_case_open(c);
}

static void a_crash_at_any_moment_leaves_whole_snapshots(void **state)
{
    struct volume_case *c = *state;
    unsigned rounds = getenv("COFFER_DEEP") != NULL ? 60 : 8;
    uint64_t number = 1;

    for (unsigned i = 0; i < rounds; i++) {
        crash_once(c, number, i * 37 % 60, i * 7919 % 5000);
        volume_case_check(c);
        number = expect_crashed(c);
        snapshot_case_settle(c);
        volume_case_check(c);
    }
    assert_true(number > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_CASE_TEST(a_snapshot_shows_what_was_there_when_it_was_taken, "dir"),
        FILE_CASE_TEST(the_folder_of_snapshots_lists_access_points_and_is_not_listed_itself, "dir"),
        FILE_CASE_TEST(nothing_can_be_changed_in_a_snapshot, "dir"),
        FILE_CASE_TEST(names_and_access_points_are_used_once, "dir"),
        FILE_CASE_TEST(what_only_a_snapshot_holds_comes_back_when_it_is_removed, "dir"),
        FILE_CASE_TEST(a_removed_snapshot_is_gone_for_who_still_looks_at_it, "dir"),
        FILE_CASE_TEST(an_open_file_without_a_name_ends_while_a_snapshot_holds_its_data, "dir"),
        FILE_CASE_TEST(random_changes_agree_with_copies_of_the_tree, "dir"),
        FILE_CASE_TEST(a_crash_at_any_moment_leaves_whole_snapshots, "dir"),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
