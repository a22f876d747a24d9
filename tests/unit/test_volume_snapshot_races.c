/* Snapshots while everything else goes on: writers, readers of snapshots, removals, compaction, a
 * store that fails, and stops in between. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "fs/volume_internal.h"
#include "store/layers/fault.h"
#include "tests/support/file_case.h"

#define WRITERS 3u
#define FILES 6u
#define KIB 1024u
#define FILE_MAX (300u * KIB)

static uint64_t draw(uint64_t *random, uint64_t below)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (*random >> 24) % below;
}

struct crowd {
    struct volume_case *c;
    atomic_bool is_over;
    atomic_uint snapshots; /* taken */
    atomic_uint looks;     /* at files in snapshots */
};

/* A file of a writer always holds the same byte in all of its blocks: the writer truncates it and
 * fills it with the next byte in one go, so what a snapshot shows of it is a beginning of that. */
struct writer {
    struct crowd *crowd;
    unsigned number;
};

static void file_name(unsigned writer, unsigned file, char ret[static 32])
{
    (void)snprintf(ret, 32, "file-%u-%u", writer, file);
}

static void rewrite(struct volume_case *c, uint64_t ino, uint8_t byte, uint64_t size)
{
    uint8_t data[20 * KIB];

    memset(data, byte, sizeof(data));
    file_case_truncate(c, ino, 0);
    for (uint64_t at = 0; at < size; at += sizeof(data))
        file_case_write(c, ino, at, data, sizeof(data));
}

static void *write_files(void *arg)
{
    const struct writer *writer = arg;
    struct volume_case *c = writer->crowd->c;
    uint64_t random = writer->number;
    uint64_t inos[FILES] = { 0 };
    char name[32];

    while (!atomic_load(&writer->crowd->is_over)) {
        unsigned file = (unsigned)draw(&random, FILES);
        file_name(writer->number, file, name);
        if (inos[file] == 0) {
            inos[file] = volume_case_file(c, name);
        } else if (draw(&random, 8) == 0) {
            assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, name), 0);
            volume_forget(c->volume, inos[file], 1);
            inos[file] = 0;
            continue;
        }
        rewrite(c, inos[file], (uint8_t)(1 + draw(&random, 255)), draw(&random, FILE_MAX));
    }
    return NULL;
}

/* What a snapshot shows stays the same as long as it is there. */
static void look_at(struct crowd *crowd, uint64_t ino)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(2 * FILE_MAX);
    struct volume *volume = crowd->c->volume;
    struct volume_attr attr;
    size_t len = 0;

    assert_non_null(data);
    int r = volume_getattr(volume, ino, &attr);
    if (r == 0)
        r = volume_read(volume, ino, 0, 2 * FILE_MAX, data, &len);
    if (r == -ESTALE)
        return;
    assert_int_equal(r, 0);
    assert_int_equal(len, attr.size);
    for (size_t i = 1; i < len; i++)
        assert_int_equal(data[i], data[0]);
    atomic_fetch_add(&crowd->looks, 1);
}

static int look_at_entry(const char *name, const struct volume_attr *attr, uint64_t next, void *arg)
{
    (void)next;
    if (strncmp(name, "file-", 5) == 0)
        look_at(arg, attr->ino);
    return 0;
}

static int look_at_snapshot(const struct volume_snapshot *snapshot, void *arg)
{
    struct crowd *crowd = arg;
    uint64_t root = (uint64_t)snapshot->slot << 48 | VOLUME_ROOT;

    if (snapshot->is_removing)
        return 0;
    int r = volume_readdir(crowd->c->volume, root, 0, true, look_at_entry, crowd);
    assert_true(r == 0 || r == -ESTALE);
    return 0;
}

static void *read_snapshots(void *arg)
{
    struct crowd *crowd = arg;

    while (!atomic_load(&crowd->is_over))
        assert_int_equal(volume_snapshot_list(crowd->c->volume, look_at_snapshot, crowd), 0);
    return NULL;
}

static void *maintain(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t faults;

    while (!atomic_load(&crowd->is_over)) {
        (void)volume_make_room(crowd->c->volume); /* compacts as if the disk were full */
        assert_int_equal(volume_recount(crowd->c->volume, NULL), 0);
        faults = volume_case_faults(crowd->c, false);
        assert_int_equal(faults, 0);
    }
    return NULL;
}

static void take_and_remove(struct crowd *crowd, unsigned number)
{
    struct volume_snapshot snapshot;
    struct error err = { 0 };
    char name[32];

    (void)snprintf(name, sizeof(name), "s%u", number);
    if (volume_snapshot_take(crowd->c->volume, name, name, &snapshot, &err) != 0)
        fail_msg("%s", err.text);
    atomic_fetch_add(&crowd->snapshots, 1);
    if (number < 6)
        return;
    /* Any of the last six. */
    (void)snprintf(name, sizeof(name), "s%u", number - number * 7 % 6);
    int r = volume_snapshot_remove(crowd->c->volume, name, &err);
    assert_true(r == 0 || r == -ENOENT);
}

static int count_removing(const struct volume_snapshot *snapshot, void *arg)
{
    *(unsigned *)arg += snapshot->is_removing;
    return 0;
}

static void wait_until_removed(struct volume_case *c)
{
    unsigned left = 1;

    while (left > 0) {
        left = 0;
        assert_int_equal(volume_snapshot_list(c->volume, count_removing, &left), 0);
        clock_sleep_ms(left > 0 ? 2 : 0);
    }
}

static void snapshots_are_whole_whatever_goes_on(void **state)
{
    struct volume_case *c = *state;
    struct crowd crowd = { .c = c };
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS + 2];
    unsigned rounds = getenv("COFFER_DEEP") != NULL ? 1500 : 60;

    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ .crowd = &crowd, .number = i + 1 };
        assert_int_equal(pthread_create(&threads[i], NULL, write_files, &writers[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[WRITERS], NULL, read_snapshots, &crowd), 0);
    assert_int_equal(pthread_create(&threads[WRITERS + 1], NULL, maintain, &crowd), 0);
    for (unsigned i = 0; i < rounds; i++)
        take_and_remove(&crowd, i);
    atomic_store(&crowd.is_over, true);
    for (unsigned i = 0; i < WRITERS + 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    wait_until_removed(c);
    volume_case_check(c);
    assert_true(atomic_load(&crowd.snapshots) == rounds);
    assert_true(atomic_load(&crowd.looks) > 0);
    assert_int_equal(volume_snapshot_list(c->volume, look_at_snapshot, &crowd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_CASE_TEST(snapshots_are_whole_whatever_goes_on, "dir"),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
