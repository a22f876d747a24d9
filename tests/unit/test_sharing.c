/* Users of one bucket: what each does, killed at any step, and met by another at any step. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "tests/support/sharing_case.h"
#include "tests/support/store_case.h"

static void removing_a_snapshot_leaves_what_others_need(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct sharing_snapshot a, b;
    struct removal_counts counts;
    struct uuid mark;

    sharing_choose(&a, 0);
    sharing_choose(&b, 3);
    assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
    assert_int_equal(sharing_upload(&bucket, &b, &sharing_patience), 0);
    assert_int_equal(sharing_put_chunk(&bucket, &(struct bucket_name){ BUCKET_CHUNK, { 99 } }), 0);
    store_case_put(c, "shared/by-all/coffer-1/chunks/notes.txt", "not ours");
    random_uuid(&mark);
    assert_int_equal(sharing_remove(&bucket, &mark, &a.manifest, &counts, NULL), 0);
    assert_int_equal(counts.objects, 3 + 1 + 1); /* its own chunks, manifest, what nobody names */
    assert_int_equal(counts.kept, CHOSEN + 1);
    assert_true(sharing_is_complete(&bucket, &b));
    assert_null(sharing_check_heads(&bucket));
    assert_int_equal(sharing_count(&bucket, BUCKET_HEAD), 1);
    assert_int_equal(sharing_count(&bucket, BUCKET_MARK), 0);
    store_case_expect(c, "shared/by-all/coffer-1/chunks/notes.txt", "not ours");
    assert_int_equal(sharing_remove(&bucket, &mark, &a.manifest, &counts, NULL), 0); /* again */
    assert_int_equal(counts.objects, 0);
    assert_int_equal(sharing_remove(&bucket, &mark, &b.manifest, &counts, NULL), 0);
    assert_int_equal(sharing_count(&bucket, BUCKET_CHUNK), 0);
    assert_int_equal(sharing_count(&bucket, BUCKET_REFERENCE), 0);
}

static void a_store_that_does_not_list_what_was_put_allows_no_removal(void **state)
{
    struct store_case *c = *state;
    struct mortal_store blind;
    struct bucket bucket = sharing_bucket(c->store);
    struct removal_counts counts;
    struct sharing_snapshot a;
    unsigned seed = 2;
    struct error err = { .code = 0 };

    sharing_draw(&a, &seed);
    assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
    mortal_store_init(&blind, c->store, MORTAL_FOREVER);
    blind.lists_nothing = true;
    const struct bucket seen = sharing_bucket(&blind.base);
    store_case_expect_error(sharing_remove(&seen, &a.upload, &a.manifest, &counts, &err), -EBUSY,
                            &err);
    assert_true(sharing_is_complete(&bucket, &a));
    assert_int_equal(sharing_count(&bucket, BUCKET_HEAD), 1);
    assert_int_equal(sharing_count(&bucket, BUCKET_MARK), 0);
}

static void a_snapshot_without_a_reference_stops_a_removal(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct removal_counts counts;
    struct sharing_snapshot a, b;
    unsigned seed = 3;
    struct error err = { .code = 0 };

    sharing_draw(&a, &seed);
    sharing_draw(&b, &seed);
    assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
    assert_int_equal(sharing_upload(&bucket, &b, &sharing_patience), 0);
    assert_int_equal(reference_drop(&bucket, &a.upload, NULL), 0);
    store_case_expect_error(sharing_remove(&bucket, &b.upload, &b.manifest, &counts, &err), -EBUSY,
                            &err);
    assert_true(sharing_is_complete(&bucket, &a));
}

static void a_reference_that_cannot_be_read_stops_a_removal(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    char name[OBJECT_NAME_MAX + 1];
    struct removal_counts counts;
    struct sharing_snapshot a, b;
    unsigned seed = 4;
    struct error err = { .code = 0 };

    sharing_draw(&a, &seed);
    sharing_draw(&b, &seed);
    assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
    assert_int_equal(sharing_upload(&bucket, &b, &sharing_patience), 0);
    const struct bucket_name part = reference_name(&a.upload, 0);
    bucket_object_name(&bucket, &part, name);
    assert_int_equal(object_store_replace(c->store, name, text("cut"), NULL), 0);
    int r = sharing_remove(&bucket, &b.upload, &b.manifest, &counts, &err);
    assert_non_null(strstr(err.text, name));
    store_case_expect_error(r, -EBADMSG, &err);
    assert_true(sharing_is_complete(&bucket, &a));
    assert_true(sharing_is_complete(&bucket, &b));
}

static int give_up(const struct removing_mark *mark, void *arg)
{
    *(struct removing_mark *)arg = *mark;
    return -ETIMEDOUT;
}

static void who_needs_something_waits_for_a_mark_and_says_whose_it_is(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    CLEANUP(name_set_release) struct name_set missing = NAME_SET_INIT;
    struct reference_head about;
    struct removing_mark seen;
    const struct share_wait impatience = { give_up, &seen };
    const struct removing_mark mark = { { { 7 } }, some_instance, 5 };
    struct reference reference;
    struct removal removal;
    struct error err = { .code = 0 };

    about = sharing_reference_head(REFERENCE_DOWNLOAD, &some_fs);
    assert_int_equal(removal_begin(&removal, &bucket, &mark, NULL), 0);
    assert_int_equal(reference_open(&reference, &bucket, &about, NULL), 0);
    int r = reference_settle(&reference, NULL, &impatience, &missing, &err);
    assert_non_null(strstr(err.text, "04050600-"));
    store_case_expect_error(r, -ETIMEDOUT, &err);
    assert_memory_equal(&seen, &mark, sizeof(seen));
    assert_int_equal(mark_expire(&bucket, &mark.mark, NULL), 0);
    assert_int_equal(reference_settle(&reference, NULL, &impatience, &missing, NULL), 0);
    reference_close(&reference);
}

static void what_is_missing_or_cut_short_is_seen_before_it_is_relied_on(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    CLEANUP(name_set_release) struct name_set names = NAME_SET_INIT;
    CLEANUP(name_set_release) struct name_set missing = NAME_SET_INIT;
    struct reference_head about = sharing_reference_head(REFERENCE_DOWNLOAD, &some_fs);
    char name[OBJECT_NAME_MAX + 1];
    struct reference reference;
    struct sharing_snapshot a;

    sharing_choose(&a, 0);
    assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
    sharing_names(&a, &names);
    const struct bucket_name gone = sharing_chunk(2), cut = sharing_chunk(4);
    assert_int_equal(bucket_remove(&bucket, &gone, NULL), 0);
    bucket_object_name(&bucket, &cut, name);
    assert_int_equal(object_store_replace(c->store, name, text("cut"), NULL), 0);
    assert_int_equal(reference_open(&reference, &bucket, &about, NULL), 0);
    assert_int_equal(reference_add(&reference, &names, NULL), 0);
    assert_int_equal(reference_settle(&reference, &names, &sharing_patience, &missing, NULL), 0);
    assert_int_equal(missing.count, 2);
    assert_non_null(name_set_find(&missing, &gone));
    assert_non_null(name_set_find(&missing, &cut));
    assert_int_equal(sharing_settle(&reference, &a, &names, &sharing_patience), 0); /* and mended */
    assert_true(sharing_is_complete(&bucket, &a));
    reference_close(&reference);
}

/* The mark goes while the removal is under way. */
struct expiry {
    struct object_store *store;
    struct uuid mark;
    unsigned removes;
};

static int expire_at_third(const char *operation, const char *name, void *arg)
{
    struct expiry *expiry = arg;
    const struct bucket bucket = sharing_bucket(expiry->store);

    if (strcmp(operation, "remove") == 0 && strstr(name, "/chunks/") && ++expiry->removes == 3)
        return mark_expire(&bucket, &expiry->mark, NULL);
    return 0;
}

static void a_removal_whose_mark_was_expired_deletes_nothing_more(void **state)
{
    struct store_case *c = *state;
    struct mortal_store watched;
    struct expiry expiry = { .store = c->store, .mark = { { 9 } } };
    const struct bucket bucket = sharing_bucket(c->store);
    struct removal_counts counts;
    struct error err = { .code = 0 };

    for (unsigned i = 0; i < 8; i++) {
        const struct bucket_name name = sharing_chunk(i);
        assert_int_equal(sharing_put_chunk(&bucket, &name), 0);
    }
    mortal_store_init(&watched, c->store, MORTAL_FOREVER);
    watched.before = expire_at_third;
    watched.arg = &expiry;
    const struct bucket seen = sharing_bucket(&watched.base);
    store_case_expect_error(sharing_remove(&seen, &expiry.mark, NULL, &counts, &err), -ECANCELED,
                            &err);
    assert_int_equal(sharing_count(&bucket, BUCKET_CHUNK), 5);
}

/* Dies at step n of its life, for each n, then goes on; with and without an answer to the last. */
static void an_upload_killed_at_any_step_goes_on(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct mortal_store mortal;
    struct removal_counts counts;
    unsigned seed = 6;
    struct uuid mark;
    bool ended = false;

    for (uint64_t n = 1; !ended; n++) {
        struct sharing_snapshot a;
        sharing_draw(&a, &seed);
        mortal_store_init(&mortal, c->store, n);
        mortal.dies_unanswered = n % 2 == 0;
        const struct bucket seen = sharing_bucket(&mortal.base);
        ended = sharing_upload(&seen, &a, &sharing_patience) == 0;
        assert_null(sharing_check_heads(&bucket));
        random_uuid(&mark);
        if (n % 3 == 0) /* somebody else removes meanwhile */
            assert_int_equal(sharing_remove(&bucket, &mark, NULL, &counts, NULL), 0);
        assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
        assert_true(sharing_is_complete(&bucket, &a));
        assert_int_equal(sharing_remove(&bucket, &mark, &a.manifest, &counts, NULL), 0);
        assert_int_equal(sharing_count(&bucket, BUCKET_CHUNK), 0);
        assert_int_equal(sharing_count(&bucket, BUCKET_REFERENCE), 0);
    }
}

static void an_upload_killed_at_any_step_leaves_nothing_that_cannot_be_collected(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct mortal_store mortal;
    struct removal_counts counts;
    unsigned seed = 7;
    struct uuid mark;
    bool ended = false;

    for (uint64_t n = 1; !ended; n++) {
        struct sharing_snapshot a;
        sharing_draw(&a, &seed);
        mortal_store_init(&mortal, c->store, n);
        mortal.dies_unanswered = n % 2 != 0;
        const struct bucket seen = sharing_bucket(&mortal.base);
        ended = sharing_upload(&seen, &a, &sharing_patience) == 0;
        random_uuid(&mark);
        if (sharing_count(&bucket, BUCKET_HEAD) == 0) {
            assert_int_equal(reference_drop(&bucket, &a.upload, NULL), 0);
            assert_int_equal(sharing_remove(&bucket, &mark, NULL, &counts, NULL), 0);
        } else {
            assert_true(sharing_is_complete(&bucket, &a));
            assert_int_equal(sharing_remove(&bucket, &mark, &a.manifest, &counts, NULL), 0);
        }
        for (int kind = BUCKET_PACK; kind <= BUCKET_MARK; kind++)
            assert_int_equal(sharing_count(&bucket, (enum bucket_kind)kind), 0);
    }
}

static void a_removal_killed_at_any_step_goes_on(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct mortal_store mortal;
    struct removal_counts counts;
    struct sharing_snapshot a, b;
    unsigned seed = 8;
    struct uuid mark;
    bool ended = false;

    sharing_draw(&b, &seed);
    assert_int_equal(sharing_upload(&bucket, &b, &sharing_patience), 0);
    for (uint64_t n = 1; !ended; n++) {
        sharing_draw(&a, &seed);
        assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
        random_uuid(&mark);
        mortal_store_init(&mortal, c->store, n);
        mortal.dies_unanswered = n % 2 == 0;
        const struct bucket seen = sharing_bucket(&mortal.base);
        ended = sharing_remove(&seen, &mark, &a.manifest, &counts, NULL) == 0;
        assert_null(sharing_check_heads(&bucket));
        assert_int_equal(sharing_remove(&bucket, &mark, &a.manifest, &counts, NULL), 0);
        assert_true(sharing_is_complete(&bucket, &b));
        assert_int_equal(sharing_count(&bucket, BUCKET_HEAD), 1);
        assert_int_equal(sharing_count(&bucket, BUCKET_MANIFEST), 1);
        assert_int_equal(sharing_count(&bucket, BUCKET_MARK), 0);
    }
}

/* --- two at a time, in every way --- */

/* At one step of somebody's work another one does all of his. */
struct intruder {
    uint64_t at;
    uint64_t step;
    int (*act)(struct intruder *intruder);
    const struct bucket *bucket;
    const struct sharing_snapshot *snapshot;
    struct uuid id;
    bool has_come;
    int result;
};

static int intrude(const char *operation, const char *name, void *arg)
{
    struct intruder *intruder = arg;

    (void)operation;
    (void)name;
    if (++intruder->step == intruder->at) {
        intruder->has_come = true;
        intruder->result = intruder->act(intruder);
    }
    return 0;
}

static int give_up_at_once(const struct removing_mark *mark, void *arg)
{
    (void)mark;
    (void)arg;
    return -ETIMEDOUT;
}

static const struct share_wait no_patience = { give_up_at_once, NULL };

static int intrude_upload(struct intruder *intruder)
{
    return sharing_upload(intruder->bucket, intruder->snapshot, &no_patience);
}

static int intrude_download(struct intruder *intruder)
{
    return sharing_download(intruder->bucket, intruder->snapshot, &intruder->id, &no_patience);
}

static int intrude_removal(struct intruder *intruder)
{
    struct removal_counts counts;

    return sharing_remove(intruder->bucket, &intruder->id,
                          intruder->snapshot ? &intruder->snapshot->manifest : NULL, &counts, NULL);
}

static void watch(struct mortal_store *store, struct object_store *shared,
                  struct intruder *intruder)
{
    mortal_store_init(store, shared, MORTAL_FOREVER);
    store->before = intrude;
    store->arg = intruder;
}

/* Snapshot a is removed; b, which needs most of the same chunks, is uploaded at step n of that. */
static void an_upload_at_any_step_of_a_removal_is_complete_or_waits(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct intruder intruder = { .act = intrude_upload, .bucket = &bucket, .has_come = true };
    struct removal_counts counts;
    struct mortal_store watched;
    struct sharing_snapshot a, b;
    unsigned waited = 0, went = 0;
    struct uuid mark;

    intruder.snapshot = &b;
    for (uint64_t n = 1; intruder.has_come; n++) {
        sharing_choose(&a, 0);
        sharing_choose(&b, 1);
        random_uuid(&mark);
        assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
        intruder.at = n;
        intruder.step = 0;
        intruder.has_come = false;
        watch(&watched, c->store, &intruder);
        const struct bucket seen = sharing_bucket(&watched.base);
        assert_int_equal(sharing_remove(&seen, &mark, &a.manifest, &counts, NULL), 0);
        assert_null(sharing_check_heads(&bucket));
        waited += intruder.has_come && intruder.result == -ETIMEDOUT;
        went += intruder.has_come && intruder.result == 0;
        assert_int_equal(sharing_upload(&bucket, &b, &sharing_patience), 0);
        assert_true(sharing_is_complete(&bucket, &b));
        assert_int_equal(sharing_remove(&bucket, &mark, &b.manifest, &counts, NULL), 0);
    }
    assert_true(waited > 10 && went > 0);
}

/* The other way round: everything that nobody needs is removed at step n of an upload. */
static void a_removal_at_any_step_of_an_upload_takes_nothing_from_it(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct intruder intruder = { .act = intrude_removal, .bucket = &bucket, .has_come = true };
    struct removal_counts counts;
    struct mortal_store watched;
    struct sharing_snapshot a, b;

    for (uint64_t n = 1; intruder.has_come; n++) {
        sharing_choose(&a, 0);
        sharing_choose(&b, 1);
        random_uuid(&intruder.id);
        assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
        intruder.snapshot = &a;
        intruder.at = n;
        intruder.step = 0;
        intruder.has_come = false;
        watch(&watched, c->store, &intruder);
        const struct bucket seen = sharing_bucket(&watched.base);
        assert_int_equal(sharing_upload(&seen, &b, &sharing_patience), 0);
        assert_int_equal(intruder.result, 0);
        assert_true(sharing_is_complete(&bucket, &b));
        assert_int_equal(sharing_remove(&bucket, &intruder.id, &a.manifest, &counts, NULL), 0);
        assert_true(sharing_is_complete(&bucket, &b));
        assert_int_equal(sharing_remove(&bucket, &intruder.id, &b.manifest, &counts, NULL), 0);
        assert_int_equal(sharing_count(&bucket, BUCKET_CHUNK), 0);
    }
}

static void a_download_at_any_step_of_a_removal_has_all_or_is_told(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct intruder intruder = { .act = intrude_download, .bucket = &bucket, .has_come = true };
    struct removal_counts counts;
    struct mortal_store watched;
    struct sharing_snapshot a;
    struct uuid mark;

    intruder.snapshot = &a;
    for (uint64_t n = 1; intruder.has_come; n++) {
        sharing_choose(&a, 0);
        random_uuid(&mark);
        random_uuid(&intruder.id);
        assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
        intruder.at = n;
        intruder.step = 0;
        intruder.has_come = false;
        watch(&watched, c->store, &intruder);
        const struct bucket seen = sharing_bucket(&watched.base);
        assert_int_equal(sharing_remove(&seen, &mark, &a.manifest, &counts, NULL), 0);
        if (intruder.has_come && intruder.result == 0)
            assert_true(sharing_is_complete(&bucket, &a));
        int r = sharing_download(&bucket, &a, &intruder.id, &sharing_patience);
        assert_true(r == (sharing_is_complete(&bucket, &a) ? 0 : -ENOENT));
        assert_int_equal(reference_drop(&bucket, &intruder.id, NULL), 0);
        assert_int_equal(sharing_remove(&bucket, &mark, NULL, &counts, NULL), 0);
        assert_int_equal(sharing_count(&bucket, BUCKET_CHUNK), 0);
    }
}

static void a_removal_at_any_step_of_a_download_is_seen(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct intruder intruder = { .act = intrude_removal, .bucket = &bucket, .has_come = true };
    struct removal_counts counts;
    struct mortal_store watched;
    struct sharing_snapshot a;
    struct uuid download;

    intruder.snapshot = &a;
    for (uint64_t n = 1; intruder.has_come; n++) {
        sharing_choose(&a, 0);
        random_uuid(&intruder.id);
        random_uuid(&download);
        assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
        intruder.at = n;
        intruder.step = 0;
        intruder.has_come = false;
        watch(&watched, c->store, &intruder);
        const struct bucket seen = sharing_bucket(&watched.base);
        int r = sharing_download(&seen, &a, &download, &sharing_patience);
        assert_true(r == 0 || r == -ENOENT);
        assert_int_equal(sharing_remove(&bucket, &intruder.id, &a.manifest, &counts, NULL), 0);
        assert_true(r == -ENOENT || sharing_is_complete(&bucket, &a));
        assert_int_equal(reference_drop(&bucket, &download, NULL), 0);
        assert_int_equal(sharing_remove(&bucket, &intruder.id, NULL, &counts, NULL), 0);
        assert_int_equal(sharing_count(&bucket, BUCKET_CHUNK), 0);
    }
}

/* An upload that ended unheard goes on, while the snapshot is seen and removed: whatever comes of
 * it, no snapshot is without a reference. */
static void expect_in_order(const struct bucket *bucket)
{
    struct removal_counts counts;
    struct uuid mark;

    random_uuid(&mark);
    assert_null(sharing_check_heads(bucket));
    assert_int_equal(sharing_remove(bucket, &mark, NULL, &counts, NULL), 0);
}

static void a_snapshot_removed_at_any_step_of_its_second_upload_is_there_or_not(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct intruder intruder = { .act = intrude_removal, .bucket = &bucket, .has_come = true };
    struct mortal_store watched;
    struct sharing_snapshot a;

    intruder.snapshot = &a;
    for (uint64_t n = 1; intruder.has_come; n++) {
        sharing_choose(&a, 0);
        random_uuid(&intruder.id);
        assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
        intruder.at = n;
        intruder.step = 0;
        intruder.has_come = false;
        watch(&watched, c->store, &intruder);
        const struct bucket seen = sharing_bucket(&watched.base);
        int r = sharing_upload(&seen, &a, &sharing_patience);
        assert_true(r == 0 || r == -ECANCELED);
        expect_in_order(&bucket);
    }
}

static int intrude_publishing(struct intruder *intruder)
{
    struct reference_head about =
        sharing_reference_head(REFERENCE_UPLOAD, &intruder->snapshot->upload);
    struct reference reference;

    /* As if it had been opened before, and nothing missing then. */
    int r = reference_open(&reference, intruder->bucket, &about, NULL);
    const struct bucket_name part = reference_name(&about.reference, 0);
    if (reference.parts.count == 0)
        assert_int_equal(name_set_add(&reference.parts, &part, 0), 0);
    if (r == 0)
        r = reference_publish(&reference, intruder->snapshot->manifest.id,
                              (struct bytes){ (const uint8_t *)"head", 4 }, NULL);
    reference_close(&reference);
    return r;
}

static void a_snapshot_published_at_any_step_of_its_removal_is_there_or_not(void **state)
{
    struct store_case *c = *state;
    const struct bucket bucket = sharing_bucket(c->store);
    struct intruder intruder = { .act = intrude_publishing, .bucket = &bucket, .has_come = true };
    struct removal_counts counts;
    struct mortal_store watched;
    struct sharing_snapshot a;
    struct uuid mark;

    intruder.snapshot = &a;
    for (uint64_t n = 1; intruder.has_come; n++) {
        sharing_choose(&a, 0);
        random_uuid(&mark);
        assert_int_equal(sharing_upload(&bucket, &a, &sharing_patience), 0);
        intruder.at = n;
        intruder.step = 0;
        intruder.has_come = false;
        watch(&watched, c->store, &intruder);
        const struct bucket seen = sharing_bucket(&watched.base);
        (void)sharing_remove(&seen, &mark, &a.manifest, &counts, NULL);
        assert_int_equal(mark_expire(&bucket, &mark, NULL), 0);
        expect_in_order(&bucket);
        assert_int_equal(sharing_count(&bucket, BUCKET_HEAD), 0);
    }
}

#define EACH(test, kind)                                                                           \
    {                                                                                              \
#test "_" kind, test, store_case_setup, store_case_teardown, (void *)(uintptr_t)(kind)     \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(removing_a_snapshot_leaves_what_others_need, "memory"),
        EACH(removing_a_snapshot_leaves_what_others_need, "dir"),
        EACH(a_store_that_does_not_list_what_was_put_allows_no_removal, "memory"),
        EACH(a_snapshot_without_a_reference_stops_a_removal, "memory"),
        EACH(a_reference_that_cannot_be_read_stops_a_removal, "memory"),
        EACH(who_needs_something_waits_for_a_mark_and_says_whose_it_is, "memory"),
        EACH(what_is_missing_or_cut_short_is_seen_before_it_is_relied_on, "memory"),
        EACH(a_removal_whose_mark_was_expired_deletes_nothing_more, "memory"),
        EACH(an_upload_killed_at_any_step_goes_on, "memory"),
        EACH(an_upload_killed_at_any_step_leaves_nothing_that_cannot_be_collected, "memory"),
        EACH(a_removal_killed_at_any_step_goes_on, "memory"),
        EACH(an_upload_at_any_step_of_a_removal_is_complete_or_waits, "memory"),
        EACH(a_removal_at_any_step_of_an_upload_takes_nothing_from_it, "memory"),
        EACH(a_download_at_any_step_of_a_removal_has_all_or_is_told, "memory"),
        EACH(a_removal_at_any_step_of_a_download_is_seen, "memory"),
        EACH(a_snapshot_removed_at_any_step_of_its_second_upload_is_there_or_not, "memory"),
        EACH(a_snapshot_published_at_any_step_of_its_removal_is_there_or_not, "memory"),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
