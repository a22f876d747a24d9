/* The size of a file and the holes in it. */
#include "fs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Of one transaction. */
#define CHUNKS_AT_ONCE 64u

static int cut_behind(struct volume_txn *txn, uint64_t ino, struct inode *inode, uint64_t size,
                      bool *ret_more)
{
    if (inode->body_len > size) {
        inode_add_stored(txn, inode, (int64_t)size - inode->body_len);
        inode->body_len = (uint32_t)size;
    }
    if (file_is_inline(inode))
        return 0;
    int r = chunks_trim(txn, ino, inode, size, CHUNKS_AT_ONCE, ret_more);
    if (r < 0 || !*ret_more)
        return r;
    inode->flags |= INODE_UNTRIMMED;
    return orphan_put(txn, ino);
}

int file_set_size(struct volume_txn *txn, uint64_t ino, struct inode *inode, uint64_t size,
                  bool *ret_more)
{
    int r = 0;

    *ret_more = false;
    if (size > FILE_SIZE_MAX)
        return -EFBIG;
    if (size > inode->size && (inode->flags & INODE_UNTRIMMED))
        return -ERESTART;
    if (size < inode->size)
        r = cut_behind(txn, ino, inode, size, ret_more);
    if (r < 0)
        return r;
    inode->size = size;
    file_changed(txn, inode);
    return 0;
}

/* How much of a range is stored already. */
struct overlap {
    uint64_t ino;
    uint64_t start;
    uint64_t end;
    uint64_t bytes;
    struct volume_txn *txn;
    struct extents list;
};

static uint64_t overlap_with(const struct overlap *overlap, uint64_t start, uint64_t end)
{
    if (start < overlap->start)
        start = overlap->start;
    if (end > overlap->end)
        end = overlap->end;
    return start < end ? end - start : 0;
}

static int visit_overlap(struct bytes key, struct bytes value, void *arg)
{
    struct overlap *overlap = arg;
    uint64_t ino;
    uint32_t chunk;

    int r = record_key_inode(key, RECORD_EXTENTS, &ino, &chunk);
    if (r == 0)
        r = extents_decode(value, &overlap->list);
    if (r < 0)
        return txn_refused(overlap->txn, r, "an extents record", overlap->ino);
    for (size_t i = 0; i < overlap->list.count; i++) {
        uint64_t start = (uint64_t)chunk * CHUNK_SIZE + overlap->list.items[i].offset;
        overlap->bytes += overlap_with(overlap, start, start + overlap->list.items[i].len);
    }
    return (uint64_t)chunk * CHUNK_SIZE >= overlap->end;
}

static int find_overlap(struct volume_txn *txn, void *arg)
{
    struct overlap *overlap = arg;
    struct inode inode;
    struct record_key first;
    struct record_key end;

    overlap->txn = txn;
    overlap->bytes = 0;
    int r = file_get(txn, overlap->ino, &inode);
    if (r < 0)
        return r;
    if (file_is_inline(&inode)) {
        overlap->bytes = overlap_with(overlap, 0, inode.body_len);
        return 0;
    }
    chunk_range(overlap->ino, (uint32_t)(overlap->start / CHUNK_SIZE), &first, &end);
    r = txn_scan(txn, &first, &end, visit_overlap, overlap);
    return r < 0 ? r : 0;
}

int file_reserve(struct volume *volume, uint64_t ino, uint64_t offset, uint64_t len)
{
    int r = volume_reserve(volume, len, 0);

    if (r != -ENOSPC)
        return r;
    struct overlap overlap = {
        .ino = ino, .start = offset, .end = offset + len, .list = EXTENTS_INIT
    };
    r = volume_view(volume, find_overlap, &overlap);
    extents_release(&overlap.list);
    if (r < 0)
        return r;
    return overlap.bytes >= len ? 0 : volume_reserve(volume, len - overlap.bytes, 0);
}

/* What fallocate asks for: a hole, a size, or both. */
struct space_change {
    uint64_t ino;
    uint64_t start; /* of the hole; goes on with each transaction */
    uint64_t end;
    uint64_t size; /* at least; 0: as it is */

    uint64_t next; /* where the next transaction begins; end: this was the last one */
    bool must_trim;
    uint32_t full_len; /* of the part of the hole at next, whose chunk cannot be cut; or 0 */
};

static void cut_body(struct volume_txn *txn, struct inode *inode, uint64_t start, uint64_t end)
{
    if (start >= inode->body_len)
        return;
    if (end < inode->body_len) {
        memset(inode->body + start, 0, end - start);
        return;
    }
    inode_add_stored(txn, inode, (int64_t)start - inode->body_len);
    inode->body_len = (uint32_t)start;
}

/* The part of start to end that lies in a chunk. */
static uint32_t part_in_chunk(uint64_t start, uint64_t end, uint32_t chunk, uint32_t *ret_offset)
{
    uint64_t first = (uint64_t)chunk * CHUNK_SIZE;
    uint64_t from = start > first ? start : first;
    uint64_t to = end < first + CHUNK_SIZE ? end : first + CHUNK_SIZE;

    *ret_offset = (uint32_t)(from - first);
    return (uint32_t)(to - from);
}

static int cut_chunks(struct volume_txn *txn, struct inode *inode, struct space_change *change,
                      uint64_t end)
{
    uint32_t chunks[CHUNKS_AT_ONCE + 1];
    size_t count;

    int r = chunks_find(txn, change->ino, change->start / CHUNK_SIZE,
                        (end + CHUNK_SIZE - 1) / CHUNK_SIZE, chunks, CHUNKS_AT_ONCE + 1, &count);
    for (size_t i = 0; r == 0 && i < count && i < CHUNKS_AT_ONCE; i++) {
        uint32_t offset;
        uint32_t len = part_in_chunk(change->start, end, chunks[i], &offset);
        r = chunk_cut(txn, change->ino, inode, chunks[i], offset, len);
        if (r == -EXFULL) {
            change->next = (uint64_t)chunks[i] * CHUNK_SIZE + offset;
            change->full_len = len;
            return -ERESTART;
        }
    }
    if (r == 0 && count > CHUNKS_AT_ONCE)
        change->next = (uint64_t)chunks[CHUNKS_AT_ONCE] * CHUNK_SIZE;
    return r;
}

static int change_space(struct volume_txn *txn, void *arg)
{
    struct space_change *change = arg;
    struct inode inode;

    change->next = change->end;
    change->must_trim = false;
    change->full_len = 0;
    int r = file_get(txn, change->ino, &inode);
    if (r < 0)
        return r;
    if (change->size > inode.size && (inode.flags & INODE_UNTRIMMED)) {
        change->must_trim = true;
        return -ERESTART;
    }
    uint64_t end = change->end < inode.size ? change->end : inode.size;
    if (file_is_inline(&inode))
        cut_body(txn, &inode, change->start, end);
    else if (change->start < end)
        r = cut_chunks(txn, &inode, change, end);
    if (r < 0)
        return r;
    if (change->next == change->end && change->size > inode.size)
        inode.size = change->size;
    file_changed(txn, &inode);
    return inode_put(txn, change->ino, &inode);
}

/* Does what the last transaction, which changed nothing, asked for. */
static int prepare_space(struct volume *volume, const struct space_change *change)
{
    if (change->must_trim)
        return inode_reap(volume, change->ino);
    /* The list is as long as it may be. Writing rewrites the whole chunk, which shortens it. */
    int r = file_write_zeros(volume, change->ino, change->next, change->full_len);
    return r == -ERESTART ? 0 : r; /* the file was cut off meanwhile */
}

static int run_change(struct volume *volume, enum meta_access access, struct space_change *change)
{
    bool is_done = false;
    int r = 0;

    while (r == 0 && !is_done) {
        r = volume_change(volume, access, change_space, change);
        if (r == -ERESTART) {
            r = prepare_space(volume, change);
        } else if (r == 0) {
            change->start = change->next;
            is_done = change->start == change->end;
        }
    }
    return r;
}

/* Nothing is allocated ahead of data: blocks go to the end of a log whenever they are written, so
 * room that was set aside in one place would not be used. That the capacity allows so much now is
 * all that can be said.
 *
 * A hole in more than CHUNKS_AT_ONCE chunks is made in several transactions. After a crash in the
 * middle only a part of it may be there, and the size is as before. */
int volume_fallocate(struct volume *volume, uint64_t ino, int mode, uint64_t offset, uint64_t len)
{
    int what = mode & ~FALLOC_FL_KEEP_SIZE;
    bool keeps_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    struct space_change change = { .ino = ino };

    if (inode_slot(ino) != 0)
        return -EROFS;
    if (what != 0 && what != FALLOC_FL_ZERO_RANGE && (what != FALLOC_FL_PUNCH_HOLE || !keeps_size))
        return -EOPNOTSUPP;
    if (len == 0)
        return -EINVAL;
    if (offset > FILE_SIZE_MAX || len > FILE_SIZE_MAX - offset)
        return -EFBIG;
    if (!keeps_size)
        change.size = offset + len;
    if (what == 0) {
        int r = file_reserve(volume, ino, offset, len);
        if (r < 0)
            return r;
    } else {
        change.start = offset;
        change.end = offset + len;
    }
    return run_change(volume, what == FALLOC_FL_PUNCH_HOLE ? META_FREE : META_WRITE, &change);
}
