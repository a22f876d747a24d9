/* What operations of a volume cost in processor time, without FUSE: per operation, of the thread
 * that asks and of the whole process (the committer among it). Prints; never fails for being slow.
 *
 * With SNAPSHOTS, so many are taken first, a file changing before each, and one more before each
 * kind of change that is measured, so that its first half meets records of an epoch before.
 *
 * usage: bench_volume [BLOCK_SIZE [FILES [SNAPSHOTS]]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/support/cmocka_all.h"
#include "tests/support/volume_case.h"

#define FILE_MIB 256u
#define RANDOM_OPS 50000u
#define SMALL 4096u

struct clocks {
    double thread_us;
    double process_us;
};

static double clock_us(clockid_t id)
{
    struct timespec ts;

    (void)clock_gettime(id, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static struct clocks clocks_now(void)
{
    return (struct clocks){ clock_us(CLOCK_THREAD_CPUTIME_ID), clock_us(CLOCK_PROCESS_CPUTIME_ID) };
}

/* The sync belongs to the operations: it does what they left to do. */
static void print_cost(const char *what, struct clocks start, double count, struct volume_case *c)
{
    struct clocks asked = clocks_now();

    assert_int_equal(volume_sync(c->volume, NULL), 0);
    printf("%-24s %8.2f us asked, %8.2f us in all\n", what,
           (asked.thread_us - start.thread_us) / count,
           (clocks_now().process_us - start.process_us) / count);
}

/* With snapshots, one more. */
static void take_one(struct volume_case *c, unsigned snapshots, const char *name)
{
    struct volume_snapshot snapshot;
    double start = clock_us(CLOCK_MONOTONIC);

    if (snapshots == 0)
        return;
    assert_int_equal(volume_snapshot_take(c->volume, name, name, &snapshot, NULL), 0);
    printf("%-24s %8.2f ms\n", name, (clock_us(CLOCK_MONOTONIC) - start) / 1e3);
}

static void take_many(struct volume_case *c, unsigned snapshots)
{
    uint64_t ino = snapshots > 0 ? volume_case_file(c, "changing") : 0;
    double start = clock_us(CLOCK_MONOTONIC);
    struct volume_snapshot snapshot;
    char name[32];

    for (unsigned i = 0; i < snapshots; i++) {
        int len = snprintf(name, sizeof(name), "snapshot-%u", i);
        const struct bytes text = { .data = (const uint8_t *)name, .len = (size_t)len };
        assert_int_equal(volume_write(c->volume, ino, 0, text), 0);
        assert_int_equal(volume_snapshot_take(c->volume, name, name, &snapshot, NULL), 0);
    }
    if (snapshots > 0)
        printf("%-24s %8.2f ms each\n", "snapshots",
               (clock_us(CLOCK_MONOTONIC) - start) / 1e3 / snapshots);
}

static uint8_t data[1 << 20];

/* Of a small block of the file; the same ones in each run. */
static uint64_t random_offset(uint32_t *sequence)
{
    *sequence = *sequence * 1664525u + 1013904223u;
    return (uint64_t)(*sequence >> 8) % (FILE_MIB * 256u) * SMALL;
}

static void bench_data(struct volume_case *c, unsigned snapshots)
{
    uint32_t sequence = 1;
    uint64_t ino = volume_case_file(c, "big");
    struct clocks start = clocks_now();
    size_t len;

    for (unsigned i = 0; i < FILE_MIB; i++)
        assert_int_equal(volume_write(c->volume, ino, (uint64_t)i << 20,
                                      (struct bytes){ .data = data, .len = sizeof(data) }),
                         0);
    print_cost("write 1 MiB", start, FILE_MIB, c);
    start = clocks_now();
    for (unsigned i = 0; i < FILE_MIB; i++)
        assert_int_equal(volume_read(c->volume, ino, (uint64_t)i << 20, sizeof(data), data, &len),
                         0);
    print_cost("read 1 MiB", start, FILE_MIB, c);
    start = clocks_now();
    for (unsigned i = 0; i < RANDOM_OPS; i++) {
        uint64_t at = random_offset(&sequence);
        assert_int_equal(volume_read(c->volume, ino, at, SMALL, data, &len), 0);
    }
    print_cost("read 4 KiB at random", start, RANDOM_OPS, c);
    take_one(c, snapshots, "snapshot before writing");
    start = clocks_now();
    for (unsigned i = 0; i < RANDOM_OPS; i++) {
        uint64_t at = random_offset(&sequence);
        assert_int_equal(
            volume_write(c->volume, ino, at, (struct bytes){ .data = data, .len = SMALL }), 0);
    }
    print_cost("write 4 KiB at random", start, RANDOM_OPS, c);
    start = clocks_now();
    for (unsigned i = 0; i < RANDOM_OPS; i++) {
        uint64_t at = random_offset(&sequence);
        assert_int_equal(volume_read(c->volume, ino, at, SMALL, data, &len), 0);
    }
    print_cost("read 4 KiB, after these", start, RANDOM_OPS, c);
}

static void bench_names(struct volume_case *c, unsigned files, unsigned snapshots)
{
    const struct volume_owner owner = { .uid = 0 };
    struct volume_attr attr = { .ino = 0 };
    char name[32];
    struct clocks start = clocks_now();

    for (unsigned i = 0; i < files; i++) {
        (void)snprintf(name, sizeof(name), "file-%u", i);
        assert_int_equal(
            volume_mknod(c->volume, VOLUME_ROOT, name, S_IFREG | 0644, 0, &owner, &attr), 0);
    }
    print_cost("create", start, files, c);
    start = clocks_now();
    for (unsigned i = 0; i < files; i++) {
        (void)snprintf(name, sizeof(name), "file-%u", i);
        assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, name, &attr), 0);
    }
    print_cost("lookup", start, files, c);
    const uint64_t last = attr.ino;
    start = clocks_now();
    for (unsigned i = 0; i < files; i++)
        assert_int_equal(volume_getattr(c->volume, last - i, &attr), 0);
    print_cost("getattr", start, files, c);
    take_one(c, snapshots, "snapshot before unlink");
    start = clocks_now();
    for (unsigned i = 0; i < files; i++) {
        (void)snprintf(name, sizeof(name), "file-%u", i);
        assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, name, &attr), 0);
        assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, name), 0);
        volume_forget(c->volume, attr.ino, 3);
    }
    print_cost("lookup, unlink, forget", start, files, c);
}

static void bench(void **state)
{
    struct volume_case c;

    volume_case_new(&c, ((unsigned *)*state)[0]);
    take_many(&c, ((unsigned *)*state)[2]);
    bench_data(&c, ((unsigned *)*state)[2]);
    bench_names(&c, ((unsigned *)*state)[1], ((unsigned *)*state)[2]);
    volume_case_end(&c);
}

int main(int argc, char *argv[])
{
    unsigned options[] = { argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0,
                           argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 50000,
                           argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0 };
    const struct CMUnitTest tests[] = { cmocka_unit_test_prestate(bench, options) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
