/* bench_small.c - small files, each made durable before the next: how many a second, by several
 * threads at once, and how many objects the store was given for them; and, in the same run, how
 * fast the store takes plain puts of objects of that size, four at a time. On a folder, or on the
 * S3 server that the environment names (tests/support/s3_case.h; tests/bench/s3 --small starts
 * one).
 *
 *     bench_small [SECONDS [KIB [THREADS]]]
 *
 * On a machine that others use, too, the processor time that a file costs here and at the server
 * says more than the rate: together they give the rate that so many processors allow.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/layers/trace.h"
#include "tests/bench/processor.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/volume_case.h"

#define JOBS_MAX 64u
#define PUTS_AT_ONCE 4u
#define OBJECT_MAX ((size_t)9 * 1024 * 1024)

struct bench {
    struct volume_case c;
    struct trace_store *trace;
    double seconds;
    size_t len;
    uint8_t *data;
    bool syncs;
    unsigned only; /* with so many threads; 0: with each number */
    atomic_uint made;

    uint8_t *object; /* of plain puts */
    size_t object_len;
    atomic_uint put;
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

static void *put_plain(void *arg)
{
    struct bench *bench = arg;
    double end = now_s() + bench->seconds / 2;

    do {
        char name[32];
        (void)snprintf(name, sizeof(name), "plain/%u", atomic_fetch_add(&bench->put, 1));
        assert_int_equal(object_store_put(bench->c.store, name,
                                          (struct bytes){ bench->object, bench->object_len }, NULL),
                         0);
    } while (now_s() < end);
    return NULL;
}

/* When they began; they have ended. */
static double in_threads(struct bench *bench, unsigned jobs, void *(*work)(void *))
{
    pthread_t threads[JOBS_MAX];
    double start = now_s();

    for (unsigned i = 0; i < jobs; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, bench), 0);
    for (unsigned i = 0; i < jobs; i++)
        (void)pthread_join(threads[i], NULL);
    return start;
}

static double rate_of_puts(struct bench *bench, size_t len)
{
    unsigned before = atomic_load(&bench->put);

    bench->object_len = len < OBJECT_MAX ? len : OBJECT_MAX;
    double start = in_threads(bench, PUTS_AT_ONCE, put_plain);
    double puts = (double)(atomic_load(&bench->put) - before);
    return puts * (double)bench->object_len / (now_s() - start);
}

static uint64_t seals_so_far(struct bench *bench)
{
    struct trace_counts counts;

    trace_store_counts(bench->trace, STORE_CREATE, &counts);
    return counts.calls;
}

static void measure(struct bench *bench, unsigned jobs, bool syncs)
{
    unsigned before = atomic_load(&bench->made);
    uint64_t objects = seals_so_far(bench);

    bench->syncs = syncs;
    struct processor began = processor_now();
    double start = in_threads(bench, jobs, run);
    assert_int_equal(volume_sync(bench->c.volume, NULL), 0);
    double took = now_s() - start;
    struct processor ended = processor_now();
    double files = (double)(atomic_load(&bench->made) - before);
    double each = files / (double)(seals_so_far(bench) - objects);
    double plain = rate_of_puts(bench, (size_t)(each * (double)bench->len));
    double rate = files / took;
    printf(
        "%-19s %2u threads: %6.0f files/s, %5.1f in each object; plain puts of such objects "
        "%6.0f MiB/s, ratio %4.2f; processor time of each file %4.0f us, of the server's %4.0f\n",
        syncs ? "each made durable" : "durable in the end", jobs, rate, each, plain / (1024 * 1024),
        rate * (double)bench->len / plain, (ended.own - began.own) / files * 1e6,
        (ended.server - began.server) / files * 1e6);
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
    bench->object = calloc(1, OBJECT_MAX);
    assert_non_null(bench->data);
    assert_non_null(bench->object);
    for (unsigned jobs = bench->only != 0 ? bench->only : 1; jobs <= JOBS_MAX; jobs *= 4) {
        measure(bench, jobs, true);
        if (bench->only != 0)
            break;
    }
    measure(bench, 4, false);
    volume_case_end(&bench->c);
    free(bench->data);
    free(bench->object);
}

int main(int argc, char *argv[])
{
    struct bench bench = {
        .seconds = argc > 1 ? strtod(argv[1], NULL) : 2,
        .len = (argc > 2 ? strtoul(argv[2], NULL, 10) : 100) * 1024,
        .only = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) % (JOBS_MAX + 1) : 0,
    };
    const struct CMUnitTest tests[] = { cmocka_unit_test_prestate(bench_all, &bench) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
