/* unix_socket.h - Unix sockets by path: who is on the other side, and single packets that may
 * carry one file descriptor.
 *
 * Units      timeouts: milliseconds; negative: for ever.
 * Errors     negative errno and a sentence. -ETIMEDOUT; -EPIPE: the other side closed;
 *            -EMSGSIZE: a packet longer than the room for it; -EADDRINUSE: somebody listens there.
 * Ownership  a descriptor that is returned is the caller's to close, and close-on-exec.
 * Threads    any; a socket is read by one thread at a time and written by one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/* type: SOCK_STREAM or SOCK_SEQPACKET. Takes the place of a socket on which nobody listens any
 * more. A path of any length will do, if its folder is there. */
int unix_socket_listen(const char *path, int type, mode_t mode, int *ret_fd, struct error *err);
int unix_socket_accept(int listen_fd, int timeout_ms, int *ret_fd, struct error *err);
int unix_socket_connect(const char *path, int type, int *ret_fd, struct error *err);

/* The socket that a program was started with, as its argument spells it; -1: text is no number, or
 * that is none of this type, or listens though it should not, or the other way round. */
int unix_socket_inherited(const char *text, int type, bool is_listening);

struct unix_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

/* As the kernel recorded them when the other side connected or listened. */
int unix_socket_peer(int fd, struct unix_peer *ret, struct error *err);

/* One packet, whole. passed_fd (-1: none) stays the caller's; the other side gets a copy. */
int unix_socket_send(int fd, struct bytes packet, int passed_fd, int timeout_ms, struct error *err);

/* *ret_fd is -1 if no descriptor came. With ret_fd NULL, one that comes is an error (-EBADMSG),
 * as more than one always is. Descriptors of a refused packet are closed. */
int unix_socket_receive(int fd, uint8_t *to, size_t size, size_t *ret_len, int *ret_fd,
                        int timeout_ms, struct error *err);
