/* Operations on open files. There are no file handles: the kernel keeps a reference to the inode
 * of every open file, so the number is enough. */
#include "mount/session_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static bool is_for_writing(const struct fuse_file_info *fi)
{
    return (fi->flags & O_ACCMODE) != O_RDONLY;
}

static int note_open(fuse_req_t req, uint64_t ino, struct fuse_file_info *fi)
{
    /* Pages that were lost are not shown to who opens the file now. */
    fi->keep_cache = !open_files_has_loss(session_of(req)->writers, ino);
    return is_for_writing(fi) ? open_files_add(session_of(req)->writers, ino) : 0;
}

/* True if pages were lost, which the kernel still shows. */
static bool note_closed(struct mount_session *session, uint64_t ino,
                        const struct fuse_file_info *fi)
{
    return is_for_writing(fi) && open_files_remove(session->writers, ino);
}

/* What the kernel shows of the inode is what is stored, from then on. Pages that are to be written
 * back are so first, by another thread: this one waits. False if that is not possible now. */
static bool drop_pages(struct mount_session *session, uint64_t ino)
{
    if (atomic_flag_test_and_set(&session->is_dropping_pages))
        return false;
    (void)fuse_lowlevel_notify_inval_inode(session->fuse, ino, 0, 0);
    atomic_flag_clear(&session->is_dropping_pages);
    return true;
}

static int truncate_to_zero(fuse_req_t req, uint64_t ino, struct volume_attr *ret)
{
    struct volume *volume = volume_of(req);
    struct volume_attr change = { .size = 0 };
    unsigned which = VOLUME_SET_SIZE;

    if (request_kills_suid(req)) {
        int r = volume_getattr(volume, ino, ret);
        if (r < 0)
            return r;
        change.mode = mode_without_suid(ret->mode);
        which |= change.mode != ret->mode ? VOLUME_SET_MODE : 0;
    }
    return volume_setattr(volume, ino, &change, which, ret);
}

static void reply_create(fuse_req_t req, const struct volume_attr *attr, struct fuse_file_info *fi)
{
    struct mount_session *session = session_of(req);
    struct fuse_entry_param entry;
    int r = note_open(req, attr->ino, fi);

    if (r < 0) {
        volume_forget(session->volume, attr->ino, 1);
        reply_result(req, r);
        return;
    }
    attr_to_entry(attr, &entry);
    if (fuse_reply_create(req, &entry, fi) < 0) {
        (void)note_closed(session, attr->ino, fi);
        volume_forget(session->volume, attr->ino, 1);
    }
}

/* The name came into being after the kernel had looked for it. */
static int open_existing(fuse_req_t req, uint64_t parent, const char *name,
                         const struct fuse_file_info *fi, struct volume_attr *ret)
{
    struct volume *volume = volume_of(req);
    int r = volume_lookup(volume, parent, name, ret);

    if (r < 0)
        return r;
    uint64_t ino = ret->ino;
    if (!S_ISREG(ret->mode))
        r = -EEXIST;
    else if (fi->flags & O_TRUNC)
        r = truncate_to_zero(req, ino, ret);
    if (r < 0)
        volume_forget(volume, ino, 1);
    return r;
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi)
{
    struct volume_attr attr = { .ino = 0 };
    int r = make_inode(req, parent, name, (mode & 07777) | S_IFREG, 0, &attr);

    if (r == -EEXIST && !(fi->flags & O_EXCL))
        r = open_existing(req, parent, name, fi, &attr);
    if (r < 0)
        reply_result(req, r);
    else
        reply_create(req, &attr, fi);
}

void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
    struct volume_owner owner;
    struct volume_attr attr = { .ino = 0 };

    mode = (mode & 07777) | S_IFREG;
    int r = new_owner(req, parent, &mode, &owner);
    if (r == 0)
        r = volume_tmpfile(volume_of(req), parent, mode, &owner, &attr);
    if (r < 0)
        reply_result(req, r);
    else
        reply_create(req, &attr, fi);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount_session *session = session_of(req);
    struct volume_attr attr;
    int r = 0;

    /* Said here: a write into the cache would fail only when nobody listens any more. */
    if (is_for_writing(fi) && (volume_is_read_only(session->volume) || volume_is_in_snapshot(ino)))
        r = -EROFS;
    else if (fi->flags & O_TRUNC)
        r = truncate_to_zero(req, ino, &attr);
    if (r == 0)
        r = note_open(req, ino, fi);
    if (r < 0)
        reply_result(req, r);
    else if (fuse_reply_open(req, fi) < 0)
        (void)note_closed(session, ino, fi);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount_session *session = session_of(req);
    bool has_loss = note_closed(session, ino, fi);

    reply_result(req, 0);
    if (has_loss)
        (void)drop_pages(session, ino);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct volume *volume = volume_of(req);
    uint8_t *buffer = mount_thread_buffer(session_of(req));
    size_t len = 0;

    (void)fi;
    if (!buffer) {
        reply_result(req, -ENOMEM);
        return;
    }
    if (size > MOUNT_REQUEST_MAX)
        size = MOUNT_REQUEST_MAX;
    int r = volume_read(volume, ino, (uint64_t)offset, size, buffer, &len);
    if (r < 0) {
        reply_result(req, r);
        return;
    }
    (void)fuse_reply_buf(req, (const char *)buffer, len);
}

static int kill_suid(struct volume *volume, uint64_t ino)
{
    struct volume_attr attr;
    int r = volume_getattr(volume, ino, &attr);

    if (r < 0)
        return r;
    struct volume_attr change = { .mode = mode_without_suid(attr.mode) };
    return change.mode == attr.mode ? 0
                                    : volume_setattr(volume, ino, &change, VOLUME_SET_MODE, &attr);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
              struct fuse_file_info *fi)
{
    struct mount_session *session = session_of(req);
    bool kills = request_kills_suid(req);
    int r = kills ? kill_suid(session->volume, ino) : 0;

    if (r == 0)
        r = volume_write(session->volume, ino, (uint64_t)offset,
                         (struct bytes){ (const uint8_t *)data, size });
    if (r < 0) {
        if (fi->writepage)
            open_files_note_loss(session->writers, ino);
        reply_result(req, r);
        return;
    }
    (void)fuse_reply_write(req, size);
    /* The kernel does not expect the mode to have changed (length -1: attributes only). */
    if (kills)
        (void)fuse_lowlevel_notify_inval_inode(session->fuse, ino, -1, 0);
}

/* The kernel has written everything back before it asks. With "not implemented" it asks once. */
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    reply_result(req, -ENOSYS);
}

/* The kernel has told of a loss when it asks again. What it showed until now is not what is
 * durable. */
static int end_loss(struct mount_session *session, uint64_t ino)
{
    if (!open_files_has_loss(session->writers, ino))
        return 0;
    open_files_end_loss(session->writers, ino);
    if (drop_pages(session, ino))
        return 0;
    open_files_note_loss(session->writers, ino);
    return -EIO;
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    int r = end_loss(session_of(req), ino);

    (void)data_only;
    (void)fi;
    if (r < 0)
        reply_result(req, r);
    else
        reply_when_durable(req);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t len,
                  struct fuse_file_info *fi)
{
    (void)fi;
    reply_result(req, volume_fallocate(volume_of(req), ino, mode, (uint64_t)offset, (uint64_t)len));
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
    uint64_t found;
    int r = volume_seek(volume_of(req), ino, (uint64_t)offset, whence, &found);

    (void)fi;
    if (r < 0)
        reply_result(req, r);
    else
        (void)fuse_reply_lseek(req, (off_t)found);
}
