/* The extents of files in a transaction: one record for each chunk that shows anything. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "fs/history.h"

int chunk_get_part(struct volume_txn *txn, uint64_t ino, uint32_t chunk, uint32_t offset,
                   uint32_t end, struct extents *ret)
{
    struct record_key key;
    struct spliced value;

    ret->count = 0;
    extents_key(ino, chunk, &key);
    int r = txn_view(txn, &key, &value);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return txn_refused(txn, extents_decode_part(&value, offset, end, ret), "an extents record",
                       ino);
}

int chunk_get(struct volume_txn *txn, uint64_t ino, uint32_t chunk, struct extents *ret)
{
    struct record_key key;
    struct bytes value;

    ret->count = 0;
    extents_key(ino, chunk, &key);
    int r = txn_get(txn, &key, &value);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return txn_refused(txn, extents_decode(value, ret), "an extents record", ino);
}

int chunk_put(struct volume_txn *txn, uint64_t ino, uint32_t chunk, const struct extents *list)
{
    uint8_t value[EXTENTS_VALUE_MAX];
    struct record_key key;
    size_t len;

    extents_key(ino, chunk, &key);
    if (list->count == 0)
        return txn_remove(txn, &key);
    int r = extents_encode(list, value, &len);
    return r < 0 ? r : txn_put(txn, &key, (struct bytes){ value, len });
}

void inode_add_stored(struct volume_txn *txn, struct inode *inode, int64_t bytes)
{
    inode->stored += (uint64_t)bytes;
    txn->stored += bytes;
}

int chunk_replace(struct volume_txn *txn, const struct record_key *key, struct inode *inode,
                  struct extents *list, uint32_t offset, uint32_t len, const struct extent *with,
                  size_t count)
{
    CLEANUP(run_list_release) struct run_list dropped = RUN_LIST_INIT;
    uint64_t before = extents_bytes(list);
    int r =
        extents_replace(list, offset, len, with, count, txn->has_history ? &dropped : &txn->freed);

    if (r == 0)
        r = history_drop_blocks(txn, key, &dropped);
    if (r < 0)
        return r;
    inode_add_stored(txn, inode, (int64_t)(extents_bytes(list) - before));
    for (size_t i = 0; i < count && r == 0; i++) {
        struct block_run run = extent_run(&with[i]);
        r = run_list_add(&txn->made_live, &run);
    }
    return r;
}

static int drop_run(struct volume_txn *txn, const struct record_key *key,
                    const struct block_run *run)
{
    CLEANUP(run_list_release) struct run_list dropped = RUN_LIST_INIT;

    if (!txn->has_history)
        return run_list_add(&txn->freed, run);
    int r = run_list_add(&dropped, run);
    return r < 0 ? r : history_drop_blocks(txn, key, &dropped);
}

int chunk_put_block(struct volume_txn *txn, uint64_t ino, uint32_t chunk, const struct extent *with)
{
    struct block_exchange exchange;
    struct record_key key;
    struct spliced value;

    extents_key(ino, chunk, &key);
    int r = txn_view(txn, &key, &value);
    if (r < 0)
        return r;
    r = extents_exchange(&value, with, &exchange);
    if (r < 0)
        return r == -ENOENT ? r : txn_refused(txn, r, "an extents record", ino);
    const struct block_run before = extent_run(&exchange.replaced);
    const struct block_run now = extent_run(with);
    r = drop_run(txn, &key, &before);
    if (r == 0)
        r = run_list_add(&txn->made_live, &now);
    if (r == 0 && exchange.count.added.len > 0)
        r = txn_patch(txn, &key, &exchange.count);
    return r < 0 ? r : txn_patch(txn, &key, &exchange.extents);
}

int chunk_cut(struct volume_txn *txn, uint64_t ino, struct inode *inode, uint32_t chunk,
              uint32_t offset, uint32_t len)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;
    struct record_key key;

    extents_key(ino, chunk, &key);
    int r = chunk_get(txn, ino, chunk, &list);
    if (r < 0)
        return r;
    size_t found = extents_find(&list, offset);
    if (found >= list.count || list.items[found].offset >= offset + len)
        return 0;
    r = chunk_replace(txn, &key, inode, &list, offset, len, NULL, 0);
    return r < 0 ? r : chunk_put(txn, ino, chunk, &list);
}

struct chunk_visit {
    struct volume_txn *txn;
    uint64_t ino;
    uint64_t end;
    uint32_t *numbers;
    size_t max;
    size_t count;
};

/* 1: no more are wanted. */
static int visit_chunk(struct bytes key, struct bytes value, void *arg)
{
    struct chunk_visit *visit = arg;
    uint64_t ino;
    uint32_t chunk;

    (void)value;
    int r = record_key_inode(key, RECORD_EXTENTS, &ino, &chunk);
    if (r < 0)
        return txn_refused(visit->txn, r, "an extents record", visit->ino);
    if (chunk >= visit->end || visit->count == visit->max)
        return 1;
    visit->numbers[visit->count++] = chunk;
    return 0;
}

int chunks_find(struct volume_txn *txn, uint64_t ino, uint64_t first, uint64_t end, uint32_t *ret,
                size_t max, size_t *ret_count)
{
    struct chunk_visit visit = { .txn = txn, .ino = ino, .end = end, .numbers = ret, .max = max };
    struct record_key first_key;
    struct record_key end_key;

    *ret_count = 0;
    if (first >= end || first > UINT32_MAX)
        return 0;
    chunk_range(ino, (uint32_t)first, &first_key, &end_key);
    int r = txn_scan(txn, &first_key, &end_key, visit_chunk, &visit);
    if (r < 0)
        return r;
    *ret_count = visit.count;
    return 0;
}

int chunks_trim(struct volume_txn *txn, uint64_t ino, struct inode *inode, uint64_t size,
                unsigned max_chunks, bool *ret_more)
{
    uint32_t tail = (uint32_t)(size % CHUNK_SIZE);
    uint64_t first_whole = size / CHUNK_SIZE + (tail > 0);
    size_t count = 0;
    int r = 0;

    CLEANUP(free_ptr) uint32_t *chunks = calloc((size_t)max_chunks + 1, sizeof(*chunks));
    if (!chunks)
        return -ENOMEM;
    if (tail > 0 && size / CHUNK_SIZE <= UINT32_MAX)
        r = chunk_cut(txn, ino, inode, (uint32_t)(size / CHUNK_SIZE), tail, CHUNK_SIZE - tail);
    if (r == 0)
        r = chunks_find(txn, ino, first_whole, CHUNKS_MAX, chunks, (size_t)max_chunks + 1, &count);
    if (r < 0)
        return r;
    *ret_more = count > max_chunks;
    for (size_t i = 0; i < count && i < max_chunks && r == 0; i++)
        r = chunk_cut(txn, ino, inode, chunks[i], 0, CHUNK_SIZE);
    return r;
}
