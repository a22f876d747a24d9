/* record_value.h - how each value of a record begins: with its version. For the files that encode
 * and decode them (records.h).
 *
 * Errors     -EINVAL: it does not fit; -EBADMSG: no such value; -EPROTONOSUPPORT: a later version.
 */
#pragma once

#include <errno.h>

#include "base/wire.h"
#include "fs/records.h"

static inline struct writer record_value_begin(uint8_t *to, size_t size)
{
    struct writer writer = writer_init(to, size);

    writer_u8(&writer, RECORD_VALUE_VERSION);
    return writer;
}

static inline int record_value_end(const struct writer *writer, size_t *ret_len)
{
    if (writer_done(writer) < 0)
        return -EINVAL;
    *ret_len = writer->len;
    return 0;
}

static inline int record_value_read(struct bytes value, struct reader *ret)
{
    *ret = reader_init(value);
    uint8_t version = reader_u8(ret);

    if (version > RECORD_VALUE_VERSION)
        return -EPROTONOSUPPORT;
    return version == RECORD_VALUE_VERSION ? 0 : -EBADMSG;
}
