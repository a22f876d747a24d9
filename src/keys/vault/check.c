#include "keys/vault/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "keys/kms_check_key.h"
#include "keys/vault/answers.h"
#include "keys/vault/inspect.h"
#include "keys/vault/login.h"
#include "net/json.h"

#define HOST_SIZE 256u

/* The paths whose rights are asked for. */
enum path {
    PATH_KEYS,
    PATH_ENCRYPT,
    PATH_DECRYPT,
    PATH_REWRAP,
    PATH_CONFIG,
    PATH_RENEW,
    PATH_COUNT,
};

/* All that is known of one address. */
struct checking {
    const struct vault_checked *of;
    struct kms_check *check;
    struct kms_check_reach reach;
    char host[HOST_SIZE];
    bool has_tls;
    struct secret secret; /* the token itself */
    bool knows_token;     /* what is in token */
    struct vault_token token;
    char paths[PATH_COUNT][VAULT_PATH_SIZE];
    bool asked_rights;
    bool knows_rights; /* what is in rights */
    unsigned rights[PATH_COUNT];
    struct error no_rights; /* why they are not known */
    struct http_response key;
    struct kms_check_key trial;
};

/* The body of the answer may hold the token: it is wiped when released. */
static int ask(const struct checking *checking, const char *method, const char *path,
               struct bytes body, struct http_response *ret, struct error *err)
{
    const struct vault_checked *of = checking->of;
    const struct vault_call call = { .method = method,
                                     .path = path,
                                     .key_name = of->config->key_name,
                                     .kms_namespace = of->config->kms_namespace,
                                     .token = &checking->secret,
                                     .body = body,
                                     .response = ret };

    return vault_client_ask(of->client, &call, err);
}

static const struct bytes no_body = { .data = NULL };

/* ------------------------------------------------------------------ network, server */

static bool check_resolve(void *arg)
{
    return kms_check_resolve(&((struct checking *)arg)->reach);
}

static bool check_connect(void *arg)
{
    return kms_check_connect(&((struct checking *)arg)->reach);
}

static bool check_tls(void *arg)
{
    struct checking *checking = arg;
    struct kms_check *check = checking->check;

    if (checking->has_tls)
        return kms_check_tls(&checking->reach);
    if (!checking->of->config->allows_insecure_http) {
        (void)kms_check_skip(check, "tls", "an http:// address on this host has none");
        return true;
    }
    kms_check_advise(check, "set up TLS on the server and configure its https:// address");
    return kms_check_warn(check, "tls", "http://: the token and the keys travel in clear");
}

static bool check_server(void *arg)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    struct vault_health health = { .version = "" };
    struct error err = { .code = 0 };
    const struct vault_call call = { .method = "GET",
                                     .path = "sys/health?standbyok=true&perfstandbyok=true&"
                                             "sealedcode=200&uninitcode=200",
                                     .key_name = checking->of->config->key_name,
                                     .kms_namespace = "",
                                     .response = &response };

    int r = vault_client_ask(checking->of->client, &call, &err);
    if (r == 0)
        r = vault_read_health(buf_bytes(&response.body), &health, &err);
    if (r < 0) {
        kms_check_advise(check,
                         "see that a Vault or OpenBao server answers at this address: 'curl "
                         "%s/v1/sys/health', and look into its log",
                         check->address);
        return kms_check_fail(check, "server",
                              r == -EAGAIN ? KMS_CHECK_NOT_SERVING : KMS_CHECK_ANSWER, "%s",
                              err.text);
    }
    if (!health.is_initialized) {
        kms_check_advise(check, "initialise it with 'vault operator init', or correct the address");
        return kms_check_fail(check, "server", KMS_CHECK_NOT_SERVING,
                              "the server is not initialised: it has never held a key");
    }
    if (health.is_sealed) {
        kms_check_advise(check, "unseal it with 'vault operator unseal', on each of its nodes");
        return kms_check_fail(check, "server", KMS_CHECK_NOT_SERVING, "the server is sealed");
    }
    return kms_check_ok(check, "server", "version %s, %s",
                        health.version[0] ? health.version : "unknown",
                        health.is_standby ? "a standby" : "active");
}

/* ------------------------------------------------------------------ the token */

/* Which one: the given, as it is, or one that the login has or gets, the *ret_number-th. */
static int get_token(struct checking *checking, uint64_t *ret_number, struct error *err)
{
    const struct secret *given = &checking->of->config->token;

    if (!given->data)
        return vault_login_token(checking->of->login, &checking->secret, ret_number, err);
    int r = secret_assign(&checking->secret, secret_bytes(given));
    return r < 0 ? error_set(err, r, "no locked memory for the token") : 0;
}

static bool fail_login(struct checking *checking, int r, const struct error *err)
{
    struct kms_check *check = checking->check;

    if (r == -ENOENT)
        kms_check_advise(check, "correct --namespace with 'coffer security kms set', or create the "
                                "namespace there");
    else if (!checking->of->config->token.data)
        kms_check_advise(check, "look at the role with 'vault read auth/<path>/role/<role>', and "
                                "set the login anew with 'coffer security kms set'");
    else
        kms_check_advise(check, "make a token with 'vault token create -policy=<policy> "
                                "-period=768h -orphan' and set it with 'coffer security kms set'");
    return kms_check_fail(check, "login", r == -EACCES ? KMS_CHECK_LOGIN : kms_check_class_of(r),
                          "%s", err->text);
}

/* What the server says of the token. One that a login got and that is not accepted any more is
 * replaced once, as it would be in use. */
static int look_up(struct checking *checking, struct http_response *response, struct error *err)
{
    for (bool is_second = false;; is_second = true) {
        uint64_t number = 0;
        int r = get_token(checking, &number, err);
        if (r < 0)
            return r;
        r = ask(checking, "GET", "auth/token/lookup-self", no_body, response, err);
        if (r == 0)
            return vault_read_token(buf_bytes(&response->body), &checking->token, err);
        if (is_second || checking->of->config->token.data ||
            !vault_is_token_refused(buf_bytes(&response->body)) ||
            !vault_login_refused(checking->of->login, number))
            return r;
    }
}

static bool check_login(void *arg)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    struct error err = { .code = 0 };

    int r = look_up(checking, &response, &err);
    if (r == 0) {
        checking->knows_token = true;
        return kms_check_ok(check, "login", "the token is accepted");
    }
    if (r != -EACCES || response.body.len == 0 || vault_is_token_refused(buf_bytes(&response.body)))
        return fail_login(checking, r, &err);
    kms_check_advise(check,
                     "allow read on auth/token/lookup-self (the policy 'default' does), and see "
                     "that the namespace is the token's");
    return kms_check_warn(check, "login",
                          "the token may not look at itself: whether it is accepted, and for how "
                          "long, is not known");
}

/* Its own life is well. But whoever's login made it may take it along. */
static bool report_renewable(struct checking *checking, const char *span)
{
    struct kms_check *check = checking->check;

    if (checking->token.has_parent) {
        kms_check_advise(check, "set one without a parent ('vault token create -period=768h "
                                "-orphan', or -role of a role with orphan=true), with 'coffer "
                                "security kms set'");
        return kms_check_warn(check, "token",
                              "renewable, good for another %s, but it ends with the token of the "
                              "login that made it",
                              span);
    }
    return kms_check_ok(check, "token", "renewable, good for another %s%s", span,
                        checking->of->config->leaves_renewal
                            ? "; renewing it is left to you (--no-token-renewal)"
                            : "");
}

static bool report_life(struct checking *checking)
{
    struct kms_check *check = checking->check;
    const struct vault_token *token = &checking->token;
    char span[KMS_CHECK_TIME_SIZE], date[KMS_CHECK_TIME_SIZE];
    int64_t now_s = clock_wall_ns() / 1000000000;

    kms_check_span(token->ttl_s, span);
    kms_check_date(token->ends_s ? token->ends_s : now_s + token->ttl_s, date);
    if (!token->has_end)
        return kms_check_ok(check, "token", "it never ends");
    if (!checking->of->config->token.data)
        return kms_check_ok(check, "token", "good for another %s, then another one is got", span);
    if (!token->is_renewable) {
        kms_check_advise(check,
                         "set one that is renewable ('vault token create -period=768h -orphan') "
                         "before that, with 'coffer security kms set'");
        return kms_check_warn(check, "token",
                              "it ends for good in %s, at %s, and cannot be renewed", span, date);
    }
    if (token->ends_s) {
        kms_check_advise(check,
                         "set one without explicit_max_ttl ('vault token create -period=768h "
                         "-orphan') before that, with 'coffer security kms set'");
        return kms_check_warn(check, "token",
                              "it is renewable, but ends for good at %s (explicit_max_ttl)", date);
    }
    if (token->ttl_s < token->creation_ttl_s / 4) {
        kms_check_advise(check,
                         "set a token with a period ('vault token create -period=768h -orphan') "
                         "before that, with 'coffer security kms set'");
        return kms_check_warn(check, "token",
                              "less than a quarter of its life is left, %s: nobody renewed it in "
                              "time, or it has reached the longest life that the server allows "
                              "(max_lease_ttl)",
                              span);
    }
    return report_renewable(checking, span);
}

static bool check_token(void *arg)
{
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    const struct vault_token *token = &checking->token;

    if (!checking->knows_token) {
        (void)kms_check_skip(check, "token", "what it is may not be asked");
        return true;
    }
    if (token->uses != 0) {
        kms_check_advise(check, "make one without -use-limit, and set it with 'coffer security kms "
                                "set'");
        return kms_check_fail(check, "token", KMS_CHECK_LOGIN,
                              "it is good for %lld more requests only",
                              (long long)(token->uses > 0 ? token->uses : 0));
    }
    if (token->is_root) {
        kms_check_advise(check, "make one whose policy allows no more than this key (docs/guide.md "
                                "has it), and set it with 'coffer security kms set'");
        return kms_check_warn(check, "token", "it is a root token, which may do everything");
    }
    return report_life(checking);
}

/* ------------------------------------------------------------------ what it may do */

static void name_path(const struct key_provider_config *config, const char *kind, const char *end,
                      char ret[static VAULT_PATH_SIZE])
{
    (void)snprintf(ret, VAULT_PATH_SIZE, "%s/%s/%s%s", config->mount_path, kind, config->key_name,
                   end);
}

static void name_paths(struct checking *checking)
{
    static const char *const kinds[] = { "keys", "encrypt", "decrypt", "rewrap", "keys" };
    const struct key_provider_config *config = checking->of->config;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        name_path(config, kinds[i], i == PATH_CONFIG ? "/config" : "", checking->paths[i]);
    (void)snprintf(checking->paths[PATH_RENEW], VAULT_PATH_SIZE, "auth/token/renew-self");
}

static int rights_body(const struct checking *checking, struct buf *ret)
{
    CLEANUP(json_freep) json_t *object = json_object();
    json_t *list = json_array();

    if (!object || json_object_set_new(object, "paths", list) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < PATH_COUNT; i++)
        if (json_array_append_new(list, json_string(checking->paths[i])) < 0)
            return -ENOMEM;
    return json_write(object, ret);
}

static int read_rights(struct checking *checking, struct error *err)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    CLEANUP(buf_release) struct buf body = BUF_INIT;

    int r = rights_body(checking, &body);
    if (r < 0)
        return error_set(err, r, "not enough memory for a request");
    r = ask(checking, "POST", "sys/capabilities-self", buf_bytes(&body), &response, err);
    for (size_t i = 0; r == 0 && i < PATH_COUNT; i++)
        r = vault_read_capabilities(buf_bytes(&response.body), checking->paths[i],
                                    &checking->rights[i], err);
    return r;
}

static bool knows_rights(struct checking *checking)
{
    if (!checking->asked_rights) {
        checking->asked_rights = true;
        checking->knows_rights = read_rights(checking, &checking->no_rights) == 0;
    }
    return checking->knows_rights;
}

static const char *word_of(unsigned right)
{
    return right == VAULT_MAY_READ ? "read" : "update";
}

/* Without the right to ask, the trials below find it out. */
static bool check_right(struct checking *checking, const char *name, enum path path, unsigned right)
{
    struct kms_check *check = checking->check;
    const char *text = checking->paths[path];

    if (!knows_rights(checking)) {
        (void)kms_check_skip(check, name, "not told beforehand: %s", checking->no_rights.text);
        return true;
    }
    if (checking->rights[path] & right)
        return kms_check_ok(check, name, "%s on %s", word_of(right), text);
    kms_check_advise(check, "add to the token's policy: path \"%s\" { capabilities = [\"%s\"] }",
                     text, word_of(right));
    return kms_check_fail(check, name, KMS_CHECK_PERMISSION, "the token's policy lacks %s on %s",
                          word_of(right), text);
}

static bool check_may_read(void *arg)
{
    return check_right(arg, "permission-read", PATH_KEYS, VAULT_MAY_READ);
}

static bool check_may_encrypt(void *arg)
{
    return check_right(arg, "permission-encrypt", PATH_ENCRYPT, VAULT_MAY_UPDATE);
}

static bool check_may_decrypt(void *arg)
{
    return check_right(arg, "permission-decrypt", PATH_DECRYPT, VAULT_MAY_UPDATE);
}

static bool check_may_rewrap(void *arg)
{
    return check_right(arg, "permission-rewrap", PATH_REWRAP, VAULT_MAY_UPDATE);
}

static bool check_may_renew(void *arg)
{
    struct checking *checking = arg;
    struct kms_check *check = checking->check;

    if (!checking->knows_token || !checking->token.has_end || !checking->token.is_renewable)
        return kms_check_skip(check, "permission-renew", "there is nothing to renew");
    if (checking->of->config->leaves_renewal)
        return kms_check_skip(check, "permission-renew", "renewing is left to the administrator");
    if (!knows_rights(checking))
        return kms_check_skip(check, "permission-renew", "not told beforehand: %s",
                              checking->no_rights.text);
    if (checking->rights[PATH_RENEW] & VAULT_MAY_UPDATE)
        return kms_check_ok(check, "permission-renew", "update on %s", checking->paths[PATH_RENEW]);
    kms_check_advise(check, "allow it in the token's policy, as the policy 'default' does: path "
                            "\"auth/token/renew-self\" { capabilities = [\"update\"] }");
    return kms_check_warn(check, "permission-renew",
                          "the token is renewable, but its policy lacks update on %s: it will end",
                          checking->paths[PATH_RENEW]);
}

/* What the token may do and should not: coffer never needs it. */
static bool check_excess(void *arg)
{
    static const struct {
        enum path path;
        unsigned right;
        const char *words;
    } excesses[] = {
        { PATH_ENCRYPT, VAULT_MAY_CREATE, "create (makes the key anew if it is missing)" },
        { PATH_KEYS, VAULT_MAY_CREATE | VAULT_MAY_UPDATE, "create or update (makes the key)" },
        { PATH_KEYS, VAULT_MAY_DELETE, "delete (destroys the key)" },
        { PATH_CONFIG, VAULT_MAY_CREATE | VAULT_MAY_UPDATE,
          "create or update (allows deletion, disallows versions)" },
    };
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    char list[480] = "";
    size_t len = 0;

    if (!knows_rights(checking))
        return kms_check_skip(check, "permission-excess", "not told: %s", checking->no_rights.text);
    for (size_t i = 0; i < sizeof(excesses) / sizeof(excesses[0]); i++)
        if ((checking->rights[excesses[i].path] & excesses[i].right) && len < sizeof(list))
            len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s on %s", len ? "; " : "",
                                    excesses[i].words, checking->paths[excesses[i].path]);
    if (len == 0)
        return kms_check_ok(check, "permission-excess",
                            "the token can neither create nor delete the key");
    kms_check_advise(check, "grant only read on %s, and update on encrypt, decrypt and rewrap",
                     checking->paths[PATH_KEYS]);
    return kms_check_warn(check, "permission-excess", "the token may do more than it needs: %s",
                          list);
}

/* ------------------------------------------------------------------ the key */

void vault_advise(const struct key_provider_config *config, int r, struct kms_check *check)
{
    char path[VAULT_PATH_SIZE];

    name_path(config, "keys", "", path);
    if (r == -EACCES)
        kms_check_advise(check,
                         "grant read on %s and update on encrypt, decrypt and rewrap in the "
                         "token's policy; check namespace and --transit-path",
                         path);
    else if (r == -ENOENT)
        kms_check_advise(check,
                         "see what is there with 'vault secrets list' and 'vault list %s/keys'; "
                         "restore the key from a backup if filesystems were wrapped by it",
                         config->mount_path);
    else if (r == -EAGAIN)
        kms_check_advise(check, "wait for it, or look into the key server's log");
    else
        kms_check_advise(check, "look at it with 'vault read %s' and into the key server's log",
                         path);
}

static bool check_key(void *arg)
{
    struct checking *checking = arg;
    struct error err = { .code = 0 };

    int r = ask(checking, "GET", checking->paths[PATH_KEYS], no_body, &checking->key, &err);
    if (r < 0)
        return kms_check_key_failed(&checking->trial, "key", r, &err);
    return kms_check_ok(checking->check, "key", "%s is there", checking->paths[PATH_KEYS]);
}

static bool check_key_type(void *arg)
{
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    struct vault_key key = { .type = "" };
    struct error err = { .code = 0 };

    int r = vault_read_key(buf_bytes(&checking->key.body), &key, &err);
    if (r == 0)
        return kms_check_ok(check, "key-type", "%s, version %u, decrypts from version %u on",
                            key.type, key.latest_version, key.min_decrypt_version);
    if (r == -EINVAL)
        kms_check_advise(check,
                         "make one with 'vault write -f %s type=aes256-gcm96' under another name, "
                         "and set it",
                         checking->paths[PATH_KEYS]);
    else
        kms_check_advise(check, "look at it with 'vault read %s'", checking->paths[PATH_KEYS]);
    return kms_check_fail(check, "key-type", kms_check_class_of(r), "%s", err.text);
}

static bool check_key_settings(void *arg)
{
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    struct vault_key_settings settings = { .is_exportable = false };
    struct error err = { .code = 0 };

    int r = vault_read_key_settings(buf_bytes(&checking->key.body), &settings, &err);
    if (r < 0)
        return kms_check_key_failed(&checking->trial, "key-settings", r, &err);
    if (!settings.is_deletion_allowed && !settings.is_exportable && !settings.has_plaintext_backup)
        return kms_check_ok(check, "key-settings",
                            "it cannot be deleted, exported or backed up in clear");
    if (settings.is_deletion_allowed) {
        kms_check_advise(check, "forbid it with 'vault write %s deletion_allowed=false'",
                         checking->paths[PATH_CONFIG]);
        (void)kms_check_warn(check, "key-settings",
                             "its deletion is allowed (deletion_allowed): without it no "
                             "filesystem opens");
    }
    if (settings.is_exportable || settings.has_plaintext_backup) {
        kms_check_advise(check, "this cannot be taken back: make a new key without it, and move to "
                                "it with 'coffer security kms set'");
        (void)kms_check_warn(check, "key-settings", "its bytes can leave the server (%s%s%s)",
                             settings.is_exportable ? "exportable" : "",
                             settings.is_exportable && settings.has_plaintext_backup ? ", " : "",
                             settings.has_plaintext_backup ? "allow_plaintext_backup" : "");
    }
    return true;
}

/* ------------------------------------------------------------------ the trial */

static bool check_encrypt(void *arg)
{
    return kms_check_key_encrypt(&((struct checking *)arg)->trial);
}

static bool check_decrypt(void *arg)
{
    return kms_check_key_decrypt(&((struct checking *)arg)->trial);
}

static bool check_rewrap(void *arg)
{
    return kms_check_key_rewrap(&((struct checking *)arg)->trial);
}

/* ------------------------------------------------------------------ all of it */

enum step {
    STEP_RESOLVE,
    STEP_CONNECT,
    STEP_TLS,
    STEP_SERVER,
    STEP_LOGIN,
    STEP_TOKEN,
    STEP_MAY_READ,
    STEP_MAY_ENCRYPT,
    STEP_MAY_DECRYPT,
    STEP_MAY_REWRAP,
    STEP_MAY_RENEW,
    STEP_EXCESS,
    STEP_KEY,
    STEP_KEY_TYPE,
    STEP_KEY_SETTINGS,
    STEP_ENCRYPT,
    STEP_DECRYPT,
    STEP_REWRAP,
};

#define NEEDS(step) KMS_CHECK_NEEDS(STEP_##step)

static const struct kms_check_plan plan[] = {
    [STEP_RESOLVE] = { "resolve", 0, check_resolve },
    [STEP_CONNECT] = { "connect", NEEDS(RESOLVE), check_connect },
    [STEP_TLS] = { "tls", NEEDS(CONNECT), check_tls },
    [STEP_SERVER] = { "server", NEEDS(TLS), check_server },
    [STEP_LOGIN] = { "login", NEEDS(SERVER), check_login },
    [STEP_TOKEN] = { "token", NEEDS(LOGIN), check_token },
    [STEP_MAY_READ] = { "permission-read", NEEDS(TOKEN), check_may_read },
    [STEP_MAY_ENCRYPT] = { "permission-encrypt", NEEDS(TOKEN), check_may_encrypt },
    [STEP_MAY_DECRYPT] = { "permission-decrypt", NEEDS(TOKEN), check_may_decrypt },
    [STEP_MAY_REWRAP] = { "permission-rewrap", NEEDS(TOKEN), check_may_rewrap },
    [STEP_MAY_RENEW] = { "permission-renew", NEEDS(TOKEN), check_may_renew },
    [STEP_EXCESS] = { "permission-excess", NEEDS(TOKEN), check_excess },
    [STEP_KEY] = { "key", NEEDS(TOKEN) | NEEDS(MAY_READ), check_key },
    [STEP_KEY_TYPE] = { "key-type", NEEDS(KEY), check_key_type },
    [STEP_KEY_SETTINGS] = { "key-settings", NEEDS(KEY), check_key_settings },
    [STEP_ENCRYPT] = { "encrypt", NEEDS(KEY_TYPE) | NEEDS(MAY_ENCRYPT), check_encrypt },
    [STEP_DECRYPT] = { "decrypt", NEEDS(ENCRYPT) | NEEDS(MAY_DECRYPT), check_decrypt },
    [STEP_REWRAP] = { "rewrap", NEEDS(DECRYPT) | NEEDS(MAY_REWRAP), check_rewrap },
};

/* The client has checked that it is scheme://host[:port][/prefix]. */
static void read_address(struct checking *checking, const char *address)
{
    const char *host = strstr(address, "://") + 3;
    bool is_bracketed = host[0] == '[';
    size_t len = is_bracketed ? strcspn(++host, "]") : strcspn(host, ":/");
    const char *port = host + len + is_bracketed;

    checking->has_tls = strncmp(address, "https:", 6) == 0;
    (void)snprintf(checking->host, sizeof(checking->host), "%.*s", (int)len, host);
    unsigned long number = *port == ':' ? strtoul(port + 1, NULL, 10) : 0;
    if (number == 0 || number > UINT16_MAX)
        number = checking->has_tls ? 443 : 80;
    checking->reach.target =
        (struct tls_target){ .host = checking->host,
                             .port = (uint16_t)number,
                             .ca_cert_pem = buf_bytes(&checking->of->config->ca_cert_pem) };
}

struct all {
    const struct vault_checked *checked;
    struct kms_check *check;
};

static void check_address(void *arg, size_t index)
{
    const struct all *all = arg;
    struct checking checking = { .of = all->checked,
                                 .check = all->check,
                                 .reach = { .check = all->check,
                                            .trust_advice = "a private CA is trusted after 'coffer "
                                                            "security ca-cert set --cert-file "
                                                            "<pem>'",
                                            .fd = -1 },
                                 .key = HTTP_RESPONSE_INIT,
                                 .trial = { .check = all->check,
                                            .provider = all->checked->provider } };

    read_address(&checking, all->checked->client->addresses.addresses[index]);
    name_paths(&checking);
    kms_check_run(all->check, plan, sizeof(plan) / sizeof(plan[0]), &checking);
    kms_check_reach_release(&checking.reach);
    http_response_release(&checking.key);
    kms_check_key_release(&checking.trial);
    secret_release(&checking.secret);
}

void vault_check(const struct vault_checked *checked, struct kms_check *check)
{
    struct all all = { .checked = checked, .check = check };

    kms_check_each_address(&checked->client->addresses, check, check_address, &all);
}
