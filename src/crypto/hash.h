/* hash.h - SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104).
 *
 * Errors     -ENOMEM only.
 * Threads    any number may use one struct hmac at once, except hmac_free().
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "crypto/secret.h"

#define HASH_LEN 32u

/* Over the pieces, one after the other. */
int hash_sha256(const struct bytes *pieces, size_t count, uint8_t ret[static HASH_LEN])
    __attribute__((warn_unused_result));

struct hmac;

int hmac_new(const struct secret *key, struct hmac **ret);
void hmac_free(struct hmac *hmac); /* NULL is allowed */

static inline void hmac_freep(struct hmac **hmac)
{
    hmac_free(*hmac);
}

int hmac_sha256(struct hmac *hmac, const struct bytes *pieces, size_t count,
                uint8_t ret[static HASH_LEN]) __attribute__((warn_unused_result));
