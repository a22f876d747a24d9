/* Room on the disk under the store. Writers leave a part of it free: compaction copies into it
 * before it deletes, and the superblock is replaced by a second one. A writer who finds no more
 * waits for what the keeper can win. */
#include <errno.h>

#include "fs/commit.h"
#include "fs/volume_internal.h"

#define SEGMENT_SIZE_MIN ((uint64_t)4 * 1024 * 1024)
#define SEGMENTS_OF_DISK 32u                    /* at least so many fit */
#define KEPT_BESIDE ((uint64_t)8 * 1024 * 1024) /* besides a segment; metadata takes of it, too */
#define KEPT_MAX_OF_DISK 8u                     /* at most an eighth */

/* Asking the store costs a system call or more, so it is asked once for so much that is appended,
 * and more often when little is left. */
#define KNOWN_ROOM_MAX ((uint64_t)16 * 1024 * 1024)
#define KNOWN_ROOM_OF_FREE 8u

/* What waits to be durable is a few of them, which are stored at once. */
#define SEGMENT_SIZE_SEALED ((uint32_t)8 * 1024 * 1024)

static uint64_t size_on(const struct object_store_space *disk)
{
    uint64_t size = disk->total / SEGMENTS_OF_DISK;

    if (disk->total == 0 || size > SEGMENT_SIZE)
        return SEGMENT_SIZE;
    return size < SEGMENT_SIZE_MIN ? SEGMENT_SIZE_MIN : size;
}

uint32_t room_segment_size(struct object_store *store)
{
    struct object_store_space disk = { 0 };

    if (object_store_prefers_sealing(store))
        return SEGMENT_SIZE_SEALED;
    if (object_store_space(store, &disk, NULL) < 0)
        return SEGMENT_SIZE;
    return (uint32_t)size_on(&disk);
}

uint64_t room_for_data(const struct object_store_space *disk)
{
    uint64_t kept = size_on(disk) + KEPT_BESIDE;

    if (kept > disk->total / KEPT_MAX_OF_DISK)
        kept = disk->total / KEPT_MAX_OF_DISK;
    return disk->free > kept ? disk->free - kept : 0;
}

static bool has_room(struct volume *volume, uint64_t bytes)
{
    struct object_store_space disk = { 0 };

    return object_store_space(volume->store, &disk, NULL) < 0 || disk.total == 0 ||
           room_for_data(&disk) >= bytes;
}

int room_find(struct volume *volume, uint64_t bytes, struct error *err)
{
    while (!has_room(volume, bytes)) {
        if (!keeper_make_room(volume))
            return error_set(err, -ENOSPC,
                             "the disk under the filesystem's store has no room for the next %llu "
                             "MiB; remove files or snapshots, or make the disk larger",
                             (unsigned long long)(bytes >> 20) + 1);
    }
    return 0;
}

/* A store that cannot tell will tell when it is full. */
static int check_room(struct volume *volume, size_t len, struct error *err)
{
    struct object_store_space disk = { 0 };

    if (atomic_fetch_sub(&volume->known_room, (int64_t)len) >= (int64_t)len)
        return 0;
    if (object_store_space(volume->store, &disk, NULL) < 0 || disk.total == 0)
        return 0;
    uint64_t need = len + atomic_load(&volume->claimed_room);
    uint64_t room = room_for_data(&disk);
    if (room < need)
        return error_set(err, -ENOSPC, "the store is full");
    uint64_t known = (room - need) / KNOWN_ROOM_OF_FREE;
    atomic_store(&volume->known_room, (int64_t)(known < KNOWN_ROOM_MAX ? known : KNOWN_ROOM_MAX));
    return 0;
}

int room_append(struct volume *volume, const struct segment_origin *origin, struct bytes data,
                struct block_run ret[APPEND_RUNS_MAX], size_t *ret_count, struct error *err)
{
    for (;;) {
        int r = check_room(volume, data.len, err);
        if (r == 0)
            r = segments_append(volume->segments, origin, data, volume->block_size, ret, ret_count,
                                err);
        if (r != -ENOSPC || !keeper_make_room(volume))
            return r;
    }
}
