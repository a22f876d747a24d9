#include "keys/key_provider.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "keys/key_requests.h"
#include "keys/providers.h"

#define PLAIN_MAX 256u
#define TRIAL_LEN 64u

void key_provider_config_release(struct key_provider_config *config)
{
    buf_release(&config->client_cert_pem);
    buf_release(&config->ca_cert_pem);
    secret_release(&config->client_key_pem);
    secret_release(&config->token);
    secret_release(&config->secret_id);
    secret_release(&config->password);
    secret_release(&config->local_key);
    key_login_unref(config->login);
    *config = KEY_PROVIDER_CONFIG_INIT;
}

static int copy_secret(struct secret *to, const struct secret *from)
{
    return from->data ? secret_assign(to, secret_bytes(from)) : 0;
}

int key_provider_config_copy(struct key_provider_config *to, const struct key_provider_config *from)
{
    CLEANUP(key_provider_config_release) struct key_provider_config copy = *from;

    copy.client_cert_pem = BUF_INIT;
    copy.ca_cert_pem = BUF_INIT;
    copy.client_key_pem = SECRET_INIT;
    copy.token = SECRET_INIT;
    copy.secret_id = SECRET_INIT;
    copy.password = SECRET_INIT;
    copy.local_key = SECRET_INIT;
    copy.login = key_login_ref(from->login);
    if (buf_assign(&copy.client_cert_pem, buf_bytes(&from->client_cert_pem)) < 0 ||
        buf_assign(&copy.ca_cert_pem, buf_bytes(&from->ca_cert_pem)) < 0 ||
        copy_secret(&copy.client_key_pem, &from->client_key_pem) < 0 ||
        copy_secret(&copy.token, &from->token) < 0 ||
        copy_secret(&copy.secret_id, &from->secret_id) < 0 ||
        copy_secret(&copy.password, &from->password) < 0 ||
        copy_secret(&copy.local_key, &from->local_key) < 0)
        return -ENOMEM;
    key_provider_config_release(to);
    *to = copy;
    copy = KEY_PROVIDER_CONFIG_INIT;
    return 0;
}

int key_provider_config_share_login(struct key_provider_config *config, struct error *err)
{
    key_login_new_fn *new_login = key_login_find(config->type);

    return new_login && !config->login ? new_login(config, &config->login, err) : 0;
}

int key_provider_open(const struct key_provider_config *config, struct key_provider **ret,
                      struct error *err)
{
    key_provider_open_fn *open_provider = key_provider_find(config->type);

    if (!open_provider)
        return error_set(err, -EINVAL, "'%s' is not a type of key server: use vault or kmip",
                         config->type);
    return open_provider(config, ret, err);
}

/* A blob goes to the kind of server that it names, and only one of a possible shape does. */
static int check_wrapped(const struct key_provider *provider, const struct wrapped_key *wrapped,
                         struct error *err)
{
    if (strcmp(wrapped->provider, provider->ops->type) != 0)
        return error_set(err, -EINVAL,
                         "the key was wrapped by a key server of type '%s', not '%s': configure "
                         "that key server",
                         wrapped->provider, provider->ops->type);
    if (wrapped->blob_len == 0 || wrapped->blob_len > WRAPPED_BLOB_MAX ||
        wrapped->iv_len > WRAPPED_IV_MAX || wrapped->tag_len > WRAPPED_TAG_MAX)
        return error_set(err, -EBADMSG, "the wrapped key is malformed");
    return 0;
}

int key_provider_describe(struct key_provider *provider, struct key_description *ret,
                          struct error *err)
{
    return key_requests_note(KEY_DESCRIBE, provider->ops->type,
                             provider->ops->describe(provider, ret, err));
}

int key_provider_wrap(struct key_provider *provider, struct bytes plain, struct wrapped_key *ret,
                      struct error *err)
{
    assert(plain.len > 0 && plain.len <= PLAIN_MAX);
    return key_requests_note(KEY_WRAP, provider->ops->type,
                             provider->ops->wrap(provider, plain, ret, err));
}

int key_provider_unwrap(struct key_provider *provider, const struct wrapped_key *wrapped,
                        size_t count, struct secret *ret_plain, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        int r = check_wrapped(provider, &wrapped[i], err);
        if (r < 0)
            return r;
    }
    if (count == 0)
        return 0;
    return key_requests_note(KEY_UNWRAP, provider->ops->type,
                             provider->ops->unwrap(provider, wrapped, count, ret_plain, err));
}

bool key_provider_rewraps_inside(const struct key_provider *provider)
{
    return provider->ops->rewrap != NULL;
}

/* For a server without a rewrap: the key is in this process's locked memory in between. */
static int rewrap_here(struct key_provider *provider, const struct wrapped_key *old,
                       struct wrapped_key *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    int r = key_provider_unwrap(provider, old, 1, &plain, err);

    return r < 0 ? r : key_provider_wrap(provider, secret_bytes(&plain), ret, err);
}

int key_provider_rewrap(struct key_provider *provider, const struct wrapped_key *old, size_t count,
                        struct wrapped_key *ret, struct error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++)
        r = check_wrapped(provider, &old[i], err);
    if (r < 0 || count == 0)
        return r;
    if (key_provider_rewraps_inside(provider))
        return key_requests_note(KEY_REWRAP, provider->ops->type,
                                 provider->ops->rewrap(provider, old, count, ret, err));
    for (size_t i = 0; r == 0 && i < count; i++)
        r = rewrap_here(provider, &old[i], &ret[i], err);
    return r;
}

bool key_provider_names(const struct key_provider *provider, const struct wrapped_key *wrapped)
{
    return strcmp(wrapped->provider, provider->ops->type) == 0 &&
           provider->ops->is_configured_key(provider, wrapped);
}

int key_trial_wrap(struct key_trial *trial, struct key_provider *provider, struct error *err)
{
    int r = secret_new(&trial->text, TRIAL_LEN);

    if (r < 0)
        return error_set(err, r, "no locked memory for the trial of the key server");
    random_bytes(trial->text.data, trial->text.len);
    return key_provider_wrap(provider, secret_bytes(&trial->text), &trial->wrapped, err);
}

int key_trial_unwrap(const struct key_trial *trial, struct key_provider *provider,
                     struct error *err)
{
    CLEANUP(secret_release) struct secret unwrapped = SECRET_INIT;

    int r = key_provider_unwrap(provider, &trial->wrapped, 1, &unwrapped, err);
    if (r < 0)
        return r;
    if (!secret_equal(secret_bytes(&trial->text), secret_bytes(&unwrapped)))
        return error_set(err, -EPROTO,
                         "the key server returned other bytes than it had wrapped: do not use it, "
                         "and look for the fault there");
    return 0;
}

void key_trial_release(struct key_trial *trial)
{
    secret_release(&trial->text);
}

int key_provider_verify(struct key_provider *provider, struct key_description *ret,
                        struct error *err)
{
    CLEANUP(key_trial_release) struct key_trial trial = { .text = SECRET_INIT };
    struct key_description description;

    int r = key_provider_describe(provider, &description, err);
    if (r < 0)
        return r;
    r = key_trial_wrap(&trial, provider, err);
    if (r < 0)
        return error_prefix(err, r, "the trial of wrapping a key failed");
    r = key_trial_unwrap(&trial, provider, err);
    if (r < 0)
        return error_prefix(err, r, "the trial of unwrapping a key failed");
    *ret = description;
    return 0;
}

int key_provider_check(struct key_provider *provider, struct kms_check *check, struct error *err)
{
    if (!provider->ops->check)
        return error_set(err, -EOPNOTSUPP, "a key server of type '%s' has nothing to check",
                         provider->ops->type);
    provider->ops->check(provider, check);
    return 0;
}

void key_provider_close(struct key_provider *provider)
{
    if (provider)
        provider->ops->close(provider);
}
