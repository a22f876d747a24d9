/* bench_transfer.c - an upload of a snapshot, a verification, and a download, until all is here;
 * and in the same run plain puts and gets of the same objects: as many, of the same sizes, as many
 * at a time; and gets that are written into files and made durable, as what a download gets. On the
 * S3 server that the environment names (tests/support/s3_case.h; tests/bench/s3 --transfer starts
 * one); the filesystem and the files are in TMPDIR.
 *
 *     bench_transfer [MIB [ROUNDS [PROGRAM]]]
 *
 * PROGRAM: coffer-store, by which all but the plain puts and gets goes then, as in a worker.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/parallel.h"
#include "crypto/random.h"
#include "tests/bench/processor.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/download_case.h"
#include "tests/support/s3_case.h"
#include "tests/support/store_process.h"

#define SERVER "COFFER_TEST_S3_HOSTNAME"
#define AT_ONCE 4u /* as an upload */
#define PIECE ((size_t)1024 * 1024)
#define OBJECT_MAX ((size_t)32 * 1024 * 1024)

struct bench {
    struct transfer_case c;
    size_t mib;
    unsigned rounds;
    const char *program;        /* NULL: the bucket is this process's */
    struct object_store *plain; /* the bucket, by this process */
    uint8_t *data;
    struct name_set objects; /* that the upload put */
    int *files;              /* one for each, of stored gets */
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What a phase took. */
struct took {
    double wall_s;
    struct processor processor;
};

static struct took begin(void)
{
    return (struct took){ now_s(), processor_now() };
}

static struct took end(struct took since)
{
    const struct took now = begin();

    return (struct took){ now.wall_s - since.wall_s,
                          { now.processor.own - since.processor.own,
                            now.processor.server - since.processor.server } };
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
        object_store_put(bench->plain, name,
                         (struct bytes){ bench->data, bench->objects.items[index].size }, NULL),
        0);
}

static void get_plain(void *arg, size_t index)
{
    struct bench *bench = arg;
    struct buf found = BUF_INIT;
    char name[32];

    plain_name(index, name);
    assert_int_equal(object_store_get(bench->plain, name, OBJECT_MAX, &found, NULL), 0);
    buf_release(&found);
}

/* Into a file of its own, which is gone when it is closed: in the end, as what is downloaded stays.
 * Memory that is given back and taken again costs less than new one. */
static void store_plain(void *arg, size_t index)
{
    struct bench *bench = arg;
    struct buf found = BUF_INIT;
    char name[32];

    plain_name(index, name);
    assert_int_equal(object_store_get(bench->plain, name, OBJECT_MAX, &found, NULL), 0);
    int fd = open(bench->c.volume.folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t at = 0; at < found.len; at += PIECE) {
        size_t len = found.len - at < PIECE ? found.len - at : PIECE;
        assert_int_equal(pwrite(fd, found.data + at, len, (off_t)at), len);
    }
    assert_int_equal(fdatasync(fd), 0);
    bench->files[index] = fd;
    buf_release(&found);
}

static struct took all_plain(struct bench *bench, parallel_work_fn *work)
{
    const struct took since = begin();

    parallel_each(bench->objects.count, AT_ONCE, work, bench);
    return end(since);
}

static struct took all_stored(struct bench *bench)
{
    bench->files = calloc(bench->objects.count, sizeof(*bench->files));
    assert_non_null(bench->files);
    const struct took took = all_plain(bench, store_plain);
    for (size_t i = 0; i < bench->objects.count; i++)
        (void)close(bench->files[i]);
    free(bench->files);
    return took;
}

/* Not download_case_finish(): who looks a thousand times a second takes some of the processor. */
static void wait_until_here(struct volume *volume)
{
    const struct timespec moment = { .tv_nsec = 10000000 };
    struct origin_progress progress;

    while (volume_origin_progress(volume, &progress))
        (void)nanosleep(&moment, NULL);
}

/* Until a filesystem out of it needs the bucket no more. */
static struct took download(struct bench *bench, const struct locator *locator)
{
    struct download_case d;

    const struct took since = begin();
    download_case_new(&d, &bench->c, locator, NULL);
    download_case_go(&d);
    wait_until_here(d.volume.volume);
    const struct took took = end(since);
    download_case_end(&d);
    return took;
}

static void empty_bucket(struct bench *bench, const struct locator *locator)
{
    char name[32];

    for (size_t i = 0; i < bench->objects.count; i++) {
        plain_name(i, name);
        assert_int_equal(object_store_remove(bench->plain, name, NULL), 0);
    }
    (void)transfer_case_remove(&bench->c, locator);
}

static double processor_s(const struct took *took)
{
    return took->processor.own + took->processor.server;
}

/* The second ratio is that of the processor time, of this process and the server together. */
static void print(const char *what, double mib, struct took took, const struct took *plain)
{
    printf("  %-12s %6.0f MiB/s, %5.2f + %5.2f ms of processor time per MiB", what,
           mib / took.wall_s, took.processor.own * 1000 / mib, took.processor.server * 1000 / mib);
    if (plain)
        printf(", ratio %4.2f, by processor time %4.2f", plain->wall_s / took.wall_s,
               processor_s(plain) / processor_s(&took));
    printf("\n");
    (void)fflush(stdout);
}

static struct took mean(const struct took *a, const struct took *b)
{
    return (struct took){ (a->wall_s + b->wall_s) / 2,
                          { (a->processor.own + b->processor.own) / 2,
                            (a->processor.server + b->processor.server) / 2 } };
}

/* As other programs use the machine, and memory that was used before costs less, gets are measured
 * before and behind what they are compared with. */
static void measure(struct bench *bench, unsigned round)
{
    char name[32];

    write_files(bench, round);
    (void)snprintf(name, sizeof(name), "s%u", round);
    (void)transfer_case_take(&bench->c, name);
    struct took since = begin();
    struct locator locator = transfer_case_upload(&bench->c, name);
    const struct took upload = end(since);
    double mib = (double)bench->c.progress.put_bytes / (1024 * 1024);
    list_objects(bench);
    printf("%.0f MiB in %zu objects, at most %.0f MiB of memory\n", mib, bench->objects.count,
           memory_mib());
    const struct took puts = all_plain(bench, put_plain);
    print("plain puts", mib, puts, NULL);
    print("upload", mib, upload, &puts);

    struct took gets[3], stored[2];
    gets[0] = all_plain(bench, get_plain);
    since = begin();
    assert_int_equal(transfer_case_verify(&bench->c, &locator, 1), 0);
    const struct took verify = end(since);
    gets[1] = all_plain(bench, get_plain);
    stored[0] = all_stored(bench);
    const struct took fetch = download(bench, &locator);
    stored[1] = all_stored(bench);
    gets[2] = all_plain(bench, get_plain);
    const struct took around[2] = { mean(&gets[0], &gets[1]), mean(&gets[1], &gets[2]) };
    for (unsigned i = 0; i < 3; i++)
        print("plain gets", mib, gets[i], NULL);
    print("verification", mib, verify, &around[0]);
    for (unsigned i = 0; i < 2; i++)
        print("stored gets", mib, stored[i], &around[1]);
    print("download", mib, fetch, &around[1]);
    const struct took beside = mean(&stored[0], &stored[1]);
    printf("  beside stored gets %4.2f, by processor time %4.2f\n", beside.wall_s / fetch.wall_s,
           processor_s(&beside) / processor_s(&fetch));
    empty_bucket(bench, &locator);
}

/* What the program takes is coffer's, too. */
static void count_program(const struct object_store *store)
{
    char pid[16];

    (void)snprintf(pid, sizeof(pid), "%d", (int)store_process_pid(store));
    assert_int_equal(setenv("STORE_PID", pid, 1), 0);
}

static void bench_all(void **state)
{
    struct bench *bench = *state;
    struct s3_settings settings;
    char server[256];

    /* The bucket alone is there, all else in folders. */
    (void)snprintf(server, sizeof(server), "%s", getenv(SERVER));
    assert_int_equal(unsetenv(SERVER), 0);
    transfer_case_new(&bench->c, "memory");
    assert_int_equal(setenv(SERVER, server, 1), 0);
    object_store_close(bench->c.store);
    s3_case_settings(&settings);
    bench->plain = s3_case_open(NULL);
    bench->c.store =
        bench->program ? store_process_open(bench->program, &settings) : s3_case_open(NULL);
    s3_settings_release(&settings);
    assert_int_equal(unsetenv(SERVER), 0);
    if (bench->program)
        count_program(bench->c.store);
    assert_int_equal(bucket_init(&bench->c.bucket, bench->c.store, "", NULL), 0);
    bench->c.pack_len = 0;
    bench->data = malloc(OBJECT_MAX);
    assert_non_null(bench->data);
    random_bytes(bench->data, OBJECT_MAX);
    for (unsigned round = 0; round < bench->rounds; round++)
        measure(bench, round);
    object_store_close(bench->plain);
    transfer_case_end(&bench->c);
    name_set_release(&bench->objects);
    free(bench->data);
}

int main(int argc, char *argv[])
{
    struct bench bench = {
        .mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 256,
        .rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 3,
        .program = argc > 3 ? argv[3] : NULL,
        .objects = NAME_SET_INIT,
    };
    const struct CMUnitTest tests[] = { cmocka_unit_test_prestate(bench_all, &bench) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
