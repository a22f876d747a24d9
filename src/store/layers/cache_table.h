/* cache_table.h - which blocks of which objects lie in which slots of a cache's file, and which
 * were used last. It reads and writes nothing. Only for layers/cache.c.
 *
 * A slot is free, or claimed by who fills it, or filled. Whoever reads or fills one holds it; what
 * is dropped meanwhile is free when nobody holds it any more.
 *
 * Units      blocks of CACHE_BLOCK bytes; slots are numbers.
 * Errors     -ENOMEM.
 * Ownership  entries are counted: by who has the object open, and by their blocks.
 * Threads    one at a time: the cache's lock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store/object_store.h"

#define CACHE_BLOCK ((size_t)256 * 1024)
#define CACHE_NO_SLOT UINT32_MAX
#define CACHE_SLOTS_MAX ((uint64_t)16 * 1024 * 1024) /* 4 TiB */

/* An object of which something is cached, or that is open. */
struct cache_entry {
    struct cache_entry *next; /* in its bucket */
    unsigned refs;
    unsigned writers;    /* it is still being written: nothing of it is cached */
    bool is_detached;    /* the name means another object by now, or none */
    uint32_t *blocks;    /* slots, by the number of the block */
    uint32_t block_room; /* of blocks */
    uint32_t filled;     /* blocks that are in the file */
    uint64_t hash;
    char name[OBJECT_NAME_MAX + 1];
};

struct cache_slot {
    struct cache_entry *entry; /* NULL: free, or dropped and still held */
    uint32_t block;
    uint32_t len; /* less than CACHE_BLOCK: the object ends there */
    uint32_t holders;
    bool is_filled;
    uint32_t newer, older; /* of filled ones by their last use; of free ones older is the next */
};

struct cache_table {
    struct cache_slot *slots;
    uint32_t slot_room;
    uint32_t limit; /* so many may be used */
    uint32_t begun; /* so many were ever used: the file is as long */
    uint32_t first_free;
    uint32_t newest, oldest;
    uint32_t filled;
    uint32_t held; /* slots that somebody holds */
    struct cache_entry **buckets;
    size_t bucket_count, entry_count;
};

int cache_table_init(struct cache_table *table, uint32_t limit);
void cache_table_release(struct cache_table *table);

/* All beyond the new limit is dropped. */
int cache_table_resize(struct cache_table *table, uint32_t limit);
void cache_table_drop_all(struct cache_table *table);

/* The entry of that name, made if need be, counted once more; NULL: no memory. */
struct cache_entry *cache_entry_get(struct cache_table *table, const char *name);
void cache_entry_put(struct cache_table *table, struct cache_entry *entry);
/* The name means another object from now on. */
void cache_entry_detach(struct cache_table *table, const char *name);

/* CACHE_NO_SLOT: it is neither there nor being filled. */
uint32_t cache_slot_find(const struct cache_entry *entry, uint64_t block);

/* A slot for a block that has none, held by the caller; of one that was never used only if grows,
 * else the one that was used longest ago. CACHE_NO_SLOT: there is none. */
uint32_t cache_slot_claim(struct cache_table *table, struct cache_entry *entry, uint64_t block,
                          bool grows);
/* By who claimed it: len bytes are in the file now. */
void cache_slot_filled(struct cache_table *table, uint32_t number, uint32_t len);
void cache_slot_hold(struct cache_table *table, uint32_t number); /* and it is the newest */
void cache_slot_let_go(struct cache_table *table, uint32_t number);
void cache_slot_drop(struct cache_table *table, uint32_t number);
