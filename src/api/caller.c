#include "api/caller.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BIT(role) (1u << (role))
#define EVERY_ROLE                                                                                 \
    (BIT(USER_READ_ONLY) | BIT(USER_REGULAR) | BIT(USER_KEY_ADMIN) | BIT(USER_CLUSTER_ADMIN))

static const unsigned roles_with[NEED_COUNT] = {
    [NEED_NOTHING] = EVERY_ROLE,
    [NEED_LOGIN] = EVERY_ROLE,
    [NEED_VIEW] = EVERY_ROLE,
    [NEED_ATTENTION] = BIT(USER_REGULAR) | BIT(USER_KEY_ADMIN) | BIT(USER_CLUSTER_ADMIN),
    [NEED_FILESYSTEM] = BIT(USER_REGULAR) | BIT(USER_CLUSTER_ADMIN),
    [NEED_KEYS] = BIT(USER_KEY_ADMIN) | BIT(USER_CLUSTER_ADMIN),
    [NEED_ADMIN] = BIT(USER_CLUSTER_ADMIN),
};

void api_caller_who(const struct api_caller *caller, char ret[static API_WHO_SIZE])
{
    if (caller->actor.name[0] != '\0')
        (void)snprintf(ret, API_WHO_SIZE, "user %s", caller->actor.name);
    else
        (void)snprintf(ret, API_WHO_SIZE, "uid %" PRIu32, caller->actor.uid);
}

/* "KeyAdmin or ClusterAdmin" */
static void list_roles(unsigned roles, char *ret, size_t size)
{
    size_t used = 0;

    ret[0] = '\0';
    for (enum user_role role = USER_READ_ONLY; role < USER_ROLE_COUNT && used < size; role++)
        if (roles & BIT(role))
            used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? " or " : "",
                                     user_role_name(role));
}

int api_caller_may(const struct api_caller *caller, enum api_need need, struct error *err)
{
    char who[API_WHO_SIZE];
    char roles[96];

    if (need == NEED_NOTHING)
        return 0;
    if (!caller->is_known)
        return error_set(err, -EACCES, "nobody is logged in, or not any more; log in first");
    if (roles_with[need] & BIT(caller->role))
        return 0;
    api_caller_who(caller, who);
    list_roles(roles_with[need], roles, sizeof(roles));
    return error_set(err, -EACCES, "this needs the role %s; %s has the role %s", roles, who,
                     user_role_name(caller->role));
}
