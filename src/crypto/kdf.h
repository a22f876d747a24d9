/* kdf.h - HKDF-SHA-256 (RFC 5869): keys from keys, one label for each use.
 *
 * Errors     -ENOMEM only.
 */
#pragma once

#include "base/buf.h"
#include "crypto/secret.h"

#define KDF_KEY_LEN 32u

/* KDF_KEY_LEN bytes: extract with an empty salt, expand with info = label, NUL, context. The
 * label is one of those in docs/formats/keys.md; the context (a segment's or run's id) may be
 * empty. */
int kdf_derive(const struct secret *key, const char *label, struct bytes context,
               struct secret *ret) __attribute__((warn_unused_result));
