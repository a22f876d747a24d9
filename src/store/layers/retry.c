#include "store/layers/retry.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"

struct retry_store {
    struct layer base;
    struct retry_policy policy;
    atomic_uint_fast64_t jitter; /* state of a generator: spread is wanted, not secrecy */
};

static void sleep_really(void *arg, int64_t ms)
{
    (void)arg;
    clock_sleep_ms(ms);
}

const struct retry_policy retry_policy_default = {
    .tries = 5,
    .first_ms = 50,
    .longest_ms = 1000,
    .sleep = sleep_really,
};

/* splitmix64 */
static uint64_t next_jitter(struct retry_store *retry)
{
    uint64_t z = atomic_fetch_add(&retry->jitter, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int64_t retry_policy_pause(const struct retry_policy *policy, unsigned n, uint64_t spread)
{
    int64_t ms = policy->first_ms;

    for (unsigned i = 1; i < n && ms < policy->longest_ms; i++)
        ms *= 2;
    if (ms > policy->longest_ms)
        ms = policy->longest_ms;
    int64_t half = ms / 2;
    return ms - half + (int64_t)(spread % ((uint64_t)half + 1));
}

static void wait_before(struct retry_store *retry, unsigned next_try)
{
    const struct retry_policy *policy = &retry->policy;

    policy->sleep(policy->sleep_arg, retry_policy_pause(policy, next_try, next_jitter(retry)));
}

/* Tells whether a listing has begun. */
struct watched_visit {
    object_visit_fn *visit;
    void *arg;
    bool was_called;
};

static int visit_watched(const char *name, uint64_t size, void *arg)
{
    struct watched_visit *watched = arg;

    watched->was_called = true;
    return watched->visit(name, size, watched->arg);
}

static bool may_be_asked_again(enum store_op op)
{
    return op != STORE_SYNC && op != STORE_SEAL;
}

static int retry_around(struct layer *layer, struct store_call *call, struct error *err)
{
    struct retry_store *retry = (struct retry_store *)layer;
    struct watched_visit watched = { .visit = call->visit, .arg = call->arg };

    call->visit = visit_watched;
    call->arg = &watched;
    for (unsigned tries = 1;; tries++) {
        struct error failure = { 0 }; /* that of a try that is followed by a good one is not told */
        int r = store_call_perform(call, &failure);
        bool is_over = r != -EAGAIN || watched.was_called || !may_be_asked_again(call->op);
        if (is_over || tries >= retry->policy.tries) {
            if (failure.code != 0 && err != NULL)
                *err = failure;
            return is_over ? r : error_prefix(err, r, "after %u tries", tries);
        }
        wait_before(retry, tries);
    }
}

static void retry_release(struct layer *layer)
{
    free(layer);
}

static const struct layer_kind retry_kind = {
    .around = retry_around,
    .release = retry_release,
};

int retry_store_new(struct object_store *inner, const struct retry_policy *policy,
                    struct object_store **ret_store)
{
    struct retry_store *retry = calloc(1, sizeof(*retry));

    assert(policy->tries > 0 && policy->first_ms > 0);
    if (retry == NULL)
        return -ENOMEM;
    layer_init(&retry->base, &retry_kind, inner);
    retry->policy = *policy;
    atomic_init(&retry->jitter, (uint64_t)clock_wall_ns() ^ (uint64_t)(uintptr_t)retry);
    *ret_store = &retry->base.base;
    return 0;
}
