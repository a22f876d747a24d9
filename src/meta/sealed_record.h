/* sealed_record.h - the bytes of what the sealer stores: sealed values, incarnations and the body
 * of a commit record; byte for byte in docs/formats/metadata.md. Only encodings: nothing here
 * knows a key.
 *
 * Errors     -EBADMSG: not such bytes; -EPROTONOSUPPORT: of a later version (or altered so).
 * Ownership  what is decoded points into the bytes given.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "meta/set_hash.h"

#define RECORD_FORMAT_VERSION 1u
#define INCARNATION_ID_LEN 16u
#define RECORD_EPOCH_LEN 8u
#define SEALED_HEAD_LEN (1u + INCARNATION_ID_LEN + AEAD_NONCE_LEN)
#define SEALED_OVERHEAD (SEALED_HEAD_LEN + RECORD_EPOCH_LEN + AEAD_TAG_LEN)

struct sealed_value {
    const uint8_t *incarnation; /* INCARNATION_ID_LEN bytes */
    const uint8_t *nonce;       /* AEAD_NONCE_LEN bytes */
    struct bytes sealed;        /* at least an epoch and a tag */
};

int sealed_value_decode(struct bytes stored, struct sealed_value *ret);

/* What the set hash counts of a stored value besides its key: its incarnation and nonce. Of one
 * that was altered beyond recognition, all of it. */
struct bytes sealed_value_identity(struct bytes stored);

struct incarnation_record {
    uint32_t generation;
    uint64_t created_ns;
};

#define INCARNATION_CLEAR_LEN (1u + 4u + 8u)
#define INCARNATION_RECORD_LEN (INCARNATION_CLEAR_LEN + HASH_LEN)

/* The part in clear; its MAC follows. */
void incarnation_encode(const struct incarnation_record *record,
                        uint8_t ret[static INCARNATION_CLEAR_LEN]);
int incarnation_decode(struct bytes stored, struct incarnation_record *ret);

struct commit_body {
    uint64_t commit;
    uint64_t epoch;
    uint64_t time_ns;
    struct set_hash share;
};

#define COMMIT_BODY_LEN (3u * 8u + 8u + HASH_LEN)

void commit_body_encode(const struct commit_body *body, uint8_t ret[static COMMIT_BODY_LEN]);
int commit_body_decode(struct bytes plain, struct commit_body *ret);
