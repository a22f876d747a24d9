/* diff_internal.h - the parts of a comparison.
 *
 *   diff.c        which inodes changed, some at a time, and what is told of them
 *   diff_names.c  names: those that changed, those of inodes that did not, and paths
 */
#pragma once

#include "fs/diff.h"
#include "fs/history.h"

enum diff_side {
    DIFF_OLD,
    DIFF_NEW,
    DIFF_SIDES,
};

struct diff_name {
    struct diff_name *next;
    enum diff_side side;
    uint64_t parent;
    uint8_t len;
    char text[];
};

/* An inode that changed; or a directory on the way to one. */
struct diff_item {
    uint64_t ino;
    uint32_t type;
    bool is_there[DIFF_SIDES];
    unsigned flags;
    uint64_t parent[DIFF_SIDES]; /* of a directory */
    struct diff_name *names;     /* that changed */
    struct diff_name *stays;     /* one that it has now, if it was looked for */
};

static inline bool diff_item_stays(const struct diff_item *item)
{
    return item->is_there[DIFF_OLD] && item->is_there[DIFF_NEW];
}

struct diff_items {
    struct diff_item *items; /* ascending */
    size_t count;
};

struct volume_diff {
    struct volume *volume;
    char names[DIFF_SIDES][VOLUME_NAME_MAX + 1];
    uint64_t epochs[DIFF_SIDES]; /* 0: the volume as it is */
    uint64_t from;               /* the first inode of this batch, and behind its last one */
    uint64_t end;
    struct diff_items changed;
    struct diff_items folders; /* that lead to these */
    struct diff_items *noting; /* those of which names are wanted */
    struct index_batch *index;
    char *paths[2]; /* DIFF_PATH_SIZE */
};

#define DIFF_PATH_MAX 4096u /* of bytes that are not yet made safe */
#define DIFF_PATH_SIZE (4 * DIFF_PATH_MAX + 16)

struct diff_item *diff_find(const struct diff_items *items, uint64_t ino);
void diff_items_release(struct diff_items *items);

/* In a transaction. A record as a side has it; -ENOENT. */
int diff_get(struct volume_diff *diff, struct volume_txn *txn, enum diff_side side,
             const struct record_key *key, struct bytes *ret);
/* items is empty before. inos: ascending. */
int diff_items_fill(struct volume_diff *diff, struct diff_items *items, const uint64_t *inos,
                    size_t count);
/* Goes through every record that changed in between: names of diff->noting, and what inodes have
 * besides their own record. */
int diff_look_again(struct volume_diff *diff);
/* fn again and again, each time in a transaction of its own, until it returns 0 and not 1. */
int diff_repeat(struct volume_diff *diff, volume_txn_fn *fn, void *arg);

/* An entry of a directory changed. */
int diff_note_name(struct volume_diff *diff, struct volume_txn *txn, const struct record_key *key);
/* Names for what has none, and the folders on the way to all. */
int diff_complete_names(struct volume_diff *diff);
/* Of a name, into ret of DIFF_PATH_SIZE. */
void diff_path(const struct volume_diff *diff, const struct diff_name *name, char *ret);
