/* locator.h - the text by which people name an uploaded snapshot: "coffer1-" and 56 letters. It
 * holds the SHA-256 of the manifest, which is also the name of the head, so that nobody can put
 * another snapshot, or an older state of the bucket, in its place; and a check sum, so that a
 * slip of the pen is told from a snapshot that is not there.
 *
 * Errors     -EINVAL: not a locator, or one with a mistake in it; -EPROTONOSUPPORT: of a later
 *            version.
 */
#pragma once

#include "base/error.h"
#include "crypto/hash.h"

#define LOCATOR_LEN 64u
#define LOCATOR_SIZE (LOCATOR_LEN + 1u) /* with its NUL */

struct locator {
    uint8_t manifest[HASH_LEN];
};

int locator_format(const struct locator *locator, char ret[static LOCATOR_SIZE], struct error *err);

/* Takes either case, and o for 0, i and l for 1, as people read them; white space around it does
 * not matter. */
int locator_parse(const char *text, struct locator *ret, struct error *err);
