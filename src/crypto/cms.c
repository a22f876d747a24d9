#include "crypto/cms.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* First: without it cms.h has nothing that reads and writes PEM. */
#include <openssl/pem.h>

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "base/encoding.h"
#include "crypto/hash.h"

static void free_bio(BIO **bio)
{
    BIO_free_all(*bio);
}

static void free_certificate(X509 **certificate)
{
    X509_free(*certificate);
}

static void free_message(CMS_ContentInfo **message)
{
    CMS_ContentInfo_free(*message);
}

static void free_key(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static int out_of_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "out of memory");
}

/* What OpenSSL said first, without its file and line. */
static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_error());

    return text ? text : "no reason given";
}

/* ------------------------------------------------------------------ recipients */

typedef int recipient_fn(X509 *certificate, void *arg, struct error *err);

static int each_recipient(struct bytes pem, recipient_fn *visit, void *arg, struct error *err)
{
    CLEANUP(free_bio) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    unsigned count = 0;
    int r = 0;

    if (!bio || pem.len > CMS_MESSAGE_MAX)
        return error_set(err, -EINVAL, "the recipient's certificate is too long");
    while (r == 0) {
        CLEANUP(free_certificate) X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (!certificate)
            break;
        if (++count > CMS_RECIPIENTS_MAX)
            return error_set(err, -EINVAL, "there are more than %u recipients' certificates",
                             CMS_RECIPIENTS_MAX);
        r = visit(certificate, arg, err);
    }
    ERR_clear_error();
    if (r == 0 && count == 0)
        return error_set(err, -EINVAL, "there is no certificate in PEM form in what was given");
    return r;
}

static void write_subject(const X509 *certificate, char *ret, size_t size)
{
    CLEANUP(free_bio) BIO *text = BIO_new(BIO_s_mem());

    ret[0] = '\0';
    /* What is not ASCII is escaped. */
    if (!text ||
        X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) < 0)
        return;
    int len = BIO_read(text, ret, (int)size - 1);
    ret[len > 0 ? len : 0] = '\0';
}

struct listing {
    char *text;
    size_t size;
    size_t used;
};

static int list_one(X509 *certificate, void *arg, struct error *err)
{
    struct listing *listing = arg;
    uint8_t digest[HASH_LEN];
    char hex[2 * HASH_LEN + 1];
    char subject[128];
    unsigned len = sizeof(digest);

    write_subject(certificate, subject, sizeof(subject));
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) >= 0 ||
        X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
        return error_set(err, -EINVAL,
                         "the certificate of the recipient (%s) is not valid now; give one that is",
                         subject);
    if (X509_digest(certificate, EVP_sha256(), digest, &len) != 1)
        return error_set(err, -EINVAL, "the certificate of the recipient (%s) cannot be read",
                         subject);
    hex_encode((struct bytes){ digest, sizeof(digest) }, hex);
    if (listing->used < listing->size)
        listing->used +=
            (size_t)snprintf(listing->text + listing->used, listing->size - listing->used,
                             "%s%s, SHA-256 %s", listing->used ? "; " : "", subject, hex);
    return 0;
}

int cms_recipients(struct bytes certificates_pem, char *ret, size_t size, struct error *err)
{
    struct listing listing = { .text = ret, .size = size };

    ret[0] = '\0';
    return each_recipient(certificates_pem, list_one, &listing, err);
}

/* ------------------------------------------------------------------ sealing */

/* OAEP in place of PKCS #1 1.5, and no SHA-1 in the derivation of ECDH. */
static int harden(CMS_RecipientInfo *recipient)
{
    EVP_PKEY_CTX *context = CMS_RecipientInfo_get0_pkey_ctx(recipient);

    if (!context)
        return 0;
    if (CMS_RecipientInfo_type(recipient) == CMS_RECIPINFO_TRANS)
        return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0 &&
                       EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) > 0 &&
                       EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) > 0
                   ? 0
                   : -EINVAL;
    return 0;
}

static int add_recipient(X509 *certificate, void *arg, struct error *err)
{
    CMS_ContentInfo *message = arg;
    char subject[128];
    CMS_RecipientInfo *recipient =
        CMS_add1_recipient_cert(message, certificate, CMS_KEY_PARAM | CMS_USE_KEYID);

    /* Not every certificate has an identifier of its key; then its issuer and number do. */
    if (!recipient) {
        ERR_clear_error();
        recipient = CMS_add1_recipient_cert(message, certificate, CMS_KEY_PARAM);
    }
    if (recipient && harden(recipient) == 0)
        return 0;
    write_subject(certificate, subject, sizeof(subject));
    return error_set(err, -EINVAL,
                     "nothing can be encrypted to the certificate of %s (%s); give one with an RSA "
                     "key, or an EC key on a NIST curve",
                     subject, reason());
}

/* The plain text goes straight into the cipher: CMS_final() would leave copies of it in ordinary
 * memory. */
static int fill(CMS_ContentInfo *message, struct bytes plain)
{
    CLEANUP(free_bio) BIO *chain = CMS_dataInit(message, NULL);

    if (!chain || BIO_write(chain, plain.data, (int)plain.len) != (int)plain.len ||
        BIO_flush(chain) != 1 || CMS_dataFinal(message, chain) != 1)
        return -EINVAL;
    return 0;
}

static int write_pem(CMS_ContentInfo *message, struct buf *ret, struct error *err)
{
    CLEANUP(free_bio) BIO *bio = BIO_new(BIO_s_mem());
    char *data = NULL;

    if (!bio || PEM_write_bio_CMS(bio, message) != 1)
        return out_of_memory(err);
    long len = BIO_get_mem_data(bio, &data);
    return buf_assign(ret, (struct bytes){ (const uint8_t *)data, (size_t)len }) < 0
               ? out_of_memory(err)
               : 0;
}

int cms_seal(struct bytes certificates_pem, struct bytes plain, struct buf *ret, struct error *err)
{
    CLEANUP(free_message)
    CMS_ContentInfo *message =
        CMS_encrypt(NULL, NULL, EVP_aes_256_gcm(), CMS_BINARY | CMS_PARTIAL | CMS_STREAM);
    if (!message)
        return out_of_memory(err);
    int r = each_recipient(certificates_pem, add_recipient, message, err);
    if (r == 0 && (r = fill(message, plain)) < 0)
        (void)error_set(err, r, "the keys cannot be encrypted to the certificate: %s", reason());
    ERR_clear_error();
    return r < 0 ? r : write_pem(message, ret, err);
}

/* ------------------------------------------------------------------ opening */

static EVP_PKEY *read_key(struct bytes pem, struct error *err)
{
    CLEANUP(free_bio) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

    if (!key)
        (void)error_set(err, -EINVAL,
                        "the private key cannot be read: it is not one in PEM form, or the "
                        "passphrase is wrong");
    return key;
}

/* OpenSSL does not let on which: it goes on with a random key, against those who try many. */
static int does_not_open(struct error *err)
{
    return error_set(err, -EACCES,
                     "it does not open with this private key: it was encrypted to another "
                     "certificate, or altered");
}

static int drain(CMS_ContentInfo *message, size_t max, struct secret *ret, struct error *err)
{
    CLEANUP(free_bio) BIO *chain = CMS_dataInit(message, NULL);
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    size_t len = 0;
    int n = 1;

    if (!chain)
        return error_set(err, -EBADMSG, "it cannot be decrypted: %s", reason());
    if (secret_new(&plain, max + 1) < 0)
        return error_set(err, -ENOMEM, "out of secret memory");
    while (n > 0 && len <= max) {
        n = BIO_read(chain, plain.data + len, (int)(max + 1 - len));
        len += n > 0 ? (size_t)n : 0;
    }
    if (len > max)
        return error_set(err, -EINVAL, "what it holds is longer than exported keys are");
    if (n < 0 || BIO_get_cipher_status(chain) != 1)
        return does_not_open(err);
    secret_truncate(&plain, len);
    secret_move(ret, &plain);
    return 0;
}

int cms_open(struct bytes message_pem, struct bytes key_pem, size_t max, struct secret *ret,
             struct error *err)
{
    CLEANUP(free_bio) BIO *bio = BIO_new_mem_buf(message_pem.data, (int)message_pem.len);
    CLEANUP(free_message) CMS_ContentInfo *message = NULL;
    CLEANUP(free_key) EVP_PKEY *key = NULL;

    if (bio && message_pem.len <= CMS_MESSAGE_MAX)
        message = PEM_read_bio_CMS(bio, NULL, NULL, NULL);
    ERR_clear_error();
    if (!message)
        return error_set(err, -EINVAL, "it is not a CMS message in PEM form");
    key = read_key(key_pem, err);
    ERR_clear_error();
    if (!key)
        return -EINVAL;
    if (CMS_decrypt_set1_pkey(message, key, NULL) != 1) {
        ERR_clear_error();
        return does_not_open(err);
    }
    int r = drain(message, max, ret, err);
    ERR_clear_error();
    return r;
}
