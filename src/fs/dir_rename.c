/* Renaming: a name moves, over another one if it must, or two change places. */
#include "fs/directory.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

struct renaming {
    struct name from;
    struct name to;
    unsigned flags;
    uint64_t orphan; /* it lost its last name; 0: none did */
};

/* What one transaction read of it. to_parent is from_parent's copy if both are one directory. */
struct rename_view {
    struct inode from_parent;
    struct inode other_parent;
    struct inode *to_parent;
    struct dirent_record source_entry;
    struct dirent_record target_entry;
    struct inode source;
    struct inode target;
    bool has_target;
};

static int read_names(struct volume_txn *txn, const struct renaming *renaming,
                      struct rename_view *view)
{
    int r = directory_get(txn, renaming->from.parent, &view->from_parent);

    view->to_parent = &view->from_parent;
    if (r == 0 && renaming->to.parent != renaming->from.parent) {
        view->to_parent = &view->other_parent;
        r = directory_get_alive(txn, renaming->to.parent, &view->other_parent);
    }
    if (r == 0)
        r = name_get(txn, &renaming->from, &view->source_entry);
    if (r < 0)
        return r;
    r = name_get(txn, &renaming->to, &view->target_entry);
    view->has_target = r == 0;
    return r == -ENOENT ? 0 : r;
}

static int read_inodes(struct volume_txn *txn, struct rename_view *view)
{
    int r = entry_inode(txn, &view->source_entry, &view->source);

    if (r == 0 && view->has_target)
        r = entry_inode(txn, &view->target_entry, &view->target);
    return r;
}

/* -EINVAL if ino is ancestor or lies below it. Directories form a tree, so the way up ends. */
static int check_not_below(struct volume_txn *txn, uint64_t ino, uint64_t ancestor)
{
    struct inode inode;

    while (ino != ancestor && ino != VOLUME_ROOT) {
        int r = directory_get(txn, ino, &inode);
        if (r == -ENOENT || r == -ENOTDIR || (r == 0 && inode.parent == ino))
            return txn_refused(txn, -EBADMSG, "the way up", ino);
        if (r < 0)
            return r;
        ino = inode.parent;
    }
    return ino == ancestor ? -EINVAL : 0;
}

/* No directory may come to lie in itself. */
static int check_tree(struct volume_txn *txn, const struct renaming *renaming,
                      const struct rename_view *view)
{
    int r = 0;

    if (renaming->from.parent == renaming->to.parent)
        return 0;
    if (S_ISDIR(view->source.mode))
        r = check_not_below(txn, renaming->to.parent, view->source_entry.ino);
    if (r == 0 && (renaming->flags & RENAME_EXCHANGE) && S_ISDIR(view->target.mode))
        r = check_not_below(txn, renaming->from.parent, view->target_entry.ino);
    return r;
}

static int check_replaced(const struct rename_view *view)
{
    bool is_dir = S_ISDIR(view->source.mode);

    if (is_dir && !S_ISDIR(view->target.mode))
        return -ENOTDIR;
    if (!is_dir && S_ISDIR(view->target.mode))
        return -EISDIR;
    return is_dir && view->target.size > 0 ? -ENOTEMPTY : 0;
}

/* An inode under its new name. */
static int place(struct volume_txn *txn, const struct name *name, uint64_t ino, struct inode *inode)
{
    int r = name_put(txn, name, ino, inode->mode);

    if (r < 0)
        return r;
    inode->ctime_ns = txn->now_ns;
    if (S_ISDIR(inode->mode))
        inode->parent = name->parent;
    return inode_put(txn, ino, inode);
}

static int put_parents(struct volume_txn *txn, const struct renaming *renaming,
                       const struct rename_view *view)
{
    int r = inode_put(txn, renaming->from.parent, &view->from_parent);

    if (r == 0 && view->to_parent != &view->from_parent)
        r = inode_put(txn, renaming->to.parent, view->to_parent);
    return r;
}

static int move(struct volume_txn *txn, struct renaming *renaming, struct rename_view *view)
{
    int source_dirs = S_ISDIR(view->source.mode);
    int target_dirs = view->has_target && S_ISDIR(view->target.mode);
    int r = name_remove(txn, &renaming->from);

    if (r == 0)
        r = place(txn, &renaming->to, view->source_entry.ino, &view->source);
    if (r == 0 && view->has_target)
        r = inode_unlinked(txn, view->target_entry.ino, &view->target);
    if (r == 0)
        r = directory_change(txn, renaming->from.parent, &view->from_parent, -1, -source_dirs);
    if (r == 0)
        r = directory_change(txn, renaming->to.parent, view->to_parent, view->has_target ? 0 : 1,
                             source_dirs - target_dirs);
    if (r < 0)
        return r;
    renaming->orphan = view->has_target && view->target.nlink == 0 ? view->target_entry.ino : 0;
    return put_parents(txn, renaming, view);
}

static int exchange(struct volume_txn *txn, struct renaming *renaming, struct rename_view *view)
{
    int more_dirs = (int)S_ISDIR(view->target.mode) - (int)S_ISDIR(view->source.mode);
    int r = place(txn, &renaming->to, view->source_entry.ino, &view->source);

    if (r == 0)
        r = place(txn, &renaming->from, view->target_entry.ino, &view->target);
    if (r == 0)
        r = directory_change(txn, renaming->from.parent, &view->from_parent, 0, more_dirs);
    if (r == 0)
        r = directory_change(txn, renaming->to.parent, view->to_parent, 0, -more_dirs);
    return r < 0 ? r : put_parents(txn, renaming, view);
}

static int rename_name(struct volume_txn *txn, void *arg)
{
    struct renaming *renaming = arg;
    bool is_exchange = renaming->flags & RENAME_EXCHANGE;
    struct rename_view view;
    int r = read_names(txn, renaming, &view);

    renaming->orphan = 0;
    if (r < 0)
        return r;
    if (view.has_target && (renaming->flags & RENAME_NOREPLACE))
        return -EEXIST;
    if (!view.has_target && is_exchange)
        return -ENOENT;
    if (view.has_target && view.target_entry.ino == view.source_entry.ino)
        return 0; /* two names of one inode: both stay, as rename(2) says */
    r = read_inodes(txn, &view);
    if (r == 0)
        r = check_tree(txn, renaming, &view);
    if (r == 0 && view.has_target && !is_exchange)
        r = check_replaced(&view);
    if (r < 0)
        return r;
    return is_exchange ? exchange(txn, renaming, &view) : move(txn, renaming, &view);
}

int volume_rename(struct volume *volume, uint64_t parent, const char *name, uint64_t new_parent,
                  const char *new_name, unsigned flags)
{
    struct renaming renaming = { .flags = flags };

    if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE)
        return -EINVAL;
    int r = inode_slot(parent) != 0 ? -EROFS : name_init(volume, parent, name, &renaming.from);
    if (r == 0)
        r = name_init_new(volume, new_parent, new_name, &renaming.to);
    if (r == 0)
        r = volume_change(volume, META_FREE, rename_name, &renaming);
    if (r == 0 && renaming.orphan != 0)
        orphan_made(volume, renaming.orphan);
    return r;
}
