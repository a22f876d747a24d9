/* fs_samples.h - one record of each kind that the filesystem keeps, and a small segment, with fixed
 * keys, ids and times, for the tests, fixtures and fuzz targets of their formats. Nothing protects
 * anything with these keys.
 */
#pragma once

#include "fs/records.h"
#include "fs/segment_format.h"

/* The plain values of one kind; what is no member of it is not used. */
struct fs_sample {
    uint8_t kind;   /* enum record_kind */
    uint8_t number; /* of STATE */
    uint64_t ino;   /* in the key */
    struct inode inode;
    struct dirent_record dirent;
    struct extents extents; /* not to be released */
    struct xattr_record xattr;
    struct usage_record usage;
    struct location_record location;
    struct counters_record counters;
    uint64_t held;
    bool has_branches;
    uint64_t epoch; /* in the key */
    struct snapshot_record snapshot;
    struct origin_record origin;
    struct restore_record restore;
};

/* Those from the second number on came with snapshots, in a fixture of their own, those from the
 * third on with downloads, those from the fourth on with restores, and those from the fifth on with
 * snapshots from outside. */
#define FS_SAMPLES 21u
#define FS_SAMPLES_BEFORE_SNAPSHOTS 13u
#define FS_SAMPLES_BEFORE_DOWNLOADS 15u
#define FS_SAMPLES_BEFORE_RESTORES 16u
#define FS_SAMPLES_BEFORE_IMPORTS 18u
#define FS_SAMPLE_VALUE_MAX EXTENTS_VALUE_MAX

void fs_sample(unsigned number, struct fs_sample *ret);
void fs_sample_key(const struct fs_sample *sample, struct record_key *ret);
/* ret has room for FS_SAMPLE_VALUE_MAX. */
int fs_sample_encode(const struct fs_sample *sample, uint8_t *ret, size_t *ret_len);

/* The segment: its object, of generation 2, with three blocks of its own and two that were moved
 * there from another segment, of generation 1. */
#define FS_SAMPLE_ENTRIES 3u
#define FS_SAMPLE_BLOCKS 5u
#define FS_SAMPLE_BLOCK_MAX 64u

void fs_sample_segment(struct block_identity *ret);
void fs_sample_entries(struct segment_entry ret[static FS_SAMPLE_ENTRIES]);
/* What the number-th block in the object holds. */
struct bytes fs_sample_block(unsigned number, uint8_t room[static FS_SAMPLE_BLOCK_MAX]);
int fs_sample_object(const struct key_set *keys, struct buf *ret);
