/* Reading: the lists of extents come from one moment, the data they name is read after it. */
#include "fs/file.h"

#include <errno.h>
#include <string.h>

/* A piece of this length touches two chunks at most. */
#define PIECE_MAX CHUNK_SIZE
#define PIECE_CHUNKS 2u

static int read_extent(struct volume *volume, const struct extent *extent, uint32_t from,
                       uint32_t to, uint8_t *data, struct error *err)
{
    struct block_run run = extent_run(extent);

    return segments_read(volume->segments, &run, (uint64_t)extent->skip + from - extent->offset,
                         to - from, data, err);
}

int file_read_shown(struct volume *volume, const struct extents *list, uint32_t offset,
                    uint32_t len, uint8_t *to, struct error *err)
{
    uint32_t end = offset + len;
    uint32_t at = offset;
    int r = 0;

    for (size_t i = extents_find(list, offset); i < list->count && r == 0; i++) {
        const struct extent *extent = &list->items[i];
        if (extent->offset >= end)
            break;
        uint32_t from = extent->offset > at ? extent->offset : at;
        uint32_t until = extent->offset + extent->len < end ? extent->offset + extent->len : end;
        memset(to + (at - offset), 0, from - at);
        r = read_extent(volume, extent, from, until, to + (from - offset), err);
        at = until;
    }
    if (r == 0)
        memset(to + (at - offset), 0, end - at);
    return r;
}

struct read_piece {
    uint64_t place; /* the inode number with the snapshot's slot */
    uint64_t ino;
    uint64_t offset;
    uint32_t len;
    uint8_t *to;
    uint32_t got;   /* within the file's size */
    bool is_inline; /* and done */
    bool atime_is_old;
    struct extents lists[PIECE_CHUNKS];
};

/* The part of the piece that is in the chunk at index, counted from the piece's first one. */
static uint32_t piece_part(const struct read_piece *piece, unsigned index, uint32_t *ret_offset)
{
    uint32_t first = (uint32_t)(piece->offset % CHUNK_SIZE);
    uint32_t first_part = CHUNK_SIZE - first < piece->got ? CHUNK_SIZE - first : piece->got;

    *ret_offset = index == 0 ? first : 0;
    return index == 0 ? first_part : piece->got - first_part;
}

static void read_inline(const struct inode *inode, struct read_piece *piece)
{
    uint32_t part = 0;

    if (piece->offset < inode->body_len) {
        uint32_t there = inode->body_len - (uint32_t)piece->offset;
        part = there < piece->got ? there : piece->got;
        memcpy(piece->to, inode->body + piece->offset, part);
    }
    memset(piece->to + part, 0, piece->got - part);
    piece->is_inline = true;
}

/* A file that counts all of its bytes as stored has no holes: a record of extents that was deleted
 * from the database is not read as zeros, unless the file has so large holes. */
static int check_holes(struct volume_txn *txn, const struct read_piece *piece,
                       const struct inode *inode)
{
    uint64_t allowed = inode->size > inode->stored ? inode->size - inode->stored : 0;
    uint64_t shown = 0;

    for (unsigned i = 0; i < PIECE_CHUNKS; i++) {
        uint32_t offset;
        uint32_t part = piece_part(piece, i, &offset);
        if (part > 0)
            shown += extents_bytes_between(&piece->lists[i], offset, offset + part);
    }
    if ((inode->flags & INODE_UNTRIMMED) || piece->got - shown <= allowed)
        return 0;
    return error_set(&txn->err, -EBADMSG, "inode %llu counts data that no record shows",
                     (unsigned long long)piece->ino);
}

static int look_up(struct volume_txn *txn, void *arg)
{
    struct read_piece *piece = arg;
    struct inode inode;
    uint32_t offset;

    piece->got = 0;
    piece->is_inline = false;
    int r = file_get(txn, piece->ino, &inode);
    if (r < 0)
        return r;
    piece->atime_is_old = txn->snapshot == 0 && inode_atime_is_old(&inode, txn->now_ns);
    if (piece->offset >= inode.size)
        return 0;
    piece->got = inode.size - piece->offset < piece->len ? (uint32_t)(inode.size - piece->offset)
                                                         : piece->len;
    if (file_is_inline(&inode)) {
        read_inline(&inode, piece);
        return 0;
    }
    uint32_t chunk = (uint32_t)(piece->offset / CHUNK_SIZE);
    for (unsigned i = 0; i < PIECE_CHUNKS && r == 0; i++) {
        uint32_t part = piece_part(piece, i, &offset);
        if (part > 0)
            r = chunk_get_part(txn, piece->ino, chunk + i, offset, offset + part, &piece->lists[i]);
    }
    return r < 0 ? r : check_holes(txn, piece, &inode);
}

static int read_found(struct volume *volume, struct read_piece *piece, struct error *err)
{
    uint8_t *to = piece->to;
    int r = 0;

    for (unsigned i = 0; i < PIECE_CHUNKS && r == 0; i++) {
        uint32_t offset;
        uint32_t len = piece_part(piece, i, &offset);
        if (len > 0)
            r = file_read_shown(volume, &piece->lists[i], offset, len, to, err);
        to += len;
    }
    return r;
}

static int read_piece(struct volume *volume, struct read_piece *piece)
{
    struct error err = { 0 };
    int r = -ENOENT;

    /* What was found may have been moved or given up since. A block that is really altered is so
     * the second time, too. */
    for (unsigned tries = 0; tries < FILE_STALE_MAX; tries++) {
        r = volume_view_of(volume, piece->place, look_up, piece);
        if (r < 0 || piece->is_inline)
            return r;
        r = read_found(volume, piece, &err);
        if (r != -ENOENT && (r != -EBADMSG || tries > 0))
            break;
    }
    return file_result(volume, r, piece->ino, &err);
}

int volume_read(struct volume *volume, uint64_t ino, uint64_t offset, size_t len, uint8_t *to,
                size_t *ret_len)
{
    struct read_piece piece = { .place = ino,
                                .ino = inode_number(ino),
                                .lists = { EXTENTS_INIT, EXTENTS_INIT } };
    size_t done = 0;
    int r = 0;

    while (r == 0 && done < len && offset <= FILE_SIZE_MAX) {
        piece.offset = offset + done;
        piece.len = len - done < PIECE_MAX ? (uint32_t)(len - done) : PIECE_MAX;
        piece.to = to + done;
        r = read_piece(volume, &piece);
        done += r == 0 ? piece.got : 0;
        if (piece.got < piece.len)
            break;
    }
    for (unsigned i = 0; i < PIECE_CHUNKS; i++)
        extents_release(&piece.lists[i]);
    if (r < 0)
        return r;
    *ret_len = done;
    if (piece.atime_is_old)
        (void)volume_touch_atime(volume,
                                 ino); /* the read went well, whatever becomes of its time */
    return 0;
}
