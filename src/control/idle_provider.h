/* idle_provider.h - the provider that a key server was asked with last, kept with its connection
 * for who asks next: when a host starts, filesystem after filesystem is unwrapped.
 *
 * Units      milliseconds of clock_monotonic_ms().
 * Ownership  what is put in belongs to it until it is taken out.
 * Threads    the lock of its owner guards it. What is taken out to be closed is closed without that
 *            lock, because it may log out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct key_provider;

/* All zero is an empty one. */
struct idle_provider {
    struct key_provider *provider; /* NULL: none */
    unsigned generation;           /* of the configuration that it has */
    int64_t since_ms;
};

/* Takes it out, or returns NULL. *ret_is_usable: it has this configuration and was used lately;
 * else it can only be closed. */
struct key_provider *idle_provider_take(struct idle_provider *idle, unsigned generation,
                                        bool *ret_is_usable);

/* The same, but leaves one that is usable. */
struct key_provider *idle_provider_take_stale(struct idle_provider *idle, unsigned generation);

/* False: there is one already. */
bool idle_provider_put(struct idle_provider *idle, struct key_provider *provider,
                       unsigned generation);
