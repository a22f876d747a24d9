/* key_copy.h - inside the control plane: a recovery copy of a filesystem's keys, in the place of
 * the key server.
 *
 * Errors     -EINVAL: it is that of another filesystem; -ENOKEY: it lacks a generation; -EBADMSG:
 *            the ring does not verify with it.
 */
#pragma once

#include "control/filesystem.h"
#include "keyring/key_export.h"

struct unwrapped; /* control/unwrapped.h */

/* What the blobs of the filesystem's rings unwrap to, by the copy. key_copy_forget() in any case.
 */
int key_copy_know(struct control *control, const struct fs_record *record,
                  const struct key_export *copy, struct unwrapped *ret, struct error *err);
void key_copy_forget(struct unwrapped *known);

/* Has the keys wrapped anew. Nobody holds the rings. */
int key_copy_import(struct control *control, struct filesystem *fs, const struct key_export *copy,
                    bool allow_no_kms, struct error *err) REQUIRES(control->kms_changing);
