/* Reading directories. An entry's position follows from its lookup key, so it stays the same
 * whatever is added or removed around it:
 *
 *     0 start    1 behind "."    2 behind ".."    else behind the entry of this position
 *
 * Two names of one directory have the same position with a chance of n^2 / 2^64: then one of them
 * may be left out where a call ends between them. */
#include "fs/directory.h"
#include "fs/snapshot_view.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define POSITION_DOT 1u
#define POSITION_DOT_DOT 2u
#define POSITION_FIRST 3u
#define POSITION_MAX ((uint64_t)INT64_MAX)

#define ENDED 1 /* the visitor wants no more */

struct listing {
    uint64_t ino;
    uint64_t slot;     /* of the snapshot, shifted */
    uint64_t position; /* behind what was visited */
    bool with_attr;
    volume_dirent_fn *visit;
    void *arg;
    struct volume_txn *txn;
};

static uint64_t position_of(const uint8_t lookup[static LOOKUP_KEY_LEN])
{
    uint64_t number;

    memcpy(&number, lookup, sizeof(number));
    number = be64toh(number) >> 1;
    return number < POSITION_FIRST ? POSITION_FIRST : number;
}

/* The least key whose position is behind this one. */
static void first_key_behind(uint64_t ino, uint64_t position, struct record_key *ret)
{
    uint8_t lookup[LOOKUP_KEY_LEN] = { 0 };
    uint64_t number = htobe64((position + 1) << 1);

    if (position >= POSITION_FIRST)
        memcpy(lookup, &number, sizeof(number));
    dirent_key(ino, lookup, ret);
}

static int visit(struct listing *listing, const char *name, const struct volume_attr *attr,
                 uint64_t position)
{
    if (listing->visit(name, attr, position, listing->arg) != 0)
        return ENDED;
    listing->position = position;
    return 0;
}

static int visit_dot(struct listing *listing, const struct inode *directory)
{
    struct volume_attr attr;

    inode_attr(listing->slot | listing->ino, directory, &attr);
    return visit(listing, ".", &attr, POSITION_DOT);
}

/* The parent of a directory that was removed may be gone, too. */
static int visit_dot_dot(struct listing *listing, const struct inode *directory)
{
    struct volume_attr attr = { .ino = listing->slot | directory->parent, .mode = S_IFDIR };
    struct inode parent;

    if (listing->with_attr) {
        int r = inode_get(listing->txn, directory->parent, &parent);
        if (r < 0 && r != -ENOENT)
            return r;
        if (r == 0)
            inode_attr(listing->slot | directory->parent, &parent, &attr);
    }
    return visit(listing, "..", &attr, POSITION_DOT_DOT);
}

static int visit_entry(struct bytes key, struct bytes value, void *arg)
{
    struct listing *listing = arg;
    uint8_t lookup[LOOKUP_KEY_LEN];
    struct dirent_record entry;
    struct inode inode;
    uint64_t parent;
    int r = record_key_lookup(key, RECORD_DIRENT, &parent, lookup);

    if (r == 0)
        r = dirent_decode(value, &entry);
    if (r != 0)
        return txn_refused(listing->txn, r, "an entry", listing->ino);
    struct volume_attr attr = { .ino = listing->slot | entry.ino,
                                .mode = (uint32_t)entry.type << 12 };
    if (listing->with_attr) {
        r = entry_inode(listing->txn, &entry, &inode);
        if (r < 0)
            return r;
        inode_attr(listing->slot | entry.ino, &inode, &attr);
    }
    return visit(listing, entry.name, &attr, position_of(lookup));
}

static int visit_entries(struct listing *listing)
{
    struct record_key first;
    struct record_key end;

    inode_range(RECORD_DIRENT, listing->ino, &first, &end);
    first_key_behind(listing->ino, listing->position, &first);
    return txn_scan(listing->txn, &first, &end, visit_entry, listing);
}

static int list(struct volume_txn *txn, void *arg)
{
    struct listing *listing = arg;
    struct inode directory;
    int r = directory_get(txn, listing->ino, &directory);

    listing->txn = txn;
    if (r == 0 && listing->position < POSITION_DOT)
        r = visit_dot(listing, &directory);
    if (r == 0 && listing->position < POSITION_DOT_DOT)
        r = visit_dot_dot(listing, &directory);
    if (r == 0 && listing->position < POSITION_MAX)
        r = visit_entries(listing);
    return r == ENDED ? 0 : r;
}

int volume_readdir(struct volume *volume, uint64_t ino, uint64_t position, bool with_attr,
                   volume_dirent_fn *visit_fn, void *arg)
{
    struct listing listing = { .ino = inode_number(ino),
                               .slot = inode_slot(ino),
                               .position = position,
                               .with_attr = with_attr,
                               .visit = visit_fn,
                               .arg = arg };

    if (is_snapshots_folder(ino))
        return snapshots_readdir(volume, position, with_attr, visit_fn, arg);
    return volume_view_of(volume, ino, list, &listing);
}
