#include "keys/vault/login.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "base/thread.h"
#include "crypto/random.h"
#include "keys/providers.h"
#include "keys/vault/answers.h"
#include "keys/vault/client.h"
#include "keys/vault/inspect.h"
#include "keys/vault/token_answers.h"
#include "net/json.h"

#define SECOND_MS 1000
#define LOOK_AGAIN_MS (300 * SECOND_MS)
/* Vault locks a role out for 15 minutes when 5 logins within 15 minutes were refused. */
#define ROLE_REST_MS (300 * SECOND_MS)
#define REST_MS (30 * SECOND_MS)
#define RETRY_MAX_MS (30 * SECOND_MS)
#define LOGOUT_LIMIT_MS (3 * SECOND_MS)
#define LOOKUP_LIMIT_MS (3 * SECOND_MS)
#define JWT_MAX 16384u
#define JWT_PATH "/var/run/secrets/kubernetes.io/serviceaccount/token"

enum method {
    METHOD_TOKEN,
    METHOD_APPROLE,
    METHOD_KUBERNETES,
};

struct vault_login {
    struct key_login base;
    /* Never change: */
    enum method method;
    char kms_namespace[WRAPPED_NAME_SIZE];
    char auth_path[WRAPPED_NAME_SIZE];
    char role[WRAPPED_NAME_SIZE]; /* AppRole: its ID */
    char jwt_path[KEY_PATH_SIZE];
    struct secret secret_id;
    bool leaves_renewal;
    /* Only for whoever set is_busy: */
    struct vault_client client;
    bool may_not_look_up; /* the secret ID: the policy lacks the right */

    struct mutex lock; /* guards all below; never held during a call to the server */
    pthread_cond_t changed;
    bool is_busy;           /* somebody asks the server */
    int64_t rests_until_ms; /* a login was refused: none is tried before */
    uint64_t attempts;      /* ended ones */
    struct error last;      /* how the last one ended */
    struct secret token;
    uint64_t number; /* of the token */
    bool is_looked_at;
    bool is_ours;    /* a service token of a login, to be revoked */
    bool is_refused; /* the server did not accept it */
    bool is_renewable;
    bool renewal_failed;
    int64_t longest_ms; /* the longest life that a renewal or login gave */
    struct key_login_status status;
};

static struct vault_login *vault_login(struct key_login *login)
{
    return (struct vault_login *)login;
}

/* ------------------------------------------------------------------ what is due */

enum step {
    STEP_NONE,
    STEP_LOOK_UP,
    STEP_RENEW,
    STEP_LOG_IN,
};

static bool is_usable_locked(const struct vault_login *login, int64_t now) REQUIRES(login->lock)
{
    if (!login->token.data || login->is_refused)
        return false;
    if (login->method == METHOD_TOKEN)
        return login->is_looked_at; /* whether it has ended is for the server to say */
    return !login->status.has_end || now < login->status.ends_ms;
}

static enum step due_locked(const struct vault_login *login, int64_t now) REQUIRES(login->lock)
{
    if (!is_usable_locked(login, now))
        return login->method == METHOD_TOKEN ? STEP_LOOK_UP : STEP_LOG_IN;
    if (now < login->status.due_ms)
        return STEP_NONE;
    bool is_given = login->method == METHOD_TOKEN;
    if (login->is_renewable && !login->leaves_renewal && (is_given || !login->renewal_failed))
        return STEP_RENEW;
    return login->method == METHOD_TOKEN ? STEP_LOOK_UP : STEP_LOG_IN;
}

/* Half of the life, less up to a tenth. */
static int64_t half_with_jitter(int64_t life_ms)
{
    uint16_t drawn;

    random_bytes(&drawn, sizeof(drawn));
    return life_ms / 2 - life_ms / 10 * drawn / UINT16_MAX;
}

static int64_t at_least_a_second(int64_t ms)
{
    return ms < SECOND_MS ? SECOND_MS : ms;
}

/* When to come again if nothing was reached now. */
static int64_t retry_ms(const struct vault_login *login) REQUIRES(login->lock)
{
    int64_t pause = login->status.has_end ? login->status.life_ms / 20 : RETRY_MAX_MS;

    return at_least_a_second(pause < RETRY_MAX_MS ? pause : RETRY_MAX_MS);
}

static void say_locked(struct vault_login *login, const char *obstacle) REQUIRES(login->lock)
{
    (void)snprintf(login->status.obstacle, sizeof(login->status.obstacle), "%.*s",
                   (int)sizeof(login->status.obstacle) - 1, obstacle);
}

static void judge_locked(struct vault_login *login) REQUIRES(login->lock)
{
    struct key_login_status *status = &login->status;

    if (login->method != METHOD_TOKEN) {
        status->is_kept = true;
        return;
    }
    status->is_kept = !status->has_end ||
                      (login->is_renewable && !login->leaves_renewal && !login->renewal_failed);
    if (status->is_kept)
        say_locked(login, "");
    else if (!login->is_renewable)
        say_locked(login, "the token cannot be renewed");
    else if (login->leaves_renewal)
        say_locked(login, "renewing the token is left to the administrator");
}

/* The server told of the token, at this moment. */
static void note_facts_locked(struct vault_login *login, const struct vault_token_facts *facts,
                              int64_t now) REQUIRES(login->lock)
{
    struct key_login_status *status = &login->status;
    int64_t left = facts->left_s * SECOND_MS;
    int64_t half;

    login->is_renewable = facts->is_renewable;
    status->is_known = true;
    status->has_end = facts->has_end;
    status->life_ms = facts->life_s * SECOND_MS;
    status->ends_ms = now + left;
    if (status->life_ms > login->longest_ms)
        login->longest_ms = status->life_ms;
    judge_locked(login);
    half = left - (status->life_ms - half_with_jitter(status->life_ms));
    if (!status->has_end)
        status->due_ms = INT64_MAX;
    else if (status->is_kept)
        status->due_ms = now + (half > 0 ? half : 0);
    else
        status->due_ms =
            now + at_least_a_second(left / 4 < LOOK_AGAIN_MS ? left / 4 : LOOK_AGAIN_MS);
}

/* What there is goes on being used, and this is tried again. */
static void note_failure_locked(struct vault_login *login, const struct error *err)
    REQUIRES(login->lock)
{
    login->status.is_kept = false;
    login->status.due_ms = clock_monotonic_ms() + retry_ms(login);
    say_locked(login, err->text);
}

/* ------------------------------------------------------------------ questions */

static int ask(struct vault_login *login, const struct secret *token, const char *method,
               const char *path, struct bytes body, struct http_response *ret, struct error *err)
{
    const struct vault_call call = { .method = method,
                                     .path = path,
                                     .key_name = "",
                                     .kms_namespace = login->kms_namespace,
                                     .token = token,
                                     .body = body,
                                     .response = ret };

    return vault_client_ask(&login->client, &call, err);
}

static int refuse_limited(const struct vault_login *login, struct error *err)
{
    if (login->method == METHOD_TOKEN)
        return error_set(err, -EACCES,
                         "the token may be used a limited number of times and would then be gone: "
                         "make one without a limit (num_uses) and set it");
    return error_set(err, -EACCES,
                     "the tokens of this login may be used a limited number of times: set "
                     "token_num_uses of the role at 'auth/%s' to 0",
                     login->auth_path);
}

static int look_up(struct vault_login *login, const struct secret *token,
                   struct vault_token_facts *ret, struct error *err)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    struct vault_token found = { .ttl_s = 0 };
    int r = ask(login, token, "GET", "auth/token/lookup-self", (struct bytes){ .len = 0 },
                &response, err);

    if (r == 0)
        r = vault_read_token(buf_bytes(&response.body), &found, err);
    if (r < 0)
        return r;
    *ret = (struct vault_token_facts){
        .has_end = found.has_end,
        .left_s = found.ttl_s,
        .life_s = found.ttl_s > found.creation_ttl_s ? found.ttl_s : found.creation_ttl_s,
        .is_renewable = found.is_renewable,
        .is_limited = found.uses != 0, /* the last use of all is told as -1 */
    };
    return 0;
}

static int renew(struct vault_login *login, const struct secret *token,
                 struct vault_token_facts *ret, struct error *err)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    const struct bytes body = { .data = (const uint8_t *)"{}", .len = 2 };
    int r = ask(login, token, "POST", "auth/token/renew-self", body, &response, err);

    if (r == 0)
        r = vault_read_auth(buf_bytes(&response.body), ret, NULL, err);
    return r < 0 ? error_prefix(err, r, "the token cannot be renewed") : 0;
}

/* Two texts, the second of them secret. */
static int login_body(const char *first, const char *first_text, const char *second,
                      struct bytes secret, struct buf *ret)
{
    CLEANUP(json_freep) json_t *object = json_object();

    if (!object || json_object_set_new(object, first, json_string(first_text)) < 0 ||
        json_object_set_new(object, second, json_stringn((const char *)secret.data, secret.len)) <
            0)
        return -ENOMEM;
    return json_write(object, ret);
}

/* Read anew for each login: Kubernetes replaces it every hour or so. */
static int read_jwt(const struct vault_login *login, struct buf *ret, struct error *err)
{
    int r = file_read(login->jwt_path, JWT_MAX, ret, err);

    if (r < 0)
        return error_prefix(err, r == -ENOENT || r == -EFBIG ? -EACCES : r,
                            "there is no token of a Kubernetes service account; run cofferd in a "
                            "pod that has one, or name its file with --kubernetes-token-path");
    while (ret->len > 0 && strchr(" \r\n\t", ret->data[ret->len - 1]))
        ret->len--;
    return 0;
}

static int make_login_body(const struct vault_login *login, struct buf *ret, struct error *err)
{
    CLEANUP(buf_wipe) struct buf jwt = BUF_INIT;
    int r;

    if (login->method == METHOD_APPROLE) {
        r = login_body("role_id", login->role, "secret_id", secret_bytes(&login->secret_id), ret);
    } else {
        r = read_jwt(login, &jwt, err);
        if (r < 0)
            return r;
        r = login_body("role", login->role, "jwt", buf_bytes(&jwt), ret);
    }
    return r < 0 ? error_set(err, -EACCES, "the credentials are not text: set them anew") : 0;
}

/* What to look at, by the words of the server, which differ between versions. */
static const char *login_advice(const struct vault_login *login, const char *shown)
{
    static const struct {
        const char *words;
        const char *advice;
    } known[] = {
        { "role or secret id",
          "check role ID and secret ID, which may have expired or been used up" },
        { "secret id", "check the secret ID, which may have expired or been used up" },
        { "role id", "check the role ID" },
        { "", "see with 'vault auth list' that the auth method is at this path, and check role ID "
              "and secret ID; Vault refuses a role for 15 minutes after 5 refused logins" },
    };
    size_t i = 0;

    if (login->method == METHOD_KUBERNETES)
        return "check the role, the service account that it is bound to and its token, and see "
               "with 'vault auth list' that the auth method is at this path";
    while (!strcasestr(shown, known[i].words))
        i++;
    return known[i].advice;
}

static int login_refused(const struct vault_login *login, const char *address,
                         const struct http_response *response, int r, struct error *err)
{
    char shown[VAULT_TEXT_SIZE];

    vault_read_errors(buf_bytes(&response->body), shown);
    bool is_refusal = response->status == 400 || response->status == 403 ||
                      (response->status == 500 && r == -EACCES) ||
                      (response->status == 404 && !strstr(shown, "namespace"));
    if (!is_refusal)
        return r;
    return error_set(err, -EACCES, "%s refuses the login at 'auth/%s/login'%s%s (%s): %s", address,
                     login->auth_path, login->kms_namespace[0] ? ", namespace " : "",
                     login->kms_namespace, shown[0] ? shown : "no reason given",
                     login_advice(login, shown));
}

/* Best effort: the token ends by itself. */
static void revoke_token(struct vault_login *login, const struct secret *token)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    const struct vault_call call = {
        .method = "POST",
        .path = "auth/token/revoke-self",
        .key_name = "",
        .kms_namespace = login->kms_namespace,
        .token = token,
        .body = { .data = (const uint8_t *)"{}", .len = 2 },
        .response = &response,
    };

    (void)vault_client_ask_once(&login->client, &call, LOGOUT_LIMIT_MS, NULL);
}

/* *ret_is_refused: the server has said no, and will say so again. */
static int log_in(struct vault_login *login, struct vault_token_facts *ret,
                  struct secret *ret_token, bool *ret_is_refused, struct error *err)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    CLEANUP(buf_wipe) struct buf body = BUF_INIT;
    struct error first = { .code = 0 };
    char path[VAULT_PATH_SIZE];
    const char *address = "";
    int r = make_login_body(login, &body, err);

    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), "auth/%s/login", login->auth_path);
    const struct vault_call call = { .method = "POST",
                                     .path = path,
                                     .key_name = "",
                                     .kms_namespace = login->kms_namespace,
                                     .body = buf_bytes(&body),
                                     .response = &response,
                                     .ret_address = &address };
    r = vault_client_ask(&login->client, &call, &first);
    if (r < 0)
        r = login_refused(login, address, &response, r, &first);
    *ret_is_refused = r == -EACCES && response.status != 0;
    if (r < 0)
        return error_set(err, r, "%s", first.text);
    r = vault_read_auth(buf_bytes(&response.body), ret, ret_token, err);
    if (r == 0 && ret->is_limited) {
        *ret_is_refused = true;
        revoke_token(login, ret_token);
        r = refuse_limited(login, err);
    }
    return r;
}

/* How long the secret ID lives, if the role's policy lets it be looked up: nice to know, and no
 * failure if not. */
static void look_up_secret_id(struct vault_login *login, const char *role_name,
                              const struct secret *token, struct vault_secret_id_facts *ret)
{
    CLEANUP(http_response_release) struct http_response response = HTTP_RESPONSE_INIT;
    CLEANUP(json_freep) json_t *object = json_object();
    CLEANUP(buf_wipe) struct buf body = BUF_INIT;
    const struct secret *secret = &login->secret_id;
    char path[2 * VAULT_PATH_SIZE];

    *ret = (struct vault_secret_id_facts){ .ends_s = 0 };
    if (login->method != METHOD_APPROLE || login->may_not_look_up ||
        !vault_is_name(role_name, false) || !object ||
        json_object_set_new(object, "secret_id",
                            json_stringn((const char *)secret->data, secret->len)) < 0 ||
        json_write(object, &body) < 0)
        return;
    (void)snprintf(path, sizeof(path), "auth/%s/role/%s/secret-id/lookup", login->auth_path,
                   role_name);
    const struct vault_call call = { .method = "POST",
                                     .path = path,
                                     .key_name = "",
                                     .kms_namespace = login->kms_namespace,
                                     .token = token,
                                     .body = buf_bytes(&body),
                                     .response = &response };
    int r = vault_client_ask_once(&login->client, &call, LOOKUP_LIMIT_MS, NULL);
    login->may_not_look_up = r == -EACCES;
    if (r == 0)
        (void)vault_read_secret_id(buf_bytes(&response.body), ret, NULL);
}

/* ------------------------------------------------------------------ steps, done while is_busy */

/* What a step works on: the token as it was when it began. */
struct work {
    struct vault_login *login;
    struct secret token;
};

static int do_look_up(struct work *work, struct error *err)
{
    struct vault_login *login = work->login;
    struct vault_token_facts facts = { .left_s = 0 };
    struct error first = { .code = 0 };
    int r = look_up(login, &work->token, &facts, &first);

    if (r == 0 && facts.is_limited)
        return refuse_limited(login, err);
    mutex_lock(&login->lock);
    bool was_looked_at = login->is_looked_at;
    if (r == 0) {
        login->is_looked_at = true;
        note_facts_locked(login, &facts, clock_monotonic_ms());
    } else if (r == -EAGAIN) {
        login->status.due_ms = clock_monotonic_ms() + retry_ms(login);
    } else {
        /* It may not look at itself, or is not accepted: what it is used for will tell. */
        login->is_looked_at = true;
        login->status.is_known = false;
        login->status.due_ms = clock_monotonic_ms() + LOOK_AGAIN_MS;
    }
    mutex_unlock(&login->lock);
    return r == -EAGAIN && !was_looked_at ? error_set(err, r, "%s", first.text) : 0;
}

static void rest_locked(struct vault_login *login) REQUIRES(login->lock)
{
    int64_t rest = login->method == METHOD_APPROLE ? ROLE_REST_MS : REST_MS;

    login->rests_until_ms = clock_monotonic_ms() + rest;
    login->status.due_ms = login->rests_until_ms;
}

static int do_log_in(struct work *work, struct error *err)
{
    struct vault_login *login = work->login;
    CLEANUP(secret_release) struct secret token = SECRET_INIT;
    CLEANUP(secret_release) struct secret given_up = SECRET_INIT;
    struct vault_token_facts facts = { .left_s = 0 };
    struct error first = { .code = 0 };
    bool is_refused = false;
    struct vault_secret_id_facts secret = { .ends_s = 0 };
    int r = log_in(login, &facts, &token, &is_refused, &first);

    if (r == 0)
        look_up_secret_id(login, facts.role_name, &token, &secret);
    mutex_lock(&login->lock);
    if (r == 0) {
        login->status.secret_until_s = secret.ends_s;
        login->status.secret_life_s = secret.life_s;
        if (login->is_ours)
            secret_move(&given_up, &login->token);
        secret_move(&login->token, &token);
        login->number++;
        login->is_ours = !facts.is_batch;
        login->is_refused = false;
        login->renewal_failed = false;
        login->longest_ms = 0;
        note_facts_locked(login, &facts, clock_monotonic_ms());
        say_locked(login, "");
    } else {
        note_failure_locked(login, &first);
        if (is_refused)
            rest_locked(login);
    }
    mutex_unlock(&login->lock);
    if (given_up.data)
        revoke_token(login, &given_up);
    return r < 0 ? error_set(err, r, "%s", first.text) : 0;
}

static int do_renew(struct work *work, struct error *err)
{
    struct vault_login *login = work->login;
    struct vault_token_facts facts = { .left_s = 0 };
    struct error first = { .code = 0 };
    int r = renew(login, &work->token, &facts, &first);

    mutex_lock(&login->lock);
    if (r == 0) {
        facts.has_end |= login->status.has_end; /* 0 left: less than a second */
        /* Renewals that get shorter: its whole life is limited, and this is the end of it. */
        login->renewal_failed = facts.left_s * SECOND_MS < login->longest_ms / 10 * 9;
        note_facts_locked(login, &facts, clock_monotonic_ms());
        if (login->renewal_failed)
            say_locked(login, "the token reaches the end of the life that the server allows it");
    } else {
        login->renewal_failed = r != -EAGAIN;
        note_failure_locked(login, &first);
    }
    bool needs_another = login->renewal_failed && login->method != METHOD_TOKEN;
    bool needs_look = r < 0 && login->renewal_failed;
    mutex_unlock(&login->lock);
    if (needs_another)
        return do_log_in(work, err);
    return needs_look ? do_look_up(work, err) : 0;
}

static int do_step(struct work *work, enum step step, struct error *err)
{
    switch (step) {
    case STEP_LOOK_UP:
        return do_look_up(work, err);
    case STEP_RENEW:
        return do_renew(work, err);
    case STEP_LOG_IN:
        return do_log_in(work, err);
    case STEP_NONE:
        break;
    }
    return 0;
}

/* ------------------------------------------------------------------ the token */

static int copy_token_locked(const struct vault_login *login, struct secret *ret,
                             uint64_t *ret_number, struct error *err) REQUIRES(login->lock)
{
    *ret_number = login->number;
    int r = secret_assign(ret, secret_bytes(&login->token));
    return r < 0 ? error_set(err, r, "no locked memory for the token") : 0;
}

/* One asks the server, with the lock not held. */
static void work_locked(struct vault_login *login, enum step step) REQUIRES(login->lock)
{
    struct work work = { .login = login };
    struct error err = { .code = 0 };
    int r = login->token.data ? secret_assign(&work.token, secret_bytes(&login->token)) : 0;

    if (r < 0)
        (void)error_set(&err, r, "no locked memory for the token");
    login->is_busy = true;
    mutex_unlock(&login->lock);
    if (r == 0)
        (void)do_step(&work, step, &err);
    secret_release(&work.token);
    mutex_lock(&login->lock);
    login->is_busy = false;
    login->attempts++;
    login->last = err;
    (void)pthread_cond_broadcast(&login->changed);
}

static int token_locked(struct vault_login *login, struct secret *ret, uint64_t *ret_number,
                        struct error *err) REQUIRES(login->lock)
{
    int64_t now = clock_monotonic_ms();
    enum step step = due_locked(login, now);
    bool is_usable = is_usable_locked(login, now);

    if (step == STEP_LOG_IN && now < login->rests_until_ms && !login->is_busy && !is_usable)
        return error_set(err, login->last.code,
                         "%s; it is asked again in %lld s, and at once after 'coffer security kms "
                         "set'",
                         login->last.text, (long long)(login->rests_until_ms - now) / 1000 + 1);
    if (step == STEP_NONE || (is_usable && login->is_busy))
        return copy_token_locked(login, ret, ret_number, err);
    if (login->is_busy) {
        uint64_t attempt = login->attempts;
        while (login->attempts == attempt)
            cond_wait(&login->changed, &login->lock);
    } else {
        work_locked(login, step);
    }
    if (is_usable_locked(login, clock_monotonic_ms()))
        return copy_token_locked(login, ret, ret_number, err);
    if (login->last.code < 0)
        return error_set(err, login->last.code, "%s", login->last.text);
    return error_set(err, -EAGAIN, "the login to Vault did not last until it was used");
}

int vault_login_token(struct key_login *base, struct secret *ret, uint64_t *ret_number,
                      struct error *err)
{
    struct vault_login *login = vault_login(base);

    mutex_lock(&login->lock);
    int r = token_locked(login, ret, ret_number, err);
    mutex_unlock(&login->lock);
    return r;
}

bool vault_login_refused(struct key_login *base, uint64_t number)
{
    struct vault_login *login = vault_login(base);
    bool has_another = true;

    mutex_lock(&login->lock);
    if (number == login->number) {
        has_another = login->method != METHOD_TOKEN;
        login->is_refused = has_another;
    }
    mutex_unlock(&login->lock);
    return has_another;
}

/* ------------------------------------------------------------------ new, end */

static void login_status(struct key_login *base, struct key_login_status *ret)
{
    struct vault_login *login = vault_login(base);

    mutex_lock(&login->lock);
    *ret = login->status;
    mutex_unlock(&login->lock);
}

static void login_end(struct key_login *base)
{
    struct vault_login *login = vault_login(base);

    if (login->is_ours && login->token.data)
        revoke_token(login, &login->token);
    vault_client_release(&login->client);
    secret_release(&login->token);
    secret_release(&login->secret_id);
    (void)pthread_cond_destroy(&login->changed);
    free(login);
}

static const struct key_login_ops login_ops = { .status = login_status, .end = login_end };

/* Which of the ways to log in is configured: exactly one. */
static int find_method(const struct key_provider_config *config, enum method *ret,
                       struct error *err)
{
    bool has_token = config->token.len > 0;
    bool has_approle = config->role_id[0] || config->secret_id.len > 0;
    bool has_kubernetes = config->kubernetes_role[0] != '\0';

    if (has_token + has_approle + has_kubernetes > 1)
        return error_set(err, -EINVAL,
                         "Vault is logged in to in one way: with a token, with a role ID and a "
                         "secret ID, or with a Kubernetes role");
    if (has_approle && (!config->role_id[0] || config->secret_id.len == 0))
        return error_set(err, -EINVAL, "the role ID and the secret ID are needed both");
    if (!has_token && !has_approle && !has_kubernetes)
        return error_set(err, -EINVAL,
                         "Vault needs a login: a token, a role ID and a secret ID, or a "
                         "Kubernetes role");
    if (has_token && config->auth_path[0])
        return error_set(err, -EINVAL, "a token needs no path of an auth method");
    if (!has_token && config->leaves_renewal)
        return error_set(err, -EINVAL, "renewal can be left to the administrator for a token only");
    *ret = has_token ? METHOD_TOKEN : has_approle ? METHOD_APPROLE : METHOD_KUBERNETES;
    return 0;
}

static void copy_text(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from); /* both sides have the same size */
}

static int configure(struct vault_login *login, const struct key_provider_config *config,
                     struct error *err)
{
    bool is_approle = login->method == METHOD_APPROLE;
    const char *usual_path = is_approle ? "approle" : "kubernetes";
    const struct secret *from = is_approle ? &config->secret_id : &config->token;
    struct secret *to = is_approle ? &login->secret_id : &login->token;

    copy_text(login->kms_namespace, sizeof(login->kms_namespace), config->kms_namespace);
    vault_strip_slashes(login->kms_namespace);
    copy_text(login->auth_path, sizeof(login->auth_path),
              config->auth_path[0] ? config->auth_path : usual_path);
    vault_strip_slashes(login->auth_path);
    copy_text(login->role, sizeof(login->role),
              is_approle ? config->role_id : config->kubernetes_role);
    copy_text(login->jwt_path, sizeof(login->jwt_path),
              config->kubernetes_token_path[0] ? config->kubernetes_token_path : JWT_PATH);
    login->leaves_renewal = config->leaves_renewal;
    if (!vault_is_name(login->auth_path, true))
        return error_set(err, -EINVAL, "'%s' is not a path of an auth method", login->auth_path);
    if (login->kms_namespace[0] && !vault_is_name(login->kms_namespace, true))
        return error_set(err, -EINVAL, "'%s' is not a Vault namespace", login->kms_namespace);
    if (login->method == METHOD_KUBERNETES)
        return 0;
    int r = vault_check_token(from, is_approle ? "the secret ID" : "the Vault token", err);
    if (r == 0 && (r = secret_assign(to, secret_bytes(from))) < 0)
        r = error_set(err, r, "no locked memory for the login to Vault");
    return r;
}

int vault_login_new(const struct key_provider_config *config, struct key_login **ret,
                    struct error *err)
{
    const struct vault_client_options options = {
        .addresses = config->addresses,
        .allows_insecure_http = config->allows_insecure_http,
        .ca_cert_pem = buf_bytes(&config->ca_cert_pem),
    };
    enum method method;
    int r = find_method(config, &method, err);

    if (r < 0)
        return r;
    struct vault_login *login = calloc(1, sizeof(*login));
    if (!login)
        return error_set(err, -ENOMEM, "not enough memory for the login to Vault");
    login->base.ops = &login_ops;
    atomic_init(&login->base.references, 1);
    login->method = method;
    login->lock = MUTEX_INIT;
    (void)pthread_cond_init(&login->changed, NULL);
    login->number = 1;
    login->status = (struct key_login_status){ .due_ms = 0 };
    r = configure(login, config, err);
    if (r == 0)
        r = vault_client_init(&login->client, &options, err);
    if (r < 0) {
        login_end(&login->base);
        return r;
    }
    *ret = &login->base;
    return 0;
}
