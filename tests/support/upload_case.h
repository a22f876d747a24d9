/* upload_case.h - object stores in folders, and uploaded snapshots of the filesystems of a control
 * plane (control_case.h) in them, whose packs and chunks hold nothing of a filesystem: for what is
 * done with heads, keys and references. Any failure in here fails the test.
 */
#pragma once

#include "control/object_stores.h"
#include "control/rings.h"
#include "tests/support/control_case.h"
#include "transfer/bucket.h"
#include "transfer/locator.h"
#include "transfer/manifest.h"

/* What the files of each snapshot have, as its head says. */
#define UPLOAD_CASE_SIZE ((3ull << 30) + 1)

/* In the state folder. */
void must_add_folder_store(struct fixture *fixture, const char *name);

/* Through a process of its own; to be closed. */
struct object_store *must_open_bucket(struct fixture *fixture, const char *store,
                                      struct bucket *ret);

/* Of the keys that the filesystem has now. Uploads of one snapshot name share a pack. locator: its
 * text, of LOCATOR_SIZE. */
void must_upload(struct fixture *fixture, const char *filesystem, const char *store,
                 const char *snapshot, char *ret_locator);

/* The same of keys that no filesystem here has: a ring, encoded, with its keys; the superblock of
 * it; and what else the snapshot says that it needs. */
struct upload_sender {
    const struct rings_opened *opened;
    struct bytes superblock;
    const struct key_needed *more;
    uint32_t more_count;
};

void must_upload_from(struct fixture *fixture, const struct upload_sender *sender,
                      const char *store, const char *snapshot, char *ret_locator);

size_t count_objects(struct fixture *fixture, const char *store, enum bucket_kind kind);

/* All bytes of one that is there take the place of what it holds. */
void must_get_head(struct fixture *fixture, const char *store, const char *locator,
                   struct buf *ret);
void must_put_head(struct fixture *fixture, const char *store, const char *locator,
                   struct bytes head);
