#include "keys/vault/token_answers.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/json.h"

#define LIFE_MAX_S (100LL * 366 * 24 * 3600) /* what is longer is not a time */

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
    return r;
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
