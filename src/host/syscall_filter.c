#include "host/syscall_filter.h"

#include <errno.h>
#include <linux/fuse.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

/* One name a line of thought; a name that this architecture does not have is passed over. */
static const char *const allowed[] = {
    /* memory */
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "mincore",
    "msync",
    "mlock",
    "mlock2",
    "munlock",
    /* threads and locks; new ones: see add_conditions() */
    "futex",
    "futex_waitv",
    "set_robust_list",
    "get_robust_list",
    "rseq",
    "set_tid_address",
    "gettid",
    "getpid",
    "getppid",
    "sched_yield",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "membarrier",
    "exit",
    "exit_group",
    /* signals */
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sigaltstack",
    "signalfd4",
    "restart_syscall",
    /* clocks */
    "clock_gettime",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    /* open descriptors */
    "read",
    "readv",
    "pread64",
    "preadv",
    "preadv2",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "lseek",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "fstat",
    "fstatfs",
    "ftruncate",
    "fallocate",
    "fadvise64",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "syncfs",
    "flock",
    "fchmod",
    "getdents64",
    "copy_file_range",
    "pipe2",
    "memfd_create",
    /* paths; Landlock says which */
    "open",
    "openat",
    "openat2",
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "statfs",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "truncate",
    "getcwd",
    "umask",
    /* waiting */
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "eventfd2",
    "timerfd_create",
    "timerfd_settime",
    /* the socket to cofferd, which is open already */
    "accept",
    "accept4",
    "recvmsg",
    "sendmsg",
    "recvfrom",
    "sendto",
    "shutdown",
    "getsockopt",
    /* asking about oneself and the host */
    "getrandom",
    "uname",
    "sysinfo",
    "getrusage",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getrlimit",
    "getcpu",
};

/* To resolve a name and to connect to it. No listening. */
static const char *const allowed_with_network[] = {
    "socket",   "socketpair", "connect",     "bind",       "getsockname",
    "sendmmsg", "recvmmsg",   "getpeername", "setsockopt",
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static int allow_names(scmp_filter_ctx filter, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int number = seccomp_syscall_resolve_name(names[i]);
        if (number == __NR_SCMP_ERROR)
            continue;
        int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
        if (r < 0 && r != -EDOM)
            return r;
    }
    return 0;
}

static int allow_if(scmp_filter_ctx filter, int number, struct scmp_arg_cmp condition)
{
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &condition);
}

static int allow_conditions(scmp_filter_ctx filter)
{
    static const unsigned options[] = { PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE, PR_SET_VMA };
    int r = 0;

    /* Threads, but no processes. The flags of clone3 cannot be seen, so the C library is told
     * that there is none, and takes clone. */
    r = allow_if(filter, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    /* Signals to oneself only: abort(), pthread_cancel(). */
    if (r == 0)
        r = allow_if(filter, SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    /* Limits can be read, not set. */
    if (r == 0)
        r = allow_if(filter, SCMP_SYS(prlimit64), SCMP_A2(SCMP_CMP_EQ, 0));
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]) && r == 0; i++)
        r = allow_if(filter, SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, options[i]));
    /* A further queue of the FUSE device; isatty() gets the answer no. */
    if (r == 0)
        r = allow_if(filter, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, FUSE_DEV_IOC_CLONE));
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_NE, FUSE_DEV_IOC_CLONE));
    return r;
}

int syscall_filter_enter(bool needs_network, struct error *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r = filter ? 0 : -ENOMEM;

    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (r == 0)
        (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* only makes it faster */
    if (r == 0)
        r = allow_names(filter, allowed, COUNT(allowed));
    if (r == 0 && needs_network)
        r = allow_names(filter, allowed_with_network, COUNT(allowed_with_network));
    if (r == 0)
        r = allow_conditions(filter);
    if (r == 0)
        r = seccomp_load(filter);
    if (filter)
        seccomp_release(filter);
    return r < 0 ? error_set(err, r, "cannot restrict the system calls: %s", strerrordesc_np(-r))
                 : 0;
}
