/* The cache of copies on a local disk: store/layers/cache.h. That it keeps the contract of stores
 * is shown by the conformance suites. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/layers/cache.h"
#include "store/layers/fault.h"
#include "store/layers/trace.h"
#include "tests/support/store_case.h"

#define BLOCK CACHE_BLOCK

/* A memory store, what it is asked counted, in a cache. */
struct cached {
    struct store_case c;
    struct fault_store *fault;
    struct trace_store *trace;
    struct cache_store *cache;
    int fd; /* the cache's */
    unsigned offs;
    char why[256];
};

static void on_off(const char *why, void *arg)
{
    struct cached *cached = arg;

    cached->offs++;
    (void)snprintf(cached->why, sizeof(cached->why), "%s", why);
}

static void begin_in(struct cached *cached, unsigned blocks, const char *folder)
{
    struct cache_config config = {
        .max_bytes = blocks * BLOCK, .prefix = "segments/", .on_off = on_off, .arg = cached
    };

    *cached = (struct cached){ .c = { .kind = "memory" } };
    cached->c.store = store_case_open(&cached->c);
    assert_int_equal(fault_store_new(cached->c.store, &cached->c.store, &cached->fault), 0);
    assert_int_equal(trace_store_new(cached->c.store, &cached->c.store, &cached->trace), 0);
    assert_int_equal(cache_file_open(folder, &config.fd, NULL), 0);
    cached->fd = config.fd;
    assert_int_equal(cache_store_new(cached->c.store, &config, &cached->c.store, &cached->cache),
                     0);
}

static void begin(struct cached *cached, unsigned blocks)
{
    begin_in(cached, blocks, "/tmp");
}

static void end(struct cached *cached)
{
    object_store_close(cached->c.store);
}

static uint64_t asked(struct cached *cached, enum store_op op)
{
    struct trace_counts counts;

    trace_store_counts(cached->trace, op, &counts);
    return counts.calls;
}

static uint64_t used(struct cached *cached)
{
    struct cache_counts counts;

    cache_store_counts(cached->cache, &counts);
    assert_true(counts.used_bytes <= counts.max_bytes);
    return counts.used_bytes / BLOCK;
}

static uint8_t byte_at(unsigned number, size_t at)
{
    return (uint8_t)(at * 7 + at / BLOCK * 13 + number * 29);
}

static void put_object(struct cached *cached, unsigned number, size_t len)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(len);
    char name[32];

    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = byte_at(number, i);
    (void)snprintf(name, sizeof(name), "segments/%u", number);
    assert_int_equal(object_store_put(cached->c.store, name, (struct bytes){ data, len }, NULL), 0);
}

static struct object *open_number(struct cached *cached, unsigned number)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "segments/%u", number);
    return store_case_open_object(&cached->c, name);
}

/* False: it fails, or what comes is wrong. */
static bool reads(struct object *object, unsigned number, uint64_t offset, size_t len,
                  size_t expected)
{
    CLEANUP(free_ptr) uint8_t *found = malloc(len + 1);
    size_t found_len = 0;

    if (found == NULL || object_read(object, offset, len, found, &found_len, NULL) != 0 ||
        found_len != expected)
        return false;
    for (size_t i = 0; i < found_len; i++)
        if (found[i] != byte_at(number, offset + i))
            return false;
    return true;
}

static void expect_read(struct cached *cached, unsigned number, uint64_t offset, size_t len,
                        size_t expected)
{
    CLEANUP(object_closep) struct object *object = open_number(cached, number);

    assert_true(reads(object, number, offset, len, expected));
}

/* --- what is asked of the store --- */

static void what_was_read_is_not_asked_for_again(void **state)
{
    struct cached cached;
    (void)state;

    begin(&cached, 8);
    put_object(&cached, 1, 3 * BLOCK + 100);
    expect_read(&cached, 1, 5, 10, 10);
    assert_int_equal(asked(&cached, STORE_READ), 1);
    expect_read(&cached, 1, BLOCK - 3, 3, 3);
    assert_int_equal(asked(&cached, STORE_READ), 1);
    expect_read(&cached, 1, BLOCK - 3, 2 * BLOCK + 6,
                2 * BLOCK + 6); /* the others in one request */
    assert_int_equal(asked(&cached, STORE_READ), 2);
    expect_read(&cached, 1, 0, 4 * BLOCK, 3 * BLOCK + 100);
    expect_read(&cached, 1, 3 * BLOCK + 99, 5, 1);
    expect_read(&cached, 1, 3 * BLOCK + 100, 5, 0);
    assert_int_equal(asked(&cached, STORE_READ), 2);
    assert_int_equal(asked(&cached, STORE_OPEN), 2); /* by who asked for something */
    assert_int_equal(used(&cached), 4);
    end(&cached);
}

static void what_does_not_begin_with_the_prefix_is_not_cached(void **state)
{
    struct cached cached;
    (void)state;

    begin(&cached, 8);
    store_case_put(&cached.c, "superblock", "first");
    store_case_expect(&cached.c, "superblock", "first");
    assert_int_equal(object_store_replace(cached.c.store, "superblock", text("second"), NULL), 0);
    store_case_expect(&cached.c, "superblock", "second");
    assert_int_equal(used(&cached), 0);
    end(&cached);
}

static void what_was_used_longest_ago_makes_room(void **state)
{
    struct cached cached;
    (void)state;

    begin(&cached, 3);
    for (unsigned i = 0; i < 4; i++)
        put_object(&cached, i, BLOCK);
    for (unsigned i = 0; i < 3; i++)
        expect_read(&cached, i, 0, 10, 10);
    expect_read(&cached, 0, 0, 10, 10); /* so that 1 is the oldest */
    expect_read(&cached, 3, 0, 10, 10);
    assert_int_equal(used(&cached), 3);
    assert_int_equal(asked(&cached, STORE_READ), 4);
    expect_read(&cached, 0, 0, 10, 10);
    expect_read(&cached, 2, 0, 10, 10);
    assert_int_equal(asked(&cached, STORE_READ), 4);
    expect_read(&cached, 1, 0, 10, 10);
    assert_int_equal(asked(&cached, STORE_READ), 5);
    end(&cached);
}

static void a_read_longer_than_the_cache_is_whole(void **state)
{
    struct cached cached;
    (void)state;

    begin(&cached, 2);
    put_object(&cached, 1, 20 * BLOCK);
    expect_read(&cached, 1, 1, 19 * BLOCK, 19 * BLOCK);
    expect_read(&cached, 1, 1, 30 * BLOCK, 20 * BLOCK - 1);
    assert_true(used(&cached) <= 2);
    end(&cached);
}

static void a_name_that_means_another_object_is_read_anew(void **state)
{
    struct cached cached;
    (void)state;

    begin(&cached, 4);
    put_object(&cached, 1, 2 * BLOCK);
    expect_read(&cached, 1, 0, BLOCK, BLOCK);
    assert_int_equal(object_store_remove(cached.c.store, "segments/1", NULL), 0);
    assert_int_equal(used(&cached), 0);
    struct object_writer *writer = store_case_create(&cached.c, "segments/1");
    store_case_write(writer, 0, "one");
    CLEANUP(object_closep) struct object *object = open_number(&cached, 1);
    uint8_t found[16];
    size_t len = 0;
    assert_int_equal(object_read(object, 0, 16, found, &len, NULL), 0);
    assert_int_equal(len, 3);
    store_case_write(writer, 3, "two"); /* it is not as it was */
    assert_int_equal(object_read(object, 0, 16, found, &len, NULL), 0);
    assert_int_equal(len, 6);
    assert_int_equal(used(&cached), 0);
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    object_writer_close(writer);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(object_read(object, 0, 16, found, &len, NULL), 0);
        assert_memory_equal(found, "onetwo", 6);
    }
    assert_int_equal(used(&cached), 1);
    object_close(TAKE(object));
    end(&cached);
}

static void a_read_that_fails_leaves_nothing_behind(void **state)
{
    struct cached cached;
    uint8_t found[16];
    size_t len = 0;
    struct error err = { 0 };
    (void)state;

    begin(&cached, 4);
    put_object(&cached, 1, 2 * BLOCK);
    struct object *object = open_number(&cached, 1);
    fault_arm(cached.fault, FAULT_READ, "segments/", 0, 1, -ETIMEDOUT);
    store_case_expect_error(object_read(object, 0, 16, found, &len, &err), -ETIMEDOUT, &err);
    assert_int_equal(used(&cached), 0);
    assert_true(reads(object, 1, 0, 16, 16));
    object_close(object);
    end(&cached);
}

static void what_is_not_there_is_told(void **state)
{
    struct cached cached;
    struct object *object = NULL;
    struct error err = { 0 };
    (void)state;

    begin(&cached, 4);
    store_case_expect_error(
        object_store_open_object(cached.c.store, "segments/none", &object, &err), -ENOENT, &err);
    end(&cached);
}

/* --- copies that are not what they should be --- */

static void an_altered_copy_is_given_up_for_the_original(void **state)
{
    struct cached cached;
    uint8_t found[16] = { 0 };
    size_t len = 0;
    (void)state;

    begin(&cached, 4);
    put_object(&cached, 1, 2 * BLOCK);
    struct object *object = open_number(&cached, 1);
    assert_true(reads(object, 1, 0, 2 * BLOCK, 2 * BLOCK));
    assert_int_equal(pwrite(cached.fd, "altered", 7, 0), 7);
    assert_false(reads(object, 1, 0, 16, 16)); /* it is for the reader to find out */
    assert_int_equal(object_read_origin(object, 0, 16, found, &len, NULL), 0);
    assert_int_equal(len, 16);
    assert_int_equal(found[3], byte_at(1, 3));
    assert_int_equal(used(&cached), 1);
    assert_true(reads(object, 1, 0, 2 * BLOCK, 2 * BLOCK));
    object_close(object);
    end(&cached);
}

static void a_copy_that_is_gone_is_read_again(void **state)
{
    struct cached cached;
    (void)state;

    begin(&cached, 4);
    put_object(&cached, 1, 2 * BLOCK);
    expect_read(&cached, 1, 0, 2 * BLOCK, 2 * BLOCK);
    assert_int_equal(ftruncate(cached.fd, 10), 0);
    expect_read(&cached, 1, 0, 2 * BLOCK, 2 * BLOCK);
    assert_int_equal(cached.offs, 0);
    end(&cached);
}

/* --- sizes --- */

static void a_size_that_is_set_holds_at_once(void **state)
{
    struct cached cached;
    struct stat st;
    (void)state;

    begin(&cached, 8);
    for (unsigned i = 0; i < 8; i++) {
        put_object(&cached, i, BLOCK);
        expect_read(&cached, i, 0, 10, 10);
    }
    assert_int_equal(used(&cached), 8);
    assert_int_equal(cache_store_resize(cached.cache, 2 * BLOCK), 0);
    assert_int_equal(used(&cached), 2);
    assert_int_equal(fstat(cached.fd, &st), 0);
    assert_int_equal(st.st_size, 2 * BLOCK);
    for (unsigned i = 0; i < 8; i++)
        expect_read(&cached, i, 0, 10, 10);
    assert_int_equal(used(&cached), 2);
    assert_int_equal(cache_store_resize(cached.cache, 0), 0);
    expect_read(&cached, 7, 0, 10, 10);
    assert_int_equal(used(&cached), 0);
    assert_int_equal(cache_store_resize(cached.cache, 5 * BLOCK), 0);
    for (unsigned i = 0; i < 8; i++)
        expect_read(&cached, i, 0, 10, 10);
    assert_int_equal(used(&cached), 5);
    end(&cached);
}

/* --- disks --- */

/* tmpfs of so many MiB; false without the rights for it. */
static bool mount_small(char *folder, unsigned mib)
{
    char options[32];

    memcpy(folder, "/tmp/coffer-cache-XXXXXX", sizeof("/tmp/coffer-cache-XXXXXX"));
    assert_non_null(mkdtemp(folder));
    (void)snprintf(options, sizeof(options), "size=%uM", mib);
    if (mount("coffer-cache", folder, "tmpfs", 0, options) == 0)
        return true;
    assert_int_equal(rmdir(folder), 0);
    return false;
}

static void unmount_small(const char *folder)
{
    assert_int_equal(umount2(folder, MNT_DETACH), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void fill_disk(const char *folder, size_t len)
{
    CLEANUP(free_ptr) uint8_t *data = calloc(1, len);
    char path[64];

    (void)snprintf(path, sizeof(path), "%s/other", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_non_null(data);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void a_part_of_the_disk_stays_free_and_a_full_one_turns_it_off(void **state)
{
    struct cached cached;
    struct cache_counts counts;
    struct stat st;
    char folder[32];
    (void)state;

    if (!mount_small(folder, 32))
        skip();
    begin_in(&cached, 1000, folder);
    put_object(&cached, 1, 200 * BLOCK); /* 50 MiB */
    expect_read(&cached, 1, 0, 200 * BLOCK, 200 * BLOCK);
    assert_in_range(used(&cached), 32, 28 * 4); /* MiB are four blocks; an eighth stays free */
    assert_int_equal(cached.offs, 0);
    fill_disk(folder, (32 - used(&cached) / 4 - 1) << 20);
    expect_read(&cached, 1, 0, 200 * BLOCK, 200 * BLOCK);
    assert_int_equal(cached.offs, 1);
    assert_non_null(strstr(cached.why, "nearly full"));
    cache_store_counts(cached.cache, &counts);
    assert_true(counts.is_off && counts.used_bytes == 0);
    assert_int_equal(fstat(cached.fd, &st), 0);
    assert_int_equal(st.st_size, 0); /* its room went back to the disk */
    expect_read(&cached, 1, 0, 10, 10);
    assert_int_equal(cached.offs, 1);
    assert_int_equal(cache_store_resize(cached.cache, 4 * BLOCK), 0);
    expect_read(&cached, 1, 0, 10, 10);
    assert_int_equal(used(&cached), 1);
    end(&cached);
    unmount_small(folder);
}

static void a_disk_that_fails_turns_it_off(void **state)
{
    struct cached cached;
    (void)state;

    begin(&cached, 4);
    put_object(&cached, 1, 2 * BLOCK);
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(full >= 0);
    assert_int_equal(dup2(full, cached.fd), cached.fd);
    expect_read(&cached, 1, 0, 2 * BLOCK, 2 * BLOCK);
    assert_int_equal(cached.offs, 1);
    assert_non_null(strstr(cached.why, "cannot be written"));
    expect_read(&cached, 1, 0, 2 * BLOCK, 2 * BLOCK);
    assert_int_equal(cached.offs, 1);
    (void)close(full);
    end(&cached);
}

/* --- threads --- */

#define THREADS 8u
#define OBJECTS 6u
#define OBJECT_LEN (3 * BLOCK + 1000)
#define ROUNDS 300u

struct crowd {
    struct cached cached;
    atomic_uint faults, number;
};

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 8;
}

static void *read_at_random(void *arg)
{
    struct crowd *crowd = arg;
    unsigned seed = atomic_fetch_add(&crowd->number, 1) + 1;

    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned number = next_random(&seed) % OBJECTS;
        size_t offset = next_random(&seed) % OBJECT_LEN;
        size_t len = next_random(&seed) % (2 * BLOCK);
        size_t left = OBJECT_LEN - offset;
        char name[32];
        struct object *object = NULL;
        (void)snprintf(name, sizeof(name), "segments/%u", number);
        if (object_store_open_object(crowd->cached.c.store, name, &object, NULL) != 0 ||
            !reads(object, number, offset, len, len < left ? len : left))
            atomic_fetch_add(&crowd->faults, 1);
        object_close(object);
    }
    return NULL;
}

/* Meanwhile one makes it larger and smaller, and has objects come and go. */
static void *disturb(void *arg)
{
    struct crowd *crowd = arg;
    struct object_store *store = crowd->cached.c.store;
    struct cache_counts counts;

    for (unsigned i = 0; i < ROUNDS; i++) {
        struct object *object = NULL;
        uint8_t byte;
        size_t len;
        if (cache_store_resize(crowd->cached.cache, i % 12 * BLOCK) != 0 ||
            object_store_put(store, "segments/x", text("x"), NULL) != 0 ||
            object_store_open_object(store, "segments/x", &object, NULL) != 0 ||
            object_read(object, 0, 1, &byte, &len, NULL) != 0 ||
            object_store_remove(store, "segments/x", NULL) != 0)
            atomic_fetch_add(&crowd->faults, 1);
        object_close(object);
        cache_store_counts(crowd->cached.cache, &counts);
        if (counts.used_bytes > counts.max_bytes)
            atomic_fetch_add(&crowd->faults, 1);
    }
    return NULL;
}

static void many_threads_read_what_is_there(void **state)
{
    struct crowd crowd = { .faults = 0 };
    pthread_t threads[THREADS + 1];
    (void)state;

    begin(&crowd.cached, 6);
    for (unsigned i = 0; i < OBJECTS; i++)
        put_object(&crowd.cached, i, OBJECT_LEN);
    for (unsigned i = 0; i <= THREADS; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < THREADS ? read_at_random : disturb, &crowd), 0);
    for (unsigned i = 0; i <= THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&crowd.faults), 0);
    end(&crowd.cached);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_read_is_not_asked_for_again),
        cmocka_unit_test(what_does_not_begin_with_the_prefix_is_not_cached),
        cmocka_unit_test(what_was_used_longest_ago_makes_room),
        cmocka_unit_test(a_read_longer_than_the_cache_is_whole),
        cmocka_unit_test(a_name_that_means_another_object_is_read_anew),
        cmocka_unit_test(a_read_that_fails_leaves_nothing_behind),
        cmocka_unit_test(what_is_not_there_is_told),
        cmocka_unit_test(an_altered_copy_is_given_up_for_the_original),
        cmocka_unit_test(a_copy_that_is_gone_is_read_again),
        cmocka_unit_test(a_size_that_is_set_holds_at_once),
        cmocka_unit_test(a_part_of_the_disk_stays_free_and_a_full_one_turns_it_off),
        cmocka_unit_test(a_disk_that_fails_turns_it_off),
        cmocka_unit_test(many_threads_read_what_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
