#include "keys/vault/token_answers.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "net/json.h"

#define LIFE_MAX_S (100LL * 366 * 24 * 3600) /* what is longer is not a time */

/* That it is not said, or no name, is no failure: it is of use for a further question only. */
static void read_role_name(const json_t *auth, struct vault_token_facts *ret)
{
    const json_t *metadata = json_object_get(auth, "metadata");

    if (json_is_object(metadata) && json_get_line(metadata, "role_name", JSON_OPTIONAL,
                                                  ret->role_name, sizeof(ret->role_name), NULL) < 0)
        ret->role_name[0] = '\0';
}

static int read_facts(const json_t *auth, struct vault_token_facts *ret, struct error *err)
{
    char type[16] = "";
    int64_t uses = 0;
    int r = json_get_integer(auth, "lease_duration", JSON_REQUIRED, &ret->left_s, err);

    if (r == 0 && (ret->left_s < 0 || ret->left_s > LIFE_MAX_S))
        r = error_set(err, -EINVAL, "\"lease_duration\" is out of range");
    if (r == 0)
        r = json_get_bool(auth, "renewable", JSON_OPTIONAL, &ret->is_renewable, err);
    if (r == 0)
        r = json_get_line(auth, "token_type", JSON_OPTIONAL, type, sizeof(type), err);
    if (r == 0)
        r = json_get_integer(auth, "num_uses", JSON_OPTIONAL, &uses, err);
    ret->life_s = ret->left_s;
    ret->has_end = ret->left_s > 0;
    ret->is_batch = strcmp(type, "batch") == 0;
    ret->is_limited = uses != 0;
    read_role_name(auth, ret);
    return r;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "Z", "+02:00", "-05:30". */
static bool read_zone(const char *text, int64_t *ret_s)
{
    *ret_s = 0;
    if (strcmp(text, "Z") == 0)
        return true;
    if ((*text != '+' && *text != '-') || strlen(text) != strlen("+hh:mm") || !is_digit(text[1]) ||
        !is_digit(text[2]) || text[3] != ':' || !is_digit(text[4]) || !is_digit(text[5]))
        return false;
    int hours = (text[1] - '0') * 10 + text[2] - '0';
    int minutes = (text[4] - '0') * 10 + text[5] - '0';
    int64_t seconds = (int64_t)(hours * 60 + minutes) * 60;
    *ret_s = *text == '+' ? seconds : -seconds;
    return true;
}

/* As RFC 3339 writes it; seconds since 1970, 0 for what was before. */
static bool read_time(const char *text, int64_t *ret_s)
{
    struct tm parts = { .tm_year = 0 };
    int64_t zone_s = 0;
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);

    if (!rest)
        return false;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (!read_zone(rest, &zone_s))
        return false;
    int64_t seconds = timegm(&parts) - zone_s;
    *ret_s = seconds > 0 ? seconds : 0;
    return true;
}

int vault_read_secret_id(struct bytes body, struct vault_secret_id_facts *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    struct vault_secret_id_facts facts = { .ends_s = 0 };
    json_t *data = NULL;
    const char *ends = "";
    int r = json_parse_object(body, &object, err);

    if (r == 0)
        r = json_get_object(object, "data", JSON_REQUIRED, &data, err);
    if (r == 0)
        r = json_get_text(data, "expiration_time", JSON_REQUIRED, &ends, err);
    if (r == 0)
        r = json_get_integer(data, "secret_id_ttl", JSON_OPTIONAL, &facts.life_s, err);
    if (r == 0 && (facts.life_s < 0 || facts.life_s > LIFE_MAX_S))
        r = error_set(err, -EINVAL, "\"secret_id_ttl\" is out of range");
    if (r == 0 && !read_time(ends, &facts.ends_s))
        r = error_set(err, -EINVAL, "\"expiration_time\" is not a time");
    if (r < 0)
        return r == -ENOMEM ? r
                            : error_prefix(err, -EPROTO, "the key server's answer makes no sense");
    *ret = facts;
    return 0;
}

int vault_read_auth(struct bytes body, struct vault_token_facts *ret, struct secret *ret_token,
                    struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    CLEANUP(secret_release) struct secret token = SECRET_INIT;
    struct vault_token_facts facts = { .left_s = 0 };
    json_t *auth = NULL;
    int r = json_parse_object(body, &object, err);

    if (r == 0)
        r = json_get_object(object, "auth", JSON_REQUIRED, &auth, err);
    if (r == 0)
        r = read_facts(auth, &facts, err);
    if (r == 0 && ret_token)
        r = json_get_secret(auth, "client_token", JSON_REQUIRED, &token, err);
    if (r == 0 && ret_token)
        r = vault_check_token(&token, "the token that the server gave", err);
    if (r < 0)
        return r == -ENOMEM ? r
                            : error_prefix(err, -EPROTO, "the key server's answer makes no sense");
    *ret = facts;
    if (ret_token)
        secret_move(ret_token, &token);
    return 0;
}

int vault_check_token(const struct secret *token, const char *what, struct error *err)
{
    if (token->len == 0 || token->len > VAULT_TOKEN_MAX)
        return error_set(err, -EINVAL, "%s is not of 1 to %u bytes", what, VAULT_TOKEN_MAX);
    for (size_t i = 0; i < token->len; i++)
        if (token->data[i] <= 0x20 || token->data[i] >= 0x7f)
            return error_set(err, -EINVAL,
                             "%s holds white space or other characters that no token has", what);
    return 0;
}
