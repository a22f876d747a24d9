/* session_internal.h - what the files of mount/ share. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "base/thread.h"
#include "fs/volume.h"
#include "mount/open_files.h"
#include "mount/session.h"
#include "mount/sync_replies.h"

#define MOUNT_REQUEST_MAX (1024u * 1024u) /* bytes of one read or write */
#define MOUNT_CACHE_SECONDS 3600.0        /* nobody but the kernel changes names and attributes */

struct mount_session {
    struct volume *volume;
    uint64_t root; /* the inode that the kernel calls FUSE_ROOT_ID */
    struct fuse_session *fuse;
    struct open_files *writers;
    atomic_flag
        is_dropping_pages;    /* one thread at a time, so that others serve what it waits for */
    pthread_key_t thread_key; /* struct mount_thread of each thread that serves */
    bool has_thread_key;
    struct mutex spares_lock; /* of the next two; they are open until the session ends */
    int spares[MOUNT_THREADS];
    unsigned spares_taken;
    struct sync_replies *syncs;
    int end_fd;
    pthread_t loop_thread;
};

/* Each thread reads a request, works it off and answers it before the next, but for fsyncs. */
struct mount_thread {
    int fd;            /* its own copy of the device, or the session's */
    uint32_t opcode;   /* of the request that it works on */
    bool kills_suid;   /* the kernel says that set-user-id and set-group-id must go with it */
    uint32_t init_can; /* FUSE_INIT only: what the kernel offered */
    uint8_t *buffer;   /* MOUNT_REQUEST_MAX bytes for replies, made when first needed */
};

/* This thread's; NULL only if memory has run out. */
struct mount_thread *mount_thread(struct mount_session *session);
uint8_t *mount_thread_buffer(struct mount_session *session);
void mount_thread_free(void *arg);

/* Reading and answering requests: struct fuse_custom_io. */
ssize_t mount_device_read(int fd, void *to, size_t size, void *arg);
ssize_t mount_device_writev(int fd, struct iovec *iov, int count, void *arg);

/* Helpers of the operations. */
static inline struct mount_session *session_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static inline struct volume *volume_of(fuse_req_t req)
{
    return session_of(req)->volume;
}

/* The kernel may take no answer (it was interrupted): then nothing is to be done about it. */
static inline void reply_result(fuse_req_t req, int r)
{
    (void)fuse_reply_err(req, -r);
}

/* Answers when all that was changed before is durable, which this does not wait for. */
void reply_when_durable(fuse_req_t req);

bool request_kills_suid(fuse_req_t req);
/* Without what a change of content takes away. */
uint32_t mode_without_suid(uint32_t mode);
void attr_to_stat(const struct volume_attr *attr, struct stat *ret);
void attr_to_entry(const struct volume_attr *attr, struct fuse_entry_param *ret);

/* Answers with r if it is an error, else with the entry, whose reference goes back to the volume
 * if the kernel does not take it. */
void reply_entry(fuse_req_t req, int r, const struct volume_attr *attr);
void reply_attr(fuse_req_t req, int r, const struct volume_attr *attr);

/* A new file, owned as the directory's set-group-id bit and the caller say. */
int make_inode(fuse_req_t req, uint64_t parent, const char *name, mode_t mode, dev_t rdev,
               struct volume_attr *ret);
int new_owner(fuse_req_t req, uint64_t parent, mode_t *mode, struct volume_owner *ret);

/* The operations, by file. */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_statfs(fuse_req_t req, fuse_ino_t ino);

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned flags);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t position,
                struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t position,
                    struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi);
void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
              struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t len,
                  struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi);

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                 int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
