/* commit.h - what happens around a group of transactions that is made durable: segments first,
 * counters and accounts in the group itself, the superblock after it; and the keeper, a thread
 * that does what waits for none of them.
 *
 * Threads    the hooks run in the engine's committer. The rest: any.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "fs/records.h"
#include "meta/meta_engine.h"

struct volume;

/* Fills all hooks; those of the sealer are passed on to volume->sealer, which must be there when
 * the first transaction begins. */
void commit_hooks(struct volume *volume, struct meta_hooks *hooks);

/* Puts STATE_COUNTERS. */
int counters_put(struct meta_txn *txn, const struct counters_record *counters, struct error *err);

/* A group that holds at least the counters, durable. */
int commit_group(struct volume *volume, struct error *err);

/* Writes the superblock to the store: it knows of the last durable commit then, and announced ids
 * may be used. */
int commit_publish(struct volume *volume, bool is_clean, struct error *err);

/* Starts the keeper. */
int keeper_start(struct volume *volume, struct error *err);
void keeper_stop(struct volume *volume);
void keeper_wake(struct volume *volume);

/* Waits until the keeper has tried to make room in the store. True if it won something. Not by
 * who holds a transaction. */
bool keeper_make_room(struct volume *volume);
