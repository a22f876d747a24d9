/* ttlv.h - the encoding of KMIP messages (KMIP 1.4, section 9.1): tag, type, length, value,
 * padded to 8 bytes; read and written within bounds.
 *
 * Units      lengths are bytes, without padding.
 * Errors     -EBADMSG: not TTLV: cut, an unknown type, a length that does not fit the type or
 *            the bytes, padding that is not zero. -ENOENT: no such item.
 * Ownership  items point into the caller's bytes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/wire.h"

#define TTLV_HEADER_LEN 8u

enum ttlv_type {
    TTLV_STRUCTURE = 0x01,
    TTLV_INTEGER = 0x02,
    TTLV_LONG_INTEGER = 0x03,
    TTLV_BIG_INTEGER = 0x04,
    TTLV_ENUMERATION = 0x05,
    TTLV_BOOLEAN = 0x06,
    TTLV_TEXT = 0x07,
    TTLV_BYTES = 0x08,
    TTLV_DATE_TIME = 0x09,
    TTLV_INTERVAL = 0x0a,
    TTLV_DATE_TIME_EXTENDED = 0x0b,
};

struct ttlv_item {
    uint32_t tag;
    enum ttlv_type type;
    struct bytes value; /* of a structure: its items */
};

/* The first 8 bytes of a message: what follows is *ret_len bytes. */
int ttlv_read_header(struct bytes header, uint32_t *ret_tag, enum ttlv_type *ret_type,
                     uint32_t *ret_len);

/* The next item of a run of items: 1, 0 at the end, or -EBADMSG. */
int ttlv_next(struct reader *reader, struct ttlv_item *ret);

/* The first item with this tag, which must be of this type, among the items of a structure.
 * What stands before it and is unknown is passed over. */
int ttlv_find(struct bytes items, uint32_t tag, enum ttlv_type type, struct ttlv_item *ret);

int ttlv_find_u32(struct bytes items, uint32_t tag, enum ttlv_type type, uint32_t *ret);

/* Of an item whose type holds one. */
uint32_t ttlv_u32(const struct ttlv_item *item);
uint64_t ttlv_u64(const struct ttlv_item *item);

/* Text from outside made fit to be shown: what is not printable ASCII becomes '?', what does not
 * fit is cut. */
void ttlv_show_text(struct bytes text, char *ret, size_t size);

/* A structure is begun, filled and ended; begin returns what end needs. */
size_t ttlv_begin(struct writer *writer, uint32_t tag);
void ttlv_end(struct writer *writer, size_t begun);

void ttlv_put_integer(struct writer *writer, uint32_t tag, int32_t value);
void ttlv_put_enumeration(struct writer *writer, uint32_t tag, uint32_t value);
void ttlv_put_boolean(struct writer *writer, uint32_t tag, bool value);
void ttlv_put_text(struct writer *writer, uint32_t tag, const char *text);
void ttlv_put_text_bytes(struct writer *writer, uint32_t tag, struct bytes text);
void ttlv_put_bytes(struct writer *writer, uint32_t tag, struct bytes value);
