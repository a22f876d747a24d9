#include "store/layers/cache_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS_MAX 65536u /* of one object; what lies behind is not cached */
#define BUCKETS_FIRST 256u

static uint64_t hash_of(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash;
}

int cache_table_init(struct cache_table *table, uint32_t limit)
{
    *table = (struct cache_table){ .first_free = CACHE_NO_SLOT,
                                   .newest = CACHE_NO_SLOT,
                                   .oldest = CACHE_NO_SLOT,
                                   .bucket_count = BUCKETS_FIRST };
    table->buckets = calloc(BUCKETS_FIRST, sizeof(struct cache_entry *));
    return table->buckets == NULL ? -ENOMEM : cache_table_resize(table, limit);
}

/* Entries that somebody has open stay theirs until cache_entry_put(): there are none any more. */
void cache_table_release(struct cache_table *table)
{
    cache_table_drop_all(table);
    assert(table->entry_count == 0);
    free(table->slots);
    free(table->buckets);
    *table = (struct cache_table){ .slots = NULL };
}

/* --- by last use --- */

static void list_remove(struct cache_table *table, struct cache_slot *slot)
{
    if (slot->newer != CACHE_NO_SLOT)
        table->slots[slot->newer].older = slot->older;
    else
        table->newest = slot->older;
    if (slot->older != CACHE_NO_SLOT)
        table->slots[slot->older].newer = slot->newer;
    else
        table->oldest = slot->newer;
}

static void list_add(struct cache_table *table, uint32_t number)
{
    struct cache_slot *slot = &table->slots[number];

    slot->newer = CACHE_NO_SLOT;
    slot->older = table->newest;
    if (table->newest != CACHE_NO_SLOT)
        table->slots[table->newest].newer = number;
    else
        table->oldest = number;
    table->newest = number;
}

/* --- slots --- */

static void make_free(struct cache_table *table, uint32_t number)
{
    if (number >= table->begun)
        return; /* it is beyond the end */
    table->slots[number].older = table->first_free;
    table->first_free = number;
}

static void forget_block(struct cache_table *table, struct cache_slot *slot)
{
    struct cache_entry *entry = slot->entry;

    if (slot->is_filled) {
        list_remove(table, slot);
        entry->filled--;
        table->filled--;
    }
    entry->blocks[slot->block] = CACHE_NO_SLOT;
    slot->entry = NULL;
    slot->is_filled = false;
    cache_entry_put(table, entry);
}

void cache_slot_drop(struct cache_table *table, uint32_t number)
{
    struct cache_slot *slot = &table->slots[number];

    if (slot->entry == NULL)
        return; /* it was dropped before */
    forget_block(table, slot);
    if (slot->holders == 0)
        make_free(table, number);
}

void cache_slot_let_go(struct cache_table *table, uint32_t number)
{
    struct cache_slot *slot = &table->slots[number];

    assert(slot->holders > 0);
    slot->holders--;
    table->held -= slot->holders == 0;
    if (slot->holders == 0 && slot->entry == NULL)
        make_free(table, number);
}

void cache_slot_hold(struct cache_table *table, uint32_t number)
{
    struct cache_slot *slot = &table->slots[number];

    table->held += slot->holders == 0;
    slot->holders++;
    if (slot->is_filled && table->newest != number) {
        list_remove(table, slot);
        list_add(table, number);
    }
}

void cache_slot_filled(struct cache_table *table, uint32_t number, uint32_t len)
{
    struct cache_slot *slot = &table->slots[number];

    if (slot->entry == NULL)
        return; /* dropped meanwhile */
    slot->len = len;
    slot->is_filled = true;
    slot->entry->filled++;
    table->filled++;
    list_add(table, number);
}

uint32_t cache_slot_find(const struct cache_entry *entry, uint64_t block)
{
    return block < entry->block_room ? entry->blocks[block] : CACHE_NO_SLOT;
}

static int make_block_room(struct cache_entry *entry, uint64_t block)
{
    uint32_t room = entry->block_room == 0 ? 32 : entry->block_room;

    if (block >= BLOCKS_MAX)
        return -EFBIG;
    while (room <= block)
        room *= 2;
    if (room == entry->block_room)
        return 0;
    uint32_t *blocks = reallocarray(entry->blocks, room, sizeof(*blocks));
    if (blocks == NULL)
        return -ENOMEM;
    for (uint32_t i = entry->block_room; i < room; i++)
        blocks[i] = CACHE_NO_SLOT;
    entry->blocks = blocks;
    entry->block_room = room;
    return 0;
}

static uint32_t take_free(struct cache_table *table)
{
    uint32_t number = table->first_free;

    if (number != CACHE_NO_SLOT)
        table->first_free = table->slots[number].older;
    return number;
}

static uint32_t take_oldest(struct cache_table *table)
{
    uint32_t number = table->oldest;

    while (number != CACHE_NO_SLOT && table->slots[number].holders > 0)
        number = table->slots[number].newer;
    if (number != CACHE_NO_SLOT)
        forget_block(table, &table->slots[number]);
    return number;
}

/* Behind the end there may be some that are still held since the limit was lower. */
static uint32_t take_next(struct cache_table *table)
{
    while (table->begun < table->limit)
        if (table->slots[table->begun++].holders == 0)
            return table->begun - 1;
    return CACHE_NO_SLOT;
}

uint32_t cache_slot_claim(struct cache_table *table, struct cache_entry *entry, uint64_t block,
                          bool grows)
{
    if (entry->is_detached || make_block_room(entry, block) < 0)
        return CACHE_NO_SLOT;
    uint32_t number = take_free(table);
    if (number == CACHE_NO_SLOT && grows)
        number = take_next(table);
    if (number == CACHE_NO_SLOT)
        number = take_oldest(table);
    if (number == CACHE_NO_SLOT)
        return number;
    table->slots[number] = (struct cache_slot){ .entry = entry, .block = (uint32_t)block };
    entry->blocks[block] = number;
    entry->refs++;
    cache_slot_hold(table, number);
    return number;
}

void cache_table_drop_all(struct cache_table *table)
{
    for (uint32_t i = 0; i < table->begun; i++)
        cache_slot_drop(table, i);
}

static void rebuild_free(struct cache_table *table)
{
    table->first_free = CACHE_NO_SLOT;
    for (uint32_t i = table->begun; i-- > 0;)
        if (table->slots[i].entry == NULL && table->slots[i].holders == 0)
            make_free(table, i);
}

int cache_table_resize(struct cache_table *table, uint32_t limit)
{
    if (limit > table->slot_room) {
        struct cache_slot *slots = calloc(limit, sizeof(*slots)); /* untouched it costs nothing */
        if (slots == NULL)
            return -ENOMEM;
        if (table->slot_room > 0)
            memcpy(slots, table->slots, table->slot_room * sizeof(*slots));
        free(table->slots);
        table->slots = slots;
        table->slot_room = limit;
    }
    for (uint32_t i = limit; i < table->begun; i++)
        cache_slot_drop(table, i);
    table->limit = limit;
    table->begun = table->begun < limit ? table->begun : limit;
    rebuild_free(table);
    return 0;
}

/* --- entries --- */

static struct cache_entry **find(struct cache_table *table, const char *name, uint64_t hash)
{
    struct cache_entry **at = &table->buckets[hash % table->bucket_count];

    while (*at != NULL && ((*at)->hash != hash || strcmp((*at)->name, name) != 0))
        at = &(*at)->next;
    return at;
}

/* Without memory it stays as it is, and is slower. */
static void grow_buckets(struct cache_table *table)
{
    size_t count = 4 * table->bucket_count;
    struct cache_entry **buckets = calloc(count, sizeof(struct cache_entry *));

    if (buckets == NULL)
        return;
    for (size_t i = 0; i < table->bucket_count; i++)
        while (table->buckets[i] != NULL) {
            struct cache_entry *entry = table->buckets[i];
            table->buckets[i] = entry->next;
            entry->next = buckets[entry->hash % count];
            buckets[entry->hash % count] = entry;
        }
    free(table->buckets);
    table->buckets = buckets;
    table->bucket_count = count;
}

struct cache_entry *cache_entry_get(struct cache_table *table, const char *name)
{
    uint64_t hash = hash_of(name);
    struct cache_entry *entry = *find(table, name, hash);

    if (entry == NULL) {
        entry = calloc(1, sizeof(*entry));
        if (entry == NULL)
            return NULL;
        entry->hash = hash;
        memcpy(entry->name, name, strlen(name) + 1);
        if (table->entry_count++ > 2 * table->bucket_count)
            grow_buckets(table);
        entry->next = table->buckets[hash % table->bucket_count];
        table->buckets[hash % table->bucket_count] = entry;
    }
    entry->refs++;
    return entry;
}

static void unlink_entry(struct cache_table *table, struct cache_entry *entry)
{
    struct cache_entry **at = find(table, entry->name, entry->hash);

    if (entry->is_detached)
        return;
    assert(*at == entry);
    *at = entry->next;
    entry->is_detached = true;
}

void cache_entry_put(struct cache_table *table, struct cache_entry *entry)
{
    assert(entry->refs > 0);
    if (--entry->refs > 0)
        return;
    unlink_entry(table, entry);
    table->entry_count--;
    free(entry->blocks);
    free(entry);
}

void cache_entry_detach(struct cache_table *table, const char *name)
{
    struct cache_entry *entry = *find(table, name, hash_of(name));

    if (entry == NULL)
        return;
    entry->refs++; /* its last block may be its last reference */
    unlink_entry(table, entry);
    for (uint32_t i = 0; i < entry->block_room; i++)
        if (entry->blocks[i] != CACHE_NO_SLOT)
            cache_slot_drop(table, entry->blocks[i]);
    cache_entry_put(table, entry);
}
