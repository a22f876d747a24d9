/* tamper_records.h - what the database of a closed volume holds, as LMDB sees it.
 *
 * Every call asserts that it succeeds.
 */
#pragma once

#include <lmdb.h>

#include "base/buf.h"
#include "tests/support/tamper_case.h"

struct record {
    struct buf key;
    struct buf value;
};

struct records {
    struct record *items;
    unsigned count;
};

/* The closed volume's database, as LMDB sees it. */
struct database {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
};

void database_open(const struct tamper_case *tamper, struct database *ret);
void database_close(struct database *database);

void records_read(const struct tamper_case *tamper, struct records *ret);
void records_release(struct records *records);

/* Closes the volume. value NULL: deletes it. */
void record_set(struct tamper_case *tamper, const struct record *record, const struct buf *value);
uint8_t record_kind(const struct record *record);
