/* dir.c - each object is a file in a folder; a name with '/' lies in a sub-folder.
 *
 * A temporary file is called "~new.PID.N" and lies in the top folder: '~' cannot be part of an
 * object's name. Its maker holds a lock (flock) on it, so that another process that opens the
 * store can tell what a crash left behind from what is being written, and removes only the
 * former. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "store/stores/stores.h"

#define TEMPORARY_PREFIX "~new."
#define TEMPORARY_TRIES 100
#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)

struct dir_store {
    struct object_store base;
    int fd;
    atomic_uint_fast64_t temporaries; /* made so far: the N of the next one */
    char path[];
};

struct dir_object {
    struct object base;
    int fd;
};

struct dir_writer {
    struct object_writer base;
    struct dir_store *store;
    int fd;
    int sync_error; /* of the first sync that failed: the kernel reports a lost write once only */
    bool is_named;  /* the name is durable */
    char name[];
};

/* The codes of the contract for those of the kernel. */
static int store_errno(int native)
{
    switch (native) {
    case EDQUOT:
        return -ENOSPC;
    case ENOTDIR: /* a/b where a is an object */
        return -ENOENT;
    case EINTR:
        return -EAGAIN;
    default:
        return -native;
    }
}

static int fail(const struct dir_store *store, const char *what, const char *name, int code,
                struct error *err)
{
    return error_set(err, code, "cannot %s object %s in folder %s: %s", what, name, store->path,
                     strerrordesc_np(-code));
}

/* --- names and folders --- */

/* Calls each(store, folder) for the folders in which the name lies, innermost first, and at last
 * for the top folder, which is ".". */
static int each_folder_upwards(struct dir_store *store, const char *name,
                               int (*each)(struct dir_store *store, const char *folder))
{
    char folder[OBJECT_NAME_MAX + 1];
    char *slash;

    (void)snprintf(folder, sizeof(folder), "%s", name);
    while ((slash = strrchr(folder, '/')) != NULL) {
        *slash = '\0';
        int r = each(store, folder);
        if (r < 0)
            return r;
    }
    return each(store, ".");
}

static int sync_folder(struct dir_store *store, const char *folder)
{
    CLEANUP(close_fd) int fd = openat(store->fd, folder, FOLDER_FLAGS);

    return fd < 0 || fsync(fd) < 0 ? store_errno(errno) : 0;
}

/* All of them, as any may have been made for this name. */
static int sync_folders(struct dir_store *store, const char *name)
{
    return each_folder_upwards(store, name, sync_folder);
}

static int make_folders(struct dir_store *store, const char *name)
{
    char folder[OBJECT_NAME_MAX + 1];

    (void)snprintf(folder, sizeof(folder), "%s", name);
    for (char *slash = strchr(folder, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdirat(store->fd, folder, 0700) < 0 && errno != EEXIST)
            return store_errno(errno);
        *slash = '/';
    }
    return 0;
}

/* --- put and replace --- */

/* The folder may belong to a worker's user, and the writer be root (a control plane that repairs
 * something): then what is made belongs to that user, too, who could not open it otherwise. */
static int give_to_owner(const struct dir_store *store, int fd)
{
    struct stat folder;

    if (geteuid() != 0)
        return 0;
    if (fstat(store->fd, &folder) < 0)
        return -errno;
    if (folder.st_uid == 0) /* ours, whatever its group */
        return 0;
    return fchown(fd, folder.st_uid, folder.st_gid) < 0 ? -errno : 0;
}

/* Makes a temporary file that is locked by us; name has room for 64 bytes. */
static int temporary_open(struct dir_store *store, char *name, int *ret_fd)
{
    for (unsigned tries = 0; tries < TEMPORARY_TRIES; tries++) {
        struct stat st;
        (void)snprintf(name, 64, TEMPORARY_PREFIX "%d.%" PRIuFAST64, (int)getpid(),
                       atomic_fetch_add(&store->temporaries, 1));
        CLEANUP(close_fd)
        int fd = openat(store->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno == EEXIST)
            continue;
        if (fd < 0)
            return store_errno(errno);
        /* Somebody who opens the store may have taken it for a leftover before it was locked. */
        if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0 || st.st_nlink == 0)
            continue;
        *ret_fd = fd;
        fd = -1;
        return 0;
    }
    return -EBUSY;
}

static int move_in(struct dir_store *store, const char *temporary, const char *name,
                   bool may_replace)
{
    /* A link and not RENAME_NOREPLACE, which some filesystems lack. */
    int r = may_replace ? renameat(store->fd, temporary, store->fd, name)
                        : linkat(store->fd, temporary, store->fd, name, 0);
    return r < 0 ? -errno : 0;
}

static int store_whole(struct dir_store *store, const char *name, struct bytes data,
                       bool may_replace)
{
    char temporary[64];
    CLEANUP(close_fd) int fd = -1;

    int r = temporary_open(store, temporary, &fd);
    if (r < 0)
        return r;
    r = give_to_owner(store, fd);
    if (r == 0)
        r = fd_write_all(fd, data);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0)
        r = move_in(store, temporary, name, may_replace);
    if (r == -ENOENT) {
        r = make_folders(store, name);
        if (r == 0)
            r = move_in(store, temporary, name, may_replace);
    }
    if (r < 0 || !may_replace)
        (void)unlinkat(store->fd, temporary, 0); /* else it is removed by the next open */
    if (r == 0)
        r = sync_folders(store, name);
    return r < 0 ? store_errno(-r) : 0;
}

static int dir_put(struct object_store *base, const char *name, struct bytes data,
                   struct error *err)
{
    struct dir_store *store = (struct dir_store *)base;

    int r = store_whole(store, name, data, false);
    return r < 0 ? fail(store, "put", name, r, err) : 0;
}

static int dir_replace(struct object_store *base, const char *name, struct bytes data,
                       struct error *err)
{
    struct dir_store *store = (struct dir_store *)base;

    int r = store_whole(store, name, data, true);
    return r < 0 ? fail(store, "replace", name, r, err) : 0;
}

/* --- reading --- */

static int dir_read(struct object *base, uint64_t offset, size_t len, uint8_t *to, size_t *ret_len,
                    struct error *err)
{
    const struct dir_object *object = (const struct dir_object *)base;
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(object->fd, to + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, store_errno(errno), "cannot read an object: %s",
                             strerrordesc_np(errno));
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *ret_len = done;
    return 0;
}

static void dir_object_close(struct object *base)
{
    struct dir_object *object = (struct dir_object *)base;

    (void)close(object->fd); /* only read from: there is nothing to lose */
    free(object);
}

static const struct object_ops object_ops = {
    .read = dir_read,
    .close = dir_object_close,
};

static int dir_open_object(struct object_store *base, const char *name, struct object **ret,
                           struct error *err)
{
    struct dir_store *store = (struct dir_store *)base;
    CLEANUP(close_fd) int fd = openat(store->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(store, "open", name, store_errno(errno), err);
    if (!S_ISREG(st.st_mode))
        return fail(store, "open", name, -ENOENT, err);
    struct dir_object *object = malloc(sizeof(*object));
    if (object == NULL)
        return fail(store, "open", name, -ENOMEM, err);
    *object = (struct dir_object){ { &object_ops }, fd };
    fd = -1;
    *ret = &object->base;
    return 0;
}

static int dir_stat(struct object_store *base, const char *name, uint64_t *ret_size,
                    struct error *err)
{
    struct dir_store *store = (struct dir_store *)base;
    struct stat st;

    if (fstatat(store->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(store, "stat", name, store_errno(errno), err);
    if (!S_ISREG(st.st_mode))
        return fail(store, "stat", name, -ENOENT, err);
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

/* Not made durable: an object that a crash brings back is removed again by whoever lists. */
static int dir_remove(struct object_store *base, const char *name, struct error *err)
{
    struct dir_store *store = (struct dir_store *)base;

    if (unlinkat(store->fd, name, 0) == 0)
        return 0;
    /* A folder is no object either. */
    int r = errno == EISDIR ? -ENOENT : store_errno(errno);
    return r == -ENOENT ? 0 : fail(store, "remove", name, r, err);
}

/* --- listing --- */

struct listing {
    const char *prefix;
    object_visit_fn *visit;
    void *arg;
    char name[OBJECT_NAME_MAX + 2]; /* of the entry at hand; a '/' more behind a folder's */
};

/* NOLINTBEGIN(misc-no-recursion): it ends, as a name has at most OBJECT_NAME_MAX / 2 parts. */
static int list_folder(struct listing *listing, int fd, size_t len);

/* Whether a and b agree as far as the shorter of them goes. */
static bool share_prefix(const char *a, const char *b)
{
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);

    return strncmp(a, b, a_len < b_len ? a_len : b_len) == 0;
}

/* listing->name is that of the entry, len its length. */
static int list_entry(struct listing *listing, int folder, const char *entry, size_t len)
{
    struct stat st;

    if (fstatat(folder, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : store_errno(errno);
    if (S_ISREG(st.st_mode)) {
        bool is_wanted = strncmp(listing->name, listing->prefix, strlen(listing->prefix)) == 0;
        return is_wanted ? listing->visit(listing->name, (uint64_t)st.st_size, listing->arg) : 0;
    }
    listing->name[len] = '/';
    listing->name[len + 1] = '\0';
    if (!S_ISDIR(st.st_mode) || !share_prefix(listing->name, listing->prefix))
        return 0;
    int fd = openat(folder, entry, FOLDER_FLAGS);
    if (fd < 0)
        return errno == ENOENT ? 0 : store_errno(errno);
    return list_folder(listing, fd, len + 1);
}

static void close_folder(DIR **folder)
{
    if (*folder != NULL)
        (void)closedir(*folder);
}

/* Takes fd. The first len bytes of listing->name are the folder's, with its '/'. */
static int list_folder(struct listing *listing, int fd, size_t len)
{
    CLEANUP(close_folder) DIR *folder = fdopendir(fd);

    if (folder == NULL) {
        int r = store_errno(errno);
        (void)close(fd);
        return r;
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL)
            return errno == 0 ? 0 : store_errno(errno);
        size_t entry_len = strlen(entry->d_name);
        if (len + entry_len > OBJECT_NAME_MAX || !object_name_is_valid(entry->d_name))
            continue;
        memcpy(listing->name + len, entry->d_name, entry_len + 1);
        int r = list_entry(listing, dirfd(folder), entry->d_name, len + entry_len);
        if (r != 0)
            return r;
    }
}

/* NOLINTEND(misc-no-recursion) */

static int dir_list(struct object_store *base, const char *prefix, object_visit_fn *visit,
                    void *arg, struct error *err)
{
    struct dir_store *store = (struct dir_store *)base;
    struct listing listing = { .prefix = prefix, .visit = visit, .arg = arg };
    /* Opened anew: a descriptor that is shared would also share its position. */
    int fd = openat(store->fd, ".", FOLDER_FLAGS);
    int r = fd < 0 ? store_errno(errno) : list_folder(&listing, fd, 0);

    if (r < 0)
        error_write(err, r, "cannot list folder %s: %s", store->path, strerrordesc_np(-r));
    return r;
}

/* --- writing --- */

static int dir_write(struct object_writer *base, uint64_t offset, struct bytes data,
                     struct error *err)
{
    const struct dir_writer *writer = (const struct dir_writer *)base;

    while (data.len > 0) {
        ssize_t n = pwrite(writer->fd, data.data, data.len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(writer->store, "write", writer->name, n < 0 ? store_errno(errno) : -EIO,
                        err);
        data.data += n;
        data.len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int dir_sync(struct object_writer *base, struct error *err)
{
    struct dir_writer *writer = (struct dir_writer *)base;
    int r = writer->sync_error;

    if (r == 0 && fdatasync(writer->fd) < 0)
        r = store_errno(errno);
    if (r == 0 && !writer->is_named)
        r = sync_folders(writer->store, writer->name);
    if (r < 0) {
        writer->sync_error = r;
        return fail(writer->store, "sync", writer->name, r, err);
    }
    writer->is_named = true;
    return 0;
}

static void dir_writer_close(struct object_writer *base)
{
    struct dir_writer *writer = (struct dir_writer *)base;

    (void)close(writer->fd); /* what matters was synced */
    free(writer);
}

static const struct object_writer_ops writer_ops = {
    .write = dir_write,
    .sync = dir_sync,
    .seal = dir_sync,
    .close = dir_writer_close,
};

static int create_file(struct dir_store *store, const char *name)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int fd = openat(store->fd, name, flags, 0600);

    if (fd < 0 && errno == ENOENT) {
        int r = make_folders(store, name);
        if (r < 0)
            return r;
        fd = openat(store->fd, name, flags, 0600);
    }
    return fd < 0 ? store_errno(errno) : fd;
}

static int dir_create(struct object_store *base, const char *name, struct object_writer **ret,
                      struct error *err)
{
    struct dir_store *store = (struct dir_store *)base;
    CLEANUP(free_ptr) struct dir_writer *writer = malloc(sizeof(*writer) + strlen(name) + 1);

    if (writer == NULL)
        return fail(store, "create", name, -ENOMEM, err);
    int fd = create_file(store, name);
    if (fd < 0)
        return fail(store, "create", name, fd, err);
    *writer = (struct dir_writer){ .base = { &writer_ops }, .store = store, .fd = fd };
    memcpy(writer->name, name, strlen(name) + 1);
    *ret = &TAKE(writer)->base;
    return 0;
}

/* --- the store --- */

static int dir_space(struct object_store *base, struct object_store_space *ret, struct error *err)
{
    struct dir_store *store = (struct dir_store *)base;
    struct statvfs st;

    if (fstatvfs(store->fd, &st) < 0)
        return error_set(err, store_errno(errno), "cannot tell the space in folder %s: %s",
                         store->path, strerrordesc_np(errno));
    *ret = (struct object_store_space){
        .total = (uint64_t)st.f_blocks * st.f_frsize,
        .free = (uint64_t)st.f_bavail * st.f_frsize,
    };
    return 0;
}

static void dir_close(struct object_store *base)
{
    struct dir_store *store = (struct dir_store *)base;

    (void)close(store->fd);
    free(store);
}

static const struct object_store_ops store_ops = {
    .type = "dir",
    .put = dir_put,
    .replace = dir_replace,
    .open = dir_open_object,
    .remove = dir_remove,
    .list = dir_list,
    .stat = dir_stat,
    .create = dir_create,
    .space = dir_space,
    .close = dir_close,
};

/* A lock that is held means that its maker lives. */
static void remove_leftover(int folder, const char *name)
{
    CLEANUP(close_fd) int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        (void)unlinkat(folder, name, 0); /* it only takes room: a store that is read only works */
}

static void remove_leftovers(const struct dir_store *store)
{
    int fd = openat(store->fd, ".", FOLDER_FLAGS);
    CLEANUP(close_folder) DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL)
        if (strncmp(entry->d_name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) == 0)
            remove_leftover(dirfd(folder), entry->d_name);
}

int dir_store_open(const char *place, struct object_store **ret, struct error *err)
{
    if (place[0] != '/')
        return error_set(err, -EINVAL, "The folder of a store must be an absolute path: '%s'",
                         place);
    CLEANUP(close_fd) int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, -errno, "cannot open the store's folder %s: %s; %s", place,
                         strerrordesc_np(errno),
                         errno == ENOENT ? "make it, or mount its disk" : "check the path");
    struct dir_store *store = malloc(sizeof(*store) + strlen(place) + 1);
    if (store == NULL)
        return error_set(err, -ENOMEM, "no memory for a store");
    *store = (struct dir_store){ .base = { &store_ops }, .fd = fd };
    memcpy(store->path, place, strlen(place) + 1);
    fd = -1;
    remove_leftovers(store);
    *ret = &store->base;
    return 0;
}
