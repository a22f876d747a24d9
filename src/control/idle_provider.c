#include "control/idle_provider.h"

#include <stddef.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define USABLE_MS 30000 /* longer, and what lies between may have forgotten the connection */

static bool is_usable(const struct idle_provider *idle, unsigned generation)
{
    return idle->provider && idle->generation == generation &&
           clock_monotonic_ms() - idle->since_ms < USABLE_MS;
}

struct key_provider *idle_provider_take(struct idle_provider *idle, unsigned generation,
                                        bool *ret_is_usable)
{
    *ret_is_usable = is_usable(idle, generation);
    return TAKE(idle->provider);
}

struct key_provider *idle_provider_take_stale(struct idle_provider *idle, unsigned generation)
{
    return is_usable(idle, generation) ? NULL : TAKE(idle->provider);
}

bool idle_provider_put(struct idle_provider *idle, struct key_provider *provider,
                       unsigned generation)
{
    if (idle->provider)
        return false;
    *idle = (struct idle_provider){ .provider = provider,
                                    .generation = generation,
                                    .since_ms = clock_monotonic_ms() };
    return true;
}
