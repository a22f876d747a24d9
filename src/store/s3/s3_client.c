#include "store/s3/s3_client.h"

#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/encoding.h"
#include "base/thread.h"
#include "crypto/random.h"
#include "net/sigv4.h"

#define CONCURRENCY 16u
#define PART_LEN ((size_t)16 * 1024 * 1024)
#define ANSWER_MAX ((size_t)4 * 1024 * 1024) /* of what is not an object */
#define CONNECT_TIMEOUT_MS 10000
#define STALL_TIMEOUT_S 30 /* a peer that is gone without a word; one that is slow is not */
#define TIMEOUT_MS 30000   /* and more for what is long: */
#define SLOWEST_PER_MS 64u /* bytes */
#define TRANSFER_BUFFER (512u * 1024u) /* as much as libcurl 7.88 grants */
#define HOST_SIZE (S3_HOSTNAME_SIZE + 8u)
#define PLACE_SIZE (HOST_SIZE + S3_BUCKET_SIZE + 16u)
#define URL_SIZE 8192u
#define PATH_SIZE 1536u
#define SUM_SIZE BASE64_SIZE(sizeof(uint32_t))

/* What the server does with the checksum of a body. */
enum sums { SUMS_UNKNOWN, SUMS_COMPARED, SUMS_IGNORED };

struct s3_client {
    struct s3_settings settings;
    struct sigv4_signer *signer;
    struct retry_policy retry;
    char host[HOST_SIZE]; /* as the Host header has it */
    char place[PLACE_SIZE];
    char prefix[S3_PREFIX_SIZE + 1];
    size_t part_len;
    atomic_int sums; /* enum sums */

    struct mutex lock; /* guards the connections */
    pthread_cond_t returned;
    struct http_client *connections[S3_CONCURRENCY_MAX]; /* those that are free: last used first */
    unsigned free_count;
    unsigned made;
    unsigned limit;
};

static void sleep_really(void *arg, int64_t ms)
{
    (void)arg;
    clock_sleep_ms(ms);
}

static const struct retry_policy default_policy = {
    .tries = 6,
    .first_ms = 200,
    .longest_ms = 5000,
    .sleep = sleep_really,
};

/* --- settings --- */

void s3_settings_release(struct s3_settings *settings)
{
    secret_release(&settings->secret_key);
    buf_release(&settings->ca_cert_pem);
    *settings = S3_SETTINGS_INIT;
}

static bool only_has(const char *text, const char *others)
{
    for (; *text != '\0'; text++)
        if (!(*text >= 'a' && *text <= 'z') && !(*text >= '0' && *text <= '9') &&
            !(*text >= 'A' && *text <= 'Z') && strchr(others, *text) == NULL)
            return false;
    return true;
}

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

int s3_settings_check(const struct s3_settings *settings, struct error *err)
{
    size_t bucket_len = strlen(settings->bucket);
    const char *prefix = settings->prefix;

    if (settings->hostname[0] == '\0' || !only_has(settings->hostname, ".-_:[]"))
        return error_set(
            err, -EINVAL,
            "'%s' is no host name or address; give that alone, without http:// and folders",
            settings->hostname);
    if (bucket_len < 3 || !only_has(settings->bucket, ".-"))
        return error_set(err, -EINVAL,
                         "'%s' cannot be the name of a bucket: 3 to 63 letters, digits, dots and "
                         "hyphens",
                         settings->bucket);
    if (!only_has(settings->region, "-_."))
        return error_set(err, -EINVAL, "'%s' cannot be the name of a region", settings->region);
    if (settings->access_key_id[0] == '\0' || !is_printable(settings->access_key_id) ||
        strpbrk(settings->access_key_id, "/,=") != NULL)
        return error_set(err, -EINVAL,
                         "the access key id is missing or has other characters than "
                         "such ids have");
    if (settings->secret_key.len == 0)
        return error_set(err, -EINVAL, "the secret key is empty");
    if (!only_has(prefix, "-_./") || prefix[0] == '/' || strstr(prefix, "//") != NULL ||
        strstr(prefix, "..") != NULL)
        return error_set(err, -EINVAL,
                         "'%s' cannot be a prefix: letters, digits, '.', '-', '_', and single "
                         "slashes between them",
                         prefix);
    if (settings->concurrency > S3_CONCURRENCY_MAX)
        return error_set(err, -EINVAL, "at most %u requests can be on their way at once",
                         S3_CONCURRENCY_MAX);
    return 0;
}

static int copy_settings(const struct s3_settings *from, struct s3_settings *to)
{
    struct secret key = SECRET_INIT;
    struct buf ca_cert = BUF_INIT;

    int r = secret_assign(&key, secret_bytes(&from->secret_key));
    if (r == 0)
        r = buf_assign(&ca_cert, buf_bytes(&from->ca_cert_pem));
    if (r < 0) {
        secret_release(&key);
        return r;
    }
    *to = *from;
    to->secret_key = key;
    to->ca_cert_pem = ca_cert;
    if (to->region[0] == '\0')
        memcpy(to->region, "us-east-1", sizeof("us-east-1"));
    return 0;
}

/* --- the client --- */

/* As curl writes the Host header: without the protocol's own port. */
static void write_host(struct s3_client *client)
{
    const struct s3_settings *settings = &client->settings;
    bool is_bare_ipv6 = strchr(settings->hostname, ':') != NULL && settings->hostname[0] != '[';
    char name[S3_HOSTNAME_SIZE + 2];
    uint16_t usual = settings->is_plain_http ? 80 : 443;

    (void)snprintf(name, sizeof(name), is_bare_ipv6 ? "[%s]" : "%s", settings->hostname);
    if (settings->port == 0 || settings->port == usual)
        (void)snprintf(client->host, sizeof(client->host), "%s", name);
    else
        (void)snprintf(client->host, sizeof(client->host), "%s:%u", name, settings->port);
}

static void write_prefix(struct s3_client *client)
{
    const char *prefix = client->settings.prefix;
    size_t len = strlen(prefix);

    (void)snprintf(client->prefix, sizeof(client->prefix), "%s%s", prefix,
                   len > 0 && prefix[len - 1] != '/' ? "/" : "");
}

int s3_client_new(const struct s3_settings *settings, struct s3_client **ret, struct error *err)
{
    int r = s3_settings_check(settings, err);
    if (r < 0)
        return r;
    struct s3_client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return error_set(err, -ENOMEM, "no memory for an object store");
    client->lock = MUTEX_INIT;
    client->returned = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    r = copy_settings(settings, &client->settings);
    if (r < 0)
        r = error_set(err, r, "no memory for an object store");
    else
        r = sigv4_signer_new(client->settings.access_key_id, &client->settings.secret_key,
                             client->settings.region, "s3", &client->signer, err);
    if (r < 0) {
        s3_client_free(client);
        return r;
    }
    client->retry = settings->retry != NULL ? *settings->retry : default_policy;
    client->limit = settings->concurrency != 0 ? settings->concurrency : CONCURRENCY;
    client->part_len = settings->part_len != 0 ? settings->part_len : PART_LEN;
    write_host(client);
    write_prefix(client);
    (void)snprintf(client->place, sizeof(client->place), "bucket %s at %s", client->settings.bucket,
                   client->host);
    *ret = client;
    return 0;
}

void s3_client_free(struct s3_client *client)
{
    if (client == NULL)
        return;
    for (unsigned i = 0; i < client->free_count; i++)
        http_client_free(client->connections[i]);
    sigv4_signer_free(client->signer);
    s3_settings_release(&client->settings);
    free(client);
}

const char *s3_client_place(const struct s3_client *client)
{
    return client->place;
}

const char *s3_client_prefix(const struct s3_client *client)
{
    return client->prefix;
}

size_t s3_client_part_len(const struct s3_client *client)
{
    return client->part_len;
}

unsigned s3_client_concurrency(const struct s3_client *client)
{
    return client->limit;
}

void s3_answer_release(struct s3_answer *answer)
{
    http_response_release(&answer->http);
    *answer = S3_ANSWER_INIT;
}

/* --- connections --- */

static const struct http_advice advice = {
    .trust = "give it with --ca-cert",
    .plain = "--protocol HTTP",
    .tls = "give --protocol HTTPS",
};

static int make_connection(struct s3_client *client, struct http_client **ret, struct error *err)
{
    const struct http_options options = {
        .ca_cert_pem = buf_bytes(&client->settings.ca_cert_pem),
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .total_timeout_ms = TIMEOUT_MS,
        .stall_timeout_s = STALL_TIMEOUT_S,
        .max_body_len = ANSWER_MAX,
        .transfer_buffer = TRANSFER_BUFFER,
        .advice = &advice,
    };

    return http_client_new(&options, ret, err);
}

static int take_connection(struct s3_client *client, struct http_client **ret, struct error *err)
{
    struct http_client *taken = NULL;

    mutex_lock(&client->lock);
    while (client->free_count == 0 && client->made == client->limit)
        cond_wait(&client->returned, &client->lock);
    if (client->free_count > 0)
        taken = client->connections[--client->free_count];
    else
        client->made++;
    mutex_unlock(&client->lock);
    if (taken != NULL) {
        *ret = taken;
        return 0;
    }
    int r = make_connection(client, ret, err);
    if (r < 0) {
        mutex_lock(&client->lock);
        client->made--;
        (void)pthread_cond_signal(&client->returned);
        mutex_unlock(&client->lock);
    }
    return r;
}

static void return_connection(struct s3_client *client, struct http_client *connection)
{
    mutex_lock(&client->lock);
    client->connections[client->free_count++] = connection;
    (void)pthread_cond_signal(&client->returned);
    mutex_unlock(&client->lock);
}

/* --- one try --- */

enum {
    FIELD_ETAG,
    FIELD_RANGE,
    FIELD_LENGTH,
    FIELD_MARK,
    FIELD_REGION,
    FIELD_DATE,
    FIELD_SUM,
    FIELDS
};

static const char *const field_names[FIELDS] = {
    [FIELD_ETAG] = "etag",
    [FIELD_RANGE] = "content-range",
    [FIELD_LENGTH] = "content-length",
    [FIELD_MARK] = "x-amz-meta-coffer-put",
    [FIELD_REGION] = "x-amz-bucket-region",
    [FIELD_DATE] = "date",
    [FIELD_SUM] = "x-amz-checksum-crc32c",
};

/* A request as it is sent: all that the structs of net/ point to. */
struct sending {
    bool is_summed; /* its body; and else, or besides: */
    bool is_hashed;
    bool is_refused;         /* for good, and not only for now */
    bool may_have_been_done; /* by a try that was not answered */
    char sum[SUM_SIZE];
    char path[PATH_SIZE];
    char url[URL_SIZE];
    char hash[SIGV4_HASH_SIZE];
    char date[SIGV4_DATE_SIZE];
    char authorization[SIGV4_AUTHORIZATION_SIZE];
    struct http_header headers[SIGV4_HEADERS_MAX]; /* the first is "host", which curl sends */
    size_t header_count;
    struct http_field fields[FIELDS];
};

/* Who vouches for a body: its hash, which is signed, or a checksum. The hash costs both sides more
 * than to encrypt the body does, so it is left out once the server has shown, by its answer, that
 * it compares checksums (docs/decisions/0004-s3-store.md). */
static void choose_proof(struct s3_client *client, const struct s3_call *call,
                         struct sending *sending)
{
    int sums = atomic_load(&client->sums);

    sending->is_summed = call->may_be_summed && sums != SUMS_IGNORED;
    sending->is_hashed = !sending->is_summed || sums == SUMS_UNKNOWN;
}

static int write_proof(const struct s3_call *call, struct sending *sending)
{
    sending->sum[0] = '\0';
    if (sending->is_summed) {
        uint32_t sum = htobe32(crc32c(call->body));
        base64_encode((struct bytes){ (const uint8_t *)&sum, sizeof(sum) }, sending->sum);
    }
    if (sending->is_hashed)
        return sigv4_payload_hash(call->body, sending->hash);
    memcpy(sending->hash, SIGV4_UNSIGNED, sizeof(SIGV4_UNSIGNED));
    return 0;
}

/* From the answer of a request with a checksum that was done. */
static void learn_sums(struct s3_client *client, const struct sending *sending,
                       struct s3_answer *ret)
{
    if (!sending->is_summed || ret->status > 299)
        return;
    bool is_compared = strcmp(sending->fields[FIELD_SUM].value, sending->sum) == 0;
    atomic_store(&client->sums, is_compared ? SUMS_COMPARED : SUMS_IGNORED);
    ret->is_unproved = !is_compared && !sending->is_hashed;
}

static int write_target(const struct s3_client *client, const struct s3_call *call,
                        struct sending *sending, struct error *err)
{
    char plain[PATH_SIZE];
    int len = snprintf(plain, sizeof(plain), "/%s%s%s%s", client->settings.bucket,
                       call->name != NULL ? "/" : "", call->name != NULL ? client->prefix : "",
                       call->name != NULL ? call->name : "");

    if (len < 0 || (size_t)len >= sizeof(plain) ||
        !sigv4_encode(plain, true, sending->path, sizeof(sending->path)))
        return error_set(err, -ENAMETOOLONG, "the name %.64s... is too long", call->name);
    len = snprintf(sending->url, sizeof(sending->url), "%s://%s%s%s%s",
                   client->settings.is_plain_http ? "http" : "https", client->host, sending->path,
                   call->query != NULL ? "?" : "", call->query != NULL ? call->query : "");
    if (len < 0 || (size_t)len >= sizeof(sending->url))
        return error_set(err, -ENAMETOOLONG, "a request to %s is too long", client->place);
    return 0;
}

static void add_header(struct sending *sending, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    sending->headers[sending->header_count++] =
        (struct http_header){ .name = name, .value = value };
}

/* Ascending, as the signature wants them. */
static void add_headers(const struct s3_client *client, const struct s3_call *call,
                        struct sending *sending)
{
    sending->header_count = 0;
    add_header(sending, "host", client->host);
    add_header(sending, "if-match", call->if_match);
    add_header(sending, "if-none-match", call->must_be_new ? "*" : NULL);
    add_header(sending, "range", call->range);
    add_header(sending, "x-amz-checksum-crc32c", sending->sum);
    add_header(sending, "x-amz-content-sha256", sending->hash);
    add_header(sending, "x-amz-date", sending->date);
    add_header(sending, "x-amz-meta-coffer-put", call->mark);
}

static int sign(struct s3_client *client, const struct s3_call *call, struct sending *sending,
                struct error *err)
{
    sigv4_date(clock_wall_ns() / 1000000000, sending->date);
    add_headers(client, call, sending);
    const struct sigv4_request request = {
        .method = call->method,
        .path = sending->path,
        .query = call->query != NULL ? call->query : "",
        .headers = sending->headers,
        .header_count = sending->header_count,
        .payload_hash = sending->hash,
    };
    int r = sigv4_sign(client->signer, &request, sending->date, sending->authorization, err);
    if (r == 0)
        add_header(sending, "Authorization", sending->authorization);
    return r;
}

static int try_once(struct s3_client *client, const struct s3_call *call, struct sending *sending,
                    struct http_response *ret, struct error *err)
{
    struct http_client *connection = NULL;
    size_t longest = call->body.len + call->into_size + call->body_max;

    for (unsigned i = 0; i < FIELDS; i++)
        sending->fields[i] = (struct http_field){ .name = field_names[i] };
    int r = take_connection(client, &connection, err);
    if (r < 0)
        return r;
    r = sign(client, call, sending, err); /* now: a wait for a connection may have been long */
    const struct http_request request = {
        .method = call->method,
        .url = sending->url,
        .headers = sending->headers + 1,
        .header_count = sending->header_count - 1,
        .body = call->body,
        .is_raw = true,
        .total_timeout_ms = TIMEOUT_MS + (int64_t)(longest / SLOWEST_PER_MS),
        .max_body_len = call->body_max,
        .fields = sending->fields,
        .field_count = FIELDS,
        .into = call->into,
        .into_size = call->into_size,
    };
    if (r == 0)
        r = http_send(connection, &request, ret, err);
    return_connection(client, connection);
    return r;
}

/* --- tries --- */

static bool is_answer(const struct s3_call *call, int status, const struct s3_fault *fault)
{
    if ((status >= 200 && status < 300) || status == 412 || status == 416)
        return true;
    /* HEAD has no body: who asks looks further. */
    bool is_object = call->name != NULL &&
                     (strcmp(fault->code, "NoSuchKey") == 0 || strcmp(call->method, "HEAD") == 0 ||
                      strcmp(fault->code, "NoSuchUpload") == 0);
    return status == 404 && is_object;
}

static bool transport_may_pass(int r)
{
    return r == -ECONNREFUSED || r == -ETIMEDOUT || r == -EHOSTUNREACH;
}

static void pause_before(const struct s3_client *client, unsigned next_try, int64_t retry_after_s)
{
    uint64_t spread;

    random_bytes(&spread, sizeof(spread));
    int64_t ms = retry_policy_pause(&client->retry, next_try, spread);
    if (retry_after_s > 0 && retry_after_s * 1000 > ms)
        ms = retry_after_s * 1000 < client->retry.longest_ms ? retry_after_s * 1000
                                                             : client->retry.longest_ms;
    client->retry.sleep(client->retry.sleep_arg, ms);
}

static void take_fields(const struct sending *sending, struct s3_answer *ret)
{
    memcpy(ret->etag, sending->fields[FIELD_ETAG].value, sizeof(ret->etag));
    memcpy(ret->content_range, sending->fields[FIELD_RANGE].value, sizeof(ret->content_range));
    memcpy(ret->content_length, sending->fields[FIELD_LENGTH].value, sizeof(ret->content_length));
    memcpy(ret->mark, sending->fields[FIELD_MARK].value, sizeof(ret->mark));
}

static int refuse(const struct s3_client *client, const struct s3_call *call,
                  const struct sending *sending, int status, const struct s3_fault *fault,
                  struct error *err)
{
    struct s3_refusal refusal = { .settings = &client->settings,
                                  .place = client->place,
                                  .call = call,
                                  .status = status,
                                  .fault = *fault };

    memcpy(refusal.server_region, sending->fields[FIELD_REGION].value,
           sizeof(refusal.server_region));
    memcpy(refusal.server_date, sending->fields[FIELD_DATE].value, sizeof(refusal.server_date));
    return s3_explain(&refusal, err);
}

/* One try, its answer judged. *ret_again: asking again may help, in no less than *ret_after_s. */
static int judge_once(struct s3_client *client, const struct s3_call *call, struct sending *sending,
                      struct s3_answer *ret, bool *ret_again, int64_t *ret_after_s,
                      struct error *err)
{
    struct s3_fault fault = { .code = "" };

    *ret_after_s = 0;
    int r = try_once(client, call, sending, &ret->http, err);
    if (r < 0) {
        *ret_again = transport_may_pass(r);
        return r;
    }
    ret->status = ret->http.status;
    if (ret->status < 200 || ret->status > 299)
        (void)s3_read_fault(buf_bytes(&ret->http.body), &fault);
    *ret_again = s3_may_pass(ret->status, &fault);
    if (!*ret_again && is_answer(call, ret->status, &fault)) {
        take_fields(sending, ret);
        learn_sums(client, sending, ret);
        return 0;
    }
    sending->is_refused = ret->status < 500 || ret->status == 501;
    *ret_after_s = ret->http.retry_after_s;
    return refuse(client, call, sending, ret->status, &fault, err);
}

/* All its tries. */
static int call_as(struct s3_client *client, const struct s3_call *call, struct sending *sending,
                   struct s3_answer *ret, struct error *err)
{
    if (write_proof(call, sending) < 0)
        return error_set(err, -ENOMEM, "no memory for a request to %s", client->place);
    for (unsigned tries = 1;; tries++) {
        struct error failure = { 0 };
        bool again = false;
        int64_t after_s = 0;
        s3_answer_release(ret);
        sending->is_refused = false;
        int r = judge_once(client, call, sending, ret, &again, &after_s, &failure);
        ret->may_have_been_done = sending->may_have_been_done;
        if (r == 0)
            return 0;
        if (!again || tries >= client->retry.tries) {
            s3_answer_release(ret);
            if (err != NULL)
                *err = failure;
            return again ? error_prefix(err, r, "after %u tries", tries) : r;
        }
        sending->may_have_been_done = true;
        pause_before(client, tries, after_s);
    }
}

int s3_client_call(struct s3_client *client, const struct s3_call *call, struct s3_answer *ret,
                   struct error *err)
{
    CLEANUP(free_ptr) struct sending *sending = malloc(sizeof(*sending));

    if (sending == NULL)
        return error_set(err, -ENOMEM, "no memory for a request to %s", client->place);
    int r = write_target(client, call, sending, err);
    if (r < 0)
        return r;
    sending->may_have_been_done = false;
    choose_proof(client, call, sending);
    r = call_as(client, call, sending, ret, err);
    if (r == 0 || !sending->is_summed || !sending->is_refused)
        return r;
    /* Perhaps because of the checksum, or of what was not signed. */
    sending->is_summed = false;
    sending->is_hashed = true;
    r = call_as(client, call, sending, ret, err);
    if (r == 0)
        atomic_store(&client->sums, SUMS_IGNORED);
    return r;
}
