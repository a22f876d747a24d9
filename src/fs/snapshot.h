/* snapshot.h - what the rest of fs/ must do for snapshots; what they are for others is in volume.h.
 *
 *   taking    SNAPSHOT goes into a group ──► the group ends, and the epoch with it ──► durable
 *   removing  kept ──► being removed, durable ──► versions nobody needs go, by the keeper ──► gone
 *
 * Each arrow is a transaction: after a crash it goes on from where it was.
 *
 * Threads    snapshots_load() at open; snapshots_close_group() as close_group of the engine's
 * hooks; snapshots_collect() by the keeper.
 */
#pragma once

#include "fs/volume_internal.h"

int snapshots_load(struct volume *volume, struct meta_txn *txn, struct error *err);

/* One that is taken in a transaction: its record, which names nothing that is in use yet. */
struct snapshot_taking {
    struct snapshot_record record;
    bool gives_way; /* to another one with that access point */
    uint64_t epoch;
    struct error *err;
};

int snapshot_taking_init(struct snapshot_taking *taking, const char *name, const char *access_point,
                         struct error *err);
/* -EBUSY while records are imported, which would count as changed then. */
int snapshot_refuse_import(struct volume *volume, struct error *err);
/* One that is not kept yet has the time that is in its record. */
int snapshot_taking_put(struct volume_txn *txn, struct snapshot_taking *taking);
/* Puts the record, for snapshot_change(). */
int snapshot_put(struct volume_txn *txn, uint64_t epoch, const struct snapshot_record *record);

void snapshot_entry_describe(const struct snapshot_entry *entry, struct volume_snapshot *ret);

/* fn puts or removes the record of one snapshot, and says of which in volume->changed_snapshot.
 * When it returns, all who write know, and it is durable. */
int snapshot_change(struct volume *volume, enum meta_access access, volume_txn_fn *fn, void *arg,
                    struct error *err);

/* If the group holds the record of a snapshot, it counts from here on. */
int snapshots_close_group(struct volume *volume, struct meta_txn *txn, struct error *err);

/* Some of what is left of removed snapshots. True: there is more. */
bool snapshots_collect(struct volume *volume);
void snapshots_release(struct volume *volume);
