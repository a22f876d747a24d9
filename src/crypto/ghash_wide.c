/* GHASH by the processor, sixteen blocks at a time: VPCLMULQDQ multiplies four pairs of 64 bits at
 * once, and the products of all sixteen are reduced together.
 *
 * Blocks are reversed byte by byte, so that bit 127 is the coefficient of x^0. The product of two
 * such numbers is one bit short; factors are therefore kept divided by x. (The method is that of
 * S. Gueron and M. Kounavis, "Intel Carry-Less Multiplication Instruction and its Usage for
 * Computing the GCM Mode".) */
#include "crypto/ghash_wide.h"

#include <endian.h>
#include <string.h>

#include "crypto/secret.h"

#ifdef __x86_64__

#include <immintrin.h>

#define WIDE __attribute__((target("avx512f,avx512bw,avx512vl,vpclmulqdq,pclmul,ssse3,avx2")))
#define REGISTER_LEN 64u
#define STRIDE (GHASH_WIDE_BLOCKS * (size_t)GHASH_LEN)
#define FOLD ((uint64_t)0xc2 << 56) /* of x^-1 = x^127 + x^6 + x + 1, the upper half */

bool ghash_wide_is_there(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vpclmulqdq");
}

WIDE static __m128i reversed(__m128i block)
{
    return _mm_shuffle_epi8(block,
                            _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

/* high, middle and low: of a product of 256 bits, the middle one across the other two. */
WIDE static __m128i reduce(__m128i low, __m128i middle, __m128i high)
{
    static const uint64_t over_one[2] = { 1, FOLD };
    const __m128i fold = _mm_loadu_si128((const __m128i *)over_one);

    middle = _mm_xor_si128(middle, _mm_shuffle_epi32(low, 0x4e));
    middle = _mm_xor_si128(middle, _mm_clmulepi64_si128(fold, low, 0x01));
    high = _mm_xor_si128(high, _mm_shuffle_epi32(middle, 0x4e));
    return _mm_xor_si128(high, _mm_clmulepi64_si128(fold, middle, 0x01));
}

WIDE static __m128i times(__m128i a, __m128i factor)
{
    const __m128i middle =
        _mm_xor_si128(_mm_clmulepi64_si128(a, factor, 0x01), _mm_clmulepi64_si128(a, factor, 0x10));

    return reduce(_mm_clmulepi64_si128(a, factor, 0x00), middle,
                  _mm_clmulepi64_si128(a, factor, 0x11));
}

/* Without a branch on what is secret. */
WIDE static __m128i over_x(__m128i element)
{
    uint64_t halves[2];

    _mm_storeu_si128((__m128i *)halves, element);
    const uint64_t carry = 0 - (halves[1] >> 63);
    halves[1] = (halves[1] << 1 | halves[0] >> 63) ^ (carry & FOLD);
    halves[0] = halves[0] << 1 ^ (carry & 1);
    element = _mm_loadu_si128((const __m128i *)halves);
    memory_wipe(halves, sizeof(halves));
    return element;
}

/* The highest power first: it is the first of sixteen blocks that is multiplied by it. */
WIDE void ghash_wide_init(struct ghash_wide *ghash, const uint8_t hash_key[static GHASH_LEN])
{
    const __m128i first = over_x(reversed(_mm_loadu_si128((const __m128i *)hash_key)));
    __m128i power = first;

    for (unsigned i = GHASH_WIDE_BLOCKS; i-- > 0; power = times(power, first))
        _mm_store_si128((__m128i *)ghash->powers[i], power);
}

WIDE static __m128i sum_of_four(__m512i blocks)
{
    const __m256i two =
        _mm256_xor_si256(_mm512_castsi512_si256(blocks), _mm512_extracti64x4_epi64(blocks, 1));

    return _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
}

/* STRIDE bytes. */
WIDE static __m128i hash_sixteen(const struct ghash_wide *ghash, const uint8_t *data, __m128i sum)
{
    const __m512i order =
        _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    __m512i low = _mm512_setzero_si512(), middle = low, high = low;
    __m512i carried = _mm512_zextsi128_si512(sum);

    for (unsigned i = 0; i < STRIDE / REGISTER_LEN; i++, carried = _mm512_setzero_si512()) {
        const __m512i factors = _mm512_load_si512(ghash->powers[4 * i]);
        const __m512i blocks = _mm512_xor_si512(
            _mm512_shuffle_epi8(_mm512_loadu_si512(data + i * REGISTER_LEN), order), carried);
        low = _mm512_xor_si512(low, _mm512_clmulepi64_epi128(blocks, factors, 0x00));
        high = _mm512_xor_si512(high, _mm512_clmulepi64_epi128(blocks, factors, 0x11));
        middle = _mm512_ternarylogic_epi64(middle, _mm512_clmulepi64_epi128(blocks, factors, 0x01),
                                           _mm512_clmulepi64_epi128(blocks, factors, 0x10), 0x96);
    }
    return reduce(sum_of_four(low), sum_of_four(middle), sum_of_four(high));
}

WIDE static __m128i hash_one(const struct ghash_wide *ghash, __m128i block, __m128i sum)
{
    const __m128i factor =
        _mm_load_si128((const __m128i *)ghash->powers[GHASH_WIDE_BLOCKS - 1]); /* the first one */

    return times(_mm_xor_si128(reversed(block), sum), factor);
}

/* With zeros behind it up to the end of a block. */
WIDE static __m128i hash_padded(const struct ghash_wide *ghash, struct bytes data, __m128i sum)
{
    uint8_t last[GHASH_LEN] = { 0 };

    for (; data.len >= STRIDE; data.data += STRIDE, data.len -= STRIDE)
        sum = hash_sixteen(ghash, data.data, sum);
    for (; data.len >= GHASH_LEN; data.data += GHASH_LEN, data.len -= GHASH_LEN)
        sum = hash_one(ghash, _mm_loadu_si128((const __m128i *)data.data), sum);
    if (data.len == 0)
        return sum;
    memcpy(last, data.data, data.len);
    return hash_one(ghash, _mm_loadu_si128((const __m128i *)last), sum);
}

WIDE void ghash_wide_hash(const struct ghash_wide *ghash, struct bytes aad, struct bytes cipher,
                          uint8_t ret[static GHASH_LEN])
{
    const uint64_t lens[2] = { htobe64((uint64_t)aad.len * 8), htobe64((uint64_t)cipher.len * 8) };

    __m128i sum = hash_padded(ghash, aad, _mm_setzero_si128());
    sum = hash_padded(ghash, cipher, sum);
    sum = hash_one(ghash, _mm_loadu_si128((const __m128i *)lens), sum);
    _mm_storeu_si128((__m128i *)ret, reversed(sum));
}

#else

bool ghash_wide_is_there(void)
{
    return false;
}

void ghash_wide_init(struct ghash_wide *ghash, const uint8_t hash_key[static GHASH_LEN])
{
    (void)hash_key;
    memory_wipe(ghash, sizeof(*ghash));
}

void ghash_wide_hash(const struct ghash_wide *ghash, struct bytes aad, struct bytes cipher,
                     uint8_t ret[static GHASH_LEN])
{
    (void)ghash;
    (void)aad;
    (void)cipher;
    memset(ret, 0, GHASH_LEN);
}

#endif
