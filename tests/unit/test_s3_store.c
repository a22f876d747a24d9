/* The S3 store against a server that is busy, breaks off, refuses and lies. That it keeps the
 * contract with a real one is tests/integration/test_s3_store.py. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/probe.h"
#include "store/s3_store.h"
#include "tests/support/scripted_s3.h"
#include "tests/support/store_case.h"

static int get(struct scripted *s, const char *name, struct buf *ret)
{
    return object_store_get(s->store, name, 1000, ret, &s->err);
}

/* --- what can pass --- */

static void a_busy_server_is_asked_again(void **state)
{
    static const struct fake_answer script[] = {
        { 503, "Retry-After: 1\r\n", FAULT("SlowDown", "slower"), 0 },
        { 429, NULL, "", 0 },
        { 500, NULL, FAULT("InternalError", "try again"), 0 },
        { 200, NULL, "found", 0 },
    };
    CLEANUP(buf_release) struct buf found = BUF_INIT;
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(get(&s, "a/b", &found), 0);
    assert_int_equal(found.len, 5);
    assert_int_equal(s.pause_count, 3);
    assert_int_equal(s.pauses[0], 1000); /* as it asked */
    assert_in_range(s.pauses[1], 100, 200);
    assert_in_range(s.pauses[2], 200, 400);
    expect_part(fake_s3_request(s.fake, 1), "GET /bucket/of/tests/a/b HTTP/1.1\r\n");
    expect_part(fake_s3_request(s.fake, 1), "/here/s3/aws4_request, SignedHeaders=host;");
    scripted_end(&s);
}

static void a_server_that_stays_busy_is_an_error_in_the_end(void **state)
{
    static const struct fake_answer script[] = {
        { 503, NULL, FAULT("SlowDown", "slower"), 0 },
        { 503, NULL, FAULT("SlowDown", "slower"), 0 },
        { 503, NULL, FAULT("SlowDown", "slower"), 0 },
        { 503, NULL, FAULT("SlowDown", "slower"), 0 },
    };
    CLEANUP(buf_release) struct buf found = BUF_INIT;
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    scripted_expect(&s, get(&s, "a", &found), -EIO, "after 4 tries: bucket bucket at 127.0.0.1:");
    scripted_end(&s);
}

static void a_body_that_was_cut_is_read_again(void **state)
{
    static const struct fake_answer script[] = {
        { 200, NULL, "found it", 3 },
        { 0, NULL, NULL, 0 },
        { 200, NULL, "found it", 0 },
    };
    CLEANUP(buf_release) struct buf found = BUF_INIT;
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(get(&s, "a", &found), 0);
    assert_int_equal(found.len, 8);
    assert_memory_equal(found.data, "found it", 8);
    scripted_end(&s);
}

static void expect_bytes(struct object *object, const char *value)
{
    uint8_t bytes[32];
    size_t len = 0;

    assert_int_equal(object_read(object, 0, sizeof(bytes), bytes, &len, NULL), 0);
    assert_int_equal(len, strlen(value));
    assert_memory_equal(bytes, value, len);
}

static void an_object_of_known_size_is_got_by_one_request(void **state)
{
    static const struct fake_answer script[] = {
        { 200, NULL, "found it", 3 },
        { 200, NULL, "found it", 0 },
    };
    struct object *object = NULL;
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(object_store_open_sized(s.store, "a", 8, &object, &s.err), 0);
    expect_bytes(object, "found it"); /* and asks again for what was cut */
    for (size_t i = 0; i < 2; i++) {
        expect_part(fake_s3_request(s.fake, i), "GET /bucket/of/tests/a HTTP/1.1\r\n");
        assert_null(strstr(fake_s3_request(s.fake, i), "range:"));
    }
    object_close(object);
    scripted_end(&s);
}

static void one_of_another_size_than_was_said_is_read_as_any_other(void **state)
{
    static const char *const bodies[] = { "longer than that", "short" };
    static const char *const heads[] = { "Content-Range: bytes 0-15/16\r\nETag: \"e\"\r\n",
                                         "Content-Range: bytes 0-4/5\r\nETag: \"e\"\r\n" };
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        const struct fake_answer script[] = { { 200, NULL, bodies[i], 0 },
                                              { 206, heads[i], bodies[i], 0 } };
        struct object *object = NULL;
        struct scripted s;
        BEGIN(&s, script);
        assert_int_equal(object_store_open_sized(s.store, "a", 8, &object, &s.err), 0);
        expect_bytes(object, bodies[i]);
        expect_bytes(object, bodies[i]); /* it was asked already */
        object_close(object);
        scripted_end(&s);
    }
}

static void a_range_that_was_cut_is_read_again(void **state)
{
    static const char head[] = "Content-Range: bytes 0-4/20000\r\nETag: \"e\"\r\n";
    char *first = malloc(S3_SMALL_LEN + 1);
    uint8_t bytes[10];
    size_t len = 0;
    struct scripted s;
    (void)state;

    assert_non_null(first);
    memset(first, 'f', S3_SMALL_LEN);
    first[S3_SMALL_LEN] = '\0';
    const struct fake_answer script[] = {
        { 206, head, first, 0 },
        { 206, NULL, "0123456789", 9 },
        { 206, NULL, "0123456789", 0 },
    };
    BEGIN(&s, script);
    CLEANUP(object_closep) struct object *object = NULL;
    assert_int_equal(object_store_open_object(s.store, "a", &object, &s.err), 0);
    assert_int_equal(object_read(object, 19990, 100, bytes, &len, NULL), 0);
    assert_int_equal(len, 10);
    assert_memory_equal(bytes, "0123456789", 10);
    expect_part(fake_s3_request(s.fake, 2), "range: bytes=19990-19999\r\n");
    expect_part(fake_s3_request(s.fake, 2), "if-match: \"e\"\r\n");
    scripted_end(&s);
    free(first);
}

/* --- puts that were not answered --- */

static void a_put_that_was_done_but_not_answered_is_known_by_its_mark(void **state)
{
    static const struct fake_answer script[] = {
        { 0, NULL, NULL, 0 },
        { 412, NULL, FAULT("PreconditionFailed", "it is there"), 0 },
        { 200, "Content-Length: 5\r\nx-amz-meta-coffer-put: %MARK%\r\n", NULL, 0 },
    };
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(object_store_put(s.store, "a", text("bytes"), &s.err), 0);
    expect_part(fake_s3_request(s.fake, 0), "if-none-match: *\r\n");
    expect_part(fake_s3_request(s.fake, 2), "HEAD /bucket/of/tests/a ");
    scripted_end(&s);
}

static void the_put_of_somebody_else_is_not_taken_for_ours(void **state)
{
    static const struct fake_answer script[] = {
        { 0, NULL, NULL, 0 },
        { 412, NULL, FAULT("PreconditionFailed", "it is there"), 0 },
        { 200, "Content-Length: 5\r\nx-amz-meta-coffer-put: 0123\r\n", NULL, 0 },
        { 412, NULL, FAULT("PreconditionFailed", "it is there"), 0 },
    };
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    scripted_expect(&s, object_store_put(s.store, "a", text("bytes"), &s.err), -EEXIST, "object a");
    scripted_expect(&s, object_store_put(s.store, "a", text("bytes"), &s.err), -EEXIST, "object a");
    scripted_end(&s);
}

/* --- refusals --- */

static void each_refusal_has_its_sentence_and_is_asked_once(void **state)
{
    static const struct {
        struct fake_answer answer;
        int code;
        const char *part;
    } cases[] = {
        { { 403, NULL, FAULT("SignatureDoesNotMatch", "no"), 0 }, -EACCES, "--secret-key" },
        { { 403, NULL, FAULT("InvalidAccessKeyId", "no"), 0 }, -EACCES, "access key id me" },
        { { 404, NULL, FAULT("XAdminUserNotFound", "no"), 0 }, -EACCES, "access key id me" },
        { { 403, NULL, FAULT("AccessDenied", "no"), 0 }, -EACCES, "s3:GetObject" },
        { { 403, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", FAULT("RequestTimeTooSkewed", "no"),
            0 },
          -EACCES,
          "Thu, 01 Jan 1970 00:00:00 GMT" },
        { { 404, NULL, FAULT("NoSuchBucket", "no"), 0 }, -ENXIO, "create the bucket" },
        { { 301, "x-amz-bucket-region: eu-west-1\r\n", FAULT("PermanentRedirect", "no"), 0 },
          -ENXIO,
          "--region eu-west-1" },
        { { 400, NULL,
            XML "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message>"
                "<Region>eu-west-2</Region></Error>",
            0 },
          -ENXIO,
          "--region eu-west-2" },
        { { 400, NULL, FAULT("AuthorizationHeaderMalformed", "the region is wrong"), 0 },
          -ENXIO,
          "the region is wrong" },
        { { 507, NULL, FAULT("XMinioStorageFull", "no"), 0 }, -ENOSPC, "is full" },
        { { 501, NULL, FAULT("NotImplemented", "If-None-Match"), 0 },
          -EOPNOTSUPP,
          "If-None-Match" },
        { { 400, NULL, FAULT("InvalidSomething", "strange &#10;words"), 0 },
          -EIO,
          "InvalidSomething: strange ?words" },
        { { 403, NULL, "no XML", 0 }, -EACCES, "denies access" },
        { { 404, NULL, "no XML", 0 }, -EIO, "status 404" },
        { { 404, NULL, FAULT("NoSuchKey", "no"), 0 }, -ENOENT, "no object a in bucket bucket" },
        { { 200, NULL, "", 0 }, 0, "" },
        { { 204, NULL, NULL, 0 }, -EIO, "status 204" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(buf_release) struct buf found = BUF_INIT;
        struct scripted s;
        scripted_begin(&s, &cases[i].answer, 1);
        scripted_expect(&s, get(&s, "a", &found), cases[i].code, cases[i].part);
        scripted_end(&s);
    }
}

static void a_missing_bucket_is_not_taken_for_a_missing_object(void **state)
{
    static const struct fake_answer script[] = {
        { 404, NULL, NULL, 0 }, /* HEAD */
        { 404, NULL, FAULT("NoSuchBucket", "no"), 0 },
        { 404, NULL, NULL, 0 },
        { 404, NULL, FAULT("NoSuchKey", "no"), 0 },
    };
    uint64_t size = 77;
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    scripted_expect(&s, object_store_stat(s.store, "a", &size, &s.err), -ENXIO, "no bucket bucket");
    scripted_expect(&s, object_store_stat(s.store, "a", &size, &s.err), -ENOENT, "no object a");
    assert_int_equal(size, 77);
    scripted_end(&s);
}

static void a_server_that_is_not_there_is_named(void **state)
{
    struct scripted s;
    uint64_t size;
    (void)state;

    scripted_begin(&s, NULL, 0);
    CLEANUP(s3_settings_release) struct s3_settings settings;
    struct object_store *store = NULL;
    scripted_settings(&settings, 1);
    settings.retry = &s.retry;
    assert_int_equal(s3_store_open(&settings, &store, NULL), 0);
    scripted_expect(&s, object_store_stat(store, "a", &size, &s.err), -ECONNREFUSED,
                    "after 4 tries: cannot reach http://127.0.0.1:1");
    object_store_close(store);
    scripted_end(&s);
}

/* --- lies --- */

static void ranges_of_another_length_are_refused(void **state)
{
    static const struct fake_answer lies[] = {
        { 206, NULL, "short", 0 },                             /* no total */
        { 206, "Content-Range: bytes 0-4/3\r\n", "short", 0 }, /* of less */
        { 206, "Content-Range: bytes 0-4/6\r\n", "short", 0 }, /* less than there is */
        { 206, "Content-Range: bytes 0-4/99999999999999999999\r\n", "short", 0 }, /* 2^64 */
        { 304, NULL, NULL, 0 },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct object *object = NULL;
        struct scripted s;
        scripted_begin(&s, &lies[i], 1);
        scripted_expect(&s, object_store_open_object(s.store, "a", &object, &s.err), -EIO,
                        "status");
        assert_null(object);
        scripted_end(&s);
    }
}

static int count_name(const char *name, uint64_t size, void *arg)
{
    struct {
        unsigned count;
        char last[64];
    } *seen = arg;

    assert_int_equal(size, 5);
    seen->count++;
    (void)snprintf(seen->last, sizeof(seen->last), "%s", name);
    return 0;
}

#define ENTRY(key) "<Contents><Key>" key "</Key><Size>5</Size></Contents>"
#define LIST(rest) XML "<ListBucketResult>" rest "</ListBucketResult>"
#define MORE(token)                                                                                \
    "<IsTruncated>true</IsTruncated><NextContinuationToken>" token "</NextContinuationToken>"

static void a_list_in_pages_skips_what_was_not_asked_for(void **state)
{
    static const struct fake_answer script[] = {
        { 200, NULL, LIST(ENTRY("of/tests/a/1") ENTRY("other/a/2") MORE("t/1+ =")), 0 },
        { 200, NULL, LIST(ENTRY("of/tests/a/../x") ENTRY("of/tests/b") ENTRY("of/tests/a/3")), 0 },
    };
    struct {
        unsigned count;
        char last[64];
    } seen = { 0 };
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(object_store_list(s.store, "a/", count_name, &seen, &s.err), 0);
    assert_int_equal(seen.count, 2);
    assert_string_equal(seen.last, "a/3");
    expect_part(fake_s3_request(s.fake, 0), "GET /bucket?list-type=2&prefix=of%2Ftests%2Fa%2F ");
    expect_part(fake_s3_request(s.fake, 1), "?continuation-token=t%2F1%2B%20%3D&list-type=2&");
    scripted_end(&s);
}

static void lists_that_cannot_be_are_errors(void **state)
{
    static const struct {
        const char *body;
        const char *part;
    } lies[] = {
        { "", "cannot be read" },
        { "no XML", "cannot be read" },
        { LIST(ENTRY("of/tests/a")) "<more/>", "cannot be read" },
        { "<!DOCTYPE x [<!ENTITY e \"e\">]>" LIST(ENTRY("of/tests/a")), "cannot be read" },
        { LIST("<Contents><Key>of/tests/a</Key></Contents>"), "cannot be read" },
        { LIST("<Contents><Size>5</Size></Contents>"), "cannot be read" },
        { LIST("<Contents><Key>of/tests/a</Key><Size>-5</Size></Contents>"), "cannot be read" },
        { LIST("<Contents><Key>of/tests/a</Key><Size>18446744073709551616</Size></Contents>"),
          "cannot be read" },
        { LIST("<IsTruncated>true</IsTruncated>"), "cannot be read" },
        { XML "<Error><Code>x</Code></Error>", "cannot be read" },
    };
    unsigned seen[17] = { 0 };
    (void)state;

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        const struct fake_answer answer = { 200, NULL, lies[i].body, 0 };
        struct scripted s;
        scripted_begin(&s, &answer, 1);
        scripted_expect(&s, object_store_list(s.store, "", count_name, seen, &s.err), -EBADMSG,
                        lies[i].part);
        scripted_end(&s);
    }
}

static void a_list_without_end_is_an_error(void **state)
{
    static const struct fake_answer script[] = {
        { 200, NULL, LIST(MORE("again")), 0 },
        { 200, NULL, LIST(MORE("again")), 0 },
    };
    unsigned seen[17] = { 0 };
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    scripted_expect(&s, object_store_list(s.store, "", count_name, seen, &s.err), -EIO,
                    "again and again");
    scripted_end(&s);
}

/* --- uploads in parts --- */

#define BEGUN                                                                                      \
    XML "<InitiateMultipartUploadResult><UploadId>u/1</UploadId></InitiateMultipartUploadResult>"
#define COMPLETE XML "<CompleteMultipartUploadResult/>"
#define PART_DONE                                                                                  \
    {                                                                                              \
        200, "ETag: \"e\"\r\n", "", 0                                                              \
    }

static int put_long(struct scripted *s)
{
    size_t len = 2 * S3_PART_MIN + 1;
    CLEANUP(free_ptr) uint8_t *data = calloc(1, len);

    assert_non_null(data);
    return object_store_put(s->store, "a", (struct bytes){ data, len }, &s->err);
}

static void a_long_object_is_put_in_parts(void **state)
{
    static const struct fake_answer script[] = {
        { 404, NULL, NULL, 0 }, /* HEAD: the name is free */
        { 200, NULL, BEGUN, 0 },
        PART_DONE,
        PART_DONE,
        PART_DONE,
        { 200, NULL, COMPLETE, 0 },
        { 200, "Content-Length: 5\r\nx-amz-meta-coffer-put: %MARK%\r\n", NULL, 0 },
    };
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(put_long(&s), 0);
    expect_part(fake_s3_request(s.fake, 1), "POST /bucket/of/tests/a?uploads= ");
    expect_part(fake_s3_request(s.fake, 5), "POST /bucket/of/tests/a?uploadId=u%2F1 ");
    scripted_end(&s);
}

static void an_upload_in_parts_that_fails_is_given_up(void **state)
{
    static const struct fake_answer refused[] = {
        { 404, NULL, NULL, 0 },
        { 200, NULL, BEGUN, 0 },
        PART_DONE,
        { 403, NULL, FAULT("AccessDenied", "no"), 0 },
        { 204, NULL, NULL, 0 },
    };
    static const struct fake_answer good_status_and_error[] = {
        { 404, NULL, NULL, 0 },
        { 200, NULL, BEGUN, 0 },
        PART_DONE,
        PART_DONE,
        PART_DONE,
        { 200, NULL, FAULT("InternalError", "it broke"), 0 },
        { 404, NULL, NULL, 0 }, /* it is looked for, */
        { 404, NULL, FAULT("NoSuchKey", "no"), 0 },
        { 204, NULL, NULL, 0 },
    };
    struct scripted s;
    (void)state;

    BEGIN(&s, refused);
    scripted_expect(&s, put_long(&s), -EACCES, "s3:PutObject");
    expect_part(fake_s3_request(s.fake, 4), "DELETE /bucket/of/tests/a?uploadId=u%2F1 ");
    scripted_end(&s);
    BEGIN(&s, good_status_and_error);
    scripted_expect(&s, put_long(&s), -EBADMSG, "it broke");
    expect_part(fake_s3_request(s.fake, 8), "DELETE /bucket/of/tests/a?uploadId=u%2F1 ");
    scripted_end(&s);
}

static void a_completion_that_was_not_answered_is_known_by_its_mark(void **state)
{
    static const struct fake_answer script[] = {
        { 404, NULL, NULL, 0 },
        { 200, NULL, BEGUN, 0 },
        PART_DONE,
        PART_DONE,
        PART_DONE,
        { 0, NULL, NULL, 0 },
        { 404, NULL, FAULT("NoSuchUpload", "it is complete"), 0 },
        { 200, "Content-Length: 5\r\nx-amz-meta-coffer-put: %MARK%\r\n", NULL, 0 },
    };
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(put_long(&s), 0);
    scripted_end(&s);
}

/* --- writers --- */

static void a_writer_that_could_not_store_is_only_good_for_close(void **state)
{
    static const struct fake_answer script[] = {
        { 412, NULL, FAULT("PreconditionFailed", "it is there"), 0 },
    };
    struct object_writer *writer = NULL;
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(object_store_create(s.store, "a", &writer, &s.err), 0);
    store_case_write(writer, 0, "bytes");
    scripted_expect(&s, object_writer_sync(writer, &s.err), -EEXIST, "object a");
    scripted_expect(&s, object_writer_sync(writer, &s.err), -EIO, "object a");
    object_writer_close(writer);
    scripted_end(&s);
}

static void a_writer_is_stored_once_for_each_change(void **state)
{
    static const struct fake_answer script[] = {
        { 200, NULL, "", 0 },
        { 200, NULL, "", 0 },
    };
    struct object_writer *writer = NULL;
    struct scripted s;
    (void)state;

    BEGIN(&s, script);
    assert_int_equal(object_store_create(s.store, "a", &writer, &s.err), 0);
    store_case_write(writer, 0, "bytes");
    assert_int_equal(object_writer_sync(writer, &s.err), 0);
    assert_int_equal(object_writer_sync(writer, &s.err), 0);
    store_case_write(writer, 5, "more");
    assert_int_equal(object_writer_seal(writer, &s.err), 0);
    object_writer_close(writer);
    expect_part(fake_s3_request(s.fake, 0), "if-none-match: *\r\n");
    expect_part(fake_s3_request(s.fake, 1), "\r\nContent-Length: 9\r\n");
    assert_null(strstr(fake_s3_request(s.fake, 1), "f-none-match"));
    scripted_end(&s);
}

/* --- trials --- */

#define FIRST "coffer tries this object store"
#define SECOND "and replaces what it put there"

static void a_store_that_does_not_what_coffer_relies_on_is_found_out(void **state)
{
    static const struct fake_answer overwrites[] = {
        { 200, NULL, "", 0 },
        { 200, NULL, FIRST, 0 },
        { 200, NULL, "", 0 }, /* as if it had not been asked to refuse */
        { 204, NULL, NULL, 0 },
    };
    static const struct fake_answer overwrites_and_denies_it[] = {
        { 200, NULL, "", 0 },
        { 200, NULL, FIRST, 0 },
        { 412, NULL, FAULT("PreconditionFailed", "it is there"), 0 },
        { 200, NULL, SECOND, 0 },
        { 204, NULL, NULL, 0 },
    };
    static const struct fake_answer lists_nothing[] = {
        { 200, NULL, "", 0 },
        { 200, NULL, FIRST, 0 },
        { 412, NULL, FAULT("PreconditionFailed", "it is there"), 0 },
        { 200, NULL, FIRST, 0 },
        { 200, NULL, "", 0 },
        { 200, NULL, SECOND, 0 },
        { 206, "Content-Range: bytes 0-29/30\r\n", SECOND, 0 },
        { 200, NULL, LIST(""), 0 },
        { 204, NULL, NULL, 0 },
    };
    struct scripted s;
    (void)state;

    BEGIN(&s, overwrites);
    scripted_expect(&s, object_store_probe(s.store, &s.err), -EPROTO, "If-None-Match");
    scripted_end(&s);
    BEGIN(&s, overwrites_and_denies_it);
    scripted_expect(&s, object_store_probe(s.store, &s.err), -EPROTO, "did it all the same");
    scripted_end(&s);
    BEGIN(&s, lists_nothing);
    scripted_expect(&s, object_store_probe(s.store, &s.err), -EPROTO, "does not show");
    scripted_end(&s);
}

/* --- settings --- */

static void settings_that_cannot_be_are_refused(void **state)
{
    CLEANUP(s3_settings_release) struct s3_settings settings;
    struct object_store *store = NULL;
    struct error err = { 0 };
    (void)state;

#define REFUSED(member, value)                                                                     \
    scripted_settings(&settings, 1);                                                               \
    memcpy(settings.member, value, sizeof(value));                                                 \
    store_case_expect_error(s3_store_open(&settings, &store, &err), -EINVAL, &err);                \
    s3_settings_release(&settings)
    REFUSED(hostname, "");
    REFUSED(hostname, "a/b");
    REFUSED(hostname, "a b");
    REFUSED(bucket, "ab");
    REFUSED(bucket, "a/b");
    REFUSED(region, "a/b");
    REFUSED(access_key_id, "");
    REFUSED(access_key_id, "a\nb");
    REFUSED(access_key_id, "a/b");
    REFUSED(prefix, "/a");
    REFUSED(prefix, "a//b");
    REFUSED(prefix, "../b");
    REFUSED(prefix, "a b");
    scripted_settings(&settings, 1);
    secret_release(&settings.secret_key);
    store_case_expect_error(s3_store_open(&settings, &store, &err), -EINVAL, &err);
    assert_null(store);
}

static int setup(void **state)
{
    (void)state;
    return secret_heap_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_busy_server_is_asked_again),
        cmocka_unit_test(a_server_that_stays_busy_is_an_error_in_the_end),
        cmocka_unit_test(a_body_that_was_cut_is_read_again),
        cmocka_unit_test(an_object_of_known_size_is_got_by_one_request),
        cmocka_unit_test(one_of_another_size_than_was_said_is_read_as_any_other),
        cmocka_unit_test(a_range_that_was_cut_is_read_again),
        cmocka_unit_test(a_put_that_was_done_but_not_answered_is_known_by_its_mark),
        cmocka_unit_test(the_put_of_somebody_else_is_not_taken_for_ours),
        cmocka_unit_test(each_refusal_has_its_sentence_and_is_asked_once),
        cmocka_unit_test(a_missing_bucket_is_not_taken_for_a_missing_object),
        cmocka_unit_test(a_server_that_is_not_there_is_named),
        cmocka_unit_test(ranges_of_another_length_are_refused),
        cmocka_unit_test(a_list_in_pages_skips_what_was_not_asked_for),
        cmocka_unit_test(lists_that_cannot_be_are_errors),
        cmocka_unit_test(a_list_without_end_is_an_error),
        cmocka_unit_test(a_long_object_is_put_in_parts),
        cmocka_unit_test(an_upload_in_parts_that_fails_is_given_up),
        cmocka_unit_test(a_completion_that_was_not_answered_is_known_by_its_mark),
        cmocka_unit_test(a_writer_that_could_not_store_is_only_good_for_close),
        cmocka_unit_test(a_writer_is_stored_once_for_each_change),
        cmocka_unit_test(a_store_that_does_not_what_coffer_relies_on_is_found_out),
        cmocka_unit_test(settings_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
