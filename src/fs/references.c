/* A hash table in 16 parts, each under its own lock: linear probing, and removal by moving later
 * slots forward, so that no marks of what was removed are left. */
#include "fs/references.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_FIRST 64u
#define REFERENCES_MAX (((uint64_t)1 << 63) - 1)
#define ROOM_MAX ((uint32_t)1 << 30)

/* Fibonacci hashing: neighbouring numbers are spread over shards (the upper 4 bits) and slots. */
static uint64_t spread(uint64_t ino)
{
    return ino * 0x9e3779b97f4a7c15u;
}

static struct reference_shard *shard_of(struct references *references, uint64_t ino)
{
    return &references->shards[spread(ino) >> 60];
}

static uint32_t home_of(uint64_t ino, uint32_t mask)
{
    return (uint32_t)(spread(ino) >> 28) & mask;
}

void references_init(struct references *references)
{
    for (size_t i = 0; i < REFERENCE_SHARDS; i++)
        references->shards[i] = (struct reference_shard){ .lock = MUTEX_INIT };
}

void references_release(struct references *references)
{
    for (size_t i = 0; i < REFERENCE_SHARDS; i++) {
        free(references->shards[i].slots);
        references->shards[i].slots = NULL;
        references->shards[i].room = 0;
        references->shards[i].used = 0;
    }
}

/* The slot of ino, or the free one where it belongs. The shard has room, and a free slot. */
static struct reference_slot *find_locked(struct reference_shard *shard, uint64_t ino)
    REQUIRES(shard->lock)
{
    uint32_t mask = shard->room - 1;
    uint32_t at = home_of(ino, mask);

    while (shard->slots[at].ino != 0 && shard->slots[at].ino != ino)
        at = (at + 1) & mask;
    return &shard->slots[at];
}

static int grow_locked(struct reference_shard *shard) REQUIRES(shard->lock)
{
    struct reference_slot *old = shard->slots;
    uint32_t old_room = shard->room;
    uint32_t room = old_room ? old_room * 2 : ROOM_FIRST;

    struct reference_slot *slots = room <= ROOM_MAX ? calloc(room, sizeof(*slots)) : NULL;
    if (!slots)
        return -ENOMEM;
    shard->slots = slots;
    shard->room = room;
    for (uint32_t i = 0; i < old_room; i++)
        if (old[i].ino != 0)
            *find_locked(shard, old[i].ino) = old[i];
    free(old);
    return 0;
}

static int add_locked(struct reference_shard *shard, uint64_t ino, uint64_t count)
    REQUIRES(shard->lock)
{
    /* At most three quarters are used. */
    if (shard->used >= shard->room / 4 * 3) {
        int r = grow_locked(shard);
        if (r < 0)
            return r;
    }
    struct reference_slot *slot = find_locked(shard, ino);
    if (slot->ino == 0) {
        slot->ino = ino;
        slot->count = 0;
        slot->is_orphan = 0;
        shard->used++;
    }
    slot->count = (slot->count + count) & REFERENCES_MAX;
    return 0;
}

/* Slots behind the hole that are looked for from it or before it move into it. */
static void remove_locked(struct reference_shard *shard, struct reference_slot *slot)
    REQUIRES(shard->lock)
{
    uint32_t mask = shard->room - 1;
    uint32_t hole = (uint32_t)(slot - shard->slots);

    for (uint32_t at = (hole + 1) & mask; shard->slots[at].ino != 0; at = (at + 1) & mask) {
        uint32_t from_home = (at - home_of(shard->slots[at].ino, mask)) & mask;
        if (from_home >= ((at - hole) & mask)) {
            shard->slots[hole] = shard->slots[at];
            hole = at;
        }
    }
    shard->slots[hole] = (struct reference_slot){ .ino = 0 };
    shard->used--;
}

int references_add(struct references *references, uint64_t ino, uint64_t count)
{
    struct reference_shard *shard = shard_of(references, ino);

    if (count == 0)
        return 0;
    mutex_lock(&shard->lock);
    int r = add_locked(shard, ino, count);
    mutex_unlock(&shard->lock);
    return r;
}

enum references_left references_drop(struct references *references, uint64_t ino, uint64_t count)
{
    struct reference_shard *shard = shard_of(references, ino);
    /* Also of those that could not be counted when memory had run out. */
    enum references_left left = REFERENCES_LAST_ORPHAN;

    mutex_lock(&shard->lock);
    struct reference_slot *slot = shard->room ? find_locked(shard, ino) : NULL;
    if (slot && slot->ino != 0 && slot->count > count) {
        slot->count = (slot->count - count) & REFERENCES_MAX;
        left = REFERENCES_HELD;
    } else if (slot && slot->ino != 0) {
        left = slot->is_orphan ? REFERENCES_LAST_ORPHAN : REFERENCES_LAST;
        remove_locked(shard, slot);
    }
    mutex_unlock(&shard->lock);
    return left;
}

bool references_mark_orphan(struct references *references, uint64_t ino)
{
    struct reference_shard *shard = shard_of(references, ino);

    mutex_lock(&shard->lock);
    struct reference_slot *slot = shard->room ? find_locked(shard, ino) : NULL;
    bool is_held = slot && slot->ino != 0;
    if (is_held)
        slot->is_orphan = 1;
    mutex_unlock(&shard->lock);
    return is_held;
}

bool references_is_orphan(struct references *references, uint64_t ino)
{
    struct reference_shard *shard = shard_of(references, ino);

    mutex_lock(&shard->lock);
    const struct reference_slot *slot = shard->room ? find_locked(shard, ino) : NULL;
    bool is_orphan = slot && slot->ino != 0 && slot->is_orphan;
    mutex_unlock(&shard->lock);
    return is_orphan;
}

bool references_held(struct references *references, uint64_t ino)
{
    struct reference_shard *shard = shard_of(references, ino);

    mutex_lock(&shard->lock);
    bool is_held = shard->room && find_locked(shard, ino)->ino != 0;
    mutex_unlock(&shard->lock);
    return is_held;
}
