/* How a download is brought in: whole packs at a time, some megabytes at once, until somebody wants
 * it to stop. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "fs/segments.h"
#include "tests/support/download_case.h"
#include "tests/support/mortal_store.h"

#define MIB ((size_t)1 << 20)
#define FILE_MIB 56u /* several packs, and more than is asked for at once */

struct fetch_case {
    struct transfer_case c;
    uint8_t *data;
};

static int setup(void **state)
{
    struct fetch_case *fetch = calloc(1, sizeof(*fetch));

    assert_non_null(fetch);
    transfer_case_new(&fetch->c, "dir");
    fetch->c.pack_len = 0; /* the usual one */
    fetch->data = malloc(FILE_MIB * MIB);
    assert_non_null(fetch->data);
    random_bytes(fetch->data, FILE_MIB * MIB);
    *state = fetch;
    return 0;
}

static int teardown(void **state)
{
    struct fetch_case *fetch = *state;

    transfer_case_end(&fetch->c);
    free(fetch->data);
    free(fetch);
    return 0;
}

static struct locator upload(struct fetch_case *fetch)
{
    uint64_t ino = volume_case_file(&fetch->c.volume, "f");

    for (size_t at = 0; at < FILE_MIB * MIB; at += MIB)
        assert_int_equal(
            volume_write(fetch->c.volume.volume, ino, at, (struct bytes){ fetch->data + at, MIB }),
            0);
    (void)transfer_case_take(&fetch->c, "a");
    return transfer_case_upload(&fetch->c, "a");
}

/* How many megabytes of the file cannot be read; the others are as they were. */
static unsigned compare(struct fetch_case *fetch, struct volume_case *volume)
{
    CLEANUP(free_ptr) uint8_t *found = malloc(MIB);
    struct volume_attr attr;
    unsigned bad = 0;

    assert_non_null(found);
    assert_int_equal(volume_lookup(volume->volume, VOLUME_ROOT, "f", &attr), 0);
    assert_int_equal(attr.size, FILE_MIB * MIB);
    for (size_t at = 0; at < FILE_MIB * MIB; at += MIB) {
        size_t got = 0;
        int r = volume_read(volume->volume, attr.ino, at, MIB, found, &got);
        bad += r < 0;
        if (r < 0)
            assert_int_equal(r, -EIO);
        else
            assert_true(got == MIB && memcmp(found, fetch->data + at, MIB) == 0);
    }
    return bad;
}

static struct origin_progress progress_of(struct download_case *d)
{
    const struct timespec moment = { .tv_nsec = 1000000 };
    struct origin_progress progress;

    (void)nanosleep(&moment, NULL);
    assert_true(volume_origin_progress(d->volume.volume, &progress));
    return progress;
}

/* Packs are what is opened. */
static int pause_at_open(const char *operation, const char *name, void *arg)
{
    const struct volume_case *volume = arg;

    (void)name;
    if (strcmp(operation, "open") == 0)
        volume_origin_pause(volume->volume, true);
    return 0;
}

static void a_pause_ends_a_batch(void **state)
{
    struct fetch_case *fetch = *state;
    struct locator locator = upload(fetch);
    struct mortal_store mortal;
    struct download_case d;

    mortal_store_init(&mortal, fetch->c.store, MORTAL_FOREVER);
    download_case_new(&d, &fetch->c, &locator, &mortal.base);
    mortal.arg = &d.volume;
    mortal.before = pause_at_open;
    download_case_go(&d);
    while (progress_of(&d).fetched == 0)
        ;
    const struct origin_progress progress = progress_of(&d);
    assert_true(progress.is_paused);
    assert_true(progress.fetched <= SEGMENT_FETCHES_MAX * (uint64_t)PACK_SPAN_SMALL);
    assert_true(progress.data_left > 0);
    mortal.before = NULL;
    download_case_finish(&d);
    assert_int_equal(compare(fetch, &d.volume), 0);
    volume_case_check(&d.volume);
    download_case_end(&d);
}

/* A bit in the middle of each pack. Returns how many there are. */
static unsigned alter_packs(struct fetch_case *fetch)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;

    assert_int_equal(bucket_list(&fetch->c.bucket, BUCKET_PACK, &found, NULL), 0);
    for (size_t i = 0; i < found.count; i++) {
        CLEANUP(buf_release) struct buf object = BUF_INIT;
        char text[OBJECT_NAME_MAX + 1];
        bucket_object_name(&fetch->c.bucket, &found.items[i].name, text);
        assert_int_equal(
            bucket_get(&fetch->c.bucket, &found.items[i].name, 64 * MIB, &object, NULL), 0);
        object.data[object.len / 2] ^= 1;
        assert_int_equal(object_store_replace(fetch->c.store, text, buf_bytes(&object), NULL), 0);
    }
    return (unsigned)found.count;
}

static void all_but_what_was_altered_is_brought(void **state)
{
    struct fetch_case *fetch = *state;
    struct locator locator = upload(fetch);
    struct download_case d;

    const unsigned packs = alter_packs(fetch);
    assert_true(packs >= 3);
    download_case_new(&d, &fetch->c, &locator, NULL);
    download_case_go(&d);
    /* As much as one item of each; the rest is here after some batches. */
    while (progress_of(&d).data_left > packs * (uint64_t)PACK_BLOCKS_MAX)
        ;
    assert_int_equal(compare(fetch, &d.volume), packs);
    assert_true(d.volume.events[VOLUME_EVENT_CORRUPTION] > 0);
    download_case_end(&d);
}

static void a_verification_tells_of_each_block_that_was_altered(void **state)
{
    struct fetch_case *fetch = *state;
    struct locator locator = upload(fetch);

    assert_int_equal(transfer_case_verify(&fetch->c, &locator, 1), 0);
    const unsigned packs = alter_packs(fetch);
    assert_true(packs >= 3);
    assert_int_equal(transfer_case_verify(&fetch->c, &locator, 1), packs);
    assert_non_null(strstr(fetch->c.faults, "was altered"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pause_ends_a_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(all_but_what_was_altered_is_brought, setup, teardown),
        cmocka_unit_test_setup_teardown(a_verification_tells_of_each_block_that_was_altered, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
