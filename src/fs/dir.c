/* Operations on names: finding, making, linking and removing them.
 *
 * A reference is counted before the inode it is to can lose its last name: of a new inode before
 * its commit; of one that is looked up as volume_lookup() says. Whoever takes the name after that
 * finds the reference. */
#include "fs/directory.h"
#include "fs/snapshot_view.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define LINKS_MAX 0x7fffffffu
#define PERMISSIONS 07777u

struct lookup {
    struct name name;
    uint64_t slot; /* of the snapshot, shifted */
    uint64_t ino;  /* of which a reference is held; 0: none yet */
    struct volume_attr *ret;
};

static int find_name(struct volume_txn *txn, void *arg)
{
    struct lookup *lookup = arg;
    struct dirent_record entry;
    struct inode inode;
    int r = name_get(txn, &lookup->name, &entry);

    if (r == 0)
        r = entry_inode(txn, &entry, &inode);
    if (r == 0 && lookup->slot == 0)
        r = references_add(&txn->volume->references, entry.ino, 1);
    if (r < 0)
        return r;
    lookup->ino = lookup->slot == 0 ? entry.ino : 0;
    inode_attr(lookup->slot | entry.ino, &inode, lookup->ret);
    return 0;
}

/* The view may be older than the end of the inode. Who ends one first counts it, then looks at the
 * references; we counted our reference first, then look whether any was ended. So one of us sees
 * the other. */
int volume_lookup(struct volume *volume, uint64_t parent, const char *name, struct volume_attr *ret)
{
    struct lookup lookup = { .slot = inode_slot(parent), .ret = ret };

    if (is_snapshots_folder(parent))
        return snapshots_lookup(volume, name, ret);
    int r = name_init(volume, inode_number(parent), name, &lookup.name);
    while (r == 0) {
        lookup.ino = 0;
        uint64_t reaps = atomic_load(&volume->reaps);
        r = volume_view_of(volume, parent, find_name, &lookup);
        if (r == -ENOENT && snapshots_name_is_taken(parent, name))
            return snapshots_attr(volume, ret);
        if (r == 0 && atomic_load(&volume->reaps) == reaps)
            return 0;
        if (lookup.ino != 0)
            volume_forget(volume, lookup.ino, 1);
    }
    return r;
}

struct creation {
    struct name name;
    bool has_name;
    struct inode inode; /* as it is to be, but for its times */
    uint64_t ino;       /* of which a reference is held; 0: none yet */
    struct volume_attr result;
};

static void drop_new_reference(struct volume *volume, struct creation *creation)
{
    if (creation->ino != 0)
        (void)references_drop(&volume->references, creation->ino, 1);
    creation->ino = 0;
}

static int draw_inode(struct volume_txn *txn, struct creation *creation)
{
    uint64_t ino;

    drop_new_reference(txn->volume, creation); /* of an attempt that has to be repeated */
    int r = inode_allocate(txn, &ino);
    if (r == 0)
        r = references_add(&txn->volume->references, ino, 1);
    if (r < 0)
        return r;
    creation->ino = ino;
    creation->inode.atime_ns = txn->now_ns;
    creation->inode.mtime_ns = txn->now_ns;
    creation->inode.ctime_ns = txn->now_ns;
    inode_attr(ino, &creation->inode, &creation->result);
    return inode_put(txn, ino, &creation->inode);
}

static int create(struct volume_txn *txn, void *arg)
{
    struct creation *creation = arg;
    uint64_t parent = creation->name.parent;
    struct inode directory;
    int r = directory_get_alive(txn, parent, &directory);

    if (r == 0 && creation->has_name)
        r = name_is_free(txn, &creation->name);
    if (r == 0)
        r = draw_inode(txn, creation);
    if (r < 0)
        return r;
    if (!creation->has_name)
        return orphan_put(txn, creation->ino);
    r = name_put(txn, &creation->name, creation->ino, creation->inode.mode);
    if (r == 0)
        r = directory_change(txn, parent, &directory, 1, S_ISDIR(creation->inode.mode));
    return r < 0 ? r : inode_put(txn, parent, &directory);
}

static int run_creation(struct volume *volume, struct creation *creation, struct volume_attr *ret)
{
    int r = volume_reserve(volume, 0, 1);

    if (r == 0)
        r = volume_change(volume, META_WRITE, create, creation);
    if (r < 0) {
        drop_new_reference(volume, creation);
        return r;
    }
    if (!creation->has_name)
        (void)references_mark_orphan(&volume->references, creation->ino);
    *ret = creation->result;
    return r;
}

static bool may_be_made(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        return true;
    default:
        return false;
    }
}

int volume_mknod(struct volume *volume, uint64_t parent, const char *name, uint32_t mode,
                 uint64_t rdev, const struct volume_owner *owner, struct volume_attr *ret)
{
    struct creation creation = { .has_name = true };
    int r = name_init_new(volume, parent, name, &creation.name);

    if (r < 0)
        return r;
    if (!may_be_made(mode))
        return -EINVAL;
    creation.inode.mode = mode & (S_IFMT | PERMISSIONS);
    creation.inode.nlink = S_ISDIR(mode) ? 2 : 1;
    creation.inode.uid = owner->uid;
    creation.inode.gid = owner->gid;
    creation.inode.rdev = S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0;
    creation.inode.parent = S_ISDIR(mode) ? parent : 0;
    return run_creation(volume, &creation, ret);
}

int volume_symlink(struct volume *volume, uint64_t parent, const char *name, const char *target,
                   const struct volume_owner *owner, struct volume_attr *ret)
{
    struct creation creation = { .has_name = true };
    size_t len = strnlen(target, VOLUME_SYMLINK_MAX + 1);
    int r = name_init_new(volume, parent, name, &creation.name);

    if (r < 0)
        return r;
    if (len == 0)
        return -ENOENT; /* as symlink(2) */
    if (len > VOLUME_SYMLINK_MAX)
        return -ENAMETOOLONG;
    creation.inode.mode = S_IFLNK | 0777;
    creation.inode.nlink = 1;
    creation.inode.uid = owner->uid;
    creation.inode.gid = owner->gid;
    creation.inode.size = len;
    creation.inode.body_len = (uint32_t)len;
    memcpy(creation.inode.body, target, len);
    return run_creation(volume, &creation, ret);
}

int volume_tmpfile(struct volume *volume, uint64_t parent, uint32_t mode,
                   const struct volume_owner *owner, struct volume_attr *ret)
{
    struct creation creation = { .name = { .parent = parent } };

    if (inode_slot(parent) != 0)
        return -EROFS;
    creation.inode.mode = S_IFREG | (mode & PERMISSIONS);
    creation.inode.uid = owner->uid;
    creation.inode.gid = owner->gid;
    return run_creation(volume, &creation, ret);
}

struct linking {
    struct name name;
    uint64_t ino;
    struct volume_attr result;
};

static int add_link(struct volume_txn *txn, uint64_t ino, struct inode *inode)
{
    if (S_ISDIR(inode->mode))
        return -EPERM;
    if (inode->nlink >= LINKS_MAX)
        return -EMLINK;
    inode->ctime_ns = txn->now_ns;
    inode->nlink++;
    /* It had none: made by volume_tmpfile(). */
    if (inode->nlink == 1 && !(inode->flags & INODE_UNTRIMMED)) {
        int r = orphan_remove(txn, ino);
        if (r < 0)
            return r;
    }
    return inode_put(txn, ino, inode);
}

static int link_name(struct volume_txn *txn, void *arg)
{
    struct linking *linking = arg;
    uint64_t parent = linking->name.parent;
    struct inode directory;
    struct inode inode;
    int r = directory_get_alive(txn, parent, &directory);

    if (r == 0)
        r = name_is_free(txn, &linking->name);
    if (r == 0)
        r = inode_get(txn, linking->ino, &inode);
    if (r == 0)
        r = add_link(txn, linking->ino, &inode);
    if (r == 0)
        r = name_put(txn, &linking->name, linking->ino, inode.mode);
    if (r == 0)
        r = directory_change(txn, parent, &directory, 1, 0);
    if (r == 0)
        r = inode_put(txn, parent, &directory);
    if (r == 0)
        inode_attr(linking->ino, &inode, &linking->result);
    return r;
}

int volume_link(struct volume *volume, uint64_t ino, uint64_t parent, const char *name,
                struct volume_attr *ret)
{
    struct linking linking = { .ino = ino };
    int r = name_init_new(volume, parent, name, &linking.name);

    if (r == 0 && inode_slot(ino) != 0)
        r = -EXDEV; /* a snapshot is another tree */
    if (r == 0)
        r = references_add(&volume->references, ino, 1);
    if (r < 0)
        return r;
    r = volume_change(volume, META_WRITE, link_name, &linking);
    if (r < 0)
        volume_forget(volume, ino, 1);
    else
        *ret = linking.result;
    return r;
}

struct removal {
    struct name name;
    bool is_rmdir;
    uint64_t orphan; /* 0: it has other names */
};

static int may_go(const struct removal *removal, const struct inode *inode)
{
    if (!removal->is_rmdir)
        return S_ISDIR(inode->mode) ? -EISDIR : 0;
    if (!S_ISDIR(inode->mode))
        return -ENOTDIR;
    return inode->size > 0 ? -ENOTEMPTY : 0;
}

static int remove_name(struct volume_txn *txn, void *arg)
{
    struct removal *removal = arg;
    uint64_t parent = removal->name.parent;
    struct dirent_record entry;
    struct inode directory;
    struct inode inode;
    int r = directory_get(txn, parent, &directory);

    if (r == 0)
        r = name_get(txn, &removal->name, &entry);
    if (r == 0)
        r = entry_inode(txn, &entry, &inode);
    if (r == 0)
        r = may_go(removal, &inode);
    if (r == 0)
        r = name_remove(txn, &removal->name);
    if (r == 0)
        r = inode_unlinked(txn, entry.ino, &inode);
    if (r == 0)
        r = directory_change(txn, parent, &directory, -1, removal->is_rmdir ? -1 : 0);
    if (r != 0)
        return r;
    removal->orphan = inode.nlink == 0 ? entry.ino : 0;
    return inode_put(txn, parent, &directory);
}

static int run_removal(struct volume *volume, uint64_t parent, const char *name, bool is_rmdir)
{
    struct removal removal = { .is_rmdir = is_rmdir };
    int r = inode_slot(parent) != 0 ? -EROFS : name_init(volume, parent, name, &removal.name);

    if (r == 0)
        r = volume_change(volume, META_FREE, remove_name, &removal);
    if (r == 0 && removal.orphan != 0)
        orphan_made(volume, removal.orphan);
    return r;
}

int volume_unlink(struct volume *volume, uint64_t parent, const char *name)
{
    return run_removal(volume, parent, name, false);
}

int volume_rmdir(struct volume *volume, uint64_t parent, const char *name)
{
    return run_removal(volume, parent, name, true);
}
