#include "keys/key_login.h"

#include <stddef.h>

struct key_login *key_login_ref(struct key_login *login)
{
    if (login)
        (void)atomic_fetch_add(&login->references, 1);
    return login;
}

void key_login_unref(struct key_login *login)
{
    if (login && atomic_fetch_sub(&login->references, 1) == 1)
        login->ops->end(login);
}

void key_login_status(struct key_login *login, struct key_login_status *ret)
{
    *ret = (struct key_login_status){ .due_ms = INT64_MAX };
    if (login)
        login->ops->status(login, ret);
}
