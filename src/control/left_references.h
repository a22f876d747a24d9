/* left_references.h - inside the control plane: what removed filesystems still hold in object
 * stores. Whoever removes a downloaded filesystem drops its reference in the bucket; if the object
 * store does not let him, a note in the registry ("left-reference/", docs/formats/registry.md)
 * stays when the filesystem is forgotten, and the reference goes as soon as the store is in reach:
 * nobody else may know that it holds its objects for nobody.
 *
 * Errors     negative errno and a sentence.
 * Threads    any.
 */
#pragma once

#include "control/fs_record.h"
#include "transfer/bucket.h"

struct control;

struct left_reference {
    struct uuid reference;
    char store[STORE_NAME_MAX + 1];
};

int left_references_note(struct control *control, const struct fs_origin *origin,
                         struct error *err);

/* Whether there is one in that store; in any, if that is NULL. */
bool left_references_exist(struct control *control, const char *store);

/* Drops those in the store, whose bucket this is, and their notes. */
int left_references_drop(struct control *control, const char *store, const struct bucket *bucket,
                         struct error *err);

/* The store is not known any more, so that nobody can get at them: an event names them. */
int left_references_forget(struct control *control, const char *store, struct error *err);

#define LEFT_REFERENCE_MAX 64u
int left_reference_encode(const struct left_reference *left, struct buf *ret);
int left_reference_decode(struct bytes encoded, struct left_reference *ret, struct error *err);
