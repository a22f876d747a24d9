/* wire.h - bounded readers and writers of binary formats; every format of coffer is written and
 * read through these. Integers are little-endian unless the name says be.
 *
 * A reader or writer that once went past its end stays failed: a decoder makes all its calls and
 * looks at the end, once, whether all went well.
 *
 * Errors     reader_done() and writer_done() answer. A failed get returns 0 or an empty range.
 * Ownership  what reader_bytes() returns points into the caller's bytes; the writer writes into
 *            room that the caller gives.
 */
#pragma once

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"

struct reader {
    const uint8_t *data;
    size_t len; /* what is left */
    bool failed;
};

static inline struct reader reader_init(struct bytes from)
{
    return (struct reader){ .data = from.data, .len = from.len };
}

static inline struct bytes reader_bytes(struct reader *reader, size_t len)
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
/* Zeroes to if it fails. */
static inline void reader_copy(struct reader *reader, void *to, size_t len)
{
    struct bytes taken = reader_bytes(reader, len);

    if (len == 0)
        return;
    if (taken.data)
        memcpy(to, taken.data, len);
    else
        memset(to, 0, len);
}

static inline uint8_t reader_u8(struct reader *reader)
{
    uint8_t value;

    reader_copy(reader, &value, sizeof(value));
    return value;
}

static inline uint16_t reader_u16(struct reader *reader)
{
    uint16_t value;

    reader_copy(reader, &value, sizeof(value));
    return le16toh(value);
}

static inline uint32_t reader_u32(struct reader *reader)
{
    uint32_t value;

    reader_copy(reader, &value, sizeof(value));
    return le32toh(value);
}

static inline uint64_t reader_u64(struct reader *reader)
{
    uint64_t value;

    reader_copy(reader, &value, sizeof(value));
    return le64toh(value);
}

static inline uint32_t reader_u32be(struct reader *reader)
{
    uint32_t value;

    reader_copy(reader, &value, sizeof(value));
    return be32toh(value);
}

static inline uint64_t reader_u64be(struct reader *reader)
{
    uint64_t value;

    reader_copy(reader, &value, sizeof(value));
    return be64toh(value);
}

/* A u16 length, then so many bytes; fails if they are more than max. */
struct bytes reader_string(struct reader *reader, size_t max);

/* The same, copied and ended with NUL into size bytes. Fails on a NUL inside. */
void reader_text(struct reader *reader, char *to, size_t size);

/* Marks the input as malformed: for what a decoder finds wrong itself. */
static inline void reader_fail(struct reader *reader)
{
    reader->failed = true;
}

/* 0 if nothing failed and nothing is left; else -EBADMSG. */
static inline int reader_done(const struct reader *reader)
{
    return reader->failed || reader->len > 0 ? -EBADMSG : 0;
}

struct writer {
    uint8_t *data;
    size_t size;
    size_t len; /* what was written */
    bool failed;
};

static inline struct writer writer_init(uint8_t *data, size_t size)
{
    return (struct writer){ .data = data, .size = size };
}

static inline void writer_bytes(struct writer *writer, const void *from, size_t len)
{
    if (writer->failed || len > writer->size - writer->len) {
        writer->failed = true;
        return;
    }
    if (len)
        memcpy(writer->data + writer->len, from, len);
    writer->len += len;
}

static inline void writer_u8(struct writer *writer, uint8_t value)
{
    writer_bytes(writer, &value, sizeof(value));
}

static inline void writer_u16(struct writer *writer, uint16_t value)
{
    value = htole16(value);
    writer_bytes(writer, &value, sizeof(value));
}

static inline void writer_u32(struct writer *writer, uint32_t value)
{
    value = htole32(value);
    writer_bytes(writer, &value, sizeof(value));
}

static inline void writer_u64(struct writer *writer, uint64_t value)
{
    value = htole64(value);
    writer_bytes(writer, &value, sizeof(value));
}

static inline void writer_u32be(struct writer *writer, uint32_t value)
{
    value = htobe32(value);
    writer_bytes(writer, &value, sizeof(value));
}

static inline void writer_u64be(struct writer *writer, uint64_t value)
{
    value = htobe64(value);
    writer_bytes(writer, &value, sizeof(value));
}

void writer_string(struct writer *writer, struct bytes from); /* u16 length, then the bytes */
void writer_text(struct writer *writer, const char *text);    /* likewise, without its NUL */

/* 0, or -ENOSPC if it did not all fit. */
int writer_done(const struct writer *writer);

static inline struct bytes writer_written(const struct writer *writer)
{
    return (struct bytes){ .data = writer->data, .len = writer->len };
}
