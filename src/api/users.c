/* users.c - /api/v1/users: who may log in. Passwords go in and never come out. */
#include <errno.h>
#include <string.h>

#include "api/query.h"
#include "base/cleanup.h"
#include "net/json.h"

static json_t *user_json(const struct user_view *user)
{
    char created[API_TIME_SIZE];
    char password_set[API_TIME_SIZE];

    api_time_text(user->created_ns, created);
    api_time_text(user->password_set_ns, password_set);
    return json_pack("{s:s,s:s,s:s,s:s}", "name", user->name, "role", user_role_name(user->role),
                     "created", created, "password_set", password_set);
}

static struct users *users_of(const struct api_request *request)
{
    return control_users(request->context->control);
}

int api_list_users(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(free_ptr) struct user_view *users = NULL;
    CLEANUP(json_freep) json_t *list = json_array();
    size_t count = 0;
    int r = users_list(users_of(request), &users, &count, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(list, user_json(&users[i])) < 0)
            return api_no_memory(err);
    ret->body = TAKE(list);
    return api_reply_end(ret, err);
}

static int reply_user(const struct api_request *request, const char *name, unsigned status,
                      struct api_reply *ret, struct error *err)
{
    struct user_view user;
    int r = users_get(users_of(request), name, &user, err);

    if (r < 0)
        return r;
    ret->status = status;
    ret->body = user_json(&user);
    return api_reply_end(ret, err);
}

static int get_role(const json_t *body, enum user_role *ret, struct error *err)
{
    const char *text = NULL;
    int r = json_get_text(body, "role", JSON_REQUIRED, &text, err);

    return r < 0 ? r : user_role_parse(text, ret, err);
}

int api_add_user(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret password = SECRET_INIT;
    enum user_role role = USER_READ_ONLY;
    const char *name = NULL;
    int r = json_get_text(request->body, "name", JSON_REQUIRED, &name, err);

    if (r == 0)
        r = get_role(request->body, &role, err);
    if (r == 0)
        r = json_get_secret(request->body, "password", JSON_REQUIRED, &password, err);
    if (r == 0)
        r = users_add(users_of(request), name, role, &password, err);
    return r < 0 ? r : reply_user(request, name, 201, ret, err);
}

int api_update_user(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    enum user_role role = USER_READ_ONLY;
    int r = get_role(request->body, &role, err);

    if (r == 0)
        r = users_set_role(users_of(request), request->name, role, err);
    return r < 0 ? r : reply_user(request, request->name, 200, ret, err);
}

int api_set_user_password(const struct api_request *request, struct api_reply *ret,
                          struct error *err)
{
    CLEANUP(secret_release) struct secret password = SECRET_INIT;
    struct user_view user;
    int r = json_get_secret(request->body, "password", JSON_REQUIRED, &password, err);

    if (r == 0)
        r = users_set_password(users_of(request), request->name, &password, &user, err);
    return r < 0 ? r : reply_user(request, request->name, 200, ret, err);
}

int api_remove_user(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    int r = users_remove(users_of(request), request->name, err);

    if (r < 0)
        return r;
    ret->body = json_object();
    return api_reply_end(ret, err);
}
