#include "host/import_order.h"

#include <errno.h>

#include "base/wire.h"

#define VERSION_CLEAR 1u
#define VERSION_SEALED 2u

int import_order_encode(const struct import_order *order, uint8_t ret[static IMPORT_ORDER_MAX],
                        size_t *ret_len)
{
    struct writer writer = writer_init(ret, IMPORT_ORDER_MAX);

    writer_u8(&writer, order->is_sealed ? VERSION_SEALED : VERSION_CLEAR);
    writer_u8(&writer, order->is_drop);
    writer_bytes(&writer, order->manifest, sizeof(order->manifest));
    if (order->is_sealed)
        writer_bytes(&writer, order->sealed, sizeof(order->sealed));
    else
        writer_text(&writer, order->name);
    *ret_len = writer.len;
    return writer_done(&writer);
}

int import_order_decode(struct bytes encoded, struct import_order *ret)
{
    struct reader reader = reader_init(encoded);
    struct import_order order = { .name = "" };
    uint8_t version = reader_u8(&reader);

    if (!reader.failed && version != VERSION_CLEAR && version != VERSION_SEALED)
        return -EPROTONOSUPPORT;
    order.is_sealed = version == VERSION_SEALED;
    uint8_t is_drop = reader_u8(&reader);
    reader_copy(&reader, order.manifest, sizeof(order.manifest));
    if (order.is_sealed)
        reader_copy(&reader, order.sealed, sizeof(order.sealed));
    else
        reader_text(&reader, order.name, sizeof(order.name));
    if (is_drop > 1 || (order.is_sealed && is_drop > 0))
        reader_fail(&reader);
    order.is_drop = is_drop == 1;
    int r = reader_done(&reader);
    if (r == 0)
        *ret = order;
    return r;
}
