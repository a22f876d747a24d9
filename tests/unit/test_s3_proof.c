/* What vouches for the body of a put: a signed hash, or a checksum that the server compares. */
#include "tests/support/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/support/scripted_s3.h"

#define LONG ((size_t)64 * 1024)
#define SUM "x-amz-checksum-crc32c: "
#define SUM_OF_A_LONG_ONE SUM "csDEpA=="
#define UNSIGNED "x-amz-content-sha256: UNSIGNED-PAYLOAD"

static int put_zeros(struct scripted *s, const char *name, size_t len)
{
    CLEANUP(free_ptr) uint8_t *data = calloc(1, len);

    assert_non_null(data);
    return object_store_put(s->store, name, (struct bytes){ data, len }, &s->err);
}

static void expect_proof(const struct scripted *s, size_t request, bool is_summed, bool is_signed)
{
    const char *head = fake_s3_request(s->fake, request);

    assert_true(strncmp(head, "PUT ", 4) == 0);
    if ((strstr(head, SUM) != NULL) != is_summed || (strstr(head, UNSIGNED) == NULL) != is_signed)
        fail_msg("request %zu: %s", request, head);
}

static void a_checksum_vouches_for_a_long_body_once_the_server_showed_that_it_compares(void **state)
{
    static const struct fake_answer script[] = {
        { 200, SUM "%SUM%\r\n", "", 0 },
        { 200, SUM "%SUM%\r\n", "", 0 },
        { 200, NULL, "", 0 },
        { 200, NULL, "", 0 },
        { 200, SUM "%SUM%\r\n", "", 0 },
    };
    CLEANUP(free_ptr) uint8_t *data = calloc(1, LONG);
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(put_zeros(&s, "a", LONG), 0);
    assert_int_equal(put_zeros(&s, "b", LONG), 0);
    assert_int_equal(put_zeros(&s, "c", LONG - 1), 0);
    assert_int_equal(object_store_replace(s.store, "d", (struct bytes){ data, LONG }, &s.err), 0);
    assert_int_equal(put_zeros(&s, "e", LONG), 0);
    expect_proof(&s, 0, true, true);
    expect_proof(&s, 1, true, false);
    expect_proof(&s, 2, false, true); /* short */
    expect_proof(&s, 3, false, true); /* takes the place of another: could be sent again */
    expect_proof(&s, 4, true, false);
    expect_part(fake_s3_request(s.fake, 1), SUM_OF_A_LONG_ONE "\r\n");
    expect_part(fake_s3_request(s.fake, 1), ";x-amz-checksum-crc32c;"); /* is signed */
    scripted_end(&s);
}

static void bodies_are_signed_for_a_server_that_says_nothing_of_checksums(void **state)
{
    static const struct fake_answer silent[] = {
        { 200, NULL, "", 0 },
        { 200, NULL, "", 0 },
    };
    static const struct fake_answer wrong[] = {
        { 200, SUM "AAAAAA==\r\n", "", 0 },
        { 200, NULL, "", 0 },
    };
    struct scripted s;
    (void)state;

    for (int i = 0; i < 2; i++) {
        scripted_begin(&s, i == 0 ? silent : wrong, 2);
        assert_int_equal(put_zeros(&s, "a", LONG), 0);
        assert_int_equal(put_zeros(&s, "b", LONG), 0);
        expect_proof(&s, 0, true, true);
        expect_proof(&s, 1, false, true);
        scripted_end(&s);
    }
}

static void what_a_server_did_not_compare_is_put_again_signed(void **state)
{
    static const struct fake_answer script[] = {
        { 200, SUM "%SUM%\r\n", "", 0 },
        { 200, NULL, "", 0 },
        { 200, NULL, "", 0 },
        { 200, NULL, "", 0 },
    };
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(put_zeros(&s, "a", LONG), 0);
    assert_int_equal(put_zeros(&s, "b", LONG), 0);
    assert_int_equal(put_zeros(&s, "c", LONG), 0);
    expect_proof(&s, 1, true, false);
    expect_proof(&s, 2, false, true);
    expect_part(fake_s3_request(s.fake, 2), "PUT /bucket/of/tests/b ");
    assert_null(strcasestr(fake_s3_request(s.fake, 2), "if-none-match")); /* it is there */
    expect_proof(&s, 3, false, true);
    expect_part(fake_s3_request(s.fake, 3), "PUT /bucket/of/tests/c ");
    scripted_end(&s);
}

static void what_is_refused_unsigned_is_asked_again_signed(void **state)
{
    static const struct fake_answer script[] = {
        { 200, SUM "%SUM%\r\n", "", 0 },
        { 403, NULL, FAULT("AccessDenied", "no"), 0 },
        { 403, NULL, FAULT("AccessDenied", "no"), 0 }, /* signed as well */
        { 403, NULL, FAULT("AccessDenied", "no"), 0 },
        { 200, NULL, "", 0 },
        { 200, NULL, "", 0 },
    };
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(put_zeros(&s, "a", LONG), 0);
    scripted_expect(&s, put_zeros(&s, "b", LONG), -EACCES, "s3:PutObject");
    assert_int_equal(put_zeros(&s, "c", LONG), 0);
    assert_int_equal(put_zeros(&s, "d", LONG), 0);
    expect_proof(&s, 1, true, false);
    expect_proof(&s, 2, false, true);
    expect_proof(&s, 3, true, false); /* it was something else, the last time */
    expect_proof(&s, 4, false, true);
    expect_proof(&s, 5, false, true);
    assert_int_equal(s.pause_count, 0);
    scripted_end(&s);
}

static void what_was_altered_on_the_way_is_sent_again(void **state)
{
    static const struct fake_answer script[] = {
        { 200, SUM "%SUM%\r\n", "", 0 },
        { 400, NULL, FAULT("BadDigest", "the checksum is another"), 0 },
        { 200, SUM "%SUM%\r\n", "", 0 },
    };
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(put_zeros(&s, "a", LONG), 0);
    assert_int_equal(put_zeros(&s, "b", LONG), 0);
    expect_proof(&s, 2, true, false);
    assert_int_equal(s.pause_count, 1);
    scripted_end(&s);
}

static int setup(void **state)
{
    (void)state;
    return secret_heap_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_checksum_vouches_for_a_long_body_once_the_server_showed_that_it_compares),
        cmocka_unit_test(bodies_are_signed_for_a_server_that_says_nothing_of_checksums),
        cmocka_unit_test(what_a_server_did_not_compare_is_put_again_signed),
        cmocka_unit_test(what_is_refused_unsigned_is_asked_again_signed),
        cmocka_unit_test(what_was_altered_on_the_way_is_sent_again),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
