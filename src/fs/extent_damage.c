/* Lists of extents that were altered, of a file that was removed. What they name is not known, so
 * they would keep the inode, its blocks, and of a downloaded filesystem its bucket, for ever. */
#include <errno.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "fs/history.h"
#include "fs/volume_internal.h"

#define CHUNKS_AT_ONCE 64u

struct damaged {
    uint64_t ino;
    uint32_t chunks[CHUNKS_AT_ONCE]; /* of which something is stored */
    size_t count;
    int dropped;
};

/* 1: there is room for no more. */
static int note_chunk(struct bytes key, struct bytes value, void *arg)
{
    struct damaged *damaged = arg;
    uint64_t ino;
    uint32_t chunk;

    (void)value;
    if (record_key_inode(key, RECORD_EXTENTS, &ino, &chunk) < 0)
        return 0;
    damaged->chunks[damaged->count++] = chunk;
    return damaged->count == CHUNKS_AT_ONCE;
}

static int drop_one(struct volume_txn *txn, struct damaged *damaged, uint32_t chunk)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;
    struct record_key key;

    int r = chunk_get(txn, damaged->ino, chunk, &list);
    if (!is_altered(r))
        return r;
    txn->err = (struct error){ .code = 0 };
    extents_key(damaged->ino, chunk, &key);
    r = history_save_lost(txn, &key);
    if (r == 0)
        r = meta_remove(txn->meta, record_key_bytes(&key), &txn->err);
    if (r < 0)
        return r;
    segments_distrust(txn->volume->segments); /* the mark goes into this group */
    damaged->dropped++;
    return 0;
}

/* As reap_step(): whoever refers to it now has found it by number only. */
static int drop_some(struct volume_txn *txn, void *arg)
{
    struct damaged *damaged = arg;
    struct inode inode;

    damaged->dropped = 0;
    int r = inode_get(txn, damaged->ino, &inode);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    (void)atomic_fetch_add(&txn->volume->reaps, 1);
    if (inode.nlink > 0 || references_mark_orphan(&txn->volume->references, damaged->ino))
        return 0;
    for (size_t i = 0; i < damaged->count && r == 0; i++)
        r = drop_one(txn, damaged, damaged->chunks[i]);
    return r;
}

int inode_drop_damaged(struct volume *volume, uint64_t ino)
{
    struct record_key first;
    struct record_key end;
    uint64_t from = 0;
    int dropped = 0;
    int more = 1;

    while (more > 0 && from < CHUNKS_MAX) {
        struct damaged damaged = { .ino = ino };
        extents_key(ino, (uint32_t)from, &first);
        extents_key(ino + 1, 0, &end);
        more = meta_scan_stored(volume->engine, record_key_bytes(&first), record_key_bytes(&end),
                                note_chunk, &damaged, NULL);
        if (more < 0 || damaged.count == 0 ||
            volume_change(volume, META_FREE, drop_some, &damaged) < 0)
            break;
        dropped += damaged.dropped;
        from = (uint64_t)damaged.chunks[damaged.count - 1] + 1;
    }
    if (dropped > 0)
        volume_report(volume, VOLUME_EVENT_CORRUPTION,
                      "Inode %llu was removed, and with it %d lists of its extents that were "
                      "altered; what is in use is counted anew.",
                      (unsigned long long)ino, dropped);
    return dropped;
}
