#include "api/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/server_internal.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "control/audit.h"
#include "net/json.h"

#define STATUS_UNAUTHENTICATED 401

/* A request that is being received. */
struct incoming {
    struct buf body; /* may hold credentials: wiped */
    size_t body_max;
    struct api_caller caller;
    int refusal; /* why whoever sends it is not served at all; 0: he may be */
    unsigned refusal_status;
    struct error refusal_text;
    bool is_too_large;
    bool is_out_of_memory;
};

/* ------------------------------------------------------------------ answers */

static enum MHD_Result send_bytes(const struct api_server *server,
                                  struct MHD_Connection *connection, const struct api_reply *reply,
                                  struct bytes body, const char *type)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body.len, api_response_bytes(body.data), MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    (void)MHD_add_response_header(response, "Content-Type", type);
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    if (server->face->add_headers)
        server->face->add_headers(server, response, reply);
    enum MHD_Result result = MHD_queue_response(connection, reply->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_json(const struct api_server *server, struct MHD_Connection *connection,
                                 const struct api_reply *reply, const json_t *body)
{
    CLEANUP(buf_wipe) struct buf text = BUF_INIT; /* a session's token may be in it */

    if (!body || json_write(body, &text) < 0)
        return MHD_NO;
    return send_bytes(server, connection, reply, buf_bytes(&text), "application/json");
}

static enum MHD_Result send_error(const struct api_server *server,
                                  struct MHD_Connection *connection, unsigned status,
                                  const struct error *err)
{
    CLEANUP(json_freep) json_t *body = api_error_body(err);
    struct api_reply reply = { .status = status ? status : api_status_of(err->code) };

    return send_json(server, connection, &reply, body);
}

static enum MHD_Result send_reply(const struct api_server *server,
                                  struct MHD_Connection *connection, struct api_reply *reply)
{
    CLEANUP(json_freep) json_t *body = reply->body;
    CLEANUP(free_ptr) char *text = reply->text;
    enum MHD_Result result;

    if (text)
        result = send_bytes(server, connection, reply,
                            (struct bytes){ .data = (const uint8_t *)text, .len = strlen(text) },
                            reply->text_type);
    else
        result = send_json(server, connection, reply, body);
    memory_wipe(reply->session, sizeof(reply->session));
    return result;
}

/* ------------------------------------------------------------------ requests */

static int parse_body(const struct incoming *incoming, json_t **ret, struct error *err)
{
    if (incoming->is_too_large)
        return error_set(err, -EFBIG, "the request is larger than %zu bytes", incoming->body_max);
    if (incoming->is_out_of_memory)
        return error_set(err, -ENOMEM, "out of memory for the request");
    if (incoming->body.len > 0)
        return json_parse_object(buf_bytes(&incoming->body), ret, err);
    *ret = json_object();
    return *ret ? 0 : error_set(err, -ENOMEM, "out of memory for the request");
}

static const char *query_value(void *arg, const char *name)
{
    return MHD_lookup_connection_value(arg, MHD_GET_ARGUMENT_KIND, name);
}

static int find_route(const char *method, const char *path, const struct incoming *incoming,
                      const struct api_route **ret, char *ret_name, unsigned *ret_status,
                      struct error *err)
{
    int r = api_route_find(method, path, ret, ret_name);

    if (r == -ENOENT)
        return error_set(err, r, "there is no %s; see docs/api/openapi.yaml", path);
    if (r < 0)
        return error_set(err, r, "%s does not answer %s; see docs/api/openapi.yaml", path, method);
    r = api_caller_may(&incoming->caller, (*ret)->need, err);
    if (r < 0 && !incoming->caller.is_known)
        *ret_status = STATUS_UNAUTHENTICATED;
    return r;
}

static int handle(const struct api_server *server, struct MHD_Connection *connection,
                  const struct api_route *route, const struct incoming *incoming,
                  struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *body = NULL;
    int r = parse_body(incoming, &body, err);

    if (r < 0)
        return r;
    request->context = &server->context;
    request->caller = &incoming->caller;
    request->body = body;
    request->query = query_value;
    request->query_arg = connection;
    audit_act_for(incoming->caller.actor);
    r = route->handle(request, ret, err);
    audit_act_for((struct audit_actor){ .is_user = false });
    return r;
}

static enum MHD_Result answer(const struct api_server *server, struct MHD_Connection *connection,
                              const char *method, const char *path, const struct incoming *incoming)
{
    struct api_request request = { .name = "" };
    struct api_reply reply = { .status = 200 };
    const struct api_route *route = NULL;
    struct error err = { .code = 0 };
    enum MHD_Result result;

    if (incoming->refusal < 0)
        return send_error(server, connection, incoming->refusal_status, &incoming->refusal_text);
    if (server->face->answer_page &&
        server->face->answer_page(server, connection, method, path, &result))
        return result;
    int r = find_route(method, path, incoming, &route, request.name, &reply.error_status, &err);
    if (r == 0)
        r = handle(server, connection, route, incoming, &request, &reply, &err);
    if (r == 0)
        return send_reply(server, connection, &reply);
    err.code = r;
    return send_error(server, connection, reply.error_status, &err);
}

static void tell_phase(const struct api_server *server, struct MHD_Connection *connection,
                       enum api_phase phase)
{
    if (server->face->on_phase)
        server->face->on_phase(server, connection, phase);
}

static enum MHD_Result begin(const struct api_server *server, struct MHD_Connection *connection,
                             const char *method, void **state)
{
    struct incoming *incoming = calloc(1, sizeof(*incoming));

    if (!incoming)
        return MHD_NO;
    tell_phase(server, connection, PHASE_RECEIVING);
    incoming->refusal = server->face->identify(server, connection, method, &incoming->caller,
                                               &incoming->refusal_status, &incoming->refusal_text);
    incoming->refusal_text.code = incoming->refusal;
    incoming->body_max = incoming->caller.is_known ? API_BODY_MAX : API_STRANGER_BODY_MAX;
    *state = incoming;
    return MHD_YES;
}

enum MHD_Result api_on_request(void *arg, struct MHD_Connection *connection, const char *path,
                               const char *method, const char *version, const char *data,
                               size_t *data_len, void **state)
{
    const struct api_server *server = arg;
    struct incoming *incoming = *state;

    (void)version;
    if (!incoming)
        return begin(server, connection, method, state);
    if (*data_len == 0) {
        tell_phase(server, connection, PHASE_WORKING);
        enum MHD_Result result = answer(server, connection, method, path, incoming);
        tell_phase(server, connection, PHASE_SENDING);
        return result;
    }
    struct bytes more = { .data = (const uint8_t *)data, .len = *data_len };
    *data_len = 0; /* all of it is taken, or dropped */
    if (incoming->refusal < 0 || incoming->is_too_large)
        return MHD_YES;
    if (incoming->body.len + more.len > incoming->body_max)
        incoming->is_too_large = true;
    else if (buf_append(&incoming->body, more) < 0)
        incoming->is_out_of_memory = true;
    return MHD_YES;
}

void api_on_completed(void *arg, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode code)
{
    struct incoming *incoming = *state;

    (void)code;
    if (!incoming)
        return;
    tell_phase(arg, connection, PHASE_IDLE);
    buf_wipe(&incoming->body);
    memory_wipe(incoming, sizeof(*incoming));
    free(incoming);
    *state = NULL;
}

/* ------------------------------------------------------------------ the Unix socket */

static int identify_peer(const struct api_server *server, struct MHD_Connection *connection,
                         const char *method, struct api_caller *ret, unsigned *ret_status,
                         struct error *err)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer;
    socklen_t len = sizeof(peer);

    (void)server;
    (void)method;
    (void)ret_status;
    if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
        (peer.uid != 0 && peer.uid != geteuid()))
        return error_set(err, -EACCES, "only root and the user that runs cofferd may use it");
    *ret = (struct api_caller){ .is_known = true,
                                .is_local = true,
                                .role = USER_CLUSTER_ADMIN,
                                .actor = { .is_user = true, .uid = peer.uid } };
    return 0;
}

struct api_server *api_server_new(const struct api_context *context, const struct api_face *face)
{
    struct api_server *server = calloc(1, sizeof(*server));

    if (server) {
        server->context = *context;
        server->face = face;
    }
    return server;
}

int api_server_open(const struct api_context *context, int listen_fd, struct api_server **ret,
                    struct error *err)
{
    static const struct api_face face = { .identify = identify_peer };
    struct api_server *server = api_server_new(context, &face);

    if (!server) {
        (void)close(listen_fd);
        return error_set(err, -ENOMEM, "out of memory");
    }
    /* No timeout: a check or a slow key server may take minutes, and only allowed peers hold
     * connections. */
    server->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL,
        NULL, api_on_request, server, MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_NOTIFY_COMPLETED, api_on_completed, server, MHD_OPTION_CONNECTION_LIMIT,
        API_CONNECTIONS_MAX, MHD_OPTION_END);
    if (!server->daemon) {
        (void)close(listen_fd);
        free(server);
        return error_set(err, -EIO, "cannot start the HTTP server");
    }
    *ret = server;
    return 0;
}

void api_server_close(struct api_server *server)
{
    if (!server)
        return;
    MHD_stop_daemon(server->daemon);
    connections_close(server->connections);
    free(server);
}
