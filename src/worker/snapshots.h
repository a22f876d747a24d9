/* snapshots.h - snapshots as the protocol tells of them. */
#pragma once

#include "fs/volume.h"
#include "host/worker_protocol.h"

void snapshot_describe(const struct volume_snapshot *snapshot, struct worker_snapshot *ret);

/* As many as fit of those behind that id. */
void snapshots_reply(struct volume *volume, uint64_t behind, struct worker_snapshots_reply *ret);
/* The one that is asked for, or none. */
void snapshot_find_reply(struct volume *volume, const struct worker_snapshot_find *find,
                         struct worker_snapshots_reply *ret);
