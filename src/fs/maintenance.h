/* maintenance.h - that compaction, recounts, checks and what brings blocks in happen one at a time.
 *
 * A check may take hours: the keeper, for whom others wait, never waits for one. All else is short
 * enough to be waited for.
 *
 * Threads    any. No other lock of the volume is held by who waits, and its own is asked for under
 *            none.
 */
#pragma once

#include <stdbool.h>

#include "base/thread.h"

struct maintenance {
    struct mutex lock;   /* guards all below */
    pthread_cond_t over; /* nobody has it */
    bool is_taken;
    bool is_check; /* by a check */
};

void maintenance_init(struct maintenance *maintenance);

/* Waits for whoever has it. */
void maintenance_begin(struct maintenance *maintenance);
void maintenance_begin_check(struct maintenance *maintenance);
/* False: a check has it. */
bool maintenance_try(struct maintenance *maintenance);
void maintenance_end(struct maintenance *maintenance);

bool maintenance_is_check(struct maintenance *maintenance);
