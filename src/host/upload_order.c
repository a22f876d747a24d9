#include "host/upload_order.h"

#include "base/wire.h"
#include "keyring/key_ring.h"

int upload_order_encode(const struct upload_order *order, struct worker_task_start *ret)
{
    struct writer writer = writer_init(ret->parameters, sizeof(ret->parameters));

    writer_u64(&writer, order->snapshot);
    writer_bytes(&writer, order->upload.bytes, UUID_LEN);
    writer_bytes(&writer, order->instance.bytes, UUID_LEN);
    writer_u64(&writer, order->started_ns);
    writer_u8(&writer, order->hides_names);
    writer_text(&writer, order->filesystem);
    writer_string(&writer, order->ring);
    int r = writer_done(&writer);
    if (r == 0)
        ret->parameters_len = (uint32_t)writer.len;
    return r;
}

int upload_order_decode(struct bytes encoded, struct upload_order *ret)
{
    struct reader reader = reader_init(encoded);
    struct upload_order order;

    order.snapshot = reader_u64(&reader);
    reader_copy(&reader, order.upload.bytes, UUID_LEN);
    reader_copy(&reader, order.instance.bytes, UUID_LEN);
    order.started_ns = reader_u64(&reader);
    uint8_t hides_names = reader_u8(&reader);
    reader_text(&reader, order.filesystem, sizeof(order.filesystem));
    order.ring = reader_string(&reader, KEY_RING_MAX);
    if (hides_names > 1)
        reader_fail(&reader);
    order.hides_names = hides_names == 1;
    int r = reader_done(&reader);
    if (r == 0)
        *ret = order;
    return r;
}
