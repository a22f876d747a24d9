/* Extended attributes: one record each, found by the hash of its name. Which names and values are
 * allowed to whom is the kernel's business. */
#include "fs/snapshot_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/cleanup.h"

struct xattr_change {
    uint64_t ino;
    struct record_key key;
    struct bytes value; /* of the record; no data: remove it */
    int flags;
};

static int find_key(struct volume *volume, uint64_t ino, const char *name, struct record_key *ret)
{
    uint8_t lookup[LOOKUP_KEY_LEN];
    size_t len = strnlen(name, NAME_MAX_LEN + 1);

    if (len == 0 || len > NAME_MAX_LEN)
        return -ERANGE; /* as the kernel says it */
    int r = lookup_key(volume, LOOKUP_XATTR, ino, name, lookup);
    if (r == 0)
        xattr_key(ino, lookup, ret);
    return r;
}

static int change_xattr(struct volume_txn *txn, void *arg)
{
    const struct xattr_change *change = arg;
    struct bytes old;
    struct inode inode;
    int r = inode_get(txn, change->ino, &inode);

    if (r < 0)
        return r;
    r = txn_get(txn, &change->key, &old);
    if (r < 0 && r != -ENOENT)
        return r;
    if (r == 0 && (change->flags & XATTR_CREATE))
        return -EEXIST;
    if (r == -ENOENT && (change->flags & XATTR_REPLACE))
        return -ENODATA;
    r = change->value.data ? txn_put(txn, &change->key, change->value)
                           : txn_remove(txn, &change->key);
    if (r < 0)
        return r;
    if (change->value.data)
        inode.flags |= INODE_XATTRS;
    inode.ctime_ns = txn->now_ns;
    return inode_put(txn, change->ino, &inode);
}

int volume_setxattr(struct volume *volume, uint64_t ino, const char *name, struct bytes value,
                    int flags)
{
    struct xattr_change change = { .ino = ino, .flags = flags };
    struct xattr_record xattr = { .value = value };
    int r = inode_slot(ino) != 0 ? -EROFS : find_key(volume, ino, name, &change.key);

    if (r < 0)
        return r;
    if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) || flags == (XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    if (value.len > VOLUME_XATTR_MAX)
        return -E2BIG;
    CLEANUP(free_ptr) uint8_t *record = malloc(XATTR_VALUE_MAX);
    if (!record)
        return -ENOMEM;
    xattr.name_len = (uint8_t)strlen(name);
    memcpy(xattr.name, name, xattr.name_len);
    r = xattr_encode(&xattr, record, &change.value.len);
    if (r == 0)
        r = volume_reserve(volume, value.len, 0);
    if (r < 0)
        return r;
    change.value.data = record;
    return volume_change(volume, META_WRITE, change_xattr, &change);
}

int volume_removexattr(struct volume *volume, uint64_t ino, const char *name)
{
    struct xattr_change change = { .ino = ino, .flags = XATTR_REPLACE };
    int r = inode_slot(ino) != 0 ? -EROFS : find_key(volume, ino, name, &change.key);

    return r < 0 ? r : volume_change(volume, META_FREE, change_xattr, &change);
}

struct xattr_reading {
    uint64_t ino;
    struct record_key key;
    const char *name;
    uint8_t *to;
    size_t size;
    size_t len;
};

static int read_xattr(struct volume_txn *txn, void *arg)
{
    struct xattr_reading *reading = arg;
    struct xattr_record xattr;
    struct bytes record;
    int r = txn_get(txn, &reading->key, &record);

    if (r < 0)
        return r == -ENOENT ? -ENODATA : r;
    r = xattr_decode(record, &xattr);
    if (r == 0 && strcmp(xattr.name, reading->name) != 0)
        r = -EBADMSG;
    if (r < 0)
        return txn_refused(txn, r, "an attribute", reading->ino);
    reading->len = xattr.value.len;
    if (reading->size == 0)
        return 0;
    if (xattr.value.len > reading->size)
        return -ERANGE;
    if (xattr.value.len)
        memcpy(reading->to, xattr.value.data, xattr.value.len);
    return 0;
}

int volume_getxattr(struct volume *volume, uint64_t ino, const char *name, uint8_t *to, size_t size,
                    size_t *ret_len)
{
    struct xattr_reading reading = {
        .ino = inode_number(ino), .name = name, .to = to, .size = size
    };
    int r = is_snapshots_folder(ino) ? -ENODATA : find_key(volume, reading.ino, name, &reading.key);

    if (r == 0)
        r = volume_view_of(volume, ino, read_xattr, &reading);
    if (r == 0)
        *ret_len = reading.len;
    return r;
}

struct xattr_list {
    uint64_t ino;
    struct volume_txn *txn;
    char *to;
    size_t size;
    size_t len;
};

static int add_to_list(struct bytes key, struct bytes value, void *arg)
{
    struct xattr_list *list = arg;
    struct xattr_record xattr;
    int r = xattr_decode(value, &xattr);

    (void)key; /* is the name's hash */
    if (r < 0)
        return txn_refused(list->txn, r, "an attribute", list->ino);
    size_t name_size = (size_t)xattr.name_len + 1;
    if (list->size != 0) {
        if (name_size > list->size - list->len)
            return -ERANGE;
        memcpy(list->to + list->len, xattr.name, name_size);
    }
    list->len += name_size;
    return 0;
}

static int scan_xattrs(struct volume_txn *txn, uint64_t ino, meta_visit_fn *visit, void *arg)
{
    struct record_key first;
    struct record_key end;

    inode_range(RECORD_XATTR, ino, &first, &end);
    return txn_scan(txn, &first, &end, visit, arg);
}

static int list_xattrs(struct volume_txn *txn, void *arg)
{
    struct xattr_list *list = arg;

    list->txn = txn;
    list->len = 0;
    return scan_xattrs(txn, list->ino, add_to_list, list);
}

int volume_listxattr(struct volume *volume, uint64_t ino, char *to, size_t size, size_t *ret_len)
{
    struct xattr_list list = { .ino = inode_number(ino), .to = to, .size = size };
    int r = is_snapshots_folder(ino) ? 0 : volume_view_of(volume, ino, list_xattrs, &list);

    if (r == 0)
        *ret_len = list.len;
    return r;
}

#define REMOVE_BATCH 64u

struct xattr_batch {
    size_t count;
    uint8_t lookups[REMOVE_BATCH][LOOKUP_KEY_LEN];
};

static int add_to_batch(struct bytes key, struct bytes value, void *arg)
{
    struct xattr_batch *batch = arg;
    uint64_t ino;
    int r = record_key_lookup(key, RECORD_XATTR, &ino, batch->lookups[batch->count]);

    (void)value;
    if (r < 0)
        return r;
    batch->count++;
    return batch->count == REMOVE_BATCH;
}

/* A scan must not change what it scans: keys are gathered first. */
int xattr_remove_all(struct volume_txn *txn, uint64_t ino)
{
    struct xattr_batch batch;
    struct record_key key;
    int r;

    do {
        batch.count = 0;
        r = scan_xattrs(txn, ino, add_to_batch, &batch);
        bool has_more = r > 0;
        for (size_t i = 0; r >= 0 && i < batch.count; i++) {
            xattr_key(ino, batch.lookups[i], &key);
            r = txn_remove(txn, &key);
        }
        if (r == 0 && has_more)
            r = 1;
    } while (r > 0);
    return r;
}
