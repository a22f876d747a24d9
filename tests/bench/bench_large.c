/* bench_large.c - what must not grow with a filesystem: how long a snapshot takes, what an upload
 * moves after a small change, when the first byte of a download can be read, how fast records come
 * in. On the S3 server that the environment names (tests/bench/s3 --large starts one); the
 * filesystem is in TMPDIR.
 *
 *     bench_large [GIB [FILES]]
 *
 * GIB of data in files of 16 MiB, uploaded; 1 % of it changed, in random blocks of 4 KiB and then
 * by replacing files, and uploaded each time; and downloaded, until the first byte of each of ten
 * files. And FILES small ones: a snapshot, an upload, a download until all records are here. 0:
 * that is left out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/random.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/download_case.h"
#include "tests/support/s3_case.h"

#define SERVER "COFFER_TEST_S3_HOSTNAME"
#define MIB ((size_t)1024 * 1024)
#define FILE_MIB 16u
#define BLOCK 4096u
#define FIRST_BYTES 10u
#define SMALL_LEN 100u

struct bench {
    struct transfer_case c;
    size_t files; /* large ones */
    size_t small;
    uint8_t *data; /* FILE_MIB */
    uint64_t *inodes;
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void file_name(char ret[static 32], const char *what, size_t index)
{
    (void)snprintf(ret, 32, "%s-%zu", what, index);
}

static void write_piece(const struct bench *bench, uint64_t ino, uint64_t offset, size_t len)
{
    assert_int_equal(
        volume_write(bench->c.volume.volume, ino, offset, (struct bytes){ bench->data, len }), 0);
}

/* That no compression makes smaller, and no other file has. */
static void write_file(struct bench *bench, size_t index)
{
    for (size_t i = 0; i < FILE_MIB; i++) {
        random_bytes(bench->data, 64);
        write_piece(bench, bench->inodes[index], i * MIB, MIB);
    }
}

static double take(struct bench *bench, const char *name)
{
    double start = now_s();

    (void)transfer_case_take(&bench->c, name);
    return now_s() - start;
}

static struct locator upload(struct bench *bench, const char *name, double data_mib)
{
    double start = now_s();
    struct locator locator = transfer_case_upload(&bench->c, name);
    double took = now_s() - start;
    double mib = (double)bench->c.progress.put_bytes / (double)MIB;

    printf("%s: uploaded in %.1f s, %.1f MiB in %llu objects", name, took, mib,
           (unsigned long long)bench->c.progress.put_objects);
    if (data_mib > 0)
        printf(", %.2f %% of the data", 100 * mib / data_mib);
    printf("\n");
    return locator;
}

static void change_blocks(struct bench *bench)
{
    const uint64_t blocks = bench->files * FILE_MIB * (MIB / BLOCK);

    for (uint64_t i = 0; i < blocks / 100; i++) {
        uint64_t drawn;
        random_bytes(&drawn, sizeof(drawn));
        drawn %= blocks;
        random_bytes(bench->data, 64);
        write_piece(bench, bench->inodes[drawn / (FILE_MIB * (MIB / BLOCK))],
                    drawn % (FILE_MIB * (MIB / BLOCK)) * BLOCK, BLOCK);
    }
    assert_int_equal(volume_sync(bench->c.volume.volume, NULL), 0);
}

static void replace_files(struct bench *bench)
{
    for (size_t i = 0; i < (bench->files + 50) / 100; i++)
        write_file(bench, i * 100 % bench->files);
    assert_int_equal(volume_sync(bench->c.volume.volume, NULL), 0);
}

static void print_first_bytes(struct bench *bench, const struct locator *locator)
{
    struct download_case d;
    struct volume_attr attr;
    char name[32];
    uint8_t byte;
    size_t got;

    double start = now_s();
    download_case_new(&d, &bench->c, locator, NULL);
    download_case_go(&d);
    double opened = now_s() - start;
    for (size_t i = 0; i < FIRST_BYTES; i++) {
        file_name(name, "large", i * (bench->files - 1) / (FIRST_BYTES - 1));
        assert_int_equal(volume_lookup(d.volume.volume, VOLUME_ROOT, name, &attr), 0);
        assert_int_equal(volume_read(d.volume.volume, attr.ino, 0, 1, &byte, &got), 0);
        assert_int_equal(got, 1);
        if (i == 0)
            printf("download: mounted after %.2f s, first byte after %.2f s", opened,
                   now_s() - start);
    }
    printf(", of %u files all over it after %.2f s\n", FIRST_BYTES, now_s() - start);
    download_case_end(&d);
}

static void bench_data(struct bench *bench)
{
    const double mib = (double)bench->files * FILE_MIB;
    char name[32];

    for (size_t i = 0; i < bench->files; i++) {
        file_name(name, "large", i);
        bench->inodes[i] = volume_case_file(&bench->c.volume, name);
        write_file(bench, i);
    }
    assert_int_equal(volume_sync(bench->c.volume.volume, NULL), 0);
    printf("%.0f MiB in %zu files: a snapshot in %.0f ms\n", mib, bench->files,
           1000 * take(bench, "all"));
    (void)upload(bench, "all", mib);
    change_blocks(bench);
    (void)take(bench, "random-blocks");
    (void)upload(bench, "random-blocks", mib);
    replace_files(bench);
    (void)take(bench, "replaced-files");
    struct locator locator = upload(bench, "replaced-files", mib);
    print_first_bytes(bench, &locator);
}

static void bench_small(struct bench *bench)
{
    struct download_case d;
    char name[32];

    for (size_t i = 0; i < bench->small; i++) {
        file_name(name, "small", i);
        write_piece(bench, volume_case_file(&bench->c.volume, name), 0, SMALL_LEN);
    }
    assert_int_equal(volume_sync(bench->c.volume.volume, NULL), 0);
    for (unsigned i = 0; i < 5; i++) {
        file_name(name, "again", i);
        write_piece(bench, volume_case_file(&bench->c.volume, name), 0, SMALL_LEN);
        file_name(name, "small", i);
        printf("a snapshot of %zu files in %.1f ms\n", bench->small, 1000 * take(bench, name));
    }
    struct locator locator = upload(bench, "small-4", 0);
    download_case_new(&d, &bench->c, &locator, NULL);
    double start = now_s();
    download_case_wait_records(&d);
    double took = now_s() - start;
    printf("records of %zu files came in in %.1f s, %.0f files/s\n", bench->small, took,
           (double)bench->small / took);
    download_case_end(&d);
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
    bench->data = malloc(MIB);
    bench->inodes = calloc(bench->files + 1, sizeof(*bench->inodes));
    assert_non_null(bench->data);
    assert_non_null(bench->inodes);
    random_bytes(bench->data, MIB);
    if (bench->small > 0)
        bench_small(bench);
    if (bench->files > 0)
        bench_data(bench);
    transfer_case_end(&bench->c);
    free(bench->data);
    free(bench->inodes);
}

int main(int argc, char *argv[])
{
    struct bench bench = {
        .files = (argc > 1 ? strtoul(argv[1], NULL, 10) : 10) * 1024 / FILE_MIB,
        .small = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000000,
    };
    const struct CMUnitTest tests[] = { cmocka_unit_test_prestate(bench_all, &bench) };

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
