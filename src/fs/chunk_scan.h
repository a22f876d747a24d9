/* chunk_scan.h - every chunk of every file, for what looks at all data: account, compaction,
 * check.
 *
 * Errors     of the engine; -EBADMSG, -EPROTONOSUPPORT: a record cannot be understood. Anything but
 *            0 from a visitor ends a scan, which returns it.
 * Ownership  what a visitor is shown lives until it returns.
 */
#pragma once

#include "fs/extents.h"
#include "fs/volume_internal.h"

typedef int chunk_visit_fn(uint64_t ino, uint32_t chunk, const struct extents *list, void *arg);

/* In one transaction. */
int chunk_scan(struct meta_txn *txn, chunk_visit_fn *visit, void *arg, struct error *err);

/* Every block that any file or any saved version of a file names, each once. */
typedef int blocks_visit_fn(uint64_t ino, uint32_t chunk, const struct run_list *blocks, void *arg);
int blocks_scan(struct volume *volume, struct meta_txn *txn, blocks_visit_fn *visit, void *arg,
                struct error *err);
/* Only those of files as they are. */
int live_blocks_scan(struct meta_txn *txn, blocks_visit_fn *visit, void *arg, struct error *err);

/* Adds the blocks of a list, each once. */
int chunk_blocks(const struct extents *list, struct run_list *ret);
