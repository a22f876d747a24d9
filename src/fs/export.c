#include "fs/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "base/wire.h"
#include "fs/chunk_scan.h"
#include "fs/volume_internal.h"

#define BATCH_LEN (1u << 20) /* of records, read in one transaction */
#define READ_TRIES 5u        /* of blocks that are moved at the same time */

struct volume_export {
    struct volume *volume;
    struct volume_snapshot snapshot;
    uint64_t *orphans; /* ascending */
    size_t orphan_count, orphan_room;
    bool knows_orphans;
};

/* Some records, copied, and the last key among them. */
struct batch {
    const struct volume_export *export;
    struct record_key first, end, last;
    uint8_t *data; /* length of key u32, of value u32, key, value */
    size_t len;
    bool is_full;
};

int volume_export_open(struct volume *volume, const char *name, struct volume_export **ret,
                       struct error *err)
{
    struct snapshot_entry entry;
    struct volume_export *export;

    if (!snapshot_set_find(&volume->snapshots, name, &entry))
        return error_set(err, -ENOENT, "there is no snapshot of that name");
    export = calloc(1, sizeof(*export));
    if (!export)
        return error_set(err, -ENOMEM, "out of memory");
    export->volume = volume;
    export->snapshot = (struct volume_snapshot){ .epoch = entry.epoch,
                                                 .slot = entry.record.slot,
                                                 .created_ns = entry.record.created_ns };
    memcpy(export->snapshot.name, entry.record.name, sizeof(export->snapshot.name));
    memcpy(export->snapshot.access_point, entry.record.access_point,
           sizeof(export->snapshot.access_point));
    *ret = export;
    return 0;
}

void volume_export_close(struct volume_export *export)
{
    if (!export)
        return;
    free(export->orphans);
    free(export);
}

const struct volume_snapshot *volume_export_snapshot(const struct volume_export *export)
{
    return &export->snapshot;
}

uint32_t volume_export_block_size(const struct volume_export *export)
{
    return export->volume->block_size;
}

const struct key_set *volume_export_keys(const struct volume_export *export)
{
    return &export->volume->keys;
}

static int add_orphan(struct volume_export *export, uint64_t ino)
{
    if (export->orphan_count == export->orphan_room) {
        size_t room = export->orphan_room ? 2 * export->orphan_room : 64;
        uint64_t *orphans = reallocarray(export->orphans, room, sizeof(*orphans));
        if (!orphans)
            return -ENOMEM;
        export->orphans = orphans;
        export->orphan_room = room;
    }
    export->orphans[export->orphan_count++] = ino;
    return 0;
}

static int compare_inos(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static bool is_orphan(const struct volume_export *export, uint64_t ino)
{
    return export->orphan_count > 0 &&
           bsearch(&ino, export->orphans, export->orphan_count, sizeof(ino), compare_inos) != NULL;
}

/* --- records --- */

static int copy_record(struct bytes key, struct bytes value, void *arg)
{
    struct batch *batch = arg;
    uint32_t lens[2] = { (uint32_t)key.len, (uint32_t)value.len };
    size_t len = sizeof(lens) + key.len + value.len;

    if (batch->len + len > BATCH_LEN) {
        batch->is_full = true;
        return 1;
    }
    memcpy(batch->data + batch->len, lens, sizeof(lens));
    memcpy(batch->data + batch->len + sizeof(lens), key.data, key.len);
    memcpy(batch->data + batch->len + sizeof(lens) + key.len, value.data, value.len);
    batch->len += len;
    memcpy(batch->last.data, key.data, key.len);
    batch->last.len = key.len;
    return 0;
}

static int fill_batch(struct volume_txn *txn, void *arg)
{
    struct batch *batch = arg;

    batch->len = 0; /* it may run again */
    batch->is_full = false;
    if (txn->snapshot != batch->export->snapshot.epoch)
        return -ESTALE; /* another one has the slot now */
    int r = txn_scan(txn, &batch->first, &batch->end, copy_record, batch);
    return r > 0 ? 0 : r;
}

/* All keys of a kind have the same length: the least one behind this. */
static void next_key(struct record_key *key)
{
    for (size_t i = key->len; i-- > 0;)
        if (++key->data[i] != 0)
            return;
}

/* The inode to which a record belongs stands behind tree and kind. */
static uint64_t inode_of(struct bytes key)
{
    struct reader reader = reader_init((struct bytes){ key.data + 2, key.len - 2 });

    return reader_u64be(&reader);
}

/* Returns 1 if it is to be left out. */
static int sort_out(struct volume_export *export, struct bytes key, struct bytes value)
{
    static _Thread_local struct inode inode;

    if (record_kind_of(key) != RECORD_INODE)
        return is_orphan(export, inode_of(key));
    int r = inode_decode(value, &inode);
    if (r < 0)
        return r;
    if (inode.nlink > 0)
        return 0;
    r = export->knows_orphans ? 0 : add_orphan(export, inode_of(key));
    return r < 0 ? r : 1;
}

static int visit_batch(struct volume_export *export, const struct batch *batch,
                       export_visit_fn *visit, void *arg)
{
    uint32_t lens[2];
    int r = 0;

    for (size_t at = 0; at < batch->len && r >= 0; at += sizeof(lens) + lens[0] + lens[1]) {
        memcpy(lens, batch->data + at, sizeof(lens));
        struct bytes key = { batch->data + at + sizeof(lens), lens[0] };
        struct bytes value = { key.data + key.len, lens[1] };
        r = sort_out(export, key, value);
        if (r == 0)
            r = visit(key, value, arg);
    }
    return r < 0 ? r : 0;
}

/* The snapshot's name is not in it: the failure of a task is kept in the registry. */
static int export_error(int r, struct error *err)
{
    if (r == -ESTALE)
        return error_set(err, r, "the snapshot was removed while it was read");
    if (r == -EIO || is_altered(r))
        return error_set(
            err, r,
            "a record of the snapshot is damaged (coffer events has the particulars), "
            "and it cannot be uploaded without it. Remove the damaged file and take "
            "another snapshot; of this one, all but that file can be copied out of its "
            "folder in .snapshots");
    return error_set(err, r, "a record of the snapshot cannot be read: %s", strerrordesc_np(-r));
}

static int export_kind(struct volume_export *export, enum record_kind kind, struct batch *batch,
                       export_visit_fn *visit, void *arg, struct error *err)
{
    uint64_t root = (uint64_t) export->snapshot.slot << 48 | VOLUME_ROOT;
    int r = 0;

    kind_range(kind, &batch->first, &batch->end);
    do {
        r = volume_view_of(export->volume, root, fill_batch, batch);
        if (r < 0)
            return export_error(r, err);
        r = visit_batch(export, batch, visit, arg);
        if (r < 0) /* visit may have said more */
            return err && err->code == 0 ? export_error(r, err) : r;
        batch->first = batch->last;
        next_key(&batch->first);
    } while (batch->is_full);
    return 0;
}

static int export_kinds(struct volume_export *export, const enum record_kind *kinds, size_t count,
                        export_visit_fn *visit, void *arg, struct error *err)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(BATCH_LEN);
    struct batch batch = { .export = export, .data = data };
    int r = 0;

    if (!data)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < count && r == 0; i++) {
        r = export_kind(export, kinds[i], &batch, visit, arg, err);
        export->knows_orphans = export->knows_orphans || (r == 0 && kinds[i] == RECORD_INODE);
    }
    if (r < 0 && !export->knows_orphans)
        export->orphan_count = 0; /* found again next time */
    return r;
}

int volume_export_records(struct volume_export *export, export_visit_fn *visit, void *arg,
                          struct error *err)
{
    static const enum record_kind kinds[] = { RECORD_INODE, RECORD_DIRENT, RECORD_EXTENTS,
                                              RECORD_XATTR, RECORD_QUOTA };

    return export_kinds(export, kinds, sizeof(kinds) / sizeof(kinds[0]), visit, arg, err);
}

/* --- blocks --- */

static int add_blocks(struct bytes key, struct bytes value, void *arg)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;

    if (record_kind_of(key) != RECORD_EXTENTS)
        return 0;
    int r = extents_decode(value, &list);
    return r < 0 ? r : chunk_blocks(&list, arg);
}

int volume_export_blocks(struct volume_export *export, struct run_list *ret, struct error *err)
{
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;
    static const enum record_kind kinds[] = { RECORD_INODE, RECORD_EXTENTS };
    size_t known = export->knows_orphans ? 1 : 0; /* then inodes need not be looked at */

    int r = export_kinds(export, kinds + known, 2 - known, add_blocks, &blocks, err);
    if (r < 0)
        return r;
    run_list_sort(&blocks);
    *ret = blocks;
    blocks = RUN_LIST_INIT;
    return 0;
}

/* Blocks of a snapshot that is gone may be gone, too. */
static int block_error(const struct volume_export *export, int r, struct error *err)
{
    struct snapshot_entry entry;

    if (!snapshot_set_find(&export->volume->snapshots, export->snapshot.name, &entry) ||
        entry.epoch != export->snapshot.epoch)
        return export_error(-ESTALE, err);
    return r;
}

int volume_export_locate(struct volume_export *export, const struct block_run *run,
                         struct block_run *ret_front, struct block_identity *ret_identity,
                         struct error *err)
{
    char id[UUID_TEXT_SIZE];

    int r = segments_locate(export->volume->segments, run, ret_front, ret_identity);
    if (r == 0)
        return 0;
    uuid_format(&run->segment, id);
    r = error_set(err, r, "blocks of segment %s cannot be found", id);
    return block_error(export, r, err);
}

int volume_export_read(struct volume_export *export, const struct block_run *run,
                       const struct block_identity *identity, uint8_t *to, struct error *err)
{
    struct block_identity found;
    int r = -EAGAIN;

    for (unsigned i = 0; i < READ_TRIES && (r == -EAGAIN || r == -ENOENT); i++)
        r = segments_read_sealed(export->volume->segments, run, to, &found, err);
    if (r < 0)
        return block_error(export, r, err);
    if (memcmp(&found, identity, sizeof(found)) != 0)
        return error_set(err, -EAGAIN, "blocks were sealed anew while they were read");
    return 0;
}
