/* foreign_keys.h - inside the control plane: keys of other filesystems in a filesystem's ring,
 * under which data is sealed that came from those: with its download, or with a snapshot that is
 * brought into it later (snapshot_download.h).
 *
 * A snapshot of a filesystem that was downloaded needs that one's key, which its origin does not
 * have. It stands, wrapped, in the head, and joins the ring before anything is stored that needs
 * it:
 *
 *   1 the key server unwraps the keys of the head, which then is verified; nothing is changed
 *   2 the filesystem's own ring is opened and verified; both must be of one origin, and no key be
 *     another one in the one ring than in the other, or than the registry knows it to be
 *   3 each key that is needed and missing, or does not open (missing_keys.h), is wrapped as the
 *     filesystem's are, and that is proved
 *   4 it is noted in the audit log, and the ring written to the registry, then to the store
 *   5 the worker is told
 *
 * A crash leaves the ring as it was, or with keys that nothing needs yet; a worker that was not
 * told says so when it needs one (foreign_keys_tell()). Only who asks for it takes those that
 * nothing needs out of the ring again (foreign_keys_drop.c). While a change of the key server is
 * half done none joins: the others are wrapped by both servers then.
 *
 * Errors     negative errno and a sentence. -EXDEV: the snapshot is of another origin; -EBADMSG:
 *            the rings contradict each other, or one is forged; -ENOSPC: no more keys fit. Those of
 *            kms_unwrap() and of a provider. -EBUSY: a change of the key server is half done.
 * Threads    any.
 */
#pragma once

#include "control/rings.h"
#include "control/upload_keys.h"

/* The key of this generation of a head that was opened, wrapped anew and proved, into a ring and
 * its set; both in memory. */
int foreign_key_inherit(const struct upload_opened *from, uint32_t index,
                        struct key_provider *provider, struct rings_opened *to, struct error *err);

/* What the snapshot needs and a started filesystem's ring lacks. head was read, and may be opened
 * by this; if nothing is missing, no key server is asked. */
int foreign_keys_take(struct filesystem *fs, struct upload_opened *head, struct error *err);

/* To the worker, what was opened of a ring that is written. One that cannot be told asks for it. */
void foreign_keys_pass_on(struct filesystem *fs, const struct rings_opened *rings);

/* All that are in its ring, unwrapped once more, to the worker. */
int foreign_keys_tell(struct filesystem *fs, struct error *err);
