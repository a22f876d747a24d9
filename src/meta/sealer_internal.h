/* sealer_internal.h - what sealer.c (sealing and opening), sealer_load.c (start and check) and
 * incarnation.c (the table of runs) share. */
#pragma once

#include <stdatomic.h>

#include "base/thread.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/secret.h"
#include "meta/sealed_record.h"
#include "meta/sealer.h"

#define INCARNATION_BUCKETS 256u

struct generation {
    uint32_t number;
    struct secret metadata_key;
    struct hmac *incarnation_mac;
};

/* Never changes but for aead, and stays until the sealer is freed: readers need no lock. */
struct incarnation {
    uint8_t id[INCARNATION_ID_LEN];
    uint32_t generation;
    uint64_t created_ns;
    _Atomic(struct aead *) aead; /* NULL until first used */
    struct incarnation *next;    /* in its bucket */
};

struct sealer {
    struct uuid owner;
    uint32_t batches_max;
    bool salvages;
    unsigned lost_commits; /* passed over */
    uint32_t generation_count;
    struct generation generations[KEY_GENERATIONS_MAX]; /* ascending */
    struct hmac *set_hmac;

    struct mutex grow; /* for additions to the table, and for aead */
    _Atomic(struct incarnation *) buckets[INCARNATION_BUCKETS];

    atomic_uint_fast64_t commit; /* the last durable one, of any writer */
    atomic_uint_fast64_t epoch;

    /* The committer's own. A group's changes are only added to the share that is stored when its
     * commit record is sealed: what is stored is right even after a commit of which nobody knows
     * whether it failed. */
    struct incarnation *now; /* NULL: none drawn yet */
    struct nonce_batch batch;
    uint32_t batches; /* drawn under now */
    struct set_hash changes;
    uint64_t group_commit;
    struct incarnation **unwritten; /* those whose record is not durable yet */
    size_t unwritten_count;
    uint8_t record_key[2 + INCARNATION_ID_LEN];
    uint8_t *plain_room; /* RECORD_EPOCH_LEN + META_VALUE_MAX */
};

/* Is this a record of which the set hash knows, and its entry into a set. */
bool sealer_counts(struct bytes key);
int sealer_count(struct sealer *sealer, struct set_hash *set, struct bytes key,
                 struct bytes stored);

const struct generation *sealer_generation(const struct sealer *sealer, uint32_t number);

struct incarnation *incarnation_find(struct sealer *sealer,
                                     const uint8_t id[static INCARNATION_ID_LEN]);
int incarnation_add(struct sealer *sealer, const uint8_t id[static INCARNATION_ID_LEN],
                    const struct incarnation_record *record, struct incarnation **ret);

/* -ENOKEY: the key of its generation is not in the set. */
int incarnation_aead(struct sealer *sealer, struct incarnation *incarnation, struct aead **ret);
/* Takes *aead for it, unless it has one. */
void incarnation_give_aead(struct sealer *sealer, struct incarnation *incarnation,
                           struct aead **aead);
int incarnation_derive(const struct generation *generation,
                       const uint8_t id[static INCARNATION_ID_LEN], struct aead **ret);
int incarnation_mac(const struct generation *generation, struct bytes key, struct bytes clear,
                    uint8_t ret[static HASH_LEN]);

/* Writes the record that names it, MAC included. */
int incarnation_seal(struct sealer *sealer, const struct incarnation *incarnation, struct bytes key,
                     uint8_t ret[static INCARNATION_RECORD_LEN]);

/* -EBADMSG if the MAC is wrong; -ENOKEY as above. */
int incarnation_verify(const struct sealer *sealer, struct bytes key, struct bytes stored,
                       struct incarnation_record *ret);
void incarnations_free(struct sealer *sealer);
