/* transfer_case.h - a volume and a bucket, for tests of uploads. Every call asserts that it
 * succeeds unless it returns a code.
 */
#pragma once

#include "tests/support/mortal_store.h"
#include "tests/support/volume_case.h"
#include "transfer/upload.h"
#include "transfer/verify.h"

struct transfer_case {
    struct volume_case volume;
    struct object_store *store; /* of the bucket */
    struct bucket bucket;
    struct buf superblock, ring;
    uint32_t pack_len;
    struct upload_progress progress; /* of the last upload */
    char faults[4096];               /* the sentences of the last verification */
};

/* kind: "memory", or "dir" for a store in the volume's folder. If there is an S3 server, in a
 * bucket of that. */
void transfer_case_new(struct transfer_case *ret, const char *kind);
void transfer_case_end(struct transfer_case *c);

/* Of a volume that somebody else has open, and of a bucket: for uploads. And no more. */
void transfer_case_adopt(struct transfer_case *ret, const struct volume_case *volume,
                         struct object_store *store);
void transfer_case_disown(struct transfer_case *c);

struct volume_snapshot transfer_case_take(struct transfer_case *c, const char *name);
/* Of a snapshot of that name, through a store (NULL: the usual one). */
int transfer_case_try_upload(struct transfer_case *c, const char *name, const struct uuid *upload,
                             struct object_store *store, struct locator *ret, struct error *err);
struct locator transfer_case_upload(struct transfer_case *c, const char *name);

/* The number of faults; or the code of an error, whose sentence is in faults then. */
int64_t transfer_case_verify(struct transfer_case *c, const struct locator *locator,
                             unsigned one_in);
/* All bytes of all files are those that the snapshot of that slot shows. Returns how many files. */
unsigned transfer_case_compare(struct transfer_case *c, const struct locator *locator,
                               const struct volume_snapshot *snapshot);
/* What is removed of a snapshot (NULL: only what nobody needs). */
struct removal_counts transfer_case_remove(struct transfer_case *c, const struct locator *locator);
unsigned transfer_case_count(struct transfer_case *c, enum bucket_kind kind);
