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
#include "crypto/random.h"
#include "crypto/slots.h"

#define NONCES_PER_BATCH 65536u

struct aead {
    EVP_CIPHER *cipher;
    struct secret key;
    struct ghash ghash;
    /* A context keeps its direction: setting the other one would schedule the key again. */
    struct slot seal[SLOT_COUNT];
    struct slot open[SLOT_COUNT];
};

static int hash_key(const struct secret *key, struct ghash *ret)
{
    static const uint8_t zeros[GHASH_LEN];
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    uint8_t block[2 * GHASH_LEN];
    int n;

    bool ok = cipher && context &&
              EVP_EncryptInit_ex2(context, cipher, key->data, NULL, NULL) == 1 &&
              EVP_EncryptUpdate(context, block, &n, zeros, sizeof(zeros)) == 1;
    if (ok)
        ghash_init(ret, block);
    memory_wipe(block, sizeof(block));
    EVP_CIPHER_CTX_free(context);
    EVP_CIPHER_free(cipher);
    return ok ? 0 : -ENOMEM;
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
    if (!aead->cipher)
        return -ENOMEM;
    int r = hash_key(key, &aead->ghash);
    if (r == 0)
        r = secret_assign(&aead->key, secret_bytes(key));
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
    }
    EVP_CIPHER_free(aead->cipher);
    secret_release(&aead->key);
    memory_wipe(&aead->ghash, sizeof(aead->ghash));
    free(aead);
}

/* The slot's context with the key set up; NULL when out of memory. */
static EVP_CIPHER_CTX *context_of(struct aead *aead, struct slot *slot, int is_seal)
{
    if (slot->context)
        return slot->context;

    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    if (context &&
        EVP_CipherInit_ex2(context, aead->cipher, aead->key.data, NULL, is_seal, NULL) != 1) {
        EVP_CIPHER_CTX_free(context);
        context = NULL;
    }
    slot->context = context;
    return context;
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

/* To hash costs little more than half of opening. OpenSSL has no way to hash ciphertext only;
 * associated data it does, which differs by the lengths. */
int aead_check(struct aead *aead, const uint8_t nonce[static AEAD_NONCE_LEN], struct bytes aad,
               struct bytes sealed)
{
    uint8_t tag[AEAD_TAG_LEN];
    size_t hashed = 0;

    assert(sealed.len <= INT_MAX && aad.len <= INT_MAX);
    if (sealed.len < AEAD_TAG_LEN)
        return -EBADMSG;

    const struct bytes cipher = { sealed.data, sealed.len - AEAD_TAG_LEN };
    struct slot *slot = slot_take(aead->seal);
    EVP_CIPHER_CTX *context = context_of(aead, slot, 1);
    int r = context ? tag_of_all(context, nonce, aad, cipher, tag, &hashed) : -ENOMEM;
    slot_give(slot);
    if (r == 0) {
        ghash_change_lengths(&aead->ghash, (struct ghash_lens){ hashed, 0 },
                             (struct ghash_lens){ aad.len, cipher.len }, tag);
        r = CRYPTO_memcmp(tag, cipher.data + cipher.len, AEAD_TAG_LEN) == 0 ? 0 : -EBADMSG;
    }
    memory_wipe(tag, sizeof(tag)); /* of what was altered it would be a forgery */
    return r;
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
