/* cache.h - a store that keeps copies of what was read from the one that it wraps, on a local disk:
 * for a store that is far away.
 *
 * Blocks of CACHE_BLOCK bytes of objects whose name begins with a prefix, and that never change: as
 * many as are allowed; what was used longest ago makes room. Objects that are being written
 * here are not cached. The copies lie in one file without a name, so that nothing is left of them
 * when the process ends, however it ends: what the next one finds would have to be proved to belong
 * to it, and a start is not slowed down by looking.
 *
 * Copies are not verified here. Who reads opens what it gets with the keys, and if that fails asks
 * for the original (object_read_origin()), which also drops the copy.
 *
 * A part of the disk stays free: an eighth, at most 4 GiB. When less is free no further room is
 * taken; when less than half of that is free, when a write finds no room, or the disk fails, the
 * cache gives all of it back, says so, and is off until its size is set anew.
 *
 * Units      bytes.
 * Errors     those of the store that is wrapped: a disk that fails only turns the cache off.
 *            -ENOMEM; cache_file_open(): what the folder says.
 * Ownership  the layer owns the inner store and the file from a successful _new on. The struct
 *            cache_store is part of the layer: it goes when that is closed.
 * Threads    any. on_off is called by who reads; it must not call the store.
 */
#pragma once

#include "store/layers/cache_table.h"
#include "store/layers/layer.h"

struct cache_store;

typedef void cache_off_fn(const char *why, void *arg);

struct cache_config {
    int fd;             /* an empty file */
    uint64_t max_bytes; /* 0: off */
    const char *prefix; /* stays the caller's */
    cache_off_fn *on_off;
    void *arg;
};

/* A file without a name in that folder. */
int cache_file_open(const char *folder, int *ret_fd, struct error *err);

int cache_store_new(struct object_store *inner, const struct cache_config *config,
                    struct object_store **ret_store, struct cache_store **ret_cache);

/* Also turns one on again that turned itself off. */
int cache_store_resize(struct cache_store *cache, uint64_t max_bytes);

struct cache_counts {
    uint64_t max_bytes;
    uint64_t used_bytes;
    uint64_t hits; /* blocks that were asked for and there, since it was made */
    uint64_t misses;
    bool is_off; /* it turned itself off */
};

void cache_store_counts(struct cache_store *cache, struct cache_counts *ret);
