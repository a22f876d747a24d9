/* diff.h - what differs between two snapshots of a volume, or between one and what it is now.
 *
 * The index of saved records leads to what changed in between. Names of files of which no name
 * changed are looked for among all names of the volume, as nothing leads from a file to its names;
 * no other part of what stayed as it was is read. What differs is told in the order of inode
 * numbers, some 65,000 inodes at a time, which bounds memory. Of the volume as it is now, each part
 * is of another moment.
 *
 * A path begins behind the root, and is safe to print: control characters, bytes that are no UTF-8,
 * and '\' are written \NNN, in octal.
 *
 * Errors     -ENOENT: no such snapshot; -EINVAL: the second is not newer; -ESTALE: one was removed
 *            meanwhile; -EIO: a record was altered; -ENOMEM.
 * Ownership  the volume stays the caller's, and open.
 * Threads    one at a time.
 */
#pragma once

#include "fs/volume.h"

enum difference_kind {
    DIFFERENCE_ADDED = 1, /* a name, and as a rule what it names */
    DIFFERENCE_REMOVED = 2,
    DIFFERENCE_CHANGED = 3,
    DIFFERENCE_RENAMED = 4, /* and perhaps changed */
};

enum difference_flag {
    DIFFERENCE_CONTENT = 1 << 0,
    DIFFERENCE_ATTRIBUTES = 1 << 1, /* owner, permissions, time of change, extended ones */
};

struct difference {
    uint64_t ino;
    enum difference_kind kind;
    unsigned flags; /* of what was changed or renamed */
    uint32_t type;  /* S_IFMT of the mode */
    const char *path;
    const char *old_path; /* of what was renamed; else "" */
};

/* How far a reader is: behind the first count differences of inode ino. Begins with zeros. */
struct difference_position {
    uint64_t ino;
    uint32_t count;
};

struct volume_diff;

/* newer NULL: the volume as it is. */
int volume_diff_open(struct volume *volume, const char *older, const char *newer,
                     struct volume_diff **ret, struct error *err);
void volume_diff_close(struct volume_diff *diff); /* NULL is allowed */

/* Whether it is of these two. */
bool volume_diff_is_of(const struct volume_diff *diff, const char *older, const char *newer);

/* From a position on; *position follows. It is cheap to go on where the last call ended. visit
 * returns 0 to go on; anything else ends it in front of what it was shown, and is returned. */
typedef int difference_fn(const struct difference *difference, void *arg);
int volume_diff_read(struct volume_diff *diff, struct difference_position *position,
                     difference_fn *visit, void *arg, struct error *err);
