#include "keys/kms_check_key.h"

#include "base/cleanup.h"

void kms_check_key_release(struct kms_check_key *key)
{
    key_trial_release(&key->trial);
}

void kms_check_each_address(struct address_list *addresses, struct kms_check *check,
                            kms_check_address_fn *run, void *arg)
{
    for (size_t i = 0; i < addresses->count; i++) {
        check->address = addresses->only = addresses->addresses[i];
        run(arg, i);
    }
    addresses->only = NULL;
}

bool kms_check_key_failed(struct kms_check_key *key, const char *name, int r,
                          const struct error *err)
{
    key->provider->ops->advise(key->provider, r, key->check);
    return kms_check_fail(key->check, name, kms_check_class_of(r), "%s", err->text);
}

bool kms_check_key_encrypt(struct kms_check_key *key)
{
    struct error err = { .code = 0 };
    int r = key_trial_wrap(&key->trial, key->provider, &err);

    if (r < 0)
        return kms_check_key_failed(key, "encrypt", r, &err);
    if (key->trial.wrapped.key_version == 0)
        return kms_check_ok(key->check, "encrypt", "a trial text was wrapped");
    return kms_check_ok(key->check, "encrypt", "a trial text was wrapped by version %u",
                        key->trial.wrapped.key_version);
}

bool kms_check_key_decrypt(struct kms_check_key *key)
{
    struct error err = { .code = 0 };
    int r = key_trial_unwrap(&key->trial, key->provider, &err);

    if (r < 0)
        return kms_check_key_failed(key, "decrypt", r, &err);
    return kms_check_ok(key->check, "decrypt", "and unwrapped to what it was");
}

static int rewrap_trial(struct kms_check_key *key, struct error *err)
{
    struct wrapped_key old = key->trial.wrapped;
    int r = key_provider_rewrap(key->provider, &old, 1, &key->trial.wrapped, err);

    return r < 0 ? r : key_trial_unwrap(&key->trial, key->provider, err);
}

bool kms_check_key_rewrap(struct kms_check_key *key)
{
    struct error err = { .code = 0 };
    int r = rewrap_trial(key, &err);

    if (r < 0)
        return kms_check_key_failed(key, "rewrap", r, &err);
    return kms_check_ok(key->check, "rewrap", "and rewrapped, as after a rotation");
}

int kms_check_key_whole(struct kms_check_key *key, const char *name, const char *users)
{
    struct key_description seen = { .algorithm = "" };
    struct error err = { .code = 0 };
    bool rewraps = key_provider_rewraps_inside(key->provider);
    int r = key_provider_describe(key->provider, &seen, &err);

    if (r == 0)
        r = key_trial_wrap(&key->trial, key->provider, &err);
    if (r == 0)
        r = key_trial_unwrap(&key->trial, key->provider, &err);
    if (r == 0 && rewraps)
        r = rewrap_trial(key, &err);
    if (r < 0) {
        r = error_prefix(&err, r, "the key of %s", users);
        (void)kms_check_key_failed(key, name, r, &err);
        return r;
    }
    (void)kms_check_ok(key->check, name,
                       "'%s', the key of %s: %s, %s; a trial text was wrapped%s unwrapped%s",
                       key->trial.wrapped.key_name, users, seen.algorithm, seen.state,
                       rewraps ? "," : " and", rewraps ? " and rewrapped" : "");
    return 0;
}
