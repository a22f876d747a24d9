/* Which address is asked next, with attempts that the test plays itself. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "keys/address_list.h"

struct script {
    int results[ADDRESS_LIST_MAX]; /* by the index of the address */
    bool is_futile;
    char asked[32]; /* the addresses' first letters, in order */
    size_t count;
};

static int attempt(void *arg, struct address_attempt *attempt, struct error *err)
{
    struct script *script = arg;

    assert_true(script->count < sizeof(script->asked) - 1);
    script->asked[script->count++] = attempt->address[0];
    attempt->is_futile = script->is_futile;
    int r = script->results[attempt->index];
    return r < 0 ? error_set(err, r, "%s failed", attempt->address) : 0;
}

static void assert_asks(struct address_list *list, struct script *script, int result,
                        const char *order)
{
    script->count = 0;
    memset(script->asked, 0, sizeof(script->asked));
    assert_int_equal(address_list_call(list, attempt, script, NULL), result);
    assert_string_equal(script->asked, order);
}

static void addresses_are_split_at_commas_and_spaces(void **state)
{
    struct address_list list;
    (void)state;

    assert_int_equal(address_list_init(&list, " a:1, b:2,,c:3 ", NULL), 0);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.addresses[0], "a:1");
    assert_string_equal(list.addresses[2], "c:3");
    assert_int_equal(address_list_init(&list, " , ", NULL), -EINVAL);
    assert_int_equal(address_list_init(&list, "1,2,3,4,5,6,7,8,9", NULL), -EINVAL);
}

static void the_first_that_answers_is_used_and_what_failed_rests(void **state)
{
    struct script script = { .results = { -EAGAIN, 0 } };
    struct address_list list;
    (void)state;

    assert_int_equal(address_list_init(&list, "a,b,c", NULL), 0);
    assert_asks(&list, &script, 0, "ab");
    assert_asks(&list, &script, 0, "b");
    script.results[1] = script.results[2] = -EAGAIN;
    script.results[0] = 0;
    assert_asks(&list, &script, 0, "bca");
    assert_asks(&list, &script, 0, "a");
}

static void what_cannot_pass_ends_the_call_at_once(void **state)
{
    struct script script = { .results = { -EACCES, 0 } };
    struct address_list list;
    (void)state;

    assert_int_equal(address_list_init(&list, "a,b", NULL), 0);
    assert_asks(&list, &script, -EACCES, "a");
}

static void what_may_pass_is_tried_three_times_and_no_more(void **state)
{
    struct script script = { .results = { -EAGAIN, -EAGAIN } };
    struct address_list list;
    (void)state;

    assert_int_equal(address_list_init(&list, "a,b", NULL), 0);
    assert_asks(&list, &script, -EAGAIN, "ababab");
}

static void what_is_futile_is_tried_once_at_each_address(void **state)
{
    struct script script = { .results = { -EAGAIN, -EAGAIN }, .is_futile = true };
    struct address_list list;
    (void)state;

    assert_int_equal(address_list_init(&list, "a,b", NULL), 0);
    assert_asks(&list, &script, -EAGAIN, "ab");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_split_at_commas_and_spaces),
        cmocka_unit_test(the_first_that_answers_is_used_and_what_failed_rests),
        cmocka_unit_test(what_cannot_pass_ends_the_call_at_once),
        cmocka_unit_test(what_may_pass_is_tried_three_times_and_no_more),
        cmocka_unit_test(what_is_futile_is_tried_once_at_each_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
