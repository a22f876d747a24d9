/* Snapshots of a volume into a bucket: what is put, what is not put again, what an interrupted
 * upload leaves, and what a verification finds. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "fs/volume_internal.h"
#include "store/layers/fault.h"
#include "tests/support/file_case.h"
#include "tests/support/s3_case.h"
#include "tests/support/transfer_case.h"
#include "tests/support/tree_model.h"

#define MIB ((size_t)1 << 20)

static int setup(void **state)
{
    const char *kind = *state;
    struct transfer_case *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    transfer_case_new(c, kind);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct transfer_case *c = *state;

    volume_case_check(&c->volume);
    transfer_case_end(c);
    free(c);
    return 0;
}

static uint64_t write_file(struct transfer_case *c, const char *name, size_t len, unsigned seed)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(len);

    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 31 + i / 4096 * 7 + seed);
    uint64_t ino = volume_case_file(&c->volume, name);
    file_case_write(&c->volume, ino, 0, data, len);
    return ino;
}

static void expect_sound(struct transfer_case *c, const struct locator *locator)
{
    int64_t faults = transfer_case_verify(c, locator, 1);

    if (faults != 0)
        fail_msg("%lld: %s", (long long)faults, c->faults);
}

static void what_is_uploaded_is_what_the_snapshot_shows(void **state)
{
    struct transfer_case *c = *state;
    struct locator locators[3];
    struct volume_snapshot snapshots[3];
    struct tree_model tree;
    uint64_t number = 0;

    tree_model_new(&tree);
    for (unsigned i = 0; i < 3; i++) {
        static const char *const names[] = { "a", "b", "c" };
        for (unsigned k = 0; k < 250; k++)
            tree_model_change(&tree, c->volume.volume, number++);
        snapshots[i] = transfer_case_take(c, names[i]);
        locators[i] = transfer_case_upload(c, names[i]);
        assert_int_equal(c->progress.data_done, c->progress.data);
    }
    for (unsigned k = 0; k < 100; k++) /* afterwards */
        tree_model_change(&tree, c->volume.volume, number++);
    for (unsigned i = 0; i < 3; i++) {
        expect_sound(c, &locators[i]);
        assert_int_equal(transfer_case_verify(c, &locators[i], 3), 0);
        assert_true(transfer_case_compare(c, &locators[i], &snapshots[i]) > 0);
    }
    (void)transfer_case_remove(c, &locators[0]);
    expect_sound(c, &locators[1]);
    expect_sound(c, &locators[2]);
    assert_int_equal(transfer_case_verify(c, &locators[0], 1), -ENOENT);
    (void)transfer_case_remove(c, &locators[1]);
    expect_sound(c, &locators[2]);
    assert_true(transfer_case_compare(c, &locators[2], &snapshots[2]) > 0);
    (void)transfer_case_remove(c, &locators[2]);
    for (int kind = BUCKET_PACK; kind <= BUCKET_MARK; kind++)
        assert_int_equal(transfer_case_count(c, (enum bucket_kind)kind), 0);
    tree_model_free(&tree);
}

static void a_second_upload_moves_little_more_than_the_change(void **state)
{
    struct transfer_case *c = *state;
    uint8_t block[4096];
    struct volume_attr attr;
    char name[16];

    uint64_t ino = write_file(c, "large", 12 * MIB, 1);
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(name, sizeof(name), "small-%u", i);
        (void)write_file(c, name, 700, i);
    }
    c->pack_len = 0;
    (void)transfer_case_take(c, "first");
    struct locator first = transfer_case_upload(c, "first");
    assert_true(c->progress.put_bytes > 12 * MIB && c->progress.put_bytes < 14 * MIB);

    struct locator again = transfer_case_upload(c, "first"); /* only manifest, head, reference */
    assert_int_equal(c->progress.put_objects, 1);
    assert_int_equal(c->progress.data_there, c->progress.data);

    memset(block, 0x5a, sizeof(block)); /* one block of data, one name */
    file_case_write(&c->volume, ino, 5 * MIB, block, sizeof(block));
    assert_int_equal(volume_lookup(c->volume.volume, VOLUME_ROOT, "small-7", &attr), 0);
    assert_int_equal(
        volume_rename(c->volume.volume, VOLUME_ROOT, "small-7", VOLUME_ROOT, "other", 0), 0);
    struct volume_snapshot second = transfer_case_take(c, "second");
    struct locator locator = transfer_case_upload(c, "second");
    print_message("# %llu bytes in %llu objects for a change of 4,096\n",
                  (unsigned long long)c->progress.put_bytes,
                  (unsigned long long)c->progress.put_objects);
    assert_true(c->progress.data - c->progress.data_there <= 2 * (4096 + 28));
    assert_true(c->progress.put_bytes < 5 * (uint64_t)DUMP_CHUNK_MAX);
    expect_sound(c, &first);
    expect_sound(c, &again);
    expect_sound(c, &locator);
    if (!s3_case_is_there()) /* it reads block by block */
        assert_int_equal(transfer_case_compare(c, &locator, &second), 301);
    (void)transfer_case_remove(c, &first); /* whose packs the second one uses */
    expect_sound(c, &locator);
}

/* Compaction changes where blocks lie, not what they are. */
static void what_was_moved_since_is_not_uploaded_again(void **state)
{
    struct transfer_case *c = *state;
    CLEANUP(free_ptr) uint8_t *data = calloc(1, MIB);
    struct segments_space before, after;

    assert_non_null(data);
    uint64_t ino = write_file(c, "f", 4 * MIB, 1);
    volume_case_reopen(&c->volume); /* ends the segment */
    for (unsigned i = 0; i < 3; i++)
        file_case_write(&c->volume, ino, i * MIB, data, MIB - 8192);
    volume_case_reopen(&c->volume);
    (void)transfer_case_take(c, "a");
    struct locator first = transfer_case_upload(c, "a");
    segments_space(c->volume.volume->segments, &before);
    while (volume_make_room(c->volume.volume))
        assert_int_equal(volume_sync(c->volume.volume, NULL), 0);
    segments_space(c->volume.volume->segments, &after);
    assert_true(after.stored < before.stored);
    struct volume_snapshot second = transfer_case_take(c, "b");
    struct locator locator = transfer_case_upload(c, "b");
    assert_int_equal(c->progress.data_there, c->progress.data);
    expect_sound(c, &first);
    expect_sound(c, &locator);
    assert_int_equal(transfer_case_compare(c, &locator, &second), 1);

    (void)transfer_case_remove(c, &first);
    (void)transfer_case_remove(c, &locator);
    locator = transfer_case_upload(c, "b"); /* all of it, from where it lies now */
    assert_int_equal(c->progress.data_there, 0);
    expect_sound(c, &locator);
}

static void names_can_be_kept_out_of_what_anybody_reads(void **state)
{
    struct transfer_case *c = *state;
    CLEANUP(volume_export_closep) struct volume_export *export = NULL;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct volume_source source;
    struct snapshot_head head;
    struct locator locator;

    (void)transfer_case_take(c, "a");
    assert_int_equal(volume_export_open(c->volume.volume, "a", &export, NULL), 0);
    volume_source_init(&source, export);
    struct upload_config config = { .bucket = &c->bucket,
                                    .source = &source.base,
                                    .superblock = buf_bytes(&c->superblock),
                                    .ring = buf_bytes(&c->ring),
                                    .keys = &c->volume.keys,
                                    .filesystem = "projects",
                                    .hides_names = true };
    assert_int_equal(upload_run(&config, &locator, &c->progress, NULL), 0);
    assert_int_equal(head_get(&c->bucket, locator.manifest, &encoded, NULL), 0);
    assert_null(memmem(encoded.data, encoded.len, "projects", 8));
    config.hides_names = false;
    random_uuid(&config.upload);
    assert_int_equal(upload_run(&config, &locator, &c->progress, NULL), 0);
    assert_int_equal(head_get(&c->bucket, locator.manifest, &encoded, NULL), 0);
    assert_int_equal(head_decode(buf_bytes(&encoded), &head, NULL), 0);
    assert_string_equal(head.about.filesystem, "projects");
    assert_string_equal(head.about.snapshot, "a");
    assert_int_equal(head.about.inodes, 1);
    assert_int_equal(head.about.needed_count, 1);
}

/* --- interrupted --- */

static void an_upload_killed_at_any_step_goes_on(void **state)
{
    struct transfer_case *c = *state;
    struct mortal_store mortal;
    struct locator locator;
    struct uuid upload;
    bool ended = false;

    (void)write_file(c, "f", MIB, 3);
    (void)transfer_case_take(c, "a");
    for (uint64_t n = 1; !ended; n++) {
        random_uuid(&upload);
        mortal_store_init(&mortal, c->store, n);
        mortal.dies_unanswered = n % 2 == 0;
        ended = transfer_case_try_upload(c, "a", &upload, &mortal.base, &locator, NULL) == 0;
        if (n % 3 == 0) /* the removal of others does it no harm */
            (void)transfer_case_remove(c, NULL);
        assert_int_equal(transfer_case_try_upload(c, "a", &upload, NULL, &locator, NULL), 0);
        assert_int_equal(transfer_case_count(c, BUCKET_HEAD), 1);
        expect_sound(c, &locator);
        (void)transfer_case_remove(c, &locator);
        assert_int_equal(transfer_case_count(c, BUCKET_PACK), 0);
    }
}

static void what_was_put_before_an_interruption_is_not_put_again(void **state)
{
    struct transfer_case *c = *state;
    struct mortal_store mortal;
    struct locator locator;
    struct uuid upload;

    (void)write_file(c, "f", 4 * MIB, 3);
    (void)transfer_case_take(c, "a");
    random_uuid(&upload);
    mortal_store_init(&mortal, c->store, 20); /* in the middle of the packs */
    assert_true(transfer_case_try_upload(c, "a", &upload, &mortal.base, &locator, NULL) < 0);
    assert_true(mortal.puts > 5);
    uint64_t before = mortal.put_bytes;
    mortal_store_init(&mortal, c->store, MORTAL_FOREVER);
    assert_int_equal(transfer_case_try_upload(c, "a", &upload, &mortal.base, &locator, NULL), 0);
    assert_true(before + mortal.put_bytes < 4 * MIB + MIB / 2);
    expect_sound(c, &locator);
}

static bool stop_at_half(const struct upload_progress *progress, void *arg)
{
    (void)arg;
    return progress->data > 0 && progress->data_done * 2 > progress->data;
}

static void an_upload_that_was_stopped_goes_on_or_leaves_nothing(void **state)
{
    struct transfer_case *c = *state;
    CLEANUP(volume_export_closep) struct volume_export *export = NULL;
    struct volume_source source;
    struct locator locator;
    struct error err = { .code = 0 };

    (void)write_file(c, "f", 4 * MIB, 3);
    (void)transfer_case_take(c, "a");
    assert_int_equal(volume_export_open(c->volume.volume, "a", &export, NULL), 0);
    volume_source_init(&source, export);
    struct upload_config config = { .bucket = &c->bucket,
                                    .source = &source.base,
                                    .superblock = buf_bytes(&c->superblock),
                                    .ring = buf_bytes(&c->ring),
                                    .keys = &c->volume.keys,
                                    .filesystem = "projects",
                                    .pack_len = 65536,
                                    .should_stop = stop_at_half };
    assert_int_equal(upload_run(&config, &locator, &c->progress, &err), -ECANCELED);
    assert_true(c->progress.data_done < c->progress.data);
    unsigned packs = transfer_case_count(c, BUCKET_PACK);
    assert_true(packs > 10);
    assert_int_equal(transfer_case_remove(c, NULL).objects, 0); /* its reference keeps them */
    config.should_stop = NULL;
    assert_int_equal(upload_run(&config, &locator, &c->progress, &err), 0);
    expect_sound(c, &locator);
    (void)transfer_case_remove(c, &locator);

    config.should_stop = stop_at_half;
    assert_int_equal(upload_run(&config, &locator, &c->progress, &err), -ECANCELED);
    assert_int_equal(upload_abort(&c->bucket, &config.upload, NULL), 0);
    assert_true(transfer_case_remove(c, NULL).objects > 10);
    assert_int_equal(transfer_case_count(c, BUCKET_PACK), 0);
    assert_int_equal(transfer_case_count(c, BUCKET_REFERENCE), 0);
}

/* At one step the older snapshot, on which this one relies, is removed from the bucket. */
struct remover {
    struct transfer_case *c;
    struct locator older;
    uint64_t at, step;
    bool has_come;
};

static int remove_older(const char *operation, const char *name, void *arg)
{
    struct remover *remover = arg;

    (void)operation;
    (void)name;
    if (++remover->step == remover->at) {
        remover->has_come = true;
        (void)transfer_case_remove(remover->c, &remover->older);
    }
    return 0;
}

static void the_removal_of_an_older_snapshot_at_any_step_does_no_harm(void **state)
{
    struct transfer_case *c = *state;
    struct remover remover = { .c = c, .has_come = true };
    uint8_t block[4096] = { 7 };
    struct mortal_store watched;
    struct locator locator;
    struct error err = { .code = 0 };
    struct uuid upload;

    uint64_t ino = write_file(c, "f", MIB, 3);
    (void)transfer_case_take(c, "old");
    file_case_write(&c->volume, ino, MIB / 2, block, sizeof(block));
    (void)transfer_case_take(c, "new");
    for (uint64_t n = 1; remover.has_come; n++) {
        remover.older = transfer_case_upload(c, "old");
        remover.at = n;
        remover.step = 0;
        remover.has_come = false;
        mortal_store_init(&watched, c->store, MORTAL_FOREVER);
        watched.before = remove_older;
        watched.arg = &remover;
        random_uuid(&upload);
        if (transfer_case_try_upload(c, "new", &upload, &watched.base, &locator, &err) != 0)
            fail_msg("step %llu: %s", (unsigned long long)n, err.text);
        expect_sound(c, &locator);
        (void)transfer_case_remove(c, &remover.older);
        expect_sound(c, &locator);
        (void)transfer_case_remove(c, &locator);
    }
}

static void a_snapshot_that_is_removed_meanwhile_ends_the_upload(void **state)
{
    struct transfer_case *c = *state;
    CLEANUP(volume_export_closep) struct volume_export *export = NULL;
    struct run_list blocks = RUN_LIST_INIT;
    struct error err = { .code = 0 };

    (void)write_file(c, "f", MIB, 3);
    (void)transfer_case_take(c, "a");
    assert_int_equal(volume_export_open(c->volume.volume, "a", &export, NULL), 0);
    assert_int_equal(volume_snapshot_remove(c->volume.volume, "a", NULL), 0);
    assert_int_equal(volume_export_blocks(export, &blocks, &err), -ESTALE);
    assert_non_null(strstr(err.text, "removed"));
}

/* --- what a verification finds --- */

/* An uploaded snapshot, and its objects. */
struct uploaded {
    struct transfer_case *c;
    struct locator locator;
    struct name_set packs, chunks;
};

static void upload_for_faults(struct transfer_case *c, struct uploaded *ret)
{
    uint8_t data[70000];
    char name[16];

    *ret = (struct uploaded){ .c = c, .packs = NAME_SET_INIT, .chunks = NAME_SET_INIT };
    (void)write_file(c, "f", MIB, 3);
    for (unsigned i = 0; i < 400; i++) {
        (void)snprintf(name, sizeof(name), "s%u", i);
        memset(data, (int)i, 1500);
        uint64_t ino = volume_case_file(&c->volume, name);
        file_case_write(&c->volume, ino, 0, data, 1500);
    }
    (void)transfer_case_take(c, "a");
    ret->locator = transfer_case_upload(c, "a");
    expect_sound(c, &ret->locator);
    assert_int_equal(bucket_list(&c->bucket, BUCKET_PACK, &ret->packs, NULL), 0);
    assert_int_equal(bucket_list(&c->bucket, BUCKET_CHUNK, &ret->chunks, NULL), 0);
    assert_true(ret->packs.count > 2 && ret->chunks.count > 2);
}

static void uploaded_release(struct uploaded *uploaded)
{
    name_set_release(&uploaded->packs);
    name_set_release(&uploaded->chunks);
}

static void put_other(struct uploaded *uploaded, const struct bucket_name *name, struct bytes data)
{
    char text[OBJECT_NAME_MAX + 1];

    bucket_object_name(&uploaded->c->bucket, name, text);
    assert_int_equal(object_store_replace(uploaded->c->store, text, data, NULL), 0);
}

/* There are faults, and a sentence names the object. */
static void expect_found(struct uploaded *uploaded, const struct bucket_name *name)
{
    char text[OBJECT_NAME_MAX + 1];

    assert_true(transfer_case_verify(uploaded->c, &uploaded->locator, 1) != 0);
    bucket_object_name(&uploaded->c->bucket, name, text);
    const char *id = strrchr(text, '/') + 1;
    if (!strstr(uploaded->c->faults, id))
        fail_msg("%s is not in: %s", id, uploaded->c->faults);
}

static void spoil_each_way(struct uploaded *uploaded, const struct bucket_object *object,
                           const struct bucket_object *other)
{
    const struct bucket *bucket = &uploaded->c->bucket;
    CLEANUP(buf_release) struct buf good = BUF_INIT;
    CLEANUP(buf_release) struct buf exchanged = BUF_INIT;

    assert_int_equal(bucket_get(bucket, &object->name, 1 << 26, &good, NULL), 0);
    assert_int_equal(bucket_get(bucket, &other->name, 1 << 26, &exchanged, NULL), 0);
    good.data[good.len / 3] ^= 1;
    put_other(uploaded, &object->name, buf_bytes(&good));
    expect_found(uploaded, &object->name);
    good.data[good.len / 3] ^= 1;
    put_other(uploaded, &object->name, (struct bytes){ good.data, good.len / 2 });
    expect_found(uploaded, &object->name);
    put_other(uploaded, &object->name, buf_bytes(&exchanged));
    expect_found(uploaded, &object->name);
    assert_int_equal(bucket_remove(bucket, &object->name, NULL), 0);
    expect_found(uploaded, &object->name);
    put_other(uploaded, &object->name, buf_bytes(&good));
    expect_sound(uploaded->c, &uploaded->locator);
}

static void what_is_altered_missing_exchanged_or_cut_is_found_and_named(void **state)
{
    struct uploaded uploaded;

    upload_for_faults(*state, &uploaded);
    spoil_each_way(&uploaded, &uploaded.packs.items[0], &uploaded.packs.items[1]);
    spoil_each_way(&uploaded, &uploaded.packs.items[2], &uploaded.packs.items[0]);
    spoil_each_way(&uploaded, &uploaded.chunks.items[0], &uploaded.chunks.items[1]);
    spoil_each_way(&uploaded, &uploaded.chunks.items[2], &uploaded.chunks.items[0]);
    uploaded_release(&uploaded);
}

static void an_older_state_put_back_is_found(void **state)
{
    struct transfer_case *c = *state;
    CLEANUP(buf_release) struct buf old = BUF_INIT;
    struct uploaded uploaded;
    struct locator newer;

    upload_for_faults(c, &uploaded);
    (void)write_file(c, "g", MIB / 2, 9);
    (void)transfer_case_take(c, "b");
    newer = transfer_case_upload(c, "b");
    expect_sound(c, &newer);
    for (int kind = BUCKET_MANIFEST; kind <= BUCKET_HEAD; kind++) {
        CLEANUP(buf_release) struct buf good = BUF_INIT;
        const struct bucket_name from =
            bucket_name_of((enum bucket_kind)kind, uploaded.locator.manifest);
        const struct bucket_name to = bucket_name_of((enum bucket_kind)kind, newer.manifest);
        assert_int_equal(bucket_get(&c->bucket, &from, 1 << 20, &old, NULL), 0);
        assert_int_equal(bucket_get(&c->bucket, &to, 1 << 20, &good, NULL), 0);
        put_other(&uploaded, &to, buf_bytes(&old));
        assert_int_equal(transfer_case_verify(c, &newer, 1), -EBADMSG);
        assert_true(strlen(c->faults) > 20);
        put_other(&uploaded, &to, buf_bytes(&good));
    }
    expect_sound(c, &newer);
    uploaded_release(&uploaded);
}

static void a_snapshot_that_no_reference_protects_is_found(void **state)
{
    struct transfer_case *c = *state;
    CLEANUP(name_set_release) struct name_set references = NAME_SET_INIT;
    struct uploaded uploaded;

    upload_for_faults(c, &uploaded);
    assert_int_equal(bucket_list(&c->bucket, BUCKET_REFERENCE, &references, NULL), 0);
    assert_int_equal(bucket_remove(&c->bucket, &references.items[0].name, NULL), 0);
    assert_int_equal(transfer_case_verify(c, &uploaded.locator, 1), 1);
    assert_non_null(strstr(c->faults, "reference"));
    uploaded_release(&uploaded);
}

/* Verified through a store in which an operation on names that begin so fails. */
static int64_t verify_failing(struct uploaded *uploaded, enum fault_op op, const char *prefix,
                              int code)
{
    struct transfer_case *c = uploaded->c;
    struct object_store *failing = NULL;
    struct fault_store *fault = NULL;
    struct mortal_store mortal; /* the case's own store stays open */

    mortal_store_init(&mortal, c->store, MORTAL_FOREVER);
    assert_int_equal(fault_store_new(&mortal.base, &failing, &fault), 0);
    fault_arm(fault, op, prefix, 0, FAULT_ALWAYS, code);
    c->bucket.store = failing;
    int64_t faults = transfer_case_verify(c, &uploaded->locator, 1);
    c->bucket.store = c->store;
    object_store_close(failing);
    return faults;
}

static void what_is_listed_and_cannot_be_read_is_found(void **state)
{
    struct uploaded uploaded;
    char text[OBJECT_NAME_MAX + 1];

    upload_for_faults(*state, &uploaded);
    bucket_object_name(&uploaded.c->bucket, &uploaded.packs.items[1].name, text);
    assert_int_equal(verify_failing(&uploaded, FAULT_OPEN, text, -ENOENT), 1);
    assert_non_null(strstr(uploaded.c->faults, text));
    bucket_object_name(&uploaded.c->bucket, &uploaded.chunks.items[0].name, text);
    assert_true(verify_failing(&uploaded, FAULT_GET, text, -ENOENT) > 0);
    assert_non_null(strstr(uploaded.c->faults, strrchr(text, '/') + 1));
    uploaded_release(&uploaded);
}

static void a_store_that_cannot_be_reached_is_no_fault_of_a_snapshot(void **state)
{
    static const int codes[] = { -EIO, -ENOTCONN, -ETIMEDOUT, -EACCES };
    struct uploaded uploaded;
    char chunk[OBJECT_NAME_MAX + 1], pack[OBJECT_NAME_MAX + 1], reference[OBJECT_NAME_MAX + 1];
    CLEANUP(name_set_release) struct name_set references = NAME_SET_INIT;

    upload_for_faults(*state, &uploaded);
    const struct bucket *bucket = &uploaded.c->bucket;
    assert_int_equal(bucket_list(bucket, BUCKET_REFERENCE, &references, NULL), 0);
    bucket_object_name(bucket, &references.items[0].name, reference);
    bucket_object_name(bucket, &uploaded.packs.items[1].name, pack);
    bucket_object_name(bucket, &uploaded.chunks.items[1].name, chunk);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_int_equal(verify_failing(&uploaded, FAULT_GET, reference, codes[i]), codes[i]);
        assert_int_equal(verify_failing(&uploaded, FAULT_GET, chunk, codes[i]), codes[i]);
        assert_int_equal(verify_failing(&uploaded, FAULT_OPEN, pack, codes[i]), codes[i]);
        assert_int_equal(verify_failing(&uploaded, FAULT_READ, pack, codes[i]), codes[i]);
        assert_non_null(strstr(uploaded.c->faults, pack));
    }
    assert_int_equal(verify_failing(&uploaded, FAULT_READ, pack, -EBADMSG), 1);
    uploaded_release(&uploaded);
}

#define EACH(test, kind)                                                                           \
    {                                                                                              \
#test "_" kind, test, setup, teardown, (void *)(uintptr_t)(kind)                           \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(what_is_uploaded_is_what_the_snapshot_shows, "memory"),
        EACH(what_is_uploaded_is_what_the_snapshot_shows, "dir"),
        EACH(a_second_upload_moves_little_more_than_the_change, "memory"),
        EACH(what_was_moved_since_is_not_uploaded_again, "memory"),
        EACH(names_can_be_kept_out_of_what_anybody_reads, "memory"),
        EACH(an_upload_killed_at_any_step_goes_on, "memory"),
        EACH(what_was_put_before_an_interruption_is_not_put_again, "memory"),
        EACH(an_upload_that_was_stopped_goes_on_or_leaves_nothing, "memory"),
        EACH(the_removal_of_an_older_snapshot_at_any_step_does_no_harm, "memory"),
        EACH(a_snapshot_that_is_removed_meanwhile_ends_the_upload, "memory"),
        EACH(what_is_altered_missing_exchanged_or_cut_is_found_and_named, "memory"),
        EACH(an_older_state_put_back_is_found, "memory"),
        EACH(a_snapshot_that_no_reference_protects_is_found, "memory"),
        EACH(what_is_listed_and_cannot_be_read_is_found, "memory"),
        EACH(a_store_that_cannot_be_reached_is_no_fault_of_a_snapshot, "memory"),
    };

    /* Against a server the exhaustive ones take long, and it is the same code. */
    const struct CMUnitTest s3_tests[] = {
        EACH(a_second_upload_moves_little_more_than_the_change, "s3"),
        EACH(an_upload_that_was_stopped_goes_on_or_leaves_nothing, "s3"),
    };

    if (s3_case_is_there())
        return cmocka_run_group_tests(s3_tests, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
