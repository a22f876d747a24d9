/* snapshot_set.h - which snapshots there are, in memory: one entry for each SNAPSHOT record.
 *
 * A kept snapshot is seen and has history saved for it. One that is being removed is neither; what
 * was saved for it is still there. One that arrives has history saved for it, and is not seen: it
 * is kept as far as epochs are concerned, and not found by its name or slot.
 *
 * There may be as many as there are slots, and each way into one of them asks for it by its name:
 * no question here costs more than a binary search.
 *
 * Units      epochs, from 1; a snapshot is named by the epoch that it closed.
 * Errors     -ENOMEM.
 * Threads    any. It changes under the engine's write transaction only, so that what a writer asks
 *            stays true until its commit.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/thread.h"
#include "fs/records.h"

/* The highest number stands for the folder in which all of them are. */
#define SNAPSHOT_SLOT_MAX 65534u

struct snapshot_entry {
    uint64_t epoch;
    struct snapshot_record record;
};

/* All by epoch; the kept ones by epoch; those that are seen by name, and by access point. */
enum snapshot_order {
    SNAPSHOTS_ALL,
    SNAPSHOTS_KEPT,
    SNAPSHOTS_BY_NAME,
    SNAPSHOTS_BY_ACCESS,
    SNAPSHOT_ORDERS,
};

struct snapshot_sorted {
    struct snapshot_entry **items;
    size_t count;
};

struct snapshot_set {
    struct mutex lock; /* short; guards all but is_used */
    struct snapshot_sorted lists[SNAPSHOT_ORDERS];
    size_t room;                    /* of each list */
    struct snapshot_entry **slots;  /* who has it; NULL: nobody */
    struct snapshot_entry *arrives; /* NULL: none does */
    uint64_t changes;
    uint64_t compared;  /* entries, with what was looked for */
    int64_t changed_ns; /* when the last change was, as the clock says */
    unsigned last_slot; /* given out */
    atomic_size_t
        is_used; /* how many there are, for who only wants to know whether there are any */
};

void snapshot_set_init(struct snapshot_set *set);
void snapshot_set_release(struct snapshot_set *set);

/* Puts it, or takes the place of the one of that epoch. */
int snapshot_set_put(struct snapshot_set *set, uint64_t epoch,
                     const struct snapshot_record *record);
void snapshot_set_drop(struct snapshot_set *set, uint64_t epoch);

static inline bool snapshot_set_is_empty(const struct snapshot_set *set)
{
    return atomic_load_explicit(&set->is_used, memory_order_acquire) == 0;
}

/* A slot that was not in use for long; 0: all are. */
uint16_t snapshot_set_free_slot(struct snapshot_set *set);

/* Whether a kept one lies in first to last; the newest kept one in front of an epoch (0: none);
 * the oldest behind it (UINT64_MAX: none). */
bool snapshot_set_has_kept(struct snapshot_set *set, uint64_t first, uint64_t last);
uint64_t snapshot_set_kept_before(struct snapshot_set *set, uint64_t epoch);
uint64_t snapshot_set_kept_behind(struct snapshot_set *set, uint64_t epoch);
/* The oldest that is being removed; 0: none. */
uint64_t snapshot_set_removing(struct snapshot_set *set);
/* How often anything was changed. */
uint64_t snapshot_set_changes(struct snapshot_set *set);
int64_t snapshot_set_changed_ns(struct snapshot_set *set);
uint64_t snapshot_set_newest(struct snapshot_set *set);

/* How many can be found by a name. */
size_t snapshot_set_seen(struct snapshot_set *set);

/* The epoch of the kept one in a slot; 0: none. */
uint64_t snapshot_set_at_slot(struct snapshot_set *set, unsigned slot);

/* The kept one of that name, or access point. False: there is none. */
bool snapshot_set_find(struct snapshot_set *set, const char *name, struct snapshot_entry *ret);
bool snapshot_set_find_access(struct snapshot_set *set, const char *access_point,
                              struct snapshot_entry *ret);
bool snapshot_set_find_epoch(struct snapshot_set *set, uint64_t epoch, struct snapshot_entry *ret);
/* The one that arrives: there is one at most. */
bool snapshot_set_arriving(struct snapshot_set *set, struct snapshot_entry *ret);
/* The first one, kept or not, behind an epoch; for walking over all. */
bool snapshot_set_next(struct snapshot_set *set, uint64_t epoch, struct snapshot_entry *ret);
/* How many entries were looked at so far, for tests. */
uint64_t snapshot_set_compared(struct snapshot_set *set);
