#include "fs/directory.h"
#include "fs/snapshot_view.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define LINKS_MAX 0x7fffffffu

int name_init(struct volume *volume, uint64_t parent, const char *text, struct name *ret)
{
    size_t len = strnlen(text, NAME_MAX_LEN + 1);

    if (len > NAME_MAX_LEN)
        return -ENAMETOOLONG;
    if (len == 0 || strchr(text, '/') || strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
        return -EINVAL;
    ret->parent = parent;
    ret->text = text;
    return lookup_key(volume, LOOKUP_DIRENT, parent, text, ret->lookup);
}

int name_init_new(struct volume *volume, uint64_t parent, const char *text, struct name *ret)
{
    if (inode_slot(parent) != 0)
        return -EROFS;
    if (snapshots_name_is_taken(parent, text))
        return -EEXIST;
    return name_init(volume, parent, text, ret);
}

int name_get(struct volume_txn *txn, const struct name *name, struct dirent_record *ret)
{
    struct record_key key;
    struct bytes value;

    dirent_key(name->parent, name->lookup, &key);
    int r = txn_get(txn, &key, &value);
    if (r < 0)
        return r;
    r = dirent_decode(value, ret);
    if (r == 0 && strcmp(ret->name, name->text) != 0)
        r = -EBADMSG;
    return txn_refused(txn, r, "an entry", name->parent);
}

int name_put(struct volume_txn *txn, const struct name *name, uint64_t ino, uint32_t mode)
{
    struct dirent_record entry = { .ino = ino, .type = (uint8_t)((mode & S_IFMT) >> 12) };
    uint8_t value[DIRENT_VALUE_MAX];
    struct record_key key;
    size_t len;

    entry.name_len = (uint8_t)strlen(name->text);
    memcpy(entry.name, name->text, entry.name_len);
    int r = dirent_encode(&entry, value, &len);
    if (r < 0)
        return r;
    dirent_key(name->parent, name->lookup, &key);
    return txn_put(txn, &key, (struct bytes){ value, len });
}

int name_remove(struct volume_txn *txn, const struct name *name)
{
    struct record_key key;

    dirent_key(name->parent, name->lookup, &key);
    return txn_remove(txn, &key);
}

int name_is_free(struct volume_txn *txn, const struct name *name)
{
    struct dirent_record entry;
    int r = name_get(txn, name, &entry);

    if (r == 0)
        return -EEXIST;
    return r == -ENOENT ? 0 : r;
}

int entry_inode(struct volume_txn *txn, const struct dirent_record *entry, struct inode *ret)
{
    int r = inode_get(txn, entry->ino, ret);

    return r == -ENOENT ? txn_refused(txn, -EBADMSG, "a name that leads nowhere", entry->ino) : r;
}

int directory_get(struct volume_txn *txn, uint64_t ino, struct inode *ret)
{
    int r = inode_get(txn, ino, ret);

    return r == 0 && !S_ISDIR(ret->mode) ? -ENOTDIR : r;
}

int directory_get_alive(struct volume_txn *txn, uint64_t ino, struct inode *ret)
{
    int r = directory_get(txn, ino, ret);

    return r == 0 && ret->nlink == 0 ? -ENOENT : r;
}

int directory_change(struct volume_txn *txn, uint64_t ino, struct inode *inode, int entries,
                     int directories)
{
    int64_t size = (int64_t)inode->size + entries;
    int64_t nlink = (int64_t)inode->nlink + directories;

    if (size < 0 || nlink < 2)
        return txn_refused(txn, -EBADMSG, "the count of entries", ino);
    if (nlink > LINKS_MAX)
        return -EMLINK;
    inode->size = (uint64_t)size;
    inode->nlink = (uint32_t)nlink;
    inode->mtime_ns = txn->now_ns;
    inode->ctime_ns = txn->now_ns;
    return 0;
}

void orphan_made(struct volume *volume, uint64_t ino)
{
    /* If it fails it is reported, and the next open tries again. */
    if (!references_mark_orphan(&volume->references, ino))
        (void)inode_reap(volume, ino);
}
