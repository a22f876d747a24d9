/* kms.c - /api/v1/kms: the key server's configuration. What logs in to it never comes out. */
#include <errno.h>
#include <string.h>

#include "api/query.h"
#include "api/routes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "net/json.h"

static json_t *addresses_json(const char *addresses)
{
    json_t *array = json_array();

    while (*addresses) {
        size_t len = strcspn(addresses, ",");
        if (len > 0)
            (void)json_array_append_new(array, json_stringn(addresses, len));
        addresses += len;
        addresses += *addresses == ',';
    }
    return array;
}

/* How long the token lives, and what becomes of it; NULL: there is none, or nothing is known. */
static json_t *token_json(const struct kms_status *status)
{
    const struct key_login_status *login = &status->login;
    int64_t left_s = (login->ends_ms - clock_monotonic_ms()) / 1000;

    if (!login->is_known)
        return NULL;
    if (!login->has_end)
        return json_pack("{s:b}", "ends", 0);
    return json_pack("{s:b,s:I,s:I,s:b,s:s}", "ends", 1, "seconds_left",
                     (json_int_t)(left_s > 0 ? left_s : 0), "life_seconds",
                     (json_int_t)(login->life_ms / 1000), "renewed", (int)login->is_kept,
                     "obstacle", login->obstacle);
}

/* NULL: it does not end, or that is not known. */
static json_t *secret_id_json(const struct key_login_status *login)
{
    int64_t left_s = login->secret_until_s - clock_wall_ns() / 1000000000;

    return login->secret_until_s == 0 ? NULL : json_integer(left_s > 0 ? left_s : 0);
}

static json_t *status_json(const struct kms_status *status)
{
    if (!status->is_configured && status->error_code == 0)
        return json_pack("{s:b}", "configured", 0);
    if (!status->is_configured)
        return json_pack("{s:b,s:s}", "configured", 0, "error", status->error);
    return json_pack(
        "{s:b,s:s,s:o,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o*,s:o*,s:I,s:s,s:s,s:s,s:b,s:b,s:s}",
        "configured", 1, "type", status->type, "addresses", addresses_json(status->addresses),
        "key", status->key_name, "namespace", status->kms_namespace, "transit_path",
        status->mount_path, "auth_method", status->auth_method, "auth_path", status->auth_path,
        "role", status->role, "username", status->username, "cipher_mode", status->cipher_mode,
        "token", token_json(status), "secret_id_seconds_left", secret_id_json(&status->login),
        "key_version", (json_int_t)status->key.latest_version, "key_state", status->key.state,
        "algorithm", status->key.algorithm, "server", status->key.server, "insecure_http",
        (int)status->is_insecure, "reachable", (int)status->is_reachable, "error", status->error);
}

json_t *api_unneeded_json(struct control *control)
{
    CLEANUP(free_ptr) struct rewrap_key *keys = NULL;
    char as_of[API_TIME_SIZE];
    int64_t as_of_ns = 0;
    size_t count = 0;

    if (control_unneeded_keys(control, &keys, &count, &as_of_ns, NULL) < 0)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(list,
                                    json_pack("{s:s,s:s,s:I}", "type", keys[i].type, "key",
                                              keys[i].key, "version", (json_int_t)keys[i].version));
    api_time_text(as_of_ns, as_of);
    return json_pack("{s:s,s:o}", "as_of", as_of, "keys", list);
}

json_t *api_kms_json(struct control *control)
{
    struct kms_status status = { .is_configured = false };

    control_kms_status(control, &status);
    json_t *body = status_json(&status);
    json_t *unneeded = api_unneeded_json(control);
    if (body && unneeded)
        (void)json_object_set(body, "unneeded", unneeded);
    json_decref(unneeded);
    return body;
}

int api_get_kms(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    ret->body = api_kms_json(request->context->control);
    return api_reply_end(ret, err);
}

static int get_pem(const json_t *body, const char *name, struct buf *ret, struct error *err)
{
    const char *text = NULL;
    int r = json_get_text(body, name, JSON_OPTIONAL, &text, err);

    if (r < 0 || !text)
        return r;
    struct bytes bytes = { .data = (const uint8_t *)text, .len = strlen(text) };
    r = buf_assign(ret, bytes);
    return r < 0 ? error_set(err, r, "out of memory for %s", name) : 0;
}

static int get_texts(const json_t *body, struct key_provider_config *ret, struct error *err)
{
    const struct {
        const char *name;
        enum json_need need;
        char *to;
        size_t size;
    } texts[] = {
        { "type", JSON_REQUIRED, ret->type, sizeof(ret->type) },
        { "address", JSON_REQUIRED, ret->addresses, sizeof(ret->addresses) },
        { "key", JSON_REQUIRED, ret->key_name, sizeof(ret->key_name) },
        { "namespace", JSON_OPTIONAL, ret->kms_namespace, sizeof(ret->kms_namespace) },
        { "transit_path", JSON_OPTIONAL, ret->mount_path, sizeof(ret->mount_path) },
        { "auth_path", JSON_OPTIONAL, ret->auth_path, sizeof(ret->auth_path) },
        { "role_id", JSON_OPTIONAL, ret->role_id, sizeof(ret->role_id) },
        { "kubernetes_role", JSON_OPTIONAL, ret->kubernetes_role, sizeof(ret->kubernetes_role) },
        { "kubernetes_token_path", JSON_OPTIONAL, ret->kubernetes_token_path,
          sizeof(ret->kubernetes_token_path) },
        { "username", JSON_OPTIONAL, ret->username, sizeof(ret->username) },
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int r = json_get_line(body, texts[i].name, texts[i].need, texts[i].to, texts[i].size, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static bool is_given(const json_t *body, const char *name)
{
    const json_t *member = json_object_get(body, name);

    return member && !json_is_null(member) && !json_is_false(member) &&
           !(json_is_string(member) && json_string_length(member) == 0);
}

/* What belongs to the other type is a mistake, not something to be forgotten silently. */
static int check_members(const json_t *body, const char *type, struct error *err)
{
    static const char *const of_vault[] = { "token",         "role_id",
                                            "secret_id",     "kubernetes_role",
                                            "auth_path",     "kubernetes_token_path",
                                            "namespace",     "transit_path",
                                            "insecure_http", "no_token_renewal" };
    static const char *const of_kmip[] = { "client_cert", "client_key", "username", "password",
                                           "cipher_mode" };
    bool is_vault = strcmp(type, "vault") == 0;
    const char *const *others = is_vault ? of_kmip : of_vault;
    size_t count =
        is_vault ? sizeof(of_kmip) / sizeof(of_kmip[0]) : sizeof(of_vault) / sizeof(of_vault[0]);

    for (size_t i = 0; i < count; i++)
        if (is_given(body, others[i]))
            return error_set(err, -EINVAL, "\"%s\" is not for a KMS of type %s; leave it out",
                             others[i], type);
    if (is_vault && is_given(body, "ca_cert"))
        return error_set(err, -EINVAL,
                         "the CA of a vault is set for the whole instance (PUT /api/v1/ca-cert, "
                         "coffer security ca-cert set), not with the KMS");
    return 0;
}

static int get_mode(const json_t *body, bool *ret_uses_gcm, struct error *err)
{
    const char *text = NULL;
    int r = json_get_text(body, "cipher_mode", JSON_OPTIONAL, &text, err);

    if (r < 0 || !text)
        return r;
    if (strcmp(text, "cbc") != 0 && strcmp(text, "gcm") != 0)
        return error_set(err, -EINVAL, "\"cipher_mode\" is cbc or gcm, not '%s'", text);
    *ret_uses_gcm = strcmp(text, "gcm") == 0;
    return 0;
}

static int get_secrets(const json_t *body, struct key_provider_config *ret, struct error *err)
{
    const struct {
        const char *name;
        struct secret *to;
    } secrets[] = {
        { "client_key", &ret->client_key_pem },
        { "token", &ret->token },
        { "secret_id", &ret->secret_id },
        { "password", &ret->password },
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(secrets) / sizeof(secrets[0]); i++)
        r = json_get_secret(body, secrets[i].name, JSON_OPTIONAL, secrets[i].to, err);
    return r;
}

int api_get_kms_config(const json_t *body, struct key_provider_config *ret, struct error *err)
{
    int r = get_texts(body, ret, err);

    if (r == 0 && strcmp(ret->type, "vault") != 0 && strcmp(ret->type, "kmip") != 0)
        r = error_set(err, -EINVAL, "the type of a KMS is vault or kmip, not '%s'", ret->type);
    if (r == 0)
        r = check_members(body, ret->type, err);
    if (r == 0)
        r = get_pem(body, "client_cert", &ret->client_cert_pem, err);
    if (r == 0)
        r = get_pem(body, "ca_cert", &ret->ca_cert_pem, err);
    if (r == 0)
        r = get_secrets(body, ret, err);
    if (r == 0)
        r = get_mode(body, &ret->uses_gcm, err);
    if (r == 0)
        r = json_get_bool(body, "no_token_renewal", JSON_OPTIONAL, &ret->leaves_renewal, err);
    if (r == 0)
        r = json_get_bool(body, "insecure_http", JSON_OPTIONAL, &ret->allows_insecure_http, err);
    return r;
}

/* A user of this host can read his own files; over the network, one could have any file of the host
 * sent to a server of his. */
int api_check_kms_paths(const struct api_request *request, const json_t *body, struct error *err)
{
    if (request->caller->is_local || !is_given(body, "kubernetes_token_path"))
        return 0;
    return error_set(err, -EPERM,
                     "\"kubernetes_token_path\" names a file of cofferd's host; set it there "
                     "(coffer security kms set)");
}

json_t *api_keys_left_json(const struct kms_set_report *report)
{
    json_t *list = json_array();

    for (size_t i = 0; i < report->left_count; i++)
        (void)json_array_append_new(list, json_pack("{s:s,s:s}", "filesystem", report->left[i].name,
                                                    "text", report->left[i].text));
    return list;
}

int api_put_kms(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    struct kms_status status = { .is_configured = false };
    CLEANUP(kms_set_report_release) struct kms_set_report report = { .rewrapped = 0 };
    struct kms_set_options options = { .config = &config };
    int r = api_get_kms_config(request->body, &config, err);

    if (r == 0)
        r = api_check_kms_paths(request, request->body, err);
    if (r == 0)
        r = json_get_bool(request->body, "convert_to_cluster_key", JSON_OPTIONAL, &options.converts,
                          err);
    if (r == 0)
        r = control_kms_complete(request->context->control, &config, err);
    if (r == 0)
        r = control_kms_set(request->context->control, &options, &status, &report, err);
    if (r < 0)
        return r;
    ret->body = status_json(&status);
    if (ret->body) {
        (void)json_object_set_new(ret->body, "rewrapped",
                                  json_integer((json_int_t)report.rewrapped));
        (void)json_object_set_new(ret->body, "keys_left", api_keys_left_json(&report));
        (void)json_object_set_new(ret->body, "warnings",
                                  api_kms_warnings(request->context->control));
    }
    return api_reply_end(ret, err);
}
