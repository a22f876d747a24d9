#include "crypto/kdf.h"

#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

static int derive(EVP_KDF_CTX *context, const struct secret *key, struct bytes label,
                  struct bytes extra, struct secret *ret)
{
    char digest[] = "SHA256";
    uint8_t info[128];

    if (label.len + extra.len > sizeof(info))
        return -EINVAL;
    memcpy(info, label.data, label.len);
    if (extra.len)
        memcpy(info + label.len, extra.data, extra.len);
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key->data, key->len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, label.len + extra.len),
        OSSL_PARAM_construct_end(),
    };
    int r = secret_new(ret, KDF_KEY_LEN);
    if (r < 0)
        return r;
    return EVP_KDF_derive(context, ret->data, ret->len, params) == 1 ? 0 : -ENOMEM;
}

int kdf_derive(const struct secret *key, const char *label, struct bytes context,
               struct secret *ret)
{
    struct secret derived = SECRET_INIT;
    struct bytes label_bytes = { (const uint8_t *)label, strlen(label) + 1 };

    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *kdf_context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    EVP_KDF_free(kdf); /* the context keeps a reference */
    int r = kdf_context ? derive(kdf_context, key, label_bytes, context, &derived) : -ENOMEM;
    EVP_KDF_CTX_free(kdf_context);

    if (r == 0)
        secret_move(ret, &derived);
    secret_release(&derived);
    return r;
}
