/* Keys that a snapshot from elsewhere brings into a filesystem's ring: wrapped anew, in both
 * places, told to the worker; with a crash at each step, and refused where the rings contradict
 * each other. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/file_io.h"
#include "crypto/random.h"
#include "tests/support/elsewhere_case.h"

static bool is_aborting(enum task_state state)
{
    return state == TASK_ABORTING;
}

static void assert_wrapping_is_audited(struct servers *servers)
{
    const struct journal_query query = { .limit = 2, .type = "rewrap" };
    CLEANUP(free_ptr) struct audit_listed *items = NULL;
    size_t count = 0;
    struct error err = { .code = 0 };

    must(audit_list(control_audit(servers->fixture->control), &query, &items, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_string_equal(items[0].entry.filesystem, NAME);
    assert_string_equal(items[0].entry.result, "ok");
    assert_non_null(strstr(items[0].entry.text, "a snapshot brings"));
}

/* --- tests --- */

static void what_a_snapshot_needs_joins_the_ring_and_the_next_asks_nobody(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "done");
    must(bring(servers, locator, &view, &err), &err);
    assert_int_equal(wait_task(servers, view.id).state, TASK_DONE);
    assert_joined(servers, &elsewhere);
    assert_event(servers->fixture, "keys-joined");
    assert_wrapping_is_audited(servers);
    unsigned requests = fake_transit_requests(servers->a);
    fake_transit_seal_after(servers->a, 0);
    must(bring(servers, locator, &view, &err), &err);
    assert_int_equal(wait_task(servers, view.id).state, TASK_DONE);
    assert_int_equal(fake_transit_requests(servers->a), requests);
    fake_transit_seal_after(servers->a, -1);
    must_stop(servers->fixture, NAME);
    must_start(servers->fixture, NAME);
}

static void a_worker_that_lacks_a_key_of_the_ring_gets_it(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "done");
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    set_word(servers, "keyless");
    must(bring(servers, locator, &view, &err), &err);
    assert_int_equal(wait_task(servers, view.id).state, TASK_DONE);
    set_word(servers, "locked"); /* which telling does not mend */
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task_until(servers, view.id, is_aborting);
    set_word(servers, "done"); /* what it left is taken away */
    assert_int_equal(wait_task(servers, view.id).state, TASK_FAILED);
}

static void a_crash_at_any_step_leaves_rings_that_open(void **state)
{
    struct servers *servers = *state;
    struct fixture *fixture = servers->fixture;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };
    int crashes = 0;

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "keyless"); /* until it is told */
    for (;; crashes++) {
        atomic_store(&fixture->steps_left, crashes);
        int r = bring(servers, locator, &view, &err);
        atomic_store(&fixture->steps_left, -1);
        if (r != CONTROL_CRASHED) {
            must(r, &err);
            break;
        }
        reopen_control(fixture);
        wait_state(fixture, NAME, FS_STARTED); /* the worker went on, and was told of nothing */
    }
    assert_true(crashes > 0);
    (void)wait_task(servers, view.id);
    assert_joined(servers, &elsewhere);
}

static void a_key_server_that_is_away_changes_nothing(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    for (int requests = 0; requests < 4; requests++) {
        fake_transit_seal_after(servers->a, requests);
        assert_refused(servers, locator, -EAGAIN, "sealed");
        fake_transit_seal_after(servers->a, -1);
    }
}

static void a_full_ring_takes_no_more_and_asks_nobody(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(rings_opened_release) struct rings_opened ours = RINGS_OPENED_INIT;
    CLEANUP(free_ptr) struct fs_record *record = NULL;
    struct filesystem *fs = NULL;
    char locator[LOCATOR_SIZE];
    struct error err = { .code = 0 };
    struct uuid origin;

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    open_rings(servers, NAME, &ours);
    while (ours.ring.count < KEY_GENERATIONS_MAX) {
        random_uuid(&origin);
        add_generation(servers, &ours, &origin, 1);
    }
    must(key_ring_check_room(&ours.ring, &err), &err);
    fs = filesystem_find(servers->fixture->control, NAME, NULL);
    record = filesystem_copy_record(fs);
    must(rings_write(servers->fixture->control, record, false, &ours, &err), &err);
    filesystem_unref(fs);
    unsigned requests = fake_transit_requests(servers->a);
    assert_refused(servers, locator, -ENOSPC, "has 64 keys, of at most 64");
    assert_int_equal(fake_transit_requests(servers->a), requests);
    must_stop(servers->fixture, NAME);
    must_start(servers->fixture, NAME);
}

static void a_key_that_is_another_one_in_the_head_is_refused(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(elsewhere_release) struct elsewhere liar;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    /* Of our own key ... */
    prepare(servers, &elsewhere);
    make_elsewhere(servers, NAME, &liar);
    const struct uuid ours = view_of(servers->fixture, NAME).uuid;
    add_generation(servers, &liar.opened, &ours, 1);
    publish(servers, &liar, NULL, locator);
    assert_refused(servers, locator, -EBADMSG, "forged");
    /* ... and of one that came. */
    elsewhere_release(&liar);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "done");
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    make_elsewhere(servers, NAME, &liar);
    add_generation(servers, &liar.opened, &elsewhere.opened.ring.uuid, 1);
    publish(servers, &liar, NULL, locator);
    assert_refused(servers, locator, -EBADMSG, "forged");
    assert_joined(servers, &elsewhere);
}

static void a_false_key_of_a_filesystem_that_is_here_is_refused(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(elsewhere_release) struct elsewhere liar;
    char locator[LOCATOR_SIZE];

    prepare(servers, &elsewhere);
    must_add(servers->fixture, "two");
    must_start(servers->fixture, "two"); /* its key is known since */
    make_elsewhere(servers, NAME, &liar);
    const struct key_needed theirs = { view_of(servers->fixture, "two").uuid, 1 };
    add_generation(servers, &liar.opened, &theirs.origin, 1);
    publish(servers, &liar, &theirs, locator);
    assert_refused(servers, locator, -EBADMSG, "known to be here");
    must_stop(servers->fixture, "two");
}

static void what_is_of_another_origin_or_of_its_own_lost_key_is_refused(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(elsewhere_release) struct elsewhere stranger;
    char locator[LOCATOR_SIZE];

    prepare(servers, &elsewhere);
    must_add(servers->fixture, "two");
    make_elsewhere(servers, "two", &stranger);
    publish(servers, &stranger, NULL, locator);
    assert_refused(servers, locator, -EXDEV, "another origin");
    const struct key_needed own = { view_of(servers->fixture, NAME).uuid, 9 };
    publish(servers, &elsewhere, &own, locator);
    assert_refused(servers, locator, -ENOKEY, "generation 9");
    /* Of a key that the head names, and does not bring. */
    const struct key_needed none = { { { 5 } }, 1 };
    publish(servers, &elsewhere, &none, locator);
    assert_refused(servers, locator, -EBADMSG, "does not have that");
}

static void what_joined_is_wrapped_anew_with_the_rest(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(rings_opened_release) struct rings_opened ours = RINGS_OPENED_INIT;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "done");
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    open_rings(servers, NAME, &ours);
    for (uint32_t i = 0; i < ours.ring.count; i++)
        assert_int_equal(ours.ring.generations[i].current.key.key_version, 2);
    assert_joined(servers, &elsewhere);
}

/* --- out of it again --- */

static void join(struct servers *servers, struct elsewhere *ret, char *ret_locator)
{
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(servers, ret);
    publish(servers, ret, NULL, ret_locator);
    set_word(servers, "done");
    must(bring(servers, ret_locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    assert_joined(servers, ret);
}

static void set_used(struct servers *servers, bool is_used)
{
    char path[PATH_MAX];
    struct error err = { .code = 0 };

    (void)snprintf(path, sizeof(path), "%s/~uses",
                   filesystem_url_folder(view_of(servers->fixture, NAME).store_url));
    if (is_used)
        must(file_replace(path, (struct bytes){ .len = 0 }, 0644, &err), &err);
    else
        assert_int_equal(unlink(path), 0);
}

/* Its own key alone, in both places. */
static void assert_left(struct servers *servers)
{
    CLEANUP(rings_opened_release) struct rings_opened ours = RINGS_OPENED_INIT;
    CLEANUP(buf_release) struct buf registry = BUF_INIT;
    CLEANUP(buf_release) struct buf store = BUF_INIT;

    read_places(servers, &registry, &store);
    assert_int_equal(registry.len, store.len);
    assert_memory_equal(registry.data, store.data, store.len);
    open_rings(servers, NAME, &ours);
    assert_int_equal(ours.ring.count, 1);
}

static void what_nothing_needs_leaves_the_ring_and_may_come_again(void **state)
{
    struct servers *servers = *state;
    struct control *control = servers->fixture->control;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    struct foreign_keys_report report;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    join(servers, &elsewhere, locator);
    must(control_key_drop_unused(control, NAME, true, &report, &err), &err);
    assert_int_equal(report.count, 1);
    assert_true(uuid_equal(&report.items[0].origin, &elsewhere.opened.ring.uuid));
    assert_int_equal(report.items[0].generation, 1);
    assert_string_equal(report.items[0].wrapped_by.key, FAKE_KEY);
    assert_false(report.items[0].is_used);
    assert_false(report.items[0].is_dropped);
    assert_joined(servers, &elsewhere);

    set_used(servers, true);
    must(control_key_drop_unused(control, NAME, false, &report, &err), &err);
    assert_true(report.items[0].is_used);
    assert_false(report.items[0].is_dropped);
    assert_joined(servers, &elsewhere);

    set_used(servers, false);
    must(control_key_drop_unused(control, NAME, false, &report, &err), &err);
    assert_true(report.items[0].is_dropped);
    assert_left(servers);
    assert_event(servers->fixture, "keys-dropped");
    assert_audited(servers->fixture, "drop-previous", "ok");
    must(control_key_drop_unused(control, NAME, false, &report, &err), &err);
    assert_int_equal(report.count, 0);
    must_stop(servers->fixture, NAME);
    must_start(servers->fixture, NAME);
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    assert_joined(servers, &elsewhere);
}

static void a_crash_while_it_leaves_changes_nothing_or_ends_well(void **state)
{
    struct servers *servers = *state;
    struct fixture *fixture = servers->fixture;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    struct foreign_keys_report report;
    char locator[LOCATOR_SIZE];
    struct error err = { .code = 0 };
    int crashes = 0;

    join(servers, &elsewhere, locator);
    for (;; crashes++) {
        atomic_store(&fixture->steps_left, crashes);
        int r = control_key_drop_unused(fixture->control, NAME, false, &report, &err);
        atomic_store(&fixture->steps_left, -1);
        if (r != CONTROL_CRASHED) {
            must(r, &err);
            break;
        }
        reopen_control(fixture);
        wait_state(fixture, NAME, FS_STARTED);
        must_stop(fixture, NAME);
        must_start(fixture, NAME);
    }
    assert_true(crashes > 0);
    assert_left(servers);
}

static void none_leaves_while_somebody_may_need_it(void **state)
{
    struct servers *servers = *state;
    struct control *control = servers->fixture->control;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    struct foreign_keys_report report;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    join(servers, &elsewhere, locator);
    set_word(servers, ""); /* it runs until it is stopped */
    must(bring(servers, locator, &view, &err), &err);
    must(control_task_pause(control, view.id, &view, &err), &err);
    assert_int_equal(control_key_drop_unused(control, NAME, false, &report, &err), -EBUSY);
    assert_non_null(strstr(err.text, "is being brought"));
    assert_joined(servers, &elsewhere);
    set_word(servers, "done");
    must(control_task_resume(control, view.id, &view, &err), &err);
    (void)wait_task(servers, view.id);
    must_stop(servers->fixture, NAME);
    assert_int_equal(control_key_drop_unused(control, NAME, false, &report, &err), -EBUSY);
    assert_non_null(strstr(err.text, "is not started"));
    assert_joined(servers, &elsewhere);
    must_start(servers->fixture, NAME);
}

/* It cannot take the place of the other one, of which nothing tells that it is false. */
static void the_true_key_joins_when_a_false_one_that_was_first_has_left(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(elsewhere_release) struct elsewhere liar;
    struct foreign_keys_report report;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(servers, &elsewhere);
    make_elsewhere(servers, NAME, &liar);
    const struct key_needed theirs = { elsewhere.opened.ring.uuid, 1 };
    add_generation(servers, &liar.opened, &theirs.origin, 1);
    publish(servers, &liar, &theirs, locator);
    set_word(servers, "done");
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    publish(servers, &elsewhere, NULL, locator);
    assert_refused(servers, locator, -EBADMSG, "coffer fs key drop-unused");
    must(control_key_drop_unused(servers->fixture->control, NAME, false, &report, &err), &err);
    assert_int_equal(report.count, 2);
    assert_left(servers);
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    assert_joined(servers, &elsewhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVERS_TEST(what_a_snapshot_needs_joins_the_ring_and_the_next_asks_nobody),
        SERVERS_TEST(a_worker_that_lacks_a_key_of_the_ring_gets_it),
        SERVERS_TEST(a_crash_at_any_step_leaves_rings_that_open),
        SERVERS_TEST(a_key_server_that_is_away_changes_nothing),
        SERVERS_TEST(a_full_ring_takes_no_more_and_asks_nobody),
        SERVERS_TEST(a_key_that_is_another_one_in_the_head_is_refused),
        SERVERS_TEST(a_false_key_of_a_filesystem_that_is_here_is_refused),
        SERVERS_TEST(what_is_of_another_origin_or_of_its_own_lost_key_is_refused),
        SERVERS_TEST(what_joined_is_wrapped_anew_with_the_rest),
        SERVERS_TEST(what_nothing_needs_leaves_the_ring_and_may_come_again),
        SERVERS_TEST(a_crash_while_it_leaves_changes_nothing_or_ends_well),
        SERVERS_TEST(none_leaves_while_somebody_may_need_it),
        SERVERS_TEST(the_true_key_joins_when_a_false_one_that_was_first_has_left),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests_name("foreign_keys", tests, NULL, NULL);
}
