/* password.h - hashes of passwords: Argon2id (RFC 9106), with a salt and the cost that each was
 * made with.
 *
 * Computing one takes PASSWORD_MEMORY_KIB of memory and some tenths of a second, on purpose:
 * callers see to it that few are computed at a time.
 *
 * Errors     -EKEYREJECTED: another password; -ENOMEM.
 * Threads    any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define PASSWORD_SALT_LEN 16u
#define PASSWORD_HASH_LEN 32u

/* What new ones should cost, and between what one is computed at all. */
#define PASSWORD_MEMORY_KIB (64u * 1024u)
#define PASSWORD_PASSES 3u
#define PASSWORD_MEMORY_KIB_MIN 1024u
#define PASSWORD_MEMORY_KIB_MAX (1024u * 1024u)
#define PASSWORD_PASSES_MAX 16u

struct password_hash {
    uint32_t memory_kib;
    uint32_t passes;
    uint8_t salt[PASSWORD_SALT_LEN];
    uint8_t hash[PASSWORD_HASH_LEN];
};

/* Of the cost that is in hash already; draws a salt. */
int password_hash(struct bytes password, struct password_hash *hash);

/* 0: it is this password. */
int password_verify(struct bytes password, const struct password_hash *hash);

/* Whether one that comes from a file can be computed at all. */
bool password_cost_is_valid(const struct password_hash *hash);
