/* Filesystems that are made of a snapshot in a bucket: what they show and how they can be changed
 * while little or nothing of it is here, what a crash leaves, and what happens when the bucket
 * fails or was altered. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "fs/volume_internal.h"
#include "store/layers/fault.h"
#include "store/layers/trace.h"
#include "tests/support/download_case.h"
#include "tests/support/file_case.h"
#include "tests/support/tree_model.h"

#define MIB ((size_t)1 << 20)

static int setup(void **state)
{
    struct transfer_case *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    transfer_case_new(c, "dir");
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct transfer_case *c = *state;

    transfer_case_end(c);
    free(c);
    return 0;
}

static uint8_t byte_of(size_t i, unsigned seed)
{
    return (uint8_t)(i * 31 + i / 4096 * 7 + seed);
}

static uint64_t write_file(struct volume_case *c, const char *name, size_t len, unsigned seed)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(len);

    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = byte_of(i, seed);
    uint64_t ino = volume_case_file(c, name);
    file_case_write(c, ino, 0, data, len);
    return ino;
}

static int read_file(struct volume_case *c, const char *name, size_t len, unsigned seed)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(len);
    struct volume_attr attr;
    size_t done = 0, got = 0;

    assert_non_null(data);
    int r = volume_lookup(c->volume, VOLUME_ROOT, name, &attr);
    while (r == 0 && done < len) {
        r = volume_read(c->volume, attr.ino, done, len - done < MIB ? len - done : MIB, data, &got);
        for (size_t i = 0; i < got && r == 0; i++)
            assert_int_equal(data[i], byte_of(done + i, seed));
        assert_true(r < 0 || got > 0);
        done += got;
    }
    if (r == 0)
        assert_int_equal(attr.size, len);
    return r;
}

/* So that the records are more than one chunk. */
static void pad(struct volume_case *c, unsigned count)
{
    static uint8_t value[40000];
    char name[32];

    for (unsigned i = 0; i < count; i++) {
        memset(value, (int)i, sizeof(value));
        (void)snprintf(name, sizeof(name), "user.pad-%u", i);
        assert_int_equal(volume_setxattr(c->volume, VOLUME_ROOT, name,
                                         (struct bytes){ value, sizeof(value) }, 0),
                         0);
    }
}

static void change(struct tree_model *tree, struct volume *volume, uint64_t *number, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        tree_model_change(tree, volume, (*number)++);
}

static void compare(const struct tree_model *tree, struct download_case *d)
{
    (void)tree_model_compare(tree, d->volume.volume, VOLUME_ROOT, true);
}

/* --- what it shows, and how it changes --- */

static void it_is_the_snapshot_and_can_be_changed_before_it_is_here(void **state)
{
    struct transfer_case *c = *state;
    struct download_case d;
    struct tree_model tree;
    uint64_t number = 0;

    tree_model_new(&tree);
    change(&tree, c->volume.volume, &number, 400);
    pad(&c->volume, 20);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    for (unsigned i = 0; i < 50; i++) /* what came later is not in it */
        (void)volume_case_file(&c->volume,
                               (char[]){ 'q', (char)('0' + i / 10), (char)('0' + i % 10), 0 });
    download_case_new(&d, c, &locator, NULL);
    compare(&tree, &d);
    volume_case_check(&d.volume);
    change(&tree, d.volume.volume, &number, 150);
    compare(&tree, &d);
    volume_case_check(&d.volume);
    download_case_reopen(&d); /* what was changed lies above what is not here */
    compare(&tree, &d);
    change(&tree, d.volume.volume, &number, 50);

    download_case_go(&d);
    change(&tree, d.volume.volume, &number, 200);
    compare(&tree, &d);
    download_case_finish(&d);
    compare(&tree, &d);
    volume_case_check(&d.volume);
    assert_int_equal(segments_in_packs(d.volume.volume->segments), 0);

    (void)transfer_case_remove(c, &locator); /* it needs nothing of the bucket any more */
    for (int kind = BUCKET_PACK; kind <= BUCKET_MARK; kind++)
        assert_int_equal(transfer_case_count(c, (enum bucket_kind)kind), 0);
    d.volume.open_origin = NULL;
    volume_case_reopen(&d.volume);
    change(&tree, d.volume.volume, &number, 100);
    compare(&tree, &d);
    volume_case_check(&d.volume);
    tree_model_free(&tree);
    download_case_end(&d);
}

static void its_reference_keeps_what_it_needs(void **state)
{
    struct transfer_case *c = *state;
    struct download_case d;

    (void)write_file(&c->volume, "f", 3 * MIB + 77, 1);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    download_case_new(&d, c, &locator, NULL);
    (void)transfer_case_remove(c, &locator); /* the head goes, and nothing else */
    assert_int_equal(transfer_case_count(c, BUCKET_HEAD), 0);
    assert_true(transfer_case_count(c, BUCKET_PACK) > 0);
    download_case_reopen(&d);
    assert_int_equal(read_file(&d.volume, "f", 3 * MIB + 77, 1), 0);
    download_case_finish(&d);
    (void)transfer_case_remove(c, NULL);
    assert_int_equal(transfer_case_count(c, BUCKET_PACK), 0);
    assert_int_equal(transfer_case_count(c, BUCKET_REFERENCE), 0);
    assert_int_equal(read_file(&d.volume, "f", 3 * MIB + 77, 1), 0);
    volume_case_check(&d.volume);
    download_case_end(&d);
}

static void of_many_files_any_can_be_found_changed_and_removed(void **state)
{
    enum { FILES = 2500 };
    struct transfer_case *c = *state;
    struct download_case d;
    struct volume_attr attr;
    char name[32], other[32];

    for (unsigned i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof(name), "file-%u", i);
        (void)write_file(&c->volume, name, 700 + i % 50, i);
    }
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    assert_true(transfer_case_count(c, BUCKET_CHUNK) > 8);
    download_case_new(&d, c, &locator, NULL);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = round; i < FILES; i += 60) {
            struct volume *volume = d.volume.volume;
            (void)snprintf(name, sizeof(name), "file-%u", i);
            (void)snprintf(other, sizeof(other), "other-%u", i);
            if (i % 3 == 0)
                assert_int_equal(volume_unlink(volume, VOLUME_ROOT, name), 0);
            else if (i % 3 == 1)
                assert_int_equal(volume_rename(volume, VOLUME_ROOT, name, VOLUME_ROOT, other, 0),
                                 0);
            else if (volume_lookup(volume, VOLUME_ROOT, name, &attr) == 0)
                assert_int_equal(volume_link(volume, attr.ino, VOLUME_ROOT, other, &attr), 0);
        }
        if (round == 1)
            download_case_go(&d);
    }
    assert_int_equal(volume_lookup(d.volume.volume, VOLUME_ROOT, "file-0", &attr), -ENOENT);
    volume_case_check(&d.volume);
    download_case_finish(&d);
    volume_case_check(&d.volume);
    for (unsigned i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof(name), "file-%u", i);
        (void)snprintf(other, sizeof(other), "other-%u", i);
        bool is_touched = i % 60 < 3;
        bool has_old = !is_touched || i % 3 == 2, has_new = is_touched && i % 3 != 0;
        assert_int_equal(read_file(&d.volume, name, 700 + i % 50, i), has_old ? 0 : -ENOENT);
        assert_int_equal(read_file(&d.volume, other, 700 + i % 50, i), has_new ? 0 : -ENOENT);
    }
    download_case_end(&d);
}

/* Nothing is sealed anew: what was fetched is not uploaded again either. */
static void a_download_can_be_uploaded_and_downloaded_again(void **state)
{
    struct transfer_case *c = *state;
    struct transfer_case again;
    struct download_case first, second;
    struct tree_model tree;
    struct error err = { .code = 0 };
    uint64_t number = 0;

    tree_model_new(&tree);
    change(&tree, c->volume.volume, &number, 300);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    download_case_new(&first, c, &locator, NULL);
    change(&tree, first.volume.volume, &number, 60);
    assert_int_equal(volume_snapshot_take(first.volume.volume, "early", "early",
                                          &(struct volume_snapshot){ .epoch = 0 }, &err),
                     -EBUSY);
    assert_non_null(strstr(err.text, "downloaded"));
    download_case_wait_records(&first);
    download_case_pause(&first); /* some of its blocks are in the bucket, some are here */
    transfer_case_adopt(&again, &first.volume, c->store);
    struct volume_snapshot taken = transfer_case_take(&again, "b");
    locator = transfer_case_upload(&again, "b");
    assert_int_equal(transfer_case_verify(&again, &locator, 1), 0);
    (void)tree_model_compare(&tree, first.volume.volume, (uint64_t)taken.slot << 48 | VOLUME_ROOT,
                             true);
    if (download_case_try(&second, &again.volume, c->store, &locator, &err) != 0)
        fail_msg("%s", err.text);
    download_case_open(&second);
    compare(&tree, &second);
    download_case_finish(&second);
    compare(&tree, &second);
    volume_case_check(&second.volume);
    download_case_end(&second);

    download_case_finish(&first);
    (void)tree_model_compare(&tree, first.volume.volume, (uint64_t)taken.slot << 48 | VOLUME_ROOT,
                             true);
    assert_int_equal(volume_snapshot_remove(first.volume.volume, "b", NULL), 0);
    volume_case_check(&first.volume);
    transfer_case_disown(&again);
    tree_model_free(&tree);
    download_case_end(&first);
}

static void snapshots_are_fetched_too(void **state)
{
    struct transfer_case *c = *state;
    struct download_case d;
    struct volume_snapshot taken;
    struct volume_attr attr;
    uint8_t found[4096];
    size_t len = 0;

    (void)write_file(&c->volume, "f", 2 * MIB, 1);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    download_case_new(&d, c, &locator, NULL);
    assert_int_equal(volume_lookup(d.volume.volume, VOLUME_ROOT, "f", &attr), 0);
    download_case_wait_records(&d);
    download_case_pause(&d);
    assert_int_equal(volume_snapshot_take(d.volume.volume, "s", "s", &taken, NULL), 0);
    file_case_write(&d.volume, attr.ino, 0, (uint8_t[4096]){ 0 }, 4096);
    assert_int_equal(volume_unlink(d.volume.volume, VOLUME_ROOT, "f"), 0);
    volume_forget(d.volume.volume, attr.ino, 1);
    download_case_finish(&d);
    (void)transfer_case_remove(c, &locator);
    assert_int_equal(transfer_case_count(c, BUCKET_PACK), 0);
    assert_int_equal(volume_read(d.volume.volume,
                                 (uint64_t)taken.slot << 48 | inode_number(attr.ino), MIB,
                                 sizeof(found), found, &len),
                     0);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(found[i], byte_of(MIB + i, 1));
    volume_case_check(&d.volume);
    download_case_end(&d);
}

/* --- crashes --- */

static void crash_once(struct download_case *d, struct tree_model *tree, uint64_t number,
                       unsigned after_ms)
{
    const struct timespec moment = { .tv_nsec = (long)after_ms * 1000000 };

    pid_t child = fork();
    if (child == 0) {
        volume_case_open(&d->volume);
        for (;;) {
            struct error err;
            tree_model_change(tree, d->volume.volume, number++);
            if (number % 8 == 0 && volume_sync(d->volume.volume, &err) < 0)
                _exit(1);
        }
    }
    assert_true(child > 0);
    (void)nanosleep(&moment, NULL);
    assert_int_equal(kill(child, SIGKILL), 0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

/* It is what it was after one of the changes. */
static uint64_t find_state(struct download_case *d, struct tree_model *tree, uint64_t number)
{
    for (unsigned i = 0; i < 100000; i++) {
        if (tree_model_compare(tree, d->volume.volume, VOLUME_ROOT, false))
            return number;
        tree_model_change(tree, NULL, number++);
    }
    fail_msg("it is none of its own states");
    return 0;
}

static void a_crash_at_any_moment_loses_nothing(void **state)
{
    struct transfer_case *c = *state;
    struct download_case d;
    struct tree_model tree, copy;
    uint64_t number = 0;

    tree_model_new(&tree);
    change(&tree, c->volume.volume, &number, 400);
    pad(&c->volume, 60);
    (void)write_file(&c->volume, "zz-large", 24 * MIB, 5);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    download_case_new(&d, c, &locator, NULL);
    assert_int_equal(volume_unlink(d.volume.volume, VOLUME_ROOT, "zz-large"), 0);
    volume_case_close(&d.volume);
    /* A process that forks has no threads: what runs is the child's. */
    volume_case_close(&c->volume);
    for (unsigned i = 0; i < 8; i++) {
        tree_model_copy(&tree, &copy);
        d.place.starts_paused = i % 4 == 3;
        crash_once(&d, &copy, number, 20 + i * 37 % 150);
        tree_model_free(&copy);
        download_case_open(&d);
        number = find_state(&d, &tree, number);
        volume_case_check(&d.volume);
        volume_case_close(&d.volume);
    }
    download_case_open(&d);
    download_case_finish(&d);
    compare(&tree, &d);
    volume_case_check(&d.volume);
    tree_model_free(&tree);
    download_case_end(&d);
    volume_case_open(&c->volume);
}

static void a_download_that_dies_while_it_is_made_is_made_again(void **state)
{
    struct transfer_case *c = *state;
    struct mortal_store mortal;
    struct download_case d;
    bool ended = false;

    (void)write_file(&c->volume, "f", MIB, 3);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    for (uint64_t n = 1; !ended; n++) {
        mortal_store_init(&mortal, c->store, n);
        mortal.dies_unanswered = n % 2 == 0;
        ended = download_case_try(&d, &c->volume, &mortal.base, &locator, NULL) == 0;
        assert_true(ended || n < 100);
        if (!ended) {
            assert_int_equal(reference_drop(&c->bucket, &d.reference, NULL), 0);
            download_case_end(&d);
        }
    }
    download_case_use(&d, c->store);
    download_case_open(&d);
    assert_int_equal(read_file(&d.volume, "f", MIB, 3), 0);
    download_case_end(&d);
}

/* --- a bucket that fails, or was altered --- */

/* Of so many, those that end with a code when they are read, and when they are changed. */
static unsigned count_pads(struct volume_case *c, unsigned count, int code)
{
    const struct bytes value = { (const uint8_t *)"x", 1 };
    char name[32];
    size_t len = 0;
    unsigned found = 0;

    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "user.pad-%u", i);
        int r = volume_getxattr(c->volume, VOLUME_ROOT, name, NULL, 0, &len);
        assert_true(r == 0 || r == code);
        if (r == code)
            assert_int_equal(volume_setxattr(c->volume, VOLUME_ROOT, name, value, XATTR_REPLACE),
                             code);
        found += r == code;
    }
    return found;
}

/* The bucket can fail from now on. */
static struct fault_store *put_fault(struct transfer_case *c)
{
    struct fault_store *fault = NULL;

    assert_int_equal(fault_store_new(c->store, &c->store, &fault), 0);
    assert_int_equal(bucket_init(&c->bucket, c->store, "", NULL), 0);
    return fault;
}

static void a_bucket_that_is_away_makes_reads_fail_and_loses_nothing(void **state)
{
    struct transfer_case *c = *state;
    struct fault_store *fault = put_fault(c);
    struct download_case d;
    struct volume_attr attr;

    (void)write_file(&c->volume, "f", 2 * MIB, 3);
    pad(&c->volume, 40);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    download_case_new(&d, c, &locator, NULL);
    assert_int_equal(volume_lookup(d.volume.volume, VOLUME_ROOT, "f", &attr), 0);

    static const enum fault_op ops[] = { FAULT_OPEN, FAULT_READ, FAULT_GET, FAULT_STAT,
                                         FAULT_LIST };
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        fault_arm(fault, ops[i], "", 0, FAULT_ALWAYS, -EAGAIN);
    assert_int_equal(read_file(&d.volume, "f", 2 * MIB, 3), -EIO);
    assert_int_equal(d.volume.events[VOLUME_EVENT_ORIGIN_AWAY], 1);
    (void)write_file(&d.volume, "new", MIB, 4); /* what is here goes on */
    assert_int_equal(read_file(&d.volume, "new", MIB, 4), 0);
    assert_true(count_pads(&d.volume, 40, -EIO) > 20); /* some were at hand */
    download_case_go(&d);
    struct origin_progress progress = { .chunks = 0 };
    do
        assert_true(volume_origin_progress(d.volume.volume, &progress));
    while (progress.waits_for.code == 0);

    fault_disarm(fault);
    download_case_finish(&d);
    assert_int_equal(read_file(&d.volume, "f", 2 * MIB, 3), 0);
    volume_case_check(&d.volume);
    download_case_end(&d);
}

struct watch {
    struct volume *volume;
    atomic_uint tries;      /* behind a failure */
    atomic_bool has_waited; /* during one of them */
};

/* Fails until that is noticed. */
static int fail_first(const char *operation, const char *name, void *arg)
{
    struct watch *watch = arg;
    struct origin_progress progress;
    (void)operation;
    (void)name;

    if (!volume_origin_progress(watch->volume, &progress))
        return 0;
    if (progress.failures == 0 && atomic_load(&watch->tries) == 0)
        return -EAGAIN;
    atomic_fetch_add(&watch->tries, 1);
    if (progress.waits_for.code < 0)
        atomic_store(&watch->has_waited, true);
    return 0;
}

static void what_tries_again_does_not_wait(void **state)
{
    struct transfer_case *c = *state;
    struct mortal_store mortal;
    struct download_case d;

    (void)write_file(&c->volume, "f", 2 * MIB, 3);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    mortal_store_init(&mortal, c->store, MORTAL_FOREVER);
    download_case_new(&d, c, &locator, &mortal.base);
    struct watch watch = { .volume = d.volume.volume };
    mortal.arg = &watch;
    mortal.before = fail_first;
    download_case_finish(&d);
    mortal.before = NULL;
    assert_true(watch.tries > 0);
    assert_false(watch.has_waited);
    assert_int_equal(read_file(&d.volume, "f", 2 * MIB, 3), 0);
    download_case_end(&d);
}

static void alter(struct transfer_case *c, enum bucket_kind kind, bool removes)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;

    assert_int_equal(bucket_list(&c->bucket, kind, &found, NULL), 0);
    for (size_t i = 0; i < found.count; i++) {
        CLEANUP(buf_release) struct buf object = BUF_INIT;
        char text[OBJECT_NAME_MAX + 1];
        bucket_object_name(&c->bucket, &found.items[i].name, text);
        assert_int_equal(bucket_get(&c->bucket, &found.items[i].name, 64 * MIB, &object, NULL), 0);
        object.data[object.len / 2] ^= 1;
        if (removes)
            assert_int_equal(object_store_remove(c->store, text, NULL), 0);
        else
            assert_int_equal(object_store_replace(c->store, text, buf_bytes(&object), NULL), 0);
    }
}

static void what_was_altered_is_named_and_not_brought_in(void **state)
{
    struct transfer_case *c = *state;
    struct origin_progress progress = { .chunks = 0 };

    (void)write_file(&c->volume, "f", 100000, 3);
    pad(&c->volume, 20);
    (void)transfer_case_take(c, "a");
    for (int i = 0; i < 4; i++) {
        struct locator locator = transfer_case_upload(c, "a");
        struct download_case d;
        download_case_new(&d, c, &locator, NULL);
        alter(c, i < 2 ? BUCKET_PACK : BUCKET_CHUNK, i % 2 == 1);
        assert_int_equal(read_file(&d.volume, "f", 100000, 3), -EIO);
        assert_true(d.volume.events[VOLUME_EVENT_CORRUPTION] > 0);
        assert_non_null(strstr(d.volume.last_event, i < 2 ? "pack" : "chunk"));
        download_case_go(&d);
        do
            assert_true(volume_origin_progress(d.volume.volume, &progress));
        while (progress.waits_for.code == 0);
        assert_int_equal(progress.waits_for.code, -EBADMSG);
        assert_true(progress.data_left > 0);
        download_case_end(&d);
        (void)transfer_case_remove(c, &locator);
        (void)reference_drop(&c->bucket, &d.reference, NULL);
        (void)transfer_case_remove(c, NULL);
    }
}

static void without_its_bucket_or_key_it_is_not_opened(void **state)
{
    struct transfer_case *c = *state;
    struct download_case d;

    (void)write_file(&c->volume, "f", 100000, 3);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    download_case_new(&d, c, &locator, NULL);
    volume_case_close(&d.volume);
    d.volume.open_origin = NULL;
    assert_int_equal(volume_case_try_open(&d.volume), -ENODATA);
    assert_non_null(strstr(d.volume.last_event, "object store"));
    download_case_use(&d, c->store);
    struct key_set keys = d.volume.keys;
    d.volume.keys.foreign_count = 0;
    assert_int_equal(volume_case_try_open(&d.volume), -ENOKEY);
    assert_non_null(strstr(d.volume.last_event, "generation 1"));
    d.volume.keys = keys;
    download_case_open(&d);
    assert_int_equal(read_file(&d.volume, "f", 100000, 3), 0);
    download_case_end(&d);
}

/* --- where it says that it came from --- */

static void an_impossible_origin_is_refused(void **state)
{
    struct origin_record origin = { .state = ORIGIN_NEEDED, .generation = 1 }, found;
    uint8_t value[ORIGIN_VALUE_LEN];
    size_t len;
    (void)state;

    assert_int_equal(origin_encode(&origin, value, &len), 0);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(origin_decode((struct bytes){ value, i }, &found), -EBADMSG);
    assert_int_equal(origin_decode((struct bytes){ value, len }, &found), 0);
    value[0] = 2; /* version */
    assert_int_equal(origin_decode((struct bytes){ value, len }, &found), -EPROTONOSUPPORT);
    value[0] = 1;
    value[1] = 3; /* state */
    assert_int_equal(origin_decode((struct bytes){ value, len }, &found), -EBADMSG);
    origin.generation = 0;
    assert_int_equal(origin_encode(&origin, value, &len), -EINVAL);
}

/* --- how it is fetched --- */

#define SMALL_LEN ((size_t)20 * 1024)

static void small_files(struct volume_case *c, unsigned count)
{
    char name[32];

    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "small-%03u", i);
        (void)write_file(c, name, SMALL_LEN, i);
    }
}

static void compare_small_files(struct volume_case *c, unsigned count)
{
    char name[32];

    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "small-%03u", i);
        assert_int_equal(read_file(c, name, SMALL_LEN, i), 0);
    }
}

static uint64_t reads_of(struct trace_store *trace)
{
    struct trace_counts counts;

    trace_store_counts(trace, STORE_READ, &counts);
    return counts.calls;
}

static void much_of_a_pack_is_asked_for_at_once(void **state)
{
    struct transfer_case *c = *state;
    struct trace_store *trace = NULL;
    struct download_case d;

    c->pack_len = 0;              /* the usual one */
    small_files(&c->volume, 400); /* 8 MiB, which were written one after the other */
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    assert_int_equal(trace_store_new(c->store, &c->store, &trace), 0);
    download_case_new(&d, c, &locator, NULL);
    compare_small_files(&d.volume, 400); /* by who needs them, one after the other */
    assert_true(reads_of(trace) < 20);
    uint64_t before = reads_of(trace);
    download_case_finish(&d);
    assert_true(reads_of(trace) - before < 20);
    compare_small_files(&d.volume, 400);
    volume_case_check(&d.volume);
    download_case_end(&d);
}

/* The same bytes once more, in blocks that are its own: what was fetched is freed in part. */
static void write_again(struct volume_case *c, const char *name, size_t len, unsigned seed)
{
    struct volume_attr attr;
    uint8_t block[4096];

    assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, name, &attr), 0);
    for (size_t at = 0; at < len; at += 16 * sizeof(block)) {
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = byte_of(at + i, seed);
        file_case_write(c, attr.ino, at, block, sizeof(block));
    }
}

static void what_a_failed_sync_lost_of_what_was_fetched_is_rescued(void **state)
{
    struct transfer_case *c = *state;
    struct fault_store *fault = NULL;
    struct download_case d;
    char name[] = "0";

    c->pack_len = 0;
    for (; name[0] < '8'; name[0]++)
        (void)write_file(&c->volume, name, 4 * MIB, (unsigned)name[0]);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    download_case_new(&d, c, &locator, NULL);
    volume_case_close(&d.volume);
    assert_int_equal(fault_store_new(d.volume.store, &d.volume.store, &fault), 0);
    download_case_open(&d);
    for (unsigned i = 0; i < 3; i++) /* no more than a sync can bear */
        fault_arm(fault, FAULT_SYNC_LOSE, "segments/", 1 + 4 * i, 1, -EIO);
    download_case_go(&d);
    for (name[0] = '0'; name[0] < '8'; name[0]++) {
        write_again(&d.volume, name, 4 * MIB, (unsigned)name[0]);
        (void)volume_sync(d.volume.volume, NULL);
    }
    download_case_finish(&d);
    fault_disarm(fault);
    assert_int_equal(volume_sync(d.volume.volume, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        for (name[0] = '0'; name[0] < '8'; name[0]++)
            assert_int_equal(read_file(&d.volume, name, 4 * MIB, (unsigned)name[0]), 0);
        volume_case_check(&d.volume);
        volume_case_reopen(&d.volume);
    }
    download_case_end(&d);
}

/* Until it rests for that reason. */
static void wait_for_reason(struct volume *volume, int code)
{
    struct origin_progress progress = { .chunks = 0 };

    do
        assert_true(volume_origin_progress(volume, &progress));
    while (progress.waits_for.code != code);
}

/* The sum of what lies in packs is made anew by a recount: as long as that has not ended well, 0
 * does not mean that the bucket is needed no more. */
static void the_bucket_is_kept_while_what_is_needed_is_not_known(void **state)
{
    struct transfer_case *c = *state;
    struct fault_store *fault = put_fault(c);
    struct download_case d;

    (void)write_file(&c->volume, "f", 3 * MIB, 7);
    (void)transfer_case_take(c, "a");
    struct locator locator = transfer_case_upload(c, "a");
    download_case_new(&d, c, &locator, NULL);
    fault_arm(fault, FAULT_OPEN, "coffer-1/packs/", 0, FAULT_ALWAYS, -EAGAIN);
    fault_arm(fault, FAULT_READ, "coffer-1/packs/", 0, FAULT_ALWAYS, -EAGAIN);
    download_case_go(&d);
    wait_for_reason(d.volume.volume, -EIO);

    struct volume *volume = d.volume.volume;
    maintenance_begin(&volume->maintenance); /* nobody counts meanwhile */
    segments_distrust(volume->segments);
    segments_recount_begin(volume->segments);
    assert_int_equal(segments_in_packs(volume->segments), 0);
    download_case_go(&d);
    wait_for_reason(volume, -EBUSY);
    assert_true(transfer_case_count(c, BUCKET_REFERENCE) > 1);
    maintenance_end(&volume->maintenance);

    assert_int_equal(volume_recount(volume, NULL), 0);
    assert_true(segments_in_packs(volume->segments) > 0);
    fault_disarm(fault);
    download_case_finish(&d);
    assert_int_equal(read_file(&d.volume, "f", 3 * MIB, 7), 0);
    volume_case_check(&d.volume);
    download_case_end(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_impossible_origin_is_refused),
        cmocka_unit_test_setup_teardown(it_is_the_snapshot_and_can_be_changed_before_it_is_here,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(its_reference_keeps_what_it_needs, setup, teardown),
        cmocka_unit_test_setup_teardown(of_many_files_any_can_be_found_changed_and_removed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_download_can_be_uploaded_and_downloaded_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(snapshots_are_fetched_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_at_any_moment_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_download_that_dies_while_it_is_made_is_made_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_bucket_that_is_away_makes_reads_fail_and_loses_nothing,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_tries_again_does_not_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_altered_is_named_and_not_brought_in, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_its_bucket_or_key_it_is_not_opened, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(much_of_a_pack_is_asked_for_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_failed_sync_lost_of_what_was_fetched_is_rescued,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_bucket_is_kept_while_what_is_needed_is_not_known, setup,
                                        teardown),
    };

    return cmocka_run_group_tests_name("download", tests, NULL, NULL);
}
