/* ghash_wide.h - GHASH (NIST SP 800-38D, 6.4) on processors that multiply polynomials in registers
 * of 512 bits (VPCLMULQDQ with AVX-512), several times as fast as OpenSSL 3.0 does.
 *
 * For verifying only, and by who does not take its word for a failure: who finds another tag than
 * expected asks OpenSSL. So an error in it could cost time, and a tag that is good by accident it
 * finds as often as anybody who guesses.
 *
 * Units      lengths are bytes.
 * Ownership  a struct ghash_wide is secret: who has it wipes it.
 * Threads    ghash_wide_hash(): any number, on one. In time that depends on the lengths only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "crypto/ghash.h"

#define GHASH_WIDE_BLOCKS 16u

struct ghash_wide {
    /* The hash key to the 16th, ... 1st, as the instructions want them. */
    _Alignas(64) uint8_t powers[GHASH_WIDE_BLOCKS][GHASH_LEN];
};

/* Without it nothing else here may be called. */
bool ghash_wide_is_there(void);

/* hash_key: sixteen zeros under the block cipher. */
void ghash_wide_init(struct ghash_wide *ghash, const uint8_t hash_key[static GHASH_LEN]);

void ghash_wide_hash(const struct ghash_wide *ghash, struct bytes aad, struct bytes cipher,
                     uint8_t ret[static GHASH_LEN]);
