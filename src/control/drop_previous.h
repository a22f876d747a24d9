/* drop_previous.h - what wrapped the keys of a filesystem before a rewrap, destroyed where this
 * instance has it.
 *
 * As a rule it goes one by one, when a start or an hour later cofferd has opened what wraps now
 * (unlock.c). If the former key of the key server is in wrong hands, it goes at once, with the
 * rings that were kept aside, and the registry's file is written anew.
 *
 * For each, while nobody else touches its rings:
 *   1 its ring is read from its places, and opened and verified by what wraps it now only
 *   2 an entry in the audit log
 *   3 the ring without what wrapped before goes to the registry, then to the store, where the file
 *     that it replaces is overwritten
 *   4 the rings that were kept aside, and a local key that nothing needs any more
 * A crash leaves a ring that opens by what wraps now; the next run does the rest.
 *
 * Threads    the caller holds control->kms_changing, or for the first the filesystem's rings.
 */
#pragma once

#include "control/filesystem.h"
#include "control/rings.h"

/* Writes the ring of opened, from which something was dropped, and removes a local key that it does
 * not name any more. is_new: it has no superblock yet. */
int drop_previous_write(struct control *control, const struct fs_record *record, bool is_new,
                        struct rings_opened *opened, struct error *err);

/* Those of the report's rows that did not fail. What goes wrong with one is in its row, and keeps
 * what wrapped it before. Only CONTROL_CRASHED and -ENOMEM are returned. */
int drop_previous_run(struct control *control, bool is_dry, struct rewrap_report *report,
                      struct error *err) REQUIRES(control->kms_changing);
