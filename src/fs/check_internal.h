/* check_internal.h - the parts of a check, each of which looks at all of one thing.
 *
 *   check.c        order, and the metadata by itself (sealer_check())
 *   check_names.c  inodes, directory entries, attributes, orphans: counts and links
 *   check_data.c   extents against inodes; blocks and objects against the account
 *   check_history.c  saved versions of records, and with the two above what snapshots see
 *
 * All see one moment: a read transaction that began while no change was under way. Reports are
 * sentences with numbers and ids, never names.
 *
 * Errors     of the engine and -ENOMEM only; faults are reported and counted.
 */
#pragma once

#include "fs/volume_internal.h"

/* What was found of an inode, and what its record says. */
struct inode_sum {
    uint64_t ino;
    uint64_t size;
    uint64_t stored;  /* as its record says; what is found is subtracted */
    uint64_t entries; /* of a directory: found */
    uint64_t parent;  /* of a directory: as its record says */
    uint32_t nlink;   /* as its record says */
    uint32_t links;   /* entries that name it; of a directory, sub-directories */
    uint32_t mode;
    uint8_t flags;
    bool is_orphan; /* is in ORPHAN */
    bool has_entry; /* a directory: was seen in its parent */
};

struct check {
    struct volume *volume;
    struct meta_txn *txn;
    bool read_data;
    volume_report_fn *report;
    void *report_arg;
    uint64_t faults;
    struct error *err;

    struct inode_sum *inodes; /* ascending */
    size_t inode_count;
    size_t inode_room;
    uint64_t stored; /* found, of all inodes */
    uint64_t expected_files;
    uint64_t expected_stored;
    uint64_t expected_held;
    uint64_t epoch;    /* which had not ended at that moment */
    uint64_t changes;  /* of the snapshots, then */
    bool is_removing;  /* one of them, then */
    uint64_t snapshot; /* whose tree is looked at; 0: the live one */
};

void check_fault(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

struct inode_sum *check_inode(struct check *check, uint64_t ino); /* NULL: no such inode */
int check_scan(struct check *check, enum record_kind kind, meta_visit_fn *visit);

int check_names(struct check *check);
/* After check_names(). */
int check_data(struct check *check);
/* The same of check->snapshot; its blocks were looked at by check_data(). */
int check_past_data(struct check *check);
/* After the live tree: of the inodes nothing is left. */
int check_history(struct check *check);
/* After both. */
void check_counts(struct check *check);
