/* Operations on names and directories. */
#include "mount/session_internal.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/stat.h>

int new_owner(fuse_req_t req, uint64_t parent, mode_t *mode, struct volume_owner *ret)
{
    const struct fuse_ctx *context = fuse_req_ctx(req);
    struct volume_attr attr;
    int r = volume_getattr(volume_of(req), parent, &attr);

    if (r < 0)
        return r;
    *ret = (struct volume_owner){ .uid = context->uid, .gid = context->gid };
    if (attr.mode & S_ISGID) { /* inherited, as every filesystem of Linux does it */
        ret->gid = attr.gid;
        if (S_ISDIR(*mode))
            *mode |= S_ISGID;
    }
    return 0;
}

int make_inode(fuse_req_t req, uint64_t parent, const char *name, mode_t mode, dev_t rdev,
               struct volume_attr *ret)
{
    struct volume_owner owner;
    int r = new_owner(req, parent, &mode, &owner);

    return r < 0 ? r : volume_mknod(volume_of(req), parent, name, mode, rdev, &owner, ret);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct volume_attr attr;

    reply_entry(req, make_inode(req, parent, name, mode, rdev, &attr), &attr);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct volume_attr attr;

    reply_entry(req, make_inode(req, parent, name, (mode & 07777) | S_IFDIR, 0, &attr), &attr);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct volume_owner owner;
    struct volume_attr attr;
    mode_t mode = S_IFLNK | 0777;
    int r = new_owner(req, parent, &mode, &owner);

    if (r == 0)
        r = volume_symlink(volume_of(req), parent, name, target, &owner, &attr);
    reply_entry(req, r, &attr);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct volume_attr attr;

    reply_entry(req, volume_link(volume_of(req), ino, parent, name, &attr), &attr);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    reply_result(req, volume_unlink(volume_of(req), parent, name));
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    reply_result(req, volume_rmdir(volume_of(req), parent, name));
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned flags)
{
    reply_result(req, volume_rename(volume_of(req), parent, name, new_parent, new_name, flags));
}

/* "Not implemented" means to the kernel: directories need no opening, and may be cached. */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    reply_result(req, -ENOSYS);
}

struct listing {
    fuse_req_t req;
    char *to;
    size_t size;
    size_t len;
    bool is_plus;
};

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static size_t add_plus(struct listing *listing, const char *name, const struct volume_attr *attr,
                       uint64_t next)
{
    struct fuse_entry_param entry;

    attr_to_entry(attr, &entry);
    if (is_dot(name)) /* the kernel takes no reference for these */
        entry.ino = 0;
    return fuse_add_direntry_plus(listing->req, listing->to + listing->len,
                                  listing->size - listing->len, name, &entry, (off_t)next);
}

static size_t add_plain(struct listing *listing, const char *name, const struct volume_attr *attr,
                        uint64_t next)
{
    const struct stat st = { .st_ino = attr->ino, .st_mode = attr->mode };

    return fuse_add_direntry(listing->req, listing->to + listing->len, listing->size - listing->len,
                             name, &st, (off_t)next);
}

static int add_entry(const char *name, const struct volume_attr *attr, uint64_t next, void *arg)
{
    struct listing *listing = arg;
    size_t len = listing->is_plus ? add_plus(listing, name, attr, next)
                                  : add_plain(listing, name, attr, next);

    if (len > listing->size - listing->len)
        return 1; /* full: nothing was added */
    listing->len += len;
    if (listing->is_plus && !is_dot(name))
        volume_reference(volume_of(listing->req), attr->ino);
    return 0;
}

/* The kernel did not take the answer: gives back the references that it holds. */
static void forget_listing(struct volume *volume, const char *entries, size_t len)
{
    struct fuse_direntplus entry;

    for (size_t at = 0; at + sizeof(entry) <= len; at += FUSE_DIRENTPLUS_SIZE(&entry)) {
        memcpy(&entry, entries + at, sizeof(entry));
        if (entry.entry_out.nodeid != 0)
            volume_forget(volume, entry.entry_out.nodeid, 1);
    }
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t position, bool is_plus)
{
    struct volume *volume = volume_of(req);
    struct listing listing = { .req = req,
                               .to = (char *)mount_thread_buffer(session_of(req)),
                               .size = size < MOUNT_REQUEST_MAX ? size : MOUNT_REQUEST_MAX,
                               .is_plus = is_plus };

    if (!listing.to) {
        reply_result(req, -ENOMEM);
        return;
    }
    int r = volume_readdir(volume, ino, (uint64_t)position, is_plus, add_entry, &listing);
    if (r < 0 && listing.len == 0) {
        reply_result(req, r);
        return;
    }
    /* What was read before an error is good; the kernel meets the error when it goes on. */
    if (fuse_reply_buf(req, listing.to, listing.len) < 0 && is_plus)
        forget_listing(volume, listing.to, listing.len);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t position,
                struct fuse_file_info *fi)
{
    (void)fi;
    list(req, ino, size, position, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t position,
                    struct fuse_file_info *fi)
{
    (void)fi;
    list(req, ino, size, position, true);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    (void)ino;
    (void)data_only;
    (void)fi;
    reply_when_durable(req);
}
