/* Writing. The data is sealed and appended first, then one transaction makes the file show it.
 * That transaction may find that something else is needed first: it changes nothing, says so in
 * need, and runs again when that was done.
 *
 *     append ──► transaction ──► done
 *                  │     ▲
 *                  ▼     │
 *                 prepare: append, trim, ... */
#include "fs/file.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* One append, which is not in use until a transaction says so. */
struct appended {
    struct block_run runs[APPEND_RUNS_MAX];
    size_t count;
};

/* The part of a write that lies in one chunk. Offsets are in the chunk. */
struct write_piece {
    uint32_t chunk;
    uint32_t offset;
    struct bytes data;

    struct appended appended;
    /* If the list had no room for the piece: all that the chunk shows, with the piece in it, as
     * it is as long as the chunk's list is this one. */
    struct appended whole;
    uint32_t whole_offset;
    struct extents whole_list;
};

enum need {
    NEED_NOTHING,
    NEED_APPEND,  /* it does not fit into the inode's body */
    NEED_BODY,    /* the body must become blocks */
    NEED_TRIM,    /* extents behind the size are in the way of a larger one */
    NEED_REWRITE, /* full: this piece's list has no room */
    NEED_LESS,    /* it would make the file longer, and must not */
};

struct file_write {
    uint64_t ino;
    uint64_t offset;
    uint64_t end;
    struct bytes data;
    bool never_extends;

    struct write_piece *pieces; /* few, or allocated */
    size_t count;
    struct write_piece few[2]; /* as many as the kernel's writes have */
    bool is_appended;

    /* What the inode's body has in front of the data, as it was appended. */
    uint8_t body[INLINE_MAX];
    uint32_t body_len;
    struct appended body_blocks;

    enum need need;
    struct write_piece *full;
    struct extents full_list; /* of its chunk */
    unsigned stale_lists;     /* that named blocks which were gone when they were read */
};

static int need(struct file_write *write, enum need what)
{
    write->need = what;
    return -ERESTART;
}

static int append(struct volume *volume, uint64_t ino, uint64_t offset, struct bytes data,
                  struct appended *ret)
{
    const struct segment_origin origin = { .ino = ino, .offset = offset };
    struct error err = { 0 };

    ret->count = 0;
    int r = room_append(volume, &origin, data, ret->runs, &ret->count, &err);
    return volume_result(volume, r, ino, &err);
}

static void release(struct volume *volume, struct appended *appended)
{
    if (appended->count > 0)
        segments_release(volume->segments, appended->runs, appended->count);
    appended->count = 0;
}

/* What shows all that was appended, from offset on. Returns how much that is. */
static uint32_t appended_extents(const struct appended *appended, uint32_t offset,
                                 struct extent ret[APPEND_RUNS_MAX])
{
    uint32_t at = offset;

    for (size_t i = 0; i < appended->count; i++) {
        const struct block_run *run = &appended->runs[i];
        ret[i] = (struct extent){ .offset = at,
                                  .len = run->count * run->block_len,
                                  .segment = run->segment,
                                  .address = run->address,
                                  .block_len = run->block_len };
        at += ret[i].len;
    }
    return at - offset;
}

static bool is_same_list(const struct extents *a, const struct extents *b)
{
    static_assert(sizeof(struct extent) == 36, "no padding, so that bytes can be compared");

    return a->count == b->count &&
           (a->count == 0 || memcmp(a->items, b->items, a->count * sizeof(*a->items)) == 0);
}

static void extents_move(struct extents *to, struct extents *from)
{
    extents_release(to);
    *to = *from;
    *from = EXTENTS_INIT;
}

static int need_rewrite(struct file_write *write, struct write_piece *piece, struct extents *list)
{
    extents_move(&write->full_list, list);
    write->full = piece;
    return need(write, NEED_REWRITE);
}

static int put_piece_in_list(struct volume_txn *txn, struct file_write *write,
                             struct write_piece *piece, struct inode *inode)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;
    struct extent with[APPEND_RUNS_MAX];
    struct record_key key;

    extents_key(write->ino, piece->chunk, &key);
    int r = chunk_get(txn, write->ino, piece->chunk, &list);
    if (r < 0)
        return r;
    /* Another list may have room again, and no rewriting is lost to others again and again. */
    bool is_whole = piece->whole.count > 0 && is_same_list(&list, &piece->whole_list);
    const struct appended *appended = is_whole ? &piece->whole : &piece->appended;
    uint32_t offset = is_whole ? piece->whole_offset : piece->offset;
    uint32_t len = appended_extents(appended, offset, with);
    r = chunk_replace(txn, &key, inode, &list, offset, len, with, appended->count);
    if (r == -EXFULL)
        return need_rewrite(write, piece, &list);
    return r < 0 ? r : chunk_put(txn, write->ino, piece->chunk, &list);
}

/* Random overwrites of a file: one block, written anew. */
static int put_piece(struct volume_txn *txn, struct file_write *write, struct write_piece *piece,
                     struct inode *inode)
{
    struct extent with[APPEND_RUNS_MAX];
    int r = -ENOENT;

    if (piece->appended.count == 1 && piece->appended.runs[0].count == 1) {
        (void)appended_extents(&piece->appended, piece->offset, with);
        r = chunk_put_block(txn, write->ino, piece->chunk, with);
    }
    return r == -ENOENT ? put_piece_in_list(txn, write, piece, inode) : r;
}

/* The body becomes blocks, but for what the write covers. */
static int leave_inline(struct volume_txn *txn, struct file_write *write, struct inode *inode)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;
    struct extent with[APPEND_RUNS_MAX];
    struct record_key key;
    uint32_t len = inode->body_len < write->offset ? inode->body_len : (uint32_t)write->offset;
    bool is_current = len == write->body_len && memcmp(inode->body, write->body, len) == 0;

    inode_add_stored(txn, inode, -(int64_t)inode->body_len);
    inode->body_len = 0;
    if (!is_current) {
        write->body_len = len;
        memcpy(write->body, inode->body, len);
        return need(write, NEED_BODY);
    }
    if (len == 0)
        return 0;
    extents_key(write->ino, 0, &key);
    int r =
        chunk_replace(txn, &key, inode, &list, 0, appended_extents(&write->body_blocks, 0, with),
                      with, write->body_blocks.count);
    return r < 0 ? r : chunk_put(txn, write->ino, 0, &list);
}

static int put_blocks(struct volume_txn *txn, struct file_write *write, struct inode *inode)
{
    int r = 0;

    if (!write->is_appended)
        return need(write, NEED_APPEND);
    if (file_is_inline(inode))
        r = leave_inline(txn, write, inode);
    for (size_t i = 0; i < write->count && r == 0; i++)
        r = put_piece(txn, write, &write->pieces[i], inode);
    return r;
}

static void put_inline(struct volume_txn *txn, const struct file_write *write, struct inode *inode)
{
    uint32_t offset = (uint32_t)write->offset;
    uint32_t end = (uint32_t)write->end;

    if (offset > inode->body_len)
        memset(inode->body + inode->body_len, 0, offset - inode->body_len);
    memcpy(inode->body + offset, write->data.data, write->data.len);
    if (end > inode->body_len) {
        inode_add_stored(txn, inode, (int64_t)end - inode->body_len);
        inode->body_len = end;
    }
}

static int write_txn(struct volume_txn *txn, void *arg)
{
    struct file_write *write = arg;
    struct inode inode;

    write->need = NEED_NOTHING;
    int r = file_get(txn, write->ino, &inode);
    if (r < 0)
        return r;
    if (write->end > inode.size && write->never_extends)
        return need(write, NEED_LESS);
    if (write->end > inode.size && (inode.flags & INODE_UNTRIMMED))
        return need(write, NEED_TRIM);
    if (write->end <= INLINE_MAX && file_is_inline(&inode))
        put_inline(txn, write, &inode);
    else
        r = put_blocks(txn, write, &inode);
    if (r < 0)
        return r;
    if (write->end > inode.size)
        inode.size = write->end;
    file_changed(txn, &inode);
    return inode_put(txn, write->ino, &inode);
}

static int append_pieces(struct volume *volume, struct file_write *write)
{
    int r = 0;

    for (size_t i = 0; i < write->count && r == 0; i++) {
        struct write_piece *piece = &write->pieces[i];
        r = append(volume, write->ino, (uint64_t)piece->chunk * CHUNK_SIZE + piece->offset,
                   piece->data, &piece->appended);
    }
    write->is_appended = r == 0;
    return r;
}

static int append_body(struct volume *volume, struct file_write *write)
{
    release(volume, &write->body_blocks);
    if (write->body_len == 0)
        return 0;
    return append(volume, write->ino, 0, (struct bytes){ write->body, write->body_len },
                  &write->body_blocks);
}

/* What the chunk shows, with the piece in it: *ret is allocated, and begins at *ret_start. */
static int read_rewritten(struct volume *volume, struct file_write *write, struct buf *ret,
                          uint32_t *ret_start, struct error *err)
{
    const struct extents *list = &write->full_list;
    const struct write_piece *piece = write->full;
    uint32_t start = piece->offset;
    uint32_t end = piece->offset + (uint32_t)piece->data.len;

    if (list->count > 0) {
        const struct extent *last = &list->items[list->count - 1];
        start = list->items[0].offset < start ? list->items[0].offset : start;
        end = last->offset + last->len > end ? last->offset + last->len : end;
    }
    *ret = (struct buf){ .data = malloc(end - start), .len = end - start };
    if (!ret->data)
        return -ENOMEM;
    *ret_start = start;
    int r = file_read_shown(volume, list, start, end - start, ret->data, err);
    if (r == 0)
        memcpy(ret->data + (piece->offset - start), piece->data.data, piece->data.len);
    return r;
}

static int rewrite_chunk(struct volume *volume, struct file_write *write)
{
    CLEANUP(buf_release) struct buf data = BUF_INIT;
    struct write_piece *piece = write->full;
    struct error err = { 0 };
    uint32_t start;

    int r = read_rewritten(volume, write, &data, &start, &err);
    if (r == -ENOENT && ++write->stale_lists < FILE_STALE_MAX)
        return 0; /* the transaction will find another list */
    if (r < 0)
        return file_result(volume, r, write->ino, &err);
    release(volume, &piece->whole);
    piece->whole_offset = start;
    extents_move(&piece->whole_list, &write->full_list);
    return append(volume, write->ino, (uint64_t)piece->chunk * CHUNK_SIZE + start, buf_bytes(&data),
                  &piece->whole);
}

static int prepare(struct volume *volume, struct file_write *write)
{
    switch (write->need) {
    case NEED_APPEND:
        return append_pieces(volume, write);
    case NEED_BODY:
        return append_body(volume, write);
    case NEED_TRIM:
        return inode_reap(volume, write->ino);
    case NEED_REWRITE:
        return rewrite_chunk(volume, write);
    case NEED_LESS:
    case NEED_NOTHING:
        break;
    }
    return -ERESTART;
}

static int make_pieces(struct file_write *write)
{
    size_t done = 0;

    write->count = (size_t)((write->end - 1) / CHUNK_SIZE - write->offset / CHUNK_SIZE + 1);
    write->pieces = write->few;
    if (write->count > sizeof(write->few) / sizeof(write->few[0]))
        write->pieces = calloc(write->count, sizeof(*write->pieces));
    if (!write->pieces)
        return -ENOMEM;
    for (size_t i = 0; i < write->count; i++) {
        struct write_piece *piece = &write->pieces[i];
        uint64_t at = write->offset + done;
        piece->chunk = (uint32_t)(at / CHUNK_SIZE);
        piece->offset = (uint32_t)(at % CHUNK_SIZE);
        size_t room = CHUNK_SIZE - piece->offset;
        size_t left = write->data.len - done;
        piece->data = (struct bytes){ write->data.data + done, left < room ? left : room };
        done += piece->data.len;
    }
    return 0;
}

static int run_write(struct volume *volume, struct file_write *write)
{
    int r = make_pieces(write);

    if (r == 0 && write->end > INLINE_MAX)
        r = append_pieces(volume, write);
    while (r == 0) {
        r = volume_change(volume, META_OPTIMISTIC, write_txn, write);
        if (r != -ERESTART)
            break;
        r = prepare(volume, write);
    }
    for (size_t i = 0; i < write->count && write->pieces; i++) {
        release(volume, &write->pieces[i].appended);
        release(volume, &write->pieces[i].whole);
        extents_release(&write->pieces[i].whole_list);
    }
    release(volume, &write->body_blocks);
    extents_release(&write->full_list);
    if (write->pieces != write->few)
        free(write->pieces);
    return r;
}

int volume_write(struct volume *volume, uint64_t ino, uint64_t offset, struct bytes data)
{
    struct file_write write = { .ino = ino, .offset = offset, .data = data };

    if (volume->is_read_only || inode_slot(ino) != 0)
        return -EROFS;
    if (data.len == 0)
        return 0;
    if (offset > FILE_SIZE_MAX || data.len > FILE_SIZE_MAX - offset)
        return -EFBIG;
    write.end = offset + data.len;
    int r = file_reserve(volume, ino, offset, data.len);
    return r < 0 ? r : run_write(volume, &write);
}

int file_write_zeros(struct volume *volume, uint64_t ino, uint64_t offset, uint32_t len)
{
    CLEANUP(free_ptr) uint8_t *zeros = calloc(1, len);

    if (!zeros)
        return -ENOMEM;
    struct file_write write = { .ino = ino,
                                .offset = offset,
                                .end = offset + len,
                                .data = { zeros, len },
                                .never_extends = true };
    return run_write(volume, &write);
}
