/* place_mark.h - by what the folder of an object store is known again: an object in it,
 * "coffer-place", with a UUID. A folder is often where another disk is mounted. Without the disk it
 * is an empty folder of another one, which must be taken neither for the store, nor for one from
 * which everything was removed.
 *
 * The object is one line of text, byte for byte in docs/formats/snap-to-object.md.
 *
 * Errors     -ENXIO: the folder is not the store; the sentence says what to do. -EBADMSG: what
 *            stands there is no mark. Else what the store says.
 * Threads    any; of several that make a mark at a time all get the same.
 */
#pragma once

#include "base/uuid.h"
#include "store/object_store.h"

#define PLACE_MARK_NAME "coffer-place"

/* The store must have this mark. folder: for the sentence. */
int place_mark_expect(struct object_store *store, const struct uuid *mark, const char *folder,
                      struct error *err);

/* The mark that it has. -ENOENT: none. */
int place_mark_read(struct object_store *store, struct uuid *ret, struct error *err);

/* The same, or a new one, if it has none. */
int place_mark_take(struct object_store *store, struct uuid *ret, struct error *err);
