/* vault.c - HashiCorp Vault and OpenBao: the transit engine over HTTP.
 *
 * A key is always read before it is used to encrypt: encrypt silently makes a missing key where
 * the policy lets it. */
#include "keys/providers.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/encoding.h"
#include "keys/vault/answers.h"
#include "keys/vault/check.h"
#include "keys/vault/client.h"
#include "keys/vault/inspect.h"
#include "keys/vault/login.h"
#include "net/json.h"

#define TYPE_NAME "vault"
#define DEFAULT_MOUNT "transit"
#define BATCH_MAX 128u

/* Which key, of which engine, in which namespace. */
struct key_place {
    const char *kms_namespace;
    const char *mount_path;
    const char *key_name;
};

struct vault_provider {
    struct key_provider base;
    struct key_provider_config config;
    struct vault_client client;
};

static struct vault_provider *vault_provider(struct key_provider *provider)
{
    return (struct vault_provider *)provider;
}

static int check_place(const struct key_place *place, struct error *err)
{
    if (!vault_is_name(place->key_name, false))
        return error_set(err, -EINVAL,
                         "'%s' is not a name of a Vault key: letters, digits, '.', '_' and '-'",
                         place->key_name);
    if (!vault_is_name(place->mount_path, true))
        return error_set(err, -EINVAL, "'%s' is not a path of a transit engine", place->mount_path);
    if (place->kms_namespace[0] && !vault_is_name(place->kms_namespace, true))
        return error_set(err, -EINVAL, "'%s' is not a Vault namespace", place->kms_namespace);
    return 0;
}

static struct vault_call call_of(const struct key_place *place, const char *method,
                                 const char *path, struct http_response *response)
{
    return (struct vault_call){ .method = method,
                                .path = path,
                                .key_name = place->key_name,
                                .kms_namespace = place->kms_namespace,
                                .response = response };
}

/* Asks with the token of the login, and once more with another one if it is not accepted. */
static int ask(struct vault_provider *vault, struct vault_call *call, struct error *err)
{
    for (bool is_again = false;; is_again = true) {
        CLEANUP(secret_release) struct secret token = SECRET_INIT;
        struct error first = { .code = 0 };
        uint64_t number = 0;
        int r = vault_login_token(vault->config.login, &token, &number, err);

        if (r < 0)
            return r;
        call->token = &token;
        r = vault_client_ask(&vault->client, call, &first);
        call->token = NULL;
        if (r == 0)
            return 0;
        bool is_refused = vault_is_token_refused(buf_bytes(&call->response->body));
        if (is_again || !is_refused || !vault_login_refused(vault->config.login, number))
            return error_set(err, r, "%s", first.text);
    }
}

static void make_path(char ret[static VAULT_PATH_SIZE], const struct key_place *place,
                      const char *what)
{
    (void)snprintf(ret, VAULT_PATH_SIZE, "%s/%s/%s", place->mount_path, what, place->key_name);
}

static struct key_place configured_place(const struct vault_provider *vault)
{
    return (struct key_place){ .kms_namespace = vault->config.kms_namespace,
                               .mount_path = vault->config.mount_path,
                               .key_name = vault->config.key_name };
}

static struct key_place wrapped_place(const struct wrapped_key *wrapped)
{
    return (struct key_place){ .kms_namespace = wrapped->kms_namespace,
                               .mount_path =
                                   wrapped->mount_path[0] ? wrapped->mount_path : DEFAULT_MOUNT,
                               .key_name = wrapped->key_name };
}

static bool same_place(const struct key_place *a, const struct key_place *b)
{
    return strcmp(a->kms_namespace, b->kms_namespace) == 0 &&
           strcmp(a->mount_path, b->mount_path) == 0 && strcmp(a->key_name, b->key_name) == 0;
}

/* ------------------------------------------------------------------ describe, wrap */

static int read_key(struct vault_provider *vault, struct vault_key *ret, struct error *err)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    const struct key_place place = configured_place(vault);
    char path[VAULT_PATH_SIZE];

    make_path(path, &place, "keys");
    struct vault_call call = call_of(&place, "GET", path, &response);
    int r = ask(vault, &call, err);
    if (r < 0)
        return r;
    r = vault_read_key(buf_bytes(&response.body), ret, err);
    return r < 0 ? error_prefix(err, r, "the key '%s'", place.key_name) : 0;
}

/* What runs there is nice to know; that it does not say is no failure. */
static void read_server(struct vault_provider *vault, struct key_description *ret)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    const struct key_place place = configured_place(vault);
    struct vault_call call =
        call_of(&place, "GET", "sys/health?standbyok=true&perfstandbyok=true", &response);

    call.kms_namespace = ""; /* others than the root do not have it */
    if (vault_client_ask(&vault->client, &call, NULL) == 0)
        vault_read_server(buf_bytes(&response.body), ret->server, sizeof(ret->server));
}

static int vault_describe(struct key_provider *provider, struct key_description *ret,
                          struct error *err)
{
    struct key_description description = { .state = "active" };
    struct vault_key key;
    int r = read_key(vault_provider(provider), &key, err);

    if (r < 0)
        return r;
    memcpy(description.algorithm, key.type, sizeof(description.algorithm));
    description.latest_version = key.latest_version;
    description.min_decrypt_version = key.min_decrypt_version;
    read_server(vault_provider(provider), &description);
    *ret = description;
    return 0;
}

/* {"<name>":"<text>"}; the text may be secret. */
static int one_member(const char *name, const char *text, size_t len, struct buf *ret)
{
    CLEANUP(json_freep) json_t *object = json_object();

    if (!object || json_object_set_new(object, name, json_stringn(text, len)) < 0)
        return -ENOMEM;
    return json_write(object, ret);
}

static int wrap_body(struct bytes plain, struct buf *ret)
{
    char text[BASE64_SIZE(WRAPPED_BLOB_MAX)];

    assert(plain.len <= WRAPPED_BLOB_MAX);
    base64_encode(plain, text);
    int r = one_member("plaintext", text, strlen(text), ret);
    memory_wipe(text, sizeof(text));
    return r;
}

/* What unwrapping a blob of the configured key will need, but for the blob. */
static void describe_wrapped(const struct vault_provider *vault, struct wrapped_key *ret)
{
    *ret = (struct wrapped_key){ .provider = TYPE_NAME, .mode = WRAP_MODE_SERVER };
    memcpy(ret->addresses, vault->config.addresses, sizeof(ret->addresses));
    memcpy(ret->kms_namespace, vault->config.kms_namespace, sizeof(ret->kms_namespace));
    memcpy(ret->mount_path, vault->config.mount_path, sizeof(ret->mount_path));
    memcpy(ret->key_name, vault->config.key_name, sizeof(ret->key_name));
}

/* Asks encrypt or rewrap. */
static int ask_ciphertext(struct vault_provider *vault, const char *what, struct bytes body,
                          struct wrapped_key *ret, struct error *err)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    const struct key_place place = configured_place(vault);
    char path[VAULT_PATH_SIZE];

    make_path(path, &place, what);
    struct vault_call call = call_of(&place, "POST", path, &response);
    call.body = body;
    int r = ask(vault, &call, err);
    if (r < 0)
        return r;
    describe_wrapped(vault, ret);
    return vault_read_ciphertext(buf_bytes(&response.body), ret, err);
}

/* A version below the one just read means that the key was deleted and made anew in between. */
static int check_version(const struct vault_provider *vault, const struct vault_key *key,
                         const struct wrapped_key *wrapped, struct error *err)
{
    if (wrapped->key_version == 0 || wrapped->key_version >= key->latest_version)
        return 0;
    return error_set(err, -EPROTO,
                     "the key '%s' had version %u and then wrapped with version %u: it was "
                     "replaced; look into the key server's log",
                     vault->config.key_name, key->latest_version, wrapped->key_version);
}

static int vault_wrap(struct key_provider *provider, struct bytes plain, struct wrapped_key *ret,
                      struct error *err)
{
    struct vault_provider *vault = vault_provider(provider);
    CLEANUP(buf_wipe) struct buf body = BUF_INIT;
    struct wrapped_key wrapped;
    struct vault_key key;

    int r = read_key(vault, &key, err);
    if (r < 0)
        return r;
    r = wrap_body(plain, &body);
    if (r < 0)
        return error_set(err, r, "not enough memory to wrap a key");
    r = ask_ciphertext(vault, "encrypt", buf_bytes(&body), &wrapped, err);
    if (r == 0)
        r = check_version(vault, &key, &wrapped, err);
    if (r == 0)
        *ret = wrapped;
    return r;
}

/* ------------------------------------------------------------------ unwrap */

/* Those of a batch: all of one place. */
struct batch {
    struct key_place place;
    size_t count;
    const struct wrapped_key *wrapped[BATCH_MAX];
    size_t indexes[BATCH_MAX]; /* in the caller's array */
};

static json_t *blob_item(const struct wrapped_key *wrapped)
{
    json_t *item = json_object();

    if (item &&
        json_object_set_new(item, "ciphertext",
                            json_stringn((const char *)wrapped->blob, wrapped->blob_len)) < 0) {
        json_decref(item);
        return NULL;
    }
    return item;
}

static int batch_body(const struct batch *batch, struct buf *ret)
{
    CLEANUP(json_freep) json_t *object = json_object();
    json_t *list = json_array();

    if (!object || json_object_set_new(object, "batch_input", list) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < batch->count; i++)
        if (json_array_append_new(list, blob_item(batch->wrapped[i])) < 0)
            return -ENOMEM;
    return json_write(object, ret);
}

static int unwrap_one(struct vault_provider *vault, const struct key_place *place,
                      const struct wrapped_key *wrapped, struct secret *ret, struct error *err)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    CLEANUP(buf_release) struct buf body = BUF_INIT;
    char path[VAULT_PATH_SIZE];

    int r = one_member("ciphertext", (const char *)wrapped->blob, wrapped->blob_len, &body);
    if (r < 0)
        return error_set(err, -EBADMSG, "the wrapped key is not text that Vault made");
    make_path(path, place, "decrypt");
    struct vault_call call = call_of(place, "POST", path, &response);
    call.body = buf_bytes(&body);
    r = ask(vault, &call, err);
    return r < 0 ? r : vault_read_plaintext(buf_bytes(&response.body), ret, err);
}

static int unwrap_each(struct vault_provider *vault, const struct batch *batch,
                       struct secret *ret_plain, size_t *ret_failed, struct error *err)
{
    for (size_t i = 0; i < batch->count; i++) {
        int r = unwrap_one(vault, &batch->place, batch->wrapped[i], &ret_plain[i], err);
        if (r < 0) {
            *ret_failed = i;
            return r;
        }
    }
    return 0;
}

/* ret_plain has room for batch->count. */
static int unwrap_batch(struct vault_provider *vault, const struct batch *batch,
                        struct secret *ret_plain, size_t *ret_failed, struct error *err)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    CLEANUP(buf_release) struct buf body = BUF_INIT;
    char path[VAULT_PATH_SIZE];

    *ret_failed = batch->count;
    int r = check_place(&batch->place, err);
    if (r < 0)
        return r;
    if (batch->count == 1 || batch_body(batch, &body) < 0)
        return unwrap_each(vault, batch, ret_plain, ret_failed, err);
    make_path(path, &batch->place, "decrypt");
    struct vault_call call = call_of(&batch->place, "POST", path, &response);
    call.body = buf_bytes(&body);
    call.accepts_batch = true;
    r = ask(vault, &call, err);
    /* Vault 1.6 to 1.9 fail the whole request for one bad blob: find out which. */
    if (r == -EBADMSG)
        return unwrap_each(vault, batch, ret_plain, ret_failed, err);
    if (r < 0)
        return r;
    const struct vault_question question = { .address = vault->config.addresses,
                                             .path = path,
                                             .key_name = batch->place.key_name,
                                             .kms_namespace = batch->place.kms_namespace };
    return vault_read_batch(&question, buf_bytes(&response.body), batch->count, ret_plain,
                            ret_failed, err);
}

/* Collects what is not done yet and of the same place as the first such; false: all is done. */
static bool next_batch(const struct wrapped_key *wrapped, const struct secret *plain, size_t count,
                       struct batch *ret)
{
    ret->count = 0;
    for (size_t i = 0; i < count && ret->count < BATCH_MAX; i++) {
        struct key_place place = wrapped_place(&wrapped[i]);
        if (plain[i].data)
            continue;
        if (ret->count == 0)
            ret->place = place;
        if (!same_place(&ret->place, &place))
            continue;
        ret->wrapped[ret->count] = &wrapped[i];
        ret->indexes[ret->count++] = i;
    }
    return ret->count > 0;
}

static int unwrap_into(struct vault_provider *vault, const struct batch *batch,
                       struct secret *ret_plain, size_t count, struct error *err)
{
    struct secret plain[BATCH_MAX] = { 0 };
    size_t failed;
    int r = unwrap_batch(vault, batch, plain, &failed, err);

    for (size_t i = 0; i < batch->count; i++) {
        if (r == 0)
            secret_move(&ret_plain[batch->indexes[i]], &plain[i]);
        else
            secret_release(&plain[i]);
    }
    if (r < 0 && failed < batch->count && count > 1)
        return error_prefix(err, r, "wrapped key %zu of %zu", batch->indexes[failed] + 1, count);
    return r;
}

static int vault_unwrap(struct key_provider *provider, const struct wrapped_key *wrapped,
                        size_t count, struct secret *ret_plain, struct error *err)
{
    struct batch batch;
    int r = 0;

    while (r == 0 && next_batch(wrapped, ret_plain, count, &batch))
        r = unwrap_into(vault_provider(provider), &batch, ret_plain, count, err);
    for (size_t i = 0; r < 0 && i < count; i++)
        secret_release(&ret_plain[i]);
    return r;
}

/* ------------------------------------------------------------------ rewrap */

static int rewrap_one(struct vault_provider *vault, const struct wrapped_key *old,
                      struct wrapped_key *ret, struct error *err)
{
    CLEANUP(buf_release) struct buf body = BUF_INIT;

    if (one_member("ciphertext", (const char *)old->blob, old->blob_len, &body) < 0)
        return error_set(err, -EBADMSG, "the wrapped key is not text that Vault made");
    return ask_ciphertext(vault, "rewrap", buf_bytes(&body), ret, err);
}

static int rewrap_each(struct vault_provider *vault, const struct batch *batch,
                       struct wrapped_key *ret, struct error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < batch->count; i++)
        r = rewrap_one(vault, batch->wrapped[i], &ret[i], err);
    return r;
}

/* ret has room for batch->count; all are of the configured key. */
static int rewrap_batch(struct vault_provider *vault, const struct batch *batch,
                        struct wrapped_key *ret, struct error *err)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    CLEANUP(buf_release) struct buf body = BUF_INIT;
    char path[VAULT_PATH_SIZE];
    size_t failed;

    if (batch->count == 1 || batch_body(batch, &body) < 0)
        return rewrap_each(vault, batch, ret, err);
    make_path(path, &batch->place, "rewrap");
    struct vault_call call = call_of(&batch->place, "POST", path, &response);
    call.body = buf_bytes(&body);
    call.accepts_batch = true;
    int r = ask(vault, &call, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < batch->count; i++)
        describe_wrapped(vault, &ret[i]);
    const struct vault_question question = { .address = vault->config.addresses,
                                             .path = path,
                                             .key_name = batch->place.key_name,
                                             .kms_namespace = batch->place.kms_namespace };
    return vault_read_ciphertexts(&question, buf_bytes(&response.body), batch->count, ret, &failed,
                                  err);
}

static int rewrap_into(struct vault_provider *vault, const struct vault_key *key,
                       const struct batch *batch, struct wrapped_key *ret, struct error *err)
{
    CLEANUP(free_ptr) struct wrapped_key *made = calloc(batch->count + 1, sizeof(*made));
    int r = made ? rewrap_batch(vault, batch, made, err)
                 : error_set(err, -ENOMEM, "not enough memory to wrap keys anew");

    for (size_t i = 0; r == 0 && i < batch->count; i++) {
        r = check_version(vault, key, &made[i], err);
        ret[batch->indexes[i]] = made[i];
    }
    return r;
}

/* Of another key of this server: the plaintext must come here. */
static int rewrap_foreign(struct key_provider *provider, const struct wrapped_key *old,
                          struct wrapped_key *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    int r = vault_unwrap(provider, old, 1, &plain, err);

    return r < 0 ? r : vault_wrap(provider, secret_bytes(&plain), ret, err);
}

static int vault_rewrap(struct key_provider *provider, const struct wrapped_key *old, size_t count,
                        struct wrapped_key *ret, struct error *err)
{
    struct vault_provider *vault = vault_provider(provider);
    struct batch batch = { .place = configured_place(vault) };
    struct vault_key key;
    int r = read_key(vault, &key, err);

    for (size_t i = 0; r == 0 && i < count; i++) {
        const struct key_place from = wrapped_place(&old[i]);
        if (!same_place(&from, &batch.place)) {
            r = rewrap_foreign(provider, &old[i], &ret[i], err);
            continue;
        }
        batch.wrapped[batch.count] = &old[i];
        batch.indexes[batch.count++] = i;
        if (batch.count < BATCH_MAX)
            continue;
        r = rewrap_into(vault, &key, &batch, ret, err);
        batch.count = 0;
    }
    return r == 0 && batch.count > 0 ? rewrap_into(vault, &key, &batch, ret, err) : r;
}

static bool vault_is_configured_key(const struct key_provider *provider,
                                    const struct wrapped_key *wrapped)
{
    const struct key_place from = wrapped_place(wrapped);
    const struct key_place to = configured_place((const struct vault_provider *)provider);

    return same_place(&from, &to);
}

/* ------------------------------------------------------------------ check */

static void check_vault(struct key_provider *provider, struct kms_check *check)
{
    struct vault_provider *vault = vault_provider(provider);
    const struct vault_checked checked = { .provider = provider,
                                           .client = &vault->client,
                                           .config = &vault->config,
                                           .login = vault->config.login };

    vault_check(&checked, check);
}

static void advise_vault(const struct key_provider *provider, int r, struct kms_check *check)
{
    vault_advise(&((const struct vault_provider *)provider)->config, r, check);
}

/* ------------------------------------------------------------------ open, close */

static void vault_close(struct key_provider *provider)
{
    struct vault_provider *vault = vault_provider(provider);

    vault_client_release(&vault->client);
    key_provider_config_release(&vault->config);
    free(vault);
}

static void vault_freep(struct vault_provider **vault)
{
    if (*vault)
        vault_close(&(*vault)->base);
}

static const struct key_provider_ops vault_ops = {
    .type = TYPE_NAME,
    .describe = vault_describe,
    .wrap = vault_wrap,
    .unwrap = vault_unwrap,
    .rewrap = vault_rewrap,
    .check = check_vault,
    .advise = advise_vault,
    .is_configured_key = vault_is_configured_key,
    .close = vault_close,
};

/* The forms that people write, made one: no slash at the end, the default path filled in. */
static void normalise(struct key_provider_config *config)
{
    vault_strip_slashes(config->kms_namespace);
    vault_strip_slashes(config->mount_path);
    if (config->mount_path[0] == '\0')
        memcpy(config->mount_path, DEFAULT_MOUNT, sizeof(DEFAULT_MOUNT));
}

int vault_provider_open(const struct key_provider_config *config, struct key_provider **ret,
                        struct error *err)
{
    CLEANUP(vault_freep) struct vault_provider *vault = calloc(1, sizeof(*vault));

    if (!vault || key_provider_config_copy(&vault->config, config) < 0)
        return error_set(err, -ENOMEM, "not enough memory for the connection to Vault");
    vault->base.ops = &vault_ops;
    normalise(&vault->config);
    const struct key_place place = configured_place(vault);
    const struct vault_client_options options = {
        .addresses = vault->config.addresses,
        .allows_insecure_http = vault->config.allows_insecure_http,
        .ca_cert_pem = buf_bytes(&vault->config.ca_cert_pem),
    };
    int r = check_place(&place, err);
    if (r == 0)
        r = vault_client_init(&vault->client, &options, err);
    if (r == 0)
        r = key_provider_config_share_login(&vault->config, err);
    if (r == 0)
        *ret = &TAKE(vault)->base;
    return r;
}
