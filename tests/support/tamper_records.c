#include "tests/support/tamper_records.h"

#include <stdio.h>
#include <stdlib.h>

#include "meta/record_kinds.h"
#include "tests/support/cmocka_all.h"

#define RECORDS_MAX 1024u

void database_open(const struct tamper_case *tamper, struct database *ret)
{
    char path[TAMPER_PATH_MAX];

    assert_null(tamper->volume.volume);
    (void)snprintf(path, sizeof(path), "%s/meta/metadata.mdb", tamper->volume.folder);
    assert_int_equal(mdb_env_create(&ret->env), 0);
    assert_int_equal(mdb_env_set_mapsize(ret->env, (size_t)1 << 28), 0);
    assert_int_equal(mdb_env_open(ret->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0600), 0);
    assert_int_equal(mdb_txn_begin(ret->env, NULL, 0, &ret->txn), 0);
    assert_int_equal(mdb_dbi_open(ret->txn, NULL, 0, &ret->dbi), 0);
}

void database_close(struct database *database)
{
    assert_int_equal(mdb_txn_commit(database->txn), 0);
    mdb_env_close(database->env);
}

static struct bytes native_bytes(MDB_val val)
{
    return (struct bytes){ .data = val.mv_data, .len = val.mv_size };
}

void records_read(const struct tamper_case *tamper, struct records *ret)
{
    struct database database;
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;

    *ret = (struct records){ .items = calloc(RECORDS_MAX, sizeof(*ret->items)) };
    assert_non_null(ret->items);
    database_open(tamper, &database);
    assert_int_equal(mdb_cursor_open(database.txn, database.dbi, &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        struct record *record = &ret->items[ret->count++];
        assert_true(ret->count < RECORDS_MAX);
        assert_int_equal(buf_assign(&record->key, native_bytes(key)), 0);
        assert_int_equal(buf_assign(&record->value, native_bytes(value)), 0);
    }
    mdb_cursor_close(cursor);
    database_close(&database);
}

void records_release(struct records *records)
{
    for (unsigned i = 0; i < records->count; i++) {
        buf_release(&records->items[i].key);
        buf_release(&records->items[i].value);
    }
    free(records->items);
}

void record_set(struct tamper_case *tamper, const struct record *record, const struct buf *value)
{
    MDB_val key = { .mv_size = record->key.len, .mv_data = record->key.data };
    struct database database;

    tamper_close(tamper);
    database_open(tamper, &database);
    if (value == NULL) {
        assert_int_equal(mdb_del(database.txn, database.dbi, &key, NULL), 0);
    } else {
        MDB_val native = { .mv_size = value->len, .mv_data = value->data };
        assert_int_equal(mdb_put(database.txn, database.dbi, &key, &native, 0), 0);
    }
    database_close(&database);
}

uint8_t record_kind(const struct record *record)
{
    return record_kind_of(buf_bytes(&record->key));
}
