/* aead.h - AES-256-GCM (NIST SP 800-38D) with 96-bit nonces and 128-bit tags: the one cipher
 * that seals data, metadata and everything else.
 *
 * Units      lengths are bytes. Sealed text is the ciphertext, then AEAD_TAG_LEN bytes of tag.
 * Errors     -EBADMSG: what was to be opened is not what was sealed; -ENOMEM.
 * Ownership  a struct aead keeps a key schedule of its own; the secret stays the caller's.
 * Threads    any number may use one struct aead at once, except aead_free().
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "crypto/secret.h"

#define AEAD_KEY_LEN 32u
#define AEAD_NONCE_LEN 12u
#define AEAD_TAG_LEN 16u

struct aead;

/* -EINVAL if the key is not AEAD_KEY_LEN bytes. */
int aead_new(const struct secret *key, struct aead **ret);
void aead_free(struct aead *aead); /* NULL is allowed */

static inline void aead_freep(struct aead **aead)
{
    aead_free(*aead);
}

/* Writes plain.len + AEAD_TAG_LEN bytes to ret_sealed. The caller never uses a nonce twice. */
int aead_seal(struct aead *aead, const uint8_t nonce[static AEAD_NONCE_LEN], struct bytes aad,
              struct bytes plain, uint8_t *ret_sealed) __attribute__((warn_unused_result));

/* Writes sealed.len - AEAD_TAG_LEN bytes to ret_plain, which after a failure holds only zeros. */
int aead_open(struct aead *aead, const uint8_t nonce[static AEAD_NONCE_LEN], struct bytes aad,
              struct bytes sealed, uint8_t *ret_plain) __attribute__((warn_unused_result));

/* Whether aead_open() would open it: for who passes it on sealed, as it costs much less. */
int aead_check(struct aead *aead, const uint8_t nonce[static AEAD_NONCE_LEN], struct bytes aad,
               struct bytes sealed) __attribute__((warn_unused_result));

/* For tests: from now on as on a processor that ghash_wide.h is not for. By one thread. */
void aead_check_narrowly(struct aead *aead);

/* Nonces of one batch (a request, a commit): 80 random bits, then a 16-bit counter, big-endian.
 * nonce_next() draws again after 65,536. Stored with what it sealed. */
struct nonce_batch {
    uint8_t random[AEAD_NONCE_LEN - 2];
    uint32_t used;
    bool drawn;
};

/* True if this nonce opened a new batch: for those who count batches. */
bool nonce_next(struct nonce_batch *batch, uint8_t ret_nonce[static AEAD_NONCE_LEN]);
