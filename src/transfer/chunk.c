#include "transfer/chunk.h"

#include <string.h>

#define VERSION 1u

int dump_key_compare(struct bytes a, struct bytes b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;

    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

void dump_chunk_write_head(struct writer *writer, uint32_t records)
{
    writer_u8(writer, VERSION);
    writer_u32(writer, records);
}

void dump_record_write(struct writer *writer, const struct dump_record *record)
{
    writer_u16(writer, (uint16_t)record->key.len);
    writer_u32(writer, (uint32_t)record->value.len);
    writer_bytes(writer, record->key.data, record->key.len);
    writer_bytes(writer, record->value.data, record->value.len);
}

static void read_record(struct reader *reader, struct dump_record *ret)
{
    uint16_t key_len = reader_u16(reader);
    uint32_t value_len = reader_u32(reader);

    if (key_len == 0 || key_len > META_KEY_MAX || value_len > META_VALUE_MAX)
        reader_fail(reader);
    ret->key = reader_bytes(reader, key_len);
    ret->value = reader_bytes(reader, value_len);
}

int dump_chunk_decode(struct bytes plain, struct dump_chunk *ret)
{
    struct reader reader = reader_init(plain);
    struct dump_chunk chunk = { .records = 0 };
    struct dump_record record;

    uint8_t version = reader_u8(&reader);
    chunk.records = reader_u32(&reader);
    if (reader.failed || plain.len > DUMP_CHUNK_MAX)
        return -EBADMSG;
    if (version != VERSION)
        return -EPROTONOSUPPORT;
    chunk.body = (struct bytes){ reader.data, reader.len };
    for (uint32_t i = 0; i < chunk.records && !reader.failed; i++) {
        read_record(&reader, &record);
        if (i > 0 && !reader.failed && dump_key_compare(chunk.last_key, record.key) >= 0)
            reader_fail(&reader);
        if (i == 0)
            chunk.first_key = record.key;
        chunk.last_key = record.key;
    }
    if (chunk.records == 0 || reader_done(&reader) < 0)
        return -EBADMSG;
    *ret = chunk;
    return 0;
}

bool dump_record_next(struct bytes *body, struct dump_record *ret)
{
    struct reader reader = reader_init(*body);

    read_record(&reader, ret);
    if (reader.failed)
        return false;
    *body = (struct bytes){ reader.data, reader.len };
    return true;
}
