#include "fs/chunk_scan.h"

#include <errno.h>

#include "fs/history.h"
#include "fs/records.h"

struct scan {
    chunk_visit_fn *visit;
    void *arg;
    struct extents list;
    struct error *err;
};

static int visit_record(struct bytes key, struct bytes value, void *arg)
{
    struct scan *scan = arg;
    uint64_t ino;
    uint32_t chunk;

    int r = record_key_inode(key, RECORD_EXTENTS, &ino, &chunk);
    if (r == 0)
        r = extents_decode(value, &scan->list);
    if (r < 0)
        return error_set(scan->err, r, "an EXTENTS record cannot be understood");
    return scan->visit(ino, chunk, &scan->list, scan->arg);
}

int chunk_scan(struct meta_txn *txn, chunk_visit_fn *visit, void *arg, struct error *err)
{
    struct scan scan = { .visit = visit, .arg = arg, .list = EXTENTS_INIT, .err = err };
    struct record_key first;
    struct record_key end;

    kind_range(RECORD_EXTENTS, &first, &end);
    int r =
        meta_scan(txn, record_key_bytes(&first), record_key_bytes(&end), visit_record, &scan, err);
    extents_release(&scan.list);
    return r;
}

static uint32_t last_address(const struct extent *extent)
{
    struct block_run run = extent_run(extent);

    return run.address + (run.count - 1) * (run.block_len + BLOCK_OVERHEAD);
}

/* A block of which two extents show something: the last one of the earlier and the first one of
 * the later, which lie no further apart than the block is long. */
static bool is_shown_before(const struct extents *list, size_t index)
{
    const struct extent *extent = &list->items[index];
    int64_t block_start = (int64_t)extent->offset - extent->skip;

    for (size_t i = index; i-- > 0;) {
        const struct extent *before = &list->items[i];
        if ((int64_t)before->offset + before->len <= block_start)
            return false;
        if (uuid_equal(&before->segment, &extent->segment) &&
            last_address(before) == extent->address)
            return true;
    }
    return false;
}

int chunk_blocks(const struct extents *list, struct run_list *ret)
{
    for (size_t i = 0; i < list->count; i++) {
        struct block_run run = extent_run(&list->items[i]);
        if (is_shown_before(list, i)) {
            run.address += run.block_len + BLOCK_OVERHEAD;
            run.count--;
        }
        int r = run.count > 0 ? run_list_add(ret, &run) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

struct blocks_scan {
    blocks_visit_fn *visit;
    void *arg;
    struct run_list blocks;
};

static int visit_chunk(uint64_t ino, uint32_t chunk, const struct extents *list, void *arg)
{
    struct blocks_scan *scan = arg;

    run_list_clear(&scan->blocks);
    int r = chunk_blocks(list, &scan->blocks);
    return r < 0 ? r : scan->visit(ino, chunk, &scan->blocks, scan->arg);
}

int live_blocks_scan(struct meta_txn *txn, blocks_visit_fn *visit, void *arg, struct error *err)
{
    struct blocks_scan scan = { .visit = visit, .arg = arg };

    int r = chunk_scan(txn, visit_chunk, &scan, err);
    run_list_release(&scan.blocks);
    return r;
}

int blocks_scan(struct volume *volume, struct meta_txn *txn, blocks_visit_fn *visit, void *arg,
                struct error *err)
{
    struct volume_txn past = { .volume = volume, .meta = txn };

    int r = live_blocks_scan(txn, visit, arg, err);
    if (r != 0)
        return r;
    r = history_scan_blocks(&past, visit, arg);
    return r < 0 && past.err.code != 0 ? error_set(err, r, "%s", past.err.text) : r;
}
