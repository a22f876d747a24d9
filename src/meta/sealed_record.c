#include "meta/sealed_record.h"

#include <assert.h>
#include <errno.h>

#include "base/wire.h"

static int version_result(uint8_t version)
{
    if (version == RECORD_FORMAT_VERSION)
        return 0;
    return version > RECORD_FORMAT_VERSION ? -EPROTONOSUPPORT : -EBADMSG;
}

int sealed_value_decode(struct bytes stored, struct sealed_value *ret)
{
    struct reader reader = reader_init(stored);
    struct sealed_value value;

    if (stored.len < SEALED_OVERHEAD)
        return -EBADMSG;
    int r = version_result(reader_u8(&reader));
    if (r < 0)
        return r;
    value.incarnation = reader_bytes(&reader, INCARNATION_ID_LEN).data;
    value.nonce = reader_bytes(&reader, AEAD_NONCE_LEN).data;
    value.sealed = reader_bytes(&reader, reader.len);
    *ret = value;
    return 0;
}

struct bytes sealed_value_identity(struct bytes stored)
{
    if (stored.len < SEALED_HEAD_LEN)
        return stored;
    return (struct bytes){ .data = stored.data + 1, .len = SEALED_HEAD_LEN - 1 };
}

void incarnation_encode(const struct incarnation_record *record,
                        uint8_t ret[static INCARNATION_CLEAR_LEN])
{
    struct writer writer = writer_init(ret, INCARNATION_CLEAR_LEN);

    writer_u8(&writer, RECORD_FORMAT_VERSION);
    writer_u32(&writer, record->generation);
    writer_u64(&writer, record->created_ns);
    assert(writer.len == INCARNATION_CLEAR_LEN && !writer.failed);
}

int incarnation_decode(struct bytes stored, struct incarnation_record *ret)
{
    struct reader reader = reader_init(stored);
    struct incarnation_record record;

    if (stored.len != INCARNATION_RECORD_LEN)
        return -EBADMSG;
    int r = version_result(reader_u8(&reader));
    if (r < 0)
        return r;
    record.generation = reader_u32(&reader);
    record.created_ns = reader_u64(&reader);
    *ret = record;
    return 0;
}

void commit_body_encode(const struct commit_body *body, uint8_t ret[static COMMIT_BODY_LEN])
{
    struct writer writer = writer_init(ret, COMMIT_BODY_LEN);

    writer_u64(&writer, body->commit);
    writer_u64(&writer, body->epoch);
    writer_u64(&writer, body->time_ns);
    set_hash_write(&writer, &body->share);
    assert(writer.len == COMMIT_BODY_LEN && !writer.failed);
}

int commit_body_decode(struct bytes plain, struct commit_body *ret)
{
    struct reader reader = reader_init(plain);
    struct commit_body body;

    body.commit = reader_u64(&reader);
    body.epoch = reader_u64(&reader);
    body.time_ns = reader_u64(&reader);
    set_hash_read(&reader, &body.share);
    int r = reader_done(&reader);
    if (r == 0)
        *ret = body;
    return r;
}
