/* trace.h - a store that counts what is asked of the one that it wraps, and how long that took.
 *
 * Units      nanoseconds of a clock that never steps; bytes of data, as far as they were moved.
 * Errors     -ENOMEM, to make one.
 * Ownership  the layer owns the inner store from a successful _new on. The struct trace_store is
 *            part of the layer: it goes when that is closed.
 * Threads    any.
 */
#pragma once

#include "store/layers/layer.h"

struct trace_store;

struct trace_counts {
    uint64_t calls;
    uint64_t errors; /* calls that returned a negative code */
    uint64_t bytes;  /* put, replaced, written or read by those that did not */
    uint64_t total_ns;
    uint64_t max_ns;
};

int trace_store_new(struct object_store *inner, struct object_store **ret_store,
                    struct trace_store **ret_trace);

/* Of one operation, since the layer was made. */
void trace_store_counts(struct trace_store *trace, enum store_op op, struct trace_counts *ret);
