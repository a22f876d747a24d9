/* file.h - what the files of fs/ that deal with the content of regular files share.
 *
 * A file without extents keeps what is within its first INLINE_MAX bytes in the body of its
 * inode. The first write that ends behind that makes blocks of the body, and it stays so until
 * the file has no extents any more. What neither the body nor an extent shows is zeros.
 *
 * Errors     as volume_internal.h. A transaction's function returns -ERESTART when something must
 *            be done outside of it first; it is never returned to who called the volume.
 */
#pragma once

#include "fs/volume_internal.h"

static inline bool file_is_inline(const struct inode *inode)
{
    return inode->stored == inode->body_len;
}

/* inode_get, and -EINVAL if it is no regular file. */
int file_get(struct volume_txn *txn, uint64_t ino, struct inode *ret);

/* mtime and ctime become now, if they are ours to set. */
void file_changed(struct volume_txn *txn, struct inode *inode);

/* A list may name blocks that are gone when they are read: they were moved, or are of no use any
 * more, and the next look finds others. If it does not so many times, they are lost. */
#define FILE_STALE_MAX 64u

/* volume_result() of what file_read_shown() gave; -ENOENT: blocks are lost. */
int file_result(struct volume *volume, int r, uint64_t ino, struct error *err);

/* What a list shows of offset to offset + len, holes as zeros. -ENOENT: blocks are gone that were
 * there when the list was read. */
int file_read_shown(struct volume *volume, const struct extents *list, uint32_t offset,
                    uint32_t len, uint8_t *to, struct error *err);

/* -ENOSPC if the capacity does not allow to write that range. */
int file_reserve(struct volume *volume, uint64_t ino, uint64_t offset, uint64_t len);

/* Writes zeros, if that does not make the file longer; else -ERESTART. */
int file_write_zeros(struct volume *volume, uint64_t ino, uint64_t offset, uint32_t len);
