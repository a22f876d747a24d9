/* session.c - /api/v1/login and /api/v1/session: logging in and out over HTTPS. */
#include <errno.h>
#include <string.h>

#include "api/routes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "net/json.h"

#define STATUS_UNAUTHENTICATED 401
#define STATUS_TOO_MANY 429

/* The page takes the csrf token from here, also after it was loaded anew. */
static int reply_session(const char *user, enum user_role role, const char *token,
                         struct api_reply *ret, struct error *err)
{
    char csrf[SESSION_TOKEN_SIZE] = "";

    if (*token != '\0' && session_csrf(token, csrf) < 0)
        return api_no_memory(err);
    ret->body =
        json_pack("{s:s,s:s,s:s}", "user", user, "role", user_role_name(role), "csrf", csrf);
    return api_reply_end(ret, err);
}

int api_get_session(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    const struct api_caller *caller = request->caller;
    char who[API_WHO_SIZE];

    api_caller_who(caller, who);
    return reply_session(caller->actor.name[0] != '\0' ? caller->actor.name : who, caller->role,
                         caller->is_bearer ? "" : caller->token, ret, err);
}

/* ------------------------------------------------------------------ logging in */

struct login_text {
    char name[USER_NAME_MAX + 1];
    struct secret password;
    bool wants_bearer;
};

static void login_text_release(struct login_text *text)
{
    secret_release(&text->password);
}

/* A name that nobody can have is as wrong as one that nobody has. */
static int read_login(const json_t *body, struct login_text *ret, struct error *err)
{
    const char *name = NULL;
    int r = json_get_text(body, "user", JSON_REQUIRED, &name, err);

    if (r == 0)
        r = json_get_secret(body, "password", JSON_REQUIRED, &ret->password, err);
    if (r == 0)
        r = json_get_bool(body, "bearer", JSON_OPTIONAL, &ret->wants_bearer, err);
    if (r < 0)
        return r;
    if (ret->password.len > USERS_PASSWORD_MAX || user_name_check(name, NULL) < 0)
        return error_set(err, -EKEYREJECTED, "the name or the password is wrong");
    memcpy(ret->name, name, strlen(name) + 1);
    return 0;
}

static int take_try(const struct api_request *request, struct error *err)
{
    const struct api_caller *caller = request->caller;
    struct bytes address = { .data = caller->address, .len = caller->address_len };
    int64_t wait_ms = 0;

    if (throttle_take(request->context->logins, address, clock_monotonic_ms(), &wait_ms))
        return 0;
    return error_set(err, -EUSERS, "too many logins from this address; wait %lld seconds",
                     (long long)(wait_ms + 999) / 1000);
}

static void give_back_try(const struct api_request *request)
{
    const struct api_caller *caller = request->caller;
    struct bytes address = { .data = caller->address, .len = caller->address_len };

    throttle_give_back(request->context->logins, address);
}

/* Whoever has the password gets his try back. */
static int check_password(const struct api_request *request, const char *name,
                          const struct secret *password, struct user_view *ret, struct error *err)
{
    struct user_login login = { .name = name,
                                .password = password,
                                .from = request->caller->from,
                                .now_ms = clock_monotonic_ms() };
    int r = take_try(request, err);

    if (r == 0)
        r = users_login(control_users(request->context->control), &login, ret, err);
    if (r == 0)
        give_back_try(request);
    return r;
}

static unsigned status_of(int code)
{
    if (code == -EKEYREJECTED)
        return STATUS_UNAUTHENTICATED;
    return code == -EUSERS ? STATUS_TOO_MANY : 0;
}

static int begin_session(const struct api_request *request, const struct user_view *user,
                         bool is_bearer, struct api_reply *ret, struct error *err)
{
    struct session session = { .epoch = user->epoch, .is_bearer = is_bearer };
    char token[SESSION_TOKEN_SIZE];

    memcpy(session.user, user->name, sizeof(session.user));
    int r = sessions_begin(request->context->sessions, &session, clock_monotonic_ms(), token, err);
    if (r == 0)
        r = reply_session(user->name, user->role, is_bearer ? "" : token, ret, err);
    if (r == 0 && is_bearer && json_object_set_new(ret->body, "token", json_string(token)) < 0)
        r = api_no_memory(err);
    if (r == 0 && !is_bearer)
        memcpy(ret->session, token, sizeof(token));
    memory_wipe(token, sizeof(token));
    return r;
}

int api_log_in(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(login_text_release) struct login_text text = { .password = SECRET_INIT };
    struct user_view user = { .epoch = 0 };

    if (request->caller->is_local)
        return error_set(err, -EINVAL,
                         "nobody logs in on the socket of the host; the kernel says who he is");
    int r = read_login(request->body, &text, err);
    if (r == 0)
        r = check_password(request, text.name, &text.password, &user, err);
    if (r == 0)
        r = begin_session(request, &user, text.wants_bearer, ret, err);
    ret->error_status = status_of(r);
    if (r == 0 && request->caller->token[0] != '\0')
        sessions_end(request->context->sessions, request->caller->token);
    return r;
}

static int need_session(const struct api_request *request, struct error *err)
{
    if (request->caller->token[0] != '\0')
        return 0;
    return error_set(err, -EINVAL,
                     "there is no login on the socket of the host; use coffer user passwd for a "
                     "user's password");
}

int api_log_out(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    int r = need_session(request, err);

    if (r < 0)
        return r;
    sessions_end(request->context->sessions, request->caller->token);
    ret->ends_session = true;
    ret->body = json_object();
    return api_reply_end(ret, err);
}

/* The user's other sessions end; this one goes on. */
int api_change_own_password(const struct api_request *request, struct api_reply *ret,
                            struct error *err)
{
    CLEANUP(secret_release) struct secret before = SECRET_INIT;
    CLEANUP(secret_release) struct secret after = SECRET_INIT;
    const struct api_caller *caller = request->caller;
    struct user_view user = { .epoch = 0 };
    int r = need_session(request, err);

    if (r == 0)
        r = json_get_secret(request->body, "old_password", JSON_REQUIRED, &before, err);
    if (r == 0)
        r = json_get_secret(request->body, "password", JSON_REQUIRED, &after, err);
    if (r == 0)
        r = check_password(request, caller->actor.name, &before, &user, err);
    if (r == -EKEYREJECTED) /* not 401: the session is as good as before */
        return error_set(err, -EACCES, "the present password is wrong");
    if (r == 0)
        r = users_set_password(control_users(request->context->control), caller->actor.name, &after,
                               &user, err);
    if (r < 0)
        return r;
    sessions_go_on(request->context->sessions, caller->token, user.epoch);
    ret->body = json_object();
    return api_reply_end(ret, err);
}
