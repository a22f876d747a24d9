/* upload_source.h - what is uploaded: the snapshot of a volume, or what a test makes up.
 *
 * A source gives the same each time it is asked.
 *
 * Errors     final, with a sentence.
 * Threads    locate and read: any number; the rest one at a time.
 */
#pragma once

#include "fs/export.h"

struct upload_source;

struct upload_source_ops {
    /* Each record, by ascending keys; kinds in front of LOCATION only. */
    int (*records)(struct upload_source *source, export_visit_fn *visit, void *arg,
                   struct error *err);
    /* All blocks that the records show, sorted. */
    int (*blocks)(struct upload_source *source, struct run_list *ret, struct error *err);
    /* What of a run, from its first block on, is sealed in one go, and under what. */
    int (*locate)(struct upload_source *source, const struct block_run *run,
                  struct block_run *ret_front, struct block_identity *ret_identity,
                  struct error *err);
    /* Its ciphertext. */
    int (*read)(struct upload_source *source, const struct block_run *run,
                const struct block_identity *identity, uint8_t *to, struct error *err);
};

struct upload_source {
    const struct upload_source_ops *ops;
    uint64_t epoch;
    uint64_t created_ns;
    uint32_t block_size;
    const char *snapshot; /* its name */
    const char *access_point;
};

/* A snapshot of a volume. The export stays the caller's. */
struct volume_source {
    struct upload_source base;
    struct volume_export *export;
};

void volume_source_init(struct volume_source *source, struct volume_export *export);
