#include "base/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static int read_fd(int fd, size_t max, struct buf *ret)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    /* A pipe or /proc file tells no size: the bound is then all we know. */
    size_t room = S_ISREG(st.st_mode) && (size_t)st.st_size < max ? (size_t)st.st_size : max;
    CLEANUP(free_ptr) uint8_t *data = malloc(room + 1);
    size_t len = 0;

    if (!data)
        return -ENOMEM;
    while (len <= room) {
        ssize_t n = read(fd, data + len, room + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    if (len > room)
        return -EFBIG;
    buf_release(ret);
    *ret = (struct buf){ .data = TAKE(data), .len = len };
    return 0;
}

int file_read(const char *path, size_t max, struct buf *ret, struct error *err)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : read_fd(fd, max, ret);

    return r < 0 ? error_set(err, r, "cannot read %s: %s", path, strerrordesc_np(-r)) : 0;
}

int fd_write_all(int fd, struct bytes data)
{
    while (data.len > 0) {
        ssize_t n = write(fd, data.data, data.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data.data += n;
        data.len -= (size_t)n;
    }
    return 0;
}

/* Not what has another name elsewhere: whoever may write in the folder might have put it there. */
static int overwrite_fd(int fd, nlink_t names)
{
    static const uint8_t zeros[4096];
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_nlink != names)
        return 0;
    for (off_t left = st.st_size; left > 0;) {
        size_t len = left < (off_t)sizeof(zeros) ? (size_t)left : sizeof(zeros);
        int r = fd_write_all(fd, (struct bytes){ .data = zeros, .len = len });
        if (r < 0)
            return r;
        left -= (off_t)len;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int fd_shred_unnamed(int fd)
{
    return overwrite_fd(fd, 0);
}

int file_shred(const char *path, struct error *err)
{
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char folder[PATH_MAX];
    int r = fd < 0 ? -errno : overwrite_fd(fd, 1);

    if (r == -ENOENT)
        return 0;
    if ((r == 0 || r == -ELOOP || r == -ENXIO) && (r = unlink(path)) < 0)
        r = -errno;
    if (r < 0)
        return error_set(err, r, "cannot destroy %s: %s", path, strerrordesc_np(-r));
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
    return folder_sync(folder, err);
}

int folder_sync(const char *path, struct error *err)
{
    CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return error_set(err, -errno, "cannot sync folder %s: %s", path, strerrordesc_np(errno));
    return 0;
}

static int write_temporary(const char *path, struct bytes data, mode_t mode)
{
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    if (fd < 0)
        return -errno;
    int r = fd_write_all(fd, data);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    return r;
}

int file_replace(const char *path, struct bytes data, mode_t mode, struct error *err)
{
    char temporary[PATH_MAX];
    char folder[PATH_MAX];

    if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary))
        return error_set(err, -ENAMETOOLONG, "path too long: %s", path);
    (void)snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == folder)
        folder[1] = '\0';
    else if (slash)
        *slash = '\0';

    int r = write_temporary(temporary, data, mode);
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0) {
        (void)unlink(temporary); /* may not be there; the error to report is the first one */
        return error_set(err, r, "cannot write %s: %s", path, strerrordesc_np(-r));
    }
    return folder_sync(slash ? folder : ".", err);
}

int folder_make(const char *path, mode_t mode, struct error *err)
{
    char partial[PATH_MAX];

    if (snprintf(partial, sizeof(partial), "%s", path) >= (int)sizeof(partial))
        return error_set(err, -ENAMETOOLONG, "path too long: %s", path);
    for (char *p = partial + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char kept = *p;
        *p = '\0';
        if (mkdir(partial, mode) < 0 && errno != EEXIST)
            return error_set(err, -errno, "cannot make folder %s: %s", partial,
                             strerrordesc_np(errno));
        *p = kept;
        if (kept == '\0')
            return 0;
    }
}
