/* own_key_check.c - part of `kms check`: the keys of the key server that single filesystems have of
 * their own, each with the login that asks for it. One step for each of these, however many
 * filesystems have it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/control.h"
#include "control/filesystem.h"
#include "control/kms.h"
#include "keys/kms_check_key.h"

#define KEYS_MAX 32u
#define USERS_SIZE 200u

static const char step_name[] = "own-key";

struct own_key {
    struct fs_kms_key own;
    char users[USERS_SIZE];
    size_t count; /* of users */
};

struct own_keys {
    struct own_key *keys; /* KEYS_MAX of them */
    size_t count;
    size_t left_out; /* filesystems whose keys found no room */
};

static bool is_same(const struct own_key *key, const struct fs_record *record)
{
    return strcmp(key->own.key, record->own.key) == 0 &&
           strcmp(key->own.kms_namespace, record->own.kms_namespace) == 0 &&
           strcmp(key->own.role_id, record->own.role_id) == 0;
}

static void add_user(struct own_key *key, const char *name)
{
    size_t used = strlen(key->users);

    key->count++;
    (void)snprintf(key->users + used, sizeof(key->users) - used, "%s%s", used ? ", " : "", name);
}

static void take_record(struct own_keys *all, const struct fs_record *record)
{
    size_t at = 0;

    while (at < all->count && !is_same(&all->keys[at], record))
        at++;
    if (at == KEYS_MAX) {
        all->left_out++;
        return;
    }
    struct own_key *key = &all->keys[at];
    if (at == all->count) {
        all->count++;
        key->own = record->own;
    }
    add_user(key, record->name);
}

static int take_key(struct filesystem *filesystem, void *arg, struct error *err)
{
    (void)err;
    mutex_lock(&filesystem->lock);
    if (fs_record_has_own_key(&filesystem->record))
        take_record(arg, &filesystem->record);
    mutex_unlock(&filesystem->lock);
    return 0;
}

static int check_key(struct control *control, const struct own_key *own, struct kms_check *check)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    CLEANUP(kms_check_key_release) struct kms_check_key key = { .check = check };
    struct error err = { .code = 0 };
    char users[USERS_SIZE + 40];
    int r = kms_provider_for(control->kms, &own->own, NULL, &provider, &err);

    (void)snprintf(users, sizeof(users), "filesystem%s %s", own->count == 1 ? "" : "s", own->users);
    if (r == 0) {
        key.provider = provider;
        return kms_check_key_whole(&key, step_name, users);
    }
    kms_check_advise(check, "give the filesystem another key, or a login, with 'coffer fs update'");
    (void)kms_check_fail(check, step_name, kms_check_class_of(r), "the key of %s: %s", users,
                         err.text);
    return r;
}

/* A server that is away is not asked again for each that is left. */
static void check_keys(struct control *control, const struct own_keys *all, struct kms_check *check)
{
    int r = 0;

    for (size_t i = 0; i < all->count; i++)
        if (r == -EAGAIN)
            (void)kms_check_skip(check, step_name, "the server is away: the key '%s' of %s",
                                 all->keys[i].own.key, all->keys[i].users);
        else
            r = check_key(control, &all->keys[i], check);
    if (all->left_out > 0)
        (void)kms_check_skip(check, step_name,
                             "not the keys of %zu further filesystems, only the first %u keys",
                             all->left_out, KEYS_MAX);
}

int own_keys_check(struct control *control, struct kms_check *check, struct error *err)
{
    CLEANUP(free_ptr) struct own_key *keys = calloc(KEYS_MAX, sizeof(*keys));
    struct own_keys all = { .keys = keys };

    if (!keys)
        return error_set(err, -ENOMEM, "out of memory");
    int r = control_each(control, take_key, &all, err);
    if (r == 0)
        check_keys(control, &all, check);
    return r;
}
