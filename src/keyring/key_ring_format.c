#include "keyring/key_ring_format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "keyring/key_labels.h"

#define VERSION 1u
#define FLAG_NAMES 1u
#define FLAG_PREVIOUS 2u

static const uint8_t magic[8] = { 'C', 'O', 'F', 'F', 'E', 'R', 'K', 'R' };

static void write_wrapping(struct writer *writer, const struct key_wrapping *wrapping)
{
    writer_u64(writer, wrapping->wrapped_ns);
    wrapped_key_write(writer, &wrapping->key);
}

static void read_wrapping(struct reader *reader, struct key_wrapping *ret)
{
    ret->wrapped_ns = reader_u64(reader);
    wrapped_key_read(reader, &ret->key);
}

static void write_generation(struct writer *writer, const struct key_generation *generation)
{
    unsigned flags =
        (generation->has_names ? FLAG_NAMES : 0) | (generation->has_previous ? FLAG_PREVIOUS : 0);

    writer_u32(writer, generation->number);
    writer_bytes(writer, generation->origin.bytes, UUID_LEN);
    writer_u8(writer, (uint8_t)generation->state);
    writer_u8(writer, (uint8_t)flags);
    writer_u64(writer, generation->created_ns);
    writer_bytes(writer, generation->check, KEY_CHECK_LEN);
    if (generation->has_names)
        writer_bytes(writer, generation->names, SEALED_NAMES_LEN);
    write_wrapping(writer, &generation->current);
    if (generation->has_previous)
        write_wrapping(writer, &generation->previous);
}

static void read_generation(struct reader *reader, struct key_generation *ret)
{
    ret->number = reader_u32(reader);
    reader_copy(reader, ret->origin.bytes, UUID_LEN);
    uint8_t state = reader_u8(reader);
    uint8_t flags = reader_u8(reader);
    ret->created_ns = reader_u64(reader);
    reader_copy(reader, ret->check, KEY_CHECK_LEN);
    if (ret->number == 0 || (state != KEY_STATE_ACTIVE && state != KEY_STATE_RETIRED) ||
        (flags & ~(FLAG_NAMES | FLAG_PREVIOUS)) != 0) {
        reader_fail(reader);
        return;
    }
    ret->state = (enum key_state)state;
    ret->has_names = (flags & FLAG_NAMES) != 0;
    ret->has_previous = (flags & FLAG_PREVIOUS) != 0;
    if (ret->has_names)
        reader_copy(reader, ret->names, SEALED_NAMES_LEN);
    read_wrapping(reader, &ret->current);
    if (ret->has_previous)
        read_wrapping(reader, &ret->previous);
}

void key_ring_write(struct writer *writer, const struct key_ring *ring)
{
    writer_bytes(writer, magic, sizeof(magic));
    writer_u32(writer, VERSION);
    writer_bytes(writer, ring->uuid.bytes, UUID_LEN);
    writer_u64(writer, ring->sequence);
    writer_u32(writer, ring->count);
    for (uint32_t i = 0; i < ring->count; i++)
        write_generation(writer, &ring->generations[i]);
}

/* Own ones first and ascending, no two the same: so that a ring has one encoding only. */
static bool is_in_order(const struct key_ring *ring)
{
    uint32_t last = 0;
    bool is_foreign = false;

    for (uint32_t i = 0; i < ring->count; i++) {
        const struct key_generation *generation = &ring->generations[i];
        if (key_ring_find(ring, &generation->origin, generation->number) != generation)
            return false;
        if (!key_generation_is_own(ring, generation)) {
            is_foreign = true;
            continue;
        }
        if (is_foreign || generation->number <= last)
            return false;
        last = generation->number;
    }
    return last > 0;
}

static void read_macs(struct reader *reader, struct key_ring_parts *parts)
{
    parts->mac_count = reader_u32(reader);
    if (parts->mac_count > parts->ring.count) {
        reader_fail(reader);
        return;
    }
    for (uint32_t i = 0; i < parts->mac_count; i++) {
        parts->macs[i].generation = reader_u32(reader);
        reader_copy(reader, parts->macs[i].value, HASH_LEN);
        if (parts->macs[i].generation != parts->ring.generations[i].number)
            reader_fail(reader);
    }
    /* Exactly the own ones, which come first. */
    for (uint32_t i = 0; i < parts->ring.count; i++)
        if (key_generation_is_own(&parts->ring, &parts->ring.generations[i]) !=
            (i < parts->mac_count))
            reader_fail(reader);
}

static int read_ring(struct reader *reader, struct key_ring *ring, struct error *err)
{
    uint8_t found[sizeof(magic)];

    reader_copy(reader, found, sizeof(found));
    uint32_t version = reader_u32(reader);
    if (reader->failed || memcmp(found, magic, sizeof(magic)) != 0)
        return error_set(err, -EBADMSG, "the key ring is not one: its beginning is altered");
    if (version != VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "the key ring is of format version %u, and this coffer reads only %u: use"
                         " a newer coffer",
                         version, VERSION);
    reader_copy(reader, ring->uuid.bytes, UUID_LEN);
    ring->sequence = reader_u64(reader);
    uint32_t count = reader_u32(reader);
    if (reader->failed || count == 0 || count > KEY_GENERATIONS_MAX)
        return error_set(err, -EBADMSG, "the key ring is malformed");
    ring->generations = calloc(count, sizeof(*ring->generations));
    if (!ring->generations)
        return error_set(err, -ENOMEM, "cannot read the key ring: out of memory");
    ring->count = count;
    for (uint32_t i = 0; i < count && !reader->failed; i++)
        read_generation(reader, &ring->generations[i]);
    return 0;
}

int key_ring_parse(struct bytes encoded, struct key_ring_parts *ret, struct error *err)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    struct reader reader = reader_init(encoded);

    if (encoded.len > KEY_RING_MAX)
        return error_set(err, -EBADMSG, "the key ring is longer than any can be");
    int r = read_ring(&reader, &ring, err);
    if (r < 0)
        return r;
    struct bytes covered = { encoded.data, encoded.len - reader.len };
    struct key_ring_parts parts = { .ring = ring, .covered = covered };
    if (!reader.failed && is_in_order(&ring))
        read_macs(&reader, &parts);
    else
        reader_fail(&reader);
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "the key ring is malformed");
    ring.generations = NULL;
    *ret = parts;
    return 0;
}

int key_ring_mac_of(const struct secret *fs_key, struct bytes covered, uint8_t ret[static HASH_LEN])
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(hmac_freep) struct hmac *hmac = NULL;

    int r = kdf_derive(fs_key, KEY_LABEL_RING, (struct bytes){ .data = NULL }, &key);
    if (r == 0)
        r = hmac_new(&key, &hmac);
    return r < 0 ? r : hmac_sha256(hmac, &covered, 1, ret);
}
