/* Events: bounded in number, listed by what is asked for, there after a restart. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "control/events.h"
#include "crypto/secret.h"

#define KEPT 20u

struct fixture {
    struct registry *registry;
    struct events events;
};

static void reopen(struct fixture *fixture)
{
    assert_int_equal(events_open(&fixture->events, fixture->registry, NULL), 0);
    fixture->events.kept = KEPT;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    assert_int_equal(registry_open("memory:", &fixture->registry, NULL), 0);
    reopen(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    registry_close(fixture->registry);
    free(fixture);
    return 0;
}

/* How many there are of those asked for, with the number of the first. */
static size_t count_of(struct fixture *fixture, const struct events_query *query,
                       uint64_t *ret_first)
{
    CLEANUP(free_ptr) struct event *items = NULL;
    size_t count = 0;

    assert_int_equal(events_list(&fixture->events, query, &items, &count, NULL), 0);
    *ret_first = count > 0 ? items[0].number : 0;
    for (size_t i = 1; i < count; i++)
        assert_true(items[i].number > items[i - 1].number);
    return count;
}

static int count_stored(uint64_t number, struct bytes value, void *arg)
{
    (void)number;
    (void)value;
    ++*(size_t *)arg;
    return 0;
}

static void only_the_newest_are_kept_and_the_oldest_go(void **state)
{
    struct fixture *fixture = *state;
    struct events_query query = { .journal = { .limit = 1000 }, .level = LOG_LEVEL_INFO };
    uint64_t first = 0;
    size_t stored = 0;

    for (unsigned i = 0; i < 3 * KEPT; i++)
        events_add(&fixture->events, LOG_LEVEL_INFO, "added", "data", "number %u", i);
    assert_int_equal(count_of(fixture, &query, &first), KEPT);
    assert_int_equal(first, 2 * KEPT + 1);
    assert_int_equal(registry_each_entry(fixture->registry, "event/", 0, UINT64_MAX, count_stored,
                                         &stored, NULL),
                     0);
    assert_int_equal(stored, KEPT);
}

static void numbers_go_on_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct events_query query = { .journal = { .limit = 1 }, .level = LOG_LEVEL_INFO };
    CLEANUP(free_ptr) struct event *items = NULL;
    size_t count = 0;

    events_add(&fixture->events, LOG_LEVEL_INFO, "added", "data", "one");
    reopen(fixture);
    events_add(&fixture->events, LOG_LEVEL_ERROR, "worker-died", "", "two \033[31m");
    assert_int_equal(events_list(&fixture->events, &query, &items, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(items[0].number, 2);
    assert_int_equal(items[0].level, LOG_LEVEL_ERROR);
    assert_string_equal(items[0].type, "worker-died");
    assert_string_equal(items[0].filesystem, "");
    assert_string_equal(items[0].text, "two ?[31m");
}

static void filters_choose(void **state)
{
    struct fixture *fixture = *state;
    struct {
        struct events_query query;
        size_t count;
        uint64_t first;
    } cases[] = {
        { { { .limit = 10 }, LOG_LEVEL_INFO }, 4, 1 },
        { { { .limit = 10 }, LOG_LEVEL_WARNING }, 2, 2 },
        { { { .limit = 10 }, LOG_LEVEL_ERROR }, 1, 3 },
        { { { .limit = 1 }, LOG_LEVEL_WARNING }, 1, 3 },
        { { { .limit = 0 }, LOG_LEVEL_INFO }, 0, 0 },
        { { { .limit = 10, .before = 3 }, LOG_LEVEL_INFO }, 2, 1 },
        { { { .limit = 10, .filesystem = "b" }, LOG_LEVEL_INFO }, 1, 4 },
        { { { .limit = 10, .type = "x" }, LOG_LEVEL_INFO }, 3, 1 },
        { { { .limit = 10, .from_ns = INT64_MAX }, LOG_LEVEL_INFO }, 0, 0 },
        { { { .limit = 10, .until_ns = 1 }, LOG_LEVEL_INFO }, 0, 0 },
    };

    events_add(&fixture->events, LOG_LEVEL_INFO, "x", "a", "1");
    events_add(&fixture->events, LOG_LEVEL_WARNING, "y", "a", "2");
    events_add(&fixture->events, LOG_LEVEL_ERROR, "x", "a", "3");
    events_add(&fixture->events, LOG_LEVEL_INFO, "x", "b", "4");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t first = 0;
        size_t count = count_of(fixture, &cases[i].query, &first);
        if (count != cases[i].count || first != cases[i].first)
            fail_msg("case %zu: %zu from %llu", i, count, (unsigned long long)first);
    }
}

static void no_altered_length_is_read_and_the_largest_fits(void **state)
{
    struct event event = { .level = LOG_LEVEL_WARNING, .time_ns = -5 };
    struct event back;
    uint8_t encoded[EVENT_MAX];
    size_t len = 0;

    (void)state;
    memset(event.type, 't', sizeof(event.type) - 1);
    memset(event.filesystem, 'f', sizeof(event.filesystem) - 1);
    memset(event.text, 'x', sizeof(event.text) - 1);
    assert_int_equal(event_encode(&event, encoded, &len), 0);
    assert_int_equal(event_decode((struct bytes){ .data = encoded, .len = len }, 7, &back), 0);
    event.number = 7;
    assert_memory_equal(&event, &back, sizeof(event));
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(event_decode((struct bytes){ .data = encoded, .len = cut }, 7, &back),
                         -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_newest_are_kept_and_the_oldest_go, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(numbers_go_on_after_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(filters_choose, set_up, tear_down),
        cmocka_unit_test(no_altered_length_is_read_and_the_largest_fits),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
