/* The free pages of an LMDB environment. A group is one LMDB transaction. The next group may use
 * what all groups but the last one freed: the last one's pages still serve readers.
 *
 * Threads    any, while nobody closes the environment. */
#pragma once

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

struct lmdb_free {
    uint64_t pages;         /* which the next group may use */
    uint64_t resting_pages; /* which the last group freed */
};

/* None where they cannot be counted, as without an environment (NULL). */
void lmdb_free_count(MDB_env *env, struct lmdb_free *ret);

/* Commits a group that changes nothing, after which the resting pages are of use; ret_stat: of dbi
 * in it. false: all is as it was. */
bool lmdb_write_empty_group(MDB_env *env, MDB_dbi dbi, MDB_stat *ret_stat);
