/* What a metadata engine promises that outlives its process (meta/meta_engine.h): crashes, full
 * disks, failed writes. */
#include "tests/support/cmocka_all.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file_io.h"
#include "meta/meta_engine.h"
#include "tests/support/meta_case.h"

#define FULL_DISK_KIB (24u * 1024u)
#define VALUE_MAX 10000u

static void close_makes_everything_durable(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "a", "1");
    meta_case_reopen(c, &(struct meta_options){ 0 });
    expect_one(c, "a", "1");
}

static void create_refuses_a_database_and_open_refuses_none(void **state)
{
    struct engine_case *c = *state;
    struct meta_engine *second = NULL;
    struct error err = { 0 };
    char url[96];

    assert_int_equal(meta_engine_open(c->url, &(struct meta_options){ 0 }, NULL, &second, &err),
                     -EBUSY);
    meta_case_reopen(c, &(struct meta_options){ .create = true }); /* nothing is in it yet */
    put_one(c, "a", "1");
    assert_int_equal(meta_close(c->engine, NULL), 0);
    assert_int_equal(
        meta_engine_open(c->url, &(struct meta_options){ .create = true }, NULL, &second, &err),
        -EEXIST);
    (void)snprintf(url, sizeof(url), "%s-none", c->url);
    assert_int_equal(meta_engine_open(url, &(struct meta_options){ 0 }, NULL, &second, &err),
                     -ENOENT);
    meta_case_open(c, &(struct meta_options){ 0 });
}

static void a_read_only_engine_changes_nothing(void **state)
{
    struct engine_case *c = *state;
    struct meta_txn *txn = NULL;

    put_one(c, "a", "1");
    meta_case_reopen(c, &(struct meta_options){ .read_only = true });
    assert_int_equal(meta_begin(c->engine, META_WRITE, &txn, NULL), -EROFS);
    expect_one(c, "a", "1");
    sync_now(c);
    assert_int_equal(c->owner.closed, 0);
}

/* Writes numbered transactions, says through the pipe which sync has answered, until it ends. */
static void crash_child(struct engine_case *c, int step, int pipe_fd)
{
    meta_case_open(c, &(struct meta_options){ 0 });
    for (unsigned i = 1; i <= 300; i++) {
        char value[16];
        if (i == 250)
            atomic_store(&c->owner.exit_at, step);
        (void)snprintf(value, sizeof(value), "%u", i);
        struct meta_txn *txn = begin(c, META_WRITE);
        for (char key[] = "x0"; key[1] < '8'; key[1]++)
            put(txn, key, value);
        commit(txn);
        if (i % 40 == 0) {
            sync_now(c);
            if (write(pipe_fd, &i, sizeof(i)) != sizeof(i))
                _exit(1);
        }
    }
    sync_now(c); /* ends the process at the chosen step */
    _exit(1);
}

static unsigned last_answered(int fd)
{
    unsigned last = 0;
    unsigned number;

    while (read(fd, &number, sizeof(number)) == sizeof(number))
        last = number;
    return last;
}

static void crash_at(struct engine_case *c, int step)
{
    int fds[2];
    int status = 0;
    struct bytes found;

    assert_int_equal(meta_close(c->engine, NULL), 0);
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        crash_child(c, step, fds[1]);
    (void)close(fds[1]);
    unsigned answered = last_answered(fds[0]);
    (void)close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 9);

    meta_case_open(c, &(struct meta_options){ 0 });
    struct meta_txn *txn = begin(c, META_READ);
    assert_int_equal(meta_get(txn, text("x0"), &found, NULL), 0);
    char value[16] = { 0 };
    memcpy(value, found.data, found.len);
    assert_true(strtoul(value, NULL, 10) >= answered);
    for (char key[] = "x1"; key[1] < '8'; key[1]++)
        expect(txn, key, value);
    meta_abort(txn);
}

static void a_crash_at_any_step_leaves_whole_groups(void **state)
{
    struct engine_case *c = *state;

    for (int step = EXIT_AT_CLOSE; step <= EXIT_AT_DURABLE; step++)
        crash_at(c, step);
}

/* A crash before or behind each call that makes something durable or changes a name: these take the
 * place of the C library's. */
static int crash_after; /* so many more moments; 0: never */

static void moment(void)
{
    if (crash_after > 0 && --crash_after == 0)
        _exit(9);
}

int fsync(int fd)
{
    moment();
    int r = (int)syscall(SYS_fsync, fd);
    moment();
    return r;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): libc has no names */
int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    moment();
    int r = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    moment();
    return r;
}

#define REMAINS_SIZE 900

/* Sealed, as meta_case.c does it. */
static void make_remains(char plain[static REMAINS_SIZE + 1], uint8_t sealed[static REMAINS_SIZE])
{
    for (size_t i = 0; i < REMAINS_SIZE; i++) {
        plain[i] = (char)('a' + (i * 7 + i / 26) % 26);
        sealed[i] = (uint8_t) ~(uint8_t)plain[i];
    }
    plain[REMAINS_SIZE] = '\0';
}

/* Whether any 64 bytes of it are in a file of the folder. */
static bool folder_holds(const struct engine_case *c, const uint8_t *sealed)
{
    struct dirent **entries = NULL;
    bool is_found = false;
    int count = scandir(c->folder, &entries, NULL, NULL);

    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        CLEANUP(buf_release) struct buf data = BUF_INIT;
        char path[512];
        (void)snprintf(path, sizeof(path), "%s/%s", c->folder, entries[i]->d_name);
        if (entries[i]->d_type == DT_REG) {
            assert_int_equal(file_read(path, 256u << 20, &data, NULL), 0);
            for (size_t at = 0; at + 64 <= REMAINS_SIZE && data.len > 0; at += 64)
                is_found |= memmem(data.data, data.len, sealed + at, 64) != NULL;
        }
        free(entries[i]);
    }
    free(entries);
    return is_found;
}

/* Something that is removed again, between others in the same pages. */
static void leave_remains(struct engine_case *c, const char *plain)
{
    char key[16];

    for (unsigned i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof(key), "r%03u", i);
        put_one(c, key, i % 10 == 5 ? plain : key);
        if (i % 50 == 0)
            sync_now(c);
    }
    sync_now(c);
    for (unsigned i = 5; i < 200; i += 10) {
        (void)snprintf(key, sizeof(key), "r%03u", i);
        if (i % 20 == 5)
            remove_one(c, key);
        else
            put_one(c, key, key);
    }
    sync_now(c);
}

static void expect_no_more_than_the_rest(struct engine_case *c)
{
    struct meta_txn *txn = begin(c, META_READ);
    char key[16];

    for (unsigned i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof(key), "r%03u", i);
        expect(txn, key, i % 20 == 5 ? NULL : key);
    }
    meta_abort(txn);
}

static void a_scrub_leaves_nothing_of_what_was_removed(void **state)
{
    struct engine_case *c = *state;
    uint8_t sealed[REMAINS_SIZE];
    char plain[REMAINS_SIZE + 1];

    make_remains(plain, sealed);
    leave_remains(c, plain);
    assert_true(folder_holds(c, sealed)); /* or this test shows nothing */
    assert_int_equal(meta_scrub(c->engine, NULL), 0);
    assert_false(folder_holds(c, sealed));
    expect_no_more_than_the_rest(c);
    leave_remains(c, plain);
    meta_case_reopen(c, &(struct meta_options){ 0 });
    expect_no_more_than_the_rest(c);
    assert_int_equal(meta_scrub(c->engine, NULL), 0);
    assert_false(folder_holds(c, sealed));
    expect_no_more_than_the_rest(c);
}

/* True if it came to the end before. */
static bool scrub_crashes_at(struct engine_case *c, int at)
{
    int status = 0;

    assert_int_equal(meta_close(c->engine, NULL), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        meta_case_open(c, &(struct meta_options){ 0 });
        crash_after = at;
        _exit(meta_scrub(c->engine, NULL) == 0 ? 7 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 7);
    meta_case_open(c, &(struct meta_options){ 0 });
    return WEXITSTATUS(status) == 7;
}

static void a_crash_at_any_step_of_a_scrub_leaves_a_database_that_opens(void **state)
{
    struct engine_case *c = *state;
    uint8_t sealed[REMAINS_SIZE];
    char plain[REMAINS_SIZE + 1];
    char path[128];
    bool is_over = false;
    int at = 1;

    make_remains(plain, sealed);
    (void)snprintf(path, sizeof(path), "%s/metadata.mdb.copy", c->folder);
    for (; !is_over; at++) {
        leave_remains(c, plain);
        is_over = scrub_crashes_at(c, at);
        expect_no_more_than_the_rest(c);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(meta_scrub(c->engine, NULL), 0);
        assert_false(folder_holds(c, sealed));
    }
    assert_true(at >
                8); /* the exchange, the folder, the overwriting, the folder; before and after */
}

/* On a small filesystem of its own: fills it up, and shows that nothing acknowledged is lost. */
static unsigned fill(struct engine_case *c, size_t value_size)
{
    static uint8_t value[VALUE_MAX];
    unsigned count = 0;
    int r = 0;

    while (r == 0 && count < 100000) {
        char key[16];
        struct meta_txn *txn = NULL;
        (void)snprintf(key, sizeof(key), "f%06u", count);
        r = meta_begin(c->engine, META_WRITE, &txn, NULL);
        if (r < 0)
            break;
        assert_int_equal(meta_put(txn, text(key), (struct bytes){ value, value_size }, NULL), 0);
        r = meta_commit(txn, NULL);
        if (r == 0)
            count++;
    }
    assert_int_equal(r, -ENOSPC);
    return count;
}

static int count_all(struct bytes key, struct bytes value, void *arg)
{
    (void)key;
    (void)value;
    (*(unsigned *)arg)++;
    return 0;
}

static void remove_half(struct engine_case *c, unsigned count)
{
    for (unsigned i = 0; i < count; i += 2) {
        struct meta_txn *txn = begin(c, META_FREE);
        char key[16];
        (void)snprintf(key, sizeof(key), "f%06u", i);
        assert_int_equal(meta_remove(txn, text(key), NULL), 0);
        commit(txn);
    }
    sync_now(c);
}

static int mount_disk(struct engine_case *c, unsigned long flags, unsigned kib)
{
    char size[32];

    (void)snprintf(size, sizeof(size), "size=%uk", kib);
    return mount("none", c->folder, "tmpfs", flags, size);
}

/* Runs test with a small filesystem of its own under the engine. */
static void with_small_disk(struct engine_case *c, void (*test)(struct engine_case *))
{
    assert_int_equal(meta_close(c->engine, NULL), 0);
    meta_case_remove_files(c);
    assert_int_equal(mkdir(c->folder, 0700), 0);
    bool is_mounted = mount_disk(c, 0, FULL_DISK_KIB) == 0;
    meta_case_open(c, &(struct meta_options){ .create = true });
    if (!is_mounted) {
        print_message("mounting a tmpfs is not allowed here: the full disk was not tried\n");
        return;
    }
    test(c);
    assert_int_equal(meta_close(c->engine, NULL), 0);
    assert_int_equal(umount2(c->folder, MNT_DETACH), 0);
    meta_case_open(c, &(struct meta_options){ .create = true });
}

static void refuse_first_and_lose_nothing(struct engine_case *c)
{
    unsigned count = fill(c, 2000);
    unsigned found = 0;

    sync_now(c); /* what was acknowledged goes out */
    meta_case_reopen(c, &(struct meta_options){ 0 });
    struct meta_txn *txn = begin(c, META_READ);
    assert_int_equal(meta_scan(txn, text("f"), text("g"), count_all, &found, NULL), 0);
    meta_abort(txn);
    assert_int_equal(found, count);
    assert_true(count > 1000);
    /* So that the disk also takes a part of the last write of the copy. */
    for (unsigned more_kib = 0; more_kib <= 400; more_kib += 20) {
        assert_int_equal(mount_disk(c, MS_REMOUNT, FULL_DISK_KIB + more_kib), 0);
        assert_int_equal(meta_scrub(c->engine, NULL), -ENOSPC); /* and all stays as it was */
    }
    txn = begin(c, META_FREE);
    assert_int_equal(meta_expect(txn, 100000, (uint64_t)1 << 30, NULL), -ENOSPC);
    assert_int_equal(meta_expect(txn, 1, 1000, NULL), 0); /* it goes on */
    assert_int_equal(meta_remove(txn, text("f000000"), NULL), 0);
    commit(txn);
    remove_half(c, count);
    assert_int_equal(c->owner.not_durable, 0);
    assert_true(fill(c, 2000) > 0);
    sync_now(c);
}

static void a_full_disk_refuses_first_and_loses_nothing(void **state)
{
    with_small_disk(*state, refuse_first_and_lose_nothing);
}

/* Pages that one group frees serve the group after the next: no other comes by itself. */
static void free_in_one_group(struct engine_case *c)
{
    unsigned count = fill(c, VALUE_MAX);

    sync_now(c);
    struct meta_txn *txn = begin(c, META_FREE);
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "f%06u", i);
        assert_int_equal(meta_remove(txn, text(key), NULL), 0);
    }
    commit(txn);
    sync_now(c);
    assert_true(fill(c, VALUE_MAX) > count / 4);
    sync_now(c);
}

static void a_full_disk_takes_writes_again_after_one_group_made_room(void **state)
{
    with_small_disk(*state, free_in_one_group);
}

/* The kernel refuses to let the file grow: LMDB's own write fails in the middle of a commit. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void put_many(struct engine_case *c, char mark)
{
    char value[3000];

    memset(value, mark, sizeof(value));
    value[sizeof(value) - 1] = '\0';
    for (unsigned i = 0; i < 200; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "m%03u", i);
        put_one(c, key, value);
    }
}

static void expect_many(struct engine_case *c, char mark)
{
    struct meta_txn *txn = begin(c, META_READ);
    char value[3000];

    memset(value, mark, sizeof(value));
    value[sizeof(value) - 1] = '\0';
    for (unsigned i = 0; i < 200; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "m%03u", i);
        expect(txn, key, value);
    }
    meta_abort(txn);
}

static void a_failed_write_is_kept_and_goes_out_when_it_can(void **state)
{
    struct engine_case *c = *state;
    struct error err = { 0 };
    struct meta_txn *txn = NULL;
    struct meta_txn *early;

    (void)signal(SIGXFSZ, SIG_IGN);
    put_one(c, "a", "before");
    sync_now(c);
    early = begin(c, META_READ);
    limit_files(64 * 1024);
    put_many(c, 'x');
    assert_true(meta_sync(c->engine, &err) < 0); /* EIO or EFBIG: where the limit met the write */
    assert_true(err.text[0] != '\0');
    assert_true(meta_begin(c->engine, META_WRITE, &txn, NULL) < 0);
    expect_many(c, 'x');
    expect(early, "a", "before");
    expect(early, "m000", NULL);
    meta_abort(early);
    assert_true(meta_sync(c->engine, &err) < 0); /* with the store opened again */
    expect_many(c, 'x');
    assert_true(c->owner.not_durable >= 2);

    limit_files(RLIM_INFINITY);
    sync_now(c);
    put_many(c, 'y');
    sync_now(c);
    meta_case_reopen(c, &(struct meta_options){ 0 });
    expect_many(c, 'y');
    expect_one(c, "a", "before");
}

#define EVERY(test)                                                                                \
    {                                                                                              \
#test, test, meta_case_setup, meta_case_teardown, NULL                                     \
    }

int main(int argc, char **argv)
{
    struct CMUnitTest tests[] = {
        EVERY(close_makes_everything_durable),
        EVERY(create_refuses_a_database_and_open_refuses_none),
        EVERY(a_read_only_engine_changes_nothing),
        EVERY(a_crash_at_any_step_leaves_whole_groups),
        EVERY(a_scrub_leaves_nothing_of_what_was_removed),
        EVERY(a_crash_at_any_step_of_a_scrub_leaves_a_database_that_opens),
        EVERY(a_full_disk_refuses_first_and_loses_nothing),
        EVERY(a_full_disk_takes_writes_again_after_one_group_made_room),
        EVERY(a_failed_write_is_kept_and_goes_out_when_it_can),
    };
    size_t count = sizeof(tests) / sizeof(tests[0]);

    if (argc != 2)
        return 2;
    for (size_t i = 0; i < count; i++)
        tests[i].initial_state = argv[1];
    return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
