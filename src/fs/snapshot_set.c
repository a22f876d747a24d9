#include "fs/snapshot_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

void snapshot_set_init(struct snapshot_set *set)
{
    *set = (struct snapshot_set){ .lock = MUTEX_INIT };
}

void snapshot_set_release(struct snapshot_set *set)
{
    struct snapshot_sorted *all = &set->lists[SNAPSHOTS_ALL];

    for (size_t i = 0; i < all->count; i++)
        free(all->items[i]);
    for (unsigned order = 0; order < SNAPSHOT_ORDERS; order++)
        free(set->lists[order].items);
    free(set->slots);
    (void)pthread_mutex_destroy(&set->lock.native);
}

/* What changes is saved for it: also for one that nobody sees yet. */
static bool is_kept(const struct snapshot_entry *entry)
{
    return entry->record.state != SNAPSHOT_REMOVING;
}

static bool is_seen(const struct snapshot_entry *entry)
{
    return entry->record.state == SNAPSHOT_KEPT;
}

/* --- the lists --- */

/* What a list is sorted by; NULL: by the epoch alone. */
static const char *text_of(enum snapshot_order order, const struct snapshot_entry *entry)
{
    if (order == SNAPSHOTS_BY_NAME)
        return entry->record.name;
    return order == SNAPSHOTS_BY_ACCESS ? entry->record.access_point : NULL;
}

static bool is_before(struct snapshot_set *set, enum snapshot_order order,
                      const struct snapshot_entry *entry, const char *text, uint64_t epoch)
    REQUIRES(set->lock)
{
    const char *own = text_of(order, entry);
    int difference = own != NULL ? strcmp(own, text) : 0;

    set->compared++;
    return difference < 0 || (difference == 0 && entry->epoch < epoch);
}

/* The first one of a list that is not before text, and of equal ones not before the epoch. */
static size_t find_index(struct snapshot_set *set, enum snapshot_order order, const char *text,
                         uint64_t epoch) REQUIRES(set->lock)
{
    const struct snapshot_sorted *list = &set->lists[order];
    size_t low = 0;
    size_t high = list->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (is_before(set, order, list->items[middle], text, epoch))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* NULL: there is none behind so many. */
static struct snapshot_entry *at(const struct snapshot_set *set, enum snapshot_order order,
                                 size_t index) REQUIRES(set->lock)
{
    const struct snapshot_sorted *list = &set->lists[order];

    return index < list->count ? list->items[index] : NULL;
}

static uint64_t epoch_at(const struct snapshot_set *set, enum snapshot_order order, size_t index,
                         uint64_t otherwise) REQUIRES(set->lock)
{
    const struct snapshot_entry *entry = at(set, order, index);

    return entry != NULL ? entry->epoch : otherwise;
}

static void insert(struct snapshot_set *set, enum snapshot_order order,
                   struct snapshot_entry *entry) REQUIRES(set->lock)
{
    struct snapshot_sorted *list = &set->lists[order];
    size_t index = find_index(set, order, text_of(order, entry), entry->epoch);

    memmove(&list->items[index + 1], &list->items[index],
            (list->count - index) * sizeof(struct snapshot_entry *));
    list->items[index] = entry;
    list->count++;
}

static void take_out(struct snapshot_set *set, enum snapshot_order order,
                     const struct snapshot_entry *entry) REQUIRES(set->lock)
{
    struct snapshot_sorted *list = &set->lists[order];
    size_t index = find_index(set, order, text_of(order, entry), entry->epoch);

    list->count--;
    memmove(&list->items[index], &list->items[index + 1],
            (list->count - index) * sizeof(struct snapshot_entry *));
}

/* --- changes --- */

static int make_room(struct snapshot_set *set) REQUIRES(set->lock)
{
    if (set->slots == NULL)
        set->slots = calloc(SNAPSHOT_SLOT_MAX + 1, sizeof(struct snapshot_entry *));
    if (set->slots == NULL)
        return -ENOMEM;
    if (set->lists[SNAPSHOTS_ALL].count < set->room)
        return 0;
    size_t room = set->room == 0 ? 8 : 2 * set->room;
    for (unsigned order = 0; order < SNAPSHOT_ORDERS; order++) {
        struct snapshot_sorted *list = &set->lists[order];
        struct snapshot_entry **items =
            reallocarray(list->items, room, sizeof(struct snapshot_entry *));
        if (items == NULL)
            return -ENOMEM;
        list->items = items;
    }
    set->room = room;
    return 0;
}

/* Into the lists that its state and its names ask for. */
static void put_in(struct snapshot_set *set, struct snapshot_entry *entry) REQUIRES(set->lock)
{
    if (is_kept(entry))
        insert(set, SNAPSHOTS_KEPT, entry);
    if (is_seen(entry)) {
        insert(set, SNAPSHOTS_BY_NAME, entry);
        insert(set, SNAPSHOTS_BY_ACCESS, entry);
    }
    if (entry->record.state == SNAPSHOT_ARRIVING)
        set->arrives = entry;
}

/* Before any of that changes. */
static void take_back(struct snapshot_set *set, const struct snapshot_entry *entry)
    REQUIRES(set->lock)
{
    if (is_kept(entry))
        take_out(set, SNAPSHOTS_KEPT, entry);
    if (is_seen(entry)) {
        take_out(set, SNAPSHOTS_BY_NAME, entry);
        take_out(set, SNAPSHOTS_BY_ACCESS, entry);
    }
    if (set->arrives == entry)
        set->arrives = NULL;
}

static void note_change(struct snapshot_set *set) REQUIRES(set->lock)
{
    set->changes++;
    set->changed_ns = clock_wall_ns();
    atomic_store_explicit(&set->is_used, set->lists[SNAPSHOTS_ALL].count, memory_order_release);
}

static struct snapshot_entry *find_epoch(struct snapshot_set *set, uint64_t epoch)
    REQUIRES(set->lock)
{
    struct snapshot_entry *entry =
        at(set, SNAPSHOTS_ALL, find_index(set, SNAPSHOTS_ALL, NULL, epoch));

    return entry != NULL && entry->epoch == epoch ? entry : NULL;
}

static struct snapshot_entry *add(struct snapshot_set *set, uint64_t epoch, unsigned slot)
    REQUIRES(set->lock)
{
    struct snapshot_entry *entry = make_room(set) == 0 ? calloc(1, sizeof(*entry)) : NULL;

    if (entry == NULL)
        return NULL;
    entry->epoch = epoch;
    insert(set, SNAPSHOTS_ALL, entry);
    set->last_slot = slot;
    if (slot <= SNAPSHOT_SLOT_MAX)
        set->slots[slot] = entry;
    return entry;
}

int snapshot_set_put(struct snapshot_set *set, uint64_t epoch, const struct snapshot_record *record)
{
    mutex_lock(&set->lock);
    struct snapshot_entry *entry = find_epoch(set, epoch);
    if (entry != NULL)
        take_back(set, entry);
    else
        entry = add(set, epoch, record->slot);
    if (entry != NULL) {
        entry->record = *record;
        put_in(set, entry);
        note_change(set);
    }
    mutex_unlock(&set->lock);
    return entry != NULL ? 0 : -ENOMEM;
}

void snapshot_set_drop(struct snapshot_set *set, uint64_t epoch)
{
    mutex_lock(&set->lock);
    struct snapshot_entry *entry = find_epoch(set, epoch);
    if (entry != NULL) {
        unsigned slot = entry->record.slot;
        take_back(set, entry);
        take_out(set, SNAPSHOTS_ALL, entry);
        if (slot <= SNAPSHOT_SLOT_MAX && set->slots[slot] == entry)
            set->slots[slot] = NULL;
        note_change(set);
    }
    mutex_unlock(&set->lock);
    free(entry);
}

/* --- questions --- */

uint16_t snapshot_set_free_slot(struct snapshot_set *set)
{
    unsigned found = 0;

    mutex_lock(&set->lock);
    unsigned slot = set->last_slot;
    for (unsigned i = 0; i < SNAPSHOT_SLOT_MAX && found == 0; i++) {
        slot = slot % SNAPSHOT_SLOT_MAX + 1;
        if (set->slots == NULL || set->slots[slot] == NULL)
            found = slot;
    }
    mutex_unlock(&set->lock);
    return (uint16_t)found;
}

bool snapshot_set_has_kept(struct snapshot_set *set, uint64_t first, uint64_t last)
{
    mutex_lock(&set->lock);
    const struct snapshot_entry *entry =
        at(set, SNAPSHOTS_KEPT, find_index(set, SNAPSHOTS_KEPT, NULL, first));
    bool found = entry != NULL && entry->epoch <= last;
    mutex_unlock(&set->lock);
    return found;
}

uint64_t snapshot_set_kept_before(struct snapshot_set *set, uint64_t epoch)
{
    mutex_lock(&set->lock);
    size_t index = find_index(set, SNAPSHOTS_KEPT, NULL, epoch);
    uint64_t found = index > 0 ? epoch_at(set, SNAPSHOTS_KEPT, index - 1, 0) : 0;
    mutex_unlock(&set->lock);
    return found;
}

uint64_t snapshot_set_kept_behind(struct snapshot_set *set, uint64_t epoch)
{
    mutex_lock(&set->lock);
    size_t index = find_index(set, SNAPSHOTS_KEPT, NULL, epoch + 1);
    uint64_t found = epoch_at(set, SNAPSHOTS_KEPT, index, UINT64_MAX);
    mutex_unlock(&set->lock);
    return found;
}

/* The kept ones are some of all, in the same order: up to the first one that is not kept, and no
 * further, both lists are the same. */
uint64_t snapshot_set_removing(struct snapshot_set *set)
{
    size_t low = 0;

    mutex_lock(&set->lock);
    size_t high = set->lists[SNAPSHOTS_ALL].count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        set->compared++;
        if (at(set, SNAPSHOTS_ALL, middle) == at(set, SNAPSHOTS_KEPT, middle))
            low = middle + 1;
        else
            high = middle;
    }
    uint64_t found = epoch_at(set, SNAPSHOTS_ALL, low, 0);
    mutex_unlock(&set->lock);
    return found;
}

uint64_t snapshot_set_changes(struct snapshot_set *set)
{
    mutex_lock(&set->lock);
    uint64_t changes = set->changes;
    mutex_unlock(&set->lock);
    return changes;
}

int64_t snapshot_set_changed_ns(struct snapshot_set *set)
{
    mutex_lock(&set->lock);
    int64_t changed_ns = set->changed_ns;
    mutex_unlock(&set->lock);
    return changed_ns;
}

uint64_t snapshot_set_newest(struct snapshot_set *set)
{
    mutex_lock(&set->lock);
    size_t count = set->lists[SNAPSHOTS_ALL].count;
    uint64_t epoch = count > 0 ? epoch_at(set, SNAPSHOTS_ALL, count - 1, 0) : 0;
    mutex_unlock(&set->lock);
    return epoch;
}

size_t snapshot_set_seen(struct snapshot_set *set)
{
    mutex_lock(&set->lock);
    size_t seen = set->lists[SNAPSHOTS_BY_NAME].count;
    mutex_unlock(&set->lock);
    return seen;
}

uint64_t snapshot_set_at_slot(struct snapshot_set *set, unsigned slot)
{
    mutex_lock(&set->lock);
    const struct snapshot_entry *entry =
        set->slots != NULL && slot <= SNAPSHOT_SLOT_MAX ? set->slots[slot] : NULL;
    uint64_t epoch = entry != NULL && is_seen(entry) ? entry->epoch : 0;
    mutex_unlock(&set->lock);
    return epoch;
}

static bool find_text(struct snapshot_set *set, enum snapshot_order order, const char *text,
                      struct snapshot_entry *ret)
{
    mutex_lock(&set->lock);
    const struct snapshot_entry *entry = at(set, order, find_index(set, order, text, 0));
    bool found = entry != NULL && strcmp(text_of(order, entry), text) == 0;
    if (found)
        *ret = *entry;
    mutex_unlock(&set->lock);
    return found;
}

bool snapshot_set_find(struct snapshot_set *set, const char *name, struct snapshot_entry *ret)
{
    return find_text(set, SNAPSHOTS_BY_NAME, name, ret);
}

bool snapshot_set_find_access(struct snapshot_set *set, const char *access_point,
                              struct snapshot_entry *ret)
{
    return find_text(set, SNAPSHOTS_BY_ACCESS, access_point, ret);
}

bool snapshot_set_find_epoch(struct snapshot_set *set, uint64_t epoch, struct snapshot_entry *ret)
{
    mutex_lock(&set->lock);
    const struct snapshot_entry *entry = find_epoch(set, epoch);
    bool found = entry != NULL && is_seen(entry);
    if (found)
        *ret = *entry;
    mutex_unlock(&set->lock);
    return found;
}

bool snapshot_set_arriving(struct snapshot_set *set, struct snapshot_entry *ret)
{
    mutex_lock(&set->lock);
    bool found = set->arrives != NULL;
    if (found)
        *ret = *set->arrives;
    mutex_unlock(&set->lock);
    return found;
}

bool snapshot_set_next(struct snapshot_set *set, uint64_t epoch, struct snapshot_entry *ret)
{
    mutex_lock(&set->lock);
    const struct snapshot_entry *entry =
        at(set, SNAPSHOTS_ALL, find_index(set, SNAPSHOTS_ALL, NULL, epoch + 1));
    if (entry != NULL)
        *ret = *entry;
    mutex_unlock(&set->lock);
    return entry != NULL;
}

uint64_t snapshot_set_compared(struct snapshot_set *set)
{
    mutex_lock(&set->lock);
    uint64_t compared = set->compared;
    mutex_unlock(&set->lock);
    return compared;
}
