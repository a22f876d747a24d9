/* own_key.h - inside the control plane: filesystems that have a key of their own in the key server,
 * and perhaps a login of their own to it. How a change of that goes is in own_key.c.
 *
 * Threads    where control->kms_changing is required that is said; else any.
 */
#pragma once

#include "control/filesystem.h"

struct rewrap_report;

/* What is asked for, put into *own, which is as it is now. */
int own_key_change(const struct fs_key_change *change, struct fs_kms_key *own, struct error *err);

/* The configured key server, with the key that is to wrap those of this filesystem, and its login.
 */
int own_key_provider(struct control *control, const struct fs_record *record,
                     struct key_provider **ret, struct error *err);

/* Forgets the logins that no filesystem names. What is done is done: a failure is an event, and the
 * next call tries again. */
void own_key_tidy(struct control *control);

/* Of a change that was interrupted: which of the two the ring is wrapped by. */
int own_key_settle(struct filesystem *fs, struct error *err);

/* The configured key wraps it from now on. */
int own_key_forget(struct filesystem *fs, struct error *err);
bool own_key_has(struct filesystem *fs);

/* One that has a key of its own, by the newest version of that. */
int own_key_rewrap(struct control *control, struct filesystem *fs, bool is_dry,
                   struct rewrap_report *ret, struct error *err) REQUIRES(control->kms_changing);

/* own_watch.c: reads the own keys with the logins that are due, which keeps those, and remembers
 * how it ended. *ret_next_ms is when there is something to do again. */
void own_key_watch(struct control *control, int64_t *ret_next_ms);
