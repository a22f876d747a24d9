/* device.c - what passes between the kernel and libfuse. libfuse 3.14 lets a program read and
 * write the device itself, and three things need that:
 *
 * - Each thread has its own copy of the device (FUSE_DEV_IOC_CLONE), opened before the process
 *   gave up its rights, which libfuse could not do any more.
 * - A session of one snapshot has that one's root: the kernel calls every root FUSE_ROOT_ID, which
 *   is the volume's.
 * - FUSE_HANDLE_KILLPRIV_V2, which libfuse 3.14 does not know. Without it the kernel asks for the
 *   xattr security.capability before every single write. With it the kernel remembers the
 *   answer, and says in the request when the set-user-id and set-group-id bits must go. */
#include "mount/session_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"

void mount_open_spares(int ret_fds[static MOUNT_THREADS])
{
    for (unsigned i = 0; i < MOUNT_THREADS; i++)
        ret_fds[i] = open("/dev/fuse", O_RDWR | O_CLOEXEC);
}

/* A copy of the device for the calling thread, or the device if there is none. The session closes
 * it: what a thread has read may be answered when that thread is gone. */
static int take_spare(struct mount_session *session)
{
    int device_fd = fuse_session_fd(session->fuse);
    uint32_t origin = (uint32_t)device_fd;
    int fd = -1;

    mutex_lock(&session->spares_lock);
    if (session->spares_taken < MOUNT_THREADS)
        fd = session->spares[session->spares_taken++];
    mutex_unlock(&session->spares_lock);
    return fd >= 0 && ioctl(fd, FUSE_DEV_IOC_CLONE, &origin) == 0 ? fd : device_fd;
}

struct mount_thread *mount_thread(struct mount_session *session)
{
    struct mount_thread *thread = pthread_getspecific(session->thread_key);

    if (thread)
        return thread;
    thread = calloc(1, sizeof(*thread));
    if (!thread)
        return NULL;
    if (pthread_setspecific(session->thread_key, thread) != 0) {
        free(thread);
        return NULL;
    }
    thread->fd = take_spare(session);
    return thread;
}

void mount_thread_free(void *arg)
{
    struct mount_thread *thread = arg;

    if (thread->buffer)
        memory_wipe(thread->buffer, MOUNT_REQUEST_MAX); /* it holds file content */
    free(thread->buffer);
    free(thread);
}

void reply_when_durable(fuse_req_t req)
{
    struct mount_session *session = session_of(req);
    const struct mount_thread *thread = mount_thread(session);

    sync_replies_add(session->syncs, req, thread ? thread->fd : fuse_session_fd(session->fuse));
}

uint8_t *mount_thread_buffer(struct mount_session *session)
{
    struct mount_thread *thread = mount_thread(session);

    if (thread && !thread->buffer)
        thread->buffer = aligned_alloc(4096, MOUNT_REQUEST_MAX);
    return thread ? thread->buffer : NULL;
}

bool request_kills_suid(fuse_req_t req)
{
    const struct mount_thread *thread = mount_thread(session_of(req));

    return thread && thread->kills_suid;
}

#define BODY(type, packet)                                                                         \
    ((const type *)((const uint8_t *)(packet) + sizeof(struct fuse_in_header)))

/* Reads out of a request what libfuse does not hand on. The kernel made it: it is whole. */
static void note_request(struct mount_thread *thread, const void *packet, size_t len)
{
    const struct fuse_in_header *header = packet;

    thread->kills_suid = false;
    if (len < sizeof(*header))
        return;
    thread->opcode = header->opcode;
    size_t body_len = len - sizeof(*header);
    if (header->opcode == FUSE_WRITE && body_len >= sizeof(struct fuse_write_in))
        thread->kills_suid =
            BODY(struct fuse_write_in, packet)->write_flags & FUSE_WRITE_KILL_SUIDGID;
    else if (header->opcode == FUSE_SETATTR && body_len >= sizeof(struct fuse_setattr_in))
        thread->kills_suid = BODY(struct fuse_setattr_in, packet)->valid & FATTR_KILL_SUIDGID;
    else if (header->opcode == FUSE_OPEN && body_len >= sizeof(struct fuse_open_in))
        thread->kills_suid = BODY(struct fuse_open_in, packet)->open_flags & FUSE_OPEN_KILL_SUIDGID;
    else if (header->opcode == FUSE_CREATE && body_len >= sizeof(struct fuse_create_in))
        thread->kills_suid =
            BODY(struct fuse_create_in, packet)->open_flags & FUSE_OPEN_KILL_SUIDGID;
    else if (header->opcode == FUSE_INIT && body_len >= 16)
        thread->init_can = BODY(struct fuse_init_in, packet)->flags;
}

/* In the body of a request there are inodes only where something is changed, or forgotten. */
static void name_root(const struct mount_session *session, void *packet, size_t len)
{
    struct fuse_in_header *header = packet;

    if (len >= sizeof(*header) && header->nodeid == FUSE_ROOT_ID)
        header->nodeid = session->root;
}

ssize_t mount_device_read(int fd, void *to, size_t size, void *arg)
{
    const struct mount_session *session = arg;
    struct mount_thread *thread = mount_thread(arg);

    if (!thread) {
        errno = ENOMEM;
        return -1;
    }
    (void)fd;
    ssize_t n = read(thread->fd, to, size);
    if (n > 0) {
        name_root(session, to, (size_t)n);
        note_request(thread, to, (size_t)n);
    }
    return n;
}

static ssize_t answer_init(int fd, const struct iovec *iov, uint32_t kernel_can)
{
    struct fuse_init_out init;
    struct iovec changed[2] = { iov[0], { .iov_base = &init, .iov_len = iov[1].iov_len } };

    memcpy(&init, iov[1].iov_base, iov[1].iov_len);
    init.flags |= kernel_can & FUSE_HANDLE_KILLPRIV_V2;
    /* libfuse lowers it to what the kernel started from. The kernel itself takes the smaller one
     * of this and what root set for the mount (host/fuse_device.c). */
    init.max_readahead = MOUNT_REQUEST_MAX;
    return writev(fd, changed, 2);
}

ssize_t mount_device_writev(int fd, struct iovec *iov, int count, void *arg)
{
    const struct mount_session *session = arg;
    int sync_fd = sync_replies_fd(session->syncs);

    if (sync_fd >= 0)
        return writev(sync_fd, iov, count);
    const struct mount_thread *thread = mount_thread(arg);
    if (thread)
        fd = thread->fd;
    if (thread && thread->opcode == FUSE_INIT && count == 2 &&
        iov[1].iov_len <= sizeof(struct fuse_init_out) && iov[1].iov_len >= 24)
        return answer_init(fd, iov, thread->init_can);
    return writev(fd, iov, count);
}
