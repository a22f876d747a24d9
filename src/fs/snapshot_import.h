/* snapshot_import.h - a snapshot of this filesystem's origin, in a bucket, becomes one of its own,
 * while it is used: what the bucket's dump says is what the snapshot shows, and only blocks that
 * are not here any more are brought.
 *
 *     begin     a snapshot is taken that nobody sees (SNAPSHOT_ARRIVING), so that it shows what is
 *               current; and a RESTORE record says that its epoch is from outside ──► durable
 *     batches   keys in their order: what differs from the dump is inserted into history
 *               (history_insert()); blocks that no record names are copied from packs before, or,
 *               if they still lie in an object here, opened
 *     end       it is kept ──► durable
 *
 * After a crash it is there, as far as it came, and unseen: import it again, which finds what is
 * right already, or drop it. Nothing else is concerned. After a failure the same import goes on
 * where it was, as long as the volume is open.
 *
 * Errors     as volume.h, with a sentence that says what to do; -EBADMSG: altered, or missing in
 *            the bucket; -EIO: the bucket does not answer; -ECANCELED: it was told to stop;
 *            -EIDRM: somebody dropped it meanwhile, so that it begins anew when it is tried again.
 * Ownership  what is given stays the caller's.
 * Threads    one; the volume is used meanwhile. Ends before volume_close() begins.
 */
#pragma once

#include "fs/origin.h"
#include "fs/volume.h"

struct snapshot_import_progress {
    uint32_t chunks, chunks_done; /* of records */
    uint64_t fetched;             /* sealed bytes that came from packs */
    uint64_t reused;              /* that nothing named any more, and were still here */
    uint64_t snapshot;            /* its id, once there is one */
};

/* Between two batches. False: it stops. */
typedef bool snapshot_import_fn(const struct snapshot_import_progress *progress, void *arg);

struct snapshot_import {
    const char *name;
    const char *access_point;
    int64_t created_ns;           /* when it was taken */
    uint8_t manifest[32];         /* of the snapshot: by it who tries again goes on */
    struct volume_origin *origin; /* of which only records and packs are used */
    snapshot_import_fn *on_progress;
    void *arg;
    bool gives_way; /* if another one has that access point: it gets a number behind it */
};

/* One of that name that arrives already is gone on with; one that was imported, of that name and
 * time, is what is asked for. */
int volume_snapshot_import(struct volume *volume, const struct snapshot_import *import,
                           struct snapshot_import_progress *ret, struct error *err);

/* The one that arrives, if there is one. */
bool volume_snapshot_arriving(struct volume *volume, struct volume_snapshot *ret);
/* It is removed as any other. -ENOENT: none arrives. */
int volume_snapshot_import_drop(struct volume *volume, struct error *err);
