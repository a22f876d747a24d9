/* pem.h - certificates and keys in PEM form, for those who read them with OpenSSL: what releases
 * OpenSSL's objects, and what it says of a failure.
 *
 * Threads    any.
 */
#pragma once

#include <limits.h>
#include <stddef.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/buf.h"

static inline void pem_free_bio(BIO **bio)
{
    (void)BIO_free(*bio);
}

static inline void pem_free_key(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static inline void pem_free_certificate(X509 **certificate)
{
    X509_free(*certificate);
}

/* What OpenSSL says of the last failure, once; it keeps its errors for each thread. */
static inline const char *pem_openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    ERR_clear_error();
    return reason ? reason : "unknown reason";
}

/* A key that needs a passphrase is refused instead of asking on the terminal. */
static inline int pem_no_passphrase(char *to, int size, int is_writing, void *arg)
{
    (void)to;
    (void)size;
    (void)is_writing;
    (void)arg;
    return -1;
}

/* NULL without memory. */
static inline BIO *pem_reader(struct bytes pem)
{
    return pem.len <= INT_MAX ? BIO_new_mem_buf(pem.len ? (const void *)pem.data : "", (int)pem.len)
                              : NULL;
}
