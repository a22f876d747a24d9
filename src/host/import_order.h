/* import_order.h - the parameters of a task of kind "import", as they are in its record and from
 * cofferd to a worker (TASK_START): an uploaded snapshot becomes one of the filesystem. Byte for
 * byte in docs/formats/registry.md.
 *
 * A record holds no name in clear: the worker seals it first (TASK_SEAL). Earlier ones do.
 *
 * Errors     -EBADMSG: not such an order; -EPROTONOSUPPORT: of a later version; -ENOSPC: it does
 * not fit.
 */
#pragma once

#include "base/buf.h"
#include "host/worker_protocol.h"
#include "keyring/sealed_name.h"

#define IMPORT_ORDER_MAX (2u + WORKER_MANIFEST_LEN + SEALED_NAME_LEN)

struct import_order {
    uint8_t manifest[WORKER_MANIFEST_LEN]; /* of its locator */
    char name[WORKER_NAME_SIZE];           /* that it gets; empty: that which it has there */
    bool is_sealed;                        /* then it is here, and the manifest is its context: */
    uint8_t sealed[SEALED_NAME_LEN];
    bool is_drop; /* what came of it is taken away; never in a record. Then no socket is needed */
};

int import_order_encode(const struct import_order *order, uint8_t ret[static IMPORT_ORDER_MAX],
                        size_t *ret_len);
int import_order_decode(struct bytes encoded, struct import_order *ret);
