/* JSON from outside, and HTTP over a Unix socket against a server that the test plays itself. */
#include "tests/support/cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "crypto/secret.h"
#include "net/dial.h"
#include "net/http.h"
#include "net/json.h"
#include "net/tls.h"

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static int parse(const char *s, json_t **ret)
{
    return json_parse_object(text(s), ret, NULL);
}

static void json_parse_refuses_what_is_not_strict(void **state)
{
    static const char *const refused[] = {
        "",     "{",         "{}x",        "{\"a\":1,\"a\":2}",
        "[1,]", "{\"a\" 1}", "{\"a\":01}", "{\"a\":\"\\u0000\"}",
        "\xff", "{'a':1}",
    };
    json_t *value = NULL;
    (void)state;

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_int_equal(json_parse(text(refused[i]), &value, NULL), -EINVAL);
    assert_null(value);
}

static void json_parse_never_quotes_the_text_in_its_error(void **state)
{
    struct error err = { 0 };
    json_t *value = NULL;
    (void)state;

    assert_int_equal(json_parse(text("{\"token\": s.secret"), &value, &err), -EINVAL);
    assert_null(strstr(err.text, "s.secret"));
}

static void json_getters_check_the_type_and_name_the_member(void **state)
{
    CLEANUP(json_freep) json_t *object = NULL;
    struct error err = { 0 };
    const char *value = "default";
    int64_t number = 7;
    bool flag = false;
    (void)state;

    assert_int_equal(parse("{\"n\":5,\"t\":\"x\",\"b\":true,\"z\":null}", &object), 0);
    assert_int_equal(json_get_text(object, "n", JSON_REQUIRED, &value, &err), -EINVAL);
    assert_string_equal(err.text, "\"n\" must be a text");
    assert_int_equal(json_get_text(object, "q", JSON_REQUIRED, &value, &err), -EINVAL);
    assert_string_equal(err.text, "\"q\" is missing");
    assert_int_equal(json_get_text(object, "z", JSON_OPTIONAL, &value, &err), 0);
    assert_string_equal(value, "default");
    assert_int_equal(json_get_text(object, "t", JSON_REQUIRED, &value, &err), 0);
    assert_string_equal(value, "x");
    assert_int_equal(json_get_integer(object, "n", JSON_REQUIRED, &number, &err), 0);
    assert_int_equal(number, 5);
    assert_int_equal(json_get_bool(object, "b", JSON_REQUIRED, &flag, &err), 0);
    assert_true(flag);
    assert_int_equal(json_get_bool(object, "n", JSON_OPTIONAL, &flag, &err), -EINVAL);
}

static void json_get_line_refuses_control_characters_and_what_is_too_long(void **state)
{
    CLEANUP(json_freep) json_t *object = NULL;
    char line[4] = "old";
    (void)state;

    assert_int_equal(parse("{\"a\":\"x\\ny\",\"b\":\"four\",\"c\":\"abc\"}", &object), 0);
    assert_int_equal(json_get_line(object, "a", JSON_REQUIRED, line, 4, NULL), -EINVAL);
    assert_int_equal(json_get_line(object, "b", JSON_REQUIRED, line, 4, NULL), -EINVAL);
    assert_string_equal(line, "old");
    assert_int_equal(json_get_line(object, "c", JSON_REQUIRED, line, 4, NULL), 0);
    assert_string_equal(line, "abc");
}

static void json_write_gives_back_what_was_parsed(void **state)
{
    CLEANUP(json_freep) json_t *object = NULL;
    CLEANUP(buf_wipe) struct buf out = BUF_INIT;
    (void)state;

    assert_int_equal(parse("{\"a\": [1, \"x\"]}", &object), 0);
    assert_int_equal(json_write(object, &out), 0);
    assert_string_equal((char *)out.data, "{\"a\":[1,\"x\"]}");
    assert_int_equal(out.len, strlen("{\"a\":[1,\"x\"]}"));
}

/* One connection is accepted, the request kept, the answer sent. */
struct fake_server {
    int fd;
    const char *answer;
    char request[4096];
    pthread_t thread;
    char path[108];
};

static void *serve(void *arg)
{
    struct fake_server *fake = arg;
    int fd = accept(fake->fd, NULL, NULL);
    size_t len = 0;

    while (len < sizeof(fake->request) - 1) {
        ssize_t got = read(fd, fake->request + len, sizeof(fake->request) - 1 - len);
        if (got <= 0)
            break;
        len += (size_t)got;
        fake->request[len] = '\0';
        const char *end = strstr(fake->request, "\r\n\r\n");
        const char *length = strstr(fake->request, "Content-Length: ");
        if (end && strlen(end + 4) >= (length ? strtoul(length + 16, NULL, 10) : 0))
            break;
    }
    if (fake->answer)
        (void)!write(fd, fake->answer, strlen(fake->answer));
    close(fd);
    return NULL;
}

static void bind_socket(struct fake_server *fake, const char *answer)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    memset(fake, 0, sizeof(*fake));
    fake->answer = answer;
    (void)snprintf(fake->path, sizeof(fake->path), "/tmp/coffer-test-net.%d", (int)getpid());
    memcpy(address.sun_path, fake->path, sizeof(fake->path));
    (void)unlink(fake->path);
    fake->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fake->fd >= 0);
    assert_int_equal(bind(fake->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fake->fd, 1), 0);
}

static void start(struct fake_server *fake, const char *answer)
{
    bind_socket(fake, answer);
    assert_int_equal(pthread_create(&fake->thread, NULL, serve, fake), 0);
}

static void stop(struct fake_server *fake)
{
    assert_int_equal(pthread_join(fake->thread, NULL), 0);
    close(fake->fd);
    (void)unlink(fake->path);
}

static int request(const struct fake_server *fake, size_t max, const struct http_request *request,
                   struct http_response *ret, struct error *err)
{
    CLEANUP(http_client_freep) struct http_client *client = NULL;
    const struct http_options options = { .unix_socket = fake->path, .max_body_len = max };

    assert_int_equal(http_client_new(&options, &client, NULL), 0);
    return http_send(client, request, ret, err);
}

static void http_sends_method_headers_and_body_and_reads_the_answer(void **state)
{
    CLEANUP(http_response_release) struct http_response answer = HTTP_RESPONSE_INIT;
    CLEANUP(secret_release) struct secret token = SECRET_INIT;
    struct fake_server fake;
    (void)state;

    assert_int_equal(secret_assign(&token, text("s.token")), 0);
    const struct http_header headers[] = { { .name = "X-Vault-Token", .secret = &token },
                                           { .name = "X-Other", .value = "1" } };
    const struct http_request put = { .method = "PUT",
                                      .url = "http://localhost/api/v1/kms",
                                      .headers = headers,
                                      .header_count = 2,
                                      .body = text("{\"a\":1}") };
    start(&fake, "HTTP/1.1 201 Created\r\nRetry-After: 9\r\nContent-Length: 2\r\n\r\n{}");
    assert_int_equal(request(&fake, 0, &put, &answer, NULL), 0);
    stop(&fake);
    assert_int_equal(answer.status, 201);
    assert_int_equal(answer.retry_after_s, 9);
    assert_string_equal((char *)answer.body.data, "{}");
    assert_memory_equal(fake.request, "PUT /api/v1/kms HTTP/1.1\r\n", 26);
    assert_non_null(strstr(fake.request, "\r\nX-Vault-Token: s.token\r\n"));
    assert_non_null(strstr(fake.request, "\r\nX-Other: 1\r\n"));
    assert_non_null(strstr(fake.request, "\r\n\r\n{\"a\":1}"));
}

static void http_does_not_follow_a_redirect_but_says_where_it_leads(void **state)
{
    CLEANUP(http_response_release) struct http_response answer = HTTP_RESPONSE_INIT;
    const struct http_request get = { .method = "GET", .url = "http://localhost/a" };
    struct fake_server fake;
    (void)state;

    start(&fake, "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://other:1/b\r\n"
                 "Content-Length: 0\r\n\r\n");
    assert_int_equal(request(&fake, 0, &get, &answer, NULL), 0);
    stop(&fake);
    assert_int_equal(answer.status, 307);
    assert_string_equal(answer.location, "http://other:1/b");
}

static void http_refuses_an_answer_that_is_too_long_even_without_a_length(void **state)
{
    CLEANUP(http_response_release) struct http_response answer = HTTP_RESPONSE_INIT;
    const struct http_request get = { .method = "GET", .url = "http://localhost/a" };
    struct fake_server fake;
    struct error err = { 0 };
    (void)state;

    start(&fake, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "4\r\naaaa\r\n5\r\nbbbbb\r\n0\r\n\r\n");
    assert_int_equal(request(&fake, 8, &get, &answer, &err), -EFBIG);
    stop(&fake);
    assert_null(answer.body.data);
    assert_non_null(strstr(err.text, "longer than 8 bytes"));
}

static void http_says_that_nobody_listens(void **state)
{
    CLEANUP(http_response_release) struct http_response answer = HTTP_RESPONSE_INIT;
    const struct http_request get = { .method = "GET", .url = "http://localhost/a" };
    const struct fake_server fake = { .path = "/nonexistent/socket" };
    struct error err = { 0 };
    (void)state;

    assert_int_equal(request(&fake, 0, &get, &answer, &err), -ECONNREFUSED);
    assert_non_null(strstr(err.text, "/nonexistent/socket"));
}

/* Nobody reads, and nobody says so; the hour that it may take is for those who are slow. */
static void http_gives_up_what_has_stalled(void **state)
{
    CLEANUP(http_response_release) struct http_response answer = HTTP_RESPONSE_INIT;
    CLEANUP(http_client_freep) struct http_client *client = NULL;
    CLEANUP(free_ptr) uint8_t *body = calloc(16, 1 << 20);
    struct fake_server fake;
    struct error err = { 0 };
    (void)state;

    assert_non_null(body);
    bind_socket(&fake, NULL);
    const struct http_options options = { .unix_socket = fake.path,
                                          .total_timeout_ms = (int64_t)3600 * 1000,
                                          .stall_timeout_s = 1 };
    assert_int_equal(http_client_new(&options, &client, NULL), 0);
    const struct http_request put = { .method = "PUT",
                                      .url = "http://localhost/a",
                                      .body = { body, (size_t)16 << 20 } };
    assert_int_equal(http_send(client, &put, &answer, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "no answer from "));
    close(fake.fd);
    (void)unlink(fake.path);
}

/* --- one side speaks TLS, the other not --- */

struct plain_server {
    int fd;
    uint16_t port;
    struct bytes answer;
    pthread_t thread;
};

/* Whatever it hears first. */
static void *answer_anything(void *arg)
{
    struct plain_server *server = arg;
    int fd = accept(server->fd, NULL, NULL);
    char heard[4096];

    (void)!read(fd, heard, sizeof(heard));
    if (server->answer.len > 0)
        (void)!write(fd, server->answer.data, server->answer.len);
    close(fd);
    return NULL;
}

static void start_plain(struct plain_server *server, struct bytes answer)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);

    server->answer = answer;
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(server->fd >= 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(listen(server->fd, 1), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, answer_anything, server), 0);
}

static void http_says_which_side_speaks_tls_and_what_to_do(void **state)
{
    static const struct http_advice advice = { .trust = "trust it",
                                               .plain = "a plain one",
                                               .tls = "take the other one" };
    static const uint8_t alert[] = { 21, 3, 3, 0, 2, 2, 70 };
    static const char go[] = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an "
                             "HTTPS server.\n";
    static const char nginx[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<center>The "
                                "plain HTTP request was sent to HTTPS port</center>";
    const struct {
        const char *scheme;
        struct bytes answer;
        int code;
        const char *said, *advised;
    } cases[] = {
        { "https", text("HTTP/1.1 400 Bad Request\r\n\r\n"), -EKEYREJECTED, "does not speak TLS",
          "a plain one" },
        { "http", text(go), -EKEYREJECTED, "one of HTTPS", "take the other one" },
        { "http", text(nginx), -EKEYREJECTED, "one of HTTPS", "take the other one" },
        { "http", { alert, sizeof(alert) }, -EKEYREJECTED, "one of HTTPS", "take the other one" },
        { "http", text(""), -ECONNREFUSED, "broke", "if that port is one of HTTPS, take" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(http_response_release) struct http_response answer = HTTP_RESPONSE_INIT;
        CLEANUP(http_client_freep) struct http_client *client = NULL;
        const struct http_options options = { .advice = &advice };
        struct plain_server server;
        struct error err = { 0 };
        char url[64];

        start_plain(&server, cases[i].answer);
        (void)snprintf(url, sizeof(url), "%s://127.0.0.1:%u/", cases[i].scheme, server.port);
        const struct http_request get = { .method = "GET", .url = url };
        assert_int_equal(http_client_new(&options, &client, NULL), 0);
        assert_int_equal(http_send(client, &get, &answer, &err), cases[i].code);
        if (!strstr(err.text, cases[i].said) || !strstr(err.text, cases[i].advised))
            fail_msg("%zu: %s", i, err.text);
        assert_null(strstr(err.text, "CA"));
        assert_int_equal(pthread_join(server.thread, NULL), 0);
        close(server.fd);
    }
}

static void http_refuses_a_header_value_with_a_line_break(void **state)
{
    CLEANUP(http_response_release) struct http_response answer = HTTP_RESPONSE_INIT;
    const struct http_header header = { .name = "X-Vault-Namespace", .value = "a\r\nX-Evil: 1" };
    const struct http_request get = {
        .method = "GET", .url = "http://localhost/a", .headers = &header, .header_count = 1
    };
    const struct fake_server fake = { .path = "/nonexistent/socket" };
    (void)state;

    assert_int_equal(request(&fake, 0, &get, &answer, NULL), -EINVAL);
}

static const char certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBczCCARmgAwIBAgIUSmyFTMMiZufDOlCsG9UZe4I2t00wCgYIKoZIzj0EAwIw\n"
    "DzENMAsGA1UEAwwEdGVzdDAeFw0yNjExMjQwOTI1NDNaFw0zNjExMjEwOTI1NDNa\n"
    "MA8xDTALBgNVBAMMBHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARZrh8Z\n"
    "EaadiZE2PBHq/p5KKAaGXdlXgPub3nMi4SQHZCHS0hkvxgifzYgggECtkubmKbCP\n"
    "MrE+4XWXq9p4f7qNo1MwUTAdBgNVHQ4EFgQUSwLmK4mzERa9yQofmS44jia1pZsw\n"
    "HwYDVR0jBBgwFoAUSwLmK4mzERa9yQofmS44jia1pZswDwYDVR0TAQH/BAUwAwEB\n"
    "/zAKBggqhkjOPQQDAgNIADBFAiEA+PtbQ+IFxuBCKUhQww958KAhkGnmnWfwghw2\n"
    "mW8NkQkCICN80MhwIxaubMbmoGNr/u07V5xVbz65NiCpEQZESC1L\n"
    "-----END CERTIFICATE-----\n";

static void the_life_of_a_certificate_is_read(void **state)
{
    struct tls_validity validity = { 0 };
    (void)state;

    assert_int_equal(tls_certificate_validity(text(certificate), &validity, NULL), 0);
    assert_int_equal(validity.from_s, 1795512343);
    assert_int_equal(validity.until_s, 2110872343);
    assert_int_equal(tls_certificate_validity(text("no certificate"), &validity, NULL), -EINVAL);
    assert_int_equal(tls_certificate_validity(text(""), &validity, NULL), -EINVAL);
}

static void a_key_that_is_none_or_missing_is_refused_before_any_connection(void **state)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    const struct tls_target target = {
        .host = "localhost", .port = 1, .client_cert_pem = text(certificate), .client_key_pem = &key
    };
    struct error err = { 0 };
    (void)state;

    assert_int_equal(tls_check_target(&target, &err), -EINVAL);
    assert_int_equal(secret_assign(&key, text("-----BEGIN PRIVATE KEY-----\nsecret\n")), 0);
    assert_int_equal(tls_check_target(&target, &err), -EINVAL);
    assert_null(strstr(err.text, "secret"));
}

static int set_up(void **state)
{
    (void)state;
    return secret_heap_init(NULL);
}

/* The C library's own thread, which looks names up, is unknown to ThreadSanitizer and ends in it.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CANNOT_LOOK_UP
#endif
#endif

#ifndef CANNOT_LOOK_UP
static void a_name_is_looked_up(void **state)
{
    CLEANUP(dial_addresses_freep) struct dial_addresses *addresses = NULL;
    char shown[256];

    (void)state;
    assert_int_equal(dial_resolve("127.0.0.1", 80, clock_monotonic_ms() + 60000, &addresses, NULL),
                     0);
    dial_show(addresses, shown, sizeof(shown));
    assert_string_equal(shown, "127.0.0.1");
}
#endif

/* The name is not to blame when what was asked before took all of the time. */
static void without_time_left_it_says_that_there_was_no_answer(void **state)
{
    CLEANUP(dial_addresses_freep) struct dial_addresses *addresses = NULL;
    struct error err = { .code = 0 };

    (void)state;
    assert_int_equal(dial_resolve("127.0.0.1", 80, clock_monotonic_ms() - 1, &addresses, &err),
                     -ETIMEDOUT);
    assert_string_equal(err.text, "no answer from 127.0.0.1:80 in time; check the address, the "
                                  "network and firewalls");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_parse_refuses_what_is_not_strict),
        cmocka_unit_test(json_parse_never_quotes_the_text_in_its_error),
        cmocka_unit_test(json_getters_check_the_type_and_name_the_member),
        cmocka_unit_test(json_get_line_refuses_control_characters_and_what_is_too_long),
        cmocka_unit_test(json_write_gives_back_what_was_parsed),
        cmocka_unit_test(http_sends_method_headers_and_body_and_reads_the_answer),
        cmocka_unit_test(http_does_not_follow_a_redirect_but_says_where_it_leads),
        cmocka_unit_test(http_refuses_an_answer_that_is_too_long_even_without_a_length),
        cmocka_unit_test(http_says_that_nobody_listens),
        cmocka_unit_test(http_gives_up_what_has_stalled),
        cmocka_unit_test(http_says_which_side_speaks_tls_and_what_to_do),
        cmocka_unit_test(http_refuses_a_header_value_with_a_line_break),
#ifndef CANNOT_LOOK_UP
        cmocka_unit_test(a_name_is_looked_up),
#endif
        cmocka_unit_test(without_time_left_it_says_that_there_was_no_answer),
        cmocka_unit_test(the_life_of_a_certificate_is_read),
        cmocka_unit_test(a_key_that_is_none_or_missing_is_refused_before_any_connection),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
