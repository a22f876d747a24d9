#include "crypto/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "crypto/slots.h"

int hash_sha256(const struct bytes *pieces, size_t count, uint8_t ret[static HASH_LEN])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int ok = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;

    for (size_t i = 0; ok && i < count; i++)
        ok = EVP_DigestUpdate(context, pieces[i].data, pieces[i].len) == 1;
    ok = ok && EVP_DigestFinal_ex(context, ret, NULL) == 1;
    EVP_MD_CTX_free(context);
    return ok ? 0 : -ENOMEM;
}

struct hmac {
    EVP_MAC_CTX *keyed; /* never used itself: each slot's context is a copy of it */
    struct slot slots[SLOT_COUNT];
};

int hmac_new(const struct secret *key, struct hmac **ret)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    CLEANUP(hmac_freep) struct hmac *hmac = aligned_alloc(64, sizeof(*hmac));
    if (!hmac)
        return -ENOMEM;
    memset(hmac, 0, sizeof(*hmac));
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    hmac->keyed = mac ? EVP_MAC_CTX_new(mac) : NULL;
    EVP_MAC_free(mac); /* the context keeps a reference */
    if (!hmac->keyed || EVP_MAC_init(hmac->keyed, key->data, key->len, params) != 1)
        return -ENOMEM;
    *ret = TAKE(hmac);
    return 0;
}

void hmac_free(struct hmac *hmac)
{
    if (!hmac)
        return;
    for (size_t i = 0; i < SLOT_COUNT; i++)
        EVP_MAC_CTX_free(hmac->slots[i].context);
    EVP_MAC_CTX_free(hmac->keyed);
    free(hmac);
}

static int hmac_with(EVP_MAC_CTX *context, const struct bytes *pieces, size_t count, uint8_t *ret)
{
    size_t len;
    int ok = EVP_MAC_init(context, NULL, 0, NULL) == 1; /* starts again under the same key */

    for (size_t i = 0; ok && i < count; i++)
        ok = EVP_MAC_update(context, pieces[i].data, pieces[i].len) == 1;
    return ok && EVP_MAC_final(context, ret, &len, HASH_LEN) == 1 ? 0 : -ENOMEM;
}

int hmac_sha256(struct hmac *hmac, const struct bytes *pieces, size_t count,
                uint8_t ret[static HASH_LEN])
{
    struct slot *slot = slot_take(hmac->slots);

    if (!slot->context)
        slot->context = EVP_MAC_CTX_dup(hmac->keyed);
    int r = slot->context ? hmac_with(slot->context, pieces, count, ret) : -ENOMEM;
    slot_give(slot);
    return r;
}
