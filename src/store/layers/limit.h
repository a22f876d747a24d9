/* limit.h - a store that lets no more than so many bytes a second through to the one that it wraps
 * and back, and no more than so many removals: for a line or a server that others use, too.
 *
 * What is put, replaced or written counts as sent; what is read or got, as received. Each operation
 * waits for those before it to be paid for, and not for itself, so a large one is not cut up; after
 * a time without any, nothing is saved up.
 *
 * Units      bytes and removals a second; 0: without limit. The clock's unit is nanoseconds.
 * Errors     -ENOMEM, to make one.
 * Ownership  the layer owns the inner store from a successful _new on.
 * Threads    any; who waits, waits alone.
 */
#pragma once

#include "store/layers/layer.h"

struct limit_rates {
    uint64_t sent;
    uint64_t received;
    uint64_t removals;
};

/* For tests: another time. */
struct limit_clock {
    int64_t (*now_ns)(void *arg);
    void (*sleep_ns)(void *arg, int64_t ns);
    void *arg;
};

/* Around *store, if there is a limit. After a failure the store is closed. */
int limit_store_wrap(const struct limit_rates *rates, struct object_store **store,
                     struct error *err);

/* clock: NULL for the real one. */
int limit_store_new(struct object_store *inner, const struct limit_rates *rates,
                    const struct limit_clock *clock, struct object_store **ret_store);
