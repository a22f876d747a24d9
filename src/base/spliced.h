/* spliced.h - bytes with splices upon them, read in place or put together.
 *
 * Units      bytes.
 * Ownership  all that it points to stays somebody else's.
 */
#pragma once

#include "base/splice.h"

#define SPLICES_MAX 16u

struct spliced {
    struct bytes base;
    size_t len; /* with all splices */
    unsigned count;
    struct splice splices[SPLICES_MAX]; /* the oldest first; each is of what those before it make */
};

static inline struct spliced spliced_of(struct bytes bytes)
{
    struct spliced spliced;

    spliced.base = bytes;
    spliced.len = bytes.len;
    spliced.count = 0; /* and none of the rest is looked at */
    return spliced;
}

/* False: it has no len bytes at that place. */
bool spliced_read(const struct spliced *spliced, size_t at, size_t len, uint8_t *ret);

/* What spliced_flatten() needs room for: more than len, if it was longer in between. */
size_t spliced_room(const struct spliced *spliced);

/* Puts all of it together. */
void spliced_flatten(const struct spliced *spliced, uint8_t *ret);
