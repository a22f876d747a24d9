/* chunk_scan.h - every chunk of every file, for what looks at all data: account, compaction,
 * check.
 */
#pragma once

#include "fs/extents.h"
#include "fs/volume_internal.h"

/* The list lives until it returns. */
typedef int chunk_visit_fn(uint64_t ino, uint32_t chunk, const struct extents *list, void *arg);

/* In one transaction; anything but 0 from visit ends it and is returned. */
int chunk_scan(struct meta_txn *txn, chunk_visit_fn *visit, void *arg, struct error *err);

/* Every block that any file or any saved version of a file names, each once. */
typedef int blocks_visit_fn(uint64_t ino, uint32_t chunk, const struct run_list *blocks, void *arg);
int blocks_scan(struct volume *volume, struct meta_txn *txn, blocks_visit_fn *visit, void *arg,
                struct error *err);
/* Only those of files as they are. */
int live_blocks_scan(struct meta_txn *txn, blocks_visit_fn *visit, void *arg, struct error *err);

/* Adds the blocks of a list, each once. */
int chunk_blocks(const struct extents *list, struct run_list *ret);
