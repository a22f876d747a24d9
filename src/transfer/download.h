/* download.h - a filesystem out of a snapshot in a bucket. It is of use before anything of it is
 * here: what is not there yet is read from the bucket, and brought in by and by (fs/origin.h).
 *
 *     download_prepare()          head and manifest verified, a reference put that keeps what is
 *                                 needed in the bucket
 *     volume_format_inherited()   an empty filesystem that knows where it comes from
 *     volume_open()               with download_open(), each time until all of it is here
 *
 * A crash between the first two leaves a reference that nobody needs: prepare it again with the
 * same id, or drop it (reference_drop()).
 *
 * Units      bytes, milliseconds.
 * Errors     -ENOENT: no such snapshot here, or the bucket lacks something of it; -EBADMSG:
 * altered; -ENOKEY: a key is not at hand; -EROFS: the reference cannot be put, and nothing was
 *            done; what the store and the wait function say.
 * Ownership  what a config points to stays the caller's; of an opened one until it is closed.
 * Threads    prepare: one. An opened one: any.
 */
#pragma once

#include "fs/origin.h"
#include "transfer/head.h"
#include "transfer/locator.h"
#include "transfer/sharing.h"

struct download_config {
    const struct bucket *bucket;
    struct locator locator;
    const struct key_set *keys; /* own generations of the ring in the head, unwrapped */
    struct key_checks known;    /* what the registry knows of the origin, if anything */
    struct uuid fs;             /* the filesystem that is made */
    struct uuid instance;
    /* Drawn once for each download, and kept. Zero: none is put, for who may only read; others may
     * remove what is still needed. */
    struct uuid reference;
    uint64_t now_ns;
    struct share_wait wait;
};

struct download {
    struct superblock superblock; /* the origin's, with its keys */
    struct snapshot_about about;
    struct origin_record origin;
    struct counters_record counters;
    uint32_t block_size;
};

int download_prepare(const struct download_config *config, struct download *ret, struct error *err);
void download_release(struct download *download);
/* For volume_format_inherited(); points into the download. */
struct volume_inheritance download_inheritance(const struct download *download);

/* How a volume opens it: an origin_open_fn, whose arg is one of these. */
struct download_place {
    const struct bucket *bucket;
    int64_t patience_ms; /* how long who needs something waits for a bucket that fails; 0: usual */
    bool starts_paused;
    /* Has what is under way in the bucket end, so that a volume that is closed need not wait for
     * it. NULL: it waits. */
    void (*end)(void *arg);
    void *end_arg;
};

/* What the manifest of an opened one tells, as long as it is open. */
const struct snapshot_about *download_about(const struct volume_origin *origin);

/* A snapshot that is to become one of an existing filesystem (fs/snapshot_import.h), opened to read
 * all of it; no reference is put, as nothing of the bucket is relied on afterwards. */
struct download_snapshot {
    const struct bucket *bucket;
    struct locator locator;
    struct bytes superblock; /* the filesystem's own */
    /* Its keys; those of the snapshot's origin must be among them, as foreign ones. */
    const struct key_set *keys;
    int64_t patience_ms; /* 0: usual */
};

/* -EXDEV: it is of a filesystem of another origin. */
int download_open_snapshot(const struct download_snapshot *snapshot, struct volume_origin **ret,
                           struct error *err);

int download_open(const struct origin_opening *opening, void *arg, struct volume_origin **ret,
                  struct error *err);
