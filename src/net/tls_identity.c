#include "net/tls_identity.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "crypto/pem.h"

#define DAY_S (24L * 3600)
#define NAMES_SIZE 1024u
#define SERIAL_BITS 127

struct tls_identity {
    X509 *certificate;
    struct buf cert_pem;
    struct secret key_pem;
    uint8_t fingerprint[HASH_LEN];
    struct tls_validity validity;
};

void tls_identity_free(struct tls_identity *identity)
{
    if (!identity)
        return;
    X509_free(identity->certificate);
    buf_release(&identity->cert_pem);
    secret_release(&identity->key_pem);
    free(identity);
}

/* ------------------------------------------------------------------ reading */

static int check_key(const struct tls_identity *identity, struct bytes key_pem, struct error *err)
{
    CLEANUP(pem_free_bio) BIO *bio = pem_reader(key_pem);
    CLEANUP(pem_free_key)
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, pem_no_passphrase, NULL) : NULL;

    if (!key)
        return error_set(err, -EINVAL,
                         "the private key is not one in PEM form without a "
                         "passphrase (openssl pkey -in key.pem -out new.pem): %s",
                         pem_openssl_reason());
    if (X509_check_private_key(identity->certificate, key) != 1) {
        ERR_clear_error();
        return error_set(err, -EINVAL,
                         "the private key does not belong to the first certificate; give the "
                         "server's own certificate first, and its key");
    }
    return 0;
}

static int look_at(struct tls_identity *identity, struct error *err)
{
    unsigned len = HASH_LEN;

    if (X509_digest(identity->certificate, EVP_sha256(), identity->fingerprint, &len) != 1)
        return error_set(err, -EINVAL, "the certificate cannot be read: %s", pem_openssl_reason());
    return tls_certificate_validity(buf_bytes(&identity->cert_pem), &identity->validity, err);
}

static int keep_texts(struct tls_identity *identity, struct bytes cert_pem, struct bytes key_pem,
                      struct error *err)
{
    static const struct bytes nul = { .data = (const uint8_t *)"", .len = 1 };

    if (buf_assign(&identity->cert_pem, cert_pem) < 0 || buf_append(&identity->cert_pem, nul) < 0 ||
        secret_new(&identity->key_pem, key_pem.len + 1) < 0)
        return error_set(err, -ENOMEM, "out of memory for a certificate and its key");
    memcpy(identity->key_pem.data, key_pem.data, key_pem.len);
    return 0;
}

int tls_identity_read(struct bytes cert_pem, struct bytes key_pem, struct tls_identity **ret,
                      struct error *err)
{
    CLEANUP(tls_identity_freep) struct tls_identity *identity = calloc(1, sizeof(*identity));
    CLEANUP(pem_free_bio) BIO *bio = pem_reader(cert_pem);

    if (!identity || !bio)
        return error_set(err, -ENOMEM, "out of memory for a certificate");
    identity->certificate = PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL);
    if (!identity->certificate)
        return error_set(err, -EINVAL, "there is no certificate in PEM form in it: %s",
                         pem_openssl_reason());
    int r = check_key(identity, key_pem, err);
    if (r == 0)
        r = keep_texts(identity, cert_pem, key_pem, err);
    if (r == 0)
        r = look_at(identity, err);
    if (r == 0)
        *ret = TAKE(identity);
    return r;
}

/* ------------------------------------------------------------------ making */

/* "DNS:host,IP:192.0.2.1" */
static int alternative_names(const char *const *names, size_t count, char ret[static NAMES_SIZE])
{
    uint8_t address[16];
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        bool is_address = inet_pton(AF_INET, names[i], address) == 1 ||
                          inet_pton(AF_INET6, names[i], address) == 1;
        int len = snprintf(ret + used, NAMES_SIZE - used, "%s%s:%s", i ? "," : "",
                           is_address ? "IP" : "DNS", names[i]);
        if (len < 0 || (size_t)len >= NAMES_SIZE - used)
            return -ENAMETOOLONG;
        used += (size_t)len;
    }
    return 0;
}

static bool add_extension(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;

    X509V3_set_nconf(&context, NULL);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool is_added = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_added;
}

static bool set_serial(X509 *certificate)
{
    BIGNUM *number = BN_new();
    bool is_set = number &&
                  BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return is_set;
}

static bool fill(X509 *certificate, EVP_PKEY *key, const char *common_name, const char *names,
                 unsigned days)
{
    X509_NAME *subject = X509_get_subject_name(certificate);

    return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -DAY_S) &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), (long)days * DAY_S) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                      (const unsigned char *)common_name, -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, subject) == 1 &&
           X509_set_pubkey(certificate, key) == 1 &&
           add_extension(certificate, NID_subject_alt_name, names) &&
           add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
           add_extension(certificate, NID_ext_key_usage, "serverAuth") &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

static int take_text(BIO *bio, struct bytes *ret)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);

    *ret = (struct bytes){ .data = (const uint8_t *)data, .len = len > 0 ? (size_t)len : 0 };
    return len > 0 ? 0 : -ENOMEM;
}

static int write_pems(X509 *certificate, EVP_PKEY *key, struct buf *ret_cert,
                      struct secret *ret_key)
{
    CLEANUP(pem_free_bio) BIO *cert_text = BIO_new(BIO_s_mem());
    CLEANUP(pem_free_bio) BIO *key_text = BIO_new(BIO_s_secmem());
    struct bytes cert_pem;
    struct bytes key_pem;

    if (!cert_text || !key_text || PEM_write_bio_X509(cert_text, certificate) != 1 ||
        PEM_write_bio_PKCS8PrivateKey(key_text, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        take_text(cert_text, &cert_pem) < 0 || take_text(key_text, &key_pem) < 0)
        return -ENOMEM;
    int r = secret_assign(ret_key, key_pem);
    return r < 0 ? r : buf_assign(ret_cert, cert_pem);
}

int tls_identity_make(const char *const *names, size_t count, unsigned days, struct buf *ret_cert,
                      struct secret *ret_key, struct error *err)
{
    CLEANUP(pem_free_key) EVP_PKEY *key = EVP_EC_gen("P-256");
    CLEANUP(pem_free_certificate) X509 *certificate = X509_new();
    char text[NAMES_SIZE];

    if (alternative_names(names, count, text) < 0)
        return error_set(err, -ENAMETOOLONG, "the names are too long for a certificate");
    if (!key || !certificate || !fill(certificate, key, names[0], text, days))
        return error_set(err, -EINVAL, "a certificate for %s cannot be made: %s", names[0],
                         pem_openssl_reason());
    int r = write_pems(certificate, key, ret_cert, ret_key);
    return r < 0 ? error_set(err, r, "out of memory for a certificate") : 0;
}

/* ------------------------------------------------------------------ what is in it */

const char *tls_identity_cert_pem(const struct tls_identity *identity)
{
    return (const char *)identity->cert_pem.data;
}

const char *tls_identity_key_pem(const struct tls_identity *identity)
{
    return (const char *)identity->key_pem.data;
}

void tls_identity_fingerprint(const struct tls_identity *identity, uint8_t ret[static HASH_LEN])
{
    memcpy(ret, identity->fingerprint, HASH_LEN);
}

struct tls_validity tls_identity_validity(const struct tls_identity *identity)
{
    return identity->validity;
}

bool tls_identity_has_name(const struct tls_identity *identity, const char *host)
{
    return X509_check_host(identity->certificate, host, strlen(host), 0, NULL) == 1;
}
