#include "api/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control/audit.h"
#include "net/json.h"

struct api_server {
    struct api_context context;
    struct MHD_Daemon *daemon;
};

/* A request that is being received. */
struct incoming {
    struct buf body; /* may hold credentials: wiped */
    bool is_allowed;
    uid_t uid; /* of the peer */
    bool is_too_large;
    bool is_out_of_memory;
};

static bool peer_is_allowed(struct MHD_Connection *connection, uid_t *ret_uid)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    *ret_uid = peer.uid;
    return peer.uid == 0 || peer.uid == geteuid();
}

static enum MHD_Result send_bytes(struct MHD_Connection *connection, unsigned status, void *body,
                                  size_t len, const char *type)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    (void)MHD_add_response_header(response, "Content-Type", type);
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_json(struct MHD_Connection *connection, unsigned status,
                                 const json_t *body)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;

    if (!body || json_write(body, &text) < 0)
        return MHD_NO;
    return send_bytes(connection, status, text.data, text.len, "application/json");
}

static enum MHD_Result send_error(struct MHD_Connection *connection, unsigned status,
                                  const struct error *err)
{
    CLEANUP(json_freep) json_t *body = api_error_body(err);

    return send_json(connection, status, body);
}

static int parse_body(const struct incoming *incoming, json_t **ret, struct error *err)
{
    if (incoming->is_too_large)
        return error_set(err, -EFBIG, "the request is larger than %u bytes", API_BODY_MAX);
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

static enum MHD_Result answer(const struct api_server *server, struct MHD_Connection *connection,
                              const char *method, const char *path, const struct incoming *incoming)
{
    struct api_request request = { .context = &server->context,
                                   .query = query_value,
                                   .query_arg = connection };
    CLEANUP(json_freep) json_t *body = NULL;
    const struct api_route *route = NULL;
    struct api_reply reply = { .status = 200 };
    struct error err = { .code = 0 };
    int r;

    if (!incoming->is_allowed)
        r = error_set(&err, -EACCES, "only root and the user that runs cofferd may use it");
    else if ((r = api_route_find(method, path, &route, request.name)) == -ENOENT)
        r = error_set(&err, r, "there is no %s; see docs/api/openapi.yaml", path);
    else if (r < 0)
        r = error_set(&err, r, "%s does not answer %s; see docs/api/openapi.yaml", path, method);
    else
        r = parse_body(incoming, &body, &err);
    if (r == 0) {
        request.body = body;
        audit_act_for((struct audit_actor){ .is_user = true, .uid = incoming->uid });
        r = route->handle(&request, &reply, &err);
        audit_act_for((struct audit_actor){ .is_user = false });
    }
    if (r < 0) {
        err.code = r;
        return send_error(connection, api_status_of(r), &err);
    }
    CLEANUP(json_freep) json_t *reply_body = reply.body;
    CLEANUP(free_ptr) char *text = reply.text;
    if (text)
        return send_bytes(connection, reply.status, text, strlen(text), reply.text_type);
    return send_json(connection, reply.status, reply_body);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_len, void **state)
{
    struct incoming *incoming = *state;

    (void)version;
    if (!incoming) {
        incoming = calloc(1, sizeof(*incoming));
        if (!incoming)
            return MHD_NO;
        incoming->is_allowed = peer_is_allowed(connection, &incoming->uid);
        *state = incoming;
        return MHD_YES;
    }
    if (*data_len == 0)
        return answer(arg, connection, method, path, incoming);

    struct bytes more = { .data = (const uint8_t *)data, .len = *data_len };
    *data_len = 0; /* all of it is taken, or dropped */
    if (!incoming->is_allowed || incoming->is_too_large)
        return MHD_YES;
    if (incoming->body.len + more.len > API_BODY_MAX)
        incoming->is_too_large = true;
    else if (buf_append(&incoming->body, more) < 0)
        incoming->is_out_of_memory = true;
    return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct incoming *incoming = *state;

    (void)arg;
    (void)connection;
    (void)code;
    if (!incoming)
        return;
    buf_wipe(&incoming->body);
    free(incoming);
    *state = NULL;
}

int api_server_open(const struct api_context *context, int listen_fd, struct api_server **ret,
                    struct error *err)
{
    struct api_server *server = calloc(1, sizeof(*server));

    if (!server) {
        (void)close(listen_fd);
        return error_set(err, -ENOMEM, "out of memory");
    }
    server->context = *context;
    /* No timeout: a check or a slow key server may take minutes, and only allowed peers hold
     * connections. */
    server->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL,
        NULL, on_request, server, MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT, API_CONNECTIONS_MAX, MHD_OPTION_END);
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
    free(server);
}
