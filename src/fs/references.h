/* references.h - how often the kernel holds each inode (FUSE's lookup count): an unlinked one
 * lives until nobody does.
 *
 * Threads    any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/thread.h"

struct reference_slot {
    uint64_t ino; /* 0: free */
    uint64_t count : 63;
    uint64_t is_orphan : 1;
};

#define REFERENCE_SHARDS 16u

struct reference_shard {
    struct mutex lock;
    struct reference_slot *slots; /* open addressing; a power of two */
    uint32_t room;
    uint32_t used;
};

struct references {
    struct reference_shard shards[REFERENCE_SHARDS];
};

void references_init(struct references *references);
void references_release(struct references *references);

/* -ENOMEM. */
int references_add(struct references *references, uint64_t ino, uint64_t count);

enum references_left {
    REFERENCES_HELD,        /* there are others */
    REFERENCES_LAST,        /* none is left */
    REFERENCES_LAST_ORPHAN, /* none is left, and it was marked, or never counted */
};

enum references_left references_drop(struct references *references, uint64_t ino, uint64_t count);

/* Its last name is gone: whoever drops the last reference is told. False if there is none. */
bool references_mark_orphan(struct references *references, uint64_t ino);
/* True between that and the last reference. */
bool references_is_orphan(struct references *references, uint64_t ino);
bool references_held(struct references *references, uint64_t ino);
