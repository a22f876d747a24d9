#include "host/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define BACKLOG 16
#define FDS_MAX 8u /* of one packet; more are cut off by the kernel and refused by us */
#define FD_NUMBER_MAX 65535u

/* sun_path is short. A longer path goes through its folder, opened: *ret_folder_fd stays open as
 * long as the address is used. */
static int make_address(const char *path, struct sockaddr_un *ret, int *ret_folder_fd)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n;

    *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) < sizeof(ret->sun_path)) {
        memcpy(ret->sun_path, path, strlen(path) + 1);
        return 0;
    }
    if (!slash || (size_t)(slash - path) >= sizeof(folder))
        return -ENAMETOOLONG;
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    *ret_folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*ret_folder_fd < 0)
        return -errno;
    n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d%s", *ret_folder_fd, slash);
    return n < (int)sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

static int connect_path(const char *path, int type, int *ret_fd)
{
    CLEANUP(close_fd) int folder_fd = -1;
    CLEANUP(close_fd) int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;

    if (fd < 0)
        return -errno;
    int r = make_address(path, &address, &folder_fd);
    if (r < 0)
        return r;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int unix_socket_connect(const char *path, int type, int *ret_fd, struct error *err)
{
    int r = connect_path(path, type, ret_fd);

    return r < 0 ? error_set(err, r, "cannot connect to %s: %s", path, strerrordesc_np(-r)) : 0;
}

static int bind_path(const char *path, int type, mode_t mode, int *ret_fd)
{
    CLEANUP(close_fd) int folder_fd = -1;
    CLEANUP(close_fd) int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;

    if (fd < 0)
        return -errno;
    int r = make_address(path, &address, &folder_fd);
    if (r < 0)
        return r;
    /* The file gets the socket's mode from the first moment, whatever the umask says. */
    if (fchmod(fd, mode & 0700) < 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(address.sun_path, mode) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* Removes a socket that nobody listens on. Another kind of file is left alone. */
static int remove_dead(const char *path, int type)
{
    CLEANUP(close_fd) int fd = -1;
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    int r = connect_path(path, type, &fd);
    if (r != -ECONNREFUSED)
        return r == 0 || r == -EPROTOTYPE ? -EADDRINUSE : r;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int unix_socket_listen(const char *path, int type, mode_t mode, int *ret_fd, struct error *err)
{
    int r = remove_dead(path, type);

    if (r == 0)
        r = bind_path(path, type, mode, ret_fd);
    return r < 0 ? error_set(err, r, "cannot listen on %s: %s", path, strerrordesc_np(-r)) : 0;
}

/* 0 when the descriptor is ready (or broken, which the next call will tell). */
static int wait_ready(int fd, short events, int timeout_ms)
{
    int64_t end = clock_monotonic_ms() + timeout_ms;
    struct pollfd poll_fd = { .fd = fd, .events = events };

    for (;;) {
        int n = poll(&poll_fd, 1, timeout_ms);
        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
        if (timeout_ms >= 0) {
            int64_t left = end - clock_monotonic_ms();
            timeout_ms = left > 0 ? (int)left : 0;
        }
    }
}

int unix_socket_accept(int listen_fd, int timeout_ms, int *ret_fd, struct error *err)
{
    int r = wait_ready(listen_fd, POLLIN, timeout_ms);

    if (r == 0) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            *ret_fd = fd;
            return 0;
        }
        r = -errno;
    }
    return error_set(err, r, "nobody connected: %s", strerrordesc_np(-r));
}

int unix_socket_inherited(const char *text, int type, bool is_listening)
{
    char *end = NULL;
    unsigned long fd = strtoul(text, &end, 10);
    int found_type = 0;
    int found_listening = 0;
    socklen_t len = sizeof(int);

    if (end == text || *end != '\0' || fd > FD_NUMBER_MAX ||
        getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &found_type, &len) < 0 ||
        getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &found_listening, &len) < 0)
        return -1;
    return found_type == type && (found_listening != 0) == is_listening ? (int)fd : -1;
}

int unix_socket_peer(int fd, struct unix_peer *ret, struct error *err)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return error_set(err, -errno, "cannot tell who connected: %s", strerrordesc_np(errno));
    *ret = (struct unix_peer){ .pid = cred.pid, .uid = cred.uid, .gid = cred.gid };
    return 0;
}

union fd_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

static void attach_fd(struct msghdr *message, union fd_control *control, int fd)
{
    memset(control, 0, sizeof(*control));
    message->msg_control = control->bytes;
    message->msg_controllen = CMSG_SPACE(sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
}

static int send_once(int fd, const struct msghdr *message, size_t len)
{
    ssize_t n = sendmsg(fd, message, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}

int unix_socket_send(int fd, struct bytes packet, int passed_fd, int timeout_ms, struct error *err)
{
    union fd_control control;
    struct iovec iov = { .iov_len = packet.len };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
    int r;

    memcpy(&iov.iov_base, &packet.data, sizeof(packet.data)); /* sendmsg does not write to it */
    if (passed_fd >= 0)
        attach_fd(&message, &control, passed_fd);
    do {
        r = wait_ready(fd, POLLOUT, timeout_ms);
        if (r == 0)
            r = send_once(fd, &message, packet.len);
    } while (r == -EAGAIN || r == -EINTR);
    if (r == -ECONNRESET)
        r = -EPIPE;
    return r < 0 ? error_set(err, r, "cannot send: %s", strerrordesc_np(-r)) : 0;
}

static size_t take_fds(struct msghdr *message, int fds[static FDS_MAX])
{
    size_t count = 0;

    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h; h = CMSG_NXTHDR(message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (n > FDS_MAX - count)
            n = FDS_MAX - count;
        memcpy(fds + count, CMSG_DATA(h), n * sizeof(int));
        count += n;
    }
    return count;
}

/* ECONNRESET says that the other end closed without having read all that we sent; the kernel tells
 * so once, before it hands over what the other end had sent, its last words among it. */
static int receive_once(int fd, struct msghdr *message, size_t *ret_len)
{
    bool was_reset = false;
    ssize_t n;

    for (;;) {
        n = recvmsg(fd, message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n >= 0 || (errno != EINTR && (errno != ECONNRESET || was_reset)))
            break;
        was_reset = errno == ECONNRESET;
    }
    if (n < 0)
        return errno == ECONNRESET ? -EPIPE : -errno;
    *ret_len = (size_t)n;
    return 0;
}

static int judge(const struct msghdr *message, size_t len, size_t fd_count, bool wants_fd)
{
    if (message->msg_flags & MSG_TRUNC)
        return -EMSGSIZE;
    if (message->msg_flags & MSG_CTRUNC || fd_count > (wants_fd ? 1u : 0u))
        return -EBADMSG;
    return len == 0 ? -EPIPE : 0; /* nobody sends empty packets */
}

int unix_socket_receive(int fd, uint8_t *to, size_t size, size_t *ret_len, int *ret_fd,
                        int timeout_ms, struct error *err)
{
    union fd_control control;
    struct iovec iov = { .iov_base = to, .iov_len = size };
    struct msghdr message;
    int fds[FDS_MAX];
    size_t len = 0;
    size_t fd_count = 0;
    int r;

    do {
        message = (struct msghdr){ .msg_iov = &iov,
                                   .msg_iovlen = 1,
                                   .msg_control = control.bytes,
                                   .msg_controllen = sizeof(control.bytes) };
        r = wait_ready(fd, POLLIN, timeout_ms);
        if (r == 0)
            r = receive_once(fd, &message, &len);
    } while (r == -EAGAIN);
    if (r == 0) {
        fd_count = take_fds(&message, fds);
        r = judge(&message, len, fd_count, ret_fd != NULL);
    }
    if (r < 0) {
        for (size_t i = 0; i < fd_count; i++)
            (void)close(fds[i]);
        return error_set(err, r, "cannot receive: %s", strerrordesc_np(-r));
    }
    *ret_len = len;
    if (ret_fd)
        *ret_fd = fd_count ? fds[0] : -1;
    return 0;
}
