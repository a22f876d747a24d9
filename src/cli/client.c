#include "cli/client.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/http.h"

#define READ_TIMEOUT_MS (30 * 1000)
#define CHANGE_TIMEOUT_MS (10 * 60 * 1000)
#define URL_SIZE (CLIENT_PATH_SIZE + 32u)

const char *client_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* Behind the len bytes that are there; false: it is too long. */
static bool append_escaped(char ret[static CLIENT_PATH_SIZE], size_t len, const char *name,
                           const char *action)
{
    size_t first = len;

    for (; *name != '\0'; name++) {
        unsigned char c = (unsigned char)*name;
        if (len + 4 > CLIENT_PATH_SIZE)
            return false;
        if (isalnum(c) || c == '_' || c == '-' || (c == '.' && len > first))
            ret[len++] = (char)c;
        else
            len += (size_t)snprintf(ret + len, 4, "%%%02X", c);
    }
    return snprintf(ret + len, CLIENT_PATH_SIZE - len, "%s", action) <
           (int)(CLIENT_PATH_SIZE - len);
}

int client_object_path(const char *route, const char *name, const char *action,
                       char ret[static CLIENT_PATH_SIZE], struct error *err)
{
    int len = snprintf(ret, CLIENT_PATH_SIZE, "%s/", route);

    if (*name == '\0')
        return error_set(err, -EINVAL, "the name is empty; give that of one that is listed");
    if (!append_escaped(ret, (size_t)len, name, action))
        return error_set(err, -ENAMETOOLONG,
                         "nothing has so long a name; list those that are there");
    return 0;
}

int client_filesystem_path(const char *name, const char *action, char ret[static CLIENT_PATH_SIZE],
                           struct error *err)
{
    static const char prefix[] = "/api/v1/filesystems/";

    if (*name == '\0')
        return error_set(err, -EINVAL, "the name of the filesystem is empty; coffer fs lists them");
    memcpy(ret, prefix, sizeof(prefix));
    if (!append_escaped(ret, sizeof(prefix) - 1, name, action))
        return error_set(err, -ENAMETOOLONG,
                         "no filesystem has so long a name; coffer fs lists them");
    return 0;
}

int client_add_query(char path[static CLIENT_PATH_SIZE], const char *name, const char *value,
                     struct error *err)
{
    size_t used = strlen(path);

    used += (size_t)snprintf(path + used, CLIENT_PATH_SIZE - used,
                             "%c%s=", strchr(path, '?') ? '&' : '?', name);
    for (; *value != '\0'; value++) {
        unsigned char c = (unsigned char)*value;
        if (used + 4 > CLIENT_PATH_SIZE)
            return error_set(err, -ENAMETOOLONG, "the value of %s is too long", name);
        if (isalnum(c) || c == '_' || c == '-')
            path[used++] = (char)c;
        else
            used += (size_t)snprintf(path + used, 4, "%%%02X", c);
        path[used] = '\0';
    }
    return 0;
}

static int errno_of_status(int status)
{
    switch (status) {
    case 400:
        return -EINVAL;
    case 401:
    case 403:
        return -EACCES;
    case 404:
        return -ENOENT;
    case 409:
        return -EBUSY;
    default:
        return -EIO;
    }
}

static int read_answer(const struct http_response *response, json_t **ret, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    int r = response->body.len ? json_parse(buf_bytes(&response->body), &answer, NULL) : 0;

    if (response->status >= 200 && response->status < 300) {
        if (r < 0) {
            return error_set(err, -EBADMSG,
                             "what answers on the socket is not cofferd; check --socket and "
                             "--state-dir");
        }
        if (ret)
            *ret = TAKE(answer);
        return 0;
    }
    const char *sentence = client_text(answer, "error");
    if (*sentence == '\0') {
        return error_set(err, -EIO,
                         "cofferd refused with status %d and no reason; its log tells more "
                         "(journalctl -u cofferd)",
                         response->status);
    }
    return error_set(err, errno_of_status(response->status), "%s", sentence);
}

/* libcurl's own words do not say what to do about a socket that nobody listens on. */
static int explain_no_answer(const struct instance *instance, int r, struct error *err)
{
    if (r == -ETIMEDOUT) {
        return error_set(err, r,
                         "cofferd did not answer in time on %s; see coffer status and its log",
                         instance->socket);
    }
    if (r != -ECONNREFUSED && r != -EHOSTUNREACH)
        return r;
    bool there = access(instance->socket, F_OK) == 0;
    if (there && access(instance->socket, R_OK | W_OK) < 0) {
        return error_set(err, -EACCES, "you may not use %s; run coffer as root or as its owner",
                         instance->socket);
    }
    return error_set(err, -ECONNREFUSED,
                     "no cofferd answers on %s; start it (systemctl start cofferd, or cofferd) or "
                     "name another instance with --state-dir or --socket",
                     instance->socket);
}

static int send_body(struct http_client *http, const struct client_request *request,
                     struct http_response *ret, struct error *err)
{
    CLEANUP(buf_wipe) struct buf body = BUF_INIT;
    char url[URL_SIZE];
    struct http_request message = {
        .method = request->method,
        .url = url,
        .total_timeout_ms = request->timeout_ms,
    };

    if (request->body && json_write(request->body, &body) < 0)
        return error_set(err, -ENOMEM, "there is not enough memory for the request");
    if (message.total_timeout_ms == 0)
        message.total_timeout_ms =
            strcmp(request->method, "GET") == 0 ? READ_TIMEOUT_MS : CHANGE_TIMEOUT_MS;
    message.body = buf_bytes(&body);
    (void)snprintf(url, sizeof(url), "http://localhost%s", request->path);
    return http_send(http, &message, ret, err);
}

int client_call(const struct instance *instance, const struct client_request *request, json_t **ret,
                struct error *err)
{
    CLEANUP(json_freep) json_t *body = request->body;
    CLEANUP(http_client_freep) struct http_client *http = NULL;
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    struct http_options options = { .unix_socket = instance->socket };
    int r = http_client_new(&options, &http, err);

    if (r < 0)
        return r;
    r = send_body(http, request, &response, err);
    if (r < 0)
        return explain_no_answer(instance, r, err);
    return read_answer(&response, ret, err);
}

int client_put_text(json_t *body, const char *key, const char *text, struct error *err)
{
    if (text && json_object_set_new(body, key, json_string(text)) < 0)
        return error_set(err, -EINVAL, "'%s' is not UTF-8 text; write it anew", text);
    return 0;
}

int client_put_secret(json_t *body, const char *key, const struct secret *secret, struct error *err)
{
    json_t *text = json_stringn((const char *)secret->data, secret->len);

    if (!text)
        return error_set(err, -EINVAL, "the %s is not UTF-8 text; write it anew", key);
    if (json_object_set_new(body, key, text) < 0)
        return error_set(err, -ENOMEM, "there is not enough memory for the request");
    return 0;
}
