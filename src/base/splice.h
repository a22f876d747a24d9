/* splice.h - a part of some bytes becomes another one, longer or shorter.
 *
 * Units      bytes.
 * Ownership  what is added stays the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"

/* added takes the place of removed bytes from at on. */
struct splice {
    size_t at;
    size_t removed;
    struct bytes added;
};

/* Whether len bytes have such a part. */
static inline bool splice_fits(const struct splice *splice, size_t len)
{
    return splice->at <= len && splice->removed <= len - splice->at;
}

/* What len bytes become. It fits. */
static inline size_t splice_len(const struct splice *splice, size_t len)
{
    return len - splice->removed + splice->added.len;
}

/* In the len bytes at data, which has room for what they become. It fits. */
static inline void splice_apply(const struct splice *splice, uint8_t *data, size_t len)
{
    size_t behind = splice->at + splice->removed;

    if (splice->added.len != splice->removed && behind < len)
        memmove(data + splice->at + splice->added.len, data + behind, len - behind);
    if (splice->added.len > 0)
        memcpy(data + splice->at, splice->added.data, splice->added.len);
}
