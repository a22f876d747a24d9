/* import_order.h - the parameters of a task of kind "import", as they are in its record and from
 * cofferd to a worker (TASK_START): an uploaded snapshot becomes one of the filesystem. Byte for
 * byte in docs/formats/registry.md.
 *
 * Errors     -EBADMSG: not such an order; -EPROTONOSUPPORT: of a later version; -ENOSPC: it does
 * not fit.
 */
#pragma once

#include "base/buf.h"
#include "host/worker_protocol.h"

#define IMPORT_ORDER_MAX (2u + WORKER_MANIFEST_LEN + 2u + WORKER_NAME_SIZE)

struct import_order {
    uint8_t manifest[WORKER_MANIFEST_LEN]; /* of its locator */
    char name[WORKER_NAME_SIZE];           /* that it gets; empty: that which it has there */
    bool is_drop; /* what came of it is taken away; never in a record. Then no socket is needed */
};

int import_order_encode(const struct import_order *order, uint8_t ret[static IMPORT_ORDER_MAX],
                        size_t *ret_len);
int import_order_decode(struct bytes encoded, struct import_order *ret);
