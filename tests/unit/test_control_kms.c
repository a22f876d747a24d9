/* Keys wrapped anew under the control plane: rotated keys, other key servers, local keys; with
 * crashes between all steps, and key servers that end at any request. Whatever happens, every
 * filesystem opens afterwards, and the next command finishes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/rings.h"
#include "store/object_store.h"
#include "tests/support/kms_case.h"

static int unset_with(struct servers *servers, bool allow_downgrade, struct error *err)
{
    CLEANUP(kms_set_report_release) struct kms_set_report report;

    return control_kms_unset(servers->fixture->control, allow_downgrade, &report, err);
}

static int unset(struct servers *servers, struct error *err)
{
    return unset_with(servers, true, err);
}

static void no_alert(struct servers *servers, const char *type)
{
    struct alert *alerts = NULL;
    size_t count = 0;

    assert_int_equal(control_alerts(servers->fixture->control, &alerts, &count, NULL), 0);
    for (size_t i = 0; i < count; i++)
        assert_string_not_equal(alerts[i].kind->type, type);
    free(alerts);
}

static void a_rotated_key_wraps_all_keys_anew_and_a_start_proves_them(void **state)
{
    struct servers *servers = *state;
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };

    must_set(servers, servers->a);
    add_all(servers);
    must_start(servers->fixture, "two"); /* it may run meanwhile */
    fake_transit_rotate(servers->a);
    unsigned before = fake_transit_requests(servers->a);
    assert_int_equal(rewrap(servers, &report, NULL), 0);
    /* Describe twice, before and after; unwrap, read the key and rewrap, verify: once for all. */
    assert_true(fake_transit_requests(servers->a) - before <= 6);
    assert_int_equal(report.count, N_NAMES);
    assert_string_equal(report.rows[0].name, "one");
    for (size_t i = 0; i < report.count; i++) {
        assert_int_equal(report.rows[i].result, REWRAP_DONE);
        assert_int_equal(report.rows[i].from.version, 1);
        assert_int_equal(report.rows[i].to.version, 2);
    }
    assert_int_equal(report.needed_count, 2); /* versions 1 and 2 */
    all_wrapped(servers, "vault", 2);
    must_stop(servers->fixture, "two");
    all_open(servers);
    rewrap_report_release(&report);
    assert_int_equal(rewrap(servers, &report, NULL), 0);
    for (size_t i = 0; i < report.count; i++)
        assert_int_equal(report.rows[i].result, REWRAP_UNCHANGED);
    assert_int_equal(report.needed_count, 2); /* also what the starts have dropped */
}

static void a_start_by_what_wrapped_before_is_told_as_that(void **state)
{
    struct servers *servers = *state;

    add_all(servers); /* by local keys */
    must_set(servers, servers->a);
    fake_transit_seal_after(servers->a, 0);
    must_start(servers->fixture, "one");
    assert_audit_says(servers->fixture, "to start it, opened by what wrapped it before");
    wait_event(servers->fixture, "previous-key-used");
    must_stop(servers->fixture, "one");
    fake_transit_seal_after(servers->a, -1);
    must_start(servers->fixture, "one");
    assert_audit_says(servers->fixture, "to start it");
}

/* As if an hour had passed. */
static void let_proof_be_due(struct servers *servers, const char *name)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(servers->fixture->control, name, NULL);

    mutex_lock(&fs->lock);
    assert_true(fs->proof_due_ms > clock_monotonic_ms());
    fs->proof_due_ms = 1;
    mutex_unlock(&fs->lock);
    control_look_at_kms(servers->fixture->control);
}

static void what_wrapped_before_goes_when_an_hour_later_the_new_wrapping_is_proved(void **state)
{
    struct servers *servers = *state;
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;

    must_set(servers, servers->a);
    add_all(servers);
    must_start(servers->fixture, "one"); /* it goes on running */
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    assert_true(has_previous(servers, "one"));
    reopen_control(servers->fixture);
    let_proof_be_due(servers, "one");
    while (has_previous(servers, "one")) {
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(10);
    }
    assert_true(has_previous(servers, "two"));
}

static void what_wrapped_before_stays_while_the_new_wrapping_cannot_be_proved(void **state)
{
    struct servers *servers = *state;

    must_set(servers, servers->a);
    add_all(servers);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    fake_transit_seal_after(servers->a, 0);
    let_proof_be_due(servers, "one");
    wait_event(servers->fixture, "wrapping-not-proved");
    assert_true(has_previous(servers, "one"));
}

static void a_dry_run_changes_nothing(void **state)
{
    struct servers *servers = *state;
    struct rewrap_options options = { .is_rotation = true, .is_dry = true };
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };

    must_set(servers, servers->a);
    add_all(servers);
    fake_transit_rotate(servers->a);
    assert_int_equal(control_kms_rewrap(servers->fixture->control, &options, &report, NULL), 0);
    for (size_t i = 0; i < report.count; i++) {
        assert_int_equal(report.rows[i].result, REWRAP_PLANNED);
        assert_int_equal(report.rows[i].to.version, 2);
    }
    all_wrapped(servers, "vault", 1);
}

static void what_the_server_cannot_unwrap_again_does_not_replace_anything(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    add_all(servers);
    fake_transit_rotate(servers->a);
    fake_transit_lie(servers->a, true);
    assert_int_equal(rewrap_all(servers, &err), -EIO);
    fake_transit_lie(servers->a, false);
    all_wrapped(servers, "vault", 1);
    all_open(servers);
    must_rewrap(servers);
}

static void a_key_made_anew_is_not_used_over_what_it_does_not_open(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    add_all(servers);
    fake_transit_make_anew(servers->a);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rewrap_all(servers, &err), -EIO);
        assert_non_null(strstr(err.text, "made anew"));
        all_wrapped(servers, "vault", 1);
        fake_transit_rotate(servers->a);
    }
    assert_true(unset(servers, &err) < 0);
}

static void another_server_is_refused_only_if_a_key_would_be_lost(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    add_all(servers);
    fake_transit_seal_after(servers->a, 0);
    assert_int_equal(set(servers, servers->b, &err), -EBUSY);
    assert_non_null(strstr(err.text, "nothing was changed"));
    assert_non_null(strstr(err.text, "two"));
    fake_transit_seal_after(servers->a, -1);
    all_open(servers);
    must_set(servers, servers->b);
    fake_transit_seal_after(servers->a, 0); /* it is not needed any more */
    all_open(servers);
}

static void a_filesystem_that_is_lost_does_not_stand_in_the_way(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };
    struct fs_view view;

    must_set(servers, servers->a);
    add_all(servers);
    fake_transit_make_anew(servers->a);
    must_set(servers, servers->a); /* a new token, for example */
    assert_event(servers->fixture, "key-lost");
    assert_true(control_start(servers->fixture->control, "one", NULL, &view, &err) < 0);
}

static void a_key_that_the_new_server_is_too_busy_for_is_not_lost(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    add_all(servers);
    fake_transit_copy_key(servers->b, servers->a);
    fake_transit_rotate(servers->b);
    fake_transit_allow(servers->a, 1, false);
    fake_transit_be_busy(servers->b, 1, true);
    assert_int_equal(set(servers, servers->b, &err), -EBUSY);
    assert_int_equal(count_events(servers->fixture, "key-lost"), 0);
    fake_transit_be_busy(servers->b, 1, false);
    must_set(servers, servers->b);
    all_open(servers);
}

static void the_wrapping_before_opens_while_the_last_one_does_not(void **state)
{
    struct servers *servers = *state;

    must_set(servers, servers->a);
    add_all(servers);
    must_set(servers, servers->b);
    /* The new server goes back to a state in which it did not have this key, and the
     * administrator to the one before. */
    fake_transit_make_anew(servers->b);
    must_set(servers, servers->a);
    all_open(servers);
    all_wrapped(servers, "vault", 1);
    fake_transit_seal_after(servers->b, 0);
    all_open(servers);
    assert_int_equal(count_events(servers->fixture, "key-lost"), 0);
}

static void plain_unset_is_refused_while_the_server_is_needed(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    assert_int_equal(unset_with(servers, false, &err), -ENOKEY);
    must_set(servers, servers->a);
    add_all(servers);
    assert_int_equal(unset_with(servers, false, &err), -EBUSY);
    assert_non_null(strstr(err.text, "--allow-downgrade"));
    assert_non_null(strstr(err.text, "one"));
    must(unset(servers, &err), &err);
    all_wrapped(servers, "local", 0);
    all_open(servers);
}

/* ------------------------------------------------------------------ crashes */

/* What is changed, from whatever state an earlier one left; it can be repeated until it is done. */
typedef int change_fn(struct servers *servers, struct error *err);

static int change_rotate(struct servers *servers, struct error *err)
{
    return rewrap_all(servers, err);
}

static int change_to_b(struct servers *servers, struct error *err)
{
    return set(servers, servers->b, err);
}

struct change {
    const char *name;
    change_fn *run;
    bool from_local;
    const char *type; /* of what wraps afterwards */
};

static const struct change changes[] = {
    { "rewrap", change_rotate, false, "vault" },
    { "another server", change_to_b, false, "vault" },
    { "from local keys", change_to_b, true, "vault" },
    { "downgrade", unset, false, "local" },
};

static void begin(struct servers *servers, const struct change *change)
{
    if (!change->from_local)
        must_set(servers, servers->a);
    add_all(servers);
    fake_transit_rotate(servers->a);
}

static void end(struct servers *servers, const struct change *change)
{
    for (size_t i = 0; i < N_NAMES; i++) {
        struct error err = { .code = 0 };
        must(control_remove(servers->fixture->control, names[i], &err), &err);
    }
    if (strcmp(change->type, "local") != 0)
        assert_int_equal(unset_with(servers, false, NULL), 0);
}

/* With cofferd ended at its n-th step, everything opens, and the next command finishes. True: there
 * are not so many steps. */
static bool crash_after(struct servers *servers, const struct change *change, int n)
{
    struct error err = { .code = 0 };

    begin(servers, change);
    atomic_store(&servers->fixture->steps_left, n);
    int r = change->run(servers, &err);
    atomic_store(&servers->fixture->steps_left, -1);
    if (r != CONTROL_CRASHED && r != 0)
        fail_msg("%s at step %d: %s", change->name, n, err.text);
    reopen_control(servers->fixture);
    all_open(servers);
    if (strcmp(change->type, "local") != 0 || r != 0)
        must(change->run(servers, &err), &err);
    all_open(servers);
    for (size_t i = 0; i < N_NAMES; i++)
        assert_string_equal(view_of(servers->fixture, names[i]).kms_type, change->type);
    no_alert(servers, "kms-change-unfinished");
    end(servers, change);
    return r == 0;
}

static void a_crash_at_any_step_leaves_all_open_and_the_next_command_finishes(void **state)
{
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        int n = 0;
        while (!crash_after(*state, &changes[i], n))
            n++;
        assert_in_range(n, N_NAMES + 1, 20); /* one for each ring, and what is around them */
    }
}

static void an_interrupted_change_of_servers_can_be_undone(void **state)
{
    static const enum control_step steps[] = { STEP_RING_WRITTEN, STEP_SET_STAGED,
                                               STEP_RINGS_WRAPPED };
    struct servers *servers = *state;
    static const struct change change = { "undone", change_to_b, false, "vault" };

    for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
        begin(servers, &change);
        servers->fixture->crash_at = steps[k];
        assert_int_equal(set(servers, servers->b, NULL), CONTROL_CRASHED);
        servers->fixture->crash_at = STEP_COUNT;
        must_set(servers, servers->a);
        fake_transit_seal_after(servers->b, 0);
        all_open(servers);
        reopen_control(servers->fixture);
        all_open(servers);
        fake_transit_seal_after(servers->b, -1);
        end(servers, &change);
    }
}

/* A change to b that ended there; then a third one, c. b is sealed: otherwise the monitor would
 * perhaps end the change before anything else is done. */
static void begin_third(struct servers *servers, enum control_step step)
{
    must_set(servers, servers->a);
    add_all(servers);
    servers->fixture->crash_at = step;
    assert_int_equal(set(servers, servers->b, NULL), CONTROL_CRASHED);
    servers->fixture->crash_at = STEP_COUNT;
    fake_transit_seal_after(servers->b, 0);
    reopen_control(servers->fixture);
    assert_true(kms_is_staged(servers->fixture->control->kms));
}

static void a_third_server_takes_the_place_of_a_half_done_change(void **state)
{
    static const enum control_step steps[] = { STEP_SET_STAGED, STEP_RING_WRITTEN,
                                               STEP_RINGS_WRAPPED };
    struct servers *servers = *state;
    struct fake_transit *c = fake_transit_start();

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        begin_third(servers, steps[i]); /* b is gone before it was ever in use */
        must_set(servers, c);
        assert_false(kms_is_staged(servers->fixture->control->kms));
        fake_transit_seal_after(servers->a, 0);
        all_open(servers);
        reopen_control(servers->fixture);
        all_open(servers);
        fake_transit_seal_after(servers->a, -1);
        fake_transit_seal_after(servers->b, -1);
        for (size_t k = 0; k < N_NAMES; k++) {
            struct error err = { .code = 0 };
            must(control_remove(servers->fixture->control, names[k], &err), &err);
        }
    }
    fake_transit_stop(c);
}

/* The one that was in use is gone: what only the second opens is not given up for the third. */
static void a_half_done_change_is_finished_first_if_a_third_server_would_lose_it(void **state)
{
    struct servers *servers = *state;
    struct fake_transit *c = fake_transit_start();

    begin_third(servers, STEP_RINGS_WRAPPED);
    fake_transit_seal_after(servers->a, 0);
    fake_transit_seal_after(servers->b, -1);
    must_set(servers, c);
    assert_false(kms_is_staged(servers->fixture->control->kms));
    fake_transit_seal_after(servers->b, 0);
    all_open(servers);
    fake_transit_stop(c);
}

static void a_third_server_is_refused_while_a_key_opens_only_with_what_is_away(void **state)
{
    static const enum control_step steps[] = { STEP_SET_STAGED, STEP_RINGS_WRAPPED };
    struct servers *servers = *state;
    struct fake_transit *c = fake_transit_start();

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct error err = { .code = 0 };
        begin_third(servers, steps[i]);
        fake_transit_seal_after(servers->a, 0);
        assert_true(set(servers, c, &err) < 0);
        assert_non_null(strstr(err.text, "nothing was changed"));
        assert_true(kms_is_staged(servers->fixture->control->kms));
        fake_transit_seal_after(servers->a, -1);
        fake_transit_seal_after(servers->b, -1);
        all_open(servers);
        must_set(servers, servers->b);
        fake_transit_seal_after(servers->a, 0);
        all_open(servers);
        fake_transit_seal_after(servers->a, -1);
        for (size_t k = 0; k < N_NAMES; k++)
            must(control_remove(servers->fixture->control, names[k], &err), &err);
    }
    fake_transit_stop(c);
}

static void an_interrupted_change_is_gone_on_with_by_a_rewrap(void **state)
{
    struct servers *servers = *state;

    must_set(servers, servers->a);
    add_all(servers);
    servers->fixture->crash_at = STEP_RING_WRITTEN;
    assert_int_equal(set(servers, servers->b, NULL), CONTROL_CRASHED);
    servers->fixture->crash_at = STEP_COUNT;
    assert_true(kms_is_staged(servers->fixture->control->kms));
    must_rewrap(servers);
    assert_false(kms_is_staged(servers->fixture->control->kms));
    fake_transit_seal_after(servers->a, 0);
    all_open(servers);
}

static void an_interrupted_change_is_gone_on_with_by_the_next_cofferd(void **state)
{
    struct servers *servers = *state;
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;

    must_set(servers, servers->a);
    add_all(servers);
    servers->fixture->crash_at = STEP_RING_WRITTEN;
    assert_int_equal(set(servers, servers->b, NULL), CONTROL_CRASHED);
    servers->fixture->crash_at = STEP_COUNT;
    reopen_control(servers->fixture);
    while (kms_is_staged(servers->fixture->control->kms)) {
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(10);
    }
    fake_transit_seal_after(servers->a, 0);
    all_open(servers);
}

/* An addition that ended at the step; then its key is wrapped anew, and a start completes it. */
static void rewrap_unfinished(struct servers *servers, enum control_step step)
{
    struct error err = { .code = 0 };

    servers->fixture->crash_at = step;
    assert_int_equal(add(servers->fixture, "new", &err), CONTROL_CRASHED);
    servers->fixture->crash_at = STEP_COUNT;
    reopen_control(servers->fixture);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    must_set(servers, servers->b);
    must_start(servers->fixture, "new");
    must_stop(servers->fixture, "new");
    must_start(servers->fixture, "new");
    must_stop(servers->fixture, "new");
    must(control_remove(servers->fixture->control, "new", &err), &err);
    must_set(servers, servers->a);
}

static void the_key_of_an_unfinished_addition_is_wrapped_anew_too(void **state)
{
    struct servers *servers = *state;

    must_set(servers, servers->a);
    for (enum control_step step = STEP_ADD_RECORDED; step <= STEP_ADD_READY; step++)
        rewrap_unfinished(servers, step);
}

/* ------------------------------------------------------------------ servers that end */

#define MANY 34u /* more than are wrapped at a time */

static void add_many(struct servers *servers)
{
    for (unsigned i = 0; i < MANY; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "fs%u", i);
        must_add(servers->fixture, name);
    }
}

static void many_open(struct servers *servers)
{
    for (unsigned i = 0; i < MANY; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "fs%u", i);
        must_start(servers->fixture, name);
        must_stop(servers->fixture, name);
    }
}

static void a_set_asks_for_many_keys_at_a_time(void **state)
{
    struct servers *servers = *state;

    must_set(servers, servers->a);
    add_many(servers);
    unsigned before = fake_transit_requests(servers->a);
    must_set(servers, servers->a); /* another token, for example */
    /* Two parts; and what does not grow with the number: the trial, and who looks at the key. */
    assert_in_range(fake_transit_requests(servers->a) - before, 2, 12);
    many_open(servers);
}

static void a_change_of_servers_that_ends_half_done_says_so_and_can_be_repeated(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    add_many(servers);
    unsigned before = fake_transit_requests(servers->b);
    must_set(servers, servers->b);
    unsigned needed = fake_transit_requests(servers->b) - before;
    many_open(servers);                                   /* and drop what wrapped them before */
    fake_transit_seal_after(servers->a, (int)needed - 4); /* in the second part */
    assert_int_equal(set(servers, servers->a, &err), -EBUSY);
    assert_true(fake_transit_is_sealed(servers->a));
    assert_non_null(strstr(err.text, "half done"));
    assert_true(kms_is_staged(servers->fixture->control->kms));
    fake_transit_seal_after(servers->a, -1);
    must_start(servers->fixture, "fs0");
    must_start(servers->fixture, "fs33");
    assert_true(kms_is_staged(servers->fixture->control->kms));
    must_set(servers, servers->a);
    fake_transit_seal_after(servers->b, 0);
    must_stop(servers->fixture, "fs0");
    must_stop(servers->fixture, "fs33");
    many_open(servers);
}

static void a_rewrap_that_ends_half_done_is_gone_on_with(void **state)
{
    struct servers *servers = *state;
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    size_t done = 0;

    must_set(servers, servers->a);
    add_many(servers);
    fake_transit_rotate(servers->a);
    fake_transit_seal_after(servers->a, 7); /* describe, and what the first part needs, and two */
    assert_int_equal(rewrap(servers, &report, NULL), 0);
    for (size_t i = 0; i < report.count; i++)
        done += report.rows[i].result == REWRAP_DONE;
    assert_in_range(done, 1, MANY - 1);
    assert_int_equal(report.failed, MANY - done);
    fake_transit_seal_after(servers->a, -1);
    must_start(servers->fixture, "fs0");
    must_start(servers->fixture, "fs33");
    rewrap_report_release(&report);
    assert_int_equal(rewrap(servers, &report, NULL), 0);
    for (size_t i = 0; i < report.count; i++)
        done += report.rows[i].result == REWRAP_DONE;
    assert_int_equal(done, MANY);
    assert_int_equal(report.failed, 0);
}

/* One of the servers is sealed from its n-th request on, for every n until the change is through.
 * Afterwards everything opens, and the change can be made. */
static bool seal_at(struct servers *servers, const struct change *change,
                    struct fake_transit *server, int n)
{
    struct error err = { .code = 0 };

    begin(servers, change);
    fake_transit_seal_after(server, n);
    int r = change->run(servers, &err);
    bool is_through = r == 0 && !fake_transit_is_sealed(server);
    fake_transit_seal_after(server, -1);
    all_open(servers);
    if (strcmp(change->type, "local") != 0 || r != 0)
        must(change->run(servers, &err), &err);
    all_open(servers);
    for (size_t i = 0; i < N_NAMES; i++)
        assert_string_equal(view_of(servers->fixture, names[i]).kms_type, change->type);
    end(servers, change);
    return is_through;
}

static void a_server_that_ends_at_any_request_leaves_all_open(void **state)
{
    struct servers *servers = *state;

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct fake_transit *used[] = { servers->a, servers->b };
        for (size_t k = 0; k < 2; k++)
            for (int n = 0; !seal_at(servers, &changes[i], used[k], n); n++)
                assert_in_range(n, 0, 60);
    }
}

/* Likewise while a filesystem is added: it is there, or nothing of it is. */
static void a_server_that_ends_at_any_request_of_an_addition_leaves_nothing_behind(void **state)
{
    struct servers *servers = *state;
    bool is_through = false;

    must_set(servers, servers->a);
    add_all(servers);
    for (int n = 0; !is_through; n++) {
        struct fs_view view;
        assert_in_range(n, 0, 20);
        fake_transit_seal_after(servers->a, n);
        int r = add(servers->fixture, "new", NULL);
        is_through = r == 0 && !fake_transit_is_sealed(servers->a);
        fake_transit_seal_after(servers->a, -1);
        if (r < 0) {
            assert_int_equal(control_get(servers->fixture->control, "new", &view, NULL), -ENOENT);
            must_add(servers->fixture, "new");
        }
        must_start(servers->fixture, "new");
        must_stop(servers->fixture, "new");
        assert_int_equal(control_remove(servers->fixture->control, "new", NULL), 0);
    }
    all_open(servers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVERS_TEST(a_rotated_key_wraps_all_keys_anew_and_a_start_proves_them),
        SERVERS_TEST(a_start_by_what_wrapped_before_is_told_as_that),
        SERVERS_TEST(what_wrapped_before_goes_when_an_hour_later_the_new_wrapping_is_proved),
        SERVERS_TEST(what_wrapped_before_stays_while_the_new_wrapping_cannot_be_proved),
        SERVERS_TEST(a_dry_run_changes_nothing),
        SERVERS_TEST(what_the_server_cannot_unwrap_again_does_not_replace_anything),
        SERVERS_TEST(a_key_made_anew_is_not_used_over_what_it_does_not_open),
        SERVERS_TEST(another_server_is_refused_only_if_a_key_would_be_lost),
        SERVERS_TEST(a_filesystem_that_is_lost_does_not_stand_in_the_way),
        SERVERS_TEST(a_key_that_the_new_server_is_too_busy_for_is_not_lost),
        SERVERS_TEST(the_wrapping_before_opens_while_the_last_one_does_not),
        SERVERS_TEST(plain_unset_is_refused_while_the_server_is_needed),
        SERVERS_TEST(a_crash_at_any_step_leaves_all_open_and_the_next_command_finishes),
        SERVERS_TEST(an_interrupted_change_of_servers_can_be_undone),
        SERVERS_TEST(a_third_server_takes_the_place_of_a_half_done_change),
        SERVERS_TEST(a_half_done_change_is_finished_first_if_a_third_server_would_lose_it),
        SERVERS_TEST(a_third_server_is_refused_while_a_key_opens_only_with_what_is_away),
        SERVERS_TEST(an_interrupted_change_is_gone_on_with_by_a_rewrap),
        SERVERS_TEST(an_interrupted_change_is_gone_on_with_by_the_next_cofferd),
        SERVERS_TEST(the_key_of_an_unfinished_addition_is_wrapped_anew_too),
        SERVERS_TEST(a_set_asks_for_many_keys_at_a_time),
        SERVERS_TEST(a_change_of_servers_that_ends_half_done_says_so_and_can_be_repeated),
        SERVERS_TEST(a_rewrap_that_ends_half_done_is_gone_on_with),
        SERVERS_TEST(a_server_that_ends_at_any_request_leaves_all_open),
        SERVERS_TEST(a_server_that_ends_at_any_request_of_an_addition_leaves_nothing_behind),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests_name("control_kms", tests, NULL, NULL);
}
