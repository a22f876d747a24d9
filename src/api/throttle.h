/* throttle.h - how often one address may try to log in: THROTTLE_BURST times at once, then once in
 * THROTTLE_PERIOD_MS. Addresses share a fixed number of places, by a hash that nobody can foresee.
 *
 * Units      times are clock_monotonic_ms().
 * Threads    any, but init.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/thread.h"

#define THROTTLE_BURST 10
#define THROTTLE_PERIOD_MS 6000
#define THROTTLE_PLACES 256u
#define THROTTLE_SALT_LEN 16u

struct throttle {
    uint8_t salt[THROTTLE_SALT_LEN];
    struct mutex lock;                /* guards free_ms */
    int64_t free_ms[THROTTLE_PLACES]; /* when all tries of a place are there again */
};

void throttle_init(struct throttle *throttle);

/* False: too often; ret_wait_ms says how long it takes until one more is allowed. */
bool throttle_take(struct throttle *throttle, struct bytes address, int64_t now_ms,
                   int64_t *ret_wait_ms);

/* That try does not count. */
void throttle_give_back(struct throttle *throttle, struct bytes address);
