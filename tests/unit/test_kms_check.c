/* The parts of `kms check` that need no server: the order of steps, times, what Vault answers. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "keys/kms_check.h"
#include "keys/vault/inspect.h"

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

/* ------------------------------------------------------------------ steps */

struct record {
    struct kms_check check;
    char lines[400];
};

static void note(void *arg, const struct kms_check_step *step)
{
    struct record *record = arg;
    size_t len = strlen(record->lines);

    (void)snprintf(record->lines + len, sizeof(record->lines) - len, "%s %s %s %s%s%s%s\n",
                   step->address, step->name, kms_check_result_name(step->result),
                   kms_check_class_name(step->class), step->text, step->action[0] ? " -> " : "",
                   step->action);
}

static bool go_well(void *arg)
{
    return kms_check_ok(&((struct record *)arg)->check, "pass", "well");
}

static bool go_odd(void *arg)
{
    struct record *record = arg;

    kms_check_advise(&record->check, "mend %s", "it");
    return kms_check_warn(&record->check, "warn", "not so well");
}

static bool go_wrong(void *arg)
{
    struct record *record = arg;

    kms_check_advise(&record->check, "repair it");
    return kms_check_fail(&record->check, "fail", KMS_CHECK_TLS, "broken ");
}

static void what_needs_a_step_that_failed_is_skipped_and_says_why(void **state)
{
    static const struct kms_check_plan plan[] = {
        { "pass", 0, go_well },
        { "warn", KMS_CHECK_NEEDS(0), go_odd },
        { "fail", KMS_CHECK_NEEDS(0) | KMS_CHECK_NEEDS(1), go_wrong },
        { "needs it", KMS_CHECK_NEEDS(2), go_well },
        { "needs that", KMS_CHECK_NEEDS(0) | KMS_CHECK_NEEDS(3), go_well },
        { "pass", KMS_CHECK_NEEDS(1), go_well },
    };
    struct record record = { .check = { .report = note, .address = "a" } };
    (void)state;

    record.check.arg = &record;
    kms_check_run(&record.check, plan, sizeof(plan) / sizeof(plan[0]), &record);
    assert_string_equal(record.lines, "a pass ok well\n"
                                      "a warn warning not so well -> mend it\n"
                                      "a fail failed tlsbroken  -> repair it\n"
                                      "a needs it skipped it needs the step 'fail'\n"
                                      "a needs that skipped it needs the step 'fail'\n"
                                      "a pass ok well\n");
}

static void an_advice_is_not_left_for_a_step_that_went_well(void **state)
{
    struct record record = { .check = { .report = note, .address = "a" } };
    (void)state;

    record.check.arg = &record;
    kms_check_advise(&record.check, "unused");
    (void)kms_check_ok(&record.check, "one", "well");
    (void)kms_check_warn(&record.check, "two", "odd");
    assert_string_equal(record.lines, "a one ok well\na two warning odd\n");
}

/* ------------------------------------------------------------------ times */

static void spans_are_told_in_the_largest_unit_of_which_there_are_two(void **state)
{
    static const struct {
        int64_t seconds;
        const char *span;
    } spans[] = {
        { 0, "0 seconds" },
        { 1, "1 second" },
        { 119, "119 seconds" },
        { 120, "2 minutes" },
        { 7199, "119 minutes" },
        { 7200, "2 hours" },
        { 2 * 86400 - 1, "47 hours" },
        { 30 * 86400, "30 days" },
    };
    char span[KMS_CHECK_TIME_SIZE];
    (void)state;

    for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
        kms_check_span(spans[i].seconds, span);
        assert_string_equal(span, spans[i].span);
    }
    kms_check_date(1795512343, span);
    assert_string_equal(span, "2026-11-24 09:25 UTC");
}

static void a_certificate_ends_soon_when_a_month_or_a_quarter_of_its_life_is_left(void **state)
{
    const int64_t day = 86400;
    const struct tls_validity year = { 0, 365 * day }, month = { 0, 28 * day };
    (void)state;

    assert_false(kms_check_ends_soon(&year, 334 * day));
    assert_true(kms_check_ends_soon(&year, 336 * day));
    assert_false(kms_check_ends_soon(&month, 20 * day));
    assert_true(kms_check_ends_soon(&month, 22 * day));
    assert_true(kms_check_ends_soon(&month, 30 * day));
}

/* ------------------------------------------------------------------ what Vault answers */

static void what_a_token_may_still_do_is_read_as_old_and_new_servers_say_it(void **state)
{
    struct vault_token token;
    (void)state;

    assert_int_equal(
        vault_read_token(text("{\"data\":{\"id\":\"s.x\",\"ttl\":2764790,\"renewable\":true,"
                              "\"creation_ttl\":2764800,\"creation_time\":1000,\"num_uses\":0,"
                              "\"explicit_max_ttl\":0,\"policies\":[\"default\"]}}"),
                         &token, NULL),
        0);
    assert_true(token.is_renewable && !token.is_root && !token.has_parent);
    assert_int_equal(token.ttl_s, 2764790);
    assert_int_equal(token.ends_s, 0);
    assert_int_equal(
        vault_read_token(
            text("{\"data\":{\"ttl\":50,\"creation_time\":1000,\"num_uses\":3,\"orphan\":false,"
                 "\"explicit_max_ttl\":60,\"policies\":[\"root\"]}}"),
            &token, NULL),
        0);
    assert_true(!token.is_renewable && token.is_root && token.has_parent);
    assert_int_equal(token.uses, 3);
    assert_int_equal(token.ends_s, 1060);
    /* One that never ends has no time of it; another has 0 left in its last second. */
    assert_int_equal(
        vault_read_token(text("{\"data\":{\"ttl\":0,\"expire_time\":null}}"), &token, NULL), 0);
    assert_false(token.has_end);
    assert_int_equal(
        vault_read_token(text("{\"data\":{\"ttl\":0,\"expire_time\":\"2026\",\"num_uses\":-1}}"),
                         &token, NULL),
        0);
    assert_true(token.has_end);
    assert_int_equal(token.uses, -1);
    static const char *const wrong[] = { "",
                                         "{",
                                         "{}",
                                         "{\"data\":null}",
                                         "{\"data\":{}}",
                                         "{\"data\":{\"ttl\":\"x\"}}",
                                         "{\"data\":{\"ttl\":-1}}",
                                         "{\"data\":{\"ttl\":4000000000}}",
                                         "{\"data\":{\"ttl\":1,\"renewable\":1}}" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(vault_read_token(text(wrong[i]), &token, NULL), -EPROTO);
}

static void capabilities_are_found_with_and_without_the_envelope(void **state)
{
    unsigned bits = 0;
    (void)state;

    assert_int_equal(vault_read_capabilities(text("{\"data\":{\"a/b\":[\"create\",\"read\","
                                                  "\"sudo\"]},\"a/b\":[\"deny\"]}"),
                                             "a/b", &bits, NULL),
                     0);
    assert_int_equal(bits, VAULT_MAY_CREATE | VAULT_MAY_READ);
    assert_int_equal(vault_read_capabilities(text("{\"a/b\":[\"deny\"]}"), "a/b", &bits, NULL), 0);
    assert_int_equal(bits, 0);
    assert_int_equal(vault_read_capabilities(text("{\"a/b\":[\"root\"]}"), "a/b", &bits, NULL), 0);
    assert_int_equal(bits, VAULT_MAY_ALL);
    assert_int_equal(vault_read_capabilities(text("{\"c\":[]}"), "a/b", &bits, NULL), -ENOENT);
    assert_int_equal(vault_read_capabilities(text("{\"a/b\":7}"), "a/b", &bits, NULL), -ENOENT);
    assert_int_equal(vault_read_capabilities(text("["), "a/b", &bits, NULL), -EPROTO);
}

static void a_refused_token_is_told_from_a_policy_that_denies(void **state)
{
    (void)state;

    assert_true(vault_is_token_refused(text("{\"errors\":[\"permission denied\"]}")));
    assert_true(vault_is_token_refused(
        text("{\"errors\":[\"2 errors occurred:\\n\\t* permission denied\\n\\t* invalid "
             "token\\n\\n\"]}")));
    assert_false(vault_is_token_refused(
        text("{\"errors\":[\"1 error occurred:\\n\\t* permission denied\\n\\n\"]}")));
    assert_false(vault_is_token_refused(text("{\"errors\":[]}")));
    assert_false(vault_is_token_refused(text("<html>")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_needs_a_step_that_failed_is_skipped_and_says_why),
        cmocka_unit_test(an_advice_is_not_left_for_a_step_that_went_well),
        cmocka_unit_test(spans_are_told_in_the_largest_unit_of_which_there_are_two),
        cmocka_unit_test(a_certificate_ends_soon_when_a_month_or_a_quarter_of_its_life_is_left),
        cmocka_unit_test(what_a_token_may_still_do_is_read_as_old_and_new_servers_say_it),
        cmocka_unit_test(capabilities_are_found_with_and_without_the_envelope),
        cmocka_unit_test(a_refused_token_is_told_from_a_policy_that_denies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
