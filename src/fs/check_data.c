/* Extents against inodes, blocks against what lies in the store, objects against the account. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "fs/check_internal.h"
#include "fs/history.h"

typedef unsigned long long ull;

struct data_check {
    bool is_saved; /* what is looked at is of saved versions */
    struct check *check;
    struct run_list blocks;
    uint64_t held;
    uint8_t *room; /* CHUNK_SIZE, if data is read */
};

/* An unaligned end of the last chunk is no fault: an extent may end behind size only with
 * INODE_UNTRIMMED. */
static void check_bounds(struct check *check, const struct inode_sum *inode, uint32_t chunk,
                         const struct extents *list)
{
    const struct extent *last = &list->items[list->count - 1];
    uint64_t end = (uint64_t)chunk * CHUNK_SIZE + last->offset + last->len;

    if (end > inode->size && !(inode->flags & INODE_UNTRIMMED))
        check_fault(check, "Inode %llu has data behind its end, at %llu of %llu.", (ull)inode->ino,
                    (ull)end, (ull)inode->size);
}

struct lookup {
    uint64_t ino;
    uint32_t chunk;
    const struct block_run *run;
    bool is_named;
};

static int look_again(struct volume_txn *txn, void *arg)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;
    struct lookup *lookup = arg;

    int r = chunk_get(txn, lookup->ino, lookup->chunk, &list);
    for (size_t i = 0; i < list.count && r == 0; i++) {
        struct block_run run = extent_run(&list.items[i]);
        uint64_t end = run.address + block_run_sealed(&run);
        uint64_t wanted_end = lookup->run->address + block_run_sealed(lookup->run);
        if (uuid_equal(&run.segment, &lookup->run->segment) && run.address < wanted_end &&
            lookup->run->address < end)
            lookup->is_named = true;
    }
    return r;
}

/* Files change while they are checked: what cannot be read and is no longer named is no fault. */
static bool is_still_named(struct check *check, uint64_t ino, uint32_t chunk,
                           const struct block_run *run)
{
    struct lookup lookup = { .ino = ino, .chunk = chunk, .run = run };

    return volume_view(check->volume, look_again, &lookup) < 0 || lookup.is_named;
}

/* What only snapshots hold goes when one of them is removed, and in no other way: then nothing of
 * it is found, while what is found and does not open is a fault. */
static bool is_still_held(struct check *check, int r)
{
    return r != -ENOENT || (!check->is_removing &&
                            snapshot_set_changes(&check->volume->snapshots) == check->changes);
}

/* Whether it cannot be read, and should be. */
static bool is_lost(struct data_check *data, uint64_t ino, uint32_t chunk,
                    const struct block_run *run, struct error *why)
{
    size_t len = (size_t)run->count * run->block_len;

    int r = segments_read_origin(data->check->volume->segments, run, 0, len, data->room, why);
    if (r == -ENOENT) /* moved meanwhile */
        r = segments_read_origin(data->check->volume->segments, run, 0, len, data->room, why);
    return r < 0 && (data->is_saved ? is_still_held(data->check, r)
                                    : is_still_named(data->check, ino, chunk, run));
}

/* Of a run some blocks may be given up since, and the others moved: then each is asked for. */
static void read_run(struct data_check *data, uint64_t ino, uint32_t chunk,
                     const struct block_run *run)
{
    struct block_run block = *run;
    struct error why = { 0 };

    bool is_fault = is_lost(data, ino, chunk, run, &why);
    if (is_fault && run->count > 1) {
        block.count = 1;
        is_fault = false;
        for (uint32_t i = 0; i < run->count && !is_fault; i++) {
            is_fault = is_lost(data, ino, chunk, &block, &why);
            block.address += (uint32_t)block_run_sealed(&block);
        }
    }
    if (is_fault)
        check_fault(data->check, "Data of inode %llu cannot be read: %s.", (ull)ino, why.text);
}

/* What the record of a chunk says of its inode. */
static bool check_extents(struct check *check, uint64_t ino, uint32_t chunk,
                          const struct extents *list)
{
    struct inode_sum *inode = check_inode(check, ino);

    if (inode == NULL || !S_ISREG(inode->mode)) {
        check_fault(check, "Extents belong to inode %llu, which is not a regular file.", (ull)ino);
        return false;
    }
    inode->stored -= extents_bytes(list);
    if (list->count > 0)
        check_bounds(check, inode, chunk, list);
    return true;
}

static int check_blocks(uint64_t ino, uint32_t chunk, const struct run_list *blocks, void *arg)
{
    struct data_check *data = arg;
    struct check *check = data->check;

    for (size_t i = 0; i < blocks->count; i++) {
        const struct block_run *run = &blocks->items[i];
        if (segments_check_run(check->volume->segments, run) < 0)
            check_fault(check, "Inode %llu names a segment that is not known.", (ull)ino);
        else if (check->read_data)
            read_run(data, ino, chunk, run);
    }
    return 0;
}

static int visit_chunk(uint64_t ino, uint32_t chunk, const struct extents *list, void *arg)
{
    struct data_check *data = arg;

    if (!check_extents(data->check, ino, chunk, list))
        return 0;
    run_list_clear(&data->blocks);
    int r = chunk_blocks(list, &data->blocks);
    if (r < 0)
        return error_set(data->check->err, r, "no memory to check extents");
    return check_blocks(ino, chunk, &data->blocks, data);
}

static int visit_saved(uint64_t ino, uint32_t chunk, const struct run_list *blocks, void *arg)
{
    struct data_check *data = arg;

    data->held += run_list_sealed(blocks);
    return check_blocks(ino, chunk, blocks, data);
}

static int scan_saved(struct data_check *data)
{
    struct check *check = data->check;
    struct volume_txn txn = { .volume = check->volume, .meta = check->txn };

    data->is_saved = true;
    int r = history_scan_blocks(&txn, visit_saved, data);
    if (r < 0)
        return txn.err.code != 0 ? error_set(check->err, r, "%s", txn.err.text) : r;
    if (data->held != check->expected_held)
        check_fault(check, "Snapshots hold %llu bytes, and %llu are counted.", (ull)data->held,
                    (ull)check->expected_held);
    return 0;
}

static void check_sums(struct check *check)
{
    for (size_t i = 0; i < check->inode_count; i++)
        if (check->inodes[i].stored != 0)
            check_fault(check, "Inode %llu counts %lld bytes more than it has.",
                        (ull)check->inodes[i].ino, (long long)check->inodes[i].stored);
}

static void report_object(const char *text, void *arg)
{
    check_fault(arg, "%s", text);
}

int check_data(struct check *check)
{
    struct data_check data = { .check = check };

    if (check->read_data && (data.room = malloc(CHUNK_SIZE)) == NULL)
        return error_set(check->err, -ENOMEM, "no memory to read data");
    int r = chunk_scan(check->txn, visit_chunk, &data, check->err);
    if (r == 0)
        r = scan_saved(&data);
    run_list_release(&data.blocks);
    free(data.room);
    if (r < 0)
        return r;
    check_sums(check);
    return segments_check_objects(check->volume->segments, report_object, check, check->err);
}

static int visit_past_chunk(struct bytes key, struct bytes value, void *arg)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;
    struct check *check = arg;
    uint64_t ino;
    uint32_t chunk;

    if (record_key_inode(key, RECORD_EXTENTS, &ino, &chunk) < 0 || extents_decode(value, &list) < 0)
        check_fault(check, "An EXTENTS record cannot be understood.");
    else
        (void)check_extents(check, ino, chunk, &list);
    return 0;
}

int check_past_data(struct check *check)
{
    int r = check_scan(check, RECORD_EXTENTS, visit_past_chunk);

    if (r == 0)
        check_sums(check);
    return r;
}

void check_counts(struct check *check)
{
    if (check->inode_count != check->expected_files)
        check_fault(check, "There are %llu inodes, and %llu are counted.", (ull)check->inode_count,
                    (ull)check->expected_files);
    if (check->stored != check->expected_stored)
        check_fault(check, "The inodes hold %llu bytes, and %llu are counted.", (ull)check->stored,
                    (ull)check->expected_stored);
}
