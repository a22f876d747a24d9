/* nullfs.c - a FUSE filesystem that does nothing: nullfs MOUNTPOINT, until it is unmounted or
 * killed. Names and attributes are kept in memory; data is thrown away, and zeros are read. What
 * a FUSE filesystem reaches on a machine can be at most what this one does, so that it is the
 * yardstick for coffer's operations. It asks of the kernel what src/mount/session.c asks.
 *
 * One mutex guards everything: no request holds it for longer than a look into a table. */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/thread.h"

#define REQUEST_MAX (1024u * 1024u)
#define THREADS 8u
#define BACKGROUND_MAX 64
#define CONGESTED_AT 48
#define CACHE_SECONDS 3600.0
#define BUCKETS (1u << 20)
#define BLOCK_SIZE 4096u
#define FREE_BLOCKS (1ull << 28) /* 1 TiB */
#define FIRST_SLOT 2             /* the directory positions before it are "." and ".." */

struct name;

struct node {
    struct stat attr;
    uint64_t lookups; /* by the kernel */
    char *target;     /* of a symbolic link */
    /* A directory's names. A removed one leaves a gap, so that positions stay what they are. */
    struct name **slots;
    size_t slot_count;
    size_t live_count;
};

struct name {
    struct name *next; /* in its bucket */
    struct node *parent;
    struct node *node;
    size_t slot;
    char text[];
};

struct null_fs {
    struct mutex lock;
    struct node **nodes; /* by number; numbers are not given out again */
    size_t node_count;
    struct name **buckets;
    uint8_t *zeros; /* REQUEST_MAX bytes */
};

static struct null_fs *fs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static size_t bucket_of(const struct node *parent, const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u ^ parent->attr.st_ino; /* FNV-1a */

    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return (hash ^ hash >> 32) % BUCKETS;
}

/* Doubles an array of pointers whenever it is full: at powers of two. */
static int make_room(void ***array, size_t count)
{
    if (count & (count - 1))
        return 0;
    void **larger = realloc(*array, (count ? 2 * count : 1) * sizeof(*larger));
    if (!larger)
        return -ENOMEM;
    *array = larger;
    return 0;
}

static void touch(struct timespec *time)
{
    (void)clock_gettime(CLOCK_REALTIME_COARSE, time);
}

static struct node *node_new(struct null_fs *fs, mode_t mode, const struct fuse_ctx *owner)
{
    struct node *node = calloc(1, sizeof(*node));

    if (!node || make_room((void ***)&fs->nodes, fs->node_count) < 0) {
        free(node);
        return NULL;
    }
    node->attr = (struct stat){ .st_ino = fs->node_count,
                                .st_mode = mode,
                                .st_nlink = S_ISDIR(mode) ? 2 : 1,
                                .st_uid = owner ? owner->uid : 0,
                                .st_gid = owner ? owner->gid : 0,
                                .st_blksize = BLOCK_SIZE };
    touch(&node->attr.st_mtim);
    node->attr.st_atim = node->attr.st_ctim = node->attr.st_mtim;
    fs->nodes[fs->node_count++] = node;
    return node;
}

static void node_free_unused(struct null_fs *fs, struct node *node)
{
    if (node->attr.st_nlink > 0 || node->lookups > 0)
        return;
    fs->nodes[node->attr.st_ino] = NULL;
    free(node->slots);
    free(node->target);
    free(node);
}

static struct name *find(struct null_fs *fs, const struct node *parent, const char *text)
{
    struct name *name = fs->buckets[bucket_of(parent, text)];

    while (name && (name->parent != parent || strcmp(name->text, text) != 0))
        name = name->next;
    return name;
}

static int name_add(struct null_fs *fs, struct node *parent, const char *text, struct node *node)
{
    size_t size = strlen(text) + 1;
    struct name *name = malloc(sizeof(*name) + size);
    struct name **bucket = &fs->buckets[bucket_of(parent, text)];

    if (!name || make_room((void ***)&parent->slots, parent->slot_count) < 0) {
        free(name);
        return -ENOMEM;
    }
    *name = (struct name){
        .next = *bucket, .parent = parent, .node = node, .slot = parent->slot_count
    };
    memcpy(name->text, text, size);
    *bucket = name;
    parent->slots[parent->slot_count++] = name;
    parent->live_count++;
    parent->attr.st_nlink += S_ISDIR(node->attr.st_mode) ? 1 : 0;
    return 0;
}

static void name_remove(struct null_fs *fs, struct name *name)
{
    struct node *parent = name->parent;
    struct name **at = &fs->buckets[bucket_of(parent, name->text)];

    while (*at != name)
        at = &(*at)->next;
    *at = name->next;
    parent->slots[name->slot] = NULL;
    if (--parent->live_count == 0)
        parent->slot_count = 0;
    parent->attr.st_nlink -= S_ISDIR(name->node->attr.st_mode) ? 1 : 0;
    free(name);
}

static void to_entry(const struct node *node, struct fuse_entry_param *ret)
{
    *ret = (struct fuse_entry_param){ .ino = node->attr.st_ino,
                                      .attr = node->attr,
                                      .attr_timeout = CACHE_SECONDS,
                                      .entry_timeout = CACHE_SECONDS };
}

static void reply_entry(fuse_req_t req, int r, const struct fuse_entry_param *entry)
{
    if (r < 0)
        (void)fuse_reply_err(req, -r);
    else
        (void)fuse_reply_entry(req, entry);
}

/* Reading what the kernel asks for */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *text)
{
    struct null_fs *fs = fs_of(req);
    struct fuse_entry_param entry = { .entry_timeout = CACHE_SECONDS }; /* there is none */

    mutex_lock(&fs->lock);
    struct name *name = find(fs, fs->nodes[parent], text);
    if (name) {
        name->node->lookups++;
        to_entry(name->node, &entry);
    }
    mutex_unlock(&fs->lock);
    (void)fuse_reply_entry(req, &entry);
}

static void forget(struct null_fs *fs, fuse_ino_t ino, uint64_t count)
{
    mutex_lock(&fs->lock);
    fs->nodes[ino]->lookups -= count;
    node_free_unused(fs, fs->nodes[ino]);
    mutex_unlock(&fs->lock);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    forget(fs_of(req), ino, count);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        forget(fs_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct null_fs *fs = fs_of(req);

    (void)fi;
    mutex_lock(&fs->lock);
    struct stat attr = fs->nodes[ino]->attr;
    mutex_unlock(&fs->lock);
    (void)fuse_reply_attr(req, &attr, CACHE_SECONDS);
}

static void set_size(struct node *node, off_t size)
{
    node->attr.st_size = size;
    node->attr.st_blocks = (size + 511) / 512;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *to, int which,
                       struct fuse_file_info *fi)
{
    struct null_fs *fs = fs_of(req);

    (void)fi;
    mutex_lock(&fs->lock);
    struct node *node = fs->nodes[ino];
    if (which & FUSE_SET_ATTR_MODE)
        node->attr.st_mode = (node->attr.st_mode & S_IFMT) | (to->st_mode & 07777);
    if (which & FUSE_SET_ATTR_UID)
        node->attr.st_uid = to->st_uid;
    if (which & FUSE_SET_ATTR_GID)
        node->attr.st_gid = to->st_gid;
    if (which & FUSE_SET_ATTR_SIZE)
        set_size(node, to->st_size);
    if (which & FUSE_SET_ATTR_ATIME)
        node->attr.st_atim = to->st_atim;
    if (which & FUSE_SET_ATTR_MTIME)
        node->attr.st_mtim = to->st_mtim;
    if (which & FUSE_SET_ATTR_ATIME_NOW)
        touch(&node->attr.st_atim);
    if (which & FUSE_SET_ATTR_MTIME_NOW)
        touch(&node->attr.st_mtim);
    touch(&node->attr.st_ctim);
    struct stat attr = node->attr;
    mutex_unlock(&fs->lock);
    (void)fuse_reply_attr(req, &attr, CACHE_SECONDS);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct null_fs *fs = fs_of(req);

    mutex_lock(&fs->lock);
    /* It does not change as long as the kernel holds its number. */
    const char *target = fs->nodes[ino]->target;
    mutex_unlock(&fs->lock);
    if (target)
        (void)fuse_reply_readlink(req, target);
    else
        (void)fuse_reply_err(req, EINVAL);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    const struct statvfs st = { .f_bsize = BLOCK_SIZE,
                                .f_frsize = BLOCK_SIZE,
                                .f_blocks = FREE_BLOCKS,
                                .f_bfree = FREE_BLOCKS,
                                .f_bavail = FREE_BLOCKS,
                                .f_files = FREE_BLOCKS,
                                .f_ffree = FREE_BLOCKS,
                                .f_favail = FREE_BLOCKS,
                                .f_namemax = 255 };

    (void)ino;
    (void)fuse_reply_statfs(req, &st);
}

/* Names */

/* A new node under a name, with the kernel's reference to it. */
static int make(fuse_req_t req, fuse_ino_t parent, const char *text, mode_t mode,
                const char *target, struct fuse_entry_param *ret)
{
    struct null_fs *fs = fs_of(req);
    CLEANUP(free_ptr) char *copy = target ? strdup(target) : NULL;
    int r = target && !copy ? -ENOMEM : 0;

    mutex_lock(&fs->lock);
    if (r == 0 && find(fs, fs->nodes[parent], text))
        r = -EEXIST;
    struct node *node = r == 0 ? node_new(fs, mode, fuse_req_ctx(req)) : NULL;
    if (r == 0)
        r = node ? name_add(fs, fs->nodes[parent], text, node) : -ENOMEM;
    if (r == 0) {
        node->target = TAKE(copy);
        node->attr.st_size = target ? (off_t)strlen(target) : 0;
        node->lookups = 1;
        to_entry(node, ret);
    } else if (node) {
        node->attr.st_nlink = 0;
        node_free_unused(fs, node);
    }
    mutex_unlock(&fs->lock);
    return r;
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *text, mode_t mode, dev_t rdev)
{
    struct fuse_entry_param entry;

    (void)rdev;
    reply_entry(req, make(req, parent, text, mode, NULL, &entry), &entry);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *text, mode_t mode)
{
    struct fuse_entry_param entry;

    reply_entry(req, make(req, parent, text, (mode & 07777) | S_IFDIR, NULL, &entry), &entry);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *text)
{
    struct fuse_entry_param entry;

    reply_entry(req, make(req, parent, text, S_IFLNK | 0777, target, &entry), &entry);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *text)
{
    struct null_fs *fs = fs_of(req);
    struct fuse_entry_param entry;

    mutex_lock(&fs->lock);
    struct node *node = fs->nodes[ino];
    int r = find(fs, fs->nodes[parent], text) ? -EEXIST : 0;
    if (r == 0)
        r = name_add(fs, fs->nodes[parent], text, node);
    if (r == 0) {
        node->attr.st_nlink++;
        node->lookups++;
        to_entry(node, &entry);
    }
    mutex_unlock(&fs->lock);
    reply_entry(req, r, &entry);
}

/* Takes a name away, and its node with the last one. */
static int take_away(struct null_fs *fs, struct name *name)
{
    struct node *node = name->node;
    bool is_folder = S_ISDIR(node->attr.st_mode);

    if (is_folder && node->live_count > 0)
        return -ENOTEMPTY;
    name_remove(fs, name);
    node->attr.st_nlink -= is_folder ? 2 : 1;
    node_free_unused(fs, node);
    return 0;
}

/* For files and directories: the kernel has seen to it that it is the right one of them. */
static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *text)
{
    struct null_fs *fs = fs_of(req);

    mutex_lock(&fs->lock);
    struct name *name = find(fs, fs->nodes[parent], text);
    int r = name ? take_away(fs, name) : -ENOENT;
    mutex_unlock(&fs->lock);
    (void)fuse_reply_err(req, -r);
}

static int move(struct null_fs *fs, struct name *name, struct node *to, const char *text,
                unsigned flags)
{
    struct name *present = find(fs, to, text);
    int r = 0;

    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return -EINVAL;
    if (present == name || (present && present->node == name->node))
        return 0;
    if (present)
        r = flags & RENAME_NOREPLACE ? -EEXIST : take_away(fs, present);
    if (r == 0)
        r = name_add(fs, to, text, name->node);
    if (r == 0)
        name_remove(fs, name);
    return r;
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *text, fuse_ino_t new_parent,
                      const char *new_text, unsigned flags)
{
    struct null_fs *fs = fs_of(req);

    mutex_lock(&fs->lock);
    struct name *name = find(fs, fs->nodes[parent], text);
    int r = name ? move(fs, name, fs->nodes[new_parent], new_text, flags) : -ENOENT;
    mutex_unlock(&fs->lock);
    (void)fuse_reply_err(req, -r);
}

/* Directories */

struct listing {
    fuse_req_t req;
    char *to;
    size_t size;
    size_t len;
    bool is_plus;
};

/* False if there is no room. */
static bool list_one(struct listing *listing, const char *text, struct node *node, bool is_dot,
                     off_t next)
{
    struct fuse_entry_param entry;
    char *to = listing->to + listing->len;
    size_t room = listing->size - listing->len;

    to_entry(node, &entry);
    if (is_dot)
        entry.ino = 0; /* the kernel does not want to know it */
    size_t len = listing->is_plus
                     ? fuse_add_direntry_plus(listing->req, to, room, text, &entry, next)
                     : fuse_add_direntry(listing->req, to, room, text, &entry.attr, next);
    if (len > room)
        return false;
    listing->len += len;
    if (listing->is_plus && !is_dot)
        node->lookups++;
    return true;
}

static void fill(struct listing *listing, struct node *folder, size_t position)
{
    bool has_room = true;

    for (; has_room && position < FIRST_SLOT; position++)
        has_room = list_one(listing, position == 0 ? "." : "..", folder, true, (off_t)position + 1);
    for (; has_room && position < folder->slot_count + FIRST_SLOT; position++) {
        struct name *name = folder->slots[position - FIRST_SLOT];
        if (name)
            has_room = list_one(listing, name->text, name->node, false, (off_t)position + 1);
    }
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t position, bool is_plus)
{
    struct null_fs *fs = fs_of(req);
    CLEANUP(free_ptr) char *buffer = malloc(size);
    struct listing listing = { .req = req, .to = buffer, .size = size, .is_plus = is_plus };

    if (!buffer) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    mutex_lock(&fs->lock);
    fill(&listing, fs->nodes[ino], (size_t)position);
    mutex_unlock(&fs->lock);
    (void)fuse_reply_buf(req, buffer, listing.len);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t position,
                       struct fuse_file_info *fi)
{
    (void)fi;
    list(req, ino, size, position, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t position,
                           struct fuse_file_info *fi)
{
    (void)fi;
    list(req, ino, size, position, true);
}

/* Data. "Not implemented" for flush and fsync: the kernel asks once and never again. */

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *text, mode_t mode,
                      struct fuse_file_info *fi)
{
    struct fuse_entry_param entry;
    int r = make(req, parent, text, (mode & 07777) | S_IFREG, NULL, &entry);

    fi->keep_cache = 1;
    if (r < 0)
        (void)fuse_reply_err(req, -r);
    else
        (void)fuse_reply_create(req, &entry, fi);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct null_fs *fs = fs_of(req);

    if (fi->flags & O_TRUNC) {
        mutex_lock(&fs->lock);
        set_size(fs->nodes[ino], 0);
        mutex_unlock(&fs->lock);
    }
    fi->keep_cache = 1;
    (void)fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    struct null_fs *fs = fs_of(req);

    (void)fi;
    mutex_lock(&fs->lock);
    off_t end = fs->nodes[ino]->attr.st_size;
    mutex_unlock(&fs->lock);
    size_t rest = offset < end ? (size_t)(end - offset) : 0;
    if (size > REQUEST_MAX)
        size = REQUEST_MAX;
    (void)fuse_reply_buf(req, (const char *)fs->zeros, size < rest ? size : rest);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    struct null_fs *fs = fs_of(req);
    off_t end = offset + (off_t)size;

    (void)data;
    (void)fi;
    mutex_lock(&fs->lock);
    if (fs->nodes[ino]->attr.st_size < end)
        set_size(fs->nodes[ino], end);
    mutex_unlock(&fs->lock);
    (void)fuse_reply_write(req, size);
}

/* As op_init() of src/mount/session.c. */
static void op_init(void *arg, struct fuse_conn_info *conn)
{
    const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_ATOMIC_O_TRUNC |
                            FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                            FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_WRITEBACK_CACHE |
                            FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPENDIR_SUPPORT;
    const unsigned unwanted = FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                              FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_HANDLE_KILLPRIV |
                              FUSE_CAP_POSIX_ACL | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_IOCTL_DIR;

    (void)arg;
    conn->want = (conn->want & ~unwanted) | (conn->capable & wanted);
    conn->max_write = REQUEST_MAX;
    conn->max_read = REQUEST_MAX;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = CONGESTED_AT;
    conn->time_gran = 1;
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
    .rmdir = op_unlink,
    .rename = op_rename,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .create = op_create,
    .open = op_open,
    .read = op_read,
    .write = op_write,
};

static int fs_init(struct null_fs *fs)
{
    *fs = (struct null_fs){ .lock = MUTEX_INIT,
                            .buckets = calloc(BUCKETS, sizeof(struct name *)),
                            .zeros = calloc(1, REQUEST_MAX) };
    if (!fs->buckets || !fs->zeros)
        return -ENOMEM;
    /* FUSE numbers the root 1; number 0 is never asked for. */
    for (unsigned i = 0; i <= FUSE_ROOT_ID; i++) {
        struct node *node = node_new(fs, S_IFDIR | 0755, NULL);
        if (!node)
            return -ENOMEM;
        node->lookups = 1;
    }
    return 0;
}

static int serve(struct fuse_session *session)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();

    if (!config)
        return -ENOMEM;
    fuse_loop_cfg_set_max_threads(config, THREADS);
    fuse_loop_cfg_set_idle_threads(config, THREADS);
    fuse_loop_cfg_set_clone_fd(config, 1);
    int r = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return r;
}

int main(int argc, char **argv)
{
    struct null_fs fs;
    char name[] = "nullfs";
    char option[] = "-odefault_permissions,fsname=nullfs,max_read=1048576";
    char *options[] = { name, option, NULL };
    struct fuse_args args = FUSE_ARGS_INIT(2, options);

    if (argc != 2 || fs_init(&fs) < 0) {
        (void)fprintf(stderr, "usage: nullfs MOUNTPOINT\n");
        return 2;
    }
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof(operations), &fs);
    if (!session)
        return 1;
    int r = 1;
    if (fuse_set_signal_handlers(session) == 0 && fuse_session_mount(session, argv[1]) == 0) {
        r = serve(session);
        fuse_session_unmount(session);
    }
    fuse_session_destroy(session);
    fuse_opt_free_args(&args);
    return r != 0; /* what is in memory goes with the process */
}
