/* superblocks.h - the superblock in its two places, the store and the metadata: which one is
 * believed, and repair of the other.
 *
 * Errors     as superblock.h; -ENOENT: in neither place.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "keyring/superblock.h"
#include "meta/meta_engine.h"
#include "store/object_store.h"

struct superblock_places {
    struct superblock store;
    struct superblock copy; /* in the metadata */
    int store_r;            /* 0, -ENOENT, or why it is not believed */
    int copy_r;
    struct error store_err;
    bool store_is_of_another; /* what is in the store is another filesystem's, whose key is not here
                               */
};

/* Looks into both. Fails only if a place cannot be read at all. */
int superblocks_read(struct object_store *store, struct meta_engine *engine,
                     const struct key_set *keys, struct superblock_places *ret, struct error *err);
void superblocks_release(struct superblock_places *places);

/* To the store. create: must not be there (-EEXIST). */
int superblock_write(struct object_store *store, const struct superblock *superblock,
                     const struct key_set *keys, bool create, struct error *err);
/* To the metadata, in a transaction. */
int superblock_put(struct meta_txn *txn, const struct superblock *superblock,
                   const struct key_set *keys, struct error *err);
