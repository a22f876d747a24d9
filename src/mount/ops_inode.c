/* Operations on an inode by its number. */
#include "mount/session_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"

#define NS_PER_S 1000000000LL
#define BLOCK_SIZE 4096u

static struct timespec to_timespec(int64_t ns)
{
    int64_t seconds = ns / NS_PER_S;
    int64_t rest = ns % NS_PER_S;

    if (rest < 0) {
        rest += NS_PER_S;
        seconds--;
    }
    return (struct timespec){ .tv_sec = seconds, .tv_nsec = rest };
}

static int64_t to_ns(const struct timespec *time)
{
    int64_t ns;

    /* Years before 1677 and after 2262 become the nearest time that can be kept. */
    if (__builtin_mul_overflow((int64_t)time->tv_sec, NS_PER_S, &ns) ||
        __builtin_add_overflow(ns, time->tv_nsec, &ns))
        return time->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

void attr_to_stat(const struct volume_attr *attr, struct stat *ret)
{
    *ret = (struct stat){ .st_ino = attr->ino,
                          .st_mode = attr->mode,
                          .st_nlink = attr->nlink,
                          .st_uid = attr->uid,
                          .st_gid = attr->gid,
                          .st_rdev = attr->rdev,
                          .st_size = (off_t)attr->size,
                          .st_blocks = (blkcnt_t)attr->blocks,
                          .st_blksize = BLOCK_SIZE,
                          .st_atim = to_timespec(attr->atime_ns),
                          .st_mtim = to_timespec(attr->mtime_ns),
                          .st_ctim = to_timespec(attr->ctime_ns) };
}

/* Snapshots come and go without the kernel knowing: their folder and what lies in it are looked up
 * each time. What lies in one never changes. */
static double entry_timeout(uint64_t ino)
{
    return volume_is_snapshot_root(ino) ? 0 : MOUNT_CACHE_SECONDS;
}

static double attr_timeout(uint64_t ino)
{
    return ino == VOLUME_SNAPSHOTS ? 0 : MOUNT_CACHE_SECONDS;
}

void attr_to_entry(const struct volume_attr *attr, struct fuse_entry_param *ret)
{
    *ret = (struct fuse_entry_param){ .ino = attr->ino,
                                      .attr_timeout = attr_timeout(attr->ino),
                                      .entry_timeout = entry_timeout(attr->ino) };
    attr_to_stat(attr, &ret->attr);
}

void reply_entry(fuse_req_t req, int r, const struct volume_attr *attr)
{
    struct fuse_entry_param entry;
    struct volume *volume = volume_of(req);

    if (r < 0) {
        reply_result(req, r);
        return;
    }
    attr_to_entry(attr, &entry);
    if (fuse_reply_entry(req, &entry) < 0)
        volume_forget(volume, attr->ino, 1);
}

void reply_attr(fuse_req_t req, int r, const struct volume_attr *attr)
{
    struct stat st;

    if (r < 0) {
        reply_result(req, r);
        return;
    }
    attr_to_stat(attr, &st);
    (void)fuse_reply_attr(req, &st, attr_timeout(attr->ino));
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    const struct fuse_entry_param absent = { .entry_timeout = entry_timeout(parent) };
    struct volume_attr attr;
    int r = volume_lookup(volume_of(req), parent, name, &attr);

    /* Inode number 0 means: there is none, and the kernel may remember that. */
    if (r == -ENOENT)
        (void)fuse_reply_entry(req, &absent);
    else
        reply_entry(req, r, &attr);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    volume_forget(volume_of(req), ino, count);
    fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        volume_forget(volume_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct volume_attr attr;

    (void)fi;
    reply_attr(req, volume_getattr(volume_of(req), ino, &attr), &attr);
}

/* What the bits of FUSE_SET_ATTR are to the volume. */
static unsigned take_changes(const struct stat *st, int to_set, struct volume_attr *ret)
{
    static const struct {
        int from;
        unsigned to;
    } bits[] = {
        { FUSE_SET_ATTR_MODE, VOLUME_SET_MODE },   { FUSE_SET_ATTR_UID, VOLUME_SET_UID },
        { FUSE_SET_ATTR_GID, VOLUME_SET_GID },     { FUSE_SET_ATTR_SIZE, VOLUME_SET_SIZE },
        { FUSE_SET_ATTR_ATIME, VOLUME_SET_ATIME }, { FUSE_SET_ATTR_ATIME_NOW, VOLUME_SET_ATIME },
        { FUSE_SET_ATTR_MTIME, VOLUME_SET_MTIME }, { FUSE_SET_ATTR_MTIME_NOW, VOLUME_SET_MTIME },
        { FUSE_SET_ATTR_CTIME, VOLUME_SET_CTIME },
    };
    int64_t now_ns = clock_file_ns();
    unsigned which = 0;

    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
        if (to_set & bits[i].from)
            which |= bits[i].to;
    *ret = (struct volume_attr){
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .size = (uint64_t)st->st_size,
        .atime_ns = to_set & FUSE_SET_ATTR_ATIME_NOW ? now_ns : to_ns(&st->st_atim),
        .mtime_ns = to_set & FUSE_SET_ATTR_MTIME_NOW ? now_ns : to_ns(&st->st_mtim),
        .ctime_ns = to_ns(&st->st_ctim),
    };
    return which;
}

uint32_t mode_without_suid(uint32_t mode)
{
    mode &= ~(uint32_t)S_ISUID;
    if (mode & S_IXGRP) /* without it the bit means something else (mandatory locks) */
        mode &= ~(uint32_t)S_ISGID;
    return mode;
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                struct fuse_file_info *fi)
{
    struct volume *volume = volume_of(req);
    struct volume_attr change;
    struct volume_attr attr;
    unsigned which = take_changes(st, to_set, &change);
    int r = 0;

    (void)fi;
    if (request_kills_suid(req) && !(which & VOLUME_SET_MODE)) {
        r = volume_getattr(volume, ino, &attr);
        change.mode = r == 0 ? mode_without_suid(attr.mode) : 0;
        if (r == 0 && change.mode != attr.mode)
            which |= VOLUME_SET_MODE;
    }
    if (r == 0)
        r = which ? volume_setattr(volume, ino, &change, which, &attr)
                  : volume_getattr(volume, ino, &attr);
    reply_attr(req, r, &attr);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char target[VOLUME_SYMLINK_MAX + 1];
    int r = volume_readlink(volume_of(req), ino, target);

    if (r < 0)
        reply_result(req, r);
    else
        (void)fuse_reply_readlink(req, target);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct volume_statfs have;
    int r = volume_statfs(volume_of(req), &have);

    (void)ino;
    if (r < 0) {
        reply_result(req, r);
        return;
    }
    const struct statvfs st = { .f_bsize = BLOCK_SIZE,
                                .f_frsize = BLOCK_SIZE,
                                .f_blocks = have.total / BLOCK_SIZE,
                                .f_bfree = have.free / BLOCK_SIZE,
                                .f_bavail = have.free / BLOCK_SIZE,
                                .f_files = have.files + have.files_free,
                                .f_ffree = have.files_free,
                                .f_favail = have.files_free,
                                .f_namemax = VOLUME_NAME_MAX };
    (void)fuse_reply_statfs(req, &st);
}
