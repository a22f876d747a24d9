/* The packets of host/worker_protocol.h on a socket. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "host/unix_socket.h"
#include "host/worker_protocol.h"

/* For packets: they may hold keys. */
static void packet_free(uint8_t **packet)
{
    if (*packet)
        memory_wipe(*packet, WORKER_PACKET_MAX);
    free(*packet);
}

static bool fd_fits(const struct worker_message_info *info, int fd)
{
    return info->has_fd == (fd >= 0) || (info->fd_is_optional && fd < 0);
}

int worker_message_send(int fd, const struct worker_message *message, int passed_fd, int timeout_ms,
                        struct error *err)
{
    CLEANUP(packet_free) uint8_t *packet = malloc(WORKER_PACKET_MAX);
    const struct worker_message_info *info = worker_message_info(message->type);
    size_t len;

    assert(info && fd_fits(info, passed_fd));
    if (!packet)
        return error_set(err, -ENOMEM, "out of memory");
    int r = worker_message_encode(message, packet, &len, err);
    if (r < 0)
        return r;
    r = unix_socket_send(fd, (struct bytes){ packet, len }, passed_fd, timeout_ms, err);
    return r < 0 ? error_prefix(err, r, "%s", info->name) : 0;
}

int worker_message_receive(int fd, enum worker_side sender, struct worker_message *ret, int *ret_fd,
                           int timeout_ms, struct error *err)
{
    CLEANUP(packet_free) uint8_t *packet = malloc(WORKER_PACKET_MAX);
    CLEANUP(close_fd) int passed_fd = -1;
    size_t len;

    memset(ret, 0, sizeof(*ret));
    if (!packet)
        return error_set(err, -ENOMEM, "out of memory");
    int r = unix_socket_receive(fd, packet, WORKER_PACKET_MAX, &len, &passed_fd, timeout_ms, err);
    if (r == 0)
        r = worker_message_decode((struct bytes){ packet, len }, sender, ret, err);
    if (r < 0)
        return r;
    const struct worker_message_info *info = worker_message_info(ret->type);
    if (!info || !fd_fits(info, passed_fd))
        return error_set(err, -EBADMSG, "a worker message came %s a descriptor",
                         passed_fd >= 0 ? "with" : "without");
    *ret_fd = passed_fd;
    passed_fd = -1;
    return 0;
}
