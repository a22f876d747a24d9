/* What POSIX promises of names: making, linking, removing, renaming, and listing directories. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/posix_case.h"

static const struct volume_owner owner = { .uid = 7, .gid = 8 };

static int try_make(struct volume_case *c, uint64_t parent, const char *name)
{
    struct volume_attr attr;

    return volume_mknod(c->volume, parent, name, S_IFREG | 0600, 0, &owner, &attr);
}

static void a_name_is_free_and_possible(void **state)
{
    struct volume_case *c = *state;
    uint64_t file = make_file(c, VOLUME_ROOT, "f");
    char name[VOLUME_NAME_MAX + 2];
    struct volume_attr attr;

    assert_int_equal(try_make(c, VOLUME_ROOT, "f"), -EEXIST);
    assert_int_equal(try_make(c, file, "f"), -ENOTDIR);
    assert_int_equal(volume_lookup(c->volume, file, "f", &attr), -ENOENT);
    assert_int_equal(try_make(c, 999, "f"), -ENOENT);
    assert_int_equal(try_make(c, VOLUME_ROOT, ""), -EINVAL);
    assert_int_equal(try_make(c, VOLUME_ROOT, "."), -EINVAL);
    assert_int_equal(try_make(c, VOLUME_ROOT, ".."), -EINVAL);
    assert_int_equal(try_make(c, VOLUME_ROOT, "a/b"), -EINVAL);
    memset(name, 0xe4, sizeof(name));
    name[VOLUME_NAME_MAX + 1] = '\0';
    assert_int_equal(try_make(c, VOLUME_ROOT, name), -ENAMETOOLONG);
    assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, name, &attr), -ENAMETOOLONG);
    name[VOLUME_NAME_MAX] = '\0';
    assert_int_equal(try_make(c, VOLUME_ROOT, name), 0);
    assert_int_not_equal(number_of(c, VOLUME_ROOT, name), 0);
    assert_int_equal(files_in_use(c), 3);
}

static void directories_count_their_directories(void **state)
{
    struct volume_case *c = *state;
    uint64_t dir = make_dir(c, VOLUME_ROOT, "d");
    uint64_t inner = make_dir(c, dir, "e");

    (void)make_file(c, dir, "f");
    assert_int_equal(attr_of(c, VOLUME_ROOT).nlink, 3);
    assert_int_equal(attr_of(c, dir).nlink, 3);
    assert_int_equal(attr_of(c, inner).nlink, 2);
    assert_int_equal(volume_rmdir(c->volume, VOLUME_ROOT, "d"), -ENOTEMPTY);
    assert_int_equal(volume_rmdir(c->volume, dir, "f"), -ENOTDIR);
    assert_int_equal(volume_rmdir(c->volume, dir, "x"), -ENOENT);
    assert_int_equal(volume_unlink(c->volume, dir, "e"), -EISDIR);
    assert_int_equal(volume_unlink(c->volume, dir, "x"), -ENOENT);
    assert_int_equal(volume_unlink(c->volume, make_file(c, dir, "g"), "x"), -ENOTDIR);
    assert_int_equal(volume_rmdir(c->volume, dir, "e"), 0);
    assert_int_equal(attr_of(c, dir).nlink, 2);
    assert_int_equal(volume_unlink(c->volume, dir, "f"), 0);
    assert_int_equal(volume_unlink(c->volume, dir, "g"), 0);
    assert_int_equal(volume_rmdir(c->volume, VOLUME_ROOT, "d"), 0);
    assert_int_equal(attr_of(c, VOLUME_ROOT).nlink, 2);
}

static void a_removed_directory_takes_no_more_names(void **state)
{
    struct volume_case *c = *state;
    uint64_t dir = make_dir(c, VOLUME_ROOT, "d");
    uint64_t file = make_file(c, VOLUME_ROOT, "f");
    struct volume_attr attr;

    assert_int_equal(volume_rmdir(c->volume, VOLUME_ROOT, "d"), 0);
    assert_int_equal(attr_of(c, dir).nlink, 0);
    assert_int_equal(try_make(c, dir, "a"), -ENOENT);
    assert_int_equal(volume_symlink(c->volume, dir, "a", "b", &owner, &attr), -ENOENT);
    assert_int_equal(volume_tmpfile(c->volume, dir, 0600, &owner, &attr), -ENOENT);
    assert_int_equal(volume_link(c->volume, file, dir, "a", &attr), -ENOENT);
    assert_int_equal(volume_rename(c->volume, VOLUME_ROOT, "f", dir, "a", 0), -ENOENT);
    volume_forget(c->volume, dir, 1);
    expect_ended(c, dir);
}

static void links_are_counted(void **state)
{
    struct volume_case *c = *state;
    uint64_t file = make_file(c, VOLUME_ROOT, "f");
    uint64_t dir = make_dir(c, VOLUME_ROOT, "d");
    struct volume_attr attr;

    assert_int_equal(volume_link(c->volume, file, dir, "g", &attr), 0);
    assert_int_equal(attr.ino, file);
    assert_int_equal(attr.nlink, 2);
    assert_int_equal(number_of(c, dir, "g"), file);
    assert_int_equal(volume_link(c->volume, file, dir, "g", &attr), -EEXIST);
    assert_int_equal(volume_link(c->volume, dir, dir, "h", &attr), -EPERM);
    assert_int_equal(volume_link(c->volume, 999, dir, "h", &attr), -ENOENT);
    assert_int_equal(volume_link(c->volume, file, file, "h", &attr), -ENOTDIR);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "f"), 0);
    assert_int_equal(attr_of(c, file).nlink, 1);
    volume_forget(c->volume, file, 2);
    assert_int_equal(number_of(c, dir, "g"), file);
    assert_int_equal(files_in_use(c), 3);
}

/* In the root: files a, b (one inode with its other name, B), directories d (with f in it),
 * e (empty) and e/s, a directory in it; x is not there. */
struct rename_step {
    const char *from; /* "dir/name", or "name" in the root */
    const char *to;
    unsigned flags;
    int result;
};

static void split(struct volume_case *c, const char *path, uint64_t *ret_parent,
                  const char **ret_name)
{
    const char *slash = strchr(path, '/');
    char dir[16] = { 0 };

    *ret_parent = VOLUME_ROOT;
    *ret_name = path;
    if (slash) {
        memcpy(dir, path, (size_t)(slash - path));
        *ret_parent = number_of(c, VOLUME_ROOT, dir);
        *ret_name = slash + 1;
    }
}

static uint64_t number_at(struct volume_case *c, const char *path)
{
    uint64_t parent;
    const char *name;

    split(c, path, &parent, &name);
    return number_of(c, parent, name);
}

static int rename_path(struct volume_case *c, const char *from, const char *to, unsigned flags)
{
    uint64_t from_parent;
    uint64_t to_parent;
    const char *from_name;
    const char *to_name;

    split(c, from, &from_parent, &from_name);
    split(c, to, &to_parent, &to_name);
    return volume_rename(c->volume, from_parent, from_name, to_parent, to_name, flags);
}

static void make_rename_tree(struct volume_case *c)
{
    uint64_t dir = make_dir(c, VOLUME_ROOT, "d");
    uint64_t file = make_file(c, VOLUME_ROOT, "b");
    struct volume_attr attr;

    (void)make_file(c, VOLUME_ROOT, "a");
    (void)make_file(c, dir, "f");
    dir = make_dir(c, VOLUME_ROOT, "e");
    (void)make_dir(c, dir, "s");
    (void)make_dir(c, VOLUME_ROOT, "empty");
    assert_int_equal(volume_link(c->volume, file, VOLUME_ROOT, "B", &attr), 0);
}

static void renames_that_may_not_be_change_nothing(void **state)
{
    static const struct rename_step steps[] = {
        { "x", "y", 0, -ENOENT },
        { "x", "a", 0, -ENOENT },
        { "a", "b", RENAME_NOREPLACE, -EEXIST },
        { "b", "B", RENAME_NOREPLACE, -EEXIST },
        { "a", "x", RENAME_EXCHANGE, -ENOENT },
        { "x", "a", RENAME_EXCHANGE, -ENOENT },
        { "a", "x", RENAME_EXCHANGE | RENAME_NOREPLACE, -EINVAL },
        { "a", "x", RENAME_WHITEOUT, -EINVAL },
        { "d", "a", 0, -ENOTDIR },
        { "a", "empty", 0, -EISDIR },
        { "empty", "d", 0, -ENOTEMPTY },
        { "d/f", "d", 0, -EISDIR },
        { "e/s", "e", 0, -ENOTEMPTY },
        { "e", "e/x", 0, -EINVAL },
        { "e", "e/s", 0, -EINVAL },
        { "e", "e/s", RENAME_EXCHANGE, -EINVAL },
        { "e/s", "e", RENAME_EXCHANGE, -EINVAL },
        { "d/f", "d", RENAME_EXCHANGE, -EINVAL },
        { "a", ".", 0, -EINVAL },
        { "..", "x", 0, -EINVAL },
        { "b", "B", 0, 0 }, /* one inode: nothing happens */
        { "b", "B", RENAME_EXCHANGE, 0 },
        { "a", "a", 0, 0 },
        { "d", "d", RENAME_EXCHANGE, 0 },
    };
    static const char *const paths[] = { "a", "b", "B", "d", "d/f", "e", "e/s", "empty" };
    struct volume_case *c = *state;
    uint64_t numbers[8];

    make_rename_tree(c);
    int64_t mtime_ns = attr_of(c, VOLUME_ROOT).mtime_ns;
    for (size_t i = 0; i < 8; i++)
        numbers[i] = number_at(c, paths[i]);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int r = rename_path(c, steps[i].from, steps[i].to, steps[i].flags);
        if (r != steps[i].result)
            fail_msg("rename %s to %s: %d, not %d", steps[i].from, steps[i].to, r, steps[i].result);
    }
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(number_at(c, paths[i]), numbers[i]);
    assert_int_equal(attr_of(c, VOLUME_ROOT).mtime_ns, mtime_ns);
    uint64_t inner = number_at(c, "e/s");
    assert_int_equal(volume_rename(c->volume, VOLUME_ROOT, "e", inner, "x", 0), -EINVAL);
    assert_int_equal(volume_rename(c->volume, numbers[0], "x", VOLUME_ROOT, "x", 0), -ENOTDIR);
    assert_int_equal(volume_rename(c->volume, VOLUME_ROOT, "a", numbers[1], "x", 0), -ENOTDIR);
}

static void a_file_is_renamed(void **state)
{
    struct volume_case *c = *state;

    make_rename_tree(c);
    uint64_t file = number_at(c, "a");
    assert_int_equal(rename_path(c, "a", "x", RENAME_NOREPLACE), 0);
    assert_int_equal(number_at(c, "a"), 0);
    assert_int_equal(number_at(c, "x"), file);
    assert_int_equal(rename_path(c, "x", "d/y", 0), 0);
    assert_int_equal(number_at(c, "d/y"), file);
    assert_int_equal(rename_path(c, "d/y", "d/f", 0), 0);
    assert_int_equal(number_at(c, "d/f"), file);
    assert_int_equal(number_at(c, "d/y"), 0);
    assert_int_equal(attr_of(c, file).nlink, 1);
}

static void what_is_renamed_over_goes(void **state)
{
    struct volume_case *c = *state;

    make_rename_tree(c);
    uint64_t held = number_at(c, "d/f");
    uint64_t files = files_in_use(c);
    assert_int_equal(rename_path(c, "a", "d/f", 0), 0);
    assert_int_equal(attr_of(c, held).nlink, 0);
    assert_int_equal(files_in_use(c), files);
    volume_forget(c->volume, held, 1);
    expect_ended(c, held);
    assert_int_equal(files_in_use(c), files - 1);
    uint64_t linked = number_at(c, "b");
    assert_int_equal(rename_path(c, "d/f", "b", 0), 0);
    assert_int_equal(attr_of(c, linked).nlink, 1);
    assert_int_equal(number_at(c, "B"), linked);
    uint64_t empty = number_at(c, "empty");
    volume_forget(c->volume, empty, 1);
    assert_int_equal(rename_path(c, "e", "empty", 0), 0);
    expect_ended(c, empty);
    assert_int_equal(attr_of(c, VOLUME_ROOT).nlink, 2 + 2);
    assert_int_equal(files_in_use(c), files - 2);
}

static uint64_t parent_number; /* what ".." was */

static int take_parent(const char *name, const struct volume_attr *attr, uint64_t next, void *arg)
{
    (void)next;
    (void)arg;
    if (strcmp(name, "..") == 0)
        parent_number = attr->ino;
    return 0;
}

static uint64_t parent_of(struct volume_case *c, uint64_t ino)
{
    parent_number = 0;
    assert_int_equal(volume_readdir(c->volume, ino, 0, false, take_parent, NULL), 0);
    return parent_number;
}

static void a_directory_moves_with_all_that_is_in_it(void **state)
{
    struct volume_case *c = *state;

    make_rename_tree(c);
    uint64_t dir = number_at(c, "d");
    uint64_t moved = number_at(c, "e/s");
    uint64_t old = number_at(c, "e");
    assert_int_equal(parent_of(c, VOLUME_ROOT), VOLUME_ROOT);
    assert_int_equal(parent_of(c, moved), old);
    (void)make_file(c, moved, "inside");
    assert_int_equal(rename_path(c, "e/s", "d/t", 0), 0);
    assert_int_equal(parent_of(c, moved), dir);
    assert_int_equal(attr_of(c, dir).nlink, 3);
    assert_int_equal(attr_of(c, old).nlink, 2);
    assert_int_not_equal(number_of(c, moved, "inside"), 0);
    assert_int_equal(volume_rmdir(c->volume, VOLUME_ROOT, "e"), 0);
    assert_int_equal(rename_path(c, "d/t", "t", 0), 0);
    assert_int_equal(parent_of(c, moved), VOLUME_ROOT);
    assert_int_equal(rename_path(c, "d", "empty", 0), 0);
    assert_int_equal(parent_of(c, dir), VOLUME_ROOT);
    assert_int_equal(attr_of(c, VOLUME_ROOT).nlink, 2 + 2);
}

static void names_change_places(void **state)
{
    struct volume_case *c = *state;

    make_rename_tree(c);
    uint64_t file = number_at(c, "a");
    uint64_t dir = number_at(c, "e/s");
    uint64_t old = number_at(c, "e");
    assert_int_equal(rename_path(c, "a", "e/s", RENAME_EXCHANGE), 0);
    assert_int_equal(number_at(c, "a"), dir);
    assert_int_equal(number_at(c, "e/s"), file);
    assert_int_equal(parent_of(c, dir), VOLUME_ROOT);
    assert_int_equal(attr_of(c, old).nlink, 2);
    assert_int_equal(attr_of(c, VOLUME_ROOT).nlink, 2 + 4);
    assert_int_equal(rename_path(c, "a", "b", RENAME_EXCHANGE), 0);
    assert_int_equal(number_at(c, "b"), dir);
    assert_int_equal(rename_path(c, "d", "e", RENAME_EXCHANGE), 0);
    assert_int_equal(number_at(c, "d/s"), file);
    assert_int_equal(attr_of(c, VOLUME_ROOT).nlink, 2 + 4);
}

struct seen {
    char name[VOLUME_NAME_MAX + 1];
    uint64_t ino;
    uint32_t mode;
};

struct listing {
    struct seen *items;
    size_t count;
    size_t room;
    size_t limit; /* so many in one call */
    size_t in_call;
    uint64_t position;
};

static int see(const char *name, const struct volume_attr *attr, uint64_t next, void *arg)
{
    struct listing *listing = arg;

    if (listing->in_call == listing->limit)
        return 1;
    listing->in_call++;
    listing->position = next;
    if (listing->count == listing->room) {
        listing->room = listing->room * 2 + 16;
        listing->items = realloc(listing->items, listing->room * sizeof(*listing->items));
        assert_non_null(listing->items);
    }
    struct seen *seen = &listing->items[listing->count++];
    (void)snprintf(seen->name, sizeof(seen->name), "%s", name);
    seen->ino = attr->ino;
    seen->mode = attr->mode;
    return 0;
}

/* Reads on until nothing comes; between calls the caller's function runs. */
static void list_all(struct volume_case *c, uint64_t ino, bool with_attr, struct listing *listing,
                     void (*between)(void *arg), void *arg)
{
    do {
        listing->in_call = 0;
        assert_int_equal(volume_readdir(c->volume, ino, listing->position, with_attr, see, listing),
                         0);
        if (between)
            between(arg);
    } while (listing->in_call > 0);
}

static void a_directory_is_listed(void **state)
{
    struct volume_case *c = *state;
    uint64_t dir = make_dir(c, VOLUME_ROOT, "d");
    uint64_t fifo = make(c, dir, "fifo", S_IFIFO | 0640);
    uint64_t inner = make_dir(c, dir, "inner");

    for (int with_attr = 0; with_attr < 2; with_attr++) {
        struct listing listing = { .limit = 1 };
        list_all(c, dir, with_attr != 0, &listing, NULL, NULL);
        assert_int_equal(listing.count, 4);
        assert_string_equal(listing.items[0].name, ".");
        assert_int_equal(listing.items[0].ino, dir);
        assert_string_equal(listing.items[1].name, "..");
        assert_int_equal(listing.items[1].ino, VOLUME_ROOT);
        for (size_t i = 2; i < 4; i++) {
            const struct seen *seen = &listing.items[i];
            bool is_fifo = strcmp(seen->name, "fifo") == 0;
            assert_int_equal(seen->ino, is_fifo ? fifo : inner);
            assert_int_equal(seen->mode & S_IFMT, is_fifo ? S_IFIFO : S_IFDIR);
            if (with_attr)
                assert_int_equal(seen->mode & 0777, is_fifo ? 0640 : 0755);
        }
        assert_string_not_equal(listing.items[2].name, listing.items[3].name);
        free(listing.items);
    }
    struct listing none = { .limit = 9 };
    assert_int_equal(volume_readdir(c->volume, fifo, 0, false, see, &none), -ENOTDIR);
    assert_int_equal(volume_readdir(c->volume, 999, 0, false, see, &none), -ENOENT);
    assert_int_equal(volume_readdir(c->volume, dir, INT64_MAX, false, see, &none), 0);
    assert_int_equal(volume_readdir(c->volume, dir, UINT64_MAX, false, see, &none), 0);
    assert_int_equal(none.count, 0);
}

/* A name that was removed may be where the reading had stopped. */
static void a_listing_goes_on_where_a_name_was_removed(void **state)
{
    struct volume_case *c = *state;
    struct listing listing = { .limit = 5 };
    char name[16];

    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof(name), "n%d", i);
        (void)make_file(c, VOLUME_ROOT, name);
    }
    assert_int_equal(volume_readdir(c->volume, VOLUME_ROOT, 0, false, see, &listing), 0);
    assert_int_equal(listing.count, 5);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, listing.items[4].name), 0);
    listing.limit = 100;
    list_all(c, VOLUME_ROOT, true, &listing, NULL, NULL);
    assert_int_equal(listing.count, 22);
    free(listing.items);
}

#define MANY 20000
#define MANY_PER_CALL 500

struct churn {
    struct volume_case *c;
    uint64_t dir;
    unsigned rounds;
    atomic_bool stop;
    unsigned wrong;
};

static void add_and_remove(void *arg)
{
    struct churn *churn = arg;
    char name[32];

    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof(name), "new-%u-%u", churn->rounds, i);
        churn->wrong += try_make(churn->c, churn->dir, name) != 0;
        (void)snprintf(name, sizeof(name), "old-%u", churn->rounds * 20 + i);
        churn->wrong += volume_unlink(churn->c->volume, churn->dir, name) != 0;
    }
    churn->rounds++;
}

static void *add_and_remove_all_along(void *arg)
{
    struct churn *churn = arg;

    while (!atomic_load(&churn->stop) && churn->rounds < 100)
        add_and_remove(churn);
    return NULL;
}

/* Each name that stays is seen once; any other at most once. */
static void assert_each_seen_once(const struct listing *listing)
{
    unsigned *times = calloc(MANY, sizeof(*times));
    const size_t prefix = strlen("stays-");

    assert_non_null(times);
    for (size_t i = 0; i < listing->count; i++) {
        const char *name = listing->items[i].name;
        if (strncmp(name, "stays-", prefix) == 0) {
            unsigned long number = strtoul(name + prefix, NULL, 10);
            assert_true(number < MANY);
            times[number]++;
        }
    }
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(times[i], 1);
    free(times);
}

static void fill_directory(struct volume_case *c, uint64_t dir)
{
    struct volume_attr attr;
    char name[32];

    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof(name), "stays-%u", i);
        assert_int_equal(volume_mknod(c->volume, dir, name, S_IFREG | 0600, 0, &owner, &attr), 0);
        volume_forget(c->volume, attr.ino, 1);
    }
    for (unsigned i = 0; i < 2000; i++) {
        (void)snprintf(name, sizeof(name), "old-%u", i);
        assert_int_equal(try_make(c, dir, name), 0);
    }
}

static void every_name_is_listed_once_while_others_come_and_go(void **state)
{
    struct volume_case *c = *state;
    uint64_t dir = make_dir(c, VOLUME_ROOT, "many");
    struct churn churn = { .c = c, .dir = dir };
    struct listing listing = { .limit = MANY_PER_CALL };
    pthread_t thread;

    fill_directory(c, dir);
    list_all(c, dir, false, &listing, add_and_remove, &churn);
    assert_int_equal(churn.wrong, 0);
    assert_each_seen_once(&listing);
    free(listing.items);

    listing = (struct listing){ .limit = MANY_PER_CALL };
    assert_int_equal(pthread_create(&thread, NULL, add_and_remove_all_along, &churn), 0);
    list_all(c, dir, true, &listing, NULL, NULL);
    atomic_store(&churn.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(churn.wrong, 0);
    assert_each_seen_once(&listing);
    free(listing.items);
}

static void all_is_there_when_it_is_opened_again(void **state)
{
    struct volume_case *c = *state;
    struct volume_attr attr;
    char target[VOLUME_SYMLINK_MAX + 1];

    make_rename_tree(c);
    uint64_t dir = number_at(c, "d");
    uint64_t file = number_at(c, "d/f");
    struct volume_attr before = attr_of(c, file);
    assert_int_equal(volume_symlink(c->volume, dir, "l", "target", &owner, &attr), 0);
    uint64_t files = files_in_use(c);
    posix_case_reopen(c, false);
    assert_int_equal(number_at(c, "d/f"), file);
    struct volume_attr after = attr_of(c, file);
    assert_memory_equal(&after, &before, sizeof(before));
    assert_int_equal(volume_readlink(c->volume, attr.ino, target), 0);
    assert_string_equal(target, "target");
    assert_int_equal(files_in_use(c), files);
    assert_true(make_file(c, dir, "new") > attr.ino);
    assert_int_equal(attr_of(c, number_at(c, "b")).nlink, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(a_name_is_free_and_possible),
        ON_BOTH(directories_count_their_directories),
        ON_BOTH(a_removed_directory_takes_no_more_names),
        ON_BOTH(links_are_counted),
        ON_BOTH(renames_that_may_not_be_change_nothing),
        ON_BOTH(a_file_is_renamed),
        ON_BOTH(what_is_renamed_over_goes),
        ON_BOTH(a_directory_moves_with_all_that_is_in_it),
        ON_BOTH(names_change_places),
        ON_BOTH(a_directory_is_listed),
        ON_BOTH(a_listing_goes_on_where_a_name_was_removed),
        ON_BOTH(every_name_is_listed_once_while_others_come_and_go),
        ON_BOTH(all_is_there_when_it_is_opened_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
