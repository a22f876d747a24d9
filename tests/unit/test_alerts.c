/* Alerts: they rise and clear with hysteresis, leave events, and can be muted. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "control/alert_book.h"
#include "crypto/secret.h"

#define LINGERS "kms-unreachable" /* a kind that does */
#define DOES_NOT "local-key"

struct fixture {
    struct registry *registry;
    struct events events;
    struct alert_book *book;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    assert_int_equal(registry_open("memory:", &fixture->registry, NULL), 0);
    assert_int_equal(events_open(&fixture->events, fixture->registry, NULL), 0);
    assert_int_equal(alert_book_open(&fixture->events, fixture->registry, &fixture->book, NULL), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    alert_book_close(fixture->book);
    registry_close(fixture->registry);
    free(fixture);
    return 0;
}

static struct alert condition(const char *type, const char *filesystem, const char *text)
{
    struct alert alert = { .kind = alert_kind_find(type) };

    if (!alert.kind)
        abort();
    alert.is_critical = alert.kind->is_critical;
    (void)snprintf(alert.filesystem, sizeof(alert.filesystem), "%s", filesystem);
    (void)snprintf(alert.text, sizeof(alert.text), "%s", text);
    return alert;
}

/* type NULL: no condition holds. */
static void update(struct fixture *fixture, const char *type, int64_t now_ms)
{
    struct alert alert = condition(type ? type : LINGERS, "", "text");

    assert_int_equal(alert_book_update(fixture->book, &alert, type != NULL, now_ms, NULL), 0);
}

static size_t count_raised(struct fixture *fixture, struct alert *ret_first)
{
    CLEANUP(free_ptr) struct alert *alerts = NULL;
    size_t count = 0;

    assert_int_equal(alert_book_list(fixture->book, &alerts, &count, NULL), 0);
    *ret_first = count > 0 ? alerts[0] : condition(DOES_NOT, "", "");
    return count;
}

static size_t count_events(struct fixture *fixture, const char *type)
{
    CLEANUP(free_ptr) struct event *items = NULL;
    struct events_query query = { { .limit = 100, .type = type }, LOG_LEVEL_INFO };
    size_t count = 0;

    assert_int_equal(events_list(&fixture->events, &query, &items, &count, NULL), 0);
    return count;
}

static void one_that_does_not_linger_rises_and_clears_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct alert alert;

    update(fixture, DOES_NOT, 1000);
    assert_int_equal(count_raised(fixture, &alert), 1);
    assert_string_equal(alert.kind->type, DOES_NOT);
    assert_string_equal(alert.text, "text");
    assert_true(alert.raised_ns > 0);
    update(fixture, NULL, 1001);
    assert_int_equal(count_raised(fixture, &alert), 0);
    assert_int_equal(count_events(fixture, "alert-raised"), 1);
    assert_int_equal(count_events(fixture, "alert-cleared"), 1);
}

static void two_looks_in_one_millisecond_are_two(void **state)
{
    struct fixture *fixture = *state;
    struct alert alert;

    update(fixture, DOES_NOT, 1000);
    update(fixture, DOES_NOT, 1000);
    assert_int_equal(count_raised(fixture, &alert), 1);
    update(fixture, NULL, 1000);
    assert_int_equal(count_raised(fixture, &alert), 0);
}

static void what_comes_and_goes_is_one_alert(void **state)
{
    struct fixture *fixture = *state;
    int64_t linger_ms = alert_kind_find(LINGERS)->linger_ms;
    struct alert alert;
    int64_t now_ms = 1000;

    for (unsigned i = 0; i < 10; i++) {
        update(fixture, LINGERS, now_ms);
        now_ms += linger_ms - 1;
        update(fixture, NULL, now_ms);
        assert_int_equal(count_raised(fixture, &alert), 1);
        assert_true(alert.is_clearing);
    }
    assert_int_equal(count_events(fixture, "alert-raised"), 1);
    assert_int_equal(count_events(fixture, "alert-cleared"), 0);
    update(fixture, NULL, now_ms + 1);
    assert_int_equal(count_raised(fixture, &alert), 0);
    assert_int_equal(count_events(fixture, "alert-cleared"), 1);
}

static void what_was_put_right_clears_at_once_unless_it_comes_back(void **state)
{
    struct fixture *fixture = *state;
    struct alert alert;

    update(fixture, LINGERS, 1000);
    alert_book_settle(fixture->book, "kms-");
    update(fixture, LINGERS, 1001);
    update(fixture, NULL, 1002);
    assert_int_equal(count_raised(fixture, &alert), 1);
    alert_book_settle(fixture->book, "kms-");
    update(fixture, NULL, 1003);
    assert_int_equal(count_raised(fixture, &alert), 0);
}

static void each_filesystem_has_its_own_and_the_critical_come_first(void **state)
{
    struct fixture *fixture = *state;
    struct alert conditions[] = {
        condition(DOES_NOT, "a", "1"),
        condition(DOES_NOT, "b", "2"),
        condition("corruption", "b", "3"),
    };
    struct alert first;

    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(alert_book_update(fixture->book, conditions, 3, 1000 + i, NULL), 0);
    assert_int_equal(count_raised(fixture, &first), 3);
    assert_string_equal(first.kind->type, "corruption");
    assert_int_equal(count_events(fixture, "alert-raised"), 3);
    assert_int_equal(alert_book_update(fixture->book, conditions, 1, 2000, NULL), 0);
    assert_int_equal(count_raised(fixture, &first), 1);
    assert_string_equal(first.filesystem, "a");
}

static void one_that_becomes_critical_is_told_again(void **state)
{
    struct fixture *fixture = *state;
    struct alert alert = condition(DOES_NOT, "", "text");

    for (unsigned i = 0; i < 4; i++) {
        alert.is_critical = i >= 2;
        assert_int_equal(alert_book_update(fixture->book, &alert, 1, 1000 + i, NULL), 0);
    }
    assert_int_equal(count_events(fixture, "alert-raised"), 2);
    assert_int_equal(count_raised(fixture, &alert), 1);
    assert_true(alert.is_critical);
}

static void a_muted_one_is_marked_until_its_time_has_come_also_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    int64_t hour_ns = 3600 * 1000000000LL;
    struct alert alert;

    update(fixture, DOES_NOT, 1000);
    assert_int_equal(
        alert_book_mute(fixture->book, DOES_NOT, clock_wall_ns() + hour_ns, "why\n", NULL), 0);
    alert_book_close(fixture->book);
    assert_int_equal(alert_book_open(&fixture->events, fixture->registry, &fixture->book, NULL), 0);
    update(fixture, DOES_NOT, 2000);
    assert_int_equal(count_raised(fixture, &alert), 1);
    assert_true(alert.is_muted);
    assert_string_equal(alert.comment, "why?");
    assert_int_equal(alert_book_mute(fixture->book, DOES_NOT, 0, "", NULL), 0);
    assert_int_equal(count_raised(fixture, &alert), 1);
    assert_false(alert.is_muted);
    assert_int_equal(alert_book_mute(fixture->book, DOES_NOT, INT64_MAX, "", NULL), 0);
    assert_int_equal(count_raised(fixture, &alert), 1);
    assert_true(alert.is_muted);
}

static void only_what_there_is_can_be_muted(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(alert_book_mute(fixture->book, "nonsense", INT64_MAX, "", NULL), -ENOENT);
}

static void every_kind_says_what_it_means_and_what_to_do(void **state)
{
    size_t count = 0;
    const struct alert_kind *kinds = alert_kinds(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        assert_true(strlen(kinds[i].title) > 0 && strlen(kinds[i].cause) > 0 &&
                    strlen(kinds[i].action) > 0);
        assert_ptr_equal(alert_kind_find(kinds[i].type), &kinds[i]);
    }
}

static void every_kind_is_on_the_page_about_alerts(void **state)
{
    CLEANUP(buf_release) struct buf page = BUF_INIT;
    const struct bytes nul = { .data = (const uint8_t *)"", .len = 1 };
    size_t count = 0;
    const struct alert_kind *kinds = alert_kinds(&count);

    (void)state;
    assert_int_equal(file_read(FORMATS_FOLDER "/../../docs/alerts.md", 1 << 20, &page, NULL), 0);
    assert_int_equal(buf_append(&page, nul), 0);
    for (size_t i = 0; i < count; i++) {
        char row[128];
        (void)snprintf(row, sizeof(row), "\n| `%s` %s| %s", kinds[i].type,
                       kinds[i].linger_ms > 0 ? "* " : "", alert_severity(kinds[i].is_critical));
        if (!strstr((const char *)page.data, row))
            fail_msg("docs/alerts.md has no row%s", row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_does_not_linger_rises_and_clears_at_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(two_looks_in_one_millisecond_are_two, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_comes_and_goes_is_one_alert, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_put_right_clears_at_once_unless_it_comes_back,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_filesystem_has_its_own_and_the_critical_come_first,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_muted_one_is_marked_until_its_time_has_come_also_after_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_becomes_critical_is_told_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_there_is_can_be_muted, set_up, tear_down),
        cmocka_unit_test(every_kind_says_what_it_means_and_what_to_do),
        cmocka_unit_test(every_kind_is_on_the_page_about_alerts),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
