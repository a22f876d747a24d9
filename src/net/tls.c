#include "net/tls.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "crypto/pem.h"
#include "net/dial.h"

/* GCM, ChaCha20, and for servers that have nothing better CBC with SHA-256 or SHA-384. */
#define CIPHERS_TLS12                                                                              \
    "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+SHA384:ECDHE+SHA256:RSA+AESGCM:RSA+SHA256:!aNULL:!eNULL"

struct tls_connection {
    SSL_CTX *context;
    SSL *ssl;
    int fd;
    char peer[DIAL_PEER_SIZE]; /* "host:port" */
};

static void free_context(SSL_CTX **context)
{
    SSL_CTX_free(*context);
}

/* ------------------------------------------------------------------ certificates and keys */

static int use_certificates(SSL_CTX *context, struct bytes pem, struct error *err)
{
    CLEANUP(pem_free_bio) BIO *bio = pem_reader(pem);
    CLEANUP(pem_free_certificate)
    X509 *own = bio ? PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL) : NULL;

    if (!own)
        return error_set(err, -EINVAL, "the client certificate is not a PEM certificate: %s",
                         pem_openssl_reason());
    if (SSL_CTX_use_certificate(context, own) != 1)
        return error_set(err, -EINVAL, "the client certificate cannot be used: %s",
                         pem_openssl_reason());
    for (;;) {
        X509 *next = PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL);
        if (!next)
            break;
        if (SSL_CTX_add0_chain_cert(context, next) != 1) {
            X509_free(next);
            return error_set(err, -EINVAL, "a certificate above the client's cannot be used: %s",
                             pem_openssl_reason());
        }
    }
    ERR_clear_error(); /* the end of the text counts as an error */
    return 0;
}

static int use_key(SSL_CTX *context, const struct secret *pem, struct error *err)
{
    CLEANUP(pem_free_bio) BIO *bio = pem_reader(secret_bytes(pem));
    CLEANUP(pem_free_key)
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, pem_no_passphrase, NULL) : NULL;

    if (!key)
        return error_set(err, -EINVAL, "the client key is not an unencrypted PEM private key: %s",
                         pem_openssl_reason());
    if (SSL_CTX_use_PrivateKey(context, key) != 1 || SSL_CTX_check_private_key(context) != 1)
        return error_set(err, -EINVAL, "the client key does not belong to the client certificate");
    return 0;
}

static int trust(SSL_CTX *context, struct bytes pem, struct error *err)
{
    if (pem.len == 0)
        return SSL_CTX_set_default_verify_paths(context) == 1
                   ? 0
                   : error_set(err, -EINVAL, "cannot read the system's trusted certificates");

    CLEANUP(pem_free_bio) BIO *bio = pem_reader(pem);
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    size_t count = 0;
    /* What was given is trusted, also a CA below a root, as net/http.h does it. */
    (void)X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    for (; bio; count++) {
        CLEANUP(pem_free_certificate)
        X509 *certificate = PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL);
        if (!certificate)
            break;
        if (X509_STORE_add_cert(store, certificate) != 1)
            return error_set(err, -EINVAL, "a CA certificate cannot be used: %s",
                             pem_openssl_reason());
    }
    if (count == 0)
        return error_set(err, -EINVAL, "the CA certificate is not a PEM certificate: %s",
                         pem_openssl_reason());
    ERR_clear_error();
    return 0;
}

static int make_context(const struct tls_target *target, SSL_CTX **ret, struct error *err)
{
    CLEANUP(free_context) SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (!context || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(context, CIPHERS_TLS12) != 1)
        return error_set(err, -ENOMEM, "cannot set up TLS: %s", pem_openssl_reason());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    /* Else what was received last stays in a buffer of OpenSSL as long as the connection lives. */
    (void)SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT);
    int r = 0;
    if (target->client_key_pem) {
        r = use_certificates(context, target->client_cert_pem, err);
        if (r == 0)
            r = use_key(context, target->client_key_pem, err);
    }
    if (r == 0)
        r = trust(context, target->ca_cert_pem, err);
    if (r == 0)
        *ret = TAKE(context);
    return r;
}

int tls_check_target(const struct tls_target *target, struct error *err)
{
    CLEANUP(free_context) SSL_CTX *context = NULL;

    return make_context(target, &context, err);
}

static int read_validity(const X509 *certificate, struct tls_validity *ret)
{
    struct tm from = { 0 }, until = { 0 };

    if (ASN1_TIME_to_tm(X509_get0_notBefore(certificate), &from) != 1 ||
        ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &until) != 1)
        return -EINVAL;
    *ret = (struct tls_validity){ .from_s = timegm(&from), .until_s = timegm(&until) };
    return 0;
}

int tls_certificate_validity(struct bytes cert_pem, struct tls_validity *ret, struct error *err)
{
    CLEANUP(pem_free_bio) BIO *bio = pem_reader(cert_pem);
    CLEANUP(pem_free_certificate)
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL) : NULL;

    if (!certificate || read_validity(certificate, ret) < 0)
        return error_set(err, -EINVAL, "not a PEM certificate: %s", pem_openssl_reason());
    return 0;
}

/* ------------------------------------------------------------------ the socket */

/* As OpenSSL's socket BIO, whose write() would raise SIGPIPE. */
static int bio_fd(BIO *bio)
{
    const struct tls_connection *connection = BIO_get_data(bio);

    return connection->fd;
}

static int bio_write_quietly(BIO *bio, const char *data, int len)
{
    BIO_clear_retry_flags(bio);
    ssize_t sent = send(bio_fd(bio), data, (size_t)len, MSG_NOSIGNAL);
    if (sent < 0 && BIO_sock_non_fatal_error(errno))
        BIO_set_retry_write(bio);
    return (int)sent;
}

static int bio_read(BIO *bio, char *data, int len)
{
    BIO_clear_retry_flags(bio);
    ssize_t got = recv(bio_fd(bio), data, (size_t)len, 0);
    if (got < 0 && BIO_sock_non_fatal_error(errno))
        BIO_set_retry_read(bio);
    if (got == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF); /* the other side ended it: no error of the system */
    return (int)got;
}

static long bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    if (what == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return what == BIO_CTRL_FLUSH; /* nothing is kept back */
}

static BIO_METHOD *quiet_method;

static void make_quiet_method(void)
{
    quiet_method =
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket without SIGPIPE");
    bool ok = quiet_method && BIO_meth_set_write(quiet_method, bio_write_quietly) &&
              BIO_meth_set_read(quiet_method, bio_read) &&
              BIO_meth_set_ctrl(quiet_method, bio_ctrl);
    assert(ok);
    (void)ok;
}

/* The connection, which has the socket, outlives it. */
static BIO *quiet_socket(struct tls_connection *connection)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, make_quiet_method);
    BIO *bio = BIO_new(quiet_method);
    if (bio) {
        BIO_set_data(bio, connection);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* ------------------------------------------------------------------ TLS */

static int expect_name(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *parameters = SSL_get0_param(ssl);
    uint8_t address[sizeof(struct in6_addr)];
    char name[TLSEXT_MAXLEN_host_name + 1]; /* OpenSSL's macro takes no const */

    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(parameters, host) == 1 ? 0 : -EINVAL;
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if ((size_t)snprintf(name, sizeof(name), "%s", host) >= sizeof(name))
        return -EINVAL;
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1 ? 0 : -EINVAL;
}

/* What is wrong with the server's certificate, and what to do. */
static int untrusted(const struct tls_connection *connection, long verdict, struct error *err)
{
    const char *peer = connection->peer;

    switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return error_set(err, -EKEYREJECTED,
                         "the certificate of %s, or of a CA above it, has expired: renew it there "
                         "(or set this host's clock right)",
                         peer);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return error_set(err, -EKEYREJECTED,
                         "the certificate of %s, or of a CA above it, is not valid yet: set the "
                         "clocks of both hosts right",
                         peer);
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return error_set(err, -EKEYREJECTED,
                         "the certificate of %s is for another name (%s): use the name that it "
                         "holds as address, or issue one with this name as subjectAltName",
                         peer, X509_verify_cert_error_string(verdict));
    default:
        return error_set(err, -EKEYREJECTED,
                         "the certificate of %s is not trusted: %s; check which CA signed it, and "
                         "that it is the one that was given (or, without one, among the system's)",
                         peer, X509_verify_cert_error_string(verdict));
    }
}

/* Of the alerts that a peer sends, those about our certificate. */
static bool refuses_our_certificate(int reason)
{
    switch (reason) {
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return true;
    default:
        return false;
    }
}

static bool is_about_version(int reason)
{
    return reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION ||
           reason == SSL_R_WRONG_SSL_VERSION || reason == SSL_R_UNKNOWN_PROTOCOL;
}

static int refused(const struct tls_connection *connection, struct error *err)
{
    int reason = ERR_GET_REASON(ERR_peek_last_error());
    const char *peer = connection->peer;

    if (refuses_our_certificate(reason))
        return error_set(err, -EKEYREJECTED,
                         "%s does not accept the client certificate (%s): have its CA trusted "
                         "there, and give one that has not expired or been revoked",
                         peer, pem_openssl_reason());
    if (reason == SSL_R_WRONG_VERSION_NUMBER) /* of a record: it is none of TLS */
        return error_set(err, -EKEYREJECTED,
                         "%s answers without TLS (%s): have TLS switched on there, and check the "
                         "port",
                         peer, pem_openssl_reason());
    if (is_about_version(reason))
        return error_set(err, -EKEYREJECTED,
                         "%s speaks no TLS that coffer accepts (%s): enable TLS 1.2 or 1.3 there, "
                         "and check the port",
                         peer, pem_openssl_reason());
    return error_set(err, -EKEYREJECTED, "TLS with %s failed: %s", peer, pem_openssl_reason());
}

/* Says what SSL_connect, SSL_read or SSL_write failed of. */
static int tls_failure(struct tls_connection *connection, int result, struct error *err)
{
    int fault = SSL_get_error(connection->ssl, result);
    int system_fault = errno;
    long verdict = SSL_get_verify_result(connection->ssl);

    if (verdict != X509_V_OK) {
        ERR_clear_error();
        return untrusted(connection, verdict, err);
    }
    if (fault == SSL_ERROR_SSL &&
        ERR_GET_REASON(ERR_peek_last_error()) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return refused(connection, err);
    ERR_clear_error();
    if (fault == SSL_ERROR_SYSCALL && system_fault)
        return error_set(err, -ECONNREFUSED, "the connection to %s broke: %s", connection->peer,
                         strerrordesc_np(system_fault));
    return error_set(err, -ECONNREFUSED, "%s closed the connection", connection->peer);
}

/* Waits for what the last call, which returned result, wanted; 0 means try again. */
static int wait_wanted(struct tls_connection *connection, int result, int64_t deadline_ms,
                       struct error *err)
{
    int fault = SSL_get_error(connection->ssl, result);

    if (fault != SSL_ERROR_WANT_READ && fault != SSL_ERROR_WANT_WRITE)
        return tls_failure(connection, result, err);
    int r = dial_wait(connection->fd, fault == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline_ms);
    if (r == -ETIMEDOUT)
        return error_set(err, r, "no answer from %s in time", connection->peer);
    return r < 0 ? error_set(err, -ECONNREFUSED, "cannot wait for %s: %s", connection->peer,
                             strerrordesc_np(-r))
                 : 0;
}

static int handshake(struct tls_connection *connection, int64_t deadline_ms, struct error *err)
{
    for (;;) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_connect(connection->ssl);
        if (result == 1)
            return 0;
        int r = wait_wanted(connection, result, deadline_ms, err);
        if (r < 0)
            return r;
    }
}

int tls_start(const struct tls_target *target, int fd, int64_t deadline_ms,
              struct tls_connection **ret, struct error *err)
{
    CLEANUP(tls_closep) struct tls_connection *connection = calloc(1, sizeof(*connection));

    if (!connection) {
        close_fd(&fd);
        return error_set(err, -ENOMEM, "not enough memory for a TLS connection");
    }
    connection->fd = fd;
    dial_peer(target->host, target->port, connection->peer);
    int r = make_context(target, &connection->context, err);
    if (r < 0)
        return r;
    connection->ssl = SSL_new(connection->context);
    BIO *bio = connection->ssl ? quiet_socket(connection) : NULL;
    if (!bio)
        return error_set(err, -ENOMEM, "not enough memory for a TLS connection");
    SSL_set_bio(connection->ssl, bio, bio);
    if (expect_name(connection->ssl, target->host) < 0)
        return error_set(err, -EINVAL, "'%s' is not a host name", target->host);
    r = handshake(connection, deadline_ms, err);
    if (r == 0)
        *ret = TAKE(connection);
    return r;
}

int tls_connect(const struct tls_target *target, int64_t deadline_ms, struct tls_connection **ret,
                struct error *err)
{
    CLEANUP(dial_addresses_freep) struct dial_addresses *addresses = NULL;
    int fd = -1;

    int r = dial_resolve(target->host, target->port, deadline_ms, &addresses, err);
    if (r == 0)
        r = dial_connect(addresses, deadline_ms, &fd, err);
    return r < 0 ? r : tls_start(target, fd, deadline_ms, ret, err);
}

int tls_peer(const struct tls_connection *connection, struct tls_peer *ret)
{
    const X509 *certificate = SSL_get0_peer_certificate(connection->ssl);
    struct tls_peer peer = { .protocol = SSL_get_version(connection->ssl) };

    if (!certificate || read_validity(certificate, &peer.certificate) < 0)
        return -ENOENT;
    *ret = peer;
    return 0;
}

void tls_close(struct tls_connection *connection)
{
    if (!connection)
        return;
    if (connection->ssl) {
        (void)SSL_shutdown(connection->ssl); /* best effort: nothing depends on the answer */
        ERR_clear_error();
    }
    SSL_free(connection->ssl);
    SSL_CTX_free(connection->context);
    close_fd(&connection->fd);
    free(connection);
}

int tls_write(struct tls_connection *connection, struct bytes data, int64_t deadline_ms,
              struct error *err)
{
    while (data.len > 0) {
        ERR_clear_error();
        errno = 0;
        int result =
            SSL_write(connection->ssl, data.data, data.len > INT_MAX ? INT_MAX : (int)data.len);
        if (result > 0) {
            data.data += result;
            data.len -= (size_t)result;
            continue;
        }
        int r = wait_wanted(connection, result, deadline_ms, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int tls_read(struct tls_connection *connection, void *to, size_t len, int64_t deadline_ms,
             struct error *err)
{
    uint8_t *at = to;

    while (len > 0) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_read(connection->ssl, at, len > INT_MAX ? INT_MAX : (int)len);
        if (result > 0) {
            at += result;
            len -= (size_t)result;
            continue;
        }
        int r = wait_wanted(connection, result, deadline_ms, err);
        if (r < 0)
            return r;
    }
    return 0;
}
