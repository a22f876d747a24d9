#include "tests/support/import_case.h"

#include "tests/support/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/support/transfer_case.h"
#include "transfer/download.h"

int import_case_setup(void **state)
{
    struct transfer_case *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    transfer_case_new(c, "dir");
    *state = c;
    return 0;
}

int import_case_teardown(void **state)
{
    struct transfer_case *c = *state;

    transfer_case_end(c);
    free(c);
    return 0;
}

int import_case_open(struct volume_case *to, const struct bucket *bucket,
                     const struct locator *locator, int64_t patience_ms, struct volume_origin **ret,
                     struct error *err)
{
    CLEANUP(buf_release) struct buf superblock = BUF_INIT;

    assert_int_equal(
        object_store_get(to->store, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX, &superblock, NULL), 0);
    const struct download_snapshot snapshot = { .bucket = bucket,
                                                .locator = *locator,
                                                .superblock = buf_bytes(&superblock),
                                                .keys = &to->keys,
                                                .patience_ms =
                                                    patience_ms > 0 ? patience_ms : 300 };
    return download_open_snapshot(&snapshot, ret, err);
}

int import_case_try(struct volume_case *to, const struct bucket *bucket,
                    const struct locator *locator, const char *name,
                    struct snapshot_import_progress *progress, struct error *err)
{
    struct volume_origin *origin = NULL;

    int r = import_case_open(to, bucket, locator, 0, &origin, err);
    if (r < 0)
        return r;
    struct snapshot_import import = {
        .name = name, .access_point = name, .created_ns = IMPORT_CASE_CREATED, .origin = origin
    };
    memcpy(import.manifest, locator->manifest, sizeof(import.manifest));
    r = volume_snapshot_import(to->volume, &import, progress, err);
    origin->ops->close(origin);
    return r;
}

int import_case_find(const struct volume_snapshot *snapshot, void *arg)
{
    struct volume_snapshot *wanted = arg;

    if (strcmp(snapshot->name, wanted->name) != 0 || snapshot->is_removing)
        return 0;
    *wanted = *snapshot;
    return 1;
}

struct volume_snapshot import_case_bring(struct volume_case *to, const struct bucket *bucket,
                                         const struct locator *locator, const char *name,
                                         struct snapshot_import_progress *progress)
{
    struct volume_snapshot found = { .slot = 0 };
    struct error err = { .code = 0 };

    if (import_case_try(to, bucket, locator, name, progress, &err) != 0)
        fail_msg("%s", err.text);
    (void)snprintf(found.name, sizeof(found.name), "%s", name);
    assert_int_equal(volume_snapshot_list(to->volume, import_case_find, &found), 1);
    assert_int_equal(found.created_ns, IMPORT_CASE_CREATED);
    return found;
}
