#include "host/fuse_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/process.h"
#include "host/unix_socket.h"

#define FUSE_TYPE "fuse.coffer"
#define FUSERMOUNT "fusermount3"
#define FUSERMOUNT_TIMEOUT_MS 30000
#define COMM_FD 3
#define FUSE_MAJOR 10
#define FUSE_MINOR 229
#define STACKED_MAX 64 /* mounts on one mount point that we take away at most */

bool fuse_device_is(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
           st.st_rdev == makedev(FUSE_MAJOR, FUSE_MINOR);
}

int fuse_device_resolve(const char *path, char ret[static PATH_MAX], struct error *err)
{
    char folder[PATH_MAX];
    char real[PATH_MAX];

    if (realpath(path, real)) {
        memcpy(ret, real, sizeof(real));
        return 0;
    }
    if (errno != ENOTCONN && errno != ECONNABORTED && errno != EIO)
        return error_set(err, -errno, "cannot use %s as a mount point: %s", path,
                         strerrordesc_np(errno));
    /* A dead mount does not even answer lstat: resolve its parent. */
    if (snprintf(folder, sizeof(folder), "%s", path) >= (int)sizeof(folder))
        return error_set(err, -ENAMETOOLONG, "path too long: %s", path);
    size_t len = strlen(folder);
    while (len > 1 && folder[len - 1] == '/')
        folder[--len] = '\0';
    char *slash = strrchr(folder, '/');
    const char *last = slash ? slash + 1 : folder;
    char parent[PATH_MAX] = ".";
    if (slash)
        (void)snprintf(parent, sizeof(parent), "%.*s", slash == folder ? 1 : (int)(slash - folder),
                       folder);
    if (!realpath(parent, real))
        return error_set(err, -errno, "cannot use %s as a mount point: %s", path,
                         strerrordesc_np(errno));
    if (snprintf(ret, PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real, last) >= PATH_MAX)
        return error_set(err, -ENAMETOOLONG, "path too long: %s", path);
    return 0;
}

/* In place: \ooo becomes the byte that it names. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

struct mount_line {
    char *device; /* major:minor */
    char *mountpoint;
    char *type;
    char *source;
};

/* proc(5): id parent major:minor root MOUNTPOINT options [optional...] - TYPE SOURCE options */
static bool parse_line(char *line, struct mount_line *ret)
{
    char *rest = line;
    char *field = NULL;

    *ret = (struct mount_line){ .mountpoint = NULL };
    for (int i = 0; i < 3; i++)
        field = strsep(&rest, " \n");
    ret->device = field;
    (void)strsep(&rest, " \n");
    field = strsep(&rest, " \n");
    ret->mountpoint = field;
    while (field && strcmp(field, "-") != 0)
        field = strsep(&rest, " \n");
    ret->type = strsep(&rest, " \n");
    ret->source = strsep(&rest, " \n");
    if (!ret->device || !ret->mountpoint || !ret->source)
        return false;
    unescape(ret->mountpoint);
    unescape(ret->source);
    return true;
}

/* The topmost mount at a real path. */
struct mount_found {
    bool is_mounted; /* and a coffer filesystem */
    char device[32];
    char name[FUSE_DEVICE_NAME_SIZE];
};

static int find_mount(const char *mountpoint, struct mount_found *ret, struct error *err)
{
    CLEANUP(free_ptr) char *line = NULL;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    struct mount_found found = { .is_mounted = false };
    size_t size = 0;

    if (!file)
        return error_set(err, -errno, "cannot read /proc/self/mountinfo: %s",
                         strerrordesc_np(errno));
    while (getline(&line, &size, file) > 0) {
        struct mount_line fields;
        if (!parse_line(line, &fields) || strcmp(fields.mountpoint, mountpoint) != 0)
            continue;
        /* A later line lies on top of an earlier one. */
        found.is_mounted = strcmp(fields.type, FUSE_TYPE) == 0;
        (void)snprintf(found.device, sizeof(found.device), "%s", fields.device);
        (void)snprintf(found.name, sizeof(found.name), "%s", fields.source);
    }
    (void)fclose(file); /* it was only read */
    *ret = found;
    return 0;
}

int fuse_device_is_mounted(const char *mountpoint, bool *ret_is_mounted, char *ret_name,
                           struct error *err)
{
    struct mount_found found = { .is_mounted = false };
    int r = find_mount(mountpoint, &found, err);

    if (r < 0)
        return r;
    *ret_is_mounted = found.is_mounted;
    if (found.is_mounted && ret_name)
        memcpy(ret_name, found.name, sizeof(found.name));
    return 0;
}

/* The kernel reads 128 KiB ahead unless root says otherwise; a worker opens 1 MiB in little more
 * time. It must be said before the worker answers the kernel's first request. Where /sys does not
 * allow it reading is slower, and that is all. */
static void set_read_ahead(const char *mountpoint)
{
    struct mount_found found = { .is_mounted = false };
    char path[96];
    char text[16];

    if (find_mount(mountpoint, &found, NULL) < 0 || !found.is_mounted)
        return;
    (void)snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb", found.device);
    int len = snprintf(text, sizeof(text), "%u", FUSE_DEVICE_MAX_READ / 1024);
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)!write(fd, text, (size_t)len);
}

static int mount_as_root(const struct fuse_device_mount *mount_spec, int *ret_fd, struct error *err)
{
    CLEANUP(close_fd) int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    char options[256];

    if (fd < 0)
        return error_set(err, -errno, "cannot open /dev/fuse: %s; load the module (modprobe fuse)",
                         strerrordesc_np(errno));
    (void)snprintf(options, sizeof(options),
                   "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions%s,max_read=%u",
                   fd, getuid(), getgid(), mount_spec->is_private ? "" : ",allow_other",
                   FUSE_DEVICE_MAX_READ);
    if (mount(mount_spec->name, mount_spec->mountpoint, FUSE_TYPE, mount_spec->flags, options) < 0)
        return error_set(err, -errno, "cannot mount on %s: %s", mount_spec->mountpoint,
                         strerrordesc_np(errno));
    set_read_ahead(mount_spec->mountpoint);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* fusermount3 separates options by commas. */
static void escape_name(const char *name, char *ret, size_t size)
{
    size_t len = 0;

    for (; *name != '\0' && len + 3 < size; name++) {
        if (*name == ',' || *name == '\\')
            ret[len++] = '\\';
        ret[len++] = *name;
    }
    ret[len] = '\0';
}

static int run_fusermount(const char *const *argv, int comm_fd, const char *mountpoint,
                          struct error *err)
{
    static const char *const environment[] = { "_FUSE_COMMFD=3",
                                               "PATH=/usr/bin:/bin:/usr/local/bin", "LC_ALL=C",
                                               NULL };
    const struct process_spec spec = { .path = FUSERMOUNT,
                                       .argv = argv,
                                       .envp = environment,
                                       .pass_fd = comm_fd,
                                       .as_fd = comm_fd >= 0 ? COMM_FD : -1 };
    pid_t pid;
    int status;

    int r = process_start(&spec, &pid, err);
    if (r < 0)
        return error_prefix(err, r,
                            "an ordinary user's mounts need " FUSERMOUNT " (package fuse3)");
    r = process_wait(pid, FUSERMOUNT_TIMEOUT_MS, &status, err);
    if (r < 0)
        return r;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(err, -EPERM, FUSERMOUNT " refused %s; its own message says why",
                         mountpoint);
    return 0;
}

static int receive_device(int socket_fd, int *ret_fd, struct error *err)
{
    uint8_t byte;
    size_t len;
    int fd = -1;

    int r =
        unix_socket_receive(socket_fd, &byte, sizeof(byte), &len, &fd, FUSERMOUNT_TIMEOUT_MS, err);
    if (r == 0 && fd < 0)
        r = error_set(err, -EBADMSG, "no descriptor came");
    if (r < 0)
        return error_prefix(err, r, FUSERMOUNT);
    *ret_fd = fd;
    return 0;
}

static int mount_as_user(const struct fuse_device_mount *mount_spec, int *ret_fd, struct error *err)
{
    char name[2 * FUSE_DEVICE_NAME_SIZE];
    char options[sizeof(name) + 256];
    const char *const argv[] = { FUSERMOUNT, "-o", options, "--", mount_spec->mountpoint, NULL };
    int pair[2];

    if (access("/dev/fuse", R_OK | W_OK) < 0)
        return error_set(err, -errno,
                         "cannot open /dev/fuse: %s; root must load the module (modprobe fuse) and "
                         "allow it to this user (chmod 666 /dev/fuse, as udev does)",
                         strerrordesc_np(errno));
    escape_name(mount_spec->name, name, sizeof(name));
    (void)snprintf(options, sizeof(options),
                   "fsname=%s,subtype=coffer,default_permissions,max_read=%u%s%s%s%s", name,
                   FUSE_DEVICE_MAX_READ, mount_spec->is_private ? "" : ",allow_other",
                   mount_spec->flags & MS_RDONLY ? ",ro" : "",
                   mount_spec->flags & MS_NOEXEC ? ",noexec" : "",
                   mount_spec->flags & MS_NOATIME ? ",noatime" : "");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(err, -errno, "cannot make a socket pair: %s", strerrordesc_np(errno));
    CLEANUP(close_fd) int ours = pair[0];
    CLEANUP(close_fd) int theirs = pair[1];
    int r = run_fusermount(argv, theirs, mount_spec->mountpoint, err);
    if (r < 0)
        return r;
    return receive_device(ours, ret_fd, err);
}

int fuse_device_mount(const struct fuse_device_mount *mount, int *ret_fd, struct error *err)
{
    return geteuid() == 0 ? mount_as_root(mount, ret_fd, err) : mount_as_user(mount, ret_fd, err);
}

static int unmount_as_root(const char *mountpoint, bool lazy, struct error *err)
{
    if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
        return 0;
    if (errno == EBUSY)
        return error_set(err, -EBUSY,
                         "%s is in use: a program has a file open there or its "
                         "current folder in it",
                         mountpoint);
    return error_set(err, -errno, "cannot unmount %s: %s", mountpoint, strerrordesc_np(errno));
}

int fuse_device_unmount(const char *mountpoint, bool lazy, struct error *err)
{
    const char *const argv[] = { FUSERMOUNT, lazy ? "-uz" : "-u", "--", mountpoint, NULL };

    if (geteuid() == 0)
        return unmount_as_root(mountpoint, lazy, err);
    return run_fusermount(argv, -1, mountpoint, err);
}

/* The kernel answers stat() of a dead mount as long as it remembers the attributes; statfs() always
 * asks. */
static bool is_dead(const char *mountpoint)
{
    struct statfs st;

    return statfs(mountpoint, &st) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

int fuse_device_detach_dead(const char *mountpoint, const char *name, struct error *err)
{
    char mounted_name[FUSE_DEVICE_NAME_SIZE];

    for (int i = 0; i < STACKED_MAX; i++) {
        bool is_mounted = false;
        int r = fuse_device_is_mounted(mountpoint, &is_mounted, mounted_name, err);
        if (r < 0)
            return r;
        if (!is_mounted || strcmp(mounted_name, name) != 0 || !is_dead(mountpoint))
            return 0;
        r = fuse_device_unmount(mountpoint, true, err);
        if (r < 0)
            return r;
    }
    return error_set(err, -ELOOP, "too many dead mounts on %s", mountpoint);
}

bool fuse_device_is_mounted_as(const char *mountpoint, const char *name)
{
    char source[FUSE_DEVICE_NAME_SIZE];
    bool is_mounted = false;

    return mountpoint[0] != '\0' &&
           fuse_device_is_mounted(mountpoint, &is_mounted, source, NULL) == 0 && is_mounted &&
           strcmp(source, name) == 0;
}

void fuse_device_start_write_back(const char *mountpoint, const char *name)
{
    if (!fuse_device_is_mounted_as(mountpoint, name))
        return;
    CLEANUP(close_fd) int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)syncfs(fd);
}
