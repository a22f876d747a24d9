/* Filesystems with a key of their own, and a login of their own for it: added, changed, rotated,
 * given up; with crashes between all steps. Whatever happens, every filesystem opens afterwards,
 * and no login is kept that nobody uses. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/credentials.h"
#include "control/own_key.h"
#include "tests/support/kms_case.h"

static struct bytes text_bytes(const char *text)
{
    return (struct bytes){ .data = (const uint8_t *)text, .len = strlen(text) };
}

/* The key and the login of a role; secret NULL: it is known. */
static int update(struct servers *servers, const char *name, const char *role, const char *secret,
                  struct error *err)
{
    CLEANUP(secret_release) struct secret secret_id = SECRET_INIT;
    struct fs_key_change change = { .role_id = role };
    struct fs_view view;
    char key[64];

    if (role && role[0]) {
        (void)snprintf(key, sizeof(key), "own-%s", role);
        change.key = key;
    }
    if (secret) {
        assert_int_equal(secret_assign(&secret_id, text_bytes(secret)), 0);
        change.secret_id = &secret_id;
    }
    return control_set_kms_key(servers->fixture->control, name, &change, &view, err);
}

static int use_cluster(struct servers *servers, const char *name, struct error *err)
{
    const struct fs_key_change change = { .use_cluster = true };
    struct fs_view view;

    return control_set_kms_key(servers->fixture->control, name, &change, &view, err);
}

static int add_with_role(struct servers *servers, const char *name, const char *role,
                         const char *secret, struct error *err)
{
    CLEANUP(secret_release) struct secret secret_id = SECRET_INIT;
    char key[64];
    struct fs_add request = { .name = name,
                              .kms = { .key = key, .role_id = role, .secret_id = &secret_id } };
    struct fs_view view;

    (void)snprintf(key, sizeof(key), "own-%s", role);
    assert_int_equal(secret_assign(&secret_id, text_bytes(secret)), 0);
    return control_add(servers->fixture->control, &request, &view, err);
}

static void must_add_with_role(struct servers *servers, const char *name, const char *role)
{
    struct error err = { .code = 0 };

    must(add_with_role(servers, name, role, FAKE_SECRET_ID, &err), &err);
}

static void opens(struct servers *servers, const char *name)
{
    must_start(servers->fixture, name);
    must_stop(servers->fixture, name);
}

/* How the filesystem's key is wrapped; and by whose login it is. */
static void assert_wrapped(struct servers *servers, const char *name, const char *key,
                           const char *role)
{
    struct fs_view view = view_of(servers->fixture, name);

    assert_string_equal(view.kms_key, key);
    assert_string_equal(view.kms_role, role);
    assert_int_equal(view.has_own_kms_key, strcmp(key, FAKE_KEY) != 0);
}

/* Those in the file, roles separated by blanks. */
static void assert_stored_logins(struct servers *servers, const char *roles)
{
    CLEANUP(credentials_release) struct credentials read = CREDENTIALS_INIT;
    char found[128] = "";

    assert_int_equal(credentials_load(servers->fixture->state_dir, CREDENTIALS_IN_USE, &read, NULL),
                     0);
    for (size_t i = 0; i < read.logins.count; i++)
        (void)snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s%.20s",
                       i ? " " : "", read.logins.items[i].role_id);
    assert_string_equal(found, roles);
}

static void assert_alert(struct servers *servers, const char *type, const char *name, bool is_there)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    bool is_found = !is_there;

    while (is_found != is_there) {
        CLEANUP(free_ptr) struct alert *alerts = NULL;
        size_t count = 0;
        assert_true(clock_monotonic_ms() < until);
        assert_int_equal(control_alerts(servers->fixture->control, &alerts, &count, NULL), 0);
        is_found = false;
        for (size_t i = 0; i < count; i++)
            is_found |= strcmp(alerts[i].kind->type, type) == 0 &&
                        strcmp(alerts[i].filesystem, name) == 0 && !alerts[i].is_clearing;
        if (is_found != is_there)
            clock_sleep_ms(10);
    }
}

/* ------------------------------------------------------------------ its whole life */

static void a_login_of_its_own_wraps_and_opens_what_the_instance_may_not(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add(servers->fixture, "shared");
    must_add_with_role(servers, "one", "alpha");
    must_add_with_role(servers, "two", "alpha");
    must_add_with_role(servers, "three", "beta");
    assert_wrapped(servers, "one", "own-alpha", "alpha");
    assert_stored_logins(servers, "alpha beta");
    opens(servers, "one");
    opens(servers, "two");
    assert_int_equal(fake_transit_logins(servers->a), 4); /* one to try each, and one to stay */
    unsigned before = fake_transit_logins(servers->a);
    reopen_control(servers->fixture);
    opens(servers, "shared");
    opens(servers, "one");
    opens(servers, "two");
    opens(servers, "three");
    assert_int_equal(fake_transit_logins(servers->a) - before, 2); /* one for each role */

    must(control_remove(servers->fixture->control, "one", &err), &err);
    assert_stored_logins(servers, "alpha beta");
    must(control_remove(servers->fixture->control, "two", &err), &err);
    assert_stored_logins(servers, "beta");
    must(use_cluster(servers, "three", &err), &err);
    assert_stored_logins(servers, "");
    assert_wrapped(servers, "three", FAKE_KEY, "");
    opens(servers, "three");
}

static void what_does_not_work_is_refused_and_changes_nothing(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add(servers->fixture, "one");
    assert_int_equal(add_with_role(servers, "two", "alpha", "wrong", &err), -EACCES);
    assert_int_equal(control_get(servers->fixture->control, "two", &(struct fs_view){ 0 }, NULL),
                     -ENOENT);
    assert_int_equal(update(servers, "one", "alpha", "wrong", &err), -EACCES);
    assert_non_null(strstr(err.text, "nothing was changed"));
    assert_int_equal(update(servers, "one", "alpha", NULL, &err), -EACCES);
    assert_non_null(strstr(err.text, "secret ID of its own role alpha is not known"));
    assert_int_equal(update(servers, "one", NULL, FAKE_SECRET_ID, &err), -EINVAL);
    assert_int_equal(update(servers, "one", NULL, NULL, &err), -EINVAL);
    assert_stored_logins(servers, "");
    assert_wrapped(servers, "one", FAKE_KEY, "");
    opens(servers, "one");

    must(update(servers, "one", "alpha", FAKE_SECRET_ID, &err), &err);
    assert_int_equal(update(servers, "one", NULL, "wrong", &err), -EACCES);
    assert_int_equal(update(servers, "one", "", NULL, &err), -EACCES); /* the instance may not */
    assert_stored_logins(servers, "alpha");
    assert_wrapped(servers, "one", "own-alpha", "alpha");
    opens(servers, "one");
}

static void a_secret_is_rotated_for_all_that_share_it(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add_with_role(servers, "one", "alpha");
    must_add_with_role(servers, "two", "alpha");
    fake_transit_set_secret_id(servers->a, "secret-2");
    must(update(servers, "one", NULL, "secret-2", &err), &err);
    assert_stored_logins(servers, "alpha");
    reopen_control(servers->fixture);
    opens(servers, "one");
    opens(servers, "two");
}

static void one_that_waits_for_its_key_comes_up_when_it_has_another_secret(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add_with_role(servers, "one", "alpha");
    must_start(servers->fixture, "one"); /* so it is wanted */
    fake_transit_set_secret_id(servers->a, "secret-2");
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(servers->fixture->control, "one", NULL);
    must(control_stop(servers->fixture->control, "one", &err), &err);
    mutex_lock(&fs->lock);
    fs->record.is_wanted = true;
    mutex_unlock(&fs->lock);
    must(filesystem_save(fs, &err), &err);
    filesystem_unref(TAKE(fs));

    reopen_control(servers->fixture);
    wait_state(servers->fixture, "one", FS_WAITING_FOR_KMS);
    assert_alert(servers, "filesystem-kms-error", "one", true);
    assert_alert(servers, "waiting-for-kms", "one", true);
    must(update(servers, "one", NULL, "secret-2", &err), &err);
    wait_state(servers->fixture, "one", FS_STARTED);
    must_stop(servers->fixture, "one");
}

static void a_login_that_fails_is_told_before_anybody_needs_it(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add_with_role(servers, "one", "alpha");
    must_add_with_role(servers, "two", "beta");
    fake_transit_set_secret_id(servers->a, "secret-2");
    reopen_control(servers->fixture); /* logged in to nothing */
    assert_alert(servers, "filesystem-kms-error", "one", true);
    assert_alert(servers, "filesystem-kms-error", "two", true);
    must(update(servers, "one", NULL, "secret-2", &err), &err);
    assert_alert(servers, "filesystem-kms-error", "one", false);
    assert_alert(servers, "filesystem-kms-error", "two", true);
}

#define DAY_S (24L * 3600)

static void a_secret_that_ends_is_told_in_time(void **state)
{
    static const struct {
        long left_s;
        long life_s;
        bool is_told;
    } cases[] = {
        { 20 * DAY_S, 40 * DAY_S, false },
        { 9 * DAY_S, 40 * DAY_S, true },
        { 31 * DAY_S, 400 * DAY_S, false },
        { 29 * DAY_S, 400 * DAY_S, true },
        { 60, 3600, true },
        { 0, 0, false },
    };
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add_with_role(servers, "one", "alpha");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fake_transit_set_secret_life(servers->a, cases[i].left_s, cases[i].life_s);
        must(update(servers, "one", NULL, FAKE_SECRET_ID, &err), &err); /* logs in anew */
        assert_alert(servers, "kms-secret-id-expiry", "one", cases[i].is_told);
    }
}

/* ------------------------------------------------------------------ with the rest */

static void a_rotated_key_of_its_own_is_rewrapped_by_its_own_login(void **state)
{
    struct servers *servers = *state;
    struct rewrap_options all = { .is_rotation = true, .with_own_keys = true };
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add(servers->fixture, "shared");
    must_add_with_role(servers, "one", "alpha");
    fake_transit_rotate(servers->a);
    must(control_kms_rewrap(servers->fixture->control, &all, &report, &err), &err);
    assert_int_equal(report.count, 2);
    assert_int_equal(report.failed, 0);
    assert_int_equal(view_of(servers->fixture, "one").kms_key_version, 2);
    assert_wrapped(servers, "one", "own-alpha", "alpha");
    opens(servers, "one");
    opens(servers, "shared");
}

static void a_conversion_is_shown_and_then_done(void **state)
{
    struct servers *servers = *state;
    struct rewrap_options convert = { .is_rotation = true, .is_dry = true, .converts = true };
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add(servers->fixture, "shared");
    must_add_with_role(servers, "one", "alpha");
    must_add_with_role(servers, "two", "beta");
    must(control_kms_rewrap(servers->fixture->control, &convert, &report, &err), &err);
    assert_string_equal(report.rows[0].name, "one");
    assert_int_equal(report.rows[0].result, REWRAP_PLANNED);
    assert_string_equal(report.rows[0].to.key, FAKE_KEY);
    assert_int_equal(report.rows[1].result, REWRAP_UNCHANGED); /* shared */
    assert_wrapped(servers, "one", "own-alpha", "alpha");
    rewrap_report_release(&report);

    convert.is_dry = false;
    must(control_kms_rewrap(servers->fixture->control, &convert, &report, &err), &err);
    assert_int_equal(report.failed, 0);
    assert_wrapped(servers, "one", FAKE_KEY, "");
    assert_wrapped(servers, "two", FAKE_KEY, "");
    assert_stored_logins(servers, "");
    opens(servers, "one");
    opens(servers, "two");
    opens(servers, "shared");
}

static void one_that_cannot_be_converted_keeps_its_login(void **state)
{
    struct servers *servers = *state;
    struct rewrap_options convert = { .is_rotation = true, .converts = true };
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add_with_role(servers, "one", "alpha");
    must_add_with_role(servers, "two", "beta");
    opens(servers, "two");
    fake_transit_set_secret_id(servers->a, "secret-2");
    reopen_control(servers->fixture);
    must(update(servers, "two", NULL, "secret-2", &err), &err);
    must(control_kms_rewrap(servers->fixture->control, &convert, &report, &err), &err);
    assert_int_equal(report.failed, 1);
    assert_wrapped(servers, "one", "own-alpha", "alpha");
    assert_wrapped(servers, "two", FAKE_KEY, "");
    assert_stored_logins(servers, "alpha");
    assert_int_equal(set_as(servers, servers->b, true, &err), -EBUSY);
    fake_transit_set_secret_id(servers->a, FAKE_SECRET_ID);
    reopen_control(servers->fixture);
    opens(servers, "one");
}

static void another_server_takes_only_what_opens_there(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add(servers->fixture, "shared");
    must_add_with_role(servers, "one", "alpha");
    must_set(servers, servers->a); /* another token, for example */
    opens(servers, "one");
    assert_int_equal(set(servers, servers->b, &err), -EBUSY);
    assert_non_null(strstr(err.text, "--convert-to-cluster-key-on-fs"));
    assert_wrapped(servers, "one", "own-alpha", "alpha");
    opens(servers, "one");
    must(set_as(servers, servers->b, true, &err), &err);
    fake_transit_seal_after(servers->a, 0);
    assert_wrapped(servers, "one", FAKE_KEY, "");
    assert_stored_logins(servers, "");
    opens(servers, "one");
    opens(servers, "shared");
}

/* ------------------------------------------------------------------ crashes */

/* What is changed, from whatever state an earlier one left; it can be repeated until it is done. */
typedef int change_fn(struct servers *servers, struct error *err);

static int to_beta(struct servers *servers, struct error *err)
{
    return update(servers, "one", "beta", FAKE_SECRET_ID, err);
}

static int to_cluster(struct servers *servers, struct error *err)
{
    return use_cluster(servers, "one", err);
}

static int convert(struct servers *servers, struct error *err)
{
    struct rewrap_options options = { .is_rotation = true, .converts = true };
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    int r = control_kms_rewrap(servers->fixture->control, &options, &report, err);

    return r == 0 && report.failed > 0 ? error_set(err, -EIO, "%s", report.rows[0].text) : r;
}

static int set_and_convert(struct servers *servers, struct error *err)
{
    return set_as(servers, servers->b, true, err);
}

static int rotate_secret(struct servers *servers, struct error *err)
{
    return update(servers, "one", "alpha", FAKE_SECRET_ID, err);
}

struct change {
    const char *name;
    change_fn *run;
    const char *key; /* of what wraps "one" afterwards ... */
    const char *role;
    const char *logins; /* ... and the logins that are kept */
};

static const struct change changes[] = {
    { "another key and role", to_beta, "own-beta", "beta", "gamma beta" },
    { "to the configured key", to_cluster, FAKE_KEY, "", "gamma" },
    { "conversion", convert, FAKE_KEY, "", "" },
    { "conversion to another server", set_and_convert, FAKE_KEY, "", "" },
    { "another secret", rotate_secret, "own-alpha", "alpha", "alpha gamma" },
};

static void both_open(struct servers *servers)
{
    opens(servers, "one");
    opens(servers, "two");
}

/* True: there are not so many steps. */
static bool crash_after(struct servers *servers, const struct change *change, int n)
{
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add_with_role(servers, "one", "alpha");
    must_add_with_role(servers, "two", "gamma");
    atomic_store(&servers->fixture->steps_left, n);
    int r = change->run(servers, &err);
    atomic_store(&servers->fixture->steps_left, -1);
    if (r != CONTROL_CRASHED && r != 0)
        fail_msg("%s at step %d: %s", change->name, n, err.text);
    reopen_control(servers->fixture);
    both_open(servers);
    must(change->run(servers, &err), &err);
    assert_wrapped(servers, "one", change->key, change->role);
    assert_stored_logins(servers, change->logins);
    reopen_control(servers->fixture);
    opens(servers, "one");
    must(control_remove(servers->fixture->control, "one", &err), &err);
    must(control_remove(servers->fixture->control, "two", &err), &err);
    assert_stored_logins(servers, "");
    CLEANUP(kms_set_report_release) struct kms_set_report report;
    must(control_kms_unset(servers->fixture->control, false, &report, &err), &err);
    return r == 0;
}

static void a_crash_at_any_step_leaves_all_open_and_the_next_command_finishes(void **state)
{
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        int n = 0;
        while (!crash_after(*state, &changes[i], n))
            n++;
        assert_in_range(n, 3, 20);
    }
}

/* Each step has its crash; what is left can be started, or removed. */
static void an_addition_with_a_login_can_end_at_any_step(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };
    int r = CONTROL_CRASHED;
    struct fs_view view;

    must_set(servers, servers->a);
    for (int n = 0; r == CONTROL_CRASHED; n++) {
        atomic_store(&servers->fixture->steps_left, n);
        r = add_with_role(servers, "one", "alpha", FAKE_SECRET_ID, &err);
        atomic_store(&servers->fixture->steps_left, -1);
        reopen_control(servers->fixture);
        if (control_get(servers->fixture->control, "one", &view, NULL) == 0) {
            opens(servers, "one");
            assert_wrapped(servers, "one", "own-alpha", "alpha");
            must(control_remove(servers->fixture->control, "one", &err), &err);
            assert_stored_logins(servers, "");
        }
    }
    must(r, &err);
}

static void a_removal_that_ends_at_any_step_leaves_no_login(void **state)
{
    static const enum control_step steps[] = { STEP_REMOVE_MARKED, STEP_REMOVE_DELETED };
    struct servers *servers = *state;
    struct fs_view view;

    must_set(servers, servers->a);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        must_add_with_role(servers, "one", "alpha");
        servers->fixture->crash_at = steps[i];
        assert_int_equal(control_remove(servers->fixture->control, "one", NULL), CONTROL_CRASHED);
        servers->fixture->crash_at = STEP_COUNT;
        reopen_control(servers->fixture);
        assert_int_equal(control_get(servers->fixture->control, "one", &view, NULL), -ENOENT);
        assert_stored_logins(servers, "");
    }
}

/* At any request, not only between steps: the server ends, and comes back. */
static void a_server_that_ends_at_any_request_of_a_change_leaves_it_open(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };
    int r = -1;

    must_set(servers, servers->a);
    must_add_with_role(servers, "one", "alpha");
    must_add(servers->fixture, "two");
    for (int n = 0; r < 0; n++) {
        assert_in_range(n, 0, 60);
        fake_transit_seal_after(servers->a, n);
        r = update(servers, "one", "beta", FAKE_SECRET_ID, &err);
        fake_transit_seal_after(servers->a, -1);
        opens(servers, "one");
    }
    assert_wrapped(servers, "one", "own-beta", "beta");
    assert_stored_logins(servers, "beta");
}

/* It may be the configured one, too: then a rotation of that is not for it. */
static void the_configured_key_may_be_its_own(void **state)
{
    struct servers *servers = *state;
    const struct fs_key_change change = { .key = FAKE_KEY };
    struct rewrap_options options = { .is_rotation = true };
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    struct fs_view view;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    must_add(servers->fixture, "one");
    must_add(servers->fixture, "two");
    must(control_set_kms_key(servers->fixture->control, "one", &change, &view, &err), &err);
    reopen_control(servers->fixture);
    assert_true(view_of(servers->fixture, "one").has_own_kms_key);
    fake_transit_rotate(servers->a);
    must(control_kms_rewrap(servers->fixture->control, &options, &report, &err), &err);
    assert_int_equal(view_of(servers->fixture, "one").kms_key_version, 1);
    assert_int_equal(view_of(servers->fixture, "two").kms_key_version, 2);
    opens(servers, "one");
    opens(servers, "two");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVERS_TEST(a_login_of_its_own_wraps_and_opens_what_the_instance_may_not),
        SERVERS_TEST(what_does_not_work_is_refused_and_changes_nothing),
        SERVERS_TEST(a_secret_is_rotated_for_all_that_share_it),
        SERVERS_TEST(one_that_waits_for_its_key_comes_up_when_it_has_another_secret),
        SERVERS_TEST(a_login_that_fails_is_told_before_anybody_needs_it),
        SERVERS_TEST(a_secret_that_ends_is_told_in_time),
        SERVERS_TEST(a_rotated_key_of_its_own_is_rewrapped_by_its_own_login),
        SERVERS_TEST(a_conversion_is_shown_and_then_done),
        SERVERS_TEST(one_that_cannot_be_converted_keeps_its_login),
        SERVERS_TEST(another_server_takes_only_what_opens_there),
        SERVERS_TEST(a_crash_at_any_step_leaves_all_open_and_the_next_command_finishes),
        SERVERS_TEST(an_addition_with_a_login_can_end_at_any_step),
        SERVERS_TEST(a_removal_that_ends_at_any_step_leaves_no_login),
        SERVERS_TEST(a_server_that_ends_at_any_request_of_a_change_leaves_it_open),
        SERVERS_TEST(the_configured_key_may_be_its_own),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests_name("control_own_key", tests, NULL, NULL);
}
