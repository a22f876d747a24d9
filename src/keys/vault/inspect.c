#include "keys/vault/inspect.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/json.h"

static int no_sense(int r, struct error *err)
{
    return r == -ENOMEM ? r : error_prefix(err, -EPROTO, "the key server's answer makes no sense");
}

static int parse_data(struct bytes body, json_t **ret_object, json_t **ret_data, struct error *err)
{
    int r = json_parse_object(body, ret_object, err);

    if (r == 0)
        r = json_get_object(*ret_object, "data", JSON_REQUIRED, ret_data, err);
    return r < 0 ? no_sense(r, err) : 0;
}

int vault_read_health(struct bytes body, struct vault_health *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    struct vault_health health = { .version = "" };

    int r = json_parse_object(body, &object, err);
    if (r == 0)
        r = json_get_bool(object, "initialized", JSON_REQUIRED, &health.is_initialized, err);
    if (r == 0)
        r = json_get_bool(object, "sealed", JSON_REQUIRED, &health.is_sealed, err);
    if (r == 0)
        r = json_get_bool(object, "standby", JSON_OPTIONAL, &health.is_standby, err);
    if (r == 0)
        r = json_get_line(object, "version", JSON_OPTIONAL, health.version, sizeof(health.version),
                          err);
    if (r < 0)
        return no_sense(r, err);
    *ret = health;
    return 0;
}

static bool has_root_policy(const json_t *data)
{
    size_t i;
    json_t *policy;

    json_array_foreach(json_object_get(data, "policies"), i, policy)
    {
        if (json_is_string(policy) && strcmp(json_string_value(policy), "root") == 0)
            return true;
    }
    return false;
}

/* What is longer than this many seconds is no life of a token. */
static bool is_span(int64_t seconds)
{
    return seconds >= 0 && seconds <= 100LL * 366 * 24 * 3600;
}

int vault_read_token(struct bytes body, struct vault_token *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    struct vault_token token = { .ttl_s = 0 };
    int64_t created_s = 0, longest_s = 0;
    json_t *data = NULL;

    int r = parse_data(body, &object, &data, err);
    if (r < 0)
        return r;
    r = json_get_integer(data, "ttl", JSON_REQUIRED, &token.ttl_s, err);
    if (r == 0)
        r = json_get_integer(data, "creation_ttl", JSON_OPTIONAL, &token.creation_ttl_s, err);
    if (r == 0)
        r = json_get_integer(data, "creation_time", JSON_OPTIONAL, &created_s, err);
    if (r == 0)
        r = json_get_integer(data, "explicit_max_ttl", JSON_OPTIONAL, &longest_s, err);
    if (r == 0)
        r = json_get_integer(data, "num_uses", JSON_OPTIONAL, &token.uses, err);
    if (r == 0)
        r = json_get_bool(data, "renewable", JSON_OPTIONAL, &token.is_renewable, err);
    if (r == 0 && (!is_span(token.ttl_s) || !is_span(token.creation_ttl_s)))
        r = error_set(err, -EINVAL, "\"ttl\" is out of range");
    if (r < 0)
        return no_sense(r, err);
    /* One without an end has no time of it; also in its last second it has 0 left. */
    token.has_end = token.ttl_s > 0 || json_is_string(json_object_get(data, "expire_time"));
    token.is_root = has_root_policy(data);
    token.has_parent = json_is_false(json_object_get(data, "orphan"));
    bool has_end = created_s > 0 && longest_s > 0 && longest_s < INT64_MAX - created_s;
    token.ends_s = has_end ? created_s + longest_s : 0;
    *ret = token;
    return 0;
}

bool vault_is_token_refused(struct bytes body)
{
    CLEANUP(json_freep) json_t *object = NULL;

    if (json_parse_object(body, &object, NULL) < 0)
        return false;
    const char *text = json_string_value(json_array_get(json_object_get(object, "errors"), 0));
    /* What a policy denies is framed ("1 error occurred: ..."); 1.17 adds the second form. */
    return text && (strcmp(text, "permission denied") == 0 || strstr(text, "invalid token") ||
                    strstr(text, "missing client token"));
}

static unsigned capability_of(const char *word)
{
    static const struct {
        const char *word;
        unsigned bits;
    } known[] = {
        { "create", VAULT_MAY_CREATE }, { "read", VAULT_MAY_READ }, { "update", VAULT_MAY_UPDATE },
        { "delete", VAULT_MAY_DELETE }, { "root", VAULT_MAY_ALL },
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(word, known[i].word) == 0)
            return known[i].bits;
    return 0;
}

int vault_read_capabilities(struct bytes body, const char *path, unsigned *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    unsigned bits = 0;
    size_t i;
    json_t *word;

    int r = json_parse_object(body, &object, err);
    if (r < 0)
        return no_sense(r, err);
    const json_t *list = json_object_get(json_object_get(object, "data"), path);
    if (!list)
        list = json_object_get(object, path);
    if (!json_is_array(list))
        return error_set(err, -ENOENT, "the key server says nothing of '%s'", path);
    json_array_foreach(list, i, word)
    {
        if (json_is_string(word))
            bits |= capability_of(json_string_value(word));
    }
    *ret = bits;
    return 0;
}

int vault_read_key_settings(struct bytes body, struct vault_key_settings *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    struct vault_key_settings settings = { .is_exportable = false };
    json_t *data = NULL;

    int r = parse_data(body, &object, &data, err);
    if (r < 0)
        return r;
    r = json_get_bool(data, "deletion_allowed", JSON_OPTIONAL, &settings.is_deletion_allowed, err);
    if (r == 0)
        r = json_get_bool(data, "exportable", JSON_OPTIONAL, &settings.is_exportable, err);
    if (r == 0)
        r = json_get_bool(data, "allow_plaintext_backup", JSON_OPTIONAL,
                          &settings.has_plaintext_backup, err);
    if (r < 0)
        return no_sense(r, err);
    *ret = settings;
    return 0;
}
