#include "control/mount_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/thread_group.h"
#include "host/unix_socket.h"
#include "net/json.h"

#define PACKET_MAX (16u * 1024u)
#define PEER_TIMEOUT_MS 10000
#define PEERS_MAX 64u
#define FUSE_DEVICE_MINOR 229u /* of the misc devices, major 10: Linux admin-guide/devices */

struct mount_socket {
    struct control *control;
    int listen_fd;
    int stop_fd;
    pthread_t thread;
    struct thread_group peers;
};

struct peer {
    struct mount_socket *socket;
    int fd;
};

static int check_peer(int fd, struct error *err)
{
    struct unix_peer peer;
    int r = unix_socket_peer(fd, &peer, err);

    if (r == 0 && peer.uid != 0 && peer.uid != geteuid())
        r = error_set(err, -EACCES, "only root and the user that runs cofferd may mount");
    return r;
}

static int check_device(int fd, struct error *err)
{
    struct stat st;

    if (fd < 0)
        return error_set(err, -EINVAL, "the request to mount brings no descriptor");
    if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || major(st.st_rdev) != 10 ||
        minor(st.st_rdev) != FUSE_DEVICE_MINOR)
        return error_set(err, -EINVAL, "the descriptor in the request to mount is not /dev/fuse");
    return 0;
}

static int serve_packet(struct control *control, struct bytes packet, int fuse_fd,
                        struct error *err)
{
    CLEANUP(json_freep) json_t *request = NULL;
    const char *fs_name = NULL;
    const char *mountpoint = NULL;
    const char *snapshot = NULL;
    int r = check_device(fuse_fd, err);

    if (r == 0)
        r = json_parse_object(packet, &request, err);
    if (r == 0)
        r = json_get_text(request, "filesystem", JSON_REQUIRED, &fs_name, err);
    if (r == 0)
        r = json_get_text(request, "mountpoint", JSON_REQUIRED, &mountpoint, err);
    if (r == 0)
        r = json_get_text(request, "snapshot", JSON_OPTIONAL, &snapshot, err);
    if (r < 0)
        return r;
    return snapshot ? control_snapshot_mount(control, fs_name, snapshot, mountpoint, fuse_fd, err)
                    : control_mount(control, fs_name, mountpoint, fuse_fd, err);
}

static int receive_and_serve(struct control *control, int fd, struct error *err)
{
    CLEANUP(free_ptr) uint8_t *packet = malloc(PACKET_MAX);
    CLEANUP(close_fd) int fuse_fd = -1;
    size_t len = 0;

    if (!packet)
        return error_set(err, -ENOMEM, "out of memory");
    int r = check_peer(fd, err);
    if (r == 0)
        r = unix_socket_receive(fd, packet, PACKET_MAX, &len, &fuse_fd, PEER_TIMEOUT_MS, err);
    return r < 0
               ? r
               : serve_packet(control, (struct bytes){ .data = packet, .len = len }, fuse_fd, err);
}

static void answer(int fd, const char *text)
{
    CLEANUP(json_freep) json_t *body = json_pack("{s:s}", "error", text);
    CLEANUP(buf_release) struct buf packet = BUF_INIT;
    struct error err = { .code = 0 };

    if (!body || json_write(body, &packet) < 0)
        return;
    if (unix_socket_send(fd, buf_bytes(&packet), -1, PEER_TIMEOUT_MS, &err) < 0)
        log_warning("who asked to mount did not wait for the answer: %s", err.text);
}

static void serve_peer(void *arg)
{
    struct peer *peer = arg;
    struct mount_socket *socket = peer->socket;
    struct error err = { .code = 0 };
    int r = receive_and_serve(socket->control, peer->fd, &err);

    answer(peer->fd, r < 0 ? err.text : "");
    (void)close(peer->fd);
    free(peer);
}

/* A thread for the peer; it is turned away if there are too many. */
static void take_peer(struct mount_socket *socket, int fd)
{
    struct peer *peer = malloc(sizeof(*peer));

    if (peer) {
        *peer = (struct peer){ .socket = socket, .fd = fd };
        if (thread_group_start(&socket->peers, PEERS_MAX, serve_peer, peer) == 0)
            return;
    }
    free(peer);
    answer(fd, "cofferd is busy; try again");
    (void)close(fd);
}

static void *listen_main(void *arg)
{
    struct mount_socket *socket = arg;
    struct pollfd fds[] = { { .fd = socket->listen_fd, .events = POLLIN },
                            { .fd = socket->stop_fd, .events = POLLIN } };

    for (;;) {
        struct error err = { .code = 0 };
        int fd = -1;
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            break;
        if (!(fds[0].revents & POLLIN))
            continue;
        if (unix_socket_accept(socket->listen_fd, 0, &fd, &err) == 0)
            take_peer(socket, fd);
    }
    return NULL;
}

static void socket_free(struct mount_socket *socket)
{
    close_fd(&socket->listen_fd);
    close_fd(&socket->stop_fd);
    thread_group_destroy(&socket->peers);
    free(socket);
}

int mount_socket_open(struct control *control, int listen_fd, struct mount_socket **ret,
                      struct error *err)
{
    struct mount_socket *socket = calloc(1, sizeof(*socket));

    if (!socket) {
        (void)close(listen_fd);
        return error_set(err, -ENOMEM, "out of memory");
    }
    socket->control = control;
    socket->listen_fd = listen_fd;
    thread_group_init(&socket->peers);
    socket->stop_fd = eventfd(0, EFD_CLOEXEC);
    int r =
        socket->stop_fd < 0 ? -errno : -pthread_create(&socket->thread, NULL, listen_main, socket);
    if (r < 0) {
        socket_free(socket);
        return error_set(err, r, "cannot serve the mount socket: %s", strerrordesc_np(-r));
    }
    *ret = socket;
    return 0;
}

void mount_socket_close(struct mount_socket *socket)
{
    uint64_t one = 1;

    if (!socket)
        return;
    (void)!write(socket->stop_fd, &one, sizeof(one)); /* an eventfd at 0 takes it */
    (void)pthread_join(socket->thread, NULL);
    thread_group_wait(&socket->peers);
    socket_free(socket);
}
