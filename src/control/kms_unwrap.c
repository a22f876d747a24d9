/* kms_unwrap.c - keys unwrapped by whatever wrapped them: the configured key server, by the login
 * of the instance or by the filesystem's own; local keys; the key server that a change leads to. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/kms.h"

static int unwrap_with(struct key_provider *provider, const struct wrapped_key *wrapped,
                       size_t count, struct secret *ret_plain, struct error *err)
{
    if (strcmp(wrapped->provider, provider->ops->type) != 0)
        return error_set(err, -ENOENT,
                         "its key was wrapped by %s at %s with key %s, but the KMS that is "
                         "configured is %s; set the KMS that holds that key",
                         wrapped->provider, wrapped->addresses, wrapped->key_name,
                         provider->ops->type);
    return key_provider_unwrap(provider, wrapped, count, ret_plain, err);
}

static int unwrap_locally(struct kms *kms, const struct wrapped_key *wrapped, size_t count,
                          struct secret *ret_plain, struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    int r = kms_local_provider(kms, wrapped->key_name, false, &provider, err);

    return r < 0 ? r : unwrap_with(provider, wrapped, count, ret_plain, err);
}

/* Who wants to know, and how. */
struct asking {
    struct kms *kms;
    struct key_provider *server;   /* instead of the configured one, or NULL */
    const struct fs_record *owner; /* or NULL */
    bool is_quiet;                 /* a failure says nothing of the configured server */
};

/* By the login of the instance. */
static int unwrap_configured(const struct asking *asking, const struct wrapped_key *wrapped,
                             size_t count, struct secret *ret_plain, struct error *err)
{
    struct kms *kms = asking->kms;
    struct key_provider *provider = NULL;
    struct error first = { .code = 0 };
    unsigned generation = 0;
    int r = kms_borrow(kms, &provider, &generation, err);

    if (r < 0)
        return r;
    r = unwrap_with(provider, wrapped, count, ret_plain, &first);
    if (strcmp(wrapped->provider, provider->ops->type) == 0 && (r == 0 || !asking->is_quiet))
        kms_note(kms, r, &first);
    kms_give_back(kms, provider, generation, r);
    return r < 0 ? error_set(err, r, "%s", first.text) : 0;
}

static int unwrap_by_own_login(struct kms *kms, const struct fs_kms_key *own,
                               const struct wrapped_key *wrapped, size_t count,
                               struct secret *ret_plain, struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    int r = kms_provider_for(kms, own, NULL, &provider, err);

    return r < 0 ? r : unwrap_with(provider, wrapped, count, ret_plain, err);
}

/* own: whose login to use, or NULL. */
static int unwrap_staged(struct kms *kms, const struct fs_kms_key *own,
                         const struct wrapped_key *wrapped, size_t count, struct secret *ret_plain,
                         struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    int r = kms_staged(kms, &config, NULL, err);

    if (r == 0 && own)
        r = kms_adapt(kms, own, NULL, &config, err);
    if (r == 0)
        r = key_provider_open(&config, &provider, err);
    return r != 0 ? r : unwrap_with(provider, wrapped, count, ret_plain, err);
}

/* Who asks for this blob: NULL for the instance. What a change is about to use comes first: it was
 * tried before the change began. */
static const struct fs_kms_key *login_for(struct kms *kms, const struct fs_record *owner,
                                          const struct wrapped_key *wrapped)
{
    if (!owner)
        return NULL;
    if (owner->has_next && kms_key_names(kms, &owner->next, wrapped))
        return owner->next.role_id[0] ? &owner->next : NULL;
    return fs_record_has_own_login(owner) && kms_key_names(kms, &owner->own, wrapped) ? &owner->own
                                                                                      : NULL;
}

/* The keys of a run of blobs of the same provider, local or the server's, and the same login. */
static int unwrap_run(const struct asking *asking, const struct fs_kms_key *own,
                      const struct wrapped_key *wrapped, size_t count, struct secret *ret_plain,
                      struct error *err)
{
    struct kms *kms = asking->kms;
    struct error first = { .code = 0 };
    struct error second = { .code = 0 };

    if (strcmp(wrapped->provider, "local") == 0)
        return unwrap_locally(kms, wrapped, count, ret_plain, err);
    if (asking->server)
        return unwrap_with(asking->server, wrapped, count, ret_plain, err);
    int r = own ? unwrap_by_own_login(kms, own, wrapped, count, ret_plain, &first)
                : unwrap_configured(asking, wrapped, count, ret_plain, &first);
    if (r < 0 && kms_is_staged(kms)) {
        int with_staged = unwrap_staged(kms, own, wrapped, count, ret_plain, &second);
        if (with_staged == 0)
            return 0;
        /* What may pass tells more than that the other one does not have the key. */
        if (with_staged == -EAGAIN || with_staged == -EACCES)
            return error_set(err, with_staged, "%s", second.text);
    }
    return r < 0 ? error_set(err, r, "%s", first.text) : 0;
}

static bool same_source(const struct wrapped_key *a, const struct wrapped_key *b)
{
    if (strcmp(a->provider, b->provider) != 0)
        return false;
    return strcmp(a->provider, "local") != 0 || strcmp(a->key_name, b->key_name) == 0;
}

static int unwrap(const struct asking *asking, const struct wrapped_key *wrapped, size_t count,
                  struct secret *ret_plain, struct error *err)
{
    for (size_t i = 0; i < count;) {
        const struct fs_kms_key *own = login_for(asking->kms, asking->owner, &wrapped[i]);
        size_t run = 1;
        while (i + run < count && same_source(&wrapped[i], &wrapped[i + run]) &&
               login_for(asking->kms, asking->owner, &wrapped[i + run]) == own)
            run++;
        int r = unwrap_run(asking, own, wrapped + i, run, ret_plain + i, err);
        if (r < 0) {
            while (i > 0)
                secret_release(&ret_plain[--i]);
            return r;
        }
        i += run;
    }
    return 0;
}

int kms_unwrap(struct kms *kms, struct key_provider *server, const struct fs_record *owner,
               const struct wrapped_key *wrapped, size_t count, struct secret *ret_plain,
               struct error *err)
{
    const struct asking asking = { .kms = kms, .server = server, .owner = owner };

    return unwrap(&asking, wrapped, count, ret_plain, err);
}

int kms_try_unwrap(struct kms *kms, struct key_provider *server, const struct fs_record *owner,
                   const struct wrapped_key *wrapped, size_t count, struct secret *ret_plain,
                   struct error *err)
{
    const struct asking asking = { .kms = kms, .server = server, .owner = owner, .is_quiet = true };

    return unwrap(&asking, wrapped, count, ret_plain, err);
}
