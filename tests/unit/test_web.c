/* What guards the HTTPS face: sessions, the throttle of logins, the headers Host and Origin, roles,
 * limits of connections, and its certificate. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"

#include "api/connections.h"
#include "api/routes.h"
#include "api/sessions.h"
#include "api/throttle.h"
#include "api/web_files.h"
#include "api/web_host.h"
#include "api/web_identity.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "crypto/secret.h"
#include "host/tcp_listen.h"

/* ------------------------------------------------------------------ sessions */

static int set_up_sessions(void **state)
{
    struct sessions *sessions = NULL;
    struct error err = { .code = 0 };

    assert_int_equal(sessions_new(&sessions, &err), 0);
    *state = sessions;
    return 0;
}

static int tear_down_sessions(void **state)
{
    sessions_free(*state);
    return 0;
}

static void begin(struct sessions *sessions, const char *user, int64_t now_ms,
                  char ret[static SESSION_TOKEN_SIZE])
{
    struct session session = { .epoch = 7 };

    (void)snprintf(session.user, sizeof(session.user), "%s", user);
    assert_int_equal(sessions_begin(sessions, &session, now_ms, ret, NULL), 0);
}

static void a_session_is_found_by_its_token_until_it_ends(void **state)
{
    struct sessions *sessions = *state;
    char tokens[2][SESSION_TOKEN_SIZE];
    struct session found;

    begin(sessions, "alice", 0, tokens[0]);
    begin(sessions, "bob", 0, tokens[1]);
    assert_string_not_equal(tokens[0], tokens[1]);
    assert_int_equal(sessions_find(sessions, tokens[0], 1, &found), 0);
    assert_string_equal(found.user, "alice");
    assert_int_equal(found.epoch, 7);
    sessions_go_on(sessions, tokens[0], 8);
    assert_int_equal(sessions_find(sessions, tokens[0], 1, &found), 0);
    assert_int_equal(found.epoch, 8);
    sessions_end(sessions, tokens[0]);
    assert_int_equal(sessions_find(sessions, tokens[0], 1, &found), -ENOENT);
    assert_int_equal(sessions_find(sessions, tokens[1], 1, &found), 0);
    assert_int_equal(sessions_find(sessions, "", 1, &found), -ENOENT);
    assert_int_equal(sessions_find(sessions, "zz", 1, &found), -ENOENT);
}

static void a_session_ends_when_it_is_idle_or_old(void **state)
{
    struct sessions *sessions = *state;
    char idle[SESSION_TOKEN_SIZE];
    char busy[SESSION_TOKEN_SIZE];
    struct session found;
    int64_t now = 0;

    begin(sessions, "alice", 0, idle);
    begin(sessions, "alice", 0, busy);
    assert_int_equal(sessions_find(sessions, busy, SESSION_IDLE_MS - 1, &found), 0);
    assert_int_equal(sessions_find(sessions, idle, SESSION_IDLE_MS, &found), -ENOENT);
    for (now = 0; now < SESSION_LIFE_MS; now += SESSION_IDLE_MS - 1)
        assert_int_equal(sessions_find(sessions, busy, now, &found), 0);
    assert_int_equal(sessions_find(sessions, busy, SESSION_LIFE_MS, &found), -ENOENT);
}

static void one_more_session_ends_the_one_idle_longest(void **state)
{
    struct sessions *sessions = *state;
    char tokens[SESSIONS_OF_USER_MAX + 1][SESSION_TOKEN_SIZE];
    char other[SESSION_TOKEN_SIZE];
    struct session found;

    begin(sessions, "bob", 0, other); /* idle even longer, but of somebody else */
    for (unsigned i = 0; i < SESSIONS_OF_USER_MAX; i++)
        begin(sessions, "alice", 10 + i, tokens[i]);
    assert_int_equal(sessions_find(sessions, tokens[0], 100, &found), 0); /* used just now */
    begin(sessions, "alice", 101, tokens[SESSIONS_OF_USER_MAX]);
    assert_int_equal(sessions_find(sessions, tokens[1], 102, &found), -ENOENT);
    assert_int_equal(sessions_find(sessions, tokens[0], 102, &found), 0);
    assert_int_equal(sessions_find(sessions, other, 102, &found), 0);
}

static void sessions_are_bounded_in_all(void **state)
{
    struct sessions *sessions = *state;
    char first[SESSION_TOKEN_SIZE];
    char token[SESSION_TOKEN_SIZE];
    char name[16];
    struct session found;

    begin(sessions, "first", 0, first);
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "user%u", i);
        begin(sessions, name, 1 + i, token);
    }
    assert_int_equal(sessions_find(sessions, first, 1000, &found), -ENOENT);
    assert_int_equal(sessions_find(sessions, token, 1000, &found), 0);
}

static void the_csrf_token_follows_from_the_session_and_is_not_it(void **state)
{
    char token[SESSION_TOKEN_SIZE];
    char csrf[2][SESSION_TOKEN_SIZE];

    begin(*state, "alice", 0, token);
    assert_int_equal(session_csrf(token, csrf[0]), 0);
    assert_int_equal(session_csrf(token, csrf[1]), 0);
    assert_string_equal(csrf[0], csrf[1]);
    assert_string_not_equal(csrf[0], token);
    assert_int_equal(session_csrf("x", csrf[0]), -EINVAL);
}

/* ------------------------------------------------------------------ throttle */

static void logins_from_one_address_are_limited(void **state)
{
    struct bytes address = { .data = (const uint8_t *)"\x0a\x00\x00\x01", .len = 4 };
    struct throttle throttle;
    int64_t wait_ms = 0;

    (void)state;
    throttle_init(&throttle);
    for (unsigned i = 0; i < THROTTLE_BURST; i++)
        assert_true(throttle_take(&throttle, address, 1000, &wait_ms));
    assert_false(throttle_take(&throttle, address, 1000, &wait_ms));
    assert_int_equal(wait_ms, THROTTLE_PERIOD_MS);
    assert_false(throttle_take(&throttle, address, 1000 + THROTTLE_PERIOD_MS - 1, &wait_ms));
    assert_int_equal(wait_ms, 1);
    assert_true(throttle_take(&throttle, address, 1000 + THROTTLE_PERIOD_MS, &wait_ms));
    assert_false(throttle_take(&throttle, address, 1000 + THROTTLE_PERIOD_MS, &wait_ms));
    throttle_give_back(&throttle, address);
    assert_true(throttle_take(&throttle, address, 1000 + THROTTLE_PERIOD_MS, &wait_ms));
}

/* ------------------------------------------------------------------ headers */

static void host_headers_are_read_strictly(void **state)
{
    static const struct {
        const char *header;
        const char *host; /* NULL: refused */
        bool is_address;
    } cases[] = {
        { "coffer.example", "coffer.example", false },
        { "Coffer.Example:14000", "coffer.example", false },
        { "192.0.2.1", "192.0.2.1", true },
        { "192.0.2.1:1", "192.0.2.1", true },
        { "[::1]:14000", "::1", true },
        { "[2001:DB8::1]", "2001:db8::1", true },
        { "1.2.3.4.evil.example", "1.2.3.4.evil.example", false },
        { "", NULL, false },
        { ":80", NULL, false },
        { "a:", NULL, false },
        { "a:123456", NULL, false },
        { "a:80x", NULL, false },
        { "a b", NULL, false },
        { "a/b", NULL, false },
        { "a@b", NULL, false },
        { "[::1", NULL, false },
        { "[::1]x", NULL, false },
        { "::1", NULL, false },
    };
    char host[WEB_HOST_SIZE];
    char too_long[400];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = web_host_parse(cases[i].header, host);
        if (r != (cases[i].host ? 0 : -EINVAL))
            fail_msg("'%s': %d", cases[i].header, r);
        if (r < 0)
            continue;
        assert_string_equal(host, cases[i].host);
        assert_int_equal(web_host_is_address(host), cases[i].is_address);
    }
    memset(too_long, 'a', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    assert_int_equal(web_host_parse(too_long, host), -EINVAL);
}

static void an_origin_is_ours_only_with_scheme_host_and_port(void **state)
{
    (void)state;
    assert_true(web_origin_is("https://coffer.example:14000", "coffer.example:14000"));
    assert_true(web_origin_is("https://COFFER.example", "coffer.example"));
    assert_false(web_origin_is("http://coffer.example", "coffer.example"));
    assert_false(web_origin_is("https://coffer.example", "coffer.example:14000"));
    assert_false(web_origin_is("https://coffer.example.evil", "coffer.example"));
    assert_false(web_origin_is("https://evil/https://coffer.example", "coffer.example"));
    assert_false(web_origin_is("null", "coffer.example"));
    assert_false(web_origin_is("", ""));
}

/* ------------------------------------------------------------------ roles */

/* The ladder itself; which route stands on which rung is compared with docs/api/openapi.yaml by
 * test_api.c. */
static void each_role_may_what_it_should(void **state)
{
    enum { O = 1 << USER_READ_ONLY, R = 1 << USER_REGULAR, K = 1 << USER_KEY_ADMIN };
    enum { A = 1 << USER_CLUSTER_ADMIN, NOBODY = 1 };
    static const int expected[NEED_COUNT] = {
        [NEED_NOTHING] = NOBODY | O | R | K | A,
        [NEED_LOGIN] = O | R | K | A,
        [NEED_VIEW] = O | R | K | A,
        [NEED_ATTENTION] = R | K | A,
        [NEED_FILESYSTEM] = R | A,
        [NEED_KEYS] = K | A,
        [NEED_ADMIN] = A,
    };

    (void)state;
    for (enum api_need need = NEED_NOTHING; need < NEED_COUNT; need++) {
        struct api_caller caller = { .is_known = false };
        int roles = api_caller_may(&caller, need, NULL) == 0 ? NOBODY : 0;
        caller.is_known = true;
        for (caller.role = USER_READ_ONLY; caller.role < USER_ROLE_COUNT; caller.role++)
            if (api_caller_may(&caller, need, NULL) == 0)
                roles |= 1 << caller.role;
        assert_int_equal(roles, expected[need]);
    }
}

/* ------------------------------------------------------------------ connections */

static bool ends_within(int fd, int timeout_ms)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    char byte;

    return poll(&poll_fd, 1, timeout_ms) == 1 && read(fd, &byte, 1) == 0;
}

static void a_connection_is_cut_off_when_its_time_is_up(void **state)
{
    struct connections *connections = NULL;
    int pairs[3][2];
    struct connection_time *times[3];

    (void)state;
    assert_int_equal(connections_open(&connections, NULL), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        times[i] = connections_begin(connections, pairs[i][0], i == 1 ? 1 : 3600 * 1000);
        assert_non_null(times[i]);
    }
    assert_true(ends_within(pairs[1][1], 60 * 1000));
    connections_limit(connections, times[2], 1);
    assert_true(ends_within(pairs[2][1], 60 * 1000));
    connections_limit(connections, times[0], 0);
    assert_false(ends_within(pairs[0][1], 0));
    for (unsigned i = 0; i < 3; i++) {
        connections_end(connections, times[i]);
        (void)close(pairs[i][0]);
        (void)close(pairs[i][1]);
    }
    connections_close(connections);
}

static void places_to_listen_are_read(void **state)
{
    static const struct {
        const char *text;
        const char *host; /* NULL: refused */
        uint16_t port;
    } cases[] = {
        { "192.0.2.1:14000", "192.0.2.1", 14000 },
        { "[::1]:1", "::1", 1 },
        { ":443", "", 443 },
        { "*:443", "", 443 },
        { "host.example:65535", "host.example", 65535 },
        { "host.example:65536", NULL, 0 },
        { "host.example", NULL, 0 },
        { "host:", NULL, 0 },
        { "host:-1", NULL, 0 },
        { "host:1x", NULL, 0 },
        { "::1:443", NULL, 0 },
        { "", NULL, 0 },
    };
    struct tcp_place place;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = tcp_place_parse(cases[i].text, &place, NULL);
        if (r != (cases[i].host ? 0 : -EINVAL))
            fail_msg("'%s': %d", cases[i].text, r);
        if (r < 0)
            continue;
        assert_string_equal(place.host, cases[i].host);
        assert_int_equal(place.port, cases[i].port);
    }
}

/* ------------------------------------------------------------------ certificates */

static void a_certificate_of_its_own_is_made_kept_and_replaced_when_broken(void **state)
{
    char folder[] = "/tmp/coffer-test-XXXXXX";
    char prints[3][WEB_FINGERPRINT_SIZE];
    char path[64];
    struct error err = { .code = 0 };

    (void)state;
    assert_non_null(mkdtemp(folder));
    for (unsigned i = 0; i < 3; i++) {
        CLEANUP(tls_identity_freep) struct tls_identity *identity = NULL;
        if (web_identity_own(folder, "192.0.2.7", &identity, &err) < 0)
            fail_msg("%s", err.text);
        web_fingerprint(identity, prints[i]);
        assert_int_equal(strlen(prints[i]), WEB_FINGERPRINT_SIZE - 1);
        assert_true(tls_identity_has_name(identity, "localhost"));
        assert_false(tls_identity_has_name(identity, "evil.example"));
        assert_true(tls_identity_validity(identity).until_s >
                    clock_wall_ns() / 1000000000 + 365L * 24 * 3600);
        (void)snprintf(path, sizeof(path), "%s/https-key.pem", folder);
        if (i == 1) /* as if a crash had left the key of another certificate */
            assert_int_equal(unlink(path), 0);
    }
    assert_string_equal(prints[0], prints[1]);
    assert_string_not_equal(prints[1], prints[2]);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/https-cert.pem", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void a_key_of_another_certificate_is_refused(void **state)
{
    static const char *const names[] = { "localhost" };
    struct buf certs[2] = { BUF_INIT, BUF_INIT };
    struct secret keys[2] = { SECRET_INIT, SECRET_INIT };
    struct tls_identity *identity = NULL;
    struct bytes nothing = { .data = NULL };
    struct error err = { .code = 0 };

    (void)state;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(tls_identity_make(names, 1, 1, &certs[i], &keys[i], &err), 0);
    assert_int_equal(
        tls_identity_read(buf_bytes(&certs[0]), secret_bytes(&keys[1]), &identity, &err), -EINVAL);
    assert_non_null(strstr(err.text, "does not belong"));
    assert_int_equal(tls_identity_read(nothing, secret_bytes(&keys[0]), &identity, &err), -EINVAL);
    assert_int_equal(tls_identity_read(buf_bytes(&certs[0]), nothing, &identity, &err), -EINVAL);
    assert_null(identity);
    for (unsigned i = 0; i < 2; i++) {
        buf_release(&certs[i]);
        secret_release(&keys[i]);
    }
}

static void the_page_is_built_in(void **state)
{
    bool has_index = false;

    (void)state;
    for (size_t i = 0; i < web_file_count; i++) {
        assert_true(web_files[i].path[0] == '/' && web_files[i].len > 0);
        has_index |= strcmp(web_files[i].path, "/index.html") == 0;
    }
    assert_true(has_index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_session_is_found_by_its_token_until_it_ends,
                                        set_up_sessions, tear_down_sessions),
        cmocka_unit_test_setup_teardown(a_session_ends_when_it_is_idle_or_old, set_up_sessions,
                                        tear_down_sessions),
        cmocka_unit_test_setup_teardown(one_more_session_ends_the_one_idle_longest, set_up_sessions,
                                        tear_down_sessions),
        cmocka_unit_test_setup_teardown(sessions_are_bounded_in_all, set_up_sessions,
                                        tear_down_sessions),
        cmocka_unit_test_setup_teardown(the_csrf_token_follows_from_the_session_and_is_not_it,
                                        set_up_sessions, tear_down_sessions),
        cmocka_unit_test(logins_from_one_address_are_limited),
        cmocka_unit_test(host_headers_are_read_strictly),
        cmocka_unit_test(an_origin_is_ours_only_with_scheme_host_and_port),
        cmocka_unit_test(each_role_may_what_it_should),
        cmocka_unit_test(a_connection_is_cut_off_when_its_time_is_up),
        cmocka_unit_test(places_to_listen_are_read),
        cmocka_unit_test(a_certificate_of_its_own_is_made_kept_and_replaced_when_broken),
        cmocka_unit_test(a_key_of_another_certificate_is_refused),
        cmocka_unit_test(the_page_is_built_in),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
