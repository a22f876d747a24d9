#include "mount/session_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define BACKGROUND_MAX 64 /* read-ahead and write-back requests at a time */
#define CONGESTED_AT 48
#define STOP_POLL_MS 10

static void op_init(void *arg, struct fuse_conn_info *conn)
{
    const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_ATOMIC_O_TRUNC |
                            FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                            FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_WRITEBACK_CACHE |
                            FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPENDIR_SUPPORT;
    /* Splicing moves pages through a pipe, but all data is sealed or opened on its way, so that it
     * is only a detour. What the kernel cached is right, whatever the times say. */
    const unsigned unwanted = FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                              FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_HANDLE_KILLPRIV |
                              FUSE_CAP_POSIX_ACL | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_IOCTL_DIR;

    struct mount_session *session = arg;

    conn->want = (conn->want & ~unwanted) | (conn->capable & wanted);
    if (session->root != VOLUME_ROOT)
        conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE; /* nothing is written */
    conn->max_write = MOUNT_REQUEST_MAX;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = CONGESTED_AT;
    conn->time_gran = 1;
    if (conn->want & FUSE_CAP_WRITEBACK_CACHE)
        volume_leave_times(session->volume);
}

static const struct fuse_lowlevel_ops operations = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .statfs = op_statfs,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .symlink = op_symlink,
    .link = op_link,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .fsyncdir = op_fsyncdir,
    .create = op_create,
#ifdef HAVE_FUSE_TMPFILE
    .tmpfile = op_tmpfile,
#endif
    .open = op_open,
    .release = op_release,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .fsync = op_fsync,
    .fallocate = op_fallocate,
    .lseek = op_lseek,
    .setxattr = op_setxattr,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
};

static void *run_loop(void *arg)
{
    struct mount_session *session = arg;
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    const uint64_t one = 1;

    if (config) {
        fuse_loop_cfg_set_max_threads(config, MOUNT_THREADS);
        fuse_loop_cfg_set_idle_threads(config, MOUNT_THREADS);
        fuse_loop_cfg_set_clone_fd(config, 0);             /* device.c does it */
        (void)fuse_session_loop_mt(session->fuse, config); /* whatever ended it, it has ended */
        fuse_loop_cfg_destroy(config);
    }
    (void)!write(session->end_fd, &one, sizeof(one)); /* cannot fail: the counter was 0 */
    return NULL;
}

static void session_free(struct mount_session *session)
{
    sync_replies_free(session->syncs); /* answers what is left */
    if (session->fuse)
        fuse_session_destroy(session->fuse); /* closes the device */
    for (unsigned i = 0; i < MOUNT_THREADS; i++)
        if (session->spares[i] >= 0)
            (void)close(session->spares[i]);
    if (session->has_thread_key) {
        /* The caller's thread may have sent notifications. */
        struct mount_thread *own = pthread_getspecific(session->thread_key);
        if (own)
            mount_thread_free(own);
        (void)pthread_key_delete(session->thread_key);
    }
    if (session->end_fd >= 0)
        (void)close(session->end_fd);
    open_files_free(session->writers);
    free(session);
}

static struct mount_session *session_new(struct volume *volume, uint64_t root,
                                         int spare_fds[static MOUNT_THREADS])
{
    struct mount_session *session = calloc(1, sizeof(*session));

    if (!session)
        return NULL;
    session->volume = volume;
    session->root = root;
    session->spares_lock = MUTEX_INIT;
    atomic_flag_clear(&session->is_dropping_pages);
    for (unsigned i = 0; i < MOUNT_THREADS; i++) {
        session->spares[i] = spare_fds[i];
        spare_fds[i] = -1;
    }
    session->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    session->has_thread_key = pthread_key_create(&session->thread_key, mount_thread_free) == 0;
    if (session->end_fd < 0 || !session->has_thread_key || open_files_new(&session->writers) < 0 ||
        sync_replies_new(volume, &session->syncs) < 0) {
        session_free(session);
        return NULL;
    }
    return session;
}

static int attach_device(struct mount_session *session, int device_fd)
{
    static const struct fuse_custom_io io = { .read = mount_device_read,
                                              .writev = mount_device_writev };
    char name[] = "coffer";
    char *argv[] = { name, NULL };
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);

    session->fuse = fuse_session_new(&args, &operations, sizeof(operations), session);
    fuse_opt_free_args(&args);
    if (!session->fuse)
        return -ENOMEM;
    return fuse_session_custom_io(session->fuse, &io, device_fd);
}

static void ignore_signal(int number)
{
    (void)number;
}

/* Without SA_RESTART: it ends the waiting of a thread in libfuse. */
static void catch_wake_up(void)
{
    struct sigaction action = { .sa_handler = ignore_signal };

    (void)sigaction(SIGUSR1, &action, NULL);
}

int mount_session_start(struct volume *volume, uint64_t root, int device_fd,
                        int spare_fds[static MOUNT_THREADS], struct mount_session **ret,
                        struct error *err)
{
    struct mount_session *session = session_new(volume, root, spare_fds);

    if (!session) {
        (void)close(device_fd);
        return error_set(err, -ENOMEM,
                         "cannot serve the mount: out of memory, descriptors or threads");
    }
    catch_wake_up();
    int r = attach_device(session, device_fd);
    if (r < 0) {
        (void)close(device_fd);
        session_free(session);
        return error_set(err, r, "cannot serve the mount: %s", strerrordesc_np(-r));
    }
    r = -pthread_create(&session->loop_thread, NULL, run_loop, session);
    if (r < 0) {
        session_free(session);
        return error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r));
    }
    *ret = session;
    return 0;
}

int mount_session_end_fd(const struct mount_session *session)
{
    return session->end_fd;
}

void mount_session_write_back(struct mount_session *session)
{
    CLEANUP(free_ptr) uint64_t *inodes = NULL;
    size_t count = 0;

    if (open_files_list(session->writers, &inodes, &count) < 0)
        return;
    /* An inode that is gone meanwhile has nothing to write back. */
    for (size_t i = 0; i < count; i++)
        (void)fuse_lowlevel_notify_inval_inode(session->fuse, inodes[i], 0, 0);
}

/* Errors say only that the kernel keeps nothing of them, or that the mount is gone. */
void mount_session_snapshots_changed(struct mount_session *session, const char *access_point)
{
    if (access_point)
        (void)fuse_lowlevel_notify_inval_entry(session->fuse, VOLUME_SNAPSHOTS, access_point,
                                               strlen(access_point));
    (void)fuse_lowlevel_notify_inval_inode(session->fuse, VOLUME_SNAPSHOTS, 0, 0);
}

void mount_session_stop(struct mount_session *session)
{
    struct timespec until;

    if (!session)
        return;
    fuse_session_exit(session->fuse);
    /* The loop's thread may be just about to wait: it is woken until it is gone. */
    do {
        (void)pthread_kill(session->loop_thread, SIGUSR1);
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += STOP_POLL_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
    } while (pthread_timedjoin_np(session->loop_thread, NULL, &until) == ETIMEDOUT);
    session_free(session);
}
