/* snapshot_case.h - snapshots of a volume that is tested.
 *
 * Every call asserts that it succeeds.
 */
#pragma once

#include "tests/support/volume_case.h"

/* Its access point is its name. */
struct volume_snapshot snapshot_case_take(struct volume_case *c, const char *name);
void snapshot_case_drop(struct volume_case *c, const char *name);

/* The inode of its root directory. */
uint64_t snapshot_case_root(const struct volume_snapshot *snapshot);

/* How many are not being removed. */
unsigned snapshot_case_kept(struct volume_case *c);

/* Until all that removed ones held is given back. */
void snapshot_case_settle(struct volume_case *c);
