#include "net/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define HOST_SIZE 256u

/* A look-up that the resolver's own thread works on: it may outlive the wait for it. */
struct dial_addresses {
    struct gaicb request;
    struct addrinfo hints;
    char host[HOST_SIZE];
    char service[8];
    char peer[DIAL_PEER_SIZE];
};

void dial_addresses_free(struct dial_addresses *addresses)
{
    if (!addresses)
        return;
    if (addresses->request.ar_result)
        freeaddrinfo(addresses->request.ar_result);
    free(addresses);
}

void dial_peer(const char *host, uint16_t port, char ret[static DIAL_PEER_SIZE])
{
    (void)snprintf(ret, DIAL_PEER_SIZE, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

int dial_wait(int fd, short events, int64_t deadline_ms)
{
    struct pollfd waited = { .fd = fd, .events = events };

    for (;;) {
        int64_t left = deadline_ms - clock_monotonic_ms();
        if (left <= 0)
            return -ETIMEDOUT;
        int n = poll(&waited, 1, left > INT_MAX ? INT_MAX : (int)left);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static int connect_one(const struct addrinfo *address, int64_t deadline_ms, int *ret_fd)
{
    CLEANUP(close_fd)
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int fault = 0;
    socklen_t fault_len = sizeof(fault);

    if (fd < 0)
        return -errno;
    if (connect(fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS)
        return -errno;
    int r = dial_wait(fd, POLLOUT, deadline_ms);
    if (r < 0)
        return r;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &fault_len) < 0)
        return -errno;
    if (fault)
        return -fault;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* getaddrinfo() knows no timeout. 0 or one of its EAI_ codes; EAI_AGAIN: not done in time. */
static int look_up(const char *host, uint16_t port, int64_t deadline_ms,
                   struct dial_addresses **ret)
{
    struct dial_addresses *lookup = calloc(1, sizeof(*lookup));
    int64_t left = deadline_ms - clock_monotonic_ms();
    const struct timespec limit = { .tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000 };

    if (!lookup)
        return EAI_MEMORY;
    struct gaicb *requests[] = { &lookup->request };
    (void)snprintf(lookup->host, sizeof(lookup->host), "%s", host);
    (void)snprintf(lookup->service, sizeof(lookup->service), "%u", port);
    lookup->hints = (struct addrinfo){ .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    lookup->request = (struct gaicb){ .ar_name = lookup->host,
                                      .ar_service = lookup->service,
                                      .ar_request = &lookup->hints };
    int r = left > 0 ? getaddrinfo_a(GAI_NOWAIT, requests, 1, NULL) : EAI_AGAIN;
    if (r != 0) {
        dial_addresses_free(lookup);
        return r;
    }
    int waited;
    do {
        waited = gai_suspend((const struct gaicb *const *)requests, 1, &limit);
    } while (waited == EAI_INTR);
    r = gai_error(&lookup->request);
    if (r == EAI_INPROGRESS && gai_cancel(&lookup->request) == EAI_NOTCANCELED)
        return EAI_AGAIN; /* the resolver still writes to it: it is lost */
    if (r != 0) {
        dial_addresses_free(lookup);
        return r == EAI_INPROGRESS ? EAI_AGAIN : r;
    }
    *ret = lookup;
    return 0;
}

static int no_answer(const char *peer, struct error *err)
{
    return error_set(err, -ETIMEDOUT,
                     "no answer from %s in time; check the address, the network and firewalls",
                     peer);
}

int dial_resolve(const char *host, uint16_t port, int64_t deadline_ms, struct dial_addresses **ret,
                 struct error *err)
{
    char peer[DIAL_PEER_SIZE];

    dial_peer(host, port, peer);
    if (clock_monotonic_ms() >= deadline_ms) /* what came before has taken it all */
        return no_answer(peer, err);
    int fault = look_up(host, port, deadline_ms, ret);
    if (fault)
        return error_set(err, -EHOSTUNREACH,
                         "the host name of %s cannot be resolved (%s): check the address and DNS",
                         peer, gai_strerror(fault));
    memcpy((*ret)->peer, peer, sizeof(peer));
    return 0;
}

int dial_connect(const struct dial_addresses *addresses, int64_t deadline_ms, int *ret_fd,
                 struct error *err)
{
    int r = -EHOSTUNREACH;

    for (const struct addrinfo *at = addresses->request.ar_result; at; at = at->ai_next) {
        r = connect_one(at, deadline_ms, ret_fd);
        if (r == 0)
            return 0;
    }
    if (r == -ETIMEDOUT)
        return no_answer(addresses->peer, err);
    return error_set(err, -ECONNREFUSED,
                     "cannot connect to %s: %s; check the address and that the server runs there",
                     addresses->peer, strerrordesc_np(-r));
}

void dial_show(const struct dial_addresses *addresses, char *ret, size_t size)
{
    char host[NI_MAXHOST];
    size_t len = 0;

    ret[0] = '\0';
    for (const struct addrinfo *at = addresses->request.ar_result; at; at = at->ai_next) {
        if (getnameinfo(at->ai_addr, at->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST) !=
                0 ||
            len + strlen(host) + 3 > size)
            continue;
        len += (size_t)snprintf(ret + len, size - len, "%s%s", len ? ", " : "", host);
    }
}
