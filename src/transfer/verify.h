/* verify.h - whether an uploaded snapshot could be downloaded: everything, or a sample, is read and
 * checked. What is altered, missing, exchanged, cut short, or an older state put back is found, and
 * named.
 *
 * Units      bytes as they are stored.
 * Errors     -ECANCELED; -ENOENT, -ENOKEY, -EBADMSG: head or manifest cannot be read, so that
 *            nothing else can. Any other code of the store, to whatever is read: it tells nothing
 *            of the snapshot, and ends the verification.
 * Ownership  what a config points to stays the caller's.
 * Threads    one, which starts others; the callbacks are called by one at a time.
 */
#pragma once

#include "transfer/head.h"
#include "transfer/locator.h"

/* One sentence for each fault. No name of a file. */
typedef void verify_report_fn(const char *text, void *arg);

struct verify_progress {
    uint64_t chunks, chunks_done;
    uint64_t packs, packs_done; /* those of the sample */
    uint64_t read_bytes;
};

struct verify_config {
    const struct bucket *bucket;
    struct locator locator;
    const struct key_set *keys;
    struct key_checks known; /* what the registry knows, if anything */
    unsigned one_in;         /* 1: all; else one chunk and pack in so many, by chance */
    verify_report_fn *report;
    bool (*should_stop)(const struct verify_progress *progress, void *arg); /* NULL is allowed */
    void *arg;
};

/* Returns 0 even if there are faults, and their number. */
int verify_run(const struct verify_config *config, struct verify_progress *ret_progress,
               uint64_t *ret_faults, struct error *err);

/* Of the snapshot; any other code tells of the way to it, and tomorrow there may be another. */
bool verify_is_fault(int code);
