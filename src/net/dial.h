/* dial.h - a TCP connection to a host and port, within a time, one step after the other: so that
 * whoever looks for a fault knows which step it is.
 *
 * Units      deadlines are clock_monotonic_ms() times.
 * Errors     -EHOSTUNREACH: the name cannot be resolved; -ECONNREFUSED: nobody answers there;
 *            -ETIMEDOUT. Sentences name host and port.
 * Ownership  a descriptor is the caller's to close; it is non-blocking.
 * Threads    any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define DIAL_PEER_SIZE 300u

/* What a name stands for. */
struct dial_addresses;

int dial_resolve(const char *host, uint16_t port, int64_t deadline_ms, struct dial_addresses **ret,
                 struct error *err);
void dial_addresses_free(struct dial_addresses *addresses); /* NULL is allowed */

static inline void dial_addresses_freep(struct dial_addresses **addresses)
{
    dial_addresses_free(*addresses);
}

/* "192.0.2.1, 2001:db8::1"; those that do not fit are left out. */
void dial_show(const struct dial_addresses *addresses, char *ret, size_t size);

/* To the first of them that answers. */
int dial_connect(const struct dial_addresses *addresses, int64_t deadline_ms, int *ret_fd,
                 struct error *err);

/* "host:port", as sentences name it. */
void dial_peer(const char *host, uint16_t port, char ret[static DIAL_PEER_SIZE]);

/* Waits for poll(2) events: 0 when ready, -ETIMEDOUT, or another errno of poll(2). */
int dial_wait(int fd, short events, int64_t deadline_ms);
