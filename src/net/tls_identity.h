/* tls_identity.h - the certificate and private key with which a server of ours shows who it is:
 * read, or made by itself, and what is in it.
 *
 * Units      seconds since 1970.
 * Errors     -EINVAL and a sentence: not readable, or they do not belong together.
 * Ownership  PEM texts belong to the identity, end with NUL, and live as long as it.
 * Threads    any number may use one at once, except tls_identity_free().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "crypto/secret.h"
#include "net/tls.h"

struct tls_identity;

/* The certificate, then those that lead to its CA; the key without a passphrase. */
int tls_identity_read(struct bytes cert_pem, struct bytes key_pem, struct tls_identity **ret,
                      struct error *err);
void tls_identity_free(struct tls_identity *identity); /* NULL is allowed */

static inline void tls_identity_freep(struct tls_identity **identity)
{
    tls_identity_free(*identity);
}

/* A certificate that it signs itself, with a key of its own (P-256), from now on for so many days.
 * names: host names and addresses, count of them, the first one also its common name. */
int tls_identity_make(const char *const *names, size_t count, unsigned days, struct buf *ret_cert,
                      struct secret *ret_key, struct error *err);

const char *tls_identity_cert_pem(const struct tls_identity *identity);
const char *tls_identity_key_pem(const struct tls_identity *identity);
/* SHA-256 of the certificate. */
void tls_identity_fingerprint(const struct tls_identity *identity, uint8_t ret[static HASH_LEN]);
struct tls_validity tls_identity_validity(const struct tls_identity *identity);

/* Whether its certificate is for this host name, or one of its wildcards is. */
bool tls_identity_has_name(const struct tls_identity *identity, const char *host);
