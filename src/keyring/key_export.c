#include "keyring/key_export.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"

#define EXPORT_MAGIC 0x584b4643u /* "CFKX" */
#define EXPORT_VERSION 1u

void key_export_release(struct key_export *copy)
{
    for (uint32_t i = 0; i < copy->count; i++)
        secret_release(&copy->keys[i].blob);
    copy->count = 0;
}

static bool is_left_out(const struct key_ring *ring, uint32_t index, const struct secret *blob)
{
    return blob->len == 0 && !key_generation_is_own(ring, &ring->generations[index]);
}

static uint32_t count_known(const struct key_ring *ring, const struct secret *blobs)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < ring->count; i++)
        count += !is_left_out(ring, i, &blobs[i]);
    return count;
}

int key_export_encode(const struct key_ring *ring, const struct secret *blobs, struct secret *ret,
                      struct error *err)
{
    CLEANUP(secret_release) struct secret encoded = SECRET_INIT;

    if (secret_new(&encoded, KEY_EXPORT_MAX) < 0)
        return error_set(err, -ENOMEM, "out of secret memory");
    struct writer writer = writer_init(encoded.data, encoded.len);
    writer_u32(&writer, EXPORT_MAGIC);
    writer_u16(&writer, EXPORT_VERSION);
    writer_bytes(&writer, ring->uuid.bytes, UUID_LEN);
    writer_u32(&writer, count_known(ring, blobs));
    for (uint32_t i = 0; i < ring->count; i++) {
        if (is_left_out(ring, i, &blobs[i]))
            continue;
        if (blobs[i].len != KEY_BLOB_LEN)
            return error_set(err, -EINVAL, "a key is missing");
        writer_bytes(&writer, ring->generations[i].origin.bytes, UUID_LEN);
        writer_u32(&writer, ring->generations[i].number);
        writer_bytes(&writer, blobs[i].data, blobs[i].len);
    }
    if (writer_done(&writer) < 0)
        return error_set(err, -ENOSPC, "the keys do not fit into a recovery copy");
    secret_truncate(&encoded, writer.len);
    secret_move(ret, &encoded);
    return 0;
}

static int decode_keys(struct reader *reader, uint32_t count, struct key_export *ret)
{
    for (uint32_t i = 0; i < count; i++) {
        struct exported_key *key = &ret->keys[i];
        reader_copy(reader, key->origin.bytes, UUID_LEN);
        key->generation = reader_u32(reader);
        struct bytes blob = reader_bytes(reader, KEY_BLOB_LEN);
        if (reader->failed)
            return 0;
        if (secret_assign(&key->blob, blob) < 0)
            return -ENOMEM;
        ret->count++;
    }
    return 0;
}

int key_export_decode(struct bytes encoded, struct key_export *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);

    *ret = (struct key_export){ .count = 0 };
    if (reader_u32(&reader) != EXPORT_MAGIC)
        return error_set(err, -EBADMSG, "it holds no exported keys of coffer");
    if (reader_u16(&reader) != EXPORT_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "the keys were exported by a later version of coffer");
    reader_copy(&reader, ret->uuid.bytes, UUID_LEN);
    uint32_t count = reader_u32(&reader);
    if (count > KEY_GENERATIONS_MAX)
        reader_fail(&reader);
    int r = reader.failed ? 0 : decode_keys(&reader, count, ret);
    if (r == 0 && (count == 0 || reader_done(&reader) < 0))
        r = -EBADMSG;
    if (r < 0) {
        key_export_release(ret);
        return error_set(err, r, "%s",
                         r == -ENOMEM ? "out of secret memory" : "the exported keys are damaged");
    }
    return 0;
}

const struct secret *key_export_find(const struct key_export *copy, const struct uuid *origin,
                                     uint32_t generation)
{
    for (uint32_t i = 0; i < copy->count; i++)
        if (copy->keys[i].generation == generation && uuid_equal(&copy->keys[i].origin, origin))
            return &copy->keys[i].blob;
    return NULL;
}
