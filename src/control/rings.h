/* rings.h - the key rings of filesystems in their two places, registry and store, and the
 * superblock in its two, store and metadata: read, verified, repaired, written.
 *
 * Nothing that is read from a store is believed before key_ring_choose() has: whoever can write
 * there may have put anything. The registry's check values are what a forgery cannot meet.
 *
 * Errors     negative errno and a sentence; *ret_is_kms tells whether the key server was in
 *            the way. -ENXIO: the store holds nothing of the filesystem, as a folder does whose
 * disk is not mounted, and nothing was written there. Ownership  outputs are the caller's to
 * release. Threads    one at a time for one filesystem.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "control/filesystem.h"
#include "control/unwrapped.h"
#include "keyring/key_ring.h"
#include "keys/key_provider.h"

/* How to unwrap. */
struct rings_options {
    struct key_provider *server; /* instead of the configured key server, or NULL */
    /* Whose ring it is, for what its own login has to ask for (NULL: the instance's asks for all;
     * rings_open() and rings_open_new() see to it themselves). */
    const struct fs_record *owner;
    const struct unwrapped *unwrapped; /* what need not be unwrapped any more, or NULL ... */
    bool asks_nobody;                  /* ... and nothing else is: -ENOKEY */
    bool may_repair;                   /* what is found to be damaged */
    bool may_be_bare;                  /* a store with nothing in it is left so, and no failure */
    /* A foreign generation that is refused costs no more than what it seals. One that cannot be
     * asked for at present still fails all, unless the owner did without the last time. Not to
     * start what is not all here yet, which needs them. */
    bool may_lack_foreign;
    /* The key server is about to be left: one that answers, but is too busy for a foreign key, is
     * waited for although the owner did without that key. */
    bool waits_for_busy;
};

struct rings_outcome {
    bool used_previous; /* what is current does not open, what was wrapped before does */
    uint64_t unopened; /* bit i: generation i of the ring, a foreign one, if these may be lacking */
    bool opens_own;    /* the filesystem's own opened, whatever became of the foreign ones */
    struct error why;  /* of the first of them */
};

static inline bool rings_lacks(const struct rings_outcome *outcome, uint32_t index)
{
    return outcome->unopened >> index & 1;
}

/* Says how many foreign keys stayed as they were, and why. False: none; ret is "" then. */
bool rings_tell_unopened(const struct rings_outcome *outcome, char *ret, size_t size);

/* What was believed. */
struct rings_opened {
    struct key_ring ring;
    struct buf encoded; /* the ring, as it stands in its place */
    struct key_set keys;
    struct superblock superblock;
    struct rings_outcome outcome;
};

#define RINGS_OPENED_INIT ((struct rings_opened){ .ring = KEY_RING_INIT })

void rings_opened_release(struct rings_opened *opened);

/* Unwraps every generation, in one batch for each ring that differs, and finds the one to
 * believe, with the superblock. *record's checks are what is known for certain; new ones are
 * added to it. *ret_is_kms is set if the key server was in the way. */
int rings_open(struct control *control, struct fs_record *record,
               const struct rings_options *options, struct rings_opened *ret, bool *ret_is_kms,
               struct error *err);

/* A ring that an uploaded snapshot brought, with the keys of its own generations, takes the place
 * of those in registry and store, if it verifies with a superblock of the filesystem; what stood
 * there is kept aside. A crash in between leaves it in the registry, from where the store's is
 * repaired. from: to the audit log. */
int rings_restore(struct control *control, struct fs_record *record, struct bytes ring,
                  const struct key_set *keys, const char *from, struct error *err);

/* Our own ring of a filesystem that has no superblock yet: only the registry's is looked at, and
 * all of it must open. */
int rings_open_new(struct control *control, const struct fs_record *record,
                   struct rings_opened *ret, bool *ret_is_kms, struct error *err);

/* Of a record that is not stored yet: adds what the ring's own generations say. */
void rings_learn(const struct key_ring *ring, struct fs_record *record);

/* The key blobs of all generations, foreign ones too, but for those that *ret says are unopened:
 * ret_plains has room for ring->count, and is released by the caller also on failure. */
int rings_unwrap_all(struct control *control, const struct key_ring *ring,
                     const struct rings_options *options, struct secret *ret_plains,
                     struct rings_outcome *ret, struct error *err);

/* Makes bytes of a changed ring and writes them to the registry, then to the store, and reads both
 * back. A crash in between leaves two rings that open, of which the later one is believed. Of one
 * that has no superblock yet, is_new, only the registry's is written. */
int rings_write(struct control *control, const struct fs_record *record, bool is_new,
                struct rings_opened *opened, struct error *err);

/* Its two halves, for who wrote opened->encoded, of key_ring_encode(), into the registry together
 * with others: reads that back; and writes it to the store, which needs no lock, so that it is done
 * for several filesystems at a time. */
int rings_check_registry(struct control *control, const struct fs_record *record,
                         const struct rings_opened *opened, struct error *err);
int rings_write_store(struct control *control, const struct fs_record *record,
                      const struct rings_opened *opened, struct error *err);

/* What wrapped the generations before is no longer needed, but for those that did not open. */
void rings_drop_previous(struct rings_opened *opened);

/* How the newest generation is wrapped at present. NULL: it has none. */
const struct wrapped_key *rings_newest(const struct key_ring *ring);
