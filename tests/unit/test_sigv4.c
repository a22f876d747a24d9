/* The signer against the examples that AWS publishes: its test suite of Signature Version 4, and
 * the examples of the S3 documentation ("Authenticating Requests: Using the Authorization
 * Header"). */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/sigv4.h"

#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static int setup(void **state)
{
    (void)state;
    return secret_heap_init(NULL);
}

static struct sigv4_signer *new_signer(const char *id, const char *key, const char *service)
{
    CLEANUP(secret_release) struct secret secret = SECRET_INIT;
    struct sigv4_signer *signer = NULL;
    struct bytes text = { (const uint8_t *)key, strlen(key) };

    assert_int_equal(secret_assign(&secret, text), 0);
    assert_int_equal(sigv4_signer_new(id, &secret, "us-east-1", service, &signer, NULL), 0);
    return signer;
}

static void expect_signature(struct sigv4_signer *signer, const struct sigv4_request *request,
                             const char *date, const char *expected)
{
    char authorization[SIGV4_AUTHORIZATION_SIZE];

    assert_int_equal(sigv4_sign(signer, request, date, authorization, NULL), 0);
    assert_string_equal(authorization, expected);
}

static void the_requests_of_the_test_suite_are_signed_as_published(void **state)
{
    static const char date[] = "20150830T123600Z";
    static const char start[] =
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/"
        "aws4_request, SignedHeaders=host;x-amz-date, Signature=";
    static const struct http_header headers[] = { { .name = "host",
                                                    .value = "example.amazonaws.com" },
                                                  { .name = "x-amz-date", .value = date } };
    static const struct {
        const char *method, *path, *query, *signature;
    } vectors[] = {
        { "GET", "/", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
        { "POST", "/", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
        { "GET", "/", "Param1=value1&Param2=value2",
          "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500" },
        { "GET", "/%E1%88%B4", "",
          "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85" },
    };
    struct sigv4_signer *signer =
        new_signer("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "service");
    char expected[SIGV4_AUTHORIZATION_SIZE];
    (void)state;

    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct sigv4_request request = { .method = vectors[i].method,
                                               .path = vectors[i].path,
                                               .query = vectors[i].query,
                                               .headers = headers,
                                               .header_count = 2,
                                               .payload_hash = EMPTY_HASH };
        (void)snprintf(expected, sizeof(expected), "%s%s", start, vectors[i].signature);
        expect_signature(signer, &request, date, expected);
    }
    sigv4_signer_free(signer);
}

#define S3_START                                                                                   \
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "        \
    "SignedHeaders="
#define S3_DATE "20130524T000000Z"
#define S3_HOST                                                                                    \
    {                                                                                              \
        .name = "host", .value = "examplebucket.s3.amazonaws.com"                                  \
    }

static struct sigv4_signer *s3_signer(void)
{
    return new_signer("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "s3");
}

static void a_ranged_get_of_s3_is_signed_as_published(void **state)
{
    static const struct http_header headers[] = {
        S3_HOST,
        { .name = "range", .value = "bytes=0-9" },
        { .name = "x-amz-content-sha256", .value = EMPTY_HASH },
        { .name = "x-amz-date", .value = S3_DATE },
    };
    const struct sigv4_request request = { .method = "GET",
                                           .path = "/test.txt",
                                           .query = "",
                                           .headers = headers,
                                           .header_count = 4,
                                           .payload_hash = EMPTY_HASH };
    struct sigv4_signer *signer = s3_signer();
    (void)state;

    expect_signature(signer, &request, S3_DATE,
                     S3_START "host;range;x-amz-content-sha256;x-amz-date, Signature="
                              "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    sigv4_signer_free(signer);
}

static void a_put_of_s3_is_signed_as_published(void **state)
{
    static const char body[] = "Welcome to Amazon S3.";
    char path[64], hash[SIGV4_HASH_SIZE];
    struct sigv4_signer *signer = s3_signer();
    (void)state;

    assert_true(sigv4_encode("/test$file.text", true, path, sizeof(path)));
    assert_int_equal(
        sigv4_payload_hash((struct bytes){ (const uint8_t *)body, sizeof(body) - 1 }, hash), 0);
    const struct http_header headers[] = {
        { .name = "date", .value = "Fri, 24 May 2013 00:00:00 GMT" },
        S3_HOST,
        { .name = "x-amz-content-sha256", .value = hash },
        { .name = "x-amz-date", .value = S3_DATE },
        { .name = "x-amz-storage-class", .value = "REDUCED_REDUNDANCY" },
    };
    const struct sigv4_request request = { .method = "PUT",
                                           .path = path,
                                           .query = "",
                                           .headers = headers,
                                           .header_count = 5,
                                           .payload_hash = hash };
    expect_signature(signer, &request, S3_DATE,
                     S3_START
                     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, Signature="
                     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    sigv4_signer_free(signer);
}

static void queries_of_s3_are_signed_as_published(void **state)
{
    static const struct http_header headers[] = {
        S3_HOST,
        { .name = "x-amz-content-sha256", .value = EMPTY_HASH },
        { .name = "x-amz-date", .value = S3_DATE },
    };
    static const struct {
        const char *query, *signature;
    } vectors[] = {
        { "lifecycle=", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
        { "max-keys=2&prefix=J",
          "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
    };
    struct sigv4_signer *signer = s3_signer();
    char expected[SIGV4_AUTHORIZATION_SIZE];
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        const struct sigv4_request request = { .method = "GET",
                                               .path = "/",
                                               .query = vectors[i].query,
                                               .headers = headers,
                                               .header_count = 3,
                                               .payload_hash = EMPTY_HASH };
        (void)snprintf(expected, sizeof(expected), "%s%s%s", S3_START,
                       "host;x-amz-content-sha256;x-amz-date, Signature=", vectors[i].signature);
        expect_signature(signer, &request, S3_DATE, expected);
    }
    sigv4_signer_free(signer);
}

static void each_day_has_its_own_key(void **state)
{
    static const char *const dates[] = { "20130524T000000Z", "20130525T000000Z",
                                         "20130524T000000Z" };
    char found[3][SIGV4_AUTHORIZATION_SIZE];
    struct sigv4_signer *signer = s3_signer();
    (void)state;

    for (size_t i = 0; i < 3; i++) {
        const struct http_header headers[] = { S3_HOST,
                                               { .name = "x-amz-date", .value = dates[i] } };
        const struct sigv4_request request = { .method = "GET",
                                               .path = "/",
                                               .query = "",
                                               .headers = headers,
                                               .header_count = 2,
                                               .payload_hash = EMPTY_HASH };
        assert_int_equal(sigv4_sign(signer, &request, dates[i], found[i], NULL), 0);
    }
    assert_string_equal(found[0], found[2]);
    assert_string_not_equal(strstr(found[0], "Signature="), strstr(found[1], "Signature="));
    sigv4_signer_free(signer);
}

static void what_cannot_be_signed_is_refused(void **state)
{
    static const struct http_header unsorted[] = { { .name = "x-amz-date", .value = S3_DATE },
                                                   S3_HOST };
    struct sigv4_request request = { .method = "GET",
                                     .path = "/",
                                     .query = "",
                                     .headers = unsorted,
                                     .header_count = 2,
                                     .payload_hash = EMPTY_HASH };
    CLEANUP(secret_release) struct secret empty = SECRET_INIT;
    char authorization[SIGV4_AUTHORIZATION_SIZE];
    struct sigv4_signer *signer = s3_signer(), *none = NULL;
    (void)state;

    assert_int_equal(sigv4_sign(signer, &request, S3_DATE, authorization, NULL), -EINVAL);
    request.header_count = 1;
    assert_int_equal(sigv4_sign(signer, &request, "today", authorization, NULL), -EINVAL);
    sigv4_signer_free(signer);
    assert_int_equal(sigv4_signer_new("", &empty, "r", "s3", &none, NULL), -EINVAL);
    assert_null(none);
}

static void texts_are_encoded_as_the_signature_wants_it(void **state)
{
    char text[16];
    (void)state;

    assert_true(sigv4_encode("a/b c=+~", true, text, sizeof(text)));
    assert_string_equal(text, "a/b%20c%3D%2B~");
    assert_true(sigv4_encode("a/\xc3", false, text, sizeof(text)));
    assert_string_equal(text, "a%2F%C3");
    assert_false(sigv4_encode("a b", false, text, 5));
    assert_true(sigv4_encode("a b", false, text, 6));
}

static void the_date_is_as_the_protocol_has_it(void **state)
{
    char date[SIGV4_DATE_SIZE];
    (void)state;

    sigv4_date(1369353600, date);
    assert_string_equal(date, S3_DATE);
    sigv4_date(4102444799, date);
    assert_string_equal(date, "20991231T235959Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_requests_of_the_test_suite_are_signed_as_published),
        cmocka_unit_test(a_ranged_get_of_s3_is_signed_as_published),
        cmocka_unit_test(a_put_of_s3_is_signed_as_published),
        cmocka_unit_test(queries_of_s3_are_signed_as_published),
        cmocka_unit_test(each_day_has_its_own_key),
        cmocka_unit_test(what_cannot_be_signed_is_refused),
        cmocka_unit_test(texts_are_encoded_as_the_signature_wants_it),
        cmocka_unit_test(the_date_is_as_the_protocol_has_it),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
