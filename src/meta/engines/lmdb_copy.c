#include "meta/engines/lmdb_copy.h"

#include <stdbool.h>
#include <stddef.h>

/* In one transaction of the copy: they are in memory meanwhile. */
#define RECORDS_AT_ONCE 4096u

struct copying {
    MDB_cursor *from;
    MDB_env *to;
    MDB_dbi dbi;
    bool is_done;
};

/* Keys come in order, so each goes behind all others. */
static int put_some(struct copying *copying, MDB_txn *txn)
{
    MDB_val key;
    MDB_val value;

    for (unsigned i = 0; i < RECORDS_AT_ONCE; i++) {
        int mdb = mdb_cursor_get(copying->from, &key, &value, MDB_NEXT);
        if (mdb == MDB_NOTFOUND) {
            copying->is_done = true;
            return MDB_SUCCESS;
        }
        if (mdb == MDB_SUCCESS)
            mdb = mdb_put(txn, copying->dbi, &key, &value, MDB_APPEND);
        if (mdb != MDB_SUCCESS)
            return mdb;
    }
    return MDB_SUCCESS;
}

static int copy_some(struct copying *copying)
{
    MDB_txn *txn = NULL;
    int mdb = mdb_txn_begin(copying->to, NULL, 0, &txn);

    if (mdb != MDB_SUCCESS)
        return mdb;
    mdb = mdb_dbi_open(txn, NULL, 0, &copying->dbi);
    if (mdb == MDB_SUCCESS)
        mdb = put_some(copying, txn);
    if (mdb != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return mdb;
    }
    return mdb_txn_commit(txn);
}

/* Nobody else knows the file, so nothing is locked; and it is flushed once. */
static int open_copy(const char *file, uint64_t room, MDB_env **ret)
{
    MDB_env *env = NULL;
    int mdb = mdb_env_create(&env);

    if (mdb != MDB_SUCCESS)
        return mdb;
    mdb = mdb_env_set_mapsize(env, room);
    if (mdb == MDB_SUCCESS)
        mdb = mdb_env_open(env, file, MDB_NOSUBDIR | MDB_NOTLS | MDB_NOLOCK | MDB_NOSYNC, 0600);
    if (mdb != MDB_SUCCESS) {
        mdb_env_close(env);
        return mdb;
    }
    *ret = env;
    return MDB_SUCCESS;
}

static int count(MDB_env *env, size_t *ret)
{
    MDB_stat stat;
    int mdb = mdb_env_stat(env, &stat);

    if (mdb == MDB_SUCCESS)
        *ret = stat.ms_entries;
    return mdb;
}

/* All of them, and as many as there are. */
static int copy_all(MDB_env *from, struct copying *copying)
{
    size_t here = 0;
    size_t there = 0;
    int mdb = MDB_SUCCESS;

    while (mdb == MDB_SUCCESS && !copying->is_done)
        mdb = copy_some(copying);
    if (mdb == MDB_SUCCESS)
        mdb = mdb_env_sync(copying->to, 1);
    if (mdb == MDB_SUCCESS)
        mdb = count(from, &here);
    if (mdb == MDB_SUCCESS)
        mdb = count(copying->to, &there);
    return mdb == MDB_SUCCESS && here != there ? MDB_CORRUPTED : mdb;
}

int lmdb_copy_records(MDB_env *from, MDB_dbi dbi, const char *file, uint64_t room)
{
    struct copying copying = { .from = NULL };
    MDB_txn *txn = NULL;
    int mdb = mdb_txn_begin(from, NULL, MDB_RDONLY, &txn);

    if (mdb != MDB_SUCCESS)
        return mdb;
    mdb = mdb_cursor_open(txn, dbi, &copying.from);
    if (mdb == MDB_SUCCESS)
        mdb = open_copy(file, room, &copying.to);
    if (mdb == MDB_SUCCESS) {
        mdb = copy_all(from, &copying);
        mdb_env_close(copying.to);
    }
    if (copying.from)
        mdb_cursor_close(copying.from);
    mdb_txn_abort(txn);
    return mdb;
}
