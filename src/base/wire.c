#include "base/wire.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

struct bytes reader_bytes(struct reader *reader, size_t len)
{
    struct bytes taken = { .data = reader->data, .len = len };

    if (reader->failed || len > reader->len) {
        reader->failed = true;
        return (struct bytes){ .data = NULL };
    }
    reader->data += len;
    reader->len -= len;
    return taken;
}

void reader_copy(struct reader *reader, void *to, size_t len)
{
    struct bytes taken = reader_bytes(reader, len);

    if (len == 0)
        return;
    if (taken.data)
        memcpy(to, taken.data, len);
    else
        memset(to, 0, len);
}

uint8_t reader_u8(struct reader *reader)
{
    uint8_t value;

    reader_copy(reader, &value, sizeof(value));
    return value;
}

uint16_t reader_u16(struct reader *reader)
{
    uint16_t value;

    reader_copy(reader, &value, sizeof(value));
    return le16toh(value);
}

uint32_t reader_u32(struct reader *reader)
{
    uint32_t value;

    reader_copy(reader, &value, sizeof(value));
    return le32toh(value);
}

uint64_t reader_u64(struct reader *reader)
{
    uint64_t value;

    reader_copy(reader, &value, sizeof(value));
    return le64toh(value);
}

uint32_t reader_u32be(struct reader *reader)
{
    uint32_t value;

    reader_copy(reader, &value, sizeof(value));
    return be32toh(value);
}

uint64_t reader_u64be(struct reader *reader)
{
    uint64_t value;

    reader_copy(reader, &value, sizeof(value));
    return be64toh(value);
}

struct bytes reader_string(struct reader *reader, size_t max)
{
    size_t len = reader_u16(reader);

    if (len > max)
        reader_fail(reader);
    return reader_bytes(reader, len);
}

void reader_text(struct reader *reader, char *to, size_t size)
{
    struct bytes text = reader_string(reader, size - 1);

    to[0] = '\0';
    if (text.len == 0)
        return;
    if (memchr(text.data, '\0', text.len)) {
        reader_fail(reader);
        return;
    }
    memcpy(to, text.data, text.len);
    to[text.len] = '\0';
}

int reader_done(const struct reader *reader)
{
    return reader->failed || reader->len > 0 ? -EBADMSG : 0;
}

void writer_bytes(struct writer *writer, const void *from, size_t len)
{
    if (writer->failed || len > writer->size - writer->len) {
        writer->failed = true;
        return;
    }
    if (len)
        memcpy(writer->data + writer->len, from, len);
    writer->len += len;
}

void writer_u8(struct writer *writer, uint8_t value)
{
    writer_bytes(writer, &value, sizeof(value));
}

void writer_u16(struct writer *writer, uint16_t value)
{
    value = htole16(value);
    writer_bytes(writer, &value, sizeof(value));
}

void writer_u32(struct writer *writer, uint32_t value)
{
    value = htole32(value);
    writer_bytes(writer, &value, sizeof(value));
}

void writer_u64(struct writer *writer, uint64_t value)
{
    value = htole64(value);
    writer_bytes(writer, &value, sizeof(value));
}

void writer_u32be(struct writer *writer, uint32_t value)
{
    value = htobe32(value);
    writer_bytes(writer, &value, sizeof(value));
}

void writer_u64be(struct writer *writer, uint64_t value)
{
    value = htobe64(value);
    writer_bytes(writer, &value, sizeof(value));
}

void writer_string(struct writer *writer, struct bytes from)
{
    if (from.len > UINT16_MAX) {
        writer->failed = true;
        return;
    }
    writer_u16(writer, (uint16_t)from.len);
    writer_bytes(writer, from.data, from.len);
}

void writer_text(struct writer *writer, const char *text)
{
    writer_string(writer, (struct bytes){ (const uint8_t *)text, strlen(text) });
}

int writer_done(const struct writer *writer)
{
    return writer->failed ? -ENOSPC : 0;
}
