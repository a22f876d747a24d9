/* A key of another filesystem that the key server refuses: what goes on without it, what keeps it
 * as it is wrapped, and how it comes back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/uploads.h"
#include "crypto/random.h"
#include "keyring/key_export.h"
#include "tests/support/elsewhere_case.h"
#include "transfer/head.h"

/* Its own key is wrapped by version 1, the foreign one by version 2. */
static void prepare_joined(struct servers *servers, struct elsewhere *ret, char *ret_locator)
{
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(servers, ret);
    publish(servers, ret, NULL, ret_locator);
    fake_transit_rotate(servers->a);
    set_word(servers, "done");
    must(bring(servers, ret_locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    assert_joined(servers, ret);
}

static void prepare_refused(struct servers *servers, struct elsewhere *ret)
{
    char locator[LOCATOR_SIZE];

    prepare_joined(servers, ret, locator);
    must_stop(servers->fixture, NAME);
    fake_transit_allow(servers->a, 2, false);
    must_start(servers->fixture, NAME);
}

/* The alert's text, with the name of whose key it is. */
static bool find_alert(struct servers *servers, char ret[static 640])
{
    CLEANUP(free_ptr) struct alert *alerts = NULL;
    struct error err = { .code = 0 };
    size_t count = 0;
    bool is_found = false;

    must(control_alerts(servers->fixture->control, &alerts, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(alerts[i].kind->type, "foreign-key-missing") != 0)
            continue;
        assert_string_equal(alerts[i].filesystem, NAME);
        (void)snprintf(ret, 640, "%s", alerts[i].text);
        is_found = true;
    }
    return is_found;
}

static void assert_alerted(struct servers *servers, const struct elsewhere *elsewhere)
{
    struct fs_view view = view_of(servers->fixture, NAME);
    char id[UUID_TEXT_SIZE];
    char text[640];

    uuid_format(&elsewhere->opened.ring.uuid, id);
    assert_true(find_alert(servers, text));
    assert_non_null(strstr(text, id));
    assert_non_null(strstr(text, "min_decryption_version"));
    assert_non_null(strstr(view.status_text, id));
    assert_non_null(strstr(view.lacking, id));
}

static void assert_no_alert(struct servers *servers)
{
    char text[640];

    assert_false(find_alert(servers, text));
    assert_string_equal(view_of(servers->fixture, NAME).lacking, "");
}

/* The monitor looks when it is told that the key server changed. */
static void wait_until_back(struct servers *servers)
{
    control_look_at_kms(servers->fixture->control);
    wait_event(servers->fixture, "foreign-key-back");
    assert_no_alert(servers);
}

/* What wraps the foreign generation, as the registry has it. */
static void get_foreign(struct servers *servers, struct key_generation *ret)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct error err = { .code = 0 };

    must_have_ring(servers, NAME, &encoded);
    must(key_ring_peek(buf_bytes(&encoded), &ring, &err), &err);
    assert_int_equal(ring.count, 2);
    *ret = ring.generations[1];
}

static uint32_t own_version(struct servers *servers)
{
    return view_of(servers->fixture, NAME).kms_key_version;
}

static void one_that_is_refused_keeps_nothing_else_from_starting(void **state)
{
    struct servers *servers = *state;
    struct control *control = servers->fixture->control;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    struct kms_status status;

    prepare_refused(servers, &elsewhere);
    assert_int_equal(view_of(servers->fixture, NAME).state, FS_STARTED);
    assert_alerted(servers, &elsewhere);
    assert_event(servers->fixture, "foreign-key-missing");
    kms_status(control->kms, &status); /* it is one key that is refused, and no more */
    assert_int_equal(status.error_code, 0);

    /* A cofferd that finds the worker running knows it, and which. */
    close_control(servers->fixture);
    open_control(servers->fixture);
    wait_state(servers->fixture, NAME, FS_STARTED);
    control_look_at_kms(servers->fixture->control);
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    char text[640];
    while (!find_alert(servers, text) || !strstr(text, "min_decryption_version")) {
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(10);
    }
    assert_alerted(servers, &elsewhere);

    fake_transit_allow(servers->a, 2, true);
    wait_until_back(servers);
    assert_joined(servers, &elsewhere);
    must_stop(servers->fixture, NAME);
    must_start(servers->fixture, NAME);
    assert_no_alert(servers);
}

static void a_key_server_that_is_away_is_waited_for_as_before(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];
    struct fs_view view;
    struct error err = { .code = 0 };

    prepare_joined(servers, &elsewhere, locator);
    must_stop(servers->fixture, NAME);
    /* Before its own key, or between that and the foreign one. */
    for (int requests = 0; requests < 2; requests++) {
        fake_transit_seal_after(servers->a, requests);
        assert_int_equal(control_start(servers->fixture->control, NAME, false, &view, &err),
                         -EAGAIN);
        assert_no_alert(servers);
        fake_transit_seal_after(servers->a, -1);
    }
    /* An own key that is refused keeps it from starting. */
    fake_transit_allow(servers->a, 1, false);
    assert_int_equal(control_start(servers->fixture->control, NAME, false, &view, &err),
                     -EKEYREVOKED);
    fake_transit_allow(servers->a, 1, true);
    must_start(servers->fixture, NAME);
}

static void a_refused_key_stays_wrapped_as_it_is(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    struct key_generation before, after;
    struct error err = { .code = 0 };

    prepare_refused(servers, &elsewhere);
    get_foreign(servers, &before);
    fake_transit_rotate(servers->a);
    must(rewrap(servers, &report, &err), &err);
    assert_int_equal(report.failed, 0);
    assert_int_equal(report.rows[0].result, REWRAP_DONE);
    assert_non_null(strstr(report.rows[0].text, "stays wrapped as before"));
    assert_int_equal(own_version(servers), 3);
    get_foreign(servers, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    fake_transit_allow(servers->a, 2, true);
    must_rewrap(servers);
    get_foreign(servers, &after);
    assert_int_equal(after.current.key.key_version, 3);
    wait_until_back(servers);
    assert_joined(servers, &elsewhere);
}

/* Nothing is sealed under it any more: it need not be got back. */
static void one_that_nothing_needs_ends_with_its_alert(void **state)
{
    struct servers *servers = *state;
    struct control *control = servers->fixture->control;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(rings_opened_release) struct rings_opened ours = RINGS_OPENED_INIT;
    struct foreign_keys_report report;
    struct error err = { .code = 0 };

    prepare_refused(servers, &elsewhere);
    assert_alerted(servers, &elsewhere);
    must(control_key_drop_unused(control, NAME, false, &report, &err), &err);
    assert_int_equal(report.count, 1);
    assert_int_equal(report.items[0].wrapped_by.version, 2);
    assert_true(report.items[0].is_dropped);
    wait_event(servers->fixture, "foreign-key-back");
    assert_no_alert(servers);
    open_rings(servers, NAME, &ours);
    assert_int_equal(ours.ring.count, 1);
    must_stop(servers->fixture, NAME);
    must_start(servers->fixture, NAME);
    assert_no_alert(servers);
}

static void a_snapshot_brings_once_more_what_is_refused(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];
    struct key_generation foreign;
    struct task_view view;
    struct error err = { .code = 0 };

    prepare_joined(servers, &elsewhere, locator);
    must_stop(servers->fixture, NAME);
    fake_transit_allow(servers->a, 2, false);
    fake_transit_rotate(servers->a);
    must_start(servers->fixture, NAME);
    assert_alerted(servers, &elsewhere);
    must(bring(servers, locator, &view, &err), &err); /* whose head version 1 wraps */
    assert_int_equal(wait_task(servers, view.id).state, TASK_DONE);
    get_foreign(servers, &foreign);
    assert_int_equal(foreign.current.key.key_version, 3);
    assert_int_equal(foreign.previous.key.key_version, 2);
    wait_event(servers->fixture, "foreign-key-back");
    assert_no_alert(servers);
    assert_joined(servers, &elsewhere);
}

static void neither_wrapping_of_a_refused_key_is_dropped(void **state)
{
    struct servers *servers = *state;
    const struct rewrap_options drop = { .is_rotation = true, .drop_previous = true };
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    char locator[LOCATOR_SIZE];
    struct key_generation foreign;
    struct error err = { .code = 0 };

    prepare_joined(servers, &elsewhere, locator);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    fake_transit_allow(servers->a, 2, false);
    fake_transit_allow(servers->a, 3, false);
    fake_transit_rotate(servers->a);
    must_rewrap(servers); /* its own, by what wrapped that before */
    assert_int_equal(own_version(servers), 4);
    must(control_kms_rewrap(servers->fixture->control, &drop, &report, &err), &err);
    assert_int_equal(report.failed, 0);
    assert_int_equal(report.rows[0].dropped, 1);
    assert_false(has_previous(servers, NAME));
    get_foreign(servers, &foreign);
    assert_true(foreign.has_previous);
    assert_int_equal(foreign.previous.key.key_version, 2);
    must_stop(servers->fixture, NAME); /* nor by the start that proves what wraps its own */
    must_start(servers->fixture, NAME);
    get_foreign(servers, &foreign);
    assert_true(foreign.has_previous);
    fake_transit_allow(servers->a, 2, true);
    wait_until_back(servers);
    assert_joined(servers, &elsewhere);
}

/* The answer names whose key stays behind. */
static void assert_left(const struct kms_set_report *told, size_t rewrapped)
{
    assert_int_equal(told->rewrapped, rewrapped);
    assert_int_equal(told->left_count, 1);
    assert_string_equal(told->left[0].name, NAME);
    assert_non_null(strstr(told->left[0].text, "wrapped as before"));
}

static void the_key_server_can_be_changed_without_it(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf same = BUF_INIT;
    CLEANUP(kms_set_report_release) struct kms_set_report told = { .rewrapped = 0 };
    struct key_generation foreign, kept;

    prepare_refused(servers, &elsewhere);
    must_have_ring(servers, NAME, &before);
    get_foreign(servers, &foreign);
    fake_transit_rotate(servers->a);
    must_set_with(servers, servers->a, &told); /* the same one: there is nothing to wrap */
    assert_left(&told, 0);
    must_have_ring(servers, NAME, &same);
    assert_int_equal(before.len, same.len);
    assert_memory_equal(before.data, same.data, same.len);
    assert_event(servers->fixture, "keys-left");
    kms_set_report_release(&told);
    must_set_with(servers, servers->b, &told);
    assert_left(&told, 1);
    get_foreign(servers, &kept);
    assert_memory_equal(&foreign, &kept, sizeof(kept));
    must_stop(servers->fixture, NAME);
    must_start(servers->fixture, NAME);
    char text[640];
    assert_true(find_alert(servers, text));
    fake_transit_allow(servers->a, 2, true);
    kms_set_report_release(&told);
    must_set_with(servers, servers->a, &told);
    assert_int_equal(told.left_count, 0);
    wait_until_back(servers);
    assert_joined(servers, &elsewhere);
}

static void local_keys_take_its_place_for_all_but_that(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(kms_set_report_release) struct kms_set_report told = { .rewrapped = 0 };
    struct key_generation before, kept;
    struct error err = { .code = 0 };

    prepare_refused(servers, &elsewhere);
    get_foreign(servers, &before);
    must(control_kms_unset(servers->fixture->control, true, &told, &err), &err);
    assert_left(&told, 1);
    get_foreign(servers, &kept);
    assert_memory_equal(&before, &kept, sizeof(kept));
    assert_string_equal(view_of(servers->fixture, NAME).kms_type, "local");
    fake_transit_allow(servers->a, 2, true);
    must_set(servers, servers->a);
    wait_until_back(servers);
    assert_joined(servers, &elsewhere);
}

static void assert_not_set(struct servers *servers, const struct fake_transit *server)
{
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf after = BUF_INIT;
    struct error err = { .code = 0 };

    must_have_ring(servers, NAME, &before);
    assert_int_equal(set(servers, server, &err), -EBUSY);
    if (!strstr(err.text, "nothing was changed"))
        fail_msg("%s", err.text);
    must_have_ring(servers, NAME, &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
}

/* It was refused, and would open now. */
static void a_key_server_that_is_busy_is_not_left_with_a_key_in_it(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    struct key_generation foreign;

    prepare_refused(servers, &elsewhere);
    fake_transit_allow(servers->a, 2, true);
    fake_transit_be_busy(servers->a, 2, true);
    assert_not_set(servers, servers->b);
    fake_transit_be_busy(servers->a, 2, false);
    must_set(servers, servers->b);
    get_foreign(servers, &foreign);
    assert_int_equal(foreign.current.key.key_version, 1);
    wait_until_back(servers);
    assert_joined(servers, &elsewhere);
}

/* The new server opens the filesystem's own key, but was restored from before the other one. */
static void a_backup_of_the_key_server_takes_its_place_only_if_that_cannot_have_more(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(kms_set_report_release) struct kms_set_report told = { .rewrapped = 0 };
    char locator[LOCATOR_SIZE];

    prepare_joined(servers, &elsewhere, locator);
    fake_transit_copy_key(servers->b, servers->a);
    fake_transit_be_busy(servers->a, 2, true);
    assert_not_set(servers, servers->b);
    fake_transit_seal_after(servers->a, 0); /* it is gone, perhaps for ever */
    must_set_with(servers, servers->b, &told);
    assert_left(&told, 0);
}

/* What wraps it now is refused; what wrapped it before may open. */
static void a_key_that_a_busy_server_may_yet_open_is_waited_for(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];
    struct fs_view view;
    struct error err = { .code = 0 };

    prepare_joined(servers, &elsewhere, locator);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    must_stop(servers->fixture, NAME);
    fake_transit_allow(servers->a, 3, false);
    fake_transit_be_busy(servers->a, 2, true);
    assert_int_equal(control_start(servers->fixture->control, NAME, false, &view, &err), -EAGAIN);
    assert_no_alert(servers);
    fake_transit_be_busy(servers->a, 2, false);
    must_start(servers->fixture, NAME);
    assert_joined(servers, &elsewhere);
}

/* Only the second server opens the other filesystem's key: it is not given up for the third. */
static void a_half_done_change_is_finished_first_if_it_has_a_key_of_others(void **state)
{
    struct servers *servers = *state;
    struct fixture *fixture = servers->fixture;
    struct fake_transit *third = fake_transit_start();
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];

    prepare_joined(servers, &elsewhere, locator);
    fixture->crash_at = STEP_RINGS_WRAPPED;
    assert_int_equal(set(servers, servers->b, NULL), CONTROL_CRASHED);
    fixture->crash_at = STEP_COUNT;
    fake_transit_seal_after(servers->b, 0); /* so that it stays so */
    fake_transit_allow(servers->a, 2, false);
    reopen_control(fixture);
    assert_true(kms_is_staged(fixture->control->kms));
    fake_transit_seal_after(servers->b, -1);
    must_set(servers, third);
    assert_joined(servers, &elsewhere);
    fake_transit_stop(third);
}

static void no_key_joins_while_a_change_is_half_done(void **state)
{
    struct servers *servers = *state;
    struct fixture *fixture = servers->fixture;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    fixture->crash_at = STEP_RINGS_WRAPPED;
    assert_int_equal(set(servers, servers->b, &err), CONTROL_CRASHED);
    fixture->crash_at = STEP_COUNT;
    fake_transit_seal_after(servers->b, 0); /* so that it stays so */
    assert_refused(servers, locator, -EBUSY, "half done");
    fake_transit_seal_after(servers->b, -1);
    must_set(servers, servers->a); /* given up */
    set_word(servers, "done");
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    assert_joined(servers, &elsewhere);
}

/* What the ring has now, as a recovery copy holds it. */
static void copy_keys(struct servers *servers, struct secret *ret)
{
    CLEANUP(rings_opened_release) struct rings_opened ours = RINGS_OPENED_INIT;
    struct secret blobs[KEY_GENERATIONS_MAX] = { { .data = NULL } };
    const struct rings_options options = { .may_repair = false };
    struct rings_outcome outcome;
    struct error err = { .code = 0 };

    open_rings(servers, NAME, &ours);
    must(rings_unwrap_all(servers->fixture->control, &ours.ring, &options, blobs, &outcome, &err),
         &err);
    must(key_export_encode(&ours.ring, blobs, ret, &err), &err);
    for (uint32_t i = 0; i < ours.ring.count; i++)
        secret_release(&blobs[i]);
}

static void a_recovery_copy_from_before_brings_back_its_own(void **state)
{
    struct servers *servers = *state;
    struct control *control = servers->fixture->control;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(secret_release) struct secret old = SECRET_INIT;
    CLEANUP(secret_release) struct secret whole = SECRET_INIT;
    char locator[LOCATOR_SIZE];
    struct task_view task;
    struct fs_view view;
    struct error err = { .code = 0 };

    prepare(servers, &elsewhere);
    copy_keys(servers, &old);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "done");
    must(bring(servers, locator, &task, &err), &err);
    (void)wait_task(servers, task.id);
    copy_keys(servers, &whole);
    must_stop(servers->fixture, NAME);

    /* The key server is away, perhaps for ever: nor is that waited for. */
    fake_transit_seal_after(servers->a, 0);
    must(control_key_import(control, NAME, secret_bytes(&old), true, &view, &err), &err);
    assert_string_equal(view.kms_type, "local");
    assert_non_null(strstr(view.lacking, "the recovery copy does not have it"));
    must_start(servers->fixture, NAME);
    char text[640];
    assert_true(find_alert(servers, text));
    fake_transit_seal_after(servers->a, -1);
    wait_until_back(servers);
    assert_joined(servers, &elsewhere);
    must_stop(servers->fixture, NAME);
    must(control_key_import(control, NAME, secret_bytes(&whole), false, &view, &err), &err);
    assert_string_equal(view.lacking, "");
    must_start(servers->fixture, NAME);
    assert_joined(servers, &elsewhere);
}

static void a_worker_that_runs_is_told_what_a_recovery_copy_brings(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(secret_release) struct secret whole = SECRET_INIT;
    char locator[LOCATOR_SIZE];
    struct fs_view view;
    struct error err = { .code = 0 };

    prepare_joined(servers, &elsewhere, locator);
    copy_keys(servers, &whole);
    must_stop(servers->fixture, NAME);
    fake_transit_allow(servers->a, 2, false);
    fake_transit_rotate(servers->a);
    must_start(servers->fixture, NAME);
    assert_alerted(servers, &elsewhere);
    must(control_key_import(servers->fixture->control, NAME, secret_bytes(&whole), false, &view,
                            &err),
         &err);
    wait_until_back(servers);
    assert_joined(servers, &elsewhere);
}

static void set_has_origin(struct servers *servers, const struct elsewhere *elsewhere, bool has)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(servers->fixture->control, NAME, NULL);

    assert_non_null(fs);
    mutex_lock(&fs->lock);
    fs->record.has_origin = has;
    fs->record.origin.fs = elsewhere->opened.ring.uuid;
    mutex_unlock(&fs->lock);
}

static void what_is_not_all_here_waits_for_it_and_is_in_nobodys_way(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    struct key_generation foreign, kept;
    char locator[LOCATOR_SIZE];
    struct fs_view view;
    struct error err = { .code = 0 };

    prepare_joined(servers, &elsewhere, locator);
    must_stop(servers->fixture, NAME);
    set_has_origin(servers, &elsewhere, true);
    fake_transit_allow(servers->a, 2, false);
    assert_int_equal(control_start(servers->fixture->control, NAME, NULL, &view, &err),
                     -EKEYREVOKED);
    assert_non_null(strstr(err.text, "min_decryption_version"));
    assert_no_alert(servers);
    get_foreign(servers, &foreign);
    must_set(servers, servers->b);
    get_foreign(servers, &kept);
    assert_memory_equal(&foreign, &kept, sizeof(kept));
    set_has_origin(servers, &elsewhere, false);
    must_start(servers->fixture, NAME); /* its own key moved */
}

struct heads {
    struct upload_rewrap_row row;
    unsigned count;
};

static int keep_head(const struct upload_rewrap_row *row, void *arg)
{
    struct heads *heads = arg;

    heads->row = *row;
    heads->count++;
    return 0;
}

static void rewrap_head(struct servers *servers, const struct key_provider_config *target,
                        const char *locator, struct heads *ret)
{
    const struct upload_rewrap_options options = { .locator = locator, .target = target };
    struct error err = { .code = 0 };

    *ret = (struct heads){ .count = 0 };
    must(control_uploads_rewrap(servers->fixture->control, STORE, &options, keep_head, ret, &err),
         &err);
    assert_int_equal(ret->count, 1);
}

/* Of the key that wraps the foreign generation in the head: a has two, b the first. */
static uint32_t foreign_version_in_head(struct servers *servers, const char *locator,
                                        bool *ret_has_previous)
{
    CLEANUP(buf_release) struct buf head = BUF_INIT;
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(free_ptr) struct snapshot_head *decoded = calloc(1, sizeof(*decoded));
    struct error err = { .code = 0 };

    must_get_head(servers->fixture, STORE, locator, &head);
    must(head_decode(buf_bytes(&head), decoded, &err), &err);
    must(key_ring_peek(decoded->ring, &ring, &err), &err);
    assert_int_equal(ring.count, 2);
    *ret_has_previous = ring.generations[1].has_previous;
    return ring.generations[1].current.key.key_version;
}

static void what_an_uploaded_ring_left_behind_follows_to_the_other_server(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config other = { .type = "vault", .key_name = FAKE_KEY };
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(free_ptr) struct heads *heads = calloc(1, sizeof(*heads));
    char locator[LOCATOR_SIZE];
    struct uuid third;
    bool has_previous = true;

    prepare(servers, &elsewhere);
    random_uuid(&third);
    fake_transit_rotate(servers->a);
    add_generation(servers, &elsewhere.opened, &third, 1); /* by version 2 */
    publish(servers, &elsewhere, NULL, locator);
    (void)snprintf(other.addresses, sizeof(other.addresses), "%s", fake_transit_url(servers->b));
    assert_int_equal(secret_assign(&other.token, (struct bytes){ (const uint8_t *)"token", 5 }), 0);

    fake_transit_allow(servers->a, 2, false);
    rewrap_head(servers, &other, locator, heads);
    assert_int_equal(heads->row.result, REWRAP_DONE);
    assert_non_null(strstr(heads->row.text, "stays wrapped as before"));
    assert_event(servers->fixture, "keys-left");
    assert_int_equal(foreign_version_in_head(servers, locator, &has_previous), 2);
    assert_false(has_previous);

    fake_transit_allow(servers->a, 2, true);
    rewrap_head(servers, &other, locator, heads);
    assert_int_equal(heads->row.result, REWRAP_DONE);
    assert_string_equal(heads->row.text, "");
    assert_int_equal(foreign_version_in_head(servers, locator, &has_previous), 1);
    rewrap_head(servers, &other, locator, heads);
    assert_int_equal(heads->row.result, REWRAP_UNCHANGED);
    assert_string_equal(heads->row.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVERS_TEST(one_that_is_refused_keeps_nothing_else_from_starting),
        SERVERS_TEST(a_key_server_that_is_away_is_waited_for_as_before),
        SERVERS_TEST(a_refused_key_stays_wrapped_as_it_is),
        SERVERS_TEST(one_that_nothing_needs_ends_with_its_alert),
        SERVERS_TEST(a_snapshot_brings_once_more_what_is_refused),
        SERVERS_TEST(neither_wrapping_of_a_refused_key_is_dropped),
        SERVERS_TEST(the_key_server_can_be_changed_without_it),
        SERVERS_TEST(local_keys_take_its_place_for_all_but_that),
        SERVERS_TEST(a_key_server_that_is_busy_is_not_left_with_a_key_in_it),
        SERVERS_TEST(a_backup_of_the_key_server_takes_its_place_only_if_that_cannot_have_more),
        SERVERS_TEST(a_key_that_a_busy_server_may_yet_open_is_waited_for),
        SERVERS_TEST(a_half_done_change_is_finished_first_if_it_has_a_key_of_others),
        SERVERS_TEST(no_key_joins_while_a_change_is_half_done),
        SERVERS_TEST(a_recovery_copy_from_before_brings_back_its_own),
        SERVERS_TEST(a_worker_that_runs_is_told_what_a_recovery_copy_brings),
        SERVERS_TEST(what_is_not_all_here_waits_for_it_and_is_in_nobodys_way),
        SERVERS_TEST(what_an_uploaded_ring_left_behind_follows_to_the_other_server),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests_name("refused_keys", tests, NULL, NULL);
}
