#include "host/import_order.h"

#include <errno.h>

#include "base/wire.h"

#define VERSION 1u

int import_order_encode(const struct import_order *order, uint8_t ret[static IMPORT_ORDER_MAX],
                        size_t *ret_len)
{
    struct writer writer = writer_init(ret, IMPORT_ORDER_MAX);

    writer_u8(&writer, VERSION);
    writer_u8(&writer, order->is_drop);
    writer_bytes(&writer, order->manifest, sizeof(order->manifest));
    writer_text(&writer, order->name);
    *ret_len = writer.len;
    return writer_done(&writer);
}

int import_order_decode(struct bytes encoded, struct import_order *ret)
{
    struct reader reader = reader_init(encoded);
    struct import_order order;

    if (encoded.len > 0 && reader_u8(&reader) != VERSION)
        return -EPROTONOSUPPORT;
    uint8_t is_drop = reader_u8(&reader);
    reader_copy(&reader, order.manifest, sizeof(order.manifest));
    reader_text(&reader, order.name, sizeof(order.name));
    if (is_drop > 1)
        reader_fail(&reader);
    order.is_drop = is_drop == 1;
    int r = reader_done(&reader);
    if (r == 0)
        *ret = order;
    return r;
}
