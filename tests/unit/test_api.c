/* The routes, their description, and the server over a real socket. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"

#include "api/server.h"
#include "base/cleanup.h"
#include "base/file_io.h"
#include "crypto/secret.h"
#include "host/unix_socket.h"

#define DOCUMENT_MAX (256u * 1024u)
#define OPERATIONS_MAX 128u

#define ROLES "      x-roles: ["
#define ROLES_SIZE 80u

/* "METHOD path" of each operation that the OpenAPI document describes, and for which roles it is:
 * paths stand two blanks deep, methods four. */
struct operations {
    char *items[OPERATIONS_MAX];
    char roles[OPERATIONS_MAX][ROLES_SIZE]; /* "Regular, ClusterAdmin"; "?": it does not say */
    size_t count;
};

static void operations_release(struct operations *operations)
{
    for (size_t i = 0; i < operations->count; i++)
        free(operations->items[i]);
}

static void take_method(struct operations *operations, const char *path, const char *line)
{
    static const char *const methods[][2] = {
        { "    get:", "GET" },       { "    put:", "PUT" },     { "    post:", "POST" },
        { "    delete:", "DELETE" }, { "    patch:", "PATCH" },
    };

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(line, methods[i][0]) == 0) {
            assert_true(operations->count < OPERATIONS_MAX);
            (void)snprintf(operations->roles[operations->count], ROLES_SIZE, "?");
            assert_true(asprintf(&operations->items[operations->count++], "%s %s", methods[i][1],
                                 path) > 0);
        }
}

static void read_document(struct operations *ret)
{
    CLEANUP(buf_release) struct buf document = BUF_INIT;
    struct bytes nul = { .data = (const uint8_t *)"", .len = 1 };
    char path[256] = "";
    char *next = NULL;

    assert_int_equal(file_read(OPENAPI, DOCUMENT_MAX, &document, NULL), 0);
    assert_int_equal(buf_append(&document, nul), 0);
    for (char *line = (char *)document.data; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (strcmp(line, "components:") == 0)
            return;
        if (strncmp(line, "  /", 3) == 0)
            (void)snprintf(path, sizeof(path), "%.*s", (int)strcspn(line + 2, ":"), line + 2);
        else if (strncmp(line, ROLES, strlen(ROLES)) == 0 && ret->count > 0)
            (void)snprintf(ret->roles[ret->count - 1], ROLES_SIZE, "%.*s",
                           (int)strcspn(line + strlen(ROLES), "]"), line + strlen(ROLES));
        else
            take_method(ret, path, line);
    }
}

/* As the document should tell it; "": for anybody, also who is not logged in. */
static void roles_of(const struct api_route *route, char ret[static ROLES_SIZE])
{
    struct api_caller caller = { .is_known = false };
    size_t used = 0;

    ret[0] = '\0';
    if (api_caller_may(&caller, route->need, NULL) == 0)
        return;
    caller.is_known = true;
    for (caller.role = USER_READ_ONLY; caller.role < USER_ROLE_COUNT; caller.role++)
        if (api_caller_may(&caller, route->need, NULL) == 0)
            used += (size_t)snprintf(ret + used, ROLES_SIZE - used, "%s%s", used ? ", " : "",
                                     user_role_name(caller.role));
}

/* Said in two places, so that no route comes to be for others by mistake. */
static void must_be_for_the_roles(const struct api_route *route, const char *documented)
{
    char roles[ROLES_SIZE];

    roles_of(route, roles);
    if (strcmp(roles, documented) != 0)
        fail_msg("%s %s is for [%s], and its x-roles in docs/api/openapi.yaml are [%s]",
                 route->method, route->pattern, roles, documented);
}

static void the_openapi_document_describes_the_routes_and_no_others(void **state)
{
    CLEANUP(operations_release) struct operations documented = { .count = 0 };

    (void)state;
    read_document(&documented);
    assert_int_equal(documented.count, api_route_count);
    for (size_t i = 0; i < api_route_count; i++) {
        char wanted[300];
        bool is_there = false;
        (void)snprintf(wanted, sizeof(wanted), "%s %s", api_routes[i].method,
                       api_routes[i].pattern);
        for (size_t k = 0; k < documented.count; k++) {
            if (strcmp(documented.items[k], wanted) != 0)
                continue;
            is_there = true;
            must_be_for_the_roles(&api_routes[i], documented.roles[k]);
        }
        if (!is_there)
            fail_msg("%s is not described in docs/api/openapi.yaml", wanted);
    }
}

static void a_route_is_found_by_method_and_path(void **state)
{
    static const struct {
        const char *method;
        const char *path;
        int result;
        const char *name;
    } cases[] = {
        { "GET", "/api/v1/status", 0, "" },
        { "POST", "/api/v1/status", -EOPNOTSUPP, "" },
        { "GET", "/api/v1/filesystems/data", 0, "data" },
        { "POST", "/api/v1/filesystems/data/start", 0, "data" },
        { "POST", "/api/v1/filesystems/adopt", 0, "" },
        { "GET", "/api/v1/filesystems/adopt", 0, "adopt" },
        { "GET", "/api/v1/filesystems/", -ENOENT, "" },
        { "GET", "/api/v1/filesystems/a/b", -ENOENT, "" },
        { "GET", "/api/v2/status", -ENOENT, "" },
        { "GET", "/", -ENOENT, "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct api_route *route = NULL;
        char name[256] = "";
        assert_int_equal(api_route_find(cases[i].method, cases[i].path, &route, name),
                         cases[i].result);
        if (cases[i].result == 0)
            assert_string_equal(name, cases[i].name);
    }
}

struct fixture {
    char state_dir[64];
    char socket[96];
    struct control *control;
    struct api_server *server;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct error err = { .code = 0 };
    int fd = -1;

    (void)snprintf(fixture->state_dir, sizeof(fixture->state_dir), "/tmp/coffer-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->state_dir));
    (void)snprintf(fixture->socket, sizeof(fixture->socket), "%s/sock", fixture->state_dir);
    struct control_config config = { .state_dir = fixture->state_dir,
                                     .worker_program = "/bin/false" };
    assert_int_equal(control_open(&config, &fixture->control, &err), 0);
    assert_int_equal(unix_socket_listen(fixture->socket, SOCK_STREAM, 0600, &fd, &err), 0);
    struct api_context context = { .control = fixture->control,
                                   .state_dir = fixture->state_dir,
                                   .socket = fixture->socket };
    assert_int_equal(api_server_open(&context, fd, &fixture->server, &err), 0);
    *state = fixture;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    control_shut_down(fixture->control);
    api_server_close(fixture->server);
    control_close(fixture->control);
    (void)nftw(fixture->state_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(fixture);
    return 0;
}

/* Sends the bytes, reads the answer to its end, and returns its status. */
static int request(const struct fixture *fixture, struct bytes text, struct buf *ret)
{
    CLEANUP(close_fd) int fd = -1;
    struct bytes nul = { .data = (const uint8_t *)"", .len = 1 };
    uint8_t part[4096];
    ssize_t n;

    assert_int_equal(unix_socket_connect(fixture->socket, SOCK_STREAM, &fd, NULL), 0);
    (void)fd_write_all(fd, text); /* one that is too large may be cut off */
    while ((n = read(fd, part, sizeof(part))) > 0)
        assert_int_equal(buf_append(ret, (struct bytes){ .data = part, .len = (size_t)n }), 0);
    assert_int_equal(buf_append(ret, nul), 0);
    const char *status = strchr((const char *)ret->data, ' ');
    return status ? (int)strtol(status, NULL, 10) : 0;
}

static int call(const struct fixture *fixture, const char *method, const char *path,
                const char *body, struct buf *ret)
{
    char *text = NULL;
    int len = asprintf(&text,
                       "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n"
                       "\r\n%s",
                       method, path, strlen(body), body);
    assert_true(len > 0);
    int status =
        request(fixture, (struct bytes){ .data = (const uint8_t *)text, .len = (size_t)len }, ret);
    free(text);
    return status;
}

struct request_case {
    const char *method;
    const char *path;
    const char *body;
    int status;
    const char *text;
};

static void must_answer(const struct fixture *fixture, const struct request_case *cases,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CLEANUP(buf_release) struct buf answer = BUF_INIT;
        int status = call(fixture, cases[i].method, cases[i].path, cases[i].body, &answer);
        if (status != cases[i].status || !strstr((const char *)answer.data, cases[i].text))
            fail_msg("%s %s %s: %s", cases[i].method, cases[i].path, cases[i].body,
                     (const char *)answer.data);
    }
}

static void users_are_kept_and_nobody_logs_in_on_the_socket(void **state)
{
    static const struct request_case cases[] = {
        { "GET", "/api/v1/session", "", 200, "\"role\":\"ClusterAdmin\"" },
        { "POST", "/api/v1/login", "{\"user\":\"a\",\"password\":\"b\"}", 400, "the kernel says" },
        { "DELETE", "/api/v1/session", "", 400, "no login on the socket" },
        { "PUT", "/api/v1/session/password", "{}", 400, "no login on the socket" },
        { "GET", "/api/v1/users", "", 200, "[]" },
        { "POST", "/api/v1/users", "{\"name\":\"a\",\"role\":\"x\"}", 400, "a role is" },
        { "POST", "/api/v1/users", "{\"name\":\"a\",\"role\":\"Regular\",\"password\":\"short\"}",
          400, "10 to 256 characters" },
        { "POST", "/api/v1/users",
          "{\"name\":\"a\",\"role\":\"Regular\",\"password\":\"correct horse\"}", 201,
          "\"role\":\"Regular\"" },
        { "PATCH", "/api/v1/users/a", "{\"role\":\"ReadOnly\"}", 200, "\"role\":\"ReadOnly\"" },
        { "PUT", "/api/v1/users/a/password", "{\"password\":\"other horse\"}", 200, "\"name\"" },
        { "DELETE", "/api/v1/users/a", "", 200, "{}" },
        { "DELETE", "/api/v1/users/a", "", 404, "coffer user" },
    };

    must_answer(*state, cases, sizeof(cases) / sizeof(cases[0]));
}

static void requests_are_answered_with_status_and_sentence(void **state)
{
    static const struct request_case cases[] = {
        { "GET", "/api/v1/status", "", 200, "\"configured\":false" },
        { "GET", "/api/v1/kms", "", 200, "{\"configured\":false}" },
        { "GET", "/api/v1/ca-cert", "", 200, "{\"configured\":false}" },
        { "GET", "/api/v1/filesystems", "", 200, "[]" },
        { "GET", "/metrics", "", 200, "coffer_filesystems{state=\"mounted\"} 0\n" },
        { "GET", "/metrics", "", 200, "Content-Type: text/plain; version=0.0.4" },
        { "GET", "/api/v1/alerts", "", 200, "[]" },
        { "GET", "/api/v1/alerts/types", "", 200, "\"kms-unreachable\"" },
        { "PUT", "/api/v1/alerts/x/mute", "{}", 404, "coffer alerts types" },
        { "PUT", "/api/v1/alerts/local-key/mute", "{\"seconds\":-1}", 400, "100 years" },
        { "DELETE", "/api/v1/alerts/local-key/mute", "", 200, "{}" },
        { "GET", "/api/v1/events", "", 200, "\"alert-unmuted\"" },
        { "GET", "/api/v1/events?limit=0", "", 200, "[]" },
        { "GET", "/api/v1/events?limit=501", "", 400, "limit is a number of at most 500" },
        { "GET", "/api/v1/events?limit=x", "", 400, "limit" },
        { "GET", "/api/v1/events?severity=x", "", 400, "info, warning or critical" },
        { "GET", "/api/v1/audit?from=now", "", 400, "from is a time" },
        { "GET", "/api/v1/audit?until=2026-11-27T14:00:00.5Z", "", 200, "[]" },
        { "GET", "/api/v1/audit?until=2026-11-27T14:00:00", "", 400, "until is a time" },
        { "GET", "/api/v1/audit/verify", "", 200, "\"intact\":true" },
        { "GET", "/api/v1/audit/verify?number=1", "", 400, "64 hexadecimal digits" },
        { "GET", "/api/v1/filesystems/data", "", 404, "\"code\":\"ENOENT\"" },
        { "GET", "/", "", 404, "\"error\":" }, /* the page is for HTTPS */
        { "GET", "/nothing", "", 404, "\"error\":" },
        { "POST", "/api/v1/kms", "", 405, "\"error\":" },
        { "POST", "/api/v1/filesystems", "{", 400, "\"code\":\"EINVAL\"" },
        { "POST", "/api/v1/filesystems", "[]", 400, "\"code\":\"EINVAL\"" },
        { "POST", "/api/v1/filesystems", "{}", 400, "name" },
        { "POST", "/api/v1/filesystems", "{\"name\":\"a b\"}", 400, "\"code\":\"EINVAL\"" },
        { "POST", "/api/v1/filesystems", "{\"name\":\"a\",\"capacity\":1}", 400, "1 GiB" },
        { "POST", "/api/v1/filesystems", "{\"name\":\"a\"}", 409, "--allow-no-kms" },
        { "PUT", "/api/v1/kms", "{\"type\":\"x\",\"address\":\"a\",\"key\":\"k\"}", 400, "vault" },
        { "PUT", "/api/v1/kms",
          "{\"type\":\"kmip\",\"address\":\"a:1\",\"key\":\"k\",\"role_id\":\"r\"}", 400,
          "\\\"role_id\\\" is not for a KMS of type kmip" },
        { "PUT", "/api/v1/kms",
          "{\"type\":\"vault\",\"address\":\"https://a\",\"key\":\"k\",\"client_key\":\"c\"}", 400,
          "\\\"client_key\\\" is not for a KMS of type vault" },
        { "PUT", "/api/v1/kms",
          "{\"type\":\"vault\",\"address\":\"https://a\",\"key\":\"k\",\"role_id\":\"r\"}", 400,
          "needed both" },
        { "PUT", "/api/v1/ca-cert", "{}", 400, "\\\"cert\\\" is missing" },
        { "PUT", "/api/v1/ca-cert", "{\"cert\":\"x\"}", 400, "no certificate in PEM form" },
    };

    must_answer(*state, cases, sizeof(cases) / sizeof(cases[0]));
}

static void a_request_that_is_too_large_is_refused(void **state)
{
    CLEANUP(buf_release) struct buf answer = BUF_INIT;
    CLEANUP(free_ptr) char *body = malloc(API_BODY_MAX + 2);

    assert_non_null(body);
    memset(body, ' ', API_BODY_MAX + 1);
    body[API_BODY_MAX + 1] = '\0';
    assert_int_equal(call(*state, "POST", "/api/v1/filesystems", body, &answer), 413);
}

static void a_token_in_a_refused_request_is_not_in_the_answer(void **state)
{
    CLEANUP(buf_release) struct buf answer = BUF_INIT;
    int status = call(*state, "PUT", "/api/v1/kms",
                      "{\"type\":\"vault\",\"address\":\"http://127.0.0.1:1\",\"key\":\"k\","
                      "\"token\":\"hvs.secret-token\"}",
                      &answer);

    assert_true(status >= 400);
    assert_null(strstr((const char *)answer.data, "secret-token"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_openapi_document_describes_the_routes_and_no_others),
        cmocka_unit_test(a_route_is_found_by_method_and_path),
        cmocka_unit_test_setup_teardown(requests_are_answered_with_status_and_sentence, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(users_are_kept_and_nobody_logs_in_on_the_socket, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_request_that_is_too_large_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_token_in_a_refused_request_is_not_in_the_answer, set_up,
                                        tear_down),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
