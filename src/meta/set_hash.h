/* set_hash.h - a sum over a set of records by which one that is missing, added or exchanged shows:
 * their count, and modulo 2^256 the sum of a keyed hash of each one's identity.
 *
 * Shares of several writers add up to that of the set; a share alone may have a negative count.
 *
 * Errors     -ENOMEM only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/wire.h"
#include "crypto/hash.h"

struct set_hash {
    int64_t count;
    uint64_t sum[4]; /* least significant first */
};

/* One record in, or out: what it is, as the pieces one after the other. */
int set_hash_add(struct set_hash *set, struct hmac *hmac, const struct bytes *pieces, size_t count);
int set_hash_subtract(struct set_hash *set, struct hmac *hmac, const struct bytes *pieces,
                      size_t count);

/* to = to + share. */
void set_hash_join(struct set_hash *to, const struct set_hash *share);
bool set_hash_equal(const struct set_hash *a, const struct set_hash *b);

/* count i64, sum 32 bytes little-endian. */
void set_hash_write(struct writer *writer, const struct set_hash *set);
void set_hash_read(struct reader *reader, struct set_hash *ret);
