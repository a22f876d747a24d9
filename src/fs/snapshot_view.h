/* snapshot_view.h - the folder in which all snapshots are seen. It is no record: it has an inode
 * number that no slot has, stands in the live root directory under a name that nobody may use
 * there, and is not listed in it.
 *
 * Errors     as volume.h.
 */
#pragma once

#include "fs/volume_internal.h"

#define SNAPSHOTS_NAME ".snapshots"

static inline bool is_snapshots_folder(uint64_t ino)
{
    return ino == VOLUME_SNAPSHOTS;
}

/* True: a name that is not to be made in this directory. */
bool snapshots_name_is_taken(uint64_t parent, const char *name);

int snapshots_attr(struct volume *volume, struct volume_attr *ret);
int snapshots_lookup(struct volume *volume, const char *name, struct volume_attr *ret);
int snapshots_readdir(struct volume *volume, uint64_t position, bool with_attr,
                      volume_dirent_fn *visit, void *arg);
