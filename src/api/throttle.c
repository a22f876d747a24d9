#include "api/throttle.h"

#include "crypto/hash.h"
#include "crypto/random.h"

void throttle_init(struct throttle *throttle)
{
    *throttle = (struct throttle){ .lock = MUTEX_INIT };
    random_bytes(throttle->salt, sizeof(throttle->salt));
}

/* Without memory for a hash all share one place. */
static size_t place_of(const struct throttle *throttle, struct bytes address)
{
    const struct bytes pieces[] = {
        { .data = throttle->salt, .len = THROTTLE_SALT_LEN },
        address,
    };
    uint8_t hash[HASH_LEN];

    return hash_sha256(pieces, 2, hash) == 0 ? hash[0] % THROTTLE_PLACES : 0;
}

bool throttle_take(struct throttle *throttle, struct bytes address, int64_t now_ms,
                   int64_t *ret_wait_ms)
{
    int64_t *free_ms = &throttle->free_ms[place_of(throttle, address)];

    mutex_lock(&throttle->lock);
    int64_t from_ms = *free_ms > now_ms ? *free_ms : now_ms;
    int64_t wait_ms = from_ms + THROTTLE_PERIOD_MS - now_ms - THROTTLE_BURST * THROTTLE_PERIOD_MS;
    if (wait_ms <= 0)
        *free_ms = from_ms + THROTTLE_PERIOD_MS;
    mutex_unlock(&throttle->lock);
    *ret_wait_ms = wait_ms > 0 ? wait_ms : 0;
    return wait_ms <= 0;
}

void throttle_give_back(struct throttle *throttle, struct bytes address)
{
    int64_t *free_ms = &throttle->free_ms[place_of(throttle, address)];

    mutex_lock(&throttle->lock);
    *free_ms -= THROTTLE_PERIOD_MS;
    mutex_unlock(&throttle->lock);
}
