/* export.h - what an upload reads of a snapshot: its records in the order of their keys, and the
 * ciphertext of its blocks as it lies. Nothing is held over from one call to the next: a snapshot
 * does not change, and who writes is not kept waiting.
 *
 * Inodes without links are left out, with what belongs to them.
 *
 * Units      bytes, sealed.
 * Errors     -ENOENT: no such snapshot; -ESTALE: it was removed meanwhile; -EBADMSG, -EIO: a record
 *            or object was altered; -ENOMEM.
 * Ownership  the volume stays the caller's, and open.
 * Threads    locate and read: any number; the rest one at a time.
 */
#pragma once

#include "fs/segments.h"
#include "fs/volume.h"

struct volume_export;

int volume_export_open(struct volume *volume, const char *name, struct volume_export **ret,
                       struct error *err);
void volume_export_close(struct volume_export *export); /* NULL is allowed */

static inline void volume_export_closep(struct volume_export **export)
{
    volume_export_close(*export);
}

const struct volume_snapshot *volume_export_snapshot(const struct volume_export *export);
uint32_t volume_export_block_size(const struct volume_export *export);
/* Those of the volume, with all generations in use. */
const struct key_set *volume_export_keys(const struct volume_export *export);

/* INODE, DIRENT, EXTENTS, XATTR, QUOTA. visit is called outside of any transaction; it returns 0 to
 * go on. */
typedef int export_visit_fn(struct bytes key, struct bytes value, void *arg);
int volume_export_records(struct volume_export *export, export_visit_fn *visit, void *arg,
                          struct error *err);

/* All blocks that it shows, sorted. */
int volume_export_blocks(struct volume_export *export, struct run_list *ret, struct error *err);

/* What of a run, from its first block on, lies together, and under what it is sealed. */
int volume_export_locate(struct volume_export *export, const struct block_run *run,
                         struct block_run *ret_front, struct block_identity *ret_identity,
                         struct error *err);
/* A run, or front, that is sealed as said. */
int volume_export_read(struct volume_export *export, const struct block_run *run,
                       const struct block_identity *identity, uint8_t *to, struct error *err);
