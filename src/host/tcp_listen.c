#include "host/tcp_listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

#define BACKLOG 64
#define PORT_MAX 65535UL

static int bad_place(const char *text, struct error *err)
{
    return error_set(err, -EINVAL,
                     "'%s' is no place to listen; give ADDRESS:PORT, [ADDRESS]:PORT for IPv6, or "
                     "*:PORT for all addresses",
                     text);
}

int tcp_place_parse(const char *text, struct tcp_place *ret, struct error *err)
{
    struct tcp_place place = { .host = "" };
    const char *colon = strrchr(text, ':');
    char *end = NULL;

    if (!colon || colon[1] < '0' || colon[1] > '9')
        return bad_place(text, err);
    unsigned long port = strtoul(colon + 1, &end, 10);
    size_t len = (size_t)(colon - text);
    bool is_bracketed = len >= 2 && text[0] == '[' && colon[-1] == ']';
    if (is_bracketed) {
        text++;
        len -= 2;
    }
    if (*end != '\0' || port > PORT_MAX || len >= sizeof(place.host) ||
        (!is_bracketed && memchr(text, ':', len)))
        return bad_place(text, err);
    memcpy(place.host, text, len);
    if (strcmp(place.host, "*") == 0)
        place.host[0] = '\0';
    place.port = (uint16_t)port;
    *ret = place;
    return 0;
}

static int listen_at(const struct sockaddr *address, socklen_t len, int *ret_fd)
{
    CLEANUP(close_fd)
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int yes = 1;
    int no = 0;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0)
        return -errno;
    if (address->sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no)) < 0)
        return -errno;
    if (bind(fd, address, len) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* IPv6 takes IPv4 along; a host without IPv6 has IPv4 alone. */
static int listen_everywhere(uint16_t port, int *ret_fd)
{
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
                               .sin6_port = htons(port),
                               .sin6_addr = IN6ADDR_ANY_INIT };
    struct sockaddr_in v4 = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr = { .s_addr = htonl(INADDR_ANY) } };
    int r = listen_at((const struct sockaddr *)&v6, sizeof(v6), ret_fd);

    if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)
        r = listen_at((const struct sockaddr *)&v4, sizeof(v4), ret_fd);
    return r;
}

/* The first of its addresses. */
static int listen_there(const struct tcp_place *place, int *ret_fd, struct error *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    char port[8];

    (void)snprintf(port, sizeof(port), "%u", place->port);
    int failure = getaddrinfo(place->host, port, &hints, &found);
    if (failure != 0)
        return error_set(err, -EADDRNOTAVAIL, "%s is no address of this host: %s", place->host,
                         gai_strerror(failure));
    int r = listen_at(found->ai_addr, found->ai_addrlen, ret_fd);
    freeaddrinfo(found);
    return r;
}

static uint16_t port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = { .any = { .sa_family = AF_UNSPEC } };
    socklen_t len = sizeof(address);

    if (getsockname(fd, &address.any, &len) < 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

int tcp_listen(struct tcp_place *place, int *ret_fd, struct error *err)
{
    struct error why = { .code = 0 };
    int fd = -1;
    int r = place->host[0] == '\0' ? listen_everywhere(place->port, &fd)
                                   : listen_there(place, &fd, &why);

    if (why.code < 0)
        return error_set(err, r, "%s", why.text);
    if (r < 0)
        return error_set(err, r,
                         "cannot listen on %s port %u: %s; choose an address of this host, and a "
                         "port that is free",
                         place->host[0] == '\0' ? "all addresses," : place->host, place->port,
                         strerrordesc_np(-r));
    place->port = port_of(fd);
    *ret_fd = fd;
    return 0;
}
