/* retry.h - a store that asks the one that it wraps again, a few times, when that said -EAGAIN.
 *
 * Any other code is final, and is returned at once. So is each code of sync and seal: after a
 * failed one the writer is only good for close. So is that of a listing that has visited a name, as
 * it would be visited twice. A put or create that is asked again can find what the first one left
 * there: -EEXIST, as if somebody else had been faster.
 *
 * Units      milliseconds.
 * Errors     -ENOMEM, to make one.
 * Ownership  the layer owns the inner store from a successful _new on.
 * Threads    any; who waits, waits alone.
 */
#pragma once

#include "store/layers/layer.h"

struct retry_policy {
    unsigned tries;               /* at most, the first one included */
    int64_t first_ms, longest_ms; /* each wait is up to twice the one before */
    void (*sleep)(void *arg, int64_t ms);
    void *sleep_arg;
};

/* Five tries in about a second. */
extern const struct retry_policy retry_policy_default;

/* The n-th wait, from 1 on, is between half and all of first_ms * 2^(n-1), at most longest_ms:
 * that many clients of one server do not come back in step. spread is a random number. */
int64_t retry_policy_pause(const struct retry_policy *policy, unsigned n, uint64_t spread);

int retry_store_new(struct object_store *inner, const struct retry_policy *policy,
                    struct object_store **ret_store);
