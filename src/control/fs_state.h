/* fs_state.h - where a filesystem stands between stopped and mounted, and the moves that are
 * allowed. Everything that changes a state asks this table.
 */
#pragma once

#include <stdbool.h>

enum fs_state {
    FS_STOPPED,         /* no worker, and none is wanted */
    FS_STARTING,        /* its keys are being unwrapped and its worker set up */
    FS_WAITING_FOR_KMS, /* wanted; its keys cannot be unwrapped at present */
    FS_STARTED,         /* its worker is up, not mounted */
    FS_MOUNTED,         /* its worker serves a mount */
    FS_FAILED,          /* wanted; something other than the KMS is in the way */
    FS_REMOVING,        /* its data is being deleted */
    FS_STATE_COUNT,
};

/* As the API spells it. */
const char *fs_state_name(enum fs_state state);

/* Whether a filesystem may go from one to the other. Staying is always allowed. */
bool fs_state_allows(enum fs_state from, enum fs_state to);

/* Whether a worker may be there: its data must not be touched by anyone else. */
bool fs_state_has_worker(enum fs_state state);
