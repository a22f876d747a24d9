/* fault.h - a store in which chosen operations fail on command, for tests.
 *
 * A rule is: which operation (enum fault_op), on names that start with what, how many such calls
 * pass first, how many fail then, and with which code. A call is compared with the rules in their
 * order; the first that hits it decides, and those behind that one do not count it. A listing is
 * compared by its prefix, space by the empty name.
 *
 * After a sync that failed, all later ones of that writer fail in the same way, as those of a
 * folder do.
 *
 * In a build with -Dfault_store=true a store's URL may be "fault+dir:/absolute/folder": the store
 * "dir:/absolute/folder", with the rules that are in the file "~fault" in that folder, which is no
 * name of an object. Before each operation the file is looked at and read again, and counting
 * begins anew, if it is another or was changed; replace it with rename, so that it is read whole.
 * Without the file nothing fails. While it is not understood all operations fail, with -EINVAL.
 * Each line is empty, or a comment that begins with '#', or a rule:
 *
 *     OPERATION PREFIX SKIP TIMES ERRNO
 *     write segments/ 3 1 ENOSPC
 *     read-flip * 0 * 0
 *
 * OPERATION is as fault_op_name spells it; "*" as PREFIX is any name, as TIMES without end; ERRNO
 * is a name, and 0 for what does not fail.
 *
 * Errors     -ENOMEM, to make one. What a rule says; the sentence tells that it was a rule.
 * Ownership  the layer owns the inner store from a successful _new on. The struct fault_store is
 *            part of the layer: it goes when that is closed.
 * Threads    any.
 */
#pragma once

#include "store/layers/layer.h"

enum fault_op {
    /* The operation fails, and does nothing. */
    FAULT_PUT = STORE_PUT,
    FAULT_REPLACE = STORE_REPLACE,
    FAULT_OPEN = STORE_OPEN,
    FAULT_READ = STORE_READ,
    FAULT_REMOVE = STORE_REMOVE,
    FAULT_LIST = STORE_LIST,
    FAULT_STAT = STORE_STAT,
    FAULT_CREATE = STORE_CREATE,
    FAULT_WRITE = STORE_WRITE,
    FAULT_SYNC = STORE_SYNC,
    FAULT_SEAL = STORE_SEAL,
    FAULT_SPACE = STORE_SPACE,
    FAULT_GET = STORE_GET, /* only of a store that has it; else stat, open and read */

    FAULT_READ_SHORT = STORE_OPS, /* a read succeeds with half of what there is */
    FAULT_READ_FLIP,              /* a read succeeds with a bit in the middle changed */
    FAULT_WRITE_TORN,             /* a write fails after half of it was stored */
    FAULT_SYNC_LOSE,  /* a sync or seal fails, and what was written since the last one is zeros, as
                         after a failed writeback of the kernel */
    FAULT_SYNC_LARGE, /* a sync or seal fails, of what is longer than FAULT_LARGE */
    FAULT_SYNC_DENSE, /* likewise, zeros not counted, as where they take no room */
    FAULT_OPS,        /* how many there are */
};

#define FAULT_ALWAYS (~0u) /* as times */
#define FAULT_LARGE 65536u /* bytes */

struct fault_store;

int fault_store_new(struct object_store *inner, struct object_store **ret_store,
                    struct fault_store **ret_fault);

/* Adds a rule; code is a negative errno, 0 for what does not fail. At most 32 at a time. */
void fault_arm(struct fault_store *fault, enum fault_op op, const char *name_prefix, unsigned skip,
               unsigned times, int code);

/* Removes all rules. Writers whose sync failed go on failing. */
void fault_disarm(struct fault_store *fault);

/* The store prefers sealing from now on, as one that is far away. */
void fault_prefer_sealing(struct fault_store *fault);

/* "read-flip". */
const char *fault_op_name(enum fault_op op);
