/* tls.h - one client connection over TLS (OpenSSL), for protocols that are not HTTP.
 *
 * TLS 1.2 or newer, a server certificate that fits the host name or IP address, the client's
 * certificate and key from memory, if it has one. A broken connection never raises SIGPIPE.
 *
 * Units      deadlines are clock_monotonic_ms() times.
 * Errors     sentences name host and port. As in net/http.h: -EHOSTUNREACH, -ECONNREFUSED (also:
 *            the other side closed it), -ETIMEDOUT, -EKEYREJECTED (the certificate is not
 *            trusted, or ours is not accepted); -EINVAL: a certificate or key is not readable.
 * Ownership  inputs stay the caller's and are not needed after tls_connect().
 * Threads    one connection is used by one thread at a time.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/secret.h"

struct tls_target {
    const char *host; /* name or address, without brackets */
    uint16_t port;
    struct bytes client_cert_pem;        /* the certificate, then those that lead to its CA */
    const struct secret *client_key_pem; /* NULL: the client has no certificate */
    struct bytes ca_cert_pem; /* trusted instead of the system's store; empty: that store */
};

struct tls_connection;

/* Checks what can be checked without a connection: that certificates and key are readable and
 * belong together. */
int tls_check_target(const struct tls_target *target, struct error *err);

int tls_connect(const struct tls_target *target, int64_t deadline_ms, struct tls_connection **ret,
                struct error *err);

/* The same on a socket that is connected already, which it owns from then on, also when it fails.
 */
int tls_start(const struct tls_target *target, int fd, int64_t deadline_ms,
              struct tls_connection **ret, struct error *err);
void tls_close(struct tls_connection *connection); /* NULL is allowed */

static inline void tls_closep(struct tls_connection **connection)
{
    tls_close(*connection);
}

/* All of it, or an error after which the connection can only be closed. */
int tls_write(struct tls_connection *connection, struct bytes data, int64_t deadline_ms,
              struct error *err);
int tls_read(struct tls_connection *connection, void *to, size_t len, int64_t deadline_ms,
             struct error *err);

/* From when until when a certificate is good, in seconds since 1970. */
struct tls_validity {
    int64_t from_s;
    int64_t until_s;
};

/* Of the first certificate of a PEM text. */
int tls_certificate_validity(struct bytes cert_pem, struct tls_validity *ret, struct error *err);

/* Whom the connection is to. */
struct tls_peer {
    const char *protocol; /* "TLSv1.3"; a constant */
    struct tls_validity certificate;
};

/* -ENOENT: its certificate's dates cannot be read. */
int tls_peer(const struct tls_connection *connection, struct tls_peer *ret);
