/* What POSIX promises of inodes: their attributes, how long they live, extended attributes. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/clock.h"
#include "tests/support/posix_case.h"

#define DAY_NS ((int64_t)24 * 3600 * 1000000000)

static const struct volume_owner owner = { .uid = 7, .gid = 8 };

static void a_new_file_is_as_it_was_asked_for(void **state)
{
    struct volume_case *c = *state;
    int64_t before_ns = clock_file_ns();
    struct volume_attr attr = { .ino = 0 };
    struct volume_attr found = { .ino = 0 };

    assert_int_equal(volume_mknod(c->volume, VOLUME_ROOT, "f", S_IFREG | 06751, 99, &owner, &attr),
                     0);
    assert_int_equal(attr.mode, S_IFREG | 06751);
    assert_int_equal(attr.nlink, 1);
    assert_int_equal(attr.uid, 7);
    assert_int_equal(attr.gid, 8);
    assert_int_equal(attr.size, 0);
    assert_int_equal(attr.blocks, 0);
    assert_int_equal(attr.rdev, 0);
    assert_true(attr.mtime_ns >= before_ns && attr.mtime_ns <= clock_file_ns());
    assert_true(attr.atime_ns == attr.mtime_ns && attr.ctime_ns == attr.mtime_ns);
    assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, "f", &found), 0);
    assert_memory_equal(&found, &attr, sizeof(attr));
    assert_int_equal(volume_getattr(c->volume, attr.ino, &found), 0);
    assert_memory_equal(&found, &attr, sizeof(attr));
    assert_int_equal(attr_of(c, VOLUME_ROOT).mtime_ns, attr.mtime_ns);
}

static void every_type_can_be_made(void **state)
{
    static const uint32_t types[] = { S_IFREG, S_IFDIR, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK };
    struct volume_case *c = *state;
    struct volume_attr attr;
    char name[] = "0";

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++, name[0]++) {
        bool is_device = types[i] == S_IFCHR || types[i] == S_IFBLK;
        assert_int_equal(
            volume_mknod(c->volume, VOLUME_ROOT, name, types[i] | 0600, 0x105, &owner, &attr), 0);
        assert_int_equal(attr.mode, types[i] | 0600);
        assert_int_equal(attr.rdev, is_device ? 0x105 : 0);
    }
    assert_int_equal(volume_mknod(c->volume, VOLUME_ROOT, "x", S_IFLNK | 0777, 0, &owner, &attr),
                     -EINVAL);
    assert_int_equal(volume_mknod(c->volume, VOLUME_ROOT, "x", 0777, 0, &owner, &attr), -EINVAL);
    assert_int_equal(number_of(c, VOLUME_ROOT, "x"), 0);
    assert_int_equal(files_in_use(c), 7);
}

static void what_is_not_there_is_not_found(void **state)
{
    struct volume_case *c = *state;
    struct volume_attr attr;
    char target[VOLUME_SYMLINK_MAX + 1];

    assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, "f", &attr), -ENOENT);
    assert_int_equal(volume_lookup(c->volume, 999, "f", &attr), -ENOENT);
    assert_int_equal(volume_getattr(c->volume, 999, &attr), -ENOENT);
    assert_int_equal(volume_setattr(c->volume, 999, &attr, VOLUME_SET_MODE, &attr), -ENOENT);
    assert_int_equal(volume_readlink(c->volume, 999, target), -ENOENT);
    assert_int_equal(volume_touch_atime(c->volume, 999), -ENOENT);
    volume_forget(c->volume, 999, 1);
}

static void a_symbolic_link_keeps_its_target(void **state)
{
    struct volume_case *c = *state;
    char target[VOLUME_SYMLINK_MAX + 2];
    char found[VOLUME_SYMLINK_MAX + 1];
    struct volume_attr attr;

    memset(target, 'x', sizeof(target));
    target[VOLUME_SYMLINK_MAX] = '\0';
    assert_int_equal(volume_symlink(c->volume, VOLUME_ROOT, "l", target, &owner, &attr), 0);
    assert_int_equal(attr.mode, S_IFLNK | 0777);
    assert_int_equal(attr.size, VOLUME_SYMLINK_MAX);
    assert_int_equal(volume_readlink(c->volume, attr.ino, found), 0);
    assert_string_equal(found, target);
    target[VOLUME_SYMLINK_MAX] = 'x';
    target[VOLUME_SYMLINK_MAX + 1] = '\0';
    assert_int_equal(volume_symlink(c->volume, VOLUME_ROOT, "m", target, &owner, &attr),
                     -ENAMETOOLONG);
    assert_int_equal(volume_symlink(c->volume, VOLUME_ROOT, "m", "", &owner, &attr), -ENOENT);
    assert_int_equal(volume_symlink(c->volume, VOLUME_ROOT, "l", "a", &owner, &attr), -EEXIST);
    assert_int_equal(volume_readlink(c->volume, make_file(c, VOLUME_ROOT, "f"), found), -EINVAL);
}

static void setattr_changes_what_it_is_told_to(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make(c, VOLUME_ROOT, "f", S_IFREG | 0644);
    struct volume_attr old = attr_of(c, ino);
    struct volume_attr to = {
        .mode = S_IFDIR | 04711, .uid = 1, .gid = 2, .atime_ns = -3, .mtime_ns = 4, .ctime_ns = 5
    };
    struct volume_attr now;

    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_MODE, &now), 0);
    assert_int_equal(now.mode, S_IFREG | 04711);
    assert_int_equal(now.uid, old.uid);
    assert_int_equal(now.mtime_ns, old.mtime_ns);
    assert_true(now.ctime_ns >= old.ctime_ns);
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_UID | VOLUME_SET_GID, &now), 0);
    assert_int_equal(now.uid, 1);
    assert_int_equal(now.gid, 2);
    assert_int_equal(volume_setattr(c->volume, ino, &to,
                                    VOLUME_SET_ATIME | VOLUME_SET_MTIME | VOLUME_SET_CTIME, &now),
                     0);
    assert_int_equal(now.atime_ns, -3);
    assert_int_equal(now.mtime_ns, 4);
    assert_int_equal(now.ctime_ns, 5);
    struct volume_attr found = attr_of(c, ino);
    assert_memory_equal(&found, &now, sizeof(now));
}

static void the_size_belongs_to_regular_files(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_file(c, VOLUME_ROOT, "f");
    struct volume_attr to = { .size = 1000000 };
    struct volume_attr now;

    to.mtime_ns = 1;
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_MTIME, &now), 0);
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_SIZE, &now), 0);
    assert_int_equal(now.size, 1000000);
    assert_int_equal(now.blocks, 0);
    assert_true(now.mtime_ns > 1);
    assert_int_equal(attr_of(c, ino).size, 1000000);
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_SIZE | VOLUME_SET_MTIME, &now),
                     0);
    assert_int_equal(now.mtime_ns, 1);
    to.size = UINT64_MAX;
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_SIZE, &now), -EFBIG);
    to.size = 0;
    assert_int_equal(volume_setattr(c->volume, VOLUME_ROOT, &to, VOLUME_SET_SIZE, &now), -EISDIR);
    ino = make(c, VOLUME_ROOT, "p", S_IFIFO | 0600);
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_SIZE, &now), -EINVAL);
}

static void times_that_somebody_else_sets_are_left(void **state)
{
    struct volume_case *c = *state;
    const struct bytes data = { (const uint8_t *)"content", 7 };
    const struct volume_attr to = { .mode = 0600, .size = 5, .mtime_ns = 2, .ctime_ns = 3 };
    uint64_t ino = make_file(c, VOLUME_ROOT, "f");
    struct volume_attr now;

    volume_leave_times(c->volume);
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_MTIME | VOLUME_SET_CTIME, &now),
                     0);
    assert_int_equal(volume_write(c->volume, ino, 0, data), 0);
    assert_int_equal(volume_fallocate(c->volume, ino, 0, 0, 100), 0);
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_SIZE | VOLUME_SET_MODE, &now),
                     0);
    now = attr_of(c, ino);
    assert_int_equal(now.size, 5);
    assert_int_equal(now.mtime_ns, 2);
    assert_int_equal(now.ctime_ns, 3);
    /* A directory is not cached: its times are ours. */
    assert_int_equal(volume_setattr(c->volume, VOLUME_ROOT, &to, VOLUME_SET_MODE, &now), 0);
    assert_true(now.ctime_ns > 3);
}

static void the_last_times_of_a_removed_file_need_no_record(void **state)
{
    struct volume_case *c = *state;
    const unsigned which = VOLUME_SET_MTIME | VOLUME_SET_CTIME;
    const struct volume_attr to = { .mtime_ns = 2, .ctime_ns = 3 };
    uint64_t ino = make_file(c, VOLUME_ROOT, "f");
    struct volume_attr now;

    volume_leave_times(c->volume);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "f"), 0);
    int64_t before_ns = attr_of(c, ino).mtime_ns;
    assert_int_equal(volume_setattr(c->volume, ino, &to, which, &now), 0);
    assert_int_equal(now.mtime_ns, 2);
    assert_int_equal(now.ctime_ns, 3);
    assert_int_equal(attr_of(c, ino).mtime_ns, before_ns);
    /* Other changes are made, and so are these when it has a name again. */
    assert_int_equal(volume_setattr(c->volume, ino, &to, which | VOLUME_SET_MODE, &now), 0);
    assert_int_equal(attr_of(c, ino).mtime_ns, 2);
    assert_int_equal(volume_link(c->volume, ino, VOLUME_ROOT, "again", &now), 0);
    now.mtime_ns = 5;
    assert_int_equal(volume_setattr(c->volume, ino, &now, which, &now), 0);
    assert_int_equal(attr_of(c, ino).mtime_ns, 5);
}

/* What lies in so many chunks, with little data: more than one transaction trims. */
#define CHUNKS 200u
#define CHUNK ((uint64_t)1 << 20)

static void write_chunks(struct volume_case *c, uint64_t ino)
{
    static uint8_t data[4096];

    memset(data, 0x77, sizeof(data));
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++)
        assert_int_equal(
            volume_write(c->volume, ino, chunk * CHUNK + 5, (struct bytes){ data, sizeof(data) }),
            0);
}

static uint64_t make_large_file(struct volume_case *c, const char *name)
{
    uint64_t ino = make_file(c, VOLUME_ROOT, name);

    write_chunks(c, ino);
    assert_int_equal(attr_of(c, ino).blocks, CHUNKS * 8);
    return ino;
}

static void a_large_file_can_be_cut(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_large_file(c, "f");
    struct volume_attr to = { .size = 3 * CHUNK + 5 + 512 };
    struct volume_attr now;

    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_SIZE, &now), 0);
    assert_int_equal(now.size, to.size);
    assert_int_equal(now.blocks, 3 * 8 + 1);
    to.size = 100 * CHUNK;
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_SIZE, &now), 0);
    assert_int_equal(now.blocks, 3 * 8 + 1);
    to.size = 0;
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_SIZE, &now), 0);
    assert_int_equal(now.blocks, 0);
}

static void a_large_file_goes_whole(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_large_file(c, "f");
    struct volume_statfs have;

    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "f"), 0);
    assert_int_equal(attr_of(c, ino).blocks, CHUNKS * 8);
    volume_forget(c->volume, ino, 1);
    assert_int_equal(volume_statfs(c->volume, &have), 0);
    assert_int_equal(have.files, 1);
    assert_true(have.used < 4096); /* what the root counts */
}

static void a_small_file_goes_whole(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_file(c, VOLUME_ROOT, "f");
    struct volume_statfs before;
    struct volume_statfs after;

    assert_int_equal(volume_statfs(c->volume, &before), 0);
    assert_int_equal(
        volume_write(c->volume, ino, 0, (struct bytes){ (const uint8_t *)"content", 7 }), 0);
    assert_int_equal(attr_of(c, ino).blocks, 1);
    assert_int_equal(volume_statfs(c->volume, &after), 0);
    assert_int_equal(after.used, before.used + 7);
    (void)make_file(c, VOLUME_ROOT, "g"); /* counts as f did before */
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "f"), 0);
    volume_forget(c->volume, ino, 1);
    assert_int_equal(volume_statfs(c->volume, &after), 0);
    assert_int_equal(after.used, before.used);
}

static void an_unlinked_file_that_is_held_can_be_cut(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_large_file(c, "f");
    struct volume_attr to = { .size = CHUNK };
    struct volume_attr now;

    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "f"), 0);
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_SIZE, &now), 0);
    assert_int_equal(now.size, CHUNK);
    assert_int_equal(now.blocks, 8);
    assert_int_equal(attr_of(c, ino).nlink, 0);
    volume_forget(c->volume, ino, 1);
    expect_ended(c, ino);
}

struct growing {
    struct volume_case *c;
    uint64_t ino;
    atomic_bool stop;
    unsigned wrong;
};

static void *make_longer(void *arg)
{
    struct growing *growing = arg;
    struct volume_attr to = { .size = 2 * CHUNKS * CHUNK };
    struct volume_attr now;

    while (!atomic_load(&growing->stop))
        growing->wrong +=
            volume_setattr(growing->c->volume, growing->ino, &to, VOLUME_SET_SIZE, &now) != 0;
    return NULL;
}

/* Between the transactions that trim, the file is made longer: what was cut must not come back. */
static void what_was_cut_stays_away_when_the_file_grows(void **state)
{
    struct volume_case *c = *state;
    struct volume_attr to = { .size = 1 };
    struct volume_attr now;
    uint64_t ino = make_large_file(c, "f");
    struct growing growing = { .c = c, .ino = ino };
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, make_longer, &growing), 0);
    for (unsigned round = 0; round < 20; round++) {
        write_chunks(c, ino);
        assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_SIZE, &now), 0);
        assert_int_equal(attr_of(c, ino).blocks, 0);
    }
    atomic_store(&growing.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(growing.wrong, 0);
}

static void an_unlinked_file_lives_while_it_is_held(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_file(c, VOLUME_ROOT, "f");

    volume_reference(c->volume, ino);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "f"), 0);
    assert_int_equal(number_of(c, VOLUME_ROOT, "f"), 0);
    assert_int_equal(attr_of(c, ino).nlink, 0);
    volume_forget(c->volume, ino, 1);
    assert_int_equal(attr_of(c, ino).nlink, 0);
    assert_int_equal(files_in_use(c), 2);
    volume_forget(c->volume, ino, 1);
    expect_ended(c, ino);
    assert_int_equal(files_in_use(c), 1);
}

static void an_unlinked_file_that_nobody_holds_goes_at_once(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_file(c, VOLUME_ROOT, "f");

    volume_forget(c->volume, ino, 1);
    assert_int_equal(attr_of(c, ino).nlink, 1);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "f"), 0);
    expect_ended(c, ino);
    assert_int_equal(files_in_use(c), 1);
    assert_true(make_file(c, VOLUME_ROOT, "f") > ino); /* numbers are never used again */
}

static void a_file_without_a_name_can_get_one(void **state)
{
    struct volume_case *c = *state;
    struct volume_attr attr;
    struct volume_attr linked;

    assert_int_equal(volume_tmpfile(c->volume, VOLUME_ROOT, S_IFREG | 0600, &owner, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(attr.mode, S_IFREG | 0600);
    assert_int_equal(volume_link(c->volume, attr.ino, VOLUME_ROOT, "f", &linked), 0);
    assert_int_equal(linked.nlink, 1);
    volume_forget(c->volume, attr.ino, 2);
    assert_int_equal(number_of(c, VOLUME_ROOT, "f"), attr.ino);
    assert_int_equal(volume_tmpfile(c->volume, VOLUME_ROOT, 0600, &owner, &attr), 0);
    volume_forget(c->volume, attr.ino, 1);
    expect_ended(c, attr.ino);
    assert_int_equal(volume_tmpfile(c->volume, linked.ino, 0600, &owner, &attr), -ENOTDIR);
    assert_int_equal(volume_tmpfile(c->volume, 999, 0600, &owner, &attr), -ENOENT);
    assert_int_equal(files_in_use(c), 2);
}

static void what_a_run_left_behind_goes_when_it_is_opened_again(void **state)
{
    struct volume_case *c = *state;
    char name[16];
    uint64_t large = make_large_file(c, "large");

    for (int i = 0; i < 600; i++) {
        (void)snprintf(name, sizeof(name), "%d", i);
        (void)make_file(c, VOLUME_ROOT, name);
        assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, name), 0);
    }
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "large"), 0);
    (void)make_file(c, VOLUME_ROOT, "kept");
    assert_int_equal(files_in_use(c), 603);
    posix_case_reopen(c, false);
    assert_int_equal(files_in_use(c), 2);
    expect_ended(c, large);
    assert_int_not_equal(number_of(c, VOLUME_ROOT, "kept"), 0);
    assert_true(make_file(c, VOLUME_ROOT, "new") > large + 601);
}

static void a_volume_that_is_read_only_refuses_changes(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_file(c, VOLUME_ROOT, "f");
    const struct bytes value = { (const uint8_t *)"v", 1 };
    struct volume_attr attr = { .mode = 0600 };

    posix_case_reopen(c, true);
    assert_int_equal(volume_setattr(c->volume, ino, &attr, VOLUME_SET_MODE, &attr), -EROFS);
    assert_int_equal(volume_mknod(c->volume, VOLUME_ROOT, "g", S_IFREG, 0, &owner, &attr), -EROFS);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "f"), -EROFS);
    assert_int_equal(volume_link(c->volume, ino, VOLUME_ROOT, "g", &attr), -EROFS);
    assert_int_equal(volume_rename(c->volume, VOLUME_ROOT, "f", VOLUME_ROOT, "g", 0), -EROFS);
    assert_int_equal(volume_setxattr(c->volume, ino, "user.a", value, 0), -EROFS);
    assert_int_equal(volume_touch_atime(c->volume, ino), 0);
    assert_int_equal(number_of(c, VOLUME_ROOT, "f"), ino);
    posix_case_reopen(c, false);
}

static void set_times(struct volume_case *c, uint64_t ino, int64_t atime_ns, int64_t others_ns)
{
    struct volume_attr to = { .atime_ns = atime_ns, .mtime_ns = others_ns, .ctime_ns = others_ns };

    assert_int_equal(volume_setattr(c->volume, ino, &to,
                                    VOLUME_SET_ATIME | VOLUME_SET_MTIME | VOLUME_SET_CTIME, &to),
                     0);
}

static void the_time_of_access_follows_relatime(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_file(c, VOLUME_ROOT, "f");
    int64_t now_ns = clock_file_ns();
    int64_t recent_ns = now_ns - DAY_NS / 2;

    set_times(c, ino, recent_ns, recent_ns - 1); /* newer than the changes, and of today */
    assert_int_equal(volume_touch_atime(c->volume, ino), 0);
    assert_int_equal(attr_of(c, ino).atime_ns, recent_ns);
    set_times(c, ino, recent_ns, recent_ns); /* not newer than the changes */
    assert_int_equal(volume_touch_atime(c->volume, ino), 0);
    assert_true(attr_of(c, ino).atime_ns >= now_ns);
    assert_int_equal(attr_of(c, ino).ctime_ns, recent_ns);
    set_times(c, ino, now_ns - DAY_NS, 0); /* a day old */
    volume_set_noatime(c->volume, true);
    assert_int_equal(volume_touch_atime(c->volume, ino), 0);
    assert_int_equal(attr_of(c, ino).atime_ns, now_ns - DAY_NS);
    volume_set_noatime(c->volume, false);
    assert_int_equal(volume_touch_atime(c->volume, ino), 0);
    assert_true(attr_of(c, ino).atime_ns >= now_ns);
}

static void set_text(struct volume_case *c, uint64_t ino, const char *name, const char *value)
{
    assert_int_equal(volume_setxattr(c->volume, ino, name,
                                     (struct bytes){ (const uint8_t *)value, strlen(value) }, 0),
                     0);
}

static void extended_attributes_come_back(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_dir(c, VOLUME_ROOT, "d");
    uint8_t value[16] = { 0 };
    char list[64];
    size_t len = 99;

    assert_int_equal(volume_listxattr(c->volume, ino, list, sizeof(list), &len), 0);
    assert_int_equal(len, 0);
    assert_int_equal(volume_getxattr(c->volume, ino, "user.a", value, sizeof(value), &len),
                     -ENODATA);
    set_text(c, ino, "user.a", "one");
    set_text(c, ino, "user.b/c", "");
    set_text(c, VOLUME_ROOT, "user.a", "other");
    assert_int_equal(volume_getxattr(c->volume, ino, "user.a", value, sizeof(value), &len), 0);
    assert_int_equal(len, 3);
    assert_memory_equal(value, "one", 3);
    assert_int_equal(volume_getxattr(c->volume, ino, "user.b/c", value, 0, &len), 0);
    assert_int_equal(len, 0);
    assert_int_equal(volume_getxattr(c->volume, ino, "user.a", value, 0, &len), 0);
    assert_int_equal(len, 3);
    assert_int_equal(volume_getxattr(c->volume, ino, "user.a", value, 2, &len), -ERANGE);
    assert_int_equal(volume_listxattr(c->volume, ino, list, 0, &len), 0);
    assert_int_equal(len, 7 + 9);
    assert_int_equal(volume_listxattr(c->volume, ino, list, len - 1, &len), -ERANGE);
    assert_int_equal(volume_listxattr(c->volume, ino, list, len, &len), 0);
    assert_true(strcmp(list, "user.a") == 0 || strcmp(list, "user.b/c") == 0);
    assert_true(strcmp(list + strlen(list) + 1, "user.a") == 0 ||
                strcmp(list + strlen(list) + 1, "user.b/c") == 0);
    assert_string_not_equal(list, list + strlen(list) + 1);
    assert_int_equal(volume_removexattr(c->volume, ino, "user.a"), 0);
    assert_int_equal(volume_removexattr(c->volume, ino, "user.a"), -ENODATA);
    assert_int_equal(volume_listxattr(c->volume, ino, list, sizeof(list), &len), 0);
    assert_int_equal(len, 9);
}

static void extended_attributes_obey_their_flags_and_limits(void **state)
{
    static uint8_t large[VOLUME_XATTR_MAX + 1];
    struct volume_case *c = *state;
    uint64_t ino = make_file(c, VOLUME_ROOT, "f");
    struct bytes value = { large, VOLUME_XATTR_MAX };
    char name[VOLUME_NAME_MAX + 2];
    struct volume_attr to = { .ctime_ns = 1 };
    size_t len = 0;

    assert_int_equal(volume_setxattr(c->volume, ino, "user.a", value, XATTR_REPLACE), -ENODATA);
    assert_int_equal(volume_setattr(c->volume, ino, &to, VOLUME_SET_CTIME, &to), 0);
    assert_int_equal(volume_setxattr(c->volume, ino, "user.a", value, XATTR_CREATE), 0);
    assert_true(attr_of(c, ino).ctime_ns > 1);
    assert_int_equal(volume_setxattr(c->volume, ino, "user.a", value, XATTR_CREATE), -EEXIST);
    assert_int_equal(volume_setxattr(c->volume, ino, "user.a", value, XATTR_REPLACE), 0);
    assert_int_equal(volume_getxattr(c->volume, ino, "user.a", large, sizeof(large), &len), 0);
    assert_int_equal(len, VOLUME_XATTR_MAX);
    value.len++;
    assert_int_equal(volume_setxattr(c->volume, ino, "user.b", value, 0), -E2BIG);
    value.len = 1;
    assert_int_equal(volume_setxattr(c->volume, ino, "user.b", value, 0x40), -EINVAL);
    memset(name, 'n', sizeof(name));
    name[VOLUME_NAME_MAX + 1] = '\0';
    assert_int_equal(volume_setxattr(c->volume, ino, name, value, 0), -ERANGE);
    assert_int_equal(volume_setxattr(c->volume, ino, "", value, 0), -ERANGE);
    name[VOLUME_NAME_MAX] = '\0';
    assert_int_equal(volume_setxattr(c->volume, ino, name, value, 0), 0);
    assert_int_equal(volume_setxattr(c->volume, 999, "user.a", value, 0), -ENOENT);
}

static void extended_attributes_go_with_their_file(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = make_file(c, VOLUME_ROOT, "f");
    char list[16];
    char name[32];
    size_t len = 99;

    for (int i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof(name), "user.%d", i);
        set_text(c, ino, name, "value");
    }
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "f"), 0);
    volume_forget(c->volume, ino, 1);
    expect_ended(c, ino);
    assert_int_equal(volume_listxattr(c->volume, ino, list, sizeof(list), &len), 0);
    assert_int_equal(len, 0);
}

struct race {
    struct volume_case *c;
    unsigned thread;
    unsigned wrong; /* answers that no order of the operations explains */
};

#define RACE_ROUNDS 2000u

/* All make, find and remove the same few names, and use what they found while they hold it. */
static void *make_find_remove(void *arg)
{
    struct race *race = arg;
    struct volume *volume = race->c->volume;
    struct volume_attr attr;
    struct volume_attr again;

    for (unsigned i = 0; i < RACE_ROUNDS; i++) {
        char name[] = { (char)('a' + (i * 7 + race->thread) % 3), '\0' };
        int r = volume_mknod(volume, VOLUME_ROOT, name, S_IFREG | 0600, 0, &owner, &attr);
        race->wrong += r != 0 && r != -EEXIST;
        if (r == 0)
            volume_forget(volume, attr.ino, 1);
        r = volume_lookup(volume, VOLUME_ROOT, name, &attr);
        race->wrong += r != 0 && r != -ENOENT;
        if (r == 0) {
            race->wrong += volume_getattr(volume, attr.ino, &again) != 0;
            volume_forget(volume, attr.ino, 1);
        }
        if (i % 3 == 0) {
            r = volume_unlink(volume, VOLUME_ROOT, name);
            race->wrong += r != 0 && r != -ENOENT;
        }
    }
    return NULL;
}

static void nothing_that_was_found_goes_while_it_is_held(void **state)
{
    struct volume_case *c = *state;
    struct race races[4];
    pthread_t threads[4];

    for (unsigned i = 0; i < 4; i++) {
        races[i] = (struct race){ .c = c, .thread = i };
        assert_int_equal(pthread_create(&threads[i], NULL, make_find_remove, &races[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(races[i].wrong, 0);
    for (char name[] = "a"; name[0] <= 'c'; name[0]++)
        (void)volume_unlink(c->volume, VOLUME_ROOT, name);
    assert_int_equal(files_in_use(c), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(a_new_file_is_as_it_was_asked_for),
        ON_BOTH(every_type_can_be_made),
        ON_BOTH(what_is_not_there_is_not_found),
        ON_BOTH(a_symbolic_link_keeps_its_target),
        ON_BOTH(setattr_changes_what_it_is_told_to),
        ON_BOTH(the_size_belongs_to_regular_files),
        ON_BOTH(times_that_somebody_else_sets_are_left),
        ON_BOTH(the_last_times_of_a_removed_file_need_no_record),
        ON_BOTH(a_large_file_can_be_cut),
        ON_BOTH(a_large_file_goes_whole),
        ON_BOTH(a_small_file_goes_whole),
        ON_BOTH(an_unlinked_file_that_is_held_can_be_cut),
        ON_BOTH(what_was_cut_stays_away_when_the_file_grows),
        ON_BOTH(an_unlinked_file_lives_while_it_is_held),
        ON_BOTH(an_unlinked_file_that_nobody_holds_goes_at_once),
        ON_BOTH(a_file_without_a_name_can_get_one),
        ON_BOTH(what_a_run_left_behind_goes_when_it_is_opened_again),
        ON_BOTH(a_volume_that_is_read_only_refuses_changes),
        ON_BOTH(the_time_of_access_follows_relatime),
        ON_BOTH(extended_attributes_come_back),
        ON_BOTH(extended_attributes_obey_their_flags_and_limits),
        ON_BOTH(extended_attributes_go_with_their_file),
        ON_BOTH(nothing_that_was_found_goes_while_it_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
