/* restore.h - putting a volume back to what a snapshot sees.
 *
 *   begin   a RESTORE record ends the epoch, in the same group ──► durable
 *   step    some keys that changed since the snapshot get its version of them back
 *   end     the record says done, or goes if no snapshot needs it ──► durable
 *
 * The index of saved records leads to the keys, so the work is that of the changes since then. A
 * step that is done again finds nothing to do. In between the volume is neither the one nor the
 * other: nobody may use it, and volume_open() goes on from the first step. Who snapshots see is not
 * concerned: what is overwritten is saved for them as by any change.
 *
 * Errors     as volume.h.
 * Threads    one, while nobody else changes the volume but its keeper.
 */
#pragma once

#include "fs/volume_internal.h"

/* Every RESTORE record, the oldest first. epoch: that it ended. */
typedef int restore_visit_fn(uint64_t epoch, const struct restore_record *restore, void *arg);
int restores_scan(struct meta_txn *txn, restore_visit_fn *visit, void *arg, struct error *err);

/* Puts one, so that what counts blocks knows of its branches. */
int restores_put(struct volume_txn *txn, uint64_t epoch, const struct restore_record *restore);
/* -ENOSPC, with words, if there are so many that no other can be. */
int restores_refuse(unsigned count, struct error *err);

/* At open: the newest epoch that one ended goes to *ret_newest. */
int restores_load(struct volume *volume, struct meta_txn *txn, uint64_t *ret_newest,
                  struct error *err);

/* As snapshots_close_group(), which calls it. */
int restores_close_group(struct volume *volume, struct meta_txn *txn, struct error *err);

/* In a transaction that takes snapshot gone away (0: none): what is of no use any more goes. */
int restores_drop_idle(struct volume_txn *txn, uint64_t gone);

int restore_begin(struct volume *volume, const char *name, const char *keep_as,
                  const char *keep_access_point, struct error *err);

struct restore_walk; /* how far it is */

int restore_walk_new(struct restore_walk **ret);
void restore_walk_free(struct restore_walk *walk); /* NULL is allowed */

static inline void restore_walk_freep(struct restore_walk **walk)
{
    restore_walk_free(*walk);
}

/* 1: there is more; 0: every key is as the snapshot sees it. */
int restore_step(struct volume *volume, struct restore_walk *walk, struct error *err);
int restore_end(struct volume *volume, struct error *err);

/* What volume_open() finds begun. */
int restore_resume(struct volume *volume, struct error *err);
