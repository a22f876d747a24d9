/* shred.h - the wrapped keys of a filesystem that is being removed: which keys of key servers they
 * need, and their destruction in every place where this instance keeps them.
 *
 * What a key server holds stays: it may wrap keys of other filesystems and of other instances. So
 * does what was copied away before: a backup of the store or of the registry.
 *
 * Threads    the caller holds the filesystem's rings.
 */
#pragma once

#include "control/filesystem.h"

/* Which keys of key servers wrap its keys, by the rings in registry and store and by those that
 * were kept aside. One that cannot be read is passed over: it opens nothing either. They are noted
 * in the registry, and what was noted before belongs to them: whoever goes on after a crash has no
 * rings any more. */
int shred_list_keys(struct filesystem *filesystem, struct shred_report *ret, struct error *err);

/* "vault key a, version 1; ..." */
void shred_describe(const struct shred_report *report, char *ret, size_t size);

/* The rings in the registry, ring and superblock in the store, the local key. Each may be gone
 * already. */
int shred_destroy(struct filesystem *filesystem, struct error *err);
