/* directory.h - names and directories in a transaction: what the operations on names share.
 *
 * Errors     as volume_internal.h. -EBADMSG also for a name whose inode is gone.
 * Ownership  a struct name keeps the caller's text.
 * Threads    any; a transaction is used by one.
 */
#pragma once

#include "fs/volume_internal.h"

struct name {
    uint64_t parent;
    const char *text;
    uint8_t lookup[LOOKUP_KEY_LEN];
};

/* -EINVAL: not a name that may stand in a directory; -ENAMETOOLONG. */
int name_init(struct volume *volume, uint64_t parent, const char *text, struct name *ret);

/* The same for one that is to be made: -EROFS in a snapshot, -EEXIST where it stands for something.
 */
int name_init_new(struct volume *volume, uint64_t parent, const char *text, struct name *ret);

int name_get(struct volume_txn *txn, const struct name *name, struct dirent_record *ret);
int name_put(struct volume_txn *txn, const struct name *name, uint64_t ino, uint32_t mode);
int name_remove(struct volume_txn *txn, const struct name *name);

/* 0 if it is free, else -EEXIST. */
int name_is_free(struct volume_txn *txn, const struct name *name);

/* The inode that a directory's entry leads to. */
int entry_inode(struct volume_txn *txn, const struct dirent_record *entry, struct inode *ret);

/* -ENOTDIR. _alive: -ENOENT for one that was removed, too. */
int directory_get(struct volume_txn *txn, uint64_t ino, struct inode *ret);
int directory_get_alive(struct volume_txn *txn, uint64_t ino, struct inode *ret);

/* So many entries and, among them, directories more; its times follow. -EMLINK; -EBADMSG if its
 * counts cannot be right. Does not put it. */
int directory_change(struct volume_txn *txn, uint64_t ino, struct inode *inode, int entries,
                     int directories);

/* After a commit that took the last name of an inode: it goes if nobody refers to it. */
void orphan_made(struct volume *volume, uint64_t ino);
