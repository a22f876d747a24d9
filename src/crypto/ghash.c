#include "crypto/ghash.h"

#include <endian.h>
#include <string.h>

#include "crypto/secret.h"

#define BITS 64u
#define REDUCTION ((uint64_t)0xe1 << 56) /* x^128 = x^7 + x^2 + x + 1 */

static struct ghash_element load(const uint8_t from[static GHASH_LEN])
{
    struct ghash_element element;

    memcpy(&element.high, from, sizeof(element.high));
    memcpy(&element.low, from + sizeof(element.high), sizeof(element.low));
    return (struct ghash_element){ be64toh(element.high), be64toh(element.low) };
}

static void store(struct ghash_element element, uint8_t to[static GHASH_LEN])
{
    element = (struct ghash_element){ htobe64(element.high), htobe64(element.low) };
    memcpy(to, &element.high, sizeof(element.high));
    memcpy(to + sizeof(element.high), &element.low, sizeof(element.low));
}

/* Without a branch on what is secret. */
static struct ghash_element times_x(struct ghash_element element)
{
    const uint64_t carry = 0 - (element.low & 1);

    return (struct ghash_element){
        .high = (element.high >> 1) ^ (carry & REDUCTION),
        .low = (element.low >> 1) | (element.high << (BITS - 1)),
    };
}

void ghash_init(struct ghash *ghash, const uint8_t hash_key[static GHASH_LEN])
{
    struct ghash_element element = load(hash_key);

    for (unsigned i = 0; i < 2 * BITS; i++, element = times_x(element))
        ghash->powers[i] = element;
}

/* The sum of the powers from x^first on that the bits name, the highest bit first. */
static void add_powers(const struct ghash *ghash, unsigned first, uint64_t bits,
                       struct ghash_element *sum)
{
    for (unsigned i = first; bits != 0; i++, bits <<= 1)
        if (bits >> (BITS - 1)) {
            sum->high ^= ghash->powers[i].high;
            sum->low ^= ghash->powers[i].low;
        }
}

static uint64_t difference(size_t a, size_t b)
{
    return ((uint64_t)a * 8) ^ ((uint64_t)b * 8); /* they are hashed in bits */
}

void ghash_change_lengths(const struct ghash *ghash, struct ghash_lens from, struct ghash_lens to,
                          uint8_t tag[static GHASH_LEN])
{
    struct ghash_element sum = load(tag);

    add_powers(ghash, 0, difference(from.aad, to.aad), &sum);
    add_powers(ghash, BITS, difference(from.cipher, to.cipher), &sum);
    store(sum, tag);
    memory_wipe(&sum, sizeof(sum));
}
