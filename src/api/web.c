/* web.c - HTTPS: the session of a request, what guards it against pages of other sites, and the
 * files of our own page.
 *
 * A request that arrives with the cookie of a session may have been caused by any page that the
 * browser shows. So: the cookie is SameSite=Strict; the Host must be an address, or a name of our
 * certificate; an Origin must be our own; each change brings a token that only our page can read;
 * and a body must say that it is JSON, which forms cannot. A request with a bearer token needs no
 * such thing: no browser adds that by itself.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/server_internal.h"
#include "api/web_files.h"
#include "api/web_host.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "net/tls_identity.h"

#define RECEIVE_MS (30 * 1000)
#define SEND_MS (60 * 1000)
#define IDLE_MS (60 * 1000) /* the next request included */
#define STATUS_NOT_FOR_US 421
#define CSRF_HEADER "X-Coffer-CSRF"
#define COOKIE_SIZE 64u

/* Requests that are not written as they should be are refused; the option has another name since.
 */
#if MHD_VERSION >= 0x00097701
#define STRICTNESS_OPTION MHD_OPTION_CLIENT_DISCIPLINE_LVL
#else
#define STRICTNESS_OPTION MHD_OPTION_STRICT_FOR_CLIENT
#endif

/* TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only. */
static const char tls_priorities[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:-MAC-ALL:+AEAD:-CIPHER-ALL:"
    "+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM";

static const char content_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

/* One for each port: cookies do not tell ports apart. */
static void cookie_name(const struct api_server *server, char ret[static COOKIE_SIZE])
{
    (void)snprintf(ret, COOKIE_SIZE, "__Host-coffer-%u", server->context.web.port);
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* ------------------------------------------------------------------ who it is */

/* An address as one attacker has it for himself: of IPv6 the first half. */
static void fill_address(struct MHD_Connection *connection, struct api_caller *ret)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;

    (void)snprintf(ret->from, sizeof(ret->from), "an unknown address");
    if (address && address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        ret->address_len = sizeof(v4.sin_addr);
        memcpy(ret->address, &v4.sin_addr, sizeof(v4.sin_addr));
        (void)inet_ntop(AF_INET, &v4.sin_addr, ret->from, sizeof(ret->from));
    } else if (address && address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        bool is_v4 = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
        ret->address_len = is_v4 ? 16 : 8;
        memcpy(ret->address, &v6.sin6_addr, ret->address_len);
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, ret->from, sizeof(ret->from));
    }
}

static int check_host(const struct api_server *server, struct MHD_Connection *connection,
                      unsigned *ret_status, struct error *err)
{
    const char *host_header = header(connection, MHD_HTTP_HEADER_HOST);
    const char *origin = header(connection, MHD_HTTP_HEADER_ORIGIN);
    char host[WEB_HOST_SIZE];

    *ret_status = STATUS_NOT_FOR_US;
    if (!host_header || web_host_parse(host_header, host) < 0)
        return error_set(err, -EINVAL, "the request does not say for which host it is");
    if (!web_host_is_address(host) && !tls_identity_has_name(server->context.web.identity, host))
        return error_set(err, -EACCES,
                         "the certificate of this server does not name %s; use a name that it "
                         "has, or the address, or give cofferd another certificate (--tls-cert)",
                         host);
    *ret_status = 0;
    if (origin && !web_origin_is(origin, host_header))
        return error_set(err, -EACCES, "a page of another site made this request");
    return 0;
}

/* The user as he is now: what he may do changes at once. */
static void find_session(const struct api_server *server, const char *token, bool is_bearer,
                         struct api_caller *ret)
{
    struct sessions *sessions = server->context.sessions;
    struct users *users = control_users(server->context.control);
    struct session session;
    struct user_view user;

    if (strlen(token) != SESSION_TOKEN_SIZE - 1 ||
        sessions_find(sessions, token, clock_monotonic_ms(), &session) < 0)
        return;
    if (users_get(users, session.user, &user, NULL) < 0 || user.epoch != session.epoch) {
        sessions_end(sessions, token);
        return;
    }
    if (session.is_bearer != is_bearer)
        return;
    ret->is_known = true;
    ret->role = user.role;
    ret->is_bearer = is_bearer;
    ret->actor.is_user = true;
    memcpy(ret->actor.name, user.name, sizeof(ret->actor.name));
    memcpy(ret->token, token, SESSION_TOKEN_SIZE);
}

static bool is_change(const char *method)
{
    return strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
}

static bool has_body(struct MHD_Connection *connection)
{
    const char *len = header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return header(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING) || (len && strcmp(len, "0") != 0);
}

static int check_csrf(struct MHD_Connection *connection, const char *method,
                      const struct api_caller *caller, struct error *err)
{
    const char *given = header(connection, CSRF_HEADER);
    char expected[SESSION_TOKEN_SIZE];

    if (!is_change(method) || !caller->is_known || caller->is_bearer)
        return 0;
    if (session_csrf(caller->token, expected) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    if (given &&
        secret_equal((struct bytes){ .data = (const uint8_t *)given, .len = strlen(given) },
                     (struct bytes){ .data = (const uint8_t *)expected, .len = strlen(expected) }))
        return 0;
    return error_set(err, -EACCES,
                     "the header %s is missing or wrong; GET /api/v1/session tells what it is",
                     CSRF_HEADER);
}

static int check_type(struct MHD_Connection *connection, const char *method, struct error *err)
{
    static const char json[] = "application/json";
    const char *type = header(connection, MHD_HTTP_HEADER_CONTENT_TYPE);

    if (!is_change(method) || !has_body(connection))
        return 0;
    if (type && strncasecmp(type, json, sizeof(json) - 1) == 0 &&
        (type[sizeof(json) - 1] == '\0' || strchr("; ", type[sizeof(json) - 1])))
        return 0;
    return error_set(err, -EINVAL, "a body is of the type %s", json);
}

static int identify(const struct api_server *server, struct MHD_Connection *connection,
                    const char *method, struct api_caller *ret, unsigned *ret_status,
                    struct error *err)
{
    static const char bearer[] = "Bearer ";
    const char *authorization = header(connection, MHD_HTTP_HEADER_AUTHORIZATION);
    char name[COOKIE_SIZE];
    int r = check_host(server, connection, ret_status, err);

    if (r < 0)
        return r;
    fill_address(connection, ret);
    cookie_name(server, name);
    const char *cookie = MHD_lookup_connection_value(connection, MHD_COOKIE_KIND, name);
    if (authorization && strncasecmp(authorization, bearer, sizeof(bearer) - 1) == 0)
        find_session(server, authorization + sizeof(bearer) - 1, true, ret);
    else if (cookie)
        find_session(server, cookie, false, ret);
    r = check_type(connection, method, err);
    return r < 0 ? r : check_csrf(connection, method, ret, err);
}

/* ------------------------------------------------------------------ answers */

static void add_guards(struct MHD_Response *response)
{
    static const char *const headers[][2] = {
        { "Content-Security-Policy", content_policy },
        { "X-Content-Type-Options", "nosniff" },
        { "X-Frame-Options", "DENY" },
        { "Referrer-Policy", "no-referrer" },
        { "Cross-Origin-Opener-Policy", "same-origin" },
        { "Cross-Origin-Resource-Policy", "same-origin" },
        { "Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()" },
    };

    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        (void)MHD_add_response_header(response, headers[i][0], headers[i][1]);
}

static void add_headers(const struct api_server *server, struct MHD_Response *response,
                        const struct api_reply *reply)
{
    char cookie[COOKIE_SIZE + SESSION_TOKEN_SIZE + 64];
    char name[COOKIE_SIZE];

    add_guards(response);
    if (reply->session[0] == '\0' && !reply->ends_session)
        return;
    cookie_name(server, name);
    (void)snprintf(cookie, sizeof(cookie), "%s=%s; Path=/; Secure; HttpOnly; SameSite=Strict%s",
                   name, reply->session, reply->ends_session ? "; Max-Age=0" : "");
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_SET_COOKIE, cookie);
    memory_wipe(cookie, sizeof(cookie));
}

static const struct web_file *find_file(const char *path)
{
    const char *wanted = strcmp(path, "/") == 0 ? "/index.html" : path;

    for (size_t i = 0; i < web_file_count; i++)
        if (strcmp(web_files[i].path, wanted) == 0)
            return &web_files[i];
    return NULL;
}

static enum MHD_Result send_file(struct MHD_Connection *connection, const struct web_file *file)
{
    const char *known = header(connection, MHD_HTTP_HEADER_IF_NONE_MATCH);
    bool is_known = known && strcmp(known, file->etag) == 0;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        is_known ? 0 : file->len, api_response_bytes(file->data), MHD_RESPMEM_PERSISTENT);

    if (!response)
        return MHD_NO;
    add_guards(response);
    (void)MHD_add_response_header(response, "Content-Type", file->type);
    (void)MHD_add_response_header(response, "Cache-Control", "no-cache");
    (void)MHD_add_response_header(response, "ETag", file->etag);
    enum MHD_Result result =
        MHD_queue_response(connection, is_known ? MHD_HTTP_NOT_MODIFIED : MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

static bool answer_page(const struct api_server *server, struct MHD_Connection *connection,
                        const char *method, const char *path, enum MHD_Result *ret)
{
    const struct web_file *file = strcmp(method, "GET") == 0 ? find_file(path) : NULL;

    (void)server;
    if (!file)
        return false;
    *ret = send_file(connection, file);
    return true;
}

/* ------------------------------------------------------------------ connections */

static void on_connection(void *arg, struct MHD_Connection *connection, void **time,
                          enum MHD_ConnectionNotificationCode code)
{
    const struct api_server *server = arg;
    const union MHD_ConnectionInfo *info;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (info)
            *time = connections_begin(server->connections, info->connect_fd, RECEIVE_MS);
    } else if (*time) {
        connections_end(server->connections, *time);
        *time = NULL;
    }
}

static void on_phase(const struct api_server *server, struct MHD_Connection *connection,
                     enum api_phase phase)
{
    static const int64_t limits_ms[] = {
        [PHASE_RECEIVING] = RECEIVE_MS,
        [PHASE_WORKING] = 0,
        [PHASE_SENDING] = SEND_MS,
        [PHASE_IDLE] = IDLE_MS,
    };
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    if (info && info->socket_context)
        connections_limit(server->connections, info->socket_context, limits_ms[phase]);
}

static int start(struct api_server *server, int listen_fd, struct error *err)
{
    const struct tls_identity *identity = server->context.web.identity;
    int r = connections_open(&server->connections, err);

    if (r < 0)
        return r;
    server->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
            MHD_USE_TLS,
        0, NULL, NULL, api_on_request, server, MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_NOTIFY_COMPLETED, api_on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, server, MHD_OPTION_CONNECTION_LIMIT, API_WEB_CONNECTIONS_MAX,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, API_WEB_CONNECTIONS_OF_ADDRESS_MAX, STRICTNESS_OPTION,
        1, MHD_OPTION_HTTPS_PRIORITIES, tls_priorities, MHD_OPTION_HTTPS_MEM_CERT,
        tls_identity_cert_pem(identity), MHD_OPTION_HTTPS_MEM_KEY, tls_identity_key_pem(identity),
        MHD_OPTION_END);
    return server->daemon ? 0
                          : error_set(err, -EIO,
                                      "cannot start the HTTPS server; is its certificate of a "
                                      "kind that TLS 1.2 and 1.3 use (ECDSA, RSA, Ed25519)?");
}

int api_web_open(const struct api_context *context, int listen_fd, struct api_server **ret,
                 struct error *err)
{
    static const struct api_face face = { .identify = identify,
                                          .answer_page = answer_page,
                                          .add_headers = add_headers,
                                          .on_phase = on_phase };
    struct api_server *server = api_server_new(context, &face);
    int r = server ? start(server, listen_fd, err) : error_set(err, -ENOMEM, "out of memory");

    if (r < 0) {
        (void)close(listen_fd);
        if (server)
            connections_close(server->connections);
        free(server);
        return r;
    }
    *ret = server;
    return 0;
}
