#include "tests/support/fake_transit.h"

#include <jansson.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/cmocka_all.h"

#include "base/buf.h"
#include "base/thread.h"

#define TRANSIT "/v1/transit/"
#define LOGIN "/v1/auth/approle/login"
#define LOOKUP "/v1/auth/approle/role/fake/secret-id/lookup"
#define OWN_KEY "own-"
#define ROLE_TOKEN "role-"

struct fake_transit {
    struct MHD_Daemon *daemon;
    char url[64];
    struct mutex lock; /* guards all below */
    unsigned identity; /* of the key: another one for each that was ever made */
    unsigned version;
    unsigned disallowed; /* a bit for each version */
    unsigned busy;       /* likewise */
    int seal_after;
    int lies;
    unsigned requests;
    unsigned logins;
    char secret_id[32];
    long secret_left_s;
    long secret_life_s;
};

/* What is asked for: "encrypt", by which key. */
struct question {
    char what[16];
    char key[64];
    const char *token;
};

/* Another one for each key. */
static unsigned identity_locked(const struct fake_transit *transit, const char *key)
    REQUIRES(transit->lock)
{
    unsigned sum = 0;

    for (size_t i = 0; strcmp(key, FAKE_KEY) != 0 && key[i]; i++)
        sum += (unsigned char)key[i] * (unsigned)(i + 1);
    return transit->identity + sum * 1000u;
}

/* As a policy would: a role's token is "role-ROLE". */
static bool is_allowed(const struct question *question)
{
    const char *role = NULL;

    if (question->token && strncmp(question->token, ROLE_TOKEN, strlen(ROLE_TOKEN)) == 0)
        role = question->token + strlen(ROLE_TOKEN);
    if (strncmp(question->key, OWN_KEY, strlen(OWN_KEY)) != 0)
        return !role;
    return role && strcmp(question->key + strlen(OWN_KEY), role) == 0;
}

static unsigned new_identity(void)
{
    static unsigned last;

    return ++last;
}

struct incoming {
    struct buf body;
};

static json_t *error_json(const char *text)
{
    return json_pack("{s:[s]}", "errors", text);
}

/* "vault:vVERSION:IDENTITY.PLAINTEXT"; NULL and *ret_error if this key did not wrap it. */
static const char *open_locked(const struct fake_transit *transit, const char *key,
                               const char *text, const char **ret_error) REQUIRES(transit->lock)
{
    static const char prefix[] = "vault:v";
    char *end = NULL;
    unsigned long version = 0, identity = 0;
    bool is_ours = strncmp(text, prefix, strlen(prefix)) == 0;

    if (is_ours) {
        version = strtoul(text + strlen(prefix), &end, 10);
        is_ours = *end == ':';
    }
    if (is_ours) {
        identity = strtoul(end + 1, &end, 10);
        is_ours = *end == '.';
    }
    if (!is_ours)
        *ret_error = "invalid ciphertext: no prefix";
    else if (version > transit->version)
        *ret_error = "invalid ciphertext: version is too new";
    else if (version < 32 && (transit->disallowed >> version & 1))
        *ret_error = "ciphertext or signature version is disallowed by policy (too old)";
    else if (identity != identity_locked(transit, key))
        *ret_error = "cipher: message authentication failed";
    else
        return end + 1;
    return NULL;
}

static bool is_busy_locked(const struct fake_transit *transit, const json_t *item)
    REQUIRES(transit->lock)
{
    static const char prefix[] = "vault:v";
    const char *wrapped = json_string_value(json_object_get(item, "ciphertext"));

    if (!wrapped || strncmp(wrapped, prefix, strlen(prefix)) != 0)
        return false;
    unsigned long version = strtoul(wrapped + strlen(prefix), NULL, 10);
    return version < 32 && (transit->busy >> version & 1);
}

/* Or any of a batch. */
static bool asks_busy_locked(const struct fake_transit *transit, const json_t *body)
    REQUIRES(transit->lock)
{
    const json_t *items = json_object_get(body, "batch_input");
    bool is_busy = is_busy_locked(transit, body);

    for (size_t i = 0; i < json_array_size(items); i++)
        is_busy |= is_busy_locked(transit, json_array_get(items, i));
    return is_busy;
}

static json_t *wrap_locked(const struct fake_transit *transit, const char *key, const char *plain)
    REQUIRES(transit->lock)
{
    return json_sprintf("vault:v%u:%u.%s", transit->version,
                        identity_locked(transit, key) + (transit->lies ? 100000000u : 0), plain);
}

static json_t *answer_item_locked(const struct fake_transit *transit,
                                  const struct question *question, const json_t *item,
                                  const char **ret_error) REQUIRES(transit->lock)
{
    const char *plain = json_string_value(json_object_get(item, "plaintext"));
    const char *wrapped = json_string_value(json_object_get(item, "ciphertext"));

    if (wrapped)
        plain = open_locked(transit, question->key, wrapped, ret_error);
    if (!plain)
        return NULL;
    if (strcmp(question->what, "decrypt") == 0)
        return json_pack("{s:s}", "plaintext", plain);
    return json_pack("{s:o}", "ciphertext", wrap_locked(transit, question->key, plain));
}

static unsigned answer_batch_locked(const struct fake_transit *transit,
                                    const struct question *question, const json_t *items,
                                    json_t **ret) REQUIRES(transit->lock)
{
    json_t *results = json_array();
    unsigned status = 200;

    for (size_t i = 0; i < json_array_size(items); i++) {
        const char *error = "";
        json_t *item = answer_item_locked(transit, question, json_array_get(items, i), &error);
        if (!item)
            status = 400;
        (void)json_array_append_new(results, item ? item : json_pack("{s:s}", "error", error));
    }
    *ret = json_pack("{s:{s:o}}", "data", "batch_results", results);
    return status;
}

static unsigned log_in_locked(struct fake_transit *transit, const json_t *body, json_t **ret)
    REQUIRES(transit->lock)
{
    const char *secret = json_string_value(json_object_get(body, "secret_id"));
    char token[64];

    transit->logins++;
    if (!secret || strcmp(secret, transit->secret_id) != 0) {
        *ret = error_json("invalid role or secret ID");
        return 400;
    }
    (void)snprintf(token, sizeof(token), ROLE_TOKEN "%s",
                   json_string_value(json_object_get(body, "role_id")));
    *ret = json_pack("{s:{s:s,s:I,s:b,s:s,s:{s:s}}}", "auth", "client_token", token,
                     "lease_duration", (json_int_t)1200, "renewable", 0, "token_type", "batch",
                     "metadata", "role_name", "fake");
    return 200;
}

static unsigned look_up_secret_locked(const struct fake_transit *transit, json_t **ret)
    REQUIRES(transit->lock)
{
    char ends[40] = "0001-01-01T00:00:00Z";
    time_t end = time(NULL) + transit->secret_left_s;
    struct tm parts;

    if (transit->secret_life_s > 0)
        (void)strftime(ends, sizeof(ends), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&end, &parts));
    *ret = json_pack("{s:{s:s,s:I}}", "data", "expiration_time", ends, "secret_id_ttl",
                     (json_int_t)transit->secret_life_s);
    return 200;
}

static unsigned answer_locked(struct fake_transit *transit, const char *path, const char *token,
                              const json_t *body, json_t **ret) REQUIRES(transit->lock)
{
    const char *error = "";
    struct question question = { .token = token };

    if (strcmp(path, LOGIN) == 0 && transit->seal_after != 0)
        return log_in_locked(transit, body, ret);
    if (strcmp(path, LOOKUP) == 0 && transit->seal_after != 0)
        return look_up_secret_locked(transit, ret);
    if (strncmp(path, TRANSIT, strlen(TRANSIT)) != 0) {
        *ret = error_json("nothing here");
        return 404;
    }
    const char *rest = path + strlen(TRANSIT);
    transit->requests++;
    if (transit->seal_after == 0) {
        *ret = error_json("Vault is sealed");
        return 503;
    }
    if (transit->seal_after > 0)
        transit->seal_after--;
    int len = (int)strcspn(rest, "/");
    (void)snprintf(question.what, sizeof(question.what), "%.*s", len, rest);
    (void)snprintf(question.key, sizeof(question.key), "%s", rest + len + (rest[len] == '/'));
    if (!is_allowed(&question)) {
        *ret = error_json("1 error occurred: permission denied");
        return 403;
    }
    if (strcmp(question.what, "keys") == 0) {
        *ret = json_pack("{s:{s:s,s:I,s:I}}", "data", "type", "aes256-gcm96", "latest_version",
                         (json_int_t)transit->version, "min_decryption_version", (json_int_t)1);
        return 200;
    }
    if (asks_busy_locked(transit, body)) {
        *ret = error_json("busy");
        return 503;
    }
    const json_t *batch = json_object_get(body, "batch_input");
    if (batch)
        return answer_batch_locked(transit, &question, batch, ret);
    json_t *item = answer_item_locked(transit, &question, body, &error);
    *ret = item ? json_pack("{s:o}", "data", item) : error_json(error);
    return item ? 200 : 400;
}

static enum MHD_Result send_answer(struct fake_transit *transit, struct MHD_Connection *connection,
                                   const char *path, const struct buf *body)
{
    json_t *request = json_loadb((const char *)body->data, body->len, 0, NULL);
    json_t *answer = NULL;
    const char *token = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Vault-Token");

    mutex_lock(&transit->lock);
    unsigned status = answer_locked(transit, path, token, request, &answer);
    mutex_unlock(&transit->lock);
    char *text = json_dumps(answer, 0);
    json_decref(answer);
    json_decref(request);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result r = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return r;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_len, void **state)
{
    struct incoming *incoming = *state;

    (void)method;
    (void)version;
    if (!incoming) {
        *state = calloc(1, sizeof(*incoming));
        return *state ? MHD_YES : MHD_NO;
    }
    if (*data_len == 0)
        return send_answer(arg, connection, path, &incoming->body);
    int r = buf_append(&incoming->body,
                       (struct bytes){ .data = (const uint8_t *)data, .len = *data_len });
    *data_len = 0;
    return r == 0 ? MHD_YES : MHD_NO;
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
    buf_release(&incoming->body);
    free(incoming);
}

struct fake_transit *fake_transit_start(void)
{
    struct fake_transit *transit = calloc(1, sizeof(*transit));

    assert_non_null(transit);
    transit->lock = MUTEX_INIT;
    transit->identity = new_identity();
    transit->version = 1;
    transit->seal_after = -1;
    (void)snprintf(transit->secret_id, sizeof(transit->secret_id), FAKE_SECRET_ID);
    transit->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, transit,
                         MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    assert_non_null(transit->daemon);
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(transit->daemon, MHD_DAEMON_INFO_BIND_PORT);
    (void)snprintf(transit->url, sizeof(transit->url), "http://127.0.0.1:%u", info->port);
    return transit;
}

void fake_transit_stop(struct fake_transit *transit)
{
    if (!transit)
        return;
    MHD_stop_daemon(transit->daemon);
    free(transit);
}

const char *fake_transit_url(const struct fake_transit *transit)
{
    return transit->url;
}

void fake_transit_rotate(struct fake_transit *transit)
{
    mutex_lock(&transit->lock);
    transit->version++;
    mutex_unlock(&transit->lock);
}

void fake_transit_allow(struct fake_transit *transit, unsigned version, int is_allowed)
{
    mutex_lock(&transit->lock);
    transit->disallowed &= ~(1u << version);
    transit->disallowed |= is_allowed ? 0 : 1u << version;
    mutex_unlock(&transit->lock);
}

void fake_transit_be_busy(struct fake_transit *transit, unsigned version, int is_busy)
{
    mutex_lock(&transit->lock);
    transit->busy &= ~(1u << version);
    transit->busy |= is_busy ? 1u << version : 0;
    mutex_unlock(&transit->lock);
}

void fake_transit_copy_key(struct fake_transit *transit, struct fake_transit *from)
{
    mutex_lock(&from->lock);
    unsigned identity = from->identity;
    mutex_unlock(&from->lock);
    mutex_lock(&transit->lock);
    transit->identity = identity;
    transit->version = 1;
    mutex_unlock(&transit->lock);
}

void fake_transit_make_anew(struct fake_transit *transit)
{
    mutex_lock(&transit->lock);
    transit->identity = new_identity();
    transit->version = 1;
    mutex_unlock(&transit->lock);
}

void fake_transit_seal_after(struct fake_transit *transit, int requests)
{
    mutex_lock(&transit->lock);
    transit->seal_after = requests;
    mutex_unlock(&transit->lock);
}

int fake_transit_is_sealed(struct fake_transit *transit)
{
    mutex_lock(&transit->lock);
    int is_sealed = transit->seal_after == 0;
    mutex_unlock(&transit->lock);
    return is_sealed;
}

void fake_transit_lie(struct fake_transit *transit, int lies)
{
    mutex_lock(&transit->lock);
    transit->lies = lies;
    mutex_unlock(&transit->lock);
}

void fake_transit_set_secret_id(struct fake_transit *transit, const char *secret_id)
{
    mutex_lock(&transit->lock);
    (void)snprintf(transit->secret_id, sizeof(transit->secret_id), "%s", secret_id);
    mutex_unlock(&transit->lock);
}

void fake_transit_set_secret_life(struct fake_transit *transit, long left_s, long life_s)
{
    mutex_lock(&transit->lock);
    transit->secret_left_s = left_s;
    transit->secret_life_s = life_s;
    mutex_unlock(&transit->lock);
}

unsigned fake_transit_logins(struct fake_transit *transit)
{
    mutex_lock(&transit->lock);
    unsigned logins = transit->logins;
    mutex_unlock(&transit->lock);
    return logins;
}

unsigned fake_transit_requests(struct fake_transit *transit)
{
    mutex_lock(&transit->lock);
    unsigned requests = transit->requests;
    mutex_unlock(&transit->lock);
    return requests;
}
