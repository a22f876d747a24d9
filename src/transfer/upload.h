/* upload.h - a snapshot into a bucket: what is not there yet of its file data and records, then
 * the manifest, and last the head, with which it exists.
 *
 * It may end at any moment, and be called again with the same id: what is in the bucket is not put
 * again. Until then, or until upload_abort(), a reference keeps it there. Memory: the list of
 * the snapshot's ranges of blocks, some packs, and some chunks.
 *
 * Units      bytes as they are stored.
 * Errors     -ECANCELED: should_stop said so, or the snapshot was removed while it was uploaded;
 *            -EBUSY: others remove all the time; what source, store and the wait function say.
 * Ownership  all that a config points to stays the caller's, and valid during the call.
 * Threads    one upload of an id at a time, by anybody; of others any number. The callbacks of a
 *            config are called by the caller's thread, but for on_progress; the source's read by
 *            several.
 */
#pragma once

#include <stdbool.h>

#include "transfer/head.h"
#include "transfer/locator.h"
#include "transfer/sharing.h"
#include "transfer/upload_source.h"

struct upload_progress {
    uint64_t data;        /* ciphertext that the snapshot needs */
    uint64_t data_there;  /* of it was in the bucket before */
    uint64_t data_done;   /* of it is there now */
    uint64_t put_objects; /* by this call */
    uint64_t put_bytes;
    uint64_t records; /* of the dump, so far */
};

struct upload_config {
    const struct bucket *bucket;
    struct upload_source *source;
    struct bytes superblock; /* encoded, of the newest generation */
    struct bytes ring;       /* encoded, with the superblock's generation */
    const struct key_set *keys;
    struct uuid upload;   /* drawn once for each, and kept until it has ended */
    struct uuid instance; /* who uploads */
    uint64_t started_ns;  /* kept likewise */
    const char *filesystem;
    bool hides_names;  /* in the head, that anybody can read */
    uint32_t pack_len; /* 0: the usual one */
    unsigned parallel; /* objects that are put at a time; 0: the usual number */
    struct share_wait wait;
    /* NULL is allowed. Between some objects and the next; true ends the upload. */
    bool (*should_stop)(const struct upload_progress *progress, void *arg);
    /* NULL is allowed. After each object, by whichever thread has put it, one at a time. */
    void (*on_progress)(const struct upload_progress *progress, void *arg);
    void *arg;
};

int upload_run(const struct upload_config *config, struct locator *ret,
               struct upload_progress *ret_progress, struct error *err);

/* Of one that will not go on: nothing keeps any more what it left. Its removal sweeps that. */
int upload_abort(const struct bucket *bucket, const struct uuid *upload, struct error *err);
