#include "fs/snapshot_view.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Positions in the folder: 1 behind ".", 2 behind "..", then 2 + the epoch of the snapshot. */
#define POSITION_DOT 1u
#define POSITION_DOT_DOT 2u

static uint64_t root_of(const struct snapshot_entry *entry)
{
    return (uint64_t)entry->record.slot << 48 | VOLUME_ROOT;
}

bool snapshots_name_is_taken(uint64_t parent, const char *name)
{
    return parent == VOLUME_ROOT && strcmp(name, SNAPSHOTS_NAME) == 0;
}

/* Asked for on each way into a snapshot, so it must not cost more when there are many. Who may look
 * into the root directory may look into it. By its time the kernel sees that what it
 * knows is not so any more. */
int snapshots_attr(struct volume *volume, struct volume_attr *ret)
{
    struct volume_attr root;

    int r = volume_getattr(volume, VOLUME_ROOT, &root);
    if (r < 0)
        return r;
    size_t seen = snapshot_set_seen(&volume->snapshots);
    int64_t changed_ns = snapshot_set_changed_ns(&volume->snapshots);
    if (changed_ns == 0)
        changed_ns = root.ctime_ns;
    *ret = (struct volume_attr){ .ino = VOLUME_SNAPSHOTS,
                                 .size = 4096,
                                 .atime_ns = changed_ns,
                                 .mtime_ns = changed_ns,
                                 .ctime_ns = changed_ns,
                                 .mode = S_IFDIR | 0555,
                                 .nlink = 2 + (uint32_t)seen,
                                 .uid = root.uid,
                                 .gid = root.gid };
    return 0;
}

int snapshots_lookup(struct volume *volume, const char *name, struct volume_attr *ret)
{
    struct snapshot_entry entry;

    if (!snapshot_set_find_access(&volume->snapshots, name, &entry))
        return -ENOENT;
    return volume_getattr(volume, root_of(&entry), ret);
}

static int visit_one(struct volume *volume, const char *name, uint64_t ino, uint64_t position,
                     bool with_attr, volume_dirent_fn *visit, void *arg)
{
    struct volume_attr attr = { .ino = ino, .mode = S_IFDIR };

    int r = with_attr ? volume_getattr(volume, ino, &attr) : 0;
    if (r == -ESTALE) /* it was removed just now */
        return 0;
    return r < 0 ? r : visit(name, &attr, position, arg);
}

int snapshots_readdir(struct volume *volume, uint64_t position, bool with_attr,
                      volume_dirent_fn *visit, void *arg)
{
    struct snapshot_entry entry = { .epoch = position > POSITION_DOT_DOT
                                                 ? position - POSITION_DOT_DOT
                                                 : 0 };
    int r = 0;

    if (position < POSITION_DOT)
        r = visit_one(volume, ".", VOLUME_SNAPSHOTS, POSITION_DOT, with_attr, visit, arg);
    if (r == 0 && position < POSITION_DOT_DOT)
        r = visit_one(volume, "..", VOLUME_ROOT, POSITION_DOT_DOT, with_attr, visit, arg);
    while (r == 0 && snapshot_set_next(&volume->snapshots, entry.epoch, &entry))
        if (entry.record.state == SNAPSHOT_KEPT)
            r = visit_one(volume, entry.record.access_point, root_of(&entry),
                          POSITION_DOT_DOT + entry.epoch, with_attr, visit, arg);
    return r < 0 ? r : 0;
}
