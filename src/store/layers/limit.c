#include "store/layers/limit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"

#define NS_PER_S 1000000000
#define NS_PER_MS 1000000

/* Paid for until this moment. */
struct account {
    uint64_t rate; /* 0: without limit */
    int64_t until_ns;
};

struct limit_store {
    struct layer base;
    struct limit_clock clock;
    struct mutex lock; /* guards the accounts */
    struct account sent, received, removals;
};

static int64_t real_now_ns(void *arg)
{
    (void)arg;
    return clock_monotonic_ms() * NS_PER_MS;
}

static void really_sleep_ns(void *arg, int64_t ns)
{
    (void)arg;
    clock_sleep_ms((ns + NS_PER_MS - 1) / NS_PER_MS);
}

static const struct limit_clock real_clock = { real_now_ns, really_sleep_ns, NULL };

static int64_t price_ns(const struct account *account, uint64_t amount)
{
    return (int64_t)(((double)amount * NS_PER_S / (double)account->rate));
}

static void pay(struct limit_store *limit, struct account *account, uint64_t amount)
{
    if (account->rate == 0)
        return;
    mutex_lock(&limit->lock);
    int64_t now = limit->clock.now_ns(limit->clock.arg);
    if (account->until_ns < now)
        account->until_ns = now;
    int64_t wait = account->until_ns - now;
    account->until_ns += price_ns(account, amount);
    mutex_unlock(&limit->lock);
    if (wait > 0)
        limit->clock.sleep_ns(limit->clock.arg, wait);
}

static void pay_before(struct limit_store *limit, const struct store_call *call)
{
    if (call->op == STORE_PUT || call->op == STORE_REPLACE || call->op == STORE_WRITE)
        pay(limit, &limit->sent, call->data.len);
    else if (call->op == STORE_READ)
        pay(limit, &limit->received, call->len);
    else if (call->op == STORE_GET)
        pay(limit, &limit->received, 0); /* how much is not known yet */
    else if (call->op == STORE_REMOVE)
        pay(limit, &limit->removals, 1);
}

static void pay_after(struct limit_store *limit, uint64_t amount)
{
    if (limit->received.rate == 0)
        return;
    mutex_lock(&limit->lock);
    limit->received.until_ns += price_ns(&limit->received, amount);
    mutex_unlock(&limit->lock);
}

static int limit_around(struct layer *layer, struct store_call *call, struct error *err)
{
    struct limit_store *limit = (struct limit_store *)layer;

    pay_before(limit, call);
    int r = store_call_perform(call, err);
    if (r == 0 && call->op == STORE_GET)
        pay_after(limit, call->ret_buf->len);
    return r;
}

static void limit_release(struct layer *layer)
{
    free(layer);
}

static const struct layer_kind limit_kind = {
    .around = limit_around,
    .release = limit_release,
};

int limit_store_new(struct object_store *inner, const struct limit_rates *rates,
                    const struct limit_clock *clock, struct object_store **ret_store)
{
    struct limit_store *limit = calloc(1, sizeof(*limit));

    if (limit == NULL)
        return -ENOMEM;
    layer_init(&limit->base, &limit_kind, inner);
    limit->clock = clock != NULL ? *clock : real_clock;
    limit->lock = MUTEX_INIT;
    limit->sent.rate = rates->sent;
    limit->received.rate = rates->received;
    limit->removals.rate = rates->removals;
    *ret_store = &limit->base.base;
    return 0;
}

int limit_store_wrap(const struct limit_rates *rates, struct object_store **store,
                     struct error *err)
{
    bool has_limit = rates->sent > 0 || rates->received > 0 || rates->removals > 0;

    if (!has_limit || limit_store_new(*store, rates, NULL, store) == 0)
        return 0;
    object_store_close(TAKE(*store));
    return error_set(err, -ENOMEM, "no memory for an object store");
}
