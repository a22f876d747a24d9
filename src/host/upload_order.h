/* upload_order.h - the parameters of a task of kind "upload", from cofferd to a worker
 * (TASK_START).
 *
 * Errors     -EBADMSG: not such an order; -ENOSPC: it does not fit into one.
 * Ownership  the ring of a decoded order points into the bytes given.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/uuid.h"
#include "host/worker_protocol.h"

#define UPLOAD_FILESYSTEM_SIZE 64u

struct upload_order {
    uint64_t snapshot;    /* its id */
    struct uuid upload;   /* the same each time that it is begun again */
    struct uuid instance; /* of cofferd */
    uint64_t started_ns;
    bool hides_names;
    char filesystem[UPLOAD_FILESYSTEM_SIZE]; /* its name */
    struct bytes ring;                       /* of the registry */
};

int upload_order_encode(const struct upload_order *order, struct worker_task_start *ret);
int upload_order_decode(struct bytes encoded, struct upload_order *ret);
