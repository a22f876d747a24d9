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
    free(set->items);
    free(set->epochs);
    (void)pthread_mutex_destroy(&set->lock.native);
}

/* The first whose epoch is not less. */
static size_t find_index(const struct snapshot_set *set, uint64_t epoch)
{
    size_t low = 0;
    size_t high = set->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (set->items[middle].epoch < epoch)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
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

static int make_room(struct snapshot_set *set) REQUIRES(set->lock)
{
    if (set->epochs == NULL)
        set->epochs = calloc(SNAPSHOT_SLOT_MAX + 1, sizeof(*set->epochs));
    if (set->epochs == NULL)
        return -ENOMEM;
    if (set->count < set->room)
        return 0;
    size_t room = set->room == 0 ? 8 : 2 * set->room;
    struct snapshot_entry *items = reallocarray(set->items, room, sizeof(*items));
    if (items == NULL)
        return -ENOMEM;
    set->items = items;
    set->room = room;
    return 0;
}

/* Only one that is seen is found by its slot; the others keep it from being given out. */
static void note_slot(struct snapshot_set *set, const struct snapshot_entry *entry)
    REQUIRES(set->lock)
{
    if (entry->record.slot <= SNAPSHOT_SLOT_MAX)
        set->epochs[entry->record.slot] = is_seen(entry) ? entry->epoch : 0;
}

static void note_change(struct snapshot_set *set) REQUIRES(set->lock)
{
    set->changes++;
    set->changed_ns = clock_wall_ns();
}

int snapshot_set_put(struct snapshot_set *set, uint64_t epoch, const struct snapshot_record *record)
{
    mutex_lock(&set->lock);
    size_t index = find_index(set, epoch);
    bool is_there = index < set->count && set->items[index].epoch == epoch;
    int r = is_there ? 0 : make_room(set);
    if (r == 0) {
        if (is_there) {
            set->seen -= is_seen(&set->items[index]);
        } else {
            memmove(&set->items[index + 1], &set->items[index],
                    (set->count - index) * sizeof(*set->items));
            set->count++;
            set->last_slot = record->slot;
        }
        set->items[index] = (struct snapshot_entry){ .epoch = epoch, .record = *record };
        set->seen += is_seen(&set->items[index]);
        note_slot(set, &set->items[index]);
        note_change(set);
        atomic_store_explicit(&set->is_used, set->count, memory_order_release);
    }
    mutex_unlock(&set->lock);
    return r;
}

void snapshot_set_drop(struct snapshot_set *set, uint64_t epoch)
{
    mutex_lock(&set->lock);
    size_t index = find_index(set, epoch);
    if (index < set->count && set->items[index].epoch == epoch) {
        set->seen -= is_seen(&set->items[index]);
        set->items[index].record.state = SNAPSHOT_REMOVING;
        note_slot(set, &set->items[index]);
        note_change(set);
        set->count--;
        memmove(&set->items[index], &set->items[index + 1],
                (set->count - index) * sizeof(*set->items));
        atomic_store_explicit(&set->is_used, set->count, memory_order_release);
    }
    mutex_unlock(&set->lock);
}

static bool slot_is_used(const struct snapshot_set *set, unsigned slot)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i].record.slot == slot)
            return true;
    return false;
}

uint16_t snapshot_set_free_slot(struct snapshot_set *set)
{
    unsigned found = 0;

    mutex_lock(&set->lock);
    unsigned slot = set->last_slot;
    for (unsigned i = 0; i < SNAPSHOT_SLOT_MAX && found == 0; i++) {
        slot = slot % SNAPSHOT_SLOT_MAX + 1;
        if (!slot_is_used(set, slot))
            found = slot;
    }
    mutex_unlock(&set->lock);
    return (uint16_t)found;
}

bool snapshot_set_has_kept(struct snapshot_set *set, uint64_t first, uint64_t last)
{
    bool found = false;

    mutex_lock(&set->lock);
    for (size_t i = find_index(set, first); i < set->count && set->items[i].epoch <= last; i++) {
        found = is_kept(&set->items[i]);
        if (found)
            break;
    }
    mutex_unlock(&set->lock);
    return found;
}

uint64_t snapshot_set_kept_before(struct snapshot_set *set, uint64_t epoch)
{
    uint64_t found = 0;

    mutex_lock(&set->lock);
    for (size_t i = find_index(set, epoch); i-- > 0 && found == 0;)
        if (is_kept(&set->items[i]))
            found = set->items[i].epoch;
    mutex_unlock(&set->lock);
    return found;
}

uint64_t snapshot_set_kept_behind(struct snapshot_set *set, uint64_t epoch)
{
    uint64_t found = UINT64_MAX;

    mutex_lock(&set->lock);
    for (size_t i = find_index(set, epoch + 1); i < set->count && found == UINT64_MAX; i++)
        if (is_kept(&set->items[i]))
            found = set->items[i].epoch;
    mutex_unlock(&set->lock);
    return found;
}

uint64_t snapshot_set_removing(struct snapshot_set *set)
{
    uint64_t found = 0;

    mutex_lock(&set->lock);
    for (size_t i = 0; i < set->count && found == 0; i++)
        if (!is_kept(&set->items[i]))
            found = set->items[i].epoch;
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
    uint64_t epoch = set->count > 0 ? set->items[set->count - 1].epoch : 0;
    mutex_unlock(&set->lock);
    return epoch;
}

size_t snapshot_set_seen(struct snapshot_set *set)
{
    mutex_lock(&set->lock);
    size_t seen = set->seen;
    mutex_unlock(&set->lock);
    return seen;
}

uint64_t snapshot_set_at_slot(struct snapshot_set *set, unsigned slot)
{
    mutex_lock(&set->lock);
    uint64_t epoch = set->epochs != NULL && slot <= SNAPSHOT_SLOT_MAX ? set->epochs[slot] : 0;
    mutex_unlock(&set->lock);
    return epoch;
}

typedef const char *text_of_fn(const struct snapshot_record *record);

static const char *name_of(const struct snapshot_record *record)
{
    return record->name;
}

static const char *access_point_of(const struct snapshot_record *record)
{
    return record->access_point;
}

static bool find_text(struct snapshot_set *set, text_of_fn *text_of, const char *text,
                      struct snapshot_entry *ret)
{
    bool found = false;

    mutex_lock(&set->lock);
    for (size_t i = 0; i < set->count && !found; i++) {
        found = is_seen(&set->items[i]) && strcmp(text_of(&set->items[i].record), text) == 0;
        if (found)
            *ret = set->items[i];
    }
    mutex_unlock(&set->lock);
    return found;
}

bool snapshot_set_find(struct snapshot_set *set, const char *name, struct snapshot_entry *ret)
{
    return find_text(set, name_of, name, ret);
}

bool snapshot_set_find_access(struct snapshot_set *set, const char *access_point,
                              struct snapshot_entry *ret)
{
    return find_text(set, access_point_of, access_point, ret);
}

bool snapshot_set_arriving(struct snapshot_set *set, struct snapshot_entry *ret)
{
    bool found = false;

    mutex_lock(&set->lock);
    for (size_t i = 0; i < set->count && !found; i++) {
        found = set->items[i].record.state == SNAPSHOT_ARRIVING;
        if (found)
            *ret = set->items[i];
    }
    mutex_unlock(&set->lock);
    return found;
}

bool snapshot_set_next(struct snapshot_set *set, uint64_t epoch, struct snapshot_entry *ret)
{
    mutex_lock(&set->lock);
    size_t index = find_index(set, epoch + 1);
    bool found = index < set->count;
    if (found)
        *ret = set->items[index];
    mutex_unlock(&set->lock);
    return found;
}
