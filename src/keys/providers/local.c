/* local.c - no key server: AES-256-GCM under a key of this host. Whoever reads that key's file
 * reads the filesystems, so it is used only where the administrator said --allow-no-kms. */
#include "keys/providers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/aead.h"

#define LOCAL_NAME "local"

static const uint8_t purpose[] = "coffer local wrap v1";

struct local_provider {
    struct key_provider base;
    struct aead *aead;
};

static struct local_provider *local_provider(struct key_provider *provider)
{
    return (struct local_provider *)provider;
}

static struct bytes associated_data(void)
{
    return (struct bytes){ .data = purpose, .len = sizeof(purpose) - 1 };
}

static int local_describe(struct key_provider *provider, struct key_description *ret,
                          struct error *err)
{
    (void)provider;
    (void)err;
    *ret = (struct key_description){ .algorithm = "AES-256-GCM",
                                     .state = "active",
                                     .server = "none: a key file of this host" };
    return 0;
}

static int local_wrap(struct key_provider *provider, struct bytes plain, struct wrapped_key *ret,
                      struct error *err)
{
    struct wrapped_key wrapped = { .provider = LOCAL_NAME,
                                   .key_name = LOCAL_NAME,
                                   .mode = WRAP_MODE_GCM,
                                   .iv_len = AEAD_NONCE_LEN,
                                   .tag_len = AEAD_TAG_LEN,
                                   .blob_len = (uint16_t)plain.len };
    struct nonce_batch batch = { 0 };
    uint8_t sealed[WRAPPED_BLOB_MAX];

    if (plain.len > sizeof(sealed) - AEAD_TAG_LEN)
        return error_set(err, -EINVAL, "%zu bytes are too many to wrap", plain.len);
    (void)nonce_next(&batch, wrapped.iv);
    int r = aead_seal(local_provider(provider)->aead, wrapped.iv, associated_data(), plain, sealed);
    if (r < 0)
        return error_set(err, r, "cannot wrap with the local key: %s", strerrordesc_np(-r));
    memcpy(wrapped.blob, sealed, plain.len);
    memcpy(wrapped.tag, sealed + plain.len, AEAD_TAG_LEN);
    *ret = wrapped;
    return 0;
}

static int unwrap_one(struct local_provider *local, const struct wrapped_key *wrapped,
                      struct secret *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    uint8_t sealed[WRAPPED_BLOB_MAX + AEAD_TAG_LEN];

    if (wrapped->mode != WRAP_MODE_GCM || wrapped->iv_len != AEAD_NONCE_LEN ||
        wrapped->tag_len != AEAD_TAG_LEN)
        return error_set(err, -EBADMSG, "the wrapped key was not made by a local key");
    int r = secret_new(&plain, wrapped->blob_len);
    if (r < 0)
        return error_set(err, r, "no locked memory for a key");
    memcpy(sealed, wrapped->blob, wrapped->blob_len);
    memcpy(sealed + wrapped->blob_len, wrapped->tag, AEAD_TAG_LEN);
    const struct bytes all = { .data = sealed, .len = wrapped->blob_len + AEAD_TAG_LEN };
    r = aead_open(local->aead, wrapped->iv, associated_data(), all, plain.data);
    if (r < 0)
        return error_set(err, r,
                         "the local key does not open the wrapped key: it is another host's key "
                         "file, or the wrapped key was altered");
    secret_move(ret, &plain);
    return 0;
}

static int local_unwrap(struct key_provider *provider, const struct wrapped_key *wrapped,
                        size_t count, struct secret *ret_plain, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        int r = unwrap_one(local_provider(provider), &wrapped[i], &ret_plain[i], err);
        if (r == 0)
            continue;
        for (size_t done = 0; done < i; done++)
            secret_release(&ret_plain[done]);
        return error_prefix(err, r, "wrapped key %zu of %zu", i + 1, count);
    }
    return 0;
}

/* There is one for each filesystem, and a ring names that of its own. */
static bool local_is_configured_key(const struct key_provider *provider,
                                    const struct wrapped_key *wrapped)
{
    (void)provider;
    (void)wrapped;
    return true;
}

static void local_close(struct key_provider *provider)
{
    aead_free(local_provider(provider)->aead);
    free(provider);
}

static const struct key_provider_ops local_ops = {
    .type = LOCAL_NAME,
    .describe = local_describe,
    .wrap = local_wrap,
    .unwrap = local_unwrap,
    .is_configured_key = local_is_configured_key,
    .close = local_close,
};

int local_provider_open(const struct key_provider_config *config, struct key_provider **ret,
                        struct error *err)
{
    if (config->local_key.len != AEAD_KEY_LEN)
        return error_set(err, -EINVAL, "a local key has %u bytes, this one has %zu", AEAD_KEY_LEN,
                         config->local_key.len);
    CLEANUP(free_ptr) struct local_provider *local = calloc(1, sizeof(*local));
    int r = local ? aead_new(&config->local_key, &local->aead) : -ENOMEM;
    if (r < 0)
        return error_set(err, r, "cannot set up the local key: %s", strerrordesc_np(-r));
    local->base.ops = &local_ops;
    *ret = &TAKE(local)->base;
    return 0;
}
