/* SEEK_DATA and SEEK_HOLE: only records that are there are looked at, so that a hole costs
 * nothing, whatever its size. */
#include "fs/file.h"

#include <errno.h>
#include <unistd.h>

/* Of one transaction: it must not stay open for the length of a huge file. */
#define RECORDS_AT_ONCE 64u

struct seek {
    uint64_t ino;
    int whence;
    uint64_t at; /* nothing was found before it */
    bool is_found;
    bool is_first; /* look */

    struct volume_txn *txn;
    struct extents list;
    unsigned records;
};

/* What the chunk that begins at start, with these extents, says of seek->at and behind. */
static void seek_data(struct seek *seek, uint64_t start)
{
    uint32_t offset = seek->at > start ? (uint32_t)(seek->at - start) : 0;
    size_t i = extents_find(&seek->list, offset);

    if (i == seek->list.count) {
        seek->at = start + CHUNK_SIZE;
        return;
    }
    if (seek->list.items[i].offset > offset)
        offset = seek->list.items[i].offset;
    seek->at = start + offset;
    seek->is_found = true;
}

static void seek_hole(struct seek *seek, uint64_t start)
{
    if (start > seek->at) {
        seek->is_found = true;
        return;
    }
    uint32_t offset = (uint32_t)(seek->at - start);
    for (size_t i = extents_find(&seek->list, offset);
         i < seek->list.count && seek->list.items[i].offset <= offset; i++)
        offset = seek->list.items[i].offset + seek->list.items[i].len;
    seek->at = start + offset;
    seek->is_found = offset < CHUNK_SIZE;
}

/* 1: enough for now. */
static int visit_record(struct bytes key, struct bytes value, void *arg)
{
    struct seek *seek = arg;
    uint64_t ino;
    uint32_t chunk;

    if (seek->records++ == RECORDS_AT_ONCE)
        return 1;
    int r = record_key_inode(key, RECORD_EXTENTS, &ino, &chunk);
    if (r == 0)
        r = extents_decode(value, &seek->list);
    if (r < 0)
        return txn_refused(seek->txn, r, "an extents record", seek->ino);
    if (seek->whence == SEEK_DATA)
        seek_data(seek, (uint64_t)chunk * CHUNK_SIZE);
    else
        seek_hole(seek, (uint64_t)chunk * CHUNK_SIZE);
    return seek->is_found;
}

static int scan_records(struct volume_txn *txn, struct seek *seek)
{
    struct record_key first;
    struct record_key end;

    seek->txn = txn;
    seek->records = 0;
    chunk_range(seek->ino, (uint32_t)(seek->at / CHUNK_SIZE), &first, &end);
    int r = txn_scan(txn, &first, &end, visit_record, seek);
    if (r < 0)
        return r;
    if (!seek->is_found && seek->records <= RECORDS_AT_ONCE) {
        /* No more records: from here on there is only a hole. */
        if (seek->whence == SEEK_DATA)
            return -ENXIO;
        seek->is_found = true;
    }
    return 0;
}

static int seek_inline(struct seek *seek, const struct inode *inode)
{
    if (seek->whence == SEEK_DATA && seek->at >= inode->body_len)
        return -ENXIO;
    if (seek->whence == SEEK_HOLE && seek->at < inode->body_len)
        seek->at = inode->body_len;
    seek->is_found = true;
    return 0;
}

static int look(struct volume_txn *txn, void *arg)
{
    struct seek *seek = arg;
    struct inode inode;

    int r = file_get(txn, seek->ino, &inode);
    if (r < 0)
        return r;
    if (seek->at >= inode.size && (seek->is_first || seek->whence == SEEK_DATA))
        return -ENXIO;
    seek->is_first = false;
    r = file_is_inline(&inode) ? seek_inline(seek, &inode) : scan_records(txn, seek);
    if (r < 0)
        return r;
    if (seek->at < inode.size)
        return 0;
    /* Behind the end, where extents may wait to be removed. */
    seek->at = inode.size;
    seek->is_found = true;
    return seek->whence == SEEK_DATA ? -ENXIO : 0;
}

int volume_seek(struct volume *volume, uint64_t ino, uint64_t offset, int whence,
                uint64_t *ret_offset)
{
    struct seek seek = { .ino = inode_number(ino),
                         .whence = whence,
                         .at = offset,
                         .is_first = true,
                         .list = EXTENTS_INIT };
    int r = 0;

    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    while (r == 0 && !seek.is_found)
        r = volume_view_of(volume, ino, look, &seek);
    extents_release(&seek.list);
    if (r == 0)
        *ret_offset = seek.at;
    return r;
}
