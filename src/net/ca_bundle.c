#include "net/ca_bundle.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "crypto/pem.h"

static int write_subject(const X509 *certificate, char *ret, size_t size)
{
    CLEANUP(pem_free_bio) BIO *text = BIO_new(BIO_s_mem());

    /* What is not ASCII is escaped. */
    if (!text ||
        X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) < 0)
        return -ENOMEM;
    int len = BIO_read(text, ret, (int)size - 1);
    ret[len > 0 ? len : 0] = '\0';
    return 0;
}

static int read_times(const X509 *certificate, struct ca_certificate *ret)
{
    struct tm from = { 0 }, until = { 0 };

    if (ASN1_TIME_to_tm(X509_get0_notBefore(certificate), &from) != 1 ||
        ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &until) != 1)
        return -EINVAL;
    ret->from_s = timegm(&from);
    ret->until_s = timegm(&until);
    return 0;
}

static int read_one(X509 *certificate, size_t number, struct ca_certificate *ret, struct error *err)
{
    unsigned len = HASH_LEN;

    if (write_subject(certificate, ret->subject, sizeof(ret->subject)) < 0 ||
        read_times(certificate, ret) < 0 ||
        X509_digest(certificate, EVP_sha256(), ret->fingerprint, &len) != 1)
        return error_set(err, -EINVAL, "certificate %zu cannot be read; make it anew", number);
    ret->can_sign = X509_check_ca(certificate) != 0 || X509_self_signed(certificate, 0) == 1;
    return 0;
}

static int judge(const struct ca_certificate *certificate, size_t number, struct error *err)
{
    if (!certificate->can_sign)
        return error_set(err, -EINVAL,
                         "certificate %zu (%s) is not one of a CA; give the certificate of the CA "
                         "that signed the server's",
                         number, certificate->subject);
    if (certificate->until_s < clock_wall_ns() / 1000000000)
        return error_set(err, -EINVAL,
                         "certificate %zu (%s) has expired; give the CA's present one", number,
                         certificate->subject);
    return 0;
}

static int read_all(BIO *bio, struct ca_certificate *ret, size_t *ret_count, struct error *err)
{
    size_t count = 0;

    for (;; count++) {
        CLEANUP(pem_free_certificate)
        X509 *certificate = PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL);
        if (!certificate)
            break;
        if (count == CA_BUNDLE_MAX)
            return error_set(err, -EINVAL,
                             "there are more than %u certificates in it; give those of the CAs "
                             "that sign the servers' alone",
                             CA_BUNDLE_MAX);
        int r = read_one(certificate, count + 1, &ret[count], err);
        if (r < 0)
            return r;
    }
    bool is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    if (!is_end)
        return error_set(err, -EINVAL, "certificate %zu is damaged; copy the file anew", count + 1);
    if (count == 0)
        return error_set(err, -EINVAL,
                         "there is no certificate in PEM form in it; convert it (openssl x509 "
                         "-inform der)");
    *ret_count = count;
    return 0;
}

int ca_bundle_look(struct bytes pem, struct ca_certificate *ret, size_t *ret_count,
                   struct error *err)
{
    if (pem.len > CA_BUNDLE_BYTES)
        return error_set(err, -EINVAL, "it is larger than %u KiB; give the CA's certificate alone",
                         CA_BUNDLE_BYTES / 1024);
    CLEANUP(pem_free_bio) BIO *bio = pem_reader(pem);
    if (!bio)
        return error_set(err, -ENOMEM, "not enough memory to read certificates");
    ERR_clear_error();
    return read_all(bio, ret, ret_count, err);
}

int ca_bundle_read(struct bytes pem, struct ca_certificate *ret, size_t *ret_count,
                   struct error *err)
{
    static const char secret[] = "PRIVATE KEY-----";

    if (memmem(pem.data, pem.len, secret, strlen(secret)))
        return error_set(err, -EINVAL,
                         "there is a private key in it, which must not be given to anybody; give "
                         "the certificate alone");
    int r = ca_bundle_look(pem, ret, ret_count, err);
    for (size_t i = 0; r == 0 && i < *ret_count; i++)
        r = judge(&ret[i], i + 1, err);
    return r;
}
