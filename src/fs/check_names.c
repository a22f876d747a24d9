/* Inodes and what names them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/check_internal.h"

typedef unsigned long long ull;

static int add_inode(struct check *check, uint64_t ino, const struct inode *inode)
{
    if (check->inode_count == check->inode_room) {
        size_t room = check->inode_room == 0 ? 1024 : 2 * check->inode_room;
        struct inode_sum *inodes = reallocarray(check->inodes, room, sizeof(*inodes));
        if (inodes == NULL)
            return error_set(check->err, -ENOMEM, "no memory to check so many files");
        check->inodes = inodes;
        check->inode_room = room;
    }
    check->inodes[check->inode_count++] = (struct inode_sum){
        .ino = ino,
        .size = inode->size,
        .stored = inode->stored - inode->body_len * (uint64_t)S_ISREG(inode->mode),
        .parent = inode->parent,
        .nlink = inode->nlink,
        .mode = inode->mode,
        .flags = inode->flags,
    };
    check->stored += check->snapshot == 0 ? inode->stored : 0;
    return 0;
}

static int visit_inode(struct bytes key, struct bytes value, void *arg)
{
    struct check *check = arg;
    struct inode inode;
    uint64_t ino;

    if (record_key_inode(key, RECORD_INODE, &ino, NULL) < 0 || inode_decode(value, &inode) < 0) {
        check_fault(check, "An INODE record cannot be understood.");
        return 0;
    }
    if (ino >= atomic_load(&check->volume->next_ino))
        check_fault(check, "Inode %llu has a number that was not given out yet.", (ull)ino);
    return add_inode(check, ino, &inode);
}

static void check_entry(struct check *check, uint64_t parent_ino,
                        const struct dirent_record *dirent)
{
    struct inode_sum *parent = check_inode(check, parent_ino);
    struct inode_sum *inode = check_inode(check, dirent->ino);

    if (parent == NULL || !S_ISDIR(parent->mode)) {
        check_fault(check, "An entry lies in inode %llu, which is not a directory.",
                    (ull)parent_ino);
        return;
    }
    parent->entries++;
    if (inode == NULL) {
        check_fault(check, "An entry of directory %llu names inode %llu, which is not there.",
                    (ull)parent_ino, (ull)dirent->ino);
        return;
    }
    if ((inode->mode & S_IFMT) >> 12 != dirent->type)
        check_fault(check, "An entry of directory %llu has another type than its inode %llu.",
                    (ull)parent_ino, (ull)dirent->ino);
    if (!S_ISDIR(inode->mode)) {
        inode->links++;
        return;
    }
    parent->links++;
    if (inode->has_entry || inode->parent != parent_ino)
        check_fault(check, "Directory %llu is named in %llu, where it does not belong.",
                    (ull)dirent->ino, (ull)parent_ino);
    inode->has_entry = true;
}

static int visit_dirent(struct bytes key, struct bytes value, void *arg)
{
    struct check *check = arg;
    uint8_t found[LOOKUP_KEY_LEN];
    uint8_t wanted[LOOKUP_KEY_LEN];
    struct dirent_record dirent;
    uint64_t parent;

    if (record_key_lookup(key, RECORD_DIRENT, &parent, found) < 0 ||
        dirent_decode(value, &dirent) < 0) {
        check_fault(check, "A DIRENT record cannot be understood.");
        return 0;
    }
    int r = lookup_key(check->volume, LOOKUP_DIRENT, parent, dirent.name, wanted);
    if (r < 0)
        return r;
    if (memcmp(found, wanted, sizeof(found)) != 0)
        check_fault(check, "An entry of directory %llu lies under the key of another name.",
                    (ull)parent);
    check_entry(check, parent, &dirent);
    return 0;
}

static int visit_xattr(struct bytes key, struct bytes value, void *arg)
{
    struct check *check = arg;
    uint8_t lookup[LOOKUP_KEY_LEN];
    struct xattr_record xattr;
    uint64_t ino;

    if (record_key_lookup(key, RECORD_XATTR, &ino, lookup) < 0 || xattr_decode(value, &xattr) < 0)
        check_fault(check, "An XATTR record cannot be understood.");
    else if (check_inode(check, ino) == NULL)
        check_fault(check, "An attribute belongs to inode %llu, which is not there.", (ull)ino);
    else if (!(check_inode(check, ino)->flags & INODE_XATTRS))
        check_fault(check, "Inode %llu has an attribute and does not say so.", (ull)ino);
    return 0;
}

static int visit_orphan(struct bytes key, struct bytes value, void *arg)
{
    struct check *check = arg;
    uint64_t ino;

    (void)value;
    if (record_key_inode(key, RECORD_ORPHAN, &ino, NULL) < 0) {
        check_fault(check, "An ORPHAN record cannot be understood.");
        return 0;
    }
    struct inode_sum *inode = check_inode(check, ino);
    if (inode == NULL)
        check_fault(check, "ORPHAN names inode %llu, which is not there.", (ull)ino);
    else
        inode->is_orphan = true;
    return 0;
}

static void check_directory(struct check *check, const struct inode_sum *inode)
{
    bool is_removed = inode->nlink == 0;

    if (inode->size != inode->entries)
        check_fault(check, "Directory %llu has %llu entries and counts %llu.", (ull)inode->ino,
                    (ull)inode->entries, (ull)inode->size);
    if (!is_removed && inode->nlink != inode->links + 2)
        check_fault(check, "Directory %llu has %u sub-directories and a link count of %u.",
                    (ull)inode->ino, inode->links, inode->nlink);
    if (!is_removed && !inode->has_entry && inode->ino != VOLUME_ROOT)
        check_fault(check, "Directory %llu is not named anywhere.", (ull)inode->ino);
}

static void check_links(struct check *check)
{
    for (size_t i = 0; i < check->inode_count; i++) {
        const struct inode_sum *inode = &check->inodes[i];
        bool has_rest = inode->nlink == 0 || (inode->flags & INODE_UNTRIMMED);
        if (S_ISDIR(inode->mode))
            check_directory(check, inode);
        else if (inode->nlink != inode->links)
            check_fault(check, "Inode %llu has %u names and a link count of %u.", (ull)inode->ino,
                        inode->links, inode->nlink);
        /* Of one that is not imported yet the record is made then. */
        bool is_early = !inode->is_orphan && inode->nlink > 0 && origin_is_importing(check->volume);
        if (has_rest != inode->is_orphan && check->snapshot == 0 && !is_early)
            check_fault(check,
                        has_rest ? "Inode %llu has something to be removed, but is not in ORPHAN."
                                 : "Inode %llu is in ORPHAN, but has nothing to be removed.",
                        (ull)inode->ino);
    }
    if (check_inode(check, VOLUME_ROOT) == NULL)
        check_fault(check, "There is no root directory.");
}

int check_names(struct check *check)
{
    int r = check_scan(check, RECORD_INODE, visit_inode);

    if (r == 0)
        r = check_scan(check, RECORD_DIRENT, visit_dirent);
    if (r == 0)
        r = check_scan(check, RECORD_XATTR, visit_xattr);
    if (r == 0 && check->snapshot == 0)
        r = check_scan(check, RECORD_ORPHAN, visit_orphan);
    if (r == 0)
        check_links(check);
    return r;
}
