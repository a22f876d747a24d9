#include "crypto/aead.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "crypto/ghash.h"
#include "crypto/ghash_wide.h"
#include "crypto/random.h"
#include "crypto/slots.h"

#define NONCES_PER_BATCH 65536u

struct aead {
    EVP_CIPHER *cipher;
    EVP_CIPHER *one_block; /* AES alone */
    struct secret key;
    struct ghash ghash;
    struct ghash_wide wide; /* if is_wide */
    bool is_wide;
    /* A context keeps its direction: setting the other one would schedule the key again. */
    struct slot seal[SLOT_COUNT];
    struct slot open[SLOT_COUNT];
    struct slot mask[SLOT_COUNT]; /* of one_block */
};

/* A slot's context with the key set up; NULL when out of memory. */
static EVP_CIPHER_CTX *context_with(struct aead *aead, const EVP_CIPHER *cipher, struct slot *slot,
                                    int is_seal)
{
    if (slot->context)
        return slot->context;

    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (context && EVP_CipherInit_ex2(context, cipher, aead->key.data, NULL, is_seal, NULL) != 1) {
        EVP_CIPHER_CTX_free(context);
        context = NULL;
    }
    slot->context = context;
    return context;
}

static EVP_CIPHER_CTX *context_of(struct aead *aead, struct slot *slot, int is_seal)
{
    return context_with(aead, aead->cipher, slot, is_seal);
}

static int encrypt_block(struct aead *aead, const uint8_t block[static GHASH_LEN],
                         uint8_t ret[static GHASH_LEN])
{
    struct slot *slot = slot_take(aead->mask);
    EVP_CIPHER_CTX *context = context_with(aead, aead->one_block, slot, 1);
    int n;

    int r = context && EVP_EncryptUpdate(context, ret, &n, block, GHASH_LEN) == 1 ? 0 : -ENOMEM;
    slot_give(slot);
    return r;
}

static int init_hashing(struct aead *aead)
{
    static const uint8_t zeros[GHASH_LEN];
    uint8_t block[GHASH_LEN];

    int r = encrypt_block(aead, zeros, block);
    if (r == 0) {
        ghash_init(&aead->ghash, block);
        aead->is_wide = ghash_wide_is_there();
        if (aead->is_wide)
            ghash_wide_init(&aead->wide, block);
    }
    memory_wipe(block, sizeof(block));
    return r;
}

int aead_new(const struct secret *key, struct aead **ret)
{
    if (key->len != AEAD_KEY_LEN)
        return -EINVAL;

    CLEANUP(aead_freep) struct aead *aead = aligned_alloc(64, sizeof(*aead));
    if (!aead)
        return -ENOMEM;
    memset(aead, 0, sizeof(*aead));
    aead->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    aead->one_block = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);
    if (!aead->cipher || !aead->one_block)
        return -ENOMEM;
    int r = secret_assign(&aead->key, secret_bytes(key));
    if (r == 0)
        r = init_hashing(aead);
    if (r < 0)
        return r;
    *ret = TAKE(aead);
    return 0;
}

void aead_free(struct aead *aead)
{
    if (!aead)
        return;
    for (size_t i = 0; i < SLOT_COUNT; i++) {
        EVP_CIPHER_CTX_free(aead->seal[i].context); /* wipes the key schedule */
        EVP_CIPHER_CTX_free(aead->open[i].context);
        EVP_CIPHER_CTX_free(aead->mask[i].context);
    }
    EVP_CIPHER_free(aead->cipher);
    EVP_CIPHER_free(aead->one_block);
    secret_release(&aead->key);
    memory_wipe(&aead->ghash, sizeof(aead->ghash));
    memory_wipe(&aead->wide, sizeof(aead->wide));
    free(aead);
}

static int seal_with(EVP_CIPHER_CTX *context, const uint8_t *nonce, struct bytes aad,
                     struct bytes plain, uint8_t *ret_sealed)
{
    int n;

    if (EVP_EncryptInit_ex2(context, NULL, NULL, nonce, NULL) != 1)
        return -ENOMEM;
    if (aad.len && EVP_EncryptUpdate(context, NULL, &n, aad.data, (int)aad.len) != 1)
        return -ENOMEM;
    if (plain.len && EVP_EncryptUpdate(context, ret_sealed, &n, plain.data, (int)plain.len) != 1)
        return -ENOMEM;
    if (EVP_EncryptFinal_ex(context, ret_sealed + plain.len, &n) != 1)
        return -ENOMEM;
    if (EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, ret_sealed + plain.len) !=
        1)
        return -ENOMEM;
    return 0;
}

int aead_seal(struct aead *aead, const uint8_t nonce[static AEAD_NONCE_LEN], struct bytes aad,
              struct bytes plain, uint8_t *ret_sealed)
{
    assert(plain.len <= INT_MAX && aad.len <= INT_MAX);

    struct slot *slot = slot_take(aead->seal);
    EVP_CIPHER_CTX *context = context_of(aead, slot, 1);
    int r = context ? seal_with(context, nonce, aad, plain, ret_sealed) : -ENOMEM;
    slot_give(slot);
    return r;
}

static int open_with(EVP_CIPHER_CTX *context, const uint8_t *nonce, struct bytes aad,
                     struct bytes sealed, uint8_t *ret_plain)
{
    size_t len = sealed.len - AEAD_TAG_LEN;
    uint8_t tag[AEAD_TAG_LEN];
    int n;

    memcpy(tag, sealed.data + len, sizeof(tag)); /* OpenSSL wants it writable */
    if (EVP_DecryptInit_ex2(context, NULL, NULL, nonce, NULL) != 1)
        return -ENOMEM;
    if (aad.len && EVP_DecryptUpdate(context, NULL, &n, aad.data, (int)aad.len) != 1)
        return -ENOMEM;
    if (len && EVP_DecryptUpdate(context, ret_plain, &n, sealed.data, (int)len) != 1)
        return -ENOMEM;
    if (EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, tag) != 1)
        return -ENOMEM;
    return EVP_DecryptFinal_ex(context, ret_plain + len, &n) == 1 ? 0 : -EBADMSG;
}

int aead_open(struct aead *aead, const uint8_t nonce[static AEAD_NONCE_LEN], struct bytes aad,
              struct bytes sealed, uint8_t *ret_plain)
{
    assert(sealed.len <= INT_MAX && aad.len <= INT_MAX);
    if (sealed.len < AEAD_TAG_LEN)
        return -EBADMSG;

    struct slot *slot = slot_take(aead->open);
    EVP_CIPHER_CTX *context = context_of(aead, slot, 0);
    int r = context ? open_with(context, nonce, aad, sealed, ret_plain) : -ENOMEM;
    slot_give(slot);
    if (r < 0 && sealed.len > AEAD_TAG_LEN)
        memset(ret_plain, 0, sealed.len - AEAD_TAG_LEN);
    return r;
}

/* The tag of all of it as associated data, block for block as it is hashed when it is sealed. */
static int tag_of_all(EVP_CIPHER_CTX *context, const uint8_t *nonce, struct bytes aad,
                      struct bytes cipher, uint8_t ret_tag[static AEAD_TAG_LEN], size_t *ret_len)
{
    static const uint8_t zeros[GHASH_LEN];
    const size_t padding = (GHASH_LEN - aad.len % GHASH_LEN) % GHASH_LEN;
    const struct bytes parts[] = { aad, { zeros, padding }, cipher };
    int n;

    if (EVP_EncryptInit_ex2(context, NULL, NULL, nonce, NULL) != 1)
        return -ENOMEM;
    *ret_len = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].len &&
            EVP_EncryptUpdate(context, NULL, &n, parts[i].data, (int)parts[i].len) != 1)
            return -ENOMEM;
        *ret_len += parts[i].len;
    }
    if (EVP_EncryptFinal_ex(context, ret_tag, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, ret_tag) != 1)
        return -ENOMEM;
    return 0;
}

/* OpenSSL has no way to hash ciphertext only; associated data it does, which differs by the
 * lengths. To hash costs little more than half of opening. */
static int check_by_openssl(struct aead *aead, const uint8_t *nonce, struct bytes aad,
                            struct bytes cipher, const uint8_t *expected)
{
    uint8_t tag[AEAD_TAG_LEN];
    size_t hashed = 0;

    struct slot *slot = slot_take(aead->seal);
    EVP_CIPHER_CTX *context = context_of(aead, slot, 1);
    int r = context ? tag_of_all(context, nonce, aad, cipher, tag, &hashed) : -ENOMEM;
    slot_give(slot);
    if (r == 0) {
        ghash_change_lengths(&aead->ghash, (struct ghash_lens){ hashed, 0 },
                             (struct ghash_lens){ aad.len, cipher.len }, tag);
        r = CRYPTO_memcmp(tag, expected, AEAD_TAG_LEN) == 0 ? 0 : -EBADMSG;
    }
    memory_wipe(tag, sizeof(tag)); /* of what was altered it would be a forgery */
    return r;
}

/* The hash, under the first block of the key stream (SP 800-38D, 7.1). False says nothing. */
static bool is_good(struct aead *aead, const uint8_t *nonce, struct bytes aad, struct bytes cipher,
                    const uint8_t *expected)
{
    uint8_t counter[GHASH_LEN] = { [GHASH_LEN - 1] = 1 };
    uint8_t tag[AEAD_TAG_LEN], mask[GHASH_LEN];

    if (!aead->is_wide)
        return false;
    memcpy(counter, nonce, AEAD_NONCE_LEN);
    if (encrypt_block(aead, counter, mask) < 0)
        return false;
    ghash_wide_hash(&aead->wide, aad, cipher, tag);
    for (unsigned i = 0; i < AEAD_TAG_LEN; i++)
        tag[i] ^= mask[i];
    const bool is = CRYPTO_memcmp(tag, expected, AEAD_TAG_LEN) == 0;
    memory_wipe(tag, sizeof(tag));
    memory_wipe(mask, sizeof(mask));
    return is;
}

int aead_check(struct aead *aead, const uint8_t nonce[static AEAD_NONCE_LEN], struct bytes aad,
               struct bytes sealed)
{
    assert(sealed.len <= INT_MAX && aad.len <= INT_MAX);
    if (sealed.len < AEAD_TAG_LEN)
        return -EBADMSG;

    const struct bytes cipher = { sealed.data, sealed.len - AEAD_TAG_LEN };
    const uint8_t *expected = cipher.data + cipher.len;
    return is_good(aead, nonce, aad, cipher, expected)
               ? 0
               : check_by_openssl(aead, nonce, aad, cipher, expected);
}

void aead_check_narrowly(struct aead *aead)
{
    aead->is_wide = false;
}

bool nonce_next(struct nonce_batch *batch, uint8_t ret_nonce[static AEAD_NONCE_LEN])
{
    bool is_new = !batch->drawn || batch->used == NONCES_PER_BATCH;

    if (is_new) {
        random_bytes(batch->random, sizeof(batch->random));
        batch->used = 0;
        batch->drawn = true;
    }
    memcpy(ret_nonce, batch->random, sizeof(batch->random));
    ret_nonce[AEAD_NONCE_LEN - 2] = (uint8_t)(batch->used >> 8);
    ret_nonce[AEAD_NONCE_LEN - 1] = (uint8_t)batch->used;
    batch->used++;
    return is_new;
}
