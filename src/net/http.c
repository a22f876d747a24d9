#include "net/http.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <curl/curl.h>
#include <openssl/ssl.h>

#include "base/cleanup.h"
#include "net/wiping_alloc.h"

#define CONNECT_TIMEOUT_MS 5000
#define TOTAL_TIMEOUT_MS 30000
#define MAX_BODY_LEN (4u * 1024u * 1024u)
#define HEADER_VALUE_MAX 8192u
#define ORIGIN_SIZE 256u

struct http_client {
    CURL *easy;
    char *unix_socket; /* NULL: TCP */
    struct buf ca_cert_pem;
    int64_t connect_timeout_ms;
    int64_t total_timeout_ms;
    int64_t stall_timeout_s;
    size_t max_body_len;
    size_t transfer_buffer;
    const struct http_advice *advice;
};

static const struct http_advice advice_kms = {
    .trust = "coffer security ca-cert set --cert-file <pem>",
    .plain = "an address that begins with http:// and --insecure-http",
    .tls = "give an address that begins with https://",
};

/* What the callback fills. */
struct body_sink {
    CURL *easy;
    struct buf body;
    size_t room;
    size_t max;
    bool is_too_long;
    bool is_begun;
    uint8_t *into; /* NULL: all goes to body */
    size_t into_size;
    size_t into_len;
};

static void global_init(void)
{
    /* So that requests and answers, which hold tokens and keys, are wiped when curl frees them. */
    CURLcode code = curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiping_malloc, wiping_free,
                                         wiping_realloc, wiping_strdup, wiping_calloc);
    assert(code == CURLE_OK);
    (void)code;
}

int http_client_new(const struct http_options *options, struct http_client **ret, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CLEANUP(http_client_freep) struct http_client *client = calloc(1, sizeof(*client));

    (void)pthread_once(&once, global_init);
    if (!client)
        return error_set(err, -ENOMEM, "not enough memory for an HTTP client");
    client->connect_timeout_ms =
        options->connect_timeout_ms ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    client->total_timeout_ms =
        options->total_timeout_ms ? options->total_timeout_ms : TOTAL_TIMEOUT_MS;
    client->stall_timeout_s = options->stall_timeout_s;
    client->max_body_len = options->max_body_len ? options->max_body_len : MAX_BODY_LEN;
    client->transfer_buffer = options->transfer_buffer;
    client->advice = options->advice ? options->advice : &advice_kms;
    client->easy = curl_easy_init();
    if (!client->easy || buf_assign(&client->ca_cert_pem, options->ca_cert_pem) < 0)
        return error_set(err, -ENOMEM, "not enough memory for an HTTP client");
    if (options->unix_socket && options->unix_socket[0]) {
        client->unix_socket = strdup(options->unix_socket);
        if (!client->unix_socket)
            return error_set(err, -ENOMEM, "not enough memory for an HTTP client");
    }
    *ret = TAKE(client);
    return 0;
}

void http_client_free(struct http_client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->easy);
    free(client->unix_socket);
    buf_release(&client->ca_cert_pem);
    free(client);
}

void http_response_release(struct http_response *response)
{
    buf_wipe(&response->body);
    *response = HTTP_RESPONSE_INIT;
}

/* Grows by copying and wiping, since realloc() would leave an old copy behind. */
static bool sink_reserve(struct body_sink *sink, size_t more)
{
    size_t needed = sink->body.len + more + 1;

    if (needed <= sink->room)
        return true;
    size_t room = sink->room ? sink->room : 4096;
    while (room < needed)
        room *= 2;
    uint8_t *bigger = wiping_realloc(sink->body.data, room);
    if (!bigger)
        return false;
    sink->body.data = bigger;
    sink->room = room;
    return true;
}

/* With the first bytes: where all go. */
static void sink_begin(struct body_sink *sink)
{
    long status = 0;
    curl_off_t expected = 0;

    sink->is_begun = true;
    (void)curl_easy_getinfo(sink->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(sink->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &expected);
    if (status < 200 || status > 299)
        sink->into = NULL;
    /* All at once, so that it is not copied as it grows; if that fails, it grows. */
    if (!sink->into && expected > 0 && (uint64_t)expected <= sink->max)
        (void)sink_reserve(sink, (size_t)expected);
}

static size_t sink_write_into(struct body_sink *sink, const char *data, size_t len)
{
    sink->is_too_long = len > sink->into_size - sink->into_len;
    if (sink->is_too_long)
        return 0;
    memcpy(sink->into + sink->into_len, data, len);
    sink->into_len += len;
    return len;
}

static size_t sink_write(char *data, size_t size, size_t count, void *arg)
{
    struct body_sink *sink = arg;
    size_t len = size * count; /* curl: size is 1 */

    if (!sink->is_begun)
        sink_begin(sink);
    if (sink->into)
        return sink_write_into(sink, data, len);
    sink->is_too_long = len > sink->max - sink->body.len;
    if (sink->is_too_long || !sink_reserve(sink, len))
        return 0;
    memcpy(sink->body.data + sink->body.len, data, len);
    sink->body.len += len;
    return len;
}

static void sink_release(struct body_sink *sink)
{
    wiping_free(sink->body.data);
    sink->body = BUF_INIT;
}

static void free_headers(struct curl_slist **headers)
{
    /* The lines were copied by wiping_strdup() and end in wiping_free(). */
    curl_slist_free_all(*headers);
}

static bool is_header_value(struct bytes value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] < 0x20 || value.data[i] == 0x7f)
            return false;
    return value.len <= HEADER_VALUE_MAX;
}

static int add_line(struct curl_slist **headers, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*headers, line);

    if (!longer)
        return -ENOMEM;
    *headers = longer;
    return 0;
}

static int add_header(struct curl_slist **headers, const struct http_header *header,
                      struct error *err)
{
    struct bytes value =
        header->secret ? secret_bytes(header->secret)
                       : (struct bytes){ (const uint8_t *)header->value, strlen(header->value) };
    char line[HEADER_VALUE_MAX + 128];

    if (!is_header_value(value))
        return error_set(err, -EINVAL, "the value of the header %s is malformed", header->name);
    int len = snprintf(line, sizeof(line), "%s: %.*s", header->name, (int)value.len,
                       value.data ? (const char *)value.data : "");
    int r = len < 0 || (size_t)len >= sizeof(line) ? -EINVAL : add_line(headers, line);
    memory_wipe(line, sizeof(line));
    return r < 0 ? error_set(err, r, "cannot send the header %s: %s", header->name,
                             strerrordesc_np(-r))
                 : 0;
}

static int make_headers(const struct http_request *request, struct curl_slist **ret,
                        struct error *err)
{
    int r = add_line(ret, request->is_raw ? "Accept:" : "Accept: application/json");

    if (r == 0 && (request->is_raw || request->body.len))
        r = add_line(ret, request->is_raw ? "Content-Type:" : "Content-Type: application/json");
    if (r == 0)
        r = add_line(ret, "Expect:"); /* no waiting for 100 Continue */
    if (r < 0)
        return error_set(err, r, "not enough memory for a request");
    for (size_t i = 0; r == 0 && i < request->header_count; i++)
        r = add_header(ret, &request->headers[i], err);
    return r;
}

/* scheme://host:port of the URL: what a sentence names. */
static void origin_of(const struct http_client *client, const char *url, char *ret, size_t size)
{
    const char *host = strstr(url, "://");

    if (client->unix_socket) {
        (void)snprintf(ret, size, "%s", client->unix_socket);
        return;
    }
    size_t len = host ? (size_t)(host - url) + 3 : 0;
    len += strcspn(url + len, "/?#");
    (void)snprintf(ret, size, "%.*s", (int)len, url);
}

/* What came first is no record of TLS: as a rule it is an answer in plain HTTP. */
static bool answers_without_tls(const char *detail)
{
    return strstr(detail, "wrong version number") != NULL;
}

static bool is_plain(const char *origin)
{
    return strncasecmp(origin, "http:", 5) == 0;
}

static int tls_error(const struct http_client *client, const char *origin, const char *detail,
                     struct error *err)
{
    if (answers_without_tls(detail))
        return error_set(
            err, -EKEYREJECTED,
            "no trusted connection to %s: what answers there does not speak TLS; check "
            "the port, and have TLS switched on there; or, where nobody else can "
            "listen on the way, accept that, with %s",
            origin, client->advice->plain);
    return error_set(err, -EKEYREJECTED,
                     "no trusted connection to %s: %s; check which CA signed its certificate, and "
                     "have that one trusted: %s, or, for the whole host, update-ca-certificates",
                     origin, detail, client->advice->trust);
}

static int wants_tls(const struct http_client *client, const char *origin, struct error *err)
{
    return error_set(err, -EKEYREJECTED,
                     "%s does not speak plain HTTP, that port is one of HTTPS: %s", origin,
                     client->advice->tls);
}

/* Some servers end the connection without a word when they hear no TLS. */
static int broken_error(const struct http_client *client, const char *origin, const char *detail,
                        struct error *err)
{
    if (is_plain(origin) && !client->unix_socket)
        return error_set(err, -ECONNREFUSED,
                         "the connection to %s broke: %s; if that port is one of HTTPS, %s", origin,
                         detail, client->advice->tls);
    return error_set(err, -ECONNREFUSED, "the connection to %s broke: %s", origin, detail);
}

static int transport_error(const struct http_client *client, CURLcode code, const char *origin,
                           const char *detail, struct error *err)
{
    if (!detail[0])
        detail = curl_easy_strerror(code);
    switch ((int)code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return error_set(err, -EHOSTUNREACH,
                         "the host name of %s cannot be resolved: check the address and DNS",
                         origin);
    case CURLE_OPERATION_TIMEDOUT:
        return error_set(err, -ETIMEDOUT,
                         "no answer from %s: %s; check the address, the network and firewalls",
                         origin, detail);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
        return tls_error(client, origin, detail, err);
    case CURLE_UNSUPPORTED_PROTOCOL:
        if (is_plain(origin)) /* what came is no HTTP: an alert of TLS */
            return wants_tls(client, origin, err);
        return error_set(err, -EINVAL, "'%s' is not a usable URL", origin);
    case CURLE_URL_MALFORMAT:
        return error_set(err, -EINVAL, "'%s' is not a usable URL", origin);
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
        return broken_error(client, origin, detail, err);
    case CURLE_OUT_OF_MEMORY:
        return error_set(err, -ENOMEM, "not enough memory for a request to %s", origin);
    default:
        return error_set(err, -ECONNREFUSED,
                         "cannot reach %s: %s; check the address and that the server runs there",
                         origin, detail);
    }
}

/* As net/tls.c does it: keys are among what is received. */
static CURLcode wipe_received(CURL *easy, void *ssl_context, void *arg)
{
    (void)easy;
    (void)arg;
    (void)SSL_CTX_set_options(ssl_context, SSL_OP_CLEANSE_PLAINTEXT);
    return CURLE_OK;
}

#define SET(option, value) (ok = ok && curl_easy_setopt(easy, option, value) == CURLE_OK)

static bool set_trust(struct http_client *client)
{
    CURL *easy = client->easy;
    bool ok = true;

    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_CTX_FUNCTION, wipe_received);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (client->ca_cert_pem.len) {
        struct curl_blob blob = { .data = client->ca_cert_pem.data,
                                  .len = client->ca_cert_pem.len,
                                  .flags = CURL_BLOB_NOCOPY };
        SET(CURLOPT_CAINFO, NULL);
        SET(CURLOPT_CAPATH, NULL);
        SET(CURLOPT_CAINFO_BLOB, &blob);
    }
    return ok;
}

/* curl's own sockets would be inherited by every program that this one starts. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)arg;
    (void)purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* For a long answer. Not larger than is of use: curl makes it for each request, and all of it is
 * wiped. What is refused, while an earlier failure left one, will do. */
static void set_buffer(const struct http_client *client, const struct http_request *request)
{
    size_t len = request->into ? request->into_size : request->max_body_len;

    if (client->transfer_buffer > 0 && len > 0)
        (void)curl_easy_setopt(
            client->easy, CURLOPT_BUFFERSIZE,
            (long)(len < client->transfer_buffer ? len : client->transfer_buffer));
}

static bool set_connection(struct http_client *client, const struct http_request *request)
{
    CURL *easy = client->easy;
    bool ok = true;
    int64_t timeout =
        request->total_timeout_ms ? request->total_timeout_ms : client->total_timeout_ms;

    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)timeout);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L); /* bytes a second, of the last five */
    SET(CURLOPT_LOW_SPEED_TIME, (long)client->stall_timeout_s);
    if (client->unix_socket)
        SET(CURLOPT_UNIX_SOCKET_PATH, client->unix_socket);
    set_buffer(client, request);
    return ok && set_trust(client);
}

static bool set_content(struct http_client *client, const struct http_request *request,
                        struct curl_slist *headers, struct body_sink *sink)
{
    CURL *easy = client->easy;
    bool ok = true;

    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_WRITEFUNCTION, sink_write);
    SET(CURLOPT_WRITEDATA, sink);
    if (strcmp(request->method, "HEAD") == 0)
        SET(CURLOPT_NOBODY, 1L);
    if (request->body.len || strcmp(request->method, "POST") == 0 ||
        strcmp(request->method, "PUT") == 0) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        SET(CURLOPT_POSTFIELDS, request->body.len ? (const char *)request->body.data : "");
    }
    if (strcmp(request->method, "GET") != 0 || request->body.len)
        SET(CURLOPT_CUSTOMREQUEST, request->method);
    return ok;
}

/* Others say so in plain HTTP: Go's servers, nginx and Apache. */
static bool says_tls(int status, const struct buf *body)
{
    static const char *const words[] = { "HTTP request to an HTTPS server",
                                         "HTTP request was sent to HTTPS port",
                                         "speaking plain HTTP to an SSL-enabled server" };

    for (size_t i = 0; status == 400 && i < sizeof(words) / sizeof(words[0]); i++)
        if (memmem(body->data, body->len, words[i], strlen(words[i])))
            return true;
    return false;
}

static void read_fields(CURL *easy, const struct http_request *request)
{
    for (size_t i = 0; i < request->field_count; i++) {
        struct http_field *field = &request->fields[i];
        struct curl_header *found = NULL;

        field->value[0] = '\0';
        if (curl_easy_header(easy, field->name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK &&
            strlen(found->value) < sizeof(field->value))
            memcpy(field->value, found->value, strlen(found->value) + 1);
    }
}

static void read_answer(CURL *easy, struct http_response *ret)
{
    long status = 0;
    curl_off_t retry_after = 0;
    const char *location = NULL;

    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
    (void)curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &location);
    ret->status = (int)status;
    ret->retry_after_s = retry_after;
    if (location && strlen(location) < sizeof(ret->location))
        memcpy(ret->location, location, strlen(location) + 1);
}

int http_send(struct http_client *client, const struct http_request *request,
              struct http_response *ret, struct error *err)
{
    CLEANUP(free_headers) struct curl_slist *headers = NULL;
    CLEANUP(sink_release)
    struct body_sink sink = { .easy = client->easy,
                              .max = request->max_body_len ? request->max_body_len
                                                           : client->max_body_len,
                              .into = request->into,
                              .into_size = request->into_size };
    char detail[CURL_ERROR_SIZE] = "";
    char origin[ORIGIN_SIZE];

    origin_of(client, request->url, origin, sizeof(origin));
    int r = make_headers(request, &headers, err);
    if (r < 0)
        return r;
    curl_easy_reset(client->easy); /* keeps the connections */
    (void)curl_easy_setopt(client->easy, CURLOPT_ERRORBUFFER, detail);
    if (!set_connection(client, request) || !set_content(client, request, headers, &sink))
        return error_set(err, -EINVAL, "cannot set up a request to %s", origin);

    CURLcode code = curl_easy_perform(client->easy);
    (void)curl_easy_setopt(client->easy, CURLOPT_ERRORBUFFER, NULL);
    if (sink.is_too_long)
        return error_set(err, -EFBIG, "the answer of %s is longer than %zu bytes", origin,
                         sink.into ? sink.into_size : sink.max);
    if (code != CURLE_OK)
        return transport_error(client, code, origin, detail, err);
    if (!sink_reserve(&sink, 0))
        return error_set(err, -ENOMEM, "not enough memory for the answer of %s", origin);

    http_response_release(ret);
    read_answer(client->easy, ret);
    read_fields(client->easy, request);
    ret->into_len = sink.into_len;
    sink.body.data[sink.body.len] = '\0';
    buf_move(&ret->body, &sink.body);
    if (is_plain(origin) && says_tls(ret->status, &ret->body))
        return wants_tls(client, origin, err);
    return 0;
}
