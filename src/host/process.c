#include "host/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

static int set_actions(posix_spawn_file_actions_t *actions, const struct process_spec *spec)
{
    int r = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);

    if (r == 0 && spec->as_fd >= 0)
        r = posix_spawn_file_actions_adddup2(actions, spec->pass_fd, spec->as_fd);
    for (int fd = 3; r == 0 && fd < spec->as_fd; fd++)
        r = posix_spawn_file_actions_addclose(actions, fd);
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(actions,
                                                     spec->as_fd < 3 ? 3 : spec->as_fd + 1);
    return -r;
}

static int set_attributes(posix_spawnattr_t *attr, const struct process_spec *spec)
{
    sigset_t none, all;
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;

    sigemptyset(&none);
    sigfillset(&all);
    int r = posix_spawnattr_setsigmask(attr, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(attr, &all);
    if (spec->is_own_session)
        flags |= POSIX_SPAWN_SETSID;
    if (r == 0)
        r = posix_spawnattr_setflags(attr, flags);
    return -r;
}

/* posix_spawn never changes what argv and envp point at; its type is older than const. */
static char *const *unconst(const char *const *strings)
{
    char *const *same;

    memcpy(&same, &strings, sizeof(same));
    return same;
}

int process_start(const struct process_spec *spec, pid_t *ret_pid, struct error *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    pid_t pid = 0;

    int r = -posix_spawn_file_actions_init(&actions);
    if (r < 0)
        return error_set(err, r, "cannot start %s: %s", spec->path, strerrordesc_np(-r));
    r = -posix_spawnattr_init(&attr);
    if (r == 0) {
        r = set_actions(&actions, spec);
        if (r == 0)
            r = set_attributes(&attr, spec);
        if (r == 0)
            r = -posix_spawnp(&pid, spec->path, &actions, &attr, unconst(spec->argv),
                              spec->envp ? unconst(spec->envp) : environ);
        (void)posix_spawnattr_destroy(&attr);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    if (r < 0)
        return error_set(err, r, "cannot start %s: %s", spec->path, strerrordesc_np(-r));
    *ret_pid = pid;
    return 0;
}

/* A pidfd becomes readable when its process ends. */
static int wait_end(pid_t pid, int timeout_ms)
{
    CLEANUP(close_fd) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    int64_t end = clock_monotonic_ms() + timeout_ms;

    if (fd < 0)
        return -errno;
    for (;;) {
        int64_t left = timeout_ms < 0 ? -1 : end - clock_monotonic_ms();
        int n = poll(&poll_fd, 1, left < 0 && timeout_ms >= 0 ? 0 : (int)left);
        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

int process_wait(pid_t pid, int timeout_ms, int *ret_status, struct error *err)
{
    int r = timeout_ms < 0 ? 0 : wait_end(pid, timeout_ms);
    int status = 0;

    while (r == 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            r = -errno;
    if (r < 0)
        return error_set(err, r, "waiting for process %d: %s", (int)pid, strerrordesc_np(-r));
    *ret_status = status;
    return 0;
}

int process_own_folder(char ret[static PATH_MAX], struct error *err)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path));

    if (n < 0 || (size_t)n >= sizeof(path))
        return error_set(err, n < 0 ? -errno : -ENAMETOOLONG,
                         "cannot find the program's own folder; is /proc mounted?");
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash)
        return error_set(err, -ENOENT, "the program has no folder");
    *(slash == path ? slash + 1 : slash) = '\0';
    memcpy(ret, path, strlen(path) + 1);
    return 0;
}
