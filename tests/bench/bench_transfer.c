/* bench_transfer.c - an upload of a snapshot, a verification, and a download, until all is here;
 * and in the same run plain puts and gets of the same objects: as many, of the same sizes, as many
 * at a time. On the S3 server that the environment names (tests/support/s3_case.h; tests/bench/s3
 * --transfer starts one); the filesystem is in a folder.
 *
 *     bench_transfer [MIB [ROUNDS]]
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/parallel.h"
#include "crypto/random.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/download_case.h"
#include "tests/support/s3_case.h"

#define SERVER "COFFER_TEST_S3_HOSTNAME"
#define AT_ONCE 4u /* as an upload */
#define PIECE ((size_t)1024 * 1024)
#define OBJECT_MAX ((size_t)32 * 1024 * 1024)

struct bench {
    struct transfer_case c;
    size_t mib;
    unsigned rounds;
    uint8_t *data;
    struct name_set objects; /* that the upload put */
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double memory_mib(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

/* Files of 16 MiB that no compression makes smaller. */
static void write_files(struct bench *bench, unsigned round)
{
    char name[48];

    for (size_t i = 0; i < bench->mib; i++) {
        static uint64_t ino;
        if (i % 16 == 0) {
            (void)snprintf(name, sizeof(name), "r%u-%zu", round, i);
            ino = volume_case_file(&bench->c.volume, name);
        }
        random_bytes(bench->data, 64);
        assert_int_equal(volume_write(bench->c.volume.volume, ino, i % 16 * PIECE,
                                      (struct bytes){ bench->data, PIECE }),
                         0);
    }
    assert_int_equal(volume_sync(bench->c.volume.volume, NULL), 0);
}

static void list_objects(struct bench *bench)
{
    name_set_clear(&bench->objects);
    for (int kind = BUCKET_PACK; kind <= BUCKET_CHUNK; kind++)
        assert_int_equal(
            bucket_list(&bench->c.bucket, (enum bucket_kind)kind, &bench->objects, NULL), 0);
}

static void plain_name(size_t index, char ret[static 32])
{
    (void)snprintf(ret, 32, "plain/%zu", index);
}

static void put_plain(void *arg, size_t index)
{
    struct bench *bench = arg;
    char name[32];

    plain_name(index, name);
    assert_int_equal(
        object_store_put(bench->c.store, name,
                         (struct bytes){ bench->data, bench->objects.items[index].size }, NULL),
        0);
}

static void get_plain(void *arg, size_t index)
{
    struct bench *bench = arg;
    struct buf found = BUF_INIT;
    char name[32];

    plain_name(index, name);
    assert_int_equal(object_store_get(bench->c.store, name, OBJECT_MAX, &found, NULL), 0);
    buf_release(&found);
}

static double all_plain(struct bench *bench, parallel_work_fn *work)
{
    double start = now_s();

    parallel_each(bench->objects.count, AT_ONCE, work, bench);
    return now_s() - start;
}

/* The seconds until a filesystem out of it needs the bucket no more. */
static double download(struct bench *bench, const struct locator *locator)
{
    struct download_case d;

    double start = now_s();
    download_case_new(&d, &bench->c, locator, NULL);
    download_case_go(&d);
    download_case_finish(&d);
    double took = now_s() - start;
    download_case_end(&d);
    return took;
}

static void empty_bucket(struct bench *bench, const struct locator *locator)
{
    char name[32];

    for (size_t i = 0; i < bench->objects.count; i++) {
        plain_name(i, name);
        assert_int_equal(object_store_remove(bench->c.store, name, NULL), 0);
    }
    (void)transfer_case_remove(&bench->c, locator);
}

static void measure(struct bench *bench, unsigned round)
{
    char name[32];

    write_files(bench, round);
    (void)snprintf(name, sizeof(name), "s%u", round);
    (void)transfer_case_take(&bench->c, name);
    double start = now_s();
    struct locator locator = transfer_case_upload(&bench->c, name);
    double upload = now_s() - start;
    double rss = memory_mib();
    list_objects(bench);
    double puts = all_plain(bench, put_plain);
    start = now_s();
    assert_int_equal(transfer_case_verify(&bench->c, &locator, 1), 0);
    double verify = now_s() - start;
    double gets = all_plain(bench, get_plain);
    double mib = (double)bench->c.progress.put_bytes / (1024 * 1024);
    double fetch = download(bench, &locator);
    printf("%5.0f MiB in %3zu objects: upload %4.0f MiB/s, plain puts %4.0f, ratio %4.2f; verify "
           "%4.0f "
           "MiB/s, download %4.0f, plain gets %4.0f, ratios %4.2f, %4.2f; at most %3.0f MiB of "
           "memory\n",
           mib, bench->objects.count, mib / upload, mib / puts, puts / upload, mib / verify,
           mib / fetch, mib / gets, gets / verify, gets / fetch, rss);
    (void)fflush(stdout);
    empty_bucket(bench, &locator);
}

static void bench_all(void **state)
{
    struct bench *bench = *state;
    char server[256];

    /* The bucket alone is there, all else in folders. */
    (void)snprintf(server, sizeof(server), "%s", getenv(SERVER));
    assert_int_equal(unsetenv(SERVER), 0);
    transfer_case_new(&bench->c, "memory");
    assert_int_equal(setenv(SERVER, server, 1), 0);
    object_store_close(bench->c.store);
    bench->c.store = s3_case_open(NULL);
    assert_int_equal(unsetenv(SERVER), 0);
    assert_int_equal(bucket_init(&bench->c.bucket, bench->c.store, "", NULL), 0);
    bench->c.pack_len = 0;
    bench->data = malloc(OBJECT_MAX);
    assert_non_null(bench->data);
    random_bytes(bench->data, OBJECT_MAX);
    for (unsigned round = 0; round < bench->rounds; round++)
        measure(bench, round);
    transfer_case_end(&bench->c);
    name_set_release(&bench->objects);
    free(bench->data);
}

int main(int argc, char *argv[])
{
    struct bench bench = {
        .mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 256,
        .rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 3,
        .objects = NAME_SET_INIT,
    };
    const struct CMUnitTest tests[] = { cmocka_unit_test_prestate(bench_all, &bench) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
