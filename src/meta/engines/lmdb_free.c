#include "meta/engines/lmdb_free.h"

#include <string.h>

/* LMDB's own table of free pages: the id of the transaction that freed them, and their count,
 * followed by the pages. */
#define FREE_DBI ((MDB_dbi)0)

static void add_all(MDB_cursor *cursor, size_t last_id, struct lmdb_free *ret)
{
    MDB_val key;
    MDB_val value;

    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS) {
        size_t id;
        size_t count;
        memcpy(&id, key.mv_data, sizeof(id));
        memcpy(&count, value.mv_data, sizeof(count));
        if (id < last_id)
            ret->pages += count;
        else
            ret->resting_pages += count;
    }
}

void lmdb_free_count(MDB_env *env, struct lmdb_free *ret)
{
    MDB_cursor *cursor = NULL;
    MDB_envinfo info;
    MDB_txn *txn = NULL;

    *ret = (struct lmdb_free){ 0 };
    if (env == NULL || mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS)
        return;
    (void)mdb_env_info(env, &info); /* fails only without an environment */
    if (mdb_cursor_open(txn, FREE_DBI, &cursor) == MDB_SUCCESS) {
        add_all(cursor, info.me_last_txnid, ret);
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
}

/* As it is: LMDB commits only what touched a page. */
static int rewrite_first(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_cursor *cursor = NULL;
    MDB_val key;
    MDB_val value;

    int mdb = mdb_cursor_open(txn, dbi, &cursor);
    if (mdb != MDB_SUCCESS)
        return mdb;
    mdb = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (mdb == MDB_SUCCESS)
        mdb = mdb_cursor_put(cursor, &key, &value, MDB_CURRENT);
    mdb_cursor_close(cursor);
    return mdb;
}

bool lmdb_write_empty_group(MDB_env *env, MDB_dbi dbi, MDB_stat *ret_stat)
{
    MDB_txn *txn = NULL;

    if (env == NULL || mdb_txn_begin(env, NULL, 0, &txn) != MDB_SUCCESS)
        return false;
    int mdb = rewrite_first(txn, dbi);
    if (mdb == MDB_SUCCESS)
        mdb = mdb_stat(txn, dbi, ret_stat);
    if (mdb != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return false;
    }
    return mdb_txn_commit(txn) == MDB_SUCCESS;
}
