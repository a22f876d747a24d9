/* What a bucket holds, without any key server, and who uses it; its keys, wrapped anew, with a
 * crash at each step; and what is shredded. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "control/upload_keys.h"
#include "control/uploads.h"
#include "control/uploads_removal.h"
#include "crypto/random.h"
#include "tests/support/kms_case.h"
#include "tests/support/upload_case.h"
#include "transfer/head.h"
#include "transfer/sharing.h"

#define STORE "bucket"
#define VIEWS_MAX 64u

/* --- lists --- */

struct listed {
    struct uploaded_view views[VIEWS_MAX];
    struct uploaded_key keys[VIEWS_MAX]; /* the first of each */
    size_t count;
};

static int keep(const struct uploaded_view *view, void *arg)
{
    struct listed *listed = arg;

    assert_true(listed->count < VIEWS_MAX);
    if (view->key_count > 0)
        listed->keys[listed->count] = view->keys[0];
    listed->views[listed->count++] = *view;
    return 0;
}

static void list(struct servers *servers, const char *after, size_t limit, struct listed *ret)
{
    struct error err = { .code = 0 };

    ret->count = 0;
    must(control_uploads_each(servers->fixture->control, STORE, after, limit, keep, ret, &err),
         &err);
}

static size_t index_of(const struct listed *listed, const char *locator)
{
    for (size_t i = 0; i < listed->count; i++)
        if (strcmp(listed->views[i].locator, locator) == 0)
            return i;
    fail_msg("%s is not listed", locator);
    return 0;
}

static void prepare(struct servers *servers)
{
    must_set(servers, servers->a);
    add_all(servers);
    must_add_folder_store(servers->fixture, STORE);
}

static void what_a_bucket_holds_is_listed_without_the_key_server(void **state)
{
    struct servers *servers = *state;
    CLEANUP(free_ptr) struct listed *listed = calloc(1, sizeof(*listed));
    char first[LOCATOR_SIZE], second[LOCATOR_SIZE];

    prepare(servers);
    list(servers, NULL, 100, listed);
    assert_int_equal(listed->count, 0);
    must_upload(servers->fixture, "one", STORE, "monday", first);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    must_upload(servers->fixture, "two", STORE, "tuesday", second);
    unsigned before = fake_transit_requests(servers->a);
    list(servers, NULL, 100, listed);
    assert_int_equal(fake_transit_requests(servers->a), before);
    assert_int_equal(listed->count, 2);

    size_t i = index_of(listed, first);
    struct fs_view view = view_of(servers->fixture, "one");
    assert_int_equal(listed->views[i].fault.code, 0);
    assert_true(uuid_equal(&listed->views[i].fs, &view.uuid));
    assert_string_equal(listed->views[i].filesystem, "one");
    assert_string_equal(listed->views[i].snapshot, "monday");
    assert_int_equal(listed->views[i].size, UPLOAD_CASE_SIZE);
    assert_int_equal(listed->views[i].key_count, 1);
    assert_string_equal(listed->keys[i].key.type, "vault");
    assert_string_equal(listed->keys[i].key.key, FAKE_KEY);
    assert_string_equal(listed->keys[i].addresses, fake_transit_url(servers->a));
    assert_int_equal(listed->keys[i].key.version, 1);
    assert_int_equal(listed->keys[index_of(listed, second)].key.version, 2);
}

static void a_capacity_that_the_snapshot_would_not_fit_into_is_refused(void **state)
{
    struct servers *servers = *state;
    char locator[LOCATOR_SIZE];
    struct fs_add add = {
        .name = "new", .object_store = STORE, .locator = locator, .capacity = 1ull << 30
    };
    struct error err = { .code = 0 };
    struct fs_view view;

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "monday", locator);
    assert_int_equal(control_add(servers->fixture->control, &add, &view, &err), -EINVAL);
    assert_non_null(strstr(err.text, "give 4GiB or more"));
    assert_int_equal(control_get(servers->fixture->control, "new", &view, NULL), -ENOENT);
}

static void what_a_download_is_refused_for_is_looked_at_before_the_key_server_is_asked(void **state)
{
    struct servers *servers = *state;
    char locator[LOCATOR_SIZE], full[PATH_MAX];
    const struct {
        struct fs_add add;
        int code;
    } refused[] = {
        { { .name = "one" }, -EEXIST },
        { { .name = "no name" }, -EINVAL },
        { { .name = "new", .capacity = 4096 }, -EINVAL },
        { { .name = "new", .capacity = 1ull << 30 }, -EINVAL }, /* the snapshot does not fit in */
        { { .name = "new", .store_url = "dir:relative" }, -EINVAL },
        { { .name = "new", .store_url = full }, -ENOTEMPTY },
    };
    struct fs_view view;

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "monday", locator);
    (void)snprintf(full, sizeof(full), "%s", view_of(servers->fixture, "one").store_url);
    unsigned asked = fake_transit_requests(servers->a);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct fs_add add = refused[i].add;
        struct error err = { .code = 0 };
        add.object_store = STORE;
        add.locator = locator;
        if (control_add(servers->fixture->control, &add, &view, &err) != refused[i].code)
            fail_msg("%zu: %s", i, err.text);
        assert_int_equal(fake_transit_requests(servers->a), asked);
    }
}

static void a_damaged_head_is_listed_as_such_and_hides_no_other(void **state)
{
    struct servers *servers = *state;
    CLEANUP(free_ptr) struct listed *listed = calloc(1, sizeof(*listed));
    CLEANUP(buf_release) struct buf head = BUF_INIT;
    char locators[3][LOCATOR_SIZE];

    prepare(servers);
    for (unsigned i = 0; i < 3; i++)
        must_upload(servers->fixture, names[i], STORE, "s", locators[i]);
    must_get_head(servers->fixture, STORE, locators[0], &head);
    must_put_head(servers->fixture, STORE, locators[1], buf_bytes(&head)); /* of another one */
    must_put_head(servers->fixture, STORE, locators[2], (struct bytes){ head.data, head.len / 2 });
    list(servers, NULL, 100, listed);
    assert_int_equal(listed->count, 3);
    assert_int_equal(listed->views[index_of(listed, locators[0])].fault.code, 0);
    const struct error *exchanged = &listed->views[index_of(listed, locators[1])].fault;
    assert_int_equal(exchanged->code, -EBADMSG);
    assert_non_null(strstr(exchanged->text, "objects were exchanged"));
    assert_int_equal(listed->views[index_of(listed, locators[2])].fault.code, -EBADMSG);
}

static void a_long_list_is_given_page_by_page(void **state)
{
    struct servers *servers = *state;
    CLEANUP(free_ptr) struct listed *listed = calloc(1, sizeof(*listed));
    char locator[LOCATOR_SIZE], after[LOCATOR_SIZE] = "";
    size_t seen = 0;

    prepare(servers);
    for (unsigned i = 0; i < 20; i++)
        must_upload(servers->fixture, "one", STORE, "s", locator);
    do {
        list(servers, after[0] ? after : NULL, 7, listed);
        for (size_t i = 0; i < listed->count; i++) {
            assert_true(strcmp(listed->views[i].locator, after) > 0);
            memcpy(after, listed->views[i].locator, sizeof(after));
        }
        seen += listed->count;
    } while (listed->count > 0);
    assert_int_equal(seen, 20);
}

/* --- rewrap --- */

struct rewrapped {
    struct upload_rewrap_row rows[8];
    size_t count;
};

static int keep_row(const struct upload_rewrap_row *row, void *arg)
{
    struct rewrapped *rewrapped = arg;

    assert_true(rewrapped->count < 8);
    rewrapped->rows[rewrapped->count++] = *row;
    return 0;
}

static int try_rewrap(struct servers *servers, const struct upload_rewrap_options *options,
                      struct rewrapped *ret, struct error *err)
{
    ret->count = 0;
    return control_uploads_rewrap(servers->fixture->control, STORE, options, keep_row, ret, err);
}

static void rewrap_uploads(struct servers *servers, const struct upload_rewrap_options *options,
                           struct rewrapped *ret)
{
    struct error err = { .code = 0 };

    must(try_rewrap(servers, options, ret, &err), &err);
}

static const struct upload_rewrap_row *row_of(const struct rewrapped *rewrapped,
                                              const char *locator)
{
    for (size_t i = 0; i < rewrapped->count; i++)
        if (strcmp(rewrapped->rows[i].locator, locator) == 0)
            return &rewrapped->rows[i];
    fail_msg("%s has no row", locator);
    return &rewrapped->rows[0];
}

/* By its keys alone, as a download would. */
static int open_upload(struct servers *servers, const char *locator, bool *ret_used_previous,
                       struct error *err)
{
    CLEANUP(upload_opened_release) struct upload_opened opened = UPLOAD_OPENED_INIT;
    const struct upload_opening opening = { .purpose = "a test" };
    struct bucket bucket;
    CLEANUP(object_store_closep)
    struct object_store *store = must_open_bucket(servers->fixture, STORE, &bucket);
    struct locator parsed;

    must(locator_parse(locator, &parsed, err), err);
    int r = upload_read(servers->fixture->control, &bucket, &parsed, &opened, err);
    if (r == 0)
        r = upload_open(servers->fixture->control, &opening, &opened, err);
    if (r == 0)
        *ret_used_previous = opened.outcome.used_previous;
    return r;
}

static void must_open_upload(struct servers *servers, const char *locator, bool by_previous)
{
    struct error err = { .code = 0 };
    bool used_previous = false;

    must(open_upload(servers, locator, &used_previous, &err), &err);
    assert_int_equal(used_previous, by_previous);
}

static uint32_t previous_of(struct servers *servers, const char *locator)
{
    CLEANUP(buf_release) struct buf head = BUF_INIT;
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    struct snapshot_head decoded;
    struct error err = { .code = 0 };

    must_get_head(servers->fixture, STORE, locator, &head);
    must(head_decode(buf_bytes(&head), &decoded, &err), &err);
    must(key_ring_peek(decoded.ring, &ring, &err), &err);
    return ring.generations[0].has_previous;
}

static void uploaded_rings_are_wrapped_by_the_newest_version_and_open_by_it(void **state)
{
    static const struct upload_rewrap_options dry = { .is_all = true, .is_dry = true };
    static const struct upload_rewrap_options all = { .is_all = true };
    static const struct upload_rewrap_options drop = { .is_all = true, .drop_previous = true };
    CLEANUP(free_ptr) struct rewrapped *rewrapped = calloc(1, sizeof(*rewrapped));
    CLEANUP(free_ptr) struct listed *listed = calloc(1, sizeof(*listed));
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf after = BUF_INIT;
    struct servers *servers = *state;
    char first[LOCATOR_SIZE], second[LOCATOR_SIZE];

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "s", first);
    must_upload(servers->fixture, "two", STORE, "s", second);
    must_get_head(servers->fixture, STORE, first, &before);
    fake_transit_rotate(servers->a);
    rewrap_uploads(servers, &dry, rewrapped);
    assert_int_equal(row_of(rewrapped, first)->result, REWRAP_PLANNED);
    must_get_head(servers->fixture, STORE, first, &after);
    assert_int_equal(after.len, before.len);
    assert_memory_equal(after.data, before.data, after.len);

    rewrap_uploads(servers, &all, rewrapped);
    assert_int_equal(rewrapped->count, 2);
    assert_int_equal(row_of(rewrapped, first)->result, REWRAP_DONE);
    assert_int_equal(row_of(rewrapped, first)->from.version, 1);
    assert_int_equal(row_of(rewrapped, first)->to.version, 2);
    assert_audited(servers->fixture, "rewrap", "ok");
    list(servers, NULL, 10, listed);
    assert_int_equal(listed->keys[0].key.version, 2);
    assert_int_equal(listed->keys[1].key.version, 2);
    must_open_upload(servers, first, false);
    assert_int_equal(previous_of(servers, first), 1);
    rewrap_uploads(servers, &all, rewrapped);
    assert_int_equal(row_of(rewrapped, first)->result, REWRAP_UNCHANGED);
    rewrap_uploads(servers, &drop, rewrapped);
    assert_int_equal(row_of(rewrapped, first)->dropped, 1);
    assert_int_equal(previous_of(servers, first), 0);
    must_open_upload(servers, first, false);
    must_open_upload(servers, second, false);
}

static void keys_that_nothing_known_needs_any_more_are_told(void **state)
{
    static const struct upload_rewrap_options all = { .is_all = true, .drop_previous = true };
    CLEANUP(free_ptr) struct rewrapped *rewrapped = calloc(1, sizeof(*rewrapped));
    CLEANUP(free_ptr) struct rewrap_key *keys = NULL;
    struct servers *servers = *state;
    struct control *control = servers->fixture->control;
    char first[LOCATOR_SIZE], second[LOCATOR_SIZE];
    struct error err = { .code = 0 };
    int64_t as_of = 0;
    size_t count = 0;

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "s", first);
    must_upload(servers->fixture, "two", STORE, "s", second);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    all_open(servers); /* what wrapped before goes */
    assert_int_equal(control_unneeded_keys(control, &keys, &count, &as_of, NULL), -ENOENT);
    const struct upload_rewrap_options one = { .locator = first };
    rewrap_uploads(servers, &one, rewrapped);
    must(control_unneeded_keys(control, &keys, &count, &as_of, &err), &err);
    assert_int_equal(count, 0); /* the other one needs version 1 */
    rewrap_uploads(servers, &all, rewrapped);
    must(control_unneeded_keys(control, &keys, &count, &as_of, &err), &err);
    assert_int_equal(count, 1);
    assert_string_equal(keys[0].key, FAKE_KEY);
    assert_int_equal(keys[0].version, 1);
    assert_true(as_of > 0);

    /* What cannot be read may need anything. */
    must_put_head(servers->fixture, STORE, second, (struct bytes){ (const uint8_t *)"x", 1 });
    rewrap_uploads(servers, &one, rewrapped);
    assert_event(servers->fixture, "needed-keys-unknown");
    assert_int_equal(control_unneeded_keys(control, &keys, &count, &as_of, NULL), -ENOENT);
}

static void a_crash_between_two_steps_of_a_rewrap_leaves_a_head_that_opens(void **state)
{
    struct upload_rewrap_options all = { .is_all = true };
    CLEANUP(free_ptr) struct rewrapped *rewrapped = calloc(1, sizeof(*rewrapped));
    struct servers *servers = *state;
    char locator[LOCATOR_SIZE];

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "s", locator);
    fake_transit_rotate(servers->a);
    servers->fixture->crash_at = STEP_UPLOAD_WRAPPED;
    assert_int_equal(try_rewrap(servers, &all, rewrapped, NULL), CONTROL_CRASHED);
    servers->fixture->crash_at = STEP_COUNT;
    must_open_upload(servers, locator, false);
    rewrap_uploads(servers, &all, rewrapped);
    assert_int_equal(rewrapped->rows[0].result, REWRAP_DONE);
    must_open_upload(servers, locator, false);

    /* A server that ends at each of the requests: what fails then may pass. */
    unsigned failed = 0;
    for (int requests = 0; requests < 8; requests++) {
        struct error err = { .code = 0 };
        fake_transit_rotate(servers->a);
        fake_transit_seal_after(servers->a, requests);
        (void)try_rewrap(servers, &all, rewrapped, &err);
        fake_transit_seal_after(servers->a, -1);
        must_open_upload(servers, locator, false);
        for (size_t i = 0; i < rewrapped->count; i++) {
            const struct upload_rewrap_row *row = &rewrapped->rows[i];
            assert_int_equal(row->may_pass, row->result == REWRAP_FAILED);
            failed += row->result == REWRAP_FAILED;
        }
    }
    assert_true(failed > 0);
}

static void uploaded_rings_are_wrapped_for_another_server_while_both_are_there(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config other = { .type = "vault", .key_name = FAKE_KEY };
    struct upload_rewrap_options to_other = { .is_all = true, .target = &other };
    CLEANUP(free_ptr) struct rewrapped *rewrapped = calloc(1, sizeof(*rewrapped));
    struct servers *servers = *state;
    char locator[LOCATOR_SIZE];
    struct error err = { .code = 0 };
    bool used_previous = false;

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "s", locator);
    (void)snprintf(other.addresses, sizeof(other.addresses), "%s", fake_transit_url(servers->b));
    assert_int_equal(secret_assign(&other.token, (struct bytes){ (const uint8_t *)"token", 5 }), 0);
    rewrap_uploads(servers, &to_other, rewrapped);
    assert_int_equal(rewrapped->rows[0].result, REWRAP_DONE);
    must_open_upload(servers, locator, true); /* the former server still opens it ... */
    rewrap_uploads(servers, &to_other, rewrapped);
    assert_int_equal(rewrapped->rows[0].result, REWRAP_UNCHANGED);
    to_other.drop_previous = true;
    rewrap_uploads(servers, &to_other, rewrapped);
    assert_int_equal(rewrapped->rows[0].dropped, 1);
    assert_true(open_upload(servers, locator, &used_previous, &err) < 0); /* ... and no more */
    assert_non_null(strstr(err.text, "the snapshot needs vault key " FAKE_KEY));
    assert_non_null(strstr(err.text, fake_transit_url(servers->b)));
    must_set(servers, servers->b);
    must_open_upload(servers, locator, false);
}

static void a_head_that_is_forged_or_removed_is_not_rewrapped(void **state)
{
    static const struct upload_rewrap_options all = { .is_all = true };
    CLEANUP(free_ptr) struct rewrapped *rewrapped = calloc(1, sizeof(*rewrapped));
    CLEANUP(buf_release) struct buf head = BUF_INIT;
    struct servers *servers = *state;
    char good[LOCATOR_SIZE], bad[LOCATOR_SIZE];
    struct snapshot_head decoded;
    struct error err = { .code = 0 };

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "s", good);
    must_upload(servers->fixture, "two", STORE, "s", bad);
    must_get_head(servers->fixture, STORE, bad, &head);
    head.data[8 + 4 + HASH_LEN] ^= 1; /* the length of its manifest */
    must_put_head(servers->fixture, STORE, bad, buf_bytes(&head));
    fake_transit_rotate(servers->a);
    rewrap_uploads(servers, &all, rewrapped);
    assert_int_equal(row_of(rewrapped, good)->result, REWRAP_DONE);
    assert_int_equal(row_of(rewrapped, bad)->result, REWRAP_FAILED);
    assert_false(row_of(rewrapped, bad)->may_pass);
    assert_non_null(strstr(row_of(rewrapped, bad)->text, "altered or forged"));

    /* One whose reference went meanwhile: the head goes, too. */
    must_get_head(servers->fixture, STORE, good, &head);
    must(head_decode(buf_bytes(&head), &decoded, &err), &err);
    struct bucket bucket;
    CLEANUP(object_store_closep)
    struct object_store *store = must_open_bucket(servers->fixture, STORE, &bucket);
    must(reference_drop(&bucket, &decoded.upload, &err), &err);
    fake_transit_rotate(servers->a);
    rewrap_uploads(servers, &all, rewrapped);
    assert_int_equal(row_of(rewrapped, good)->result, REWRAP_FAILED);
    assert_non_null(strstr(row_of(rewrapped, good)->text, "was removed"));
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_HEAD), 1);
}

/* --- repair --- */

static void ruin_rings(struct servers *servers, const char *name)
{
    static const struct bytes nonsense = { (const uint8_t *)"nonsense", 8 };
    struct fs_view view = view_of(servers->fixture, name);
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    struct error err = { .code = 0 };

    must(registry_put_ring(servers->fixture->control->registry, &view.uuid, nonsense, &err), &err);
    must(object_store_open(view.store_url, &store, &err), &err);
    must(object_store_replace(store, KEY_RING_OBJECT, nonsense, &err), &err);
}

static int repair(struct servers *servers, const char *name, const char *locator,
                  char ret_used[static CONTROL_LOCATOR_SIZE], struct error *err)
{
    return control_key_repair(servers->fixture->control, name, STORE, locator, ret_used, err);
}

static void a_ring_that_is_lost_in_both_places_comes_back_from_an_uploaded_snapshot(void **state)
{
    static const enum control_step steps[] = { STEP_RING_STORE, STEP_RING_REGISTRY };
    struct servers *servers = *state;
    char first[LOCATOR_SIZE], second[LOCATOR_SIZE], other[LOCATOR_SIZE];
    char used[CONTROL_LOCATOR_SIZE];
    struct error err = { .code = 0 };

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "s", first);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    must_upload(servers->fixture, "one", STORE, "s", second);
    must_upload(servers->fixture, "two", STORE, "s", other);
    assert_int_equal(repair(servers, "one", NULL, used, &err), -EALREADY);
    assert_int_equal(repair(servers, "none", NULL, used, &err), -ENOENT);

    ruin_rings(servers, "one");
    assert_int_equal(repair(servers, "one", other, used, &err), -ENOENT);
    must(repair(servers, "one", NULL, used, &err), &err);
    assert_string_equal(used, second); /* its ring is the newer one */
    assert_audited(servers->fixture, "repair", "ok");
    assert_event(servers->fixture, "ring-repaired");
    must_start(servers->fixture, "one");
    must_stop(servers->fixture, "one");

    ruin_rings(servers, "one");
    must(repair(servers, "one", first, used, &err), &err);
    assert_string_equal(used, first);
    must_start(servers->fixture, "one");
    must_stop(servers->fixture, "one");

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        ruin_rings(servers, "one");
        servers->fixture->crash_at = steps[i];
        assert_int_equal(repair(servers, "one", NULL, used, &err), CONTROL_CRASHED);
        servers->fixture->crash_at = STEP_COUNT;
        if (repair(servers, "one", NULL, used, &err) < 0)
            assert_int_equal(err.code, -EALREADY);
        must_start(servers->fixture, "one");
        must_stop(servers->fixture, "one");
    }
}

/* --- shredding --- */

struct told {
    char text[2048];
};

static void keep_text(const char *text, void *arg)
{
    struct told *told = arg;
    size_t len = strlen(told->text);

    (void)snprintf(told->text + len, sizeof(told->text) - len, "%s\n", text);
}

static void
a_shredding_takes_what_is_uploaded_and_claims_nothing_of_what_it_does_not_reach(void **state)
{
    struct servers *servers = *state;
    struct control *control = servers->fixture->control;
    char first[LOCATOR_SIZE], second[LOCATOR_SIZE], other[LOCATOR_SIZE], path[128];
    struct told told = { .text = "" };
    struct error err = { .code = 0 };
    uint64_t removed = 0;

    prepare(servers);
    must_add_folder_store(servers->fixture, "away");
    must_upload(servers->fixture, "one", STORE, "s", first);
    must_upload(servers->fixture, "one", STORE, "t", second);
    must_upload(servers->fixture, "two", STORE, "s", other);
    must_start(servers->fixture, "one");
    assert_int_equal(control_shred_uploads(control, "one", keep_text, &told, &removed, &err),
                     -EBUSY);
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_HEAD), 3);
    must_stop(servers->fixture, "one");

    (void)snprintf(path, sizeof(path), "%s/away", servers->fixture->state_dir);
    assert_int_equal(rmdir(path), 0);
    must(control_shred_uploads(control, "one", keep_text, &told, &removed, &err), &err);
    assert_int_equal(removed, 2);
    assert_non_null(strstr(told.text, "object store away was not reached"));
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_HEAD), 1);
    must_open_upload(servers, other, false);
}

static void what_another_instance_uploaded_of_it_stays_and_is_named(void **state)
{
    struct servers *servers = *state;
    struct told told = { .text = "" };
    struct bucket bucket;
    CLEANUP(name_set_release) struct name_set names_of_it = NAME_SET_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    CLEANUP(buf_release) struct buf changed = BUF_INIT;
    struct reference_head head;
    char locator[LOCATOR_SIZE], text[OBJECT_NAME_MAX + 1];
    struct error err = { .code = 0 };
    uint64_t removed = 0;

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "s", locator);
    CLEANUP(object_store_closep)
    struct object_store *store = must_open_bucket(servers->fixture, STORE, &bucket);
    CLEANUP(name_set_release) struct name_set references = NAME_SET_INIT;
    must(bucket_list(&bucket, BUCKET_REFERENCE, &references, &err), &err);
    const struct bucket_name *name = &references.items[0].name;
    must(bucket_get(&bucket, name, REFERENCE_MAX, &encoded, &err), &err);
    assert_int_equal(reference_decode(buf_bytes(&encoded), &head, &names_of_it), 0);
    random_uuid(&head.instance);
    name_set_sort(&names_of_it);
    assert_int_equal(reference_encode(&head, &names_of_it, &changed), 0);
    bucket_object_name(&bucket, name, text);
    must(object_store_replace(store, text, buf_bytes(&changed), &err), &err);
    must(control_shred_uploads(servers->fixture->control, "one", keep_text, &told, &removed, &err),
         &err);
    assert_int_equal(removed, 0);
    assert_non_null(strstr(told.text, "uploaded by it"));
    must_open_upload(servers, locator, false);
}

/* --- who uses it --- */

struct uses {
    struct bucket_use items[8];
    size_t count;
};

static int keep_use(const struct bucket_use *use, void *arg)
{
    struct uses *uses = arg;

    assert_true(uses->count < 8);
    uses->items[uses->count++] = *use;
    return 0;
}

static struct uses uses_of(struct servers *servers)
{
    struct uses uses = { .count = 0 };
    struct error err = { .code = 0 };

    must(control_bucket_uses_each(servers->fixture->control, STORE, keep_use, &uses, &err), &err);
    return uses;
}

/* What somebody else left who died. */
static void leave(struct servers *servers, struct uuid *ret_reference, struct uuid *ret_mark)
{
    struct bucket bucket;
    CLEANUP(object_store_closep)
    struct object_store *store = must_open_bucket(servers->fixture, STORE, &bucket);
    CLEANUP(name_set_release) struct name_set wanted = NAME_SET_INIT;
    struct reference_head head = { .kind = REFERENCE_UPLOAD, .written_ns = 1 };
    struct removing_mark mark = { .written_ns = 2 };
    struct reference reference;
    struct removal removal;
    struct error err = { .code = 0 };
    uint8_t id[BUCKET_ID_LEN];

    random_uuid(&head.reference);
    random_uuid(&head.fs);
    random_uuid(&head.instance);
    random_bytes(id, sizeof(id));
    const struct bucket_name name = bucket_name_of(BUCKET_PACK, id);
    assert_int_equal(name_set_add(&wanted, &name, 10), 0);
    must(reference_open(&reference, &bucket, &head, &err), &err);
    must(reference_add(&reference, &wanted, &err), &err);
    reference_close(&reference);
    random_uuid(&mark.mark);
    mark.instance = head.instance;
    must(removal_begin(&removal, &bucket, &mark, &err), &err);
    *ret_reference = head.reference;
    *ret_mark = mark.mark;
}

static void who_uses_a_bucket_is_listed_and_the_dead_are_expired_by_order_only(void **state)
{
    struct servers *servers = *state;
    struct control *control = servers->fixture->control;
    struct uuid reference, mark, nobody;
    char locator[LOCATOR_SIZE];
    struct error err = { .code = 0 };

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "s", locator);
    leave(servers, &reference, &mark);
    struct uses uses = uses_of(servers);
    assert_int_equal(uses.count, 3);
    assert_int_equal(uses.items[0].kind, BUCKET_USE_REMOVAL);
    assert_false(uses.items[0].is_ours);
    struct bucket_use snapshot = { .names = 0 };
    for (size_t i = 1; i < uses.count; i++)
        if (uses.items[i].kind == BUCKET_USE_SNAPSHOT)
            snapshot = uses.items[i];
    assert_string_equal(snapshot.locator, locator);
    assert_true(snapshot.is_ours);
    assert_int_equal(snapshot.names, 3);

    assert_int_equal(control_bucket_expire(control, STORE, &snapshot.id, &err), -EBUSY);
    assert_non_null(strstr(err.text, locator));
    random_uuid(&nobody);
    assert_int_equal(control_bucket_expire(control, STORE, &nobody, &err), -ENOENT);
    must(control_bucket_expire(control, STORE, &reference, &err), &err);
    must(control_bucket_expire(control, STORE, &mark, &err), &err);
    assert_event(servers->fixture, "object-store-use-expired");
    assert_int_equal(uses_of(servers).count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVERS_TEST(what_a_bucket_holds_is_listed_without_the_key_server),
        SERVERS_TEST(a_capacity_that_the_snapshot_would_not_fit_into_is_refused),
        SERVERS_TEST(what_a_download_is_refused_for_is_looked_at_before_the_key_server_is_asked),
        SERVERS_TEST(a_damaged_head_is_listed_as_such_and_hides_no_other),
        SERVERS_TEST(a_long_list_is_given_page_by_page),
        SERVERS_TEST(uploaded_rings_are_wrapped_by_the_newest_version_and_open_by_it),
        SERVERS_TEST(keys_that_nothing_known_needs_any_more_are_told),
        SERVERS_TEST(a_crash_between_two_steps_of_a_rewrap_leaves_a_head_that_opens),
        SERVERS_TEST(uploaded_rings_are_wrapped_for_another_server_while_both_are_there),
        SERVERS_TEST(a_head_that_is_forged_or_removed_is_not_rewrapped),
        SERVERS_TEST(a_ring_that_is_lost_in_both_places_comes_back_from_an_uploaded_snapshot),
        SERVERS_TEST(
            a_shredding_takes_what_is_uploaded_and_claims_nothing_of_what_it_does_not_reach),
        SERVERS_TEST(what_another_instance_uploaded_of_it_stays_and_is_named),
        SERVERS_TEST(who_uses_a_bucket_is_listed_and_the_dead_are_expired_by_order_only),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests_name("uploads", tests, NULL, NULL);
}
