/* ca_bundle.h - certificates of CAs in PEM, before they are trusted: what they are, and that they
 * can be what they are meant for.
 *
 * Units      seconds since 1970.
 * Errors     -EINVAL and a sentence that says which certificate is wrong, and how.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/hash.h"

#define CA_BUNDLE_MAX 64u
#define CA_BUNDLE_BYTES (64u * 1024u)

struct ca_certificate {
    char subject[256]; /* "CN=...,O=...", printable */
    int64_t from_s;
    int64_t until_s;
    uint8_t fingerprint[HASH_LEN]; /* SHA-256 */
    bool can_sign;                 /* it is of a CA, or signed by itself */
};

/* What they are. ret has room for CA_BUNDLE_MAX. */
int ca_bundle_look(struct bytes pem, struct ca_certificate *ret, size_t *ret_count,
                   struct error *err);

/* The same, and each is of a CA or signed by itself, none has expired, and nothing secret is beside
 * them. */
int ca_bundle_read(struct bytes pem, struct ca_certificate *ret, size_t *ret_count,
                   struct error *err);
