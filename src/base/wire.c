#include "base/wire.h"

#include <errno.h>
#include <string.h>

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
