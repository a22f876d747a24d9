/* rewrap.h - the keys of some filesystems wrapped anew: by a new version of a key, another key,
 * another server, or local keys.
 *
 * For each, while nobody else touches its rings:
 *   1 its ring is opened and verified, by what wraps it now
 *   2 every generation is wrapped by the target
 *   3 the target unwraps what it has wrapped, which must be the generation's key
 *   4 the ring, with what wrapped before as previous, goes to the registry, then to the store
 * A crash leaves the one ring or the other, both of which open. Steps 1 to 3 are done for many at
 * a time, so that a server that takes batches is asked few times.
 *
 * Errors     what went wrong with a filesystem is in its row; a server that is away or refuses
 *            ends the run, and the others' rows say so.
 * Threads    the caller holds control->kms_changing.
 */
#pragma once

#include "control/filesystem.h"
#include "keys/key_provider.h"

struct unwrapped; /* control/unwrapped.h */

struct rewrap_target {
    struct key_provider *provider; /* NULL: the local key of each */
    struct rewrap_key key;         /* what it will be, with the newest version */
    const struct unwrapped *known; /* what wraps now is not asked, this has what it would say */
    bool is_other_server;          /* equal names and versions there mean nothing */
    bool is_dry;
};

/* A row in *ret for each that has a ring, in order of names. Only CONTROL_CRASHED and -ENOMEM are
 * returned. */
int rewrap_run(struct control *control, const struct rewrap_target *target,
               struct filesystem *const *filesystems, size_t count, struct rewrap_report *ret,
               struct error *err);

/* Adds the rows of one report to another. */
int rewrap_report_append(struct rewrap_report *to, const struct rewrap_report *from,
                         struct error *err);

/* "data (why), more (why)" of the rows that failed. */
void rewrap_list_failed(const struct rewrap_report *report, char *ret, size_t size);

/* An event for each row that says something. */
void rewrap_tell(struct control *control, const struct rewrap_report *report);

/* What the rows of those that did not fail say, which rewrap_tell() had an event for, for an
 * answer.
 */
int kms_report_rows(struct kms_set_report *report, const struct rewrap_report *rewrapped,
                    struct error *err);

/* Goes on with a change of the key server that was interrupted; 0 if there is none. */
int kms_set_finish_locked(struct control *control, struct error *err)
    REQUIRES(control->kms_changing);
int kms_set_finish(struct control *control, struct error *err);
