/* ghash.h - how much of a tag of AES-GCM is owed to the lengths of what it is of.
 *
 * GHASH (NIST SP 800-38D, 6.4) reads blocks of 16 bytes as coefficients of a polynomial, whose
 * value at the hash key it is: associated data, ciphertext, and last a block with both lengths. So
 * text that was hashed with other lengths, but is the same block for block, has a hash that differs
 * by the difference of these last blocks, times the hash key.
 *
 * Units      lengths are bytes.
 * Ownership  a struct ghash is secret: who has it wipes it.
 * Threads    ghash_change_lengths(): any number, on one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define GHASH_LEN 16u

/* An element of the field: bit 63 of high is the coefficient of x^0, bit 0 of low that of x^127. */
struct ghash_element {
    uint64_t high, low;
};

struct ghash {
    struct ghash_element powers[128]; /* the hash key, times x^0 to x^127 */
};

/* hash_key: sixteen zeros under the block cipher. */
void ghash_init(struct ghash *ghash, const uint8_t hash_key[static GHASH_LEN]);

/* Lengths of associated data and of ciphertext. */
struct ghash_lens {
    size_t aad, cipher;
};

/* Turns a tag of one into that of the other, in time that depends on the lengths only. */
void ghash_change_lengths(const struct ghash *ghash, struct ghash_lens from, struct ghash_lens to,
                          uint8_t tag[static GHASH_LEN]);
