#include "control/kms_logins.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void release_one(struct kms_own_login *login)
{
    secret_release(&login->secret_id);
    key_login_unref(login->login);
}

void kms_logins_release(struct kms_logins *logins)
{
    for (size_t i = 0; i < logins->count; i++)
        release_one(&logins->items[i]);
    free(logins->items);
    *logins = (struct kms_logins){ .count = 0 };
}

int kms_logins_copy(struct kms_logins *to, const struct kms_logins *from)
{
    struct kms_logins copy = { .count = 0 };
    int r = 0;

    for (size_t i = 0; r == 0 && i < from->count; i++) {
        const struct kms_own_login *one = &from->items[i];
        r = kms_logins_put(&copy, one->kms_namespace, one->role_id, secret_bytes(&one->secret_id));
        if (r < 0)
            break;
        copy.items[i].login = key_login_ref(one->login);
        copy.items[i].generation = one->generation;
    }
    if (r < 0) {
        kms_logins_release(&copy);
        return r;
    }
    kms_logins_release(to);
    *to = copy;
    return 0;
}

struct kms_own_login *kms_logins_find(const struct kms_logins *logins, const char *kms_namespace,
                                      const char *role_id)
{
    for (size_t i = 0; i < logins->count; i++)
        if (strcmp(logins->items[i].role_id, role_id) == 0 &&
            strcmp(logins->items[i].kms_namespace, kms_namespace) == 0)
            return &logins->items[i];
    return NULL;
}

static int add(struct kms_logins *logins, const char *kms_namespace, const char *role_id,
               struct kms_own_login **ret)
{
    if (logins->count == KMS_LOGINS_MAX)
        return -ENOSPC;
    struct kms_own_login *items =
        reallocarray(logins->items, logins->count + 1, sizeof(*logins->items));
    if (!items)
        return -ENOMEM;
    logins->items = items;
    *ret = &items[logins->count++];
    **ret = (struct kms_own_login){ .login = NULL };
    (void)snprintf((*ret)->kms_namespace, sizeof((*ret)->kms_namespace), "%s", kms_namespace);
    (void)snprintf((*ret)->role_id, sizeof((*ret)->role_id), "%s", role_id);
    return 0;
}

int kms_logins_put(struct kms_logins *logins, const char *kms_namespace, const char *role_id,
                   struct bytes secret_id)
{
    struct kms_own_login *login = kms_logins_find(logins, kms_namespace, role_id);
    struct secret copy = SECRET_INIT;
    int r = secret_assign(&copy, secret_id);

    if (r == 0 && !login)
        r = add(logins, kms_namespace, role_id, &login);
    if (r < 0) {
        secret_release(&copy);
        return r;
    }
    release_one(login);
    login->login = NULL;
    login->secret_id = copy;
    return 0;
}

size_t kms_logins_keep(struct kms_logins *logins, kms_login_wanted_fn *is_wanted, void *arg)
{
    size_t kept = 0;

    for (size_t i = 0; i < logins->count; i++) {
        struct kms_own_login *one = &logins->items[i];
        if (!is_wanted(one, arg))
            release_one(one);
        else
            logins->items[kept++] = *one;
    }
    size_t dropped = logins->count - kept;
    logins->count = kept;
    return dropped;
}
