/* lmdb_copy.h - all records of an LMDB environment, written into a new file. LMDB's own copy is
 * of pages, in which what was removed may still lie between the records; this is of records.
 *
 * Errors     MDB_SUCCESS, or what LMDB says, which may be an errno.
 * Threads    nobody writes to the environment meanwhile.
 */
#pragma once

#include <lmdb.h>
#include <stdint.h>

/* To file, which must not be there; durable when it returns, but for the name. room: bytes that it
 * surely fits into. */
int lmdb_copy_records(MDB_env *from, MDB_dbi dbi, const char *file, uint64_t room);
