#include "fs/file.h"

#include <errno.h>
#include <sys/stat.h>

int file_get(struct volume_txn *txn, uint64_t ino, struct inode *ret)
{
    int r = inode_get(txn, ino, ret);

    if (r < 0)
        return r;
    return S_ISREG(ret->mode) ? 0 : -EINVAL;
}

void file_changed(struct volume_txn *txn, struct inode *inode)
{
    if (atomic_load(&txn->volume->leaves_times))
        return;
    inode->mtime_ns = txn->now_ns;
    inode->ctime_ns = txn->now_ns;
}

int file_result(struct volume *volume, int r, uint64_t ino, struct error *err)
{
    if (r == -ENOENT)
        r = error_recode(err, -EBADMSG);
    return volume_result(volume, r, ino, err);
}
