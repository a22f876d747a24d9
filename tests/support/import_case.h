/* import_case.h - a snapshot in a bucket that becomes one of a volume that is tested.
 *
 * Every call asserts that it succeeds unless it returns a code.
 */
#pragma once

#include "fs/snapshot_import.h"
#include "tests/support/volume_case.h"
#include "transfer/bucket.h"
#include "transfer/locator.h"

#define IMPORT_CASE_CREATED 4711 /* when it was taken */

/* cmocka's: *state is a struct transfer_case in a folder. */
int import_case_setup(void **state);
int import_case_teardown(void **state);

/* patience_ms: with a bucket that fails; 0: little. */
int import_case_open(struct volume_case *to, const struct bucket *bucket,
                     const struct locator *locator, int64_t patience_ms, struct volume_origin **ret,
                     struct error *err);
int import_case_try(struct volume_case *to, const struct bucket *bucket,
                    const struct locator *locator, const char *name,
                    struct snapshot_import_progress *progress, struct error *err);
struct volume_snapshot import_case_bring(struct volume_case *to, const struct bucket *bucket,
                                         const struct locator *locator, const char *name,
                                         struct snapshot_import_progress *progress);
/* For volume_snapshot_list(): the one that is called as *arg, which goes there. */
int import_case_find(const struct volume_snapshot *snapshot, void *arg);
