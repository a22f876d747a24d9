/* maintenance.h - that compaction, recounts and what brings blocks in happen one at a time, and
 * beside a check all of these but a recount.
 *
 * A check may take hours, so nobody waits for one: it minds itself what is moved meanwhile
 * (segments_check_begin()). All else is short enough to be waited for.
 *
 * Threads    any. No other lock of the volume is held by who waits, and its own is asked for under
 *            none.
 */
#pragma once

#include <stdbool.h>

#include "base/thread.h"

struct maintenance {
    struct mutex lock;   /* guards all below */
    pthread_cond_t over; /* something of this is */
    bool is_taken;
    bool is_recount; /* by a recount */
    bool is_check;   /* besides */
};

void maintenance_init(struct maintenance *maintenance);

/* Waits for whoever has it. */
void maintenance_begin(struct maintenance *maintenance);
/* The same for a recount. False: a check is at work. */
bool maintenance_begin_recount(struct maintenance *maintenance);
void maintenance_end(struct maintenance *maintenance); /* of either */

/* Waits for another check, and for a recount. */
void maintenance_begin_check(struct maintenance *maintenance);
void maintenance_end_check(struct maintenance *maintenance);
