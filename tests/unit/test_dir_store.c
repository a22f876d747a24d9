/* The store in a folder (store/stores/dir.c): in which order it makes things durable, and what is
 * there after a call of the kernel failed, or the process died in front of it. The linker puts the
 * functions called wrap_ here in the place of the C library's. */
#include "tests/support/cmocka_all.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/support/store_case.h"

#define EXIT_STATUS 9

/* --- calls that are watched --- */

/* One letter for each call since the last watch_calls. */
static struct {
    char calls[64];
    unsigned count;
    unsigned at; /* which call fails, or ends the process; from 1 on, 0 for none */
    int code;    /* it fails with this errno; 0: it ends the process */
} watch;

static void watch_calls(unsigned at, int code)
{
    memset(&watch, 0, sizeof(watch));
    watch.at = at;
    watch.code = code;
}

/* True if the call is to fail, with errno set. */
static bool fails(char call)
{
    if (watch.count < sizeof(watch.calls) - 1)
        watch.calls[watch.count] = call;
    if (++watch.count != watch.at)
        return false;
    if (watch.code == 0)
        _exit(EXIT_STATUS);
    errno = watch.code;
    return true;
}

#define WATCHED(type, function, ...)                                                               \
    type real_##function(__VA_ARGS__) __asm__("__real_" #function);                                \
    type wrap_##function(__VA_ARGS__) __asm__("__wrap_" #function)

WATCHED(ssize_t, write, int fd, const void *data, size_t len);
WATCHED(int, fsync, int fd);
WATCHED(int, fdatasync, int fd);
WATCHED(int, linkat, int from, const char *name, int to, const char *new_name, int flags);
WATCHED(int, renameat, int from, const char *name, int to, const char *new_name);
WATCHED(int, unlinkat, int folder, const char *name, int flags);
WATCHED(int, mkdirat, int folder, const char *name, mode_t mode);

ssize_t wrap_write(int fd, const void *data, size_t len)
{
    return fails('w') ? -1 : real_write(fd, data, len);
}

int wrap_fsync(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return fails(S_ISDIR(st.st_mode) ? 'd' : 'f') ? -1 : real_fsync(fd);
}

int wrap_fdatasync(int fd)
{
    return fails('f') ? -1 : real_fdatasync(fd);
}

int wrap_linkat(int from, const char *name, int to, const char *new_name, int flags)
{
    return fails('l') ? -1 : real_linkat(from, name, to, new_name, flags);
}

int wrap_renameat(int from, const char *name, int to, const char *new_name)
{
    return fails('r') ? -1 : real_renameat(from, name, to, new_name);
}

int wrap_unlinkat(int folder, const char *name, int flags)
{
    return fails('u') ? -1 : real_unlinkat(folder, name, flags);
}

int wrap_mkdirat(int folder, const char *name, mode_t mode)
{
    return fails('m') ? -1 : real_mkdirat(folder, name, mode);
}

/* --- what is tried --- */

static int put_one(struct store_case *c, struct error *err)
{
    return object_store_put(c->store, "f/g/put", text("new value"), err);
}

static int replace_one(struct store_case *c, struct error *err)
{
    return object_store_replace(c->store, "ring", text("new value"), err);
}

static int append_one(struct store_case *c, struct error *err)
{
    struct object_writer *writer = NULL;

    int r = object_store_create(c->store, "s/seg", &writer, err);
    if (r == 0)
        r = object_writer_write(writer, 0, text("new value"), err);
    if (r == 0)
        r = object_writer_sync(writer, err);
    object_writer_close(writer);
    return r;
}

static const struct {
    int (*run)(struct store_case *c, struct error *err);
    const char *name;
    const char *before; /* the object's value; NULL: there is none */
    const char *calls;  /* data before names, names from the innermost folder on */
    bool is_atomic;     /* the object is never seen in part */
} operations[] = {
    { put_one, "f/g/put", NULL, "wflmmluddd", true },
    { replace_one, "ring", "old", "wfrd", true },
    { append_one, "s/seg", NULL, "mfdd", false },
};
#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* The folder as it is before each of them. */
static void start_anew(struct store_case *c, size_t i)
{
    watch_calls(0, 0);
    store_case_reopen(c);
    for (size_t j = 0; j < OPERATIONS; j++)
        assert_int_equal(object_store_remove(c->store, operations[j].name, NULL), 0);
    object_store_close(c->store);
    static const char *const folders[] = { "/f/g", "/f", "/s" };
    for (size_t j = 0; j < 3; j++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s%s", c->folder, folders[j]);
        assert_true(rmdir(path) == 0 || errno == ENOENT);
    }
    c->store = store_case_open(c);
    if (operations[i].before != NULL)
        store_case_put(c, operations[i].name, operations[i].before);
}

static void expect_no_leftovers(const struct store_case *c)
{
    DIR *folder = opendir(c->folder);
    const struct dirent *entry;

    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL)
        assert_int_not_equal(entry->d_name[0], '~');
    closedir(folder);
}

static bool is_value(struct store_case *c, const char *name, const char *value)
{
    CLEANUP(buf_release) struct buf found = BUF_INIT;

    int r = object_store_get(c->store, name, 100, &found, NULL);
    if (value == NULL)
        return r == -ENOENT;
    return r == 0 && found.len == strlen(value) && memcmp(found.data, value, found.len) == 0;
}

/* With the store opened again. */
static void expect_old_or_new(struct store_case *c, size_t i)
{
    const char *name = operations[i].name;

    store_case_reopen(c);
    expect_no_leftovers(c);
    if (!is_value(c, name, "new value") && !is_value(c, name, operations[i].before) &&
        (operations[i].is_atomic || !is_value(c, name, "")))
        fail_msg("%s is neither the old one nor the new one", name);
}

static void data_is_durable_before_its_name_and_its_folders_last(void **state)
{
    struct store_case *c = *state;

    for (size_t i = 0; i < OPERATIONS; i++) {
        start_anew(c, i);
        watch_calls(0, 0);
        assert_int_equal(operations[i].run(c, NULL), 0);
        assert_string_equal(watch.calls, operations[i].calls);
    }
}

static void only_the_first_sync_of_a_writer_makes_its_name_durable(void **state)
{
    struct store_case *c = *state;
    struct object_writer *writer = store_case_create(c, "f/seg");

    watch_calls(0, 0);
    assert_int_equal(object_writer_sync(writer, NULL), 0);
    assert_string_equal(watch.calls, "fdd");
    store_case_write(writer, 0, "x");
    assert_int_equal(object_writer_sync(writer, NULL), 0);
    assert_string_equal(watch.calls, "fddf");
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    assert_string_equal(watch.calls, "fddff");
    object_writer_close(writer);
}

static void a_crash_in_front_of_any_call_leaves_the_old_or_the_new(void **state)
{
    struct store_case *c = *state;

    for (size_t i = 0; i < OPERATIONS; i++) {
        unsigned calls = (unsigned)strlen(operations[i].calls);
        for (unsigned at = 1; at <= calls + 1; at++) {
            int status = 0;
            start_anew(c, i);
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                watch_calls(at, 0);
                _exit(operations[i].run(c, NULL) == 0 ? 0 : 1);
            }
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), at <= calls ? EXIT_STATUS : 0);
            expect_old_or_new(c, i);
            if (at > calls)
                store_case_expect(c, operations[i].name, "new value");
        }
    }
}

static void a_call_that_fails_is_told_and_leaves_the_old_or_the_new(void **state)
{
    struct store_case *c = *state;

    for (size_t i = 0; i < OPERATIONS; i++) {
        for (unsigned at = 1; at <= strlen(operations[i].calls); at++) {
            struct error err = { 0 };
            start_anew(c, i);
            watch_calls(at, EDQUOT);
            int r = operations[i].run(c, &err);
            /* A temporary file that stays only takes room. */
            if (operations[i].calls[at - 1] == 'u')
                assert_int_equal(r, 0);
            else
                store_case_expect_error(r, -ENOSPC, &err); /* as the contract calls it */
            watch_calls(0, 0);
            expect_old_or_new(c, i);
        }
    }
}

static void a_writer_whose_sync_failed_never_says_that_it_is_durable(void **state)
{
    static const char calls[] = "fdd";
    struct store_case *c = *state;

    for (unsigned at = 1; at <= strlen(calls); at++) {
        struct error err = { 0 };
        char name[16];
        (void)snprintf(name, sizeof(name), "f/%u", at);
        struct object_writer *writer = store_case_create(c, name);
        store_case_write(writer, 0, "x");
        watch_calls(at, EIO);
        store_case_expect_error(object_writer_sync(writer, &err), -EIO, &err);
        store_case_expect_error(object_writer_sync(writer, &err), -EIO, &err);
        store_case_expect_error(object_writer_seal(writer, &err), -EIO, &err);
        object_writer_close(writer);
    }
}

/* --- what else may lie in the folder --- */

static int count_one(const char *name, uint64_t size, void *arg)
{
    (void)name;
    (void)size;
    (*(unsigned *)arg)++;
    return 0;
}

static int make_file(const struct store_case *c, const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", c->folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static void what_is_no_object_is_not_taken_for_one(void **state)
{
    struct store_case *c = *state;
    struct object *object = NULL;
    struct error err = { 0 };
    unsigned count = 0;
    char path[128];
    uint64_t size;

    store_case_put(c, "a", "x");
    close(make_file(c, "Upper"));
    close(make_file(c, "~other"));
    (void)snprintf(path, sizeof(path), "%s/link", c->folder);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    (void)snprintf(path, sizeof(path), "%s/links", c->folder);
    assert_int_equal(symlink("/etc", path), 0);
    (void)snprintf(path, sizeof(path), "%s/fifo", c->folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(object_store_list(c->store, "", count_one, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_true(object_store_open_object(c->store, "link", &object, &err) < 0);
    assert_null(object);
    assert_int_equal(object_store_stat(c->store, "link", &size, NULL), -ENOENT);
    assert_int_equal(object_store_stat(c->store, "fifo", &size, NULL), -ENOENT);
}

static bool exists(const struct store_case *c, const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", c->folder, name);
    return access(path, F_OK) == 0;
}

static void opening_removes_what_a_crash_left_and_nothing_that_lives(void **state)
{
    struct store_case *c = *state;
    int living = make_file(c, "~new.1.1");

    assert_int_equal(flock(living, LOCK_EX), 0);
    close(make_file(c, "~new.1.2"));
    close(make_file(c, "~other"));
    store_case_reopen(c);
    assert_true(exists(c, "~new.1.1"));
    assert_false(exists(c, "~new.1.2"));
    assert_true(exists(c, "~other"));
    close(living);
    store_case_reopen(c);
    assert_false(exists(c, "~new.1.1"));
}

static void a_url_without_a_folder_is_refused(void **state)
{
    static const char *const urls[] = {
        "dir:", "dir:relative", "dir:/no/such/folder", "dir:/etc/passwd", "other:/tmp", ""
    };
    struct object_store *store = NULL;
    (void)state;

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct error err = { 0 };
        int r = object_store_open(urls[i], &store, &err);
        assert_true(r < 0);
        store_case_expect_error(r, err.code, &err);
        assert_null(store);
    }
}

static void what_root_stores_belongs_to_the_folders_owner(void **state)
{
    struct store_case *c = *state;
    struct stat st;
    char path[PATH_MAX];

    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(c->folder, 12345, 12346), 0);
    store_case_reopen(c);
    store_case_put(c, "made", "by root");
    (void)snprintf(path, sizeof(path), "%s/made", c->folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 12345);
    assert_int_equal(st.st_gid, 12346);
}

/* --- room --- */

static void a_write_that_the_kernel_refuses_leaves_a_usable_writer(void **state)
{
    struct store_case *c = *state;
    struct object_writer *writer = store_case_create(c, "seg");
    struct error err = { 0 };
    struct rlimit limit;

    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 8192;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int r = object_writer_write(writer, 8192, text("too far"), &err);
    store_case_expect_error(r, -EFBIG, &err);
    store_case_write(writer, 0, "near");
    assert_int_equal(object_writer_sync(writer, NULL), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    store_case_write(writer, 8192, "far");
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    object_writer_close(writer);
    store_case_expect_size(c, "seg", 8195);
}

/* Writes until there is no room; returns where that was. */
static uint64_t fill(struct object_writer *writer)
{
    static uint8_t data[64 * 1024];
    struct error err = { 0 };
    uint64_t offset = 0;
    int r = 0;

    memset(data, 'x', sizeof(data));
    while (r == 0 && offset < 64u << 20) {
        r = object_writer_write(writer, offset, (struct bytes){ data, sizeof(data) }, &err);
        offset += sizeof(data);
    }
    store_case_expect_error(r, -ENOSPC, &err);
    return offset;
}

static void try_a_full_disk(struct store_case *c)
{
    struct object_store_space space;
    struct error err = { 0 };
    uint8_t big[20000] = { 1 };
    uint64_t size;

    assert_int_equal(object_store_replace(c->store, "ring", text("old"), NULL), 0);
    struct object_writer *filler = store_case_create(c, "filler");
    struct object_writer *writer = store_case_create(c, "seg");
    store_case_write(writer, 0, "kept");
    (void)fill(filler);
    assert_int_equal(object_store_space(c->store, &space, NULL), 0);
    assert_int_equal(space.total, 2u << 20);
    assert_true(space.free < 64 * 1024);
    struct bytes bytes = { big, sizeof(big) };
    (void)fill(filler); /* what the part of a block that was left took */
    int r = object_store_put(c->store, "p", bytes, &err);
    store_case_expect_error(r, -ENOSPC, &err);
    assert_int_equal(object_store_stat(c->store, "p", &size, NULL), -ENOENT);
    r = object_store_replace(c->store, "ring", bytes, &err);
    store_case_expect_error(r, -ENOSPC, &err);
    store_case_expect(c, "ring", "old");
    r = object_writer_write(writer, 8192, bytes, &err);
    store_case_expect_error(r, -ENOSPC, &err);
    assert_int_equal(object_store_remove(c->store, "filler", NULL), 0);
    object_writer_close(filler);
    store_case_write(writer, 65536, "again");
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    object_writer_close(writer);
    assert_int_equal(object_store_put(c->store, "p", bytes, &err), 0);
    store_case_expect_size(c, "seg", 65541);
    store_case_reopen(c);
    expect_no_leftovers(c);
}

static void a_full_disk_stores_nothing_and_can_be_used_when_it_has_room_again(void **state)
{
    struct store_case *c = *state;

    if (mount("none", c->folder, "tmpfs", 0, "size=2m") < 0)
        skip(); /* only root may */
    store_case_reopen(c);
    try_a_full_disk(c);
    object_store_close(c->store);
    assert_int_equal(umount2(c->folder, MNT_DETACH), 0);
    c->store = store_case_open(c);
}

#define IN_A_FOLDER(test)                                                                          \
    {                                                                                              \
#test, test, store_case_setup, store_case_teardown, (void *)(uintptr_t) "dir"              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(data_is_durable_before_its_name_and_its_folders_last),
        IN_A_FOLDER(only_the_first_sync_of_a_writer_makes_its_name_durable),
        IN_A_FOLDER(a_crash_in_front_of_any_call_leaves_the_old_or_the_new),
        IN_A_FOLDER(a_call_that_fails_is_told_and_leaves_the_old_or_the_new),
        IN_A_FOLDER(a_writer_whose_sync_failed_never_says_that_it_is_durable),
        IN_A_FOLDER(what_is_no_object_is_not_taken_for_one),
        IN_A_FOLDER(opening_removes_what_a_crash_left_and_nothing_that_lives),
        IN_A_FOLDER(a_url_without_a_folder_is_refused),
        IN_A_FOLDER(what_root_stores_belongs_to_the_folders_owner),
        IN_A_FOLDER(a_write_that_the_kernel_refuses_leaves_a_usable_writer),
        IN_A_FOLDER(a_full_disk_stores_nothing_and_can_be_used_when_it_has_room_again),
    };

    return cmocka_run_group_tests_name("dir_store", tests, NULL, NULL);
}
