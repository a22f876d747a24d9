#include "keyring/key_ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "crypto/kdf.h"
#include "keyring/key_blob.h"
#include "keyring/key_labels.h"
#include "keyring/key_ring_format.h"

void key_ring_init(struct key_ring *ring, const struct uuid *uuid)
{
    *ring = (struct key_ring){ .uuid = *uuid };
}

void key_ring_release(struct key_ring *ring)
{
    free(ring->generations);
    *ring = KEY_RING_INIT;
}

uint32_t key_ring_own_count(const struct key_ring *ring)
{
    uint32_t count = 0;

    while (count < ring->count && key_generation_is_own(ring, &ring->generations[count]))
        count++;
    return count;
}

struct key_generation *key_ring_find(const struct key_ring *ring, const struct uuid *origin,
                                     uint32_t number)
{
    if (!origin)
        origin = &ring->uuid;
    for (uint32_t i = 0; i < ring->count; i++)
        if (ring->generations[i].number == number &&
            uuid_equal(&ring->generations[i].origin, origin))
            return &ring->generations[i];
    return NULL;
}

int key_ring_peek(struct bytes encoded, struct key_ring *ret, struct error *err)
{
    struct key_ring_parts parts;

    int r = key_ring_parse(encoded, &parts, err);
    if (r == 0)
        *ret = parts.ring;
    return r;
}

int key_check_value(const struct uuid *origin, uint32_t number, const struct secret *key,
                    uint8_t ret[static KEY_CHECK_LEN])
{
    CLEANUP(secret_release) struct secret check_key = SECRET_INIT;
    CLEANUP(hmac_freep) struct hmac *hmac = NULL;
    uint8_t covered[UUID_LEN + 4];
    struct writer writer = writer_init(covered, sizeof(covered));

    writer_bytes(&writer, origin->bytes, UUID_LEN);
    writer_u32(&writer, number);
    int r = kdf_derive(key, KEY_LABEL_CHECK, (struct bytes){ .data = NULL }, &check_key);
    if (r == 0)
        r = hmac_new(&check_key, &hmac);
    struct bytes all = writer_written(&writer);
    return r < 0 ? r : hmac_sha256(hmac, &all, 1, ret);
}

static bool is_same(const uint8_t a[static HASH_LEN], const uint8_t b[static HASH_LEN])
{
    return secret_equal((struct bytes){ a, HASH_LEN }, (struct bytes){ b, HASH_LEN });
}

static int verify_check_value(const struct key_generation *generation, const struct secret *key,
                              struct error *err)
{
    uint8_t check[KEY_CHECK_LEN];

    int r = key_check_value(&generation->origin, generation->number, key, check);
    if (r < 0)
        return error_set(err, r, "cannot verify a key: out of memory");
    if (!is_same(check, generation->check))
        return error_set(err, -EBADMSG,
                         "the key of generation %u is not the one that the key ring was made"
                         " with: its check value differs",
                         generation->number);
    return 0;
}

int key_generation_open(const struct key_generation *generation, const struct secret *unwrapped,
                        struct secret *ret_key, struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    int r = key_blob_decode(unwrapped, &generation->origin, generation->number, &key, err);
    if (r == 0)
        r = verify_check_value(generation, &key, err);
    if (r == 0)
        secret_move(ret_key, &key);
    return r;
}

int key_generation_open_names(const struct key_generation *generation, const struct secret *key,
                              struct secret *ret_name_key, struct secret *ret_chunk_key,
                              struct error *err)
{
    const struct names_context context = { KEY_LABEL_RING_NAMES, &generation->origin,
                                           generation->number };

    if (!generation->has_names)
        return error_set(err, -ENOENT, "generation %u of the key ring holds no name key",
                         generation->number);
    int r = sealed_names_open(&context, key, generation->names, ret_name_key, ret_chunk_key);
    if (r < 0)
        return error_set(err, r,
                         "the name key in generation %u of the key ring cannot be opened: %s",
                         generation->number, strerrordesc_np(-r));
    return 0;
}

/* The MAC and the check value of each own generation whose key is at hand. */
static int verify_own(const struct key_ring_parts *parts, const struct key_set *keys,
                      struct error *err)
{
    uint8_t mac[HASH_LEN];

    for (uint32_t i = 0; i < parts->mac_count; i++) {
        const struct key_generation *generation = &parts->ring.generations[i];
        const struct secret *key = key_set_find(keys, generation->number);
        if (!key)
            continue;
        int r = verify_check_value(generation, key, err);
        if (r < 0)
            return r;
        r = key_ring_mac_of(key, parts->covered, mac);
        if (r < 0)
            return error_set(err, r, "cannot verify the key ring: out of memory");
        if (!is_same(mac, parts->macs[i].value))
            return error_set(err, -EBADMSG,
                             "the key ring was altered or forged: its MAC under generation %u is"
                             " wrong",
                             generation->number);
    }
    return 0;
}

static int verify_known(const struct key_ring *ring, uint32_t sealing, struct key_checks known,
                        struct error *err)
{
    bool is_sealing_known = known.count == 0;

    for (size_t i = 0; i < known.count; i++) {
        const struct key_generation *generation =
            key_ring_find(ring, NULL, known.items[i].generation);
        if (generation && !is_same(generation->check, known.items[i].value))
            return error_set(err, -EBADMSG,
                             "the key ring is forged: generation %u is another key than the"
                             " registry knows it to be",
                             generation->number);
        is_sealing_known = is_sealing_known || known.items[i].generation == sealing;
    }
    if (!is_sealing_known)
        return error_set(err, -EBADMSG,
                         "the superblock is sealed under key generation %u, which the registry"
                         " does not know: key ring and superblock are forged",
                         sealing);
    return 0;
}

/* Only what can be opened is compared: a generation whose key is not at hand is not read. */
static int verify_names(const struct key_ring *ring, const struct key_set *keys,
                        const struct superblock *sb, struct error *err)
{
    for (uint32_t i = 0; i < ring->count; i++) {
        CLEANUP(secret_release) struct secret name_key = SECRET_INIT;
        CLEANUP(secret_release) struct secret chunk_key = SECRET_INIT;
        const struct key_generation *generation = &ring->generations[i];

        if (!key_generation_is_own(ring, generation) || !generation->has_names)
            continue;
        const struct secret *key = key_set_find(keys, generation->number);
        if (!key)
            continue;
        int r = key_generation_open_names(generation, key, &name_key, &chunk_key, err);
        if (r < 0)
            return r;
        if (!secret_equal(secret_bytes(&name_key), secret_bytes(&sb->name_key)) ||
            !secret_equal(secret_bytes(&chunk_key), secret_bytes(&sb->chunk_key)))
            return error_set(err, -EBADMSG,
                             "generation %u of the key ring holds another name key than the"
                             " superblock",
                             generation->number);
    }
    return 0;
}

static int verify_parts(const struct key_ring_parts *parts,
                        const struct key_ring_evidence *evidence, struct error *err)
{
    CLEANUP(superblock_release) struct superblock sb = { .name_key = SECRET_INIT };
    const struct key_ring *ring = &parts->ring;

    int r = superblock_decode(evidence->superblock, evidence->keys, &sb, err);
    if (r < 0)
        return r;
    if (!uuid_equal(&sb.uuid, &ring->uuid))
        return error_set(err, -EBADMSG, "key ring and superblock are of two filesystems");
    if (!key_ring_find(ring, NULL, sb.generation))
        return error_set(err, -EBADMSG,
                         "the superblock is sealed under key generation %u, which the key ring"
                         " does not hold",
                         sb.generation);
    r = verify_own(parts, evidence->keys, err);
    if (r == 0)
        r = verify_known(ring, sb.generation, evidence->known, err);
    if (r == 0)
        r = verify_names(ring, evidence->keys, &sb, err);
    return r;
}

int key_ring_verify(struct bytes encoded, const struct key_ring_evidence *evidence,
                    struct key_ring *ret, struct error *err)
{
    struct key_ring_parts parts;

    int r = key_ring_parse(encoded, &parts, err);
    if (r < 0)
        return r;
    r = verify_parts(&parts, evidence, err);
    if (r < 0)
        key_ring_release(&parts.ring);
    else
        *ret = parts.ring;
    return r;
}

static int verify_copy(const struct key_ring_copy *copy, struct key_ring *ret, struct error *err)
{
    if (copy->encoded.len == 0)
        return error_set(err, -ENOENT, "there is no key ring");
    if (!copy->evidence)
        return error_set(err, -ENOKEY, "its keys could not be unwrapped");
    return key_ring_verify(copy->encoded, copy->evidence, ret, err);
}

static bool is_same_bytes(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

int key_ring_choose(const struct key_ring_copy copies[static KEY_RING_PLACES],
                    struct key_ring_choice *ret, struct error *err)
{
    struct key_ring rings[KEY_RING_PLACES] = { KEY_RING_INIT, KEY_RING_INIT };
    struct error why[KEY_RING_PLACES] = { { .code = 0 }, { .code = 0 } };

    for (int i = 0; i < KEY_RING_PLACES; i++)
        (void)verify_copy(&copies[i], &rings[i], &why[i]); /* why[i].code tells */
    if (why[KEY_RING_IN_REGISTRY].code < 0 && why[KEY_RING_IN_STORE].code < 0) {
        int code = why[KEY_RING_IN_REGISTRY].code == -ENOENT ? why[KEY_RING_IN_STORE].code
                                                             : why[KEY_RING_IN_REGISTRY].code;
        return error_set(err, code,
                         "no key ring can be believed: in the registry, %.200s; in the"
                         " store, %.200s",
                         why[KEY_RING_IN_REGISTRY].text, why[KEY_RING_IN_STORE].text);
    }

    enum key_ring_place place = KEY_RING_IN_REGISTRY;
    if (why[place].code < 0 || (why[KEY_RING_IN_STORE].code == 0 &&
                                rings[KEY_RING_IN_STORE].sequence > rings[place].sequence))
        place = KEY_RING_IN_STORE;
    enum key_ring_place other =
        place == KEY_RING_IN_REGISTRY ? KEY_RING_IN_STORE : KEY_RING_IN_REGISTRY;
    bool is_same = is_same_bytes(copies[place].encoded, copies[other].encoded);
    bool is_older = why[other].code == 0 && rings[other].sequence < rings[place].sequence;
    *ret = (struct key_ring_choice){
        .ring = rings[place],
        .place = place,
        .must_repair = !is_same,
        .keep_aside = !is_same && !is_older && copies[other].encoded.len > 0,
        .other = is_same ? (struct error){ .code = 0 } : why[other],
    };
    key_ring_release(&rings[other]);
    return 0;
}

void key_ring_choice_release(struct key_ring_choice *choice)
{
    key_ring_release(&choice->ring);
}

static int write_macs(struct writer *writer, const struct key_ring *ring,
                      const struct key_set *keys, struct error *err)
{
    struct bytes covered = writer_written(writer);
    uint8_t mac[HASH_LEN];
    uint32_t own = key_ring_own_count(ring);

    writer_u32(writer, own);
    for (uint32_t i = 0; i < own; i++) {
        uint32_t number = ring->generations[i].number;
        const struct secret *key = key_set_find(keys, number);
        if (!key)
            return error_set(err, -ENOKEY,
                             "cannot write the key ring: the key of generation %u is not at hand",
                             number);
        int r = key_ring_mac_of(key, covered, mac);
        if (r < 0)
            return error_set(err, r, "cannot write the key ring: out of memory");
        writer_u32(writer, number);
        writer_bytes(writer, mac, sizeof(mac));
    }
    return 0;
}

/* MACs have no other length under other keys. */
static bool has_room(const struct key_ring *ring, uint8_t *scratch)
{
    struct writer writer = writer_init(scratch, KEY_RING_MAX);
    uint32_t own = key_ring_own_count(ring);
    static const uint8_t mac[HASH_LEN];

    key_ring_write(&writer, ring);
    writer_u32(&writer, own);
    for (uint32_t i = 0; i < own; i++) {
        writer_u32(&writer, ring->generations[i].number);
        writer_bytes(&writer, mac, sizeof(mac));
    }
    return writer_done(&writer) == 0;
}

int key_ring_check_room(const struct key_ring *ring, struct error *err)
{
    CLEANUP(key_ring_release)
    struct key_ring longest = { .uuid = ring->uuid,
                                .count = ring->count,
                                .generations =
                                    calloc(ring->count + 1u, sizeof(*ring->generations)) };
    CLEANUP(buf_release) struct buf scratch = { .data = malloc(KEY_RING_MAX) };

    if (!longest.generations || !scratch.data)
        return error_set(err, -ENOMEM, "cannot measure the key ring: out of memory");
    for (uint32_t i = 0; i < ring->count; i++) {
        struct key_generation *generation = &longest.generations[i];
        *generation = ring->generations[i];
        if (!generation->has_previous)
            generation->previous = generation->current;
        generation->has_previous = true;
    }
    return has_room(&longest, scratch.data)
               ? 0
               : error_set(err, -ENOSPC,
                           "with %u keys its key ring would be too long to be wrapped anew",
                           ring->count);
}

int key_ring_encode(struct key_ring *ring, const struct key_set *keys, struct buf *ret,
                    struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    assert(ring->count > 0);
    encoded.data = malloc(KEY_RING_MAX);
    if (!encoded.data)
        return error_set(err, -ENOMEM, "cannot write the key ring: out of memory");
    struct writer writer = writer_init(encoded.data, KEY_RING_MAX);
    struct key_ring next = *ring;
    next.sequence++;
    key_ring_write(&writer, &next);
    int r = write_macs(&writer, ring, keys, err);
    if (r < 0)
        return r;
    if (writer_done(&writer) < 0)
        return error_set(err, -ENOSPC,
                         "the key ring would be longer than %u bytes: remove generations that"
                         " nothing uses any more",
                         KEY_RING_MAX);
    encoded.len = writer.len;
    ring->sequence = next.sequence;
    buf_move(ret, &encoded);
    return 0;
}
