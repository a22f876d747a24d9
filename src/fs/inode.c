/* Inodes in a transaction, and how one ends.
 *
 *     linked ──last name goes──► orphan: nlink 0, in ORPHAN ──nobody refers to it──► reaped
 *
 * An inode that is nobody's any more is found by whoever took its last name or gave the last
 * reference back; several may try to reap it at once, and each transaction looks again. */
#include "fs/volume_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#define TRIM_CHUNKS 64u /* trimmed in one transaction, so that others get their turn */
#define SECTOR_SIZE 512u
#define DIRECTORY_UNIT 4096u
#define DIRECTORY_ENTRY 32u /* bytes of a directory's size that an entry counts */

int txn_refused(struct volume_txn *txn, int r, const char *what, uint64_t ino)
{
    if (r == -EPROTONOSUPPORT)
        return error_set(&txn->err, r, "a later version of coffer wrote %s of inode %" PRIu64, what,
                         ino);
    if (r == -EBADMSG)
        return error_set(&txn->err, r, "%s of inode %" PRIu64 " is damaged", what, ino);
    return r;
}

int inode_get(struct volume_txn *txn, uint64_t ino, struct inode *ret)
{
    struct record_key key;
    struct bytes value;

    inode_key(ino, &key);
    int r = txn_get(txn, &key, &value);
    return r < 0 ? r : txn_refused(txn, inode_decode(value, ret), "the record", ino);
}

int inode_put(struct volume_txn *txn, uint64_t ino, const struct inode *inode)
{
    uint8_t value[INODE_VALUE_MAX];
    struct record_key key;
    size_t len;
    int r = inode_encode(inode, value, &len);

    if (r < 0)
        return r;
    inode_key(ino, &key);
    return txn_put(txn, &key, (struct bytes){ value, len });
}

/* Other filesystems show how much room the names take; we show what they would take there. */
static uint64_t directory_size(uint64_t entries)
{
    uint64_t units = (entries * DIRECTORY_ENTRY + DIRECTORY_UNIT - 1) / DIRECTORY_UNIT;

    return (units ? units : 1) * DIRECTORY_UNIT;
}

void inode_attr(uint64_t ino, const struct inode *inode, struct volume_attr *ret)
{
    *ret = (struct volume_attr){
        .ino = ino,
        .size = S_ISDIR(inode->mode) ? directory_size(inode->size) : inode->size,
        .blocks = inode->stored / SECTOR_SIZE + (inode->stored % SECTOR_SIZE != 0),
        .atime_ns = inode->atime_ns,
        .mtime_ns = inode->mtime_ns,
        .ctime_ns = inode->ctime_ns,
        .mode = inode->mode,
        .nlink = inode->nlink,
        .uid = inode->uid,
        .gid = inode->gid,
        .rdev = inode->rdev,
    };
}

int inode_allocate(struct volume_txn *txn, uint64_t *ret_ino)
{
    struct volume *volume = txn->volume;
    uint64_t ino = atomic_load(&volume->next_ino); /* nobody else changes it now */

    if (ino > INODE_NUMBER_MAX)
        return -ENOSPC;
    atomic_store(&volume->next_ino, ino + 1);
    atomic_store(&volume->counters_changed, true);
    txn->files++;
    *ret_ino = ino;
    return 0;
}

int orphan_put(struct volume_txn *txn, uint64_t ino)
{
    uint8_t value[1];
    struct record_key key;
    size_t len;
    int r = orphan_encode(value, &len);

    if (r < 0)
        return r;
    orphan_key(ino, &key);
    return txn_put(txn, &key, (struct bytes){ value, len });
}

int orphan_remove(struct volume_txn *txn, uint64_t ino)
{
    struct record_key key;

    orphan_key(ino, &key);
    return txn_remove(txn, &key);
}

int inode_unlinked(struct volume_txn *txn, uint64_t ino, struct inode *inode)
{
    int r = 0;

    if (inode->nlink == 0)
        return txn_refused(txn, -EBADMSG, "the number of links", ino);
    inode->nlink = S_ISDIR(inode->mode) ? 0 : inode->nlink - 1;
    inode->ctime_ns = txn->now_ns;
    if (inode->nlink == 0)
        r = orphan_put(txn, ino);
    return r < 0 ? r : inode_put(txn, ino, inode);
}

struct reaping {
    uint64_t ino;
    bool has_more;
};

/* Nothing is left of it but its record and its attributes. */
static int end_inode(struct volume_txn *txn, uint64_t ino, const struct inode *inode)
{
    struct record_key key;
    int r = inode->flags & INODE_XATTRS ? xattr_remove_all(txn, ino) : 0;

    inode_key(ino, &key);
    if (r == 0)
        r = txn_remove(txn, &key);
    if (r == 0)
        r = orphan_remove(txn, ino);
    if (r == 0) {
        txn->files--;
        txn->stored -= (int64_t)inode->stored; /* what was inline */
    }
    return r;
}

static int end_trimming(struct volume_txn *txn, uint64_t ino, struct inode *inode)
{
    int r = 0;

    inode->flags &= (uint8_t)~INODE_UNTRIMMED;
    if (inode->nlink > 0)
        r = orphan_remove(txn, ino);
    return r < 0 ? r : inode_put(txn, ino, inode);
}

/* Whoever refers to it now and did not before has found it by number only: no name leads to it. */
static int reap_step(struct volume_txn *txn, void *arg)
{
    struct reaping *reaping = arg;
    struct inode inode;
    int r = inode_get(txn, reaping->ino, &inode);

    reaping->has_more = false;
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    /* In front of the look at the references: see volume_lookup(). */
    (void)atomic_fetch_add(&txn->volume->reaps, 1);
    /* Who holds it, though he found it when it had a name, is told to see to its end. */
    bool is_dead =
        inode.nlink == 0 && !references_mark_orphan(&txn->volume->references, reaping->ino);
    if (!is_dead && !(inode.flags & INODE_UNTRIMMED))
        return 0;
    if (S_ISREG(inode.mode) && inode.stored != inode.body_len)
        r = chunks_trim(txn, reaping->ino, &inode, is_dead ? 0 : inode.size, TRIM_CHUNKS,
                        &reaping->has_more);
    if (r < 0)
        return r;
    if (reaping->has_more)
        return inode_put(txn, reaping->ino, &inode);
    return is_dead ? end_inode(txn, reaping->ino, &inode) : end_trimming(txn, reaping->ino, &inode);
}

static int reap_each(struct volume_txn *txn, void *arg)
{
    struct reap_batch *batch = arg;
    int r = 0;

    batch->has_more = false;
    for (size_t i = 0; i < batch->count && r == 0; i++) {
        struct reaping reaping = { .ino = batch->inos[i] };
        r = reap_step(txn, &reaping);
        batch->has_more |= reaping.has_more;
    }
    return r;
}

int inode_reap_batch(struct volume *volume, struct reap_batch *batch)
{
    return volume_change(volume, META_FREE, reap_each, batch);
}

static int reap_steps(struct volume *volume, uint64_t ino)
{
    struct reaping reaping = { .ino = ino };
    int r;

    do
        r = volume_change(volume, META_FREE, reap_step, &reaping);
    while (r == 0 && reaping.has_more);
    return r;
}

int inode_reap(struct volume *volume, uint64_t ino)
{
    int r = reap_steps(volume, ino);

    return r == -EIO && inode_drop_damaged(volume, ino) > 0 ? reap_steps(volume, ino) : r;
}

#define ORPHAN_BATCH 256u

struct orphans {
    uint64_t from;
    size_t count;
    uint64_t inos[ORPHAN_BATCH];
};

static int add_orphan(struct bytes key, struct bytes value, void *arg)
{
    struct orphans *orphans = arg;
    uint64_t ino;
    int r = record_key_inode(key, RECORD_ORPHAN, &ino, NULL);

    (void)value; /* says nothing; check looks at it */
    if (r < 0)
        return r;
    orphans->inos[orphans->count++] = ino;
    return orphans->count == ORPHAN_BATCH;
}

static int find_orphans(struct volume_txn *txn, void *arg)
{
    struct orphans *orphans = arg;
    struct record_key first;
    struct record_key end;

    orphans->count = 0;
    kind_range(RECORD_ORPHAN, &first, &end);
    orphan_key(orphans->from, &first);
    int r = meta_scan(txn->meta, record_key_bytes(&first), record_key_bytes(&end), add_orphan,
                      orphans, &txn->err);
    return r < 0 ? r : 0;
}

/* One that cannot be reaped, because it is damaged, has been reported and keeps no other. */
int inode_reap_all(struct volume *volume)
{
    struct orphans orphans = { .from = 0 };

    do {
        int r = volume_view(volume, find_orphans, &orphans);
        for (size_t i = 0; r == 0 && i < orphans.count; i++) {
            r = inode_reap(volume, orphans.inos[i]);
            if (r == -EIO)
                r = 0;
        }
        if (r < 0)
            return r;
        if (orphans.count)
            orphans.from = orphans.inos[orphans.count - 1] + 1;
    } while (orphans.count == ORPHAN_BATCH);
    return 0;
}
