/* The primitives against published vectors, and their promises when bytes are altered. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "base/encoding.h"
#include "crypto/aead.h"
#include "crypto/ghash_wide.h"
#include "crypto/hash.h"
#include "crypto/kdf.h"
#include "crypto/random.h"
#include "crypto/secret.h"

static const uint8_t zero_nonce[AEAD_NONCE_LEN];

typedef void aead_check_way(struct aead *aead);

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

/* McGrew and Viega, "The Galois/Counter Mode of Operation", test case 14. */
static void aead_seal_gives_the_published_ciphertext(void **state)
{
    struct secret key = SECRET_INIT;
    struct aead *aead = NULL;
    uint8_t plain[16] = { 0 };
    uint8_t sealed[32];
    char hex[65];
    (void)state;

    assert_int_equal(secret_new(&key, AEAD_KEY_LEN), 0);
    assert_int_equal(aead_new(&key, &aead), 0);
    assert_int_equal(aead_seal(aead, zero_nonce, (struct bytes){ 0 },
                               (struct bytes){ plain, sizeof(plain) }, sealed),
                     0);
    hex_encode((struct bytes){ sealed, sizeof(sealed) }, hex);
    assert_string_equal(hex, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    assert_int_equal(
        aead_check(aead, zero_nonce, (struct bytes){ 0 }, (struct bytes){ sealed, sizeof(sealed) }),
        0);
    aead_free(aead);
    secret_release(&key);
}

static void aead_open_refuses_every_altered_byte(void **state)
{
    struct secret key = SECRET_INIT;
    struct aead *aead = NULL;
    uint8_t sealed[5 + AEAD_TAG_LEN];
    uint8_t plain[5];
    (void)state;

    assert_int_equal(secret_new(&key, AEAD_KEY_LEN), 0);
    random_bytes(key.data, key.len);
    assert_int_equal(aead_new(&key, &aead), 0);
    assert_int_equal(aead_seal(aead, zero_nonce, text("aad"), text("hello"), sealed), 0);
    struct bytes whole = { sealed, sizeof(sealed) };

    for (size_t i = 0; i < sizeof(sealed); i++) {
        sealed[i] ^= 1;
        assert_int_equal(aead_open(aead, zero_nonce, text("aad"), whole, plain), -EBADMSG);
        assert_memory_equal(plain, "\0\0\0\0\0", 5);
        sealed[i] ^= 1;
    }
    assert_int_equal(aead_open(aead, zero_nonce, text("aae"), whole, plain), -EBADMSG);
    assert_int_equal(aead_open(aead, zero_nonce, text("aad"), whole, plain), 0);
    assert_memory_equal(plain, "hello", 5);
    aead_free(aead);
    secret_release(&key);
}

/* The two ways in which aead_check() does it. */
static void as_it_is(struct aead *aead)
{
    (void)aead;
}

static aead_check_way *const check_ways[] = { as_it_is, aead_check_narrowly };

/* Of lengths that end blocks and that do not. */
static void check_agrees_with_open(aead_check_way *way)
{
    static uint8_t aad[40], plain[70], sealed[70 + AEAD_TAG_LEN], opened[70];
    struct secret key = SECRET_INIT;
    struct aead *aead = NULL;
    uint8_t nonce[AEAD_NONCE_LEN];

    assert_int_equal(secret_new(&key, AEAD_KEY_LEN), 0);
    random_bytes(key.data, key.len);
    assert_int_equal(aead_new(&key, &aead), 0);
    way(aead);
    for (size_t aad_len = 0; aad_len <= sizeof(aad); aad_len++)
        for (size_t len = 0; len <= sizeof(plain); len++) {
            const struct bytes with = { aad, aad_len }, whole = { sealed, len + AEAD_TAG_LEN };
            random_bytes(nonce, sizeof(nonce));
            random_bytes(aad, sizeof(aad));
            random_bytes(plain, sizeof(plain));
            assert_int_equal(aead_seal(aead, nonce, with, (struct bytes){ plain, len }, sealed), 0);
            assert_int_equal(aead_open(aead, nonce, with, whole, opened), 0);
            assert_int_equal(aead_check(aead, nonce, with, whole), 0);
        }
    aead_free(aead);
    secret_release(&key);
}

static void aead_check_agrees_with_aead_open(void **state)
{
    (void)state;

    for (size_t i = 0; i < sizeof(check_ways) / sizeof(check_ways[0]); i++)
        check_agrees_with_open(check_ways[i]);
}

static void expect_not_good(struct aead *aead, struct bytes aad, struct bytes sealed)
{
    assert_int_equal(aead_check(aead, zero_nonce, aad, sealed), -EBADMSG);
}

static void aead_check_refuses_every_altered_bit(void **state)
{
    struct secret key = SECRET_INIT;
    struct aead *aead = NULL;
    uint8_t sealed[4096 + AEAD_TAG_LEN] = { 0 };
    const struct bytes whole = { sealed, sizeof(sealed) };
    (void)state;

    assert_int_equal(secret_new(&key, AEAD_KEY_LEN), 0);
    random_bytes(key.data, key.len);
    assert_int_equal(aead_new(&key, &aead), 0);
    assert_int_equal(
        aead_seal(aead, zero_nonce, text("aad"), (struct bytes){ sealed, 4096 }, sealed), 0);
    assert_int_equal(aead_check(aead, zero_nonce, text("aad"), whole), 0);
    for (size_t i = 0; i < 8 * sizeof(sealed); i++) {
        sealed[i / 8] ^= (uint8_t)(1 << i % 8);
        expect_not_good(aead, text("aad"), whole);
        sealed[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    expect_not_good(aead, text("aae"), whole);
    expect_not_good(aead, text("aa"), whole);
    expect_not_good(aead, (struct bytes){ (const uint8_t *)"aad", 4 }, whole); /* and a zero */
    for (size_t len = 0; len < sizeof(sealed); len++)
        expect_not_good(aead, text("aad"), (struct bytes){ sealed, len });
    aead_free(aead);
    secret_release(&key);
}

/* SP 800-38D, 6.3, algorithm 1, bit by bit. */
static void multiply(uint8_t x[static GHASH_LEN], const uint8_t y[static GHASH_LEN])
{
    uint8_t z[GHASH_LEN] = { 0 }, v[GHASH_LEN];

    memcpy(v, y, sizeof(v));
    for (unsigned bit = 0; bit < 8 * GHASH_LEN; bit++) {
        const bool is_odd = v[GHASH_LEN - 1] & 1;
        if (x[bit / 8] & (0x80 >> bit % 8))
            for (unsigned i = 0; i < GHASH_LEN; i++)
                z[i] ^= v[i];
        for (unsigned i = GHASH_LEN; i-- > 0;)
            v[i] = (uint8_t)(v[i] >> 1 | (i > 0 ? v[i - 1] << 7 : 0));
        if (is_odd)
            v[0] ^= 0xe1;
    }
    memcpy(x, z, GHASH_LEN);
}

static void hash_slowly(const uint8_t *hash_key, struct bytes data, uint8_t sum[static GHASH_LEN])
{
    for (size_t at = 0; at < data.len; at += GHASH_LEN) {
        for (size_t i = 0; i < GHASH_LEN && at + i < data.len; i++)
            sum[i] ^= data.data[at + i];
        multiply(sum, hash_key);
    }
}

static void expect_hash(const struct ghash_wide *ghash, const uint8_t *hash_key, struct bytes aad,
                        struct bytes cipher)
{
    uint8_t expected[GHASH_LEN] = { 0 }, found[GHASH_LEN], lens[GHASH_LEN] = { 0 };

    for (unsigned i = 0; i < 4; i++) {
        lens[7 - i] = (uint8_t)(8 * aad.len >> 8 * i);
        lens[15 - i] = (uint8_t)(8 * cipher.len >> 8 * i);
    }
    hash_slowly(hash_key, aad, expected);
    hash_slowly(hash_key, cipher, expected);
    hash_slowly(hash_key, (struct bytes){ lens, sizeof(lens) }, expected);
    ghash_wide_hash(ghash, aad, cipher, found);
    assert_memory_equal(found, expected, GHASH_LEN);
}

/* A failure would not show in aead_check(), which asks OpenSSL then. */
static void the_wide_hash_is_that_of_the_standard(void **state)
{
    static uint8_t data[3 * GHASH_WIDE_BLOCKS * GHASH_LEN + 1];
    /* With gcc 12's address sanitizer the stack is aligned to 32 bytes only (GCC bug 110027). */
    static struct ghash_wide ghash;
    uint8_t hash_key[GHASH_LEN];
    (void)state;

    if (!ghash_wide_is_there())
        skip();
    for (unsigned round = 0; round < 4; round++) {
        random_bytes(hash_key, sizeof(hash_key));
        random_bytes(data, sizeof(data));
        if (round == 0)
            hash_key[0] |= 0x80; /* the bit that is carried, and not */
        else if (round == 1)
            hash_key[0] &= 0x7f;
        ghash_wide_init(&ghash, hash_key);
        for (size_t len = 0; len <= sizeof(data); len++) {
            const struct bytes all = { data, len }, rest = { data + len, sizeof(data) - len };
            expect_hash(&ghash, hash_key, all, (struct bytes){ data, len % 3 });
            expect_hash(&ghash, hash_key, (struct bytes){ data, len % 37 }, rest);
        }
    }
}

static void nonce_batches_count_and_are_drawn_again_when_used_up(void **state)
{
    struct nonce_batch batch = { 0 };
    uint8_t first[AEAD_NONCE_LEN], nonce[AEAD_NONCE_LEN];
    (void)state;

    assert_true(nonce_next(&batch, first));
    assert_false(nonce_next(&batch, nonce));
    assert_memory_equal(first, nonce, 10);
    assert_int_equal(nonce[11], 1);
    for (int i = 2; i < 65536; i++)
        assert_false(nonce_next(&batch, nonce));
    assert_int_equal(nonce[10], 255);
    assert_true(nonce_next(&batch, nonce));
    assert_memory_not_equal(first, nonce, 10);
}

/* RFC 4231, test case 2. */
static void hmac_gives_the_published_value(void **state)
{
    struct secret key = SECRET_INIT;
    struct hmac *hmac = NULL;
    uint8_t mac[HASH_LEN];
    char hex[65];
    (void)state;

    assert_int_equal(secret_assign(&key, text("Jefe")), 0);
    assert_int_equal(hmac_new(&key, &hmac), 0);
    struct bytes pieces[] = { text("what do ya want "), text("for nothing?") };
    for (int i = 0; i < 2; i++) { /* twice: a context is used again */
        assert_int_equal(hmac_sha256(hmac, pieces, 2, mac), 0);
        hex_encode((struct bytes){ mac, sizeof(mac) }, hex);
        assert_string_equal(hex,
                            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
    hmac_free(hmac);
    secret_release(&key);
}

static void sha256_gives_the_published_value(void **state)
{
    uint8_t hash[HASH_LEN];
    char hex[65];
    struct bytes pieces[] = { text("a"), text("bc") };
    (void)state;

    assert_int_equal(hash_sha256(pieces, 2, hash), 0);
    hex_encode((struct bytes){ hash, sizeof(hash) }, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void kdf_separates_labels_and_contexts(void **state)
{
    struct secret key = SECRET_INIT, a = SECRET_INIT, b = SECRET_INIT, c = SECRET_INIT;
    (void)state;

    assert_int_equal(secret_new(&key, 32), 0);
    assert_int_equal(kdf_derive(&key, "x", text("1"), &a), 0);
    assert_int_equal(kdf_derive(&key, "y", text("1"), &b), 0);
    assert_int_equal(kdf_derive(&key, "x", text("2"), &c), 0);
    assert_false(secret_equal(secret_bytes(&a), secret_bytes(&b)));
    assert_false(secret_equal(secret_bytes(&a), secret_bytes(&c)));
    assert_int_equal(kdf_derive(&key, "x", text("1"), &b), 0);
    assert_true(secret_equal(secret_bytes(&a), secret_bytes(&b)));
    secret_release(&a);
    secret_release(&b);
    secret_release(&c);
    secret_release(&key);
}

static int set_up(void **state)
{
    (void)state;
    return secret_heap_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aead_seal_gives_the_published_ciphertext),
        cmocka_unit_test(aead_open_refuses_every_altered_byte),
        cmocka_unit_test(aead_check_agrees_with_aead_open),
        cmocka_unit_test(aead_check_refuses_every_altered_bit),
        cmocka_unit_test(the_wide_hash_is_that_of_the_standard),
        cmocka_unit_test(nonce_batches_count_and_are_drawn_again_when_used_up),
        cmocka_unit_test(hmac_gives_the_published_value),
        cmocka_unit_test(sha256_gives_the_published_value),
        cmocka_unit_test(kdf_separates_labels_and_contexts),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
