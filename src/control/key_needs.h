/* key_needs.h - which keys of key servers are needed, as far as this instance knows: by its own
 * rings, by what its audit log tells, by the uploaded snapshots in the object stores that are
 * configured.
 *
 * Other instances may share a key or hold buckets that this one does not know, so nothing in here
 * says that a key may be destroyed.
 *
 * Errors     negative errno and a sentence.
 * Ownership  lists are the caller's to release.
 * Threads    any.
 */
#pragma once

#include "control/key_list.h"

/* In the registry: those of the part of the audit log that was archived. */
#define KEY_NEEDS_NOTED "audit-keys"

/* Every key that wraps or ever wrapped a key of this instance: a snapshot may have been uploaded
 * then, or a backup made. */
int key_needs_known(struct control *control, struct key_list *ret, struct error *err);

/* Reads the heads of all object stores, and remembers which of the known keys no ring and no
 * uploaded snapshot needs. If one cannot be read, nothing is known of that any more, and the
 * sentence says why.
 */
int key_needs_scan(struct control *control, struct error *err);

/* Those, as far as no ring needs them since; and when they were looked for. -ENOENT: that was never
 * done, or is not known. */
int key_needs_unneeded(struct control *control, struct key_list *ret, int64_t *ret_as_of_ns,
                       struct error *err);
