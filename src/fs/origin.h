/* origin.h - a filesystem that was made of a snapshot in a bucket, until all of it is here: what
 * its records and blocks are read from meanwhile, and the thread that brings them in.
 *
 *     records   the dump lies under the live records (meta/underlay.h), and is imported first
 *     blocks    LOCATION records name packs of the bucket (segments.h); what is in use of them is
 *               fetched, as ciphertext, in the order of the files, and checked once before it is
 *               believed
 *     then      ORIGIN_DONE ──durable──► done() ──► the ORIGIN record goes
 *
 * A crash at any step leaves what was imported, and the thread goes on where that ends. What cannot
 * be read is tried again without end, and nothing of it is given up but by who removes the file, or
 * the snapshots, that show it.
 *
 * Errors     -EBADMSG: altered, or missing in the bucket; -EIO: the bucket does not answer.
 * Ownership  a struct volume_origin is the volume's once it is opened.
 * Threads    its functions are called by any number at once, close by one and last.
 */
#pragma once

#include "fs/records.h"
#include "fs/segments.h"
#include "keyring/superblock.h"
#include "meta/underlay.h"

struct volume_origin;

struct volume_origin_ops {
    /* Whoever waits in it is to end soon, with an error: the volume is being closed. */
    void (*stop)(struct volume_origin *origin);
    /* Nothing of it is needed any more. May be called again. */
    int (*done)(struct volume_origin *origin, struct error *err);
    void (*close)(struct volume_origin *origin);
};

struct volume_origin {
    const struct volume_origin_ops *ops;
    struct underlay_source *records; /* of one that is needed */
    uint32_t chunk_count;
    bool starts_paused; /* nothing is brought in until volume_origin_pause() says so */
    struct segment_packs packs;
};

/* In the volume's words: somebody waited in vain for the bucket. */
typedef void origin_trouble_fn(const char *text, void *arg);

struct origin_opening {
    const struct origin_record *record;
    const struct superblock *superblock; /* of the volume, whose chunk key is the origin's */
    const struct key_set *keys;
    origin_trouble_fn *on_trouble;
    void *trouble_arg;
};

/* How the volume opens it. For one that is done only done() and close() are used, so that it needs
 * nothing of the bucket. */
typedef int origin_open_fn(const struct origin_opening *opening, void *arg,
                           struct volume_origin **ret, struct error *err);

/* What a new filesystem inherits. */
struct volume_inheritance {
    const struct secret *name_key;
    const struct secret *chunk_key;
    uint32_t block_size;
    struct origin_record origin;
    struct counters_record counters;
};

struct volume_config;
struct volume;

/* As volume_format(), with all that the snapshot shows. */
int volume_format_inherited(const struct volume_config *config,
                            const struct volume_inheritance *inheritance, struct error *err);

struct origin_progress {
    bool is_paused;
    uint32_t chunks, chunks_done; /* of records */
    uint64_t data, data_left;     /* sealed bytes; what is in use of it */
    uint64_t fetched;             /* by this run */
    struct error waits_for;       /* why it does not go on at present; code 0: it does, or tries */
    unsigned failures;            /* in a row, up to now */
};

/* False: all is here. */
bool volume_origin_progress(struct volume *volume, struct origin_progress *ret);
/* Who goes on forgets what it waited for, and tries at once. */
void volume_origin_pause(struct volume *volume, bool is_paused);

/* Nothing is brought in any more, and who waits for the bucket ends with an error, now and from now
 * on. As volume_close() does; before it by who must not wait for those who read. */
void volume_origin_stop(struct volume *volume);

/* For volume.c. */
int origin_load(struct volume *volume, const struct volume_config *config, struct error *err);
int origin_start(struct volume *volume, struct error *err);
void origin_close(struct volume *volume); /* after the engine */
/* Records are still looked for in the bucket: what looks at all of them at once has to wait. */
bool origin_is_importing(struct volume *volume);
const struct segment_packs *origin_packs(struct volume *volume); /* NULL: there are none */
bool origin_goes_on(struct volume *volume); /* it is neither paused nor about to stop */
int origin_put(struct meta_txn *txn, const struct origin_record *record, struct error *err);

/* fetch.c: some blocks. 1: there are none left. */
struct fetch_cursor {
    struct record_key at; /* empty: at the beginning */
    bool is_in_history;
    bool has_failed; /* something in this round could not be fetched */
    bool is_measured;
    bool is_fast; /* the last batch was: requests may be large */
};

int origin_fetch(struct volume *volume, struct fetch_cursor *cursor, uint64_t *ret_bytes,
                 struct error *err);
