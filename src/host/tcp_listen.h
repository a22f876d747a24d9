/* tcp_listen.h - a TCP socket that listens where people say: "192.0.2.1:14000",
 * "[2001:db8::1]:14000", "host.example:14000", or ":14000" and "*:14000" for all addresses of this
 * host, IPv4 and IPv6.
 *
 * Errors     negative errno and a sentence. -EINVAL: not of the form; -EADDRINUSE; -EADDRNOTAVAIL.
 * Ownership  the descriptor is the caller's to close, and close-on-exec.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define TCP_HOST_SIZE 256u

struct tcp_place {
    char host[TCP_HOST_SIZE]; /* without brackets; "": all addresses */
    uint16_t port;            /* 0: any, which the kernel chooses */
};

int tcp_place_parse(const char *text, struct tcp_place *ret, struct error *err);

/* place->port becomes the one that it listens on. */
int tcp_listen(struct tcp_place *place, int *ret_fd, struct error *err);
