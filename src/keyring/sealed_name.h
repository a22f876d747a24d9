/* sealed_name.h - a name from inside a filesystem that waits in the registry for its worker, such
 * as that which a snapshot gets when its download ends. cofferd has no filesystem key and its
 * registry is in clear, so the worker seals the name first, and opens it when it needs it.
 *
 * What is sealed has always the same length, so that the name's does not show, and says which
 * generation of the filesystem's key opens it. The key for it derives from that and the context.
 *
 * Errors     -EBADMSG: altered, or sealed with another key or for another context; -ENOKEY: that
 *            generation is not among the keys; -ENAMETOOLONG.
 */
#pragma once

#include "crypto/aead.h"
#include "keyring/superblock.h"

#define SEALED_NAME_PLAIN_LEN 256u /* the name, and zeros behind it: one at least */
#define SEALED_NAME_LEN (4u + AEAD_NONCE_LEN + SEALED_NAME_PLAIN_LEN + AEAD_TAG_LEN)

/* context: what the name is for. Under the newest of the keys, which are those of the filesystem
 * itself. */
int sealed_name_seal(const struct key_set *keys, struct bytes context, const char *name,
                     uint8_t ret[static SEALED_NAME_LEN]);
int sealed_name_open(const struct key_set *keys, struct bytes context,
                     const uint8_t sealed[static SEALED_NAME_LEN],
                     char ret[static SEALED_NAME_PLAIN_LEN]);
