/* registry.h - cofferd's own memory: the filesystems and their key rings, kept through the
 * contract of metadata engines. Each change is one transaction and durable when it returns 0.
 *
 * Keys of the map (docs/formats/registry.md):
 *   "instance"                     the 16 bytes that name this instance: the owner of what it opens
 *   "fs/" uuid                     struct fs_record
 *   "ring/" uuid                   the believed ring
 *   "kept/" uuid time place        a ring that lost, kept aside until somebody says otherwise
 *   "shred/" uuid                  which keys wrapped those that are being shredded
 *   kind number                    entries that are numbered: "audit/", "event/"
 *   "store/" name                  struct store_record
 *   "removal/" name                struct removal_record, of the object store of that name
 *   "policy/" name                 struct policy
 *   "policy-of/" uuid "/" name     struct policy_attachment; the UUID as text
 *   "user/" name                   struct user_record
 *   "task/" id                     struct task_record
 *   a name                         values of their own: "audit-head", "audit-base", "audit-keys",
 *                                  "unneeded-keys", and what begins with "alert-mute/",
 *                                  "locator/", "snapshot-mount/"
 *
 * Nothing in it opens anything: rings hold wrapped keys, users hashes of passwords.
 *
 * Errors     negative errno and a sentence. -ENOENT: no such entry.
 * Ownership  a buf returned into is the caller's to release.
 * Threads    any.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "control/fs_record.h"
#include "keyring/key_ring.h"

struct registry;

/* Opens the one at url, or makes it. A new one draws its instance's name. */
int registry_open(const char *url, struct registry **ret, struct error *err);
void registry_close(struct registry *registry); /* NULL is allowed */

static inline void registry_closep(struct registry **registry)
{
    registry_close(*registry);
}

void registry_instance(const struct registry *registry, struct uuid *ret);

/* Visits each filesystem's record; one that cannot be read is reported and passed over. */
typedef int registry_visit_fn(const struct fs_record *record, void *arg);
int registry_each(struct registry *registry, registry_visit_fn *visit, void *arg,
                  struct error *err);

/* Writes the record and, unless ring is empty, the ring, in one step. The record alone also finds
 * room on a full disk, as do removals: what is there can be started, stopped and removed. */
int registry_put(struct registry *registry, const struct fs_record *record, struct bytes ring,
                 struct error *err);

/* The rings alone, of filesystems that are there, in one step. */
struct registry_ring {
    const struct uuid *uuid;
    struct bytes ring;
};

int registry_put_rings(struct registry *registry, const struct registry_ring *rings, size_t count,
                       struct error *err);
int registry_put_ring(struct registry *registry, const struct uuid *uuid, struct bytes ring,
                      struct error *err);

int registry_get_ring(struct registry *registry, const struct uuid *uuid, struct buf *ret,
                      struct error *err);
/* What stands in it, unverified; ret is KEY_RING_INIT. */
int registry_peek_ring(struct registry *registry, const struct uuid *uuid, struct key_ring *ret,
                       struct error *err);

/* Keeps a ring that lost. place says where it was found: 'r' the registry, 's' the store. */
int registry_keep_ring(struct registry *registry, const struct uuid *uuid, char place,
                       struct bytes ring, struct error *err);

/* Removes its ring, and what was kept aside, but not its record. Each kept one is visited before
 * by registry_each_kept(). */
int registry_remove_rings(struct registry *registry, const struct uuid *uuid, struct error *err);

/* Removes what was kept aside only. */
int registry_remove_kept(struct registry *registry, const struct uuid *uuid, struct error *err);

typedef int registry_value_fn(struct bytes value, void *arg);
int registry_each_kept(struct registry *registry, const struct uuid *uuid, registry_value_fn *visit,
                       void *arg, struct error *err);

/* What is to be told of one that is being shredded, when its rings are gone. -ENOENT: nothing. */
int registry_put_shred(struct registry *registry, const struct uuid *uuid, struct bytes keys,
                       struct error *err);
int registry_get_shred(struct registry *registry, const struct uuid *uuid, struct buf *ret,
                       struct error *err);

/* Has the registry's file written anew, so that nothing of what was removed is left in it. After a
 * failure the sentence says what may be. */
int registry_scrub(struct registry *registry, struct error *err);

/* Forgets the filesystem, its ring, what was kept aside, and what is to be told. */
int registry_remove(struct registry *registry, const struct uuid *uuid, struct error *err);

/* Numbered entries of one kind, such as "audit/", to be added in one step. */
struct registry_entries {
    const char *kind;
    uint64_t first; /* number of the first value; the others follow */
    const struct bytes *values;
    size_t count;
    uint64_t forget_below; /* those with smaller numbers go; 0: none */
    const char *head;      /* the name of a value that is written along, or NULL */
    struct bytes head_value;
    const char *base; /* likewise */
    struct bytes base_value;
    bool may_use_reserve; /* when the disk is full */
};

/* They are visible then, and durable within about a second, or when registry_sync() returns 0. */
int registry_append(struct registry *registry, const struct registry_entries *entries,
                    struct error *err);
int registry_sync(struct registry *registry, struct error *err);

/* Visits first <= number < end, in order. A visitor that does not return 0 ends it, and what it
 * returned is returned. One whose key is not of the form is visited with number 0. */
typedef int registry_entry_fn(uint64_t number, struct bytes value, void *arg);
int registry_each_entry(struct registry *registry, const char *kind, uint64_t first, uint64_t end,
                        registry_entry_fn *visit, void *arg, struct error *err);

/* Visits the values of their own whose names begin with prefix, by name. */
int registry_each_value(struct registry *registry, const char *prefix, registry_value_fn *visit,
                        void *arg, struct error *err);

/* A value of its own. -ENOENT: there is none. An empty value removes it. */
int registry_get_value(struct registry *registry, const char *name, struct buf *ret,
                       struct error *err);
int registry_put_value(struct registry *registry, const char *name, struct bytes value,
                       struct error *err);
