#include "meta/sealer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "crypto/kdf.h"
#include "crypto/random.h"
#include "keyring/key_labels.h"
#include "meta/record_kinds.h"
#include "meta/sealer_internal.h"

#define NONCES_IN_BATCH 65536u
#define KEY_SHOWN_MAX 26u

/* Names a record for a person: keys hold numbers and hashes, never names. */
static void show_key(struct bytes key, char ret[static 2 * KEY_SHOWN_MAX + 1])
{
    key.len = key.len < KEY_SHOWN_MAX ? key.len : KEY_SHOWN_MAX;
    hex_encode(key, ret);
}

static int record_error(struct error *err, int r, struct bytes key, const char *what)
{
    char shown[2 * KEY_SHOWN_MAX + 1];

    show_key(key, shown);
    return error_set(err, r, "The metadata record %s %s.", shown, what);
}

static int derived_hmac(const struct secret *key, const char *label, struct hmac **ret)
{
    CLEANUP(secret_release) struct secret derived = SECRET_INIT;

    int r = kdf_derive(key, label, (struct bytes){ 0 }, &derived);
    return r < 0 ? r : hmac_new(&derived, ret);
}

static int generation_init(struct generation *generation, uint32_t number,
                           const struct secret *fs_key)
{
    generation->number = number;
    int r = kdf_derive(fs_key, KEY_LABEL_METADATA, (struct bytes){ 0 }, &generation->metadata_key);
    if (r < 0)
        return r;
    return derived_hmac(&generation->metadata_key, KEY_LABEL_INCARNATION_MAC,
                        &generation->incarnation_mac);
}

static int sealer_init(struct sealer *sealer, const struct sealer_config *config)
{
    const struct key_set *keys = config->keys;

    sealer->owner = config->owner;
    sealer->salvages = config->salvages;
    sealer->batches_max = config->batches_max != 0 ? config->batches_max : SEALER_BATCHES_MAX;
    sealer->grow = MUTEX_INIT;
    atomic_init(&sealer->epoch, 1);
    sealer->plain_room = malloc(RECORD_EPOCH_LEN + META_VALUE_MAX);
    if (sealer->plain_room == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < keys->count; i++) {
        sealer->generation_count = i + 1;
        int r = generation_init(&sealer->generations[i], keys->generations[i], &keys->keys[i]);
        if (r < 0)
            return r;
    }
    return derived_hmac(config->name_key, KEY_LABEL_SET, &sealer->set_hmac);
}

int sealer_new(const struct sealer_config *config, struct sealer **ret, struct error *err)
{
    struct sealer *sealer = calloc(1, sizeof(*sealer));

    assert(config->keys->count > 0 && config->keys->count <= KEY_GENERATIONS_MAX);
    if (sealer == NULL)
        return error_set(err, -ENOMEM, "No memory for the keys of the metadata.");
    int r = sealer_init(sealer, config);
    if (r < 0) {
        sealer_free(sealer);
        return error_set(err, r, "The keys of the metadata could not be derived: %s.",
                         strerrordesc_np(-r));
    }
    *ret = sealer;
    return 0;
}

void sealer_free(struct sealer *sealer)
{
    if (sealer == NULL)
        return;
    incarnations_free(sealer);
    for (uint32_t i = 0; i < sealer->generation_count; i++) {
        secret_release(&sealer->generations[i].metadata_key);
        hmac_free(sealer->generations[i].incarnation_mac);
    }
    hmac_free(sealer->set_hmac);
    (void)pthread_mutex_destroy(&sealer->grow.native);
    free(sealer->unwritten);
    free(sealer->plain_room);
    free(sealer);
}

uint64_t sealer_commit_number(const struct sealer *sealer)
{
    return atomic_load(&sealer->commit);
}

unsigned sealer_lost_commits(const struct sealer *sealer)
{
    return sealer->lost_commits;
}

uint64_t sealer_epoch(const struct sealer *sealer)
{
    return atomic_load(&sealer->epoch);
}

void sealer_set_epoch(struct sealer *sealer, uint64_t epoch)
{
    atomic_store(&sealer->epoch, epoch);
}

/* A run whose record is missing or altered: the generation that opens the value is its. Its
 * records are not lost with it, and sealer_check() reports it. */
static int open_with_any(struct sealer *sealer, struct bytes key, const struct sealed_value *value,
                         uint8_t *ret)
{
    for (uint32_t i = sealer->generation_count; i-- > 0;) {
        CLEANUP(aead_freep) struct aead *aead = NULL;
        struct incarnation *incarnation = NULL;
        struct incarnation_record record = { .generation = sealer->generations[i].number };

        int r = incarnation_derive(&sealer->generations[i], value->incarnation, &aead);
        if (r == 0)
            r = aead_open(aead, value->nonce, key, value->sealed, ret);
        if (r == 0)
            r = incarnation_add(sealer, value->incarnation, &record, &incarnation);
        if (r == 0)
            incarnation_give_aead(sealer, incarnation, &aead);
        if (r != -EBADMSG)
            return r;
    }
    return -EBADMSG;
}

static int open_value(struct sealer *sealer, struct bytes key, const struct sealed_value *value,
                      uint8_t *ret)
{
    struct incarnation *incarnation = incarnation_find(sealer, value->incarnation);
    struct aead *aead = NULL;

    if (incarnation == NULL)
        return open_with_any(sealer, key, value, ret);
    int r = incarnation_aead(sealer, incarnation, &aead);
    /* Its record names a generation that is gone, or was altered so. */
    if (r == -ENOKEY)
        return open_with_any(sealer, key, value, ret) == 0 ? 0 : -ENOKEY;
    return r < 0 ? r : aead_open(aead, value->nonce, key, value->sealed, ret);
}

static int opened_error(struct error *err, int r, struct bytes key)
{
    if (r == -EPROTONOSUPPORT)
        return record_error(err, r, key, "is of a later format, or was altered");
    if (r == -ENOKEY)
        return record_error(err, -EBADMSG, key, "was sealed under a key that was not given");
    if (r == -ENOMEM)
        return record_error(err, r, key, "could not be opened: no memory");
    return record_error(err, r, key, "was altered");
}

int sealer_open_record(struct sealer *sealer, struct bytes key, struct bytes stored,
                       uint64_t *ret_epoch, uint8_t *ret, size_t *ret_len, struct error *err)
{
    uint8_t kind = record_kind_of(key);
    struct sealed_value value;

    if (kind == RECORD_SUPERBLOCK || kind == RECORD_INCARNATION)
        return record_error(err, -EINVAL, key, "is not sealed");
    int r = sealed_value_decode(stored, &value);
    if (r == 0)
        r = open_value(sealer, key, &value, ret);
    if (r < 0)
        return opened_error(err, r, key);

    size_t len = value.sealed.len - AEAD_TAG_LEN;
    struct reader reader = reader_init((struct bytes){ .data = ret, .len = len });
    *ret_epoch = reader_u64(&reader);
    *ret_len = len - RECORD_EPOCH_LEN;
    memmove(ret, ret + RECORD_EPOCH_LEN, *ret_len);
    return 0;
}

static int hook_open(void *arg, struct bytes key, struct bytes stored, uint8_t *ret,
                     size_t *ret_len, uint64_t *ret_epoch, struct error *err)
{
    uint8_t kind = record_kind_of(key);

    if (kind == RECORD_SUPERBLOCK || kind == RECORD_INCARNATION) {
        memcpy(ret, stored.data, stored.len);
        *ret_len = stored.len;
        *ret_epoch = 0;
        return 0;
    }
    return sealer_open_record(arg, key, stored, ret_epoch, ret, ret_len, err);
}

/* Draws a new run's id. Its record goes out with the group that first uses it. */
static int draw_incarnation(struct sealer *sealer)
{
    uint8_t id[INCARNATION_ID_LEN];
    struct incarnation_record record = {
        .generation = sealer->generations[sealer->generation_count - 1].number,
        .created_ns = (uint64_t)clock_wall_ns(),
    };

    struct incarnation **unwritten =
        reallocarray(sealer->unwritten, sealer->unwritten_count + 1, sizeof(struct incarnation *));
    if (unwritten == NULL)
        return -ENOMEM;
    sealer->unwritten = unwritten;
    random_bytes(id, sizeof(id));
    int r = incarnation_add(sealer, id, &record, &sealer->now);
    if (r < 0)
        return r;
    sealer->unwritten[sealer->unwritten_count++] = sealer->now;
    sealer->batch = (struct nonce_batch){ 0 };
    sealer->batches = 0;
    return 0;
}

/* After 0 the next nonce may be drawn: no run draws more batches than it may. */
static int prepare_nonce(struct sealer *sealer)
{
    bool opens_batch = !sealer->batch.drawn || sealer->batch.used >= NONCES_IN_BATCH;

    if (sealer->now != NULL && !(opens_batch && sealer->batches >= sealer->batches_max))
        return 0;
    return draw_incarnation(sealer);
}

static int seal_value(struct sealer *sealer, struct bytes key, struct bytes plain, uint8_t *ret,
                      size_t *ret_len)
{
    struct writer head = writer_init(ret, SEALED_HEAD_LEN);
    struct writer body = writer_init(sealer->plain_room, RECORD_EPOCH_LEN + META_VALUE_MAX);
    struct aead *aead = NULL;
    uint8_t nonce[AEAD_NONCE_LEN];

    int r = prepare_nonce(sealer);
    if (r == 0)
        r = incarnation_aead(sealer, sealer->now, &aead);
    if (r < 0)
        return r;
    if (nonce_next(&sealer->batch, nonce))
        sealer->batches++;
    writer_u8(&head, RECORD_FORMAT_VERSION);
    writer_bytes(&head, sealer->now->id, INCARNATION_ID_LEN);
    writer_bytes(&head, nonce, sizeof(nonce));
    writer_u64(&body, atomic_load(&sealer->epoch));
    writer_bytes(&body, plain.data, plain.len);
    if (writer_done(&head) < 0 || writer_done(&body) < 0)
        return -EFBIG;
    r = aead_seal(aead, nonce, key, writer_written(&body), ret + SEALED_HEAD_LEN);
    if (r == 0)
        *ret_len = SEALED_HEAD_LEN + body.len + AEAD_TAG_LEN;
    return r;
}

static int seal_incarnation(struct sealer *sealer, struct bytes key, uint8_t *ret, size_t *ret_len)
{
    struct incarnation *incarnation =
        key.len == sizeof(sealer->record_key) ? incarnation_find(sealer, key.data + 2) : NULL;

    if (incarnation == NULL)
        return -EINVAL;
    *ret_len = INCARNATION_RECORD_LEN;
    return incarnation_seal(sealer, incarnation, key, ret);
}

/* What the set hash is told of a record. Of an incarnation it takes all. */
static struct bytes identity_of(struct bytes key, struct bytes stored)
{
    return record_kind_of(key) == RECORD_INCARNATION ? stored : sealed_value_identity(stored);
}

int sealer_count(struct sealer *sealer, struct set_hash *set, struct bytes key, struct bytes stored)
{
    const struct bytes pieces[] = { key, identity_of(key, stored) };

    return set_hash_add(set, sealer->set_hmac, pieces, 2);
}

static int count_old(struct sealer *sealer, struct bytes key, struct bytes old)
{
    const struct bytes pieces[] = { key, identity_of(key, old) };

    return old.data == NULL ? 0 : set_hash_subtract(&sealer->changes, sealer->set_hmac, pieces, 2);
}

bool sealer_counts(struct bytes key)
{
    uint8_t kind = record_kind_of(key);

    return kind != RECORD_SUPERBLOCK && kind != RECORD_COMMIT;
}

/* The share that is stored, with this group's changes, sealed as any value. */
static int seal_commit(struct sealer *sealer, struct bytes key, struct bytes old, uint8_t *ret,
                       size_t *ret_len, struct error *err)
{
    struct commit_body body = { 0 };
    uint8_t plain[COMMIT_BODY_LEN + SEALED_OVERHEAD];
    size_t plain_len = 0;
    uint64_t epoch;

    if (old.data != NULL) {
        if (old.len > sizeof(plain))
            return -EBADMSG;
        int r = sealer_open_record(sealer, key, old, &epoch, plain, &plain_len, err);
        if (r == 0)
            r = commit_body_decode((struct bytes){ .data = plain, .len = plain_len }, &body);
        if (r < 0)
            return r;
    }
    uint64_t known = atomic_load(&sealer->commit);
    body.commit = (body.commit > known ? body.commit : known) + 1;
    body.epoch = atomic_load(&sealer->epoch);
    body.time_ns = (uint64_t)clock_wall_ns();
    set_hash_join(&body.share, &sealer->changes);
    sealer->group_commit = body.commit;
    commit_body_encode(&body, plain);
    return seal_value(sealer, key, (struct bytes){ .data = plain, .len = COMMIT_BODY_LEN }, ret,
                      ret_len);
}

static int seal_by_kind(struct sealer *sealer, struct bytes key, struct bytes plain,
                        struct bytes old, uint8_t *ret, size_t *ret_len, struct error *err)
{
    switch (record_kind_of(key)) {
    case RECORD_SUPERBLOCK:
        memcpy(ret, plain.data, plain.len);
        *ret_len = plain.len;
        return 0;
    case RECORD_COMMIT:
        return seal_commit(sealer, key, old, ret, ret_len, err);
    case RECORD_INCARNATION:
        return seal_incarnation(sealer, key, ret, ret_len);
    default:
        return seal_value(sealer, key, plain, ret, ret_len);
    }
}

static int hook_seal(void *arg, struct bytes key, struct bytes plain, struct bytes old,
                     uint8_t *ret, size_t *ret_len, struct error *err)
{
    struct sealer *sealer = arg;
    struct error why = { 0 };

    int r = seal_by_kind(sealer, key, plain, old, ret, ret_len, &why);
    if (r == 0 && sealer_counts(key)) {
        r = count_old(sealer, key, old);
        if (r == 0)
            r = sealer_count(sealer, &sealer->changes, key,
                             (struct bytes){ .data = ret, .len = *ret_len });
    }
    if (r == 0)
        return 0;
    if (why.code == 0)
        return record_error(err, r, key, "could not be sealed");
    if (err != NULL)
        *err = why;
    return r;
}

static int hook_removed(void *arg, struct bytes key, struct bytes old, struct error *err)
{
    struct sealer *sealer = arg;

    if (!sealer_counts(key))
        return 0;
    int r = count_old(sealer, key, old);
    return r < 0 ? record_error(err, r, key, "could not be counted out") : 0;
}

static void record_key(struct sealer *sealer, enum record_kind kind, const uint8_t *id,
                       struct bytes *ret)
{
    sealer->record_key[0] = RECORD_TREE_LIVE;
    sealer->record_key[1] = (uint8_t)kind;
    memcpy(sealer->record_key + 2, id, INCARNATION_ID_LEN);
    *ret = (struct bytes){ .data = sealer->record_key, .len = sizeof(sealer->record_key) };
}

/* The runs that this group used first, then the commit record. */
static int hook_group_record(void *arg, uint64_t group, unsigned index, struct bytes *ret_key,
                             struct bytes *ret_plain, struct error *err)
{
    struct sealer *sealer = arg;

    (void)group; /* commits are counted over all runs, groups only in this one */
    if (index == 0 && prepare_nonce(sealer) < 0) /* that of the commit record */
        return error_set(err, -ENOMEM, "No memory to seal the metadata.");
    if (index > sealer->unwritten_count)
        return -ENOENT;
    if (index < sealer->unwritten_count)
        record_key(sealer, RECORD_INCARNATION, sealer->unwritten[index]->id, ret_key);
    else
        record_key(sealer, RECORD_COMMIT, sealer->owner.bytes, ret_key);
    *ret_plain = (struct bytes){ 0 };
    return 0;
}

static void hook_group_end(void *arg, uint64_t group, bool is_durable)
{
    struct sealer *sealer = arg;

    (void)group; /* as above */
    sealer->changes = (struct set_hash){ 0 };
    sealer->batch = (struct nonce_batch){ 0 };
    if (!is_durable)
        return;
    sealer->unwritten_count = 0;
    atomic_store(&sealer->commit, sealer->group_commit);
}

void sealer_hooks(struct sealer *sealer, struct meta_hooks *hooks)
{
    hooks->seal_arg = sealer;
    hooks->seal = hook_seal;
    hooks->open = hook_open;
    hooks->removed = hook_removed;
    hooks->group_record = hook_group_record;
    hooks->group_end = hook_group_end;
}
