/* The runs of workers whose records are in the database, and their keys. */
#include "meta/sealer_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "keyring/key_labels.h"

const struct generation *sealer_generation(const struct sealer *sealer, uint32_t number)
{
    for (uint32_t i = 0; i < sealer->generation_count; i++) {
        if (sealer->generations[i].number == number)
            return &sealer->generations[i];
    }
    return NULL;
}

struct incarnation *incarnation_find(struct sealer *sealer,
                                     const uint8_t id[static INCARNATION_ID_LEN])
{
    struct incarnation *incarnation =
        atomic_load_explicit(&sealer->buckets[id[0]], memory_order_acquire);

    while (incarnation != NULL && memcmp(incarnation->id, id, INCARNATION_ID_LEN) != 0)
        incarnation = incarnation->next;
    return incarnation;
}

int incarnation_add(struct sealer *sealer, const uint8_t id[static INCARNATION_ID_LEN],
                    const struct incarnation_record *record, struct incarnation **ret)
{
    int r = 0;

    mutex_lock(&sealer->grow);
    struct incarnation *incarnation = incarnation_find(sealer, id);
    if (incarnation == NULL) {
        incarnation = calloc(1, sizeof(*incarnation));
        if (incarnation == NULL) {
            r = -ENOMEM;
        } else {
            memcpy(incarnation->id, id, INCARNATION_ID_LEN);
            incarnation->generation = record->generation;
            incarnation->created_ns = record->created_ns;
            incarnation->next = atomic_load_explicit(&sealer->buckets[id[0]], memory_order_relaxed);
            atomic_store_explicit(&sealer->buckets[id[0]], incarnation, memory_order_release);
        }
    }
    mutex_unlock(&sealer->grow);
    if (r == 0)
        *ret = incarnation;
    return r;
}

int incarnation_derive(const struct generation *generation,
                       const uint8_t id[static INCARNATION_ID_LEN], struct aead **ret)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    int r = kdf_derive(&generation->metadata_key, KEY_LABEL_INCARNATION,
                       (struct bytes){ .data = id, .len = INCARNATION_ID_LEN }, &key);
    return r < 0 ? r : aead_new(&key, ret);
}

int incarnation_aead(struct sealer *sealer, struct incarnation *incarnation, struct aead **ret)
{
    struct aead *aead = atomic_load_explicit(&incarnation->aead, memory_order_acquire);
    int r = 0;

    if (aead == NULL) {
        const struct generation *generation = sealer_generation(sealer, incarnation->generation);
        if (generation == NULL)
            return -ENOKEY;
        mutex_lock(&sealer->grow);
        aead = atomic_load_explicit(&incarnation->aead, memory_order_relaxed);
        if (aead == NULL)
            r = incarnation_derive(generation, incarnation->id, &aead);
        if (r == 0)
            atomic_store_explicit(&incarnation->aead, aead, memory_order_release);
        mutex_unlock(&sealer->grow);
    }
    if (r == 0)
        *ret = aead;
    return r;
}

void incarnation_give_aead(struct sealer *sealer, struct incarnation *incarnation,
                           struct aead **aead)
{
    mutex_lock(&sealer->grow);
    if (atomic_load_explicit(&incarnation->aead, memory_order_relaxed) == NULL)
        atomic_store_explicit(&incarnation->aead, TAKE(*aead), memory_order_release);
    mutex_unlock(&sealer->grow);
}

int incarnation_mac(const struct generation *generation, struct bytes key, struct bytes clear,
                    uint8_t ret[static HASH_LEN])
{
    const struct bytes pieces[] = { key, clear };

    return hmac_sha256(generation->incarnation_mac, pieces, 2, ret);
}

int incarnation_seal(struct sealer *sealer, const struct incarnation *incarnation, struct bytes key,
                     uint8_t ret[static INCARNATION_RECORD_LEN])
{
    const struct generation *generation = sealer_generation(sealer, incarnation->generation);
    struct incarnation_record record = {
        .generation = incarnation->generation,
        .created_ns = incarnation->created_ns,
    };

    if (generation == NULL)
        return -ENOKEY;
    incarnation_encode(&record, ret);
    return incarnation_mac(generation, key,
                           (struct bytes){ .data = ret, .len = INCARNATION_CLEAR_LEN },
                           ret + INCARNATION_CLEAR_LEN);
}

int incarnation_verify(const struct sealer *sealer, struct bytes key, struct bytes stored,
                       struct incarnation_record *ret)
{
    struct incarnation_record record;
    uint8_t mac[HASH_LEN];

    int r = incarnation_decode(stored, &record);
    if (r < 0)
        return r;
    const struct generation *generation = sealer_generation(sealer, record.generation);
    if (generation == NULL)
        return -ENOKEY;
    r = incarnation_mac(generation, key,
                        (struct bytes){ .data = stored.data, .len = INCARNATION_CLEAR_LEN }, mac);
    if (r < 0)
        return r;
    if (!secret_equal(
            (struct bytes){ .data = mac, .len = sizeof(mac) },
            (struct bytes){ .data = stored.data + INCARNATION_CLEAR_LEN, .len = HASH_LEN }))
        return -EBADMSG;
    *ret = record;
    return 0;
}

void incarnations_free(struct sealer *sealer)
{
    for (unsigned i = 0; i < INCARNATION_BUCKETS; i++) {
        struct incarnation *incarnation = atomic_load(&sealer->buckets[i]);
        while (incarnation != NULL) {
            struct incarnation *next = incarnation->next;
            aead_free(atomic_load(&incarnation->aead));
            free(incarnation);
            incarnation = next;
        }
    }
}
