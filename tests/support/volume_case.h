/* volume_case.h - a volume for tests: LMDB and a folder store in a temporary folder. Where the
 * environment names an S3 server (s3_case.h), the store is a place of its own there.
 *
 * Every call asserts that it succeeds unless its name says otherwise.
 */
#pragma once

#include <stdbool.h>

#include "fs/volume.h"
#include "keyring/superblock.h"

struct volume_case {
    char folder[64];
    char meta_url[96];
    char store_url[96];
    struct uuid uuid;
    struct uuid owner;
    struct key_set keys;
    struct object_store *store;
    struct volume *volume;
    uint64_t capacity;
    bool read_only;
    bool take_over;
    bool salvage;
    uint32_t block_size;
    unsigned events[16]; /* how often each came */
    char last_event[600];
    origin_open_fn *open_origin; /* of one that was downloaded */
    void *origin_arg;
};

/* Neither made nor opened. */
void volume_case_prepare(struct volume_case *ret, uint32_t block_size, struct object_store *store);

/* Makes and opens it. block_size 0: the usual 4 KiB. */
void volume_case_new(struct volume_case *ret, uint32_t block_size);
/* The same on another store, which it then closes (a layer): NULL for the usual one. */
void volume_case_new_on(struct volume_case *ret, uint32_t block_size, struct object_store *store);
void volume_case_config(struct volume_case *volume_case, struct volume_config *ret);
int volume_case_try_open(struct volume_case *volume_case);
void volume_case_open(struct volume_case *volume_case);
void volume_case_close(struct volume_case *volume_case);
void volume_case_reopen(struct volume_case *volume_case);
/* Asserts that volume_check(), data included, finds nothing; prints what it finds. */
void volume_case_check(struct volume_case *volume_case);
/* As statfs tells it. */
uint64_t volume_case_used(struct volume_case *volume_case);
/* What it finds, without asserting. */
uint64_t volume_case_faults(struct volume_case *volume_case, bool read_data);
/* Closes what is open and removes the folder. */
void volume_case_end(struct volume_case *volume_case);

/* A regular file in the root; its inode. It holds one reference. */
uint64_t volume_case_file(struct volume_case *volume_case, const char *name);
