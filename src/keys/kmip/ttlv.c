#include "keys/kmip/ttlv.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static size_t padding_of(size_t len)
{
    return (8 - len % 8) % 8;
}

static bool fits_type(enum ttlv_type type, uint32_t len)
{
    switch (type) {
    case TTLV_STRUCTURE:
        return len % 8 == 0;
    case TTLV_BIG_INTEGER:
        return len > 0 && len % 8 == 0;
    case TTLV_INTEGER:
    case TTLV_ENUMERATION:
    case TTLV_INTERVAL:
        return len == 4;
    case TTLV_LONG_INTEGER:
    case TTLV_BOOLEAN:
    case TTLV_DATE_TIME:
    case TTLV_DATE_TIME_EXTENDED:
        return len == 8;
    case TTLV_TEXT:
    case TTLV_BYTES:
        return true;
    default: /* a number that is no type */
        return false;
    }
}

static int read_header(struct reader *reader, uint32_t *ret_tag, enum ttlv_type *ret_type,
                       uint32_t *ret_len)
{
    uint32_t tag_and_type = reader_u32be(reader);
    uint32_t len = reader_u32be(reader);
    enum ttlv_type type = (enum ttlv_type)(tag_and_type & 0xff);

    if (reader->failed || !fits_type(type, len))
        return -EBADMSG;
    *ret_tag = tag_and_type >> 8;
    *ret_type = type;
    *ret_len = len;
    return 0;
}

int ttlv_read_header(struct bytes header, uint32_t *ret_tag, enum ttlv_type *ret_type,
                     uint32_t *ret_len)
{
    struct reader reader = reader_init(header);

    return read_header(&reader, ret_tag, ret_type, ret_len);
}

static bool is_zero(struct bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        if (bytes.data[i] != 0)
            return false;
    return true;
}

int ttlv_next(struct reader *reader, struct ttlv_item *ret)
{
    struct ttlv_item item;
    uint32_t len;

    if (reader->failed)
        return -EBADMSG;
    if (reader->len == 0)
        return 0;
    if (read_header(reader, &item.tag, &item.type, &len) < 0) {
        reader_fail(reader);
        return -EBADMSG;
    }
    item.value = reader_bytes(reader, len);
    struct bytes padding = reader_bytes(reader, padding_of(len));
    if (reader->failed || !is_zero(padding) || (item.type == TTLV_BOOLEAN && ttlv_u64(&item) > 1)) {
        reader_fail(reader);
        return -EBADMSG;
    }
    *ret = item;
    return 1;
}

int ttlv_find(struct bytes items, uint32_t tag, enum ttlv_type type, struct ttlv_item *ret)
{
    struct reader reader = reader_init(items);
    struct ttlv_item item;
    int r;

    while ((r = ttlv_next(&reader, &item)) > 0) {
        if (item.tag != tag)
            continue;
        if (item.type != type)
            return -EBADMSG;
        *ret = item;
        return 0;
    }
    return r < 0 ? r : -ENOENT;
}

int ttlv_find_u32(struct bytes items, uint32_t tag, enum ttlv_type type, uint32_t *ret)
{
    struct ttlv_item item;
    int r = ttlv_find(items, tag, type, &item);

    if (r == 0)
        *ret = ttlv_u32(&item);
    return r;
}

uint32_t ttlv_u32(const struct ttlv_item *item)
{
    struct reader reader = reader_init(item->value);

    return reader_u32be(&reader);
}

uint64_t ttlv_u64(const struct ttlv_item *item)
{
    struct reader reader = reader_init(item->value);

    return reader_u64be(&reader);
}

void ttlv_show_text(struct bytes text, char *ret, size_t size)
{
    size_t len = text.len < size - 1 ? text.len : size - 1;

    for (size_t i = 0; i < len; i++)
        ret[i] = (char)(text.data[i] >= 0x20 && text.data[i] < 0x7f ? text.data[i] : '?');
    ret[len] = '\0';
}

static void put_header(struct writer *writer, uint32_t tag, enum ttlv_type type, size_t len)
{
    writer_u32be(writer, tag << 8 | (uint32_t)type);
    writer_u32be(writer, (uint32_t)len);
}

size_t ttlv_begin(struct writer *writer, uint32_t tag)
{
    put_header(writer, tag, TTLV_STRUCTURE, 0);
    return writer->len;
}

void ttlv_end(struct writer *writer, size_t begun)
{
    uint32_t len = htobe32((uint32_t)(writer->len - begun));

    if (!writer->failed)
        memcpy(writer->data + begun - sizeof(len), &len, sizeof(len));
}

void ttlv_put_integer(struct writer *writer, uint32_t tag, int32_t value)
{
    put_header(writer, tag, TTLV_INTEGER, 4);
    writer_u32be(writer, (uint32_t)value);
    writer_u32be(writer, 0);
}

void ttlv_put_enumeration(struct writer *writer, uint32_t tag, uint32_t value)
{
    put_header(writer, tag, TTLV_ENUMERATION, 4);
    writer_u32be(writer, value);
    writer_u32be(writer, 0);
}

void ttlv_put_boolean(struct writer *writer, uint32_t tag, bool value)
{
    put_header(writer, tag, TTLV_BOOLEAN, 8);
    writer_u64be(writer, value);
}

static void put_padded(struct writer *writer, uint32_t tag, enum ttlv_type type, struct bytes value)
{
    static const uint8_t zeros[8];

    put_header(writer, tag, type, value.len);
    writer_bytes(writer, value.data, value.len);
    writer_bytes(writer, zeros, padding_of(value.len));
}

void ttlv_put_text(struct writer *writer, uint32_t tag, const char *text)
{
    ttlv_put_text_bytes(writer, tag,
                        (struct bytes){ .data = (const uint8_t *)text, .len = strlen(text) });
}

void ttlv_put_text_bytes(struct writer *writer, uint32_t tag, struct bytes text)
{
    put_padded(writer, tag, TTLV_TEXT, text);
}

void ttlv_put_bytes(struct writer *writer, uint32_t tag, struct bytes value)
{
    put_padded(writer, tag, TTLV_BYTES, value);
}
