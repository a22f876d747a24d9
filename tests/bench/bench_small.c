/* bench_small.c - small files, each made durable before the next: how many a second, by several
 * threads at once, and how many objects the store was given for them. On a folder, or on the S3
 * server that the environment names (tests/support/s3_case.h; tests/bench/s3 --small starts one).
 *
 *     bench_small [SECONDS [KIB]]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "store/layers/trace.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/volume_case.h"

#define JOBS_MAX 64u

struct bench {
    struct volume_case c;
    struct trace_store *trace;
    double seconds;
    size_t len;
    uint8_t *data;
    bool syncs;
    atomic_uint made;
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_one(struct bench *bench)
{
    const struct volume_owner owner = { .uid = 0 };
    struct volume_attr attr;
    char name[32];

    (void)snprintf(name, sizeof(name), "f%u", atomic_fetch_add(&bench->made, 1));
    assert_int_equal(
        volume_mknod(bench->c.volume, VOLUME_ROOT, name, S_IFREG | 0644, 0, &owner, &attr), 0);
    assert_int_equal(
        volume_write(bench->c.volume, attr.ino, 0, (struct bytes){ bench->data, bench->len }), 0);
    if (bench->syncs)
        assert_int_equal(volume_sync(bench->c.volume, NULL), 0);
    volume_forget(bench->c.volume, attr.ino, 1);
}

static void *run(void *arg)
{
    struct bench *bench = arg;
    double end = now_s() + bench->seconds;

    do
        make_one(bench);
    while (now_s() < end);
    return NULL;
}

static uint64_t puts_so_far(struct bench *bench)
{
    uint64_t calls = 0;
    static const enum store_op ops[] = { STORE_PUT, STORE_REPLACE, STORE_SYNC, STORE_SEAL };

    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        struct trace_counts counts;
        trace_store_counts(bench->trace, ops[i], &counts);
        calls += counts.calls;
    }
    return calls;
}

static void measure(struct bench *bench, unsigned jobs, bool syncs)
{
    pthread_t threads[JOBS_MAX];
    unsigned before = atomic_load(&bench->made);
    uint64_t puts = puts_so_far(bench);
    double start = now_s();

    bench->syncs = syncs;
    for (unsigned i = 0; i < jobs; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, bench), 0);
    for (unsigned i = 0; i < jobs; i++)
        (void)pthread_join(threads[i], NULL);
    assert_int_equal(volume_sync(bench->c.volume, NULL), 0);
    unsigned files = atomic_load(&bench->made) - before;
    printf("%-22s %2u threads: %8.0f files/s, %6.1f files for each object stored\n",
           syncs ? "each made durable" : "durable in the end", jobs,
           (double)files / (now_s() - start), (double)files / (double)(puts_so_far(bench) - puts));
    (void)fflush(stdout);
}

static void bench_all(void **state)
{
    struct bench *bench = *state;

    volume_case_new(&bench->c, 0);
    volume_case_close(&bench->c);
    assert_int_equal(trace_store_new(bench->c.store, &bench->c.store, &bench->trace), 0);
    volume_case_open(&bench->c);
    bench->data = calloc(1, bench->len);
    assert_non_null(bench->data);
    for (unsigned jobs = 1; jobs <= JOBS_MAX; jobs *= 4)
        measure(bench, jobs, true);
    measure(bench, 4, false);
    volume_case_end(&bench->c);
    free(bench->data);
}

int main(int argc, char *argv[])
{
    struct bench bench = {
        .seconds = argc > 1 ? strtod(argv[1], NULL) : 2,
        .len = (argc > 2 ? strtoul(argv[2], NULL, 10) : 100) * 1024,
    };
    const struct CMUnitTest tests[] = { cmocka_unit_test_prestate(bench_all, &bench) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
