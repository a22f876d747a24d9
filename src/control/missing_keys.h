/* missing_keys.h - inside the control plane: keys of other filesystems in a filesystem's ring that
 * its key server refuses. The filesystem goes on without them; what they seal cannot be read.
 *
 * What is known of them is in struct filesystem: how many there are and why, for people; and, in
 * the record, that there are any, so that a cofferd that finds the worker running knows it. A
 * started filesystem is looked after by the monitor: once a minute the server is asked for just
 * these keys, and when it opens one the worker is told, with which the alert ends.
 *
 * Threads    any.
 */
#pragma once

#include "control/rings.h"

/* What the key server said when the ring was opened for a worker that is about to start ... */
void missing_keys_note(struct filesystem *fs, const struct rings_opened *opened);
/* ... and for one that runs: nothing is taken back before that knows all keys. */
void missing_keys_note_running(struct filesystem *fs, const struct rings_opened *opened);
void missing_keys_told(struct filesystem *fs);

/* A recovery copy was imported that does not have all of them. text: "" if it has. */
void missing_keys_expect(struct filesystem *fs, const char *text);

/* Asks again, if it is time. *ret_next_ms: when it will be. */
void missing_keys_watch(struct control *control, int64_t *ret_next_ms);
/* It is time now: the key server's configuration changed. */
void missing_keys_hurry(struct filesystem *fs);
