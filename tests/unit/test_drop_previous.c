/* A former key in wrong hands: what it wrapped is destroyed at once, if what wraps now opens. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "control/rings.h"
#include "store/object_store.h"
#include "tests/support/kms_case.h"

static int drop(struct servers *servers, bool is_dry, struct rewrap_report *ret, struct error *err)
{
    struct rewrap_options options = { .is_rotation = true,
                                      .drop_previous = true,
                                      .is_dry = is_dry };

    return control_kms_rewrap(servers->fixture->control, &options, ret, err);
}

static int drop_all(struct servers *servers, struct error *err)
{
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    int r = drop(servers, false, &report, err);

    if (r == 0 && report.remains[0] != '\0')
        return error_set(err, -EIO, "%s", report.remains);
    return r == 0 && report.failed > 0 ? error_set(err, -EIO, "%s", report.rows[0].text) : r;
}

static void must_drop(struct servers *servers)
{
    struct error err = { .code = 0 };

    must(drop_all(servers, &err), &err);
}

static int count_one(struct bytes ring, void *arg)
{
    (void)ring;
    (*(unsigned *)arg)++;
    return 0;
}

static unsigned count_kept(struct servers *servers, const char *name)
{
    struct fs_view view = view_of(servers->fixture, name);
    unsigned count = 0;

    assert_int_equal(registry_each_kept(servers->fixture->control->registry, &view.uuid, count_one,
                                        &count, NULL),
                     0);
    return count;
}

static void keep_aside(struct servers *servers, const char *name, const struct buf *ring)
{
    struct fs_view view = view_of(servers->fixture, name);
    struct error err = { .code = 0 };

    must(registry_keep_ring(servers->fixture->control->registry, &view.uuid, 's', buf_bytes(ring),
                            &err),
         &err);
}

/* The store's ring is the registry's. */
static void assert_places_agree(struct servers *servers, const char *name)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(buf_release) struct buf mine = BUF_INIT;
    CLEANUP(buf_release) struct buf theirs = BUF_INIT;
    struct error err = { .code = 0 };

    must_have_ring(servers, name, &mine);
    must(object_store_open(view_of(servers->fixture, name).store_url, &store, &err), &err);
    must(object_store_get(store, KEY_RING_OBJECT, KEY_RING_MAX, &theirs, &err), &err);
    assert_int_equal(mine.len, theirs.len);
    assert_memory_equal(mine.data, theirs.data, mine.len);
}

static void what_the_former_key_wrapped_is_gone_at_once(void **state)
{
    struct servers *servers = *state;
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    add_all(servers);
    must_start(servers->fixture, "two"); /* it may run meanwhile */
    must_have_ring(servers, "one", &before);
    keep_aside(servers, "one", &before);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    assert_true(has_previous(servers, "one"));
    assert_true(registry_file_holds(servers, &before));

    must(drop(servers, false, &report, &err), &err); /* there is nothing to wrap any more */
    assert_int_equal(report.failed, 0);
    assert_string_equal(report.remains, "");
    for (size_t i = 0; i < report.count; i++) {
        assert_int_equal(report.rows[i].result, REWRAP_UNCHANGED);
        assert_int_equal(report.rows[i].dropped, 1);
        assert_int_equal(report.rows[i].kept, i == 0);
        assert_false(has_previous(servers, names[i]));
        assert_places_agree(servers, names[i]);
    }
    assert_int_equal(count_kept(servers, "one"), 0);
    assert_false(registry_file_holds(servers, &before));
    assert_audited(servers->fixture, "drop-previous", "ok");
    assert_event(servers->fixture, "previous-dropped");
    must_stop(servers->fixture, "two");
    all_open(servers);
    all_wrapped(servers, "vault", 2);
}

static void wrapping_anew_and_dropping_are_one_command(void **state)
{
    struct servers *servers = *state;
    CLEANUP(buf_release) struct buf before = BUF_INIT;

    must_set(servers, servers->a);
    add_all(servers);
    must_have_ring(servers, "three", &before);
    fake_transit_rotate(servers->a);
    must_drop(servers);
    all_wrapped(servers, "vault", 2);
    for (size_t i = 0; i < N_NAMES; i++)
        assert_false(has_previous(servers, names[i]));
    assert_false(registry_file_holds(servers, &before));
    reopen_control(servers->fixture);
    all_open(servers);
    must_drop(servers); /* again, with nothing left to do */
    all_open(servers);
}

static void a_dry_run_counts_and_destroys_nothing(void **state)
{
    struct servers *servers = *state;
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    add_all(servers);
    must_have_ring(servers, "one", &before);
    keep_aside(servers, "one", &before);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    must(drop(servers, true, &report, &err), &err);
    assert_int_equal(report.rows[0].dropped, 1);
    assert_int_equal(report.rows[0].kept, 1);
    assert_true(has_previous(servers, "one"));
    assert_int_equal(count_kept(servers, "one"), 1);
    assert_true(registry_file_holds(servers, &before));
}

/* A local key that the KMS has taken the place of goes, too. */
static void a_local_key_that_nothing_needs_any_more_is_destroyed(void **state)
{
    struct servers *servers = *state;
    char uuid[UUID_TEXT_SIZE];
    char path[160];

    add_all(servers);
    struct fs_view view = view_of(servers->fixture, "one");
    uuid_format(&view.uuid, uuid);
    (void)snprintf(path, sizeof(path), "%s/local-keys/%s", servers->fixture->state_dir, uuid);
    assert_int_equal(access(path, F_OK), 0);
    must_set(servers, servers->a);
    assert_int_equal(access(path, F_OK), 0); /* the wrapping before needs it */
    assert_true(has_alert(servers->fixture, "local-key", "key of one before the KMS is still"));
    must_drop(servers);
    assert_int_equal(access(path, F_OK), -1);
    assert_false(has_alert(servers->fixture, "local-key", "one"));
    all_open(servers);
}

static void a_crash_at_any_step_leaves_all_open_and_the_next_run_finishes(void **state)
{
    struct servers *servers = *state;
    bool is_through = false;
    int n = 0;

    must_set(servers, servers->a);
    add_all(servers);
    for (; !is_through; n++) {
        CLEANUP(buf_release) struct buf before = BUF_INIT;
        struct error err = { .code = 0 };
        must_have_ring(servers, "two", &before);
        keep_aside(servers, "two", &before);
        fake_transit_rotate(servers->a);
        atomic_store(&servers->fixture->steps_left, n);
        int r = drop_all(servers, &err);
        atomic_store(&servers->fixture->steps_left, -1);
        is_through = r == 0;
        assert_true(r == 0 || r == CONTROL_CRASHED);
        reopen_control(servers->fixture);
        all_open(servers);
        must_drop(servers);
        assert_int_equal(count_kept(servers, "two"), 0);
        assert_false(registry_file_holds(servers, &before));
        for (size_t i = 0; i < N_NAMES; i++)
            assert_places_agree(servers, names[i]);
        all_open(servers);
    }
    /* Each ring is written with its new wrapping, then without the old one; then what was kept. */
    assert_in_range(n, 3 * N_NAMES + 1, 20);
}

/* What it wrapped last does not open while it is away: nothing is dropped of that filesystem. */
static void a_server_that_ends_at_any_request_leaves_all_open(void **state)
{
    struct servers *servers = *state;
    bool is_through = false;
    unsigned kept_back = 0;

    must_set(servers, servers->a);
    add_all(servers);
    for (int n = 0; !is_through; n++) {
        CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
        assert_in_range(n, 0, 30);
        fake_transit_rotate(servers->a);
        fake_transit_seal_after(servers->a, n);
        int r = drop(servers, false, &report, NULL);
        is_through = r == 0 && !fake_transit_is_sealed(servers->a);
        for (size_t i = 0; i < report.count; i++) {
            if (report.rows[i].result != REWRAP_FAILED)
                continue;
            assert_int_equal(report.rows[i].dropped, 0);
            assert_true(report.rows[i].text[0] != '\0');
            kept_back += has_previous(servers, report.rows[i].name);
        }
        fake_transit_seal_after(servers->a, -1);
        all_open(servers);
    }
    assert_true(kept_back > 0);
    for (size_t i = 0; i < N_NAMES; i++)
        assert_false(has_previous(servers, names[i]));
}

static void a_registry_that_cannot_be_written_anew_is_told_of(void **state)
{
    struct servers *servers = *state;
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    struct error err = { .code = 0 };
    char path[160];

    must_set(servers, servers->a);
    add_all(servers);
    fake_transit_rotate(servers->a);
    /* No file can be made in that place. */
    (void)snprintf(path, sizeof(path), "%s/registry/metadata.mdb.copy",
                   servers->fixture->state_dir);
    assert_int_equal(mkdir(path, 0700), 0);
    must(drop(servers, false, &report, &err), &err);
    assert_non_null(strstr(report.remains, "may still be in unused parts of its file"));
    assert_false(has_previous(servers, "one"));
    assert_int_equal(rmdir(path), 0);
    must_drop(servers);
    all_open(servers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVERS_TEST(what_the_former_key_wrapped_is_gone_at_once),
        SERVERS_TEST(wrapping_anew_and_dropping_are_one_command),
        SERVERS_TEST(a_dry_run_counts_and_destroys_nothing),
        SERVERS_TEST(a_local_key_that_nothing_needs_any_more_is_destroyed),
        SERVERS_TEST(a_crash_at_any_step_leaves_all_open_and_the_next_run_finishes),
        SERVERS_TEST(a_server_that_ends_at_any_request_leaves_all_open),
        SERVERS_TEST(a_registry_that_cannot_be_written_anew_is_told_of),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests_name("drop_previous", tests, NULL, NULL);
}
