/* sharing.h - how instances that use one bucket do not hurt each other: references say what
 * somebody needs, marks that somebody removes (docs/formats/snap-to-object.md, "Sharing a bucket").
 *
 *     who needs objects                        who removes some
 *     1 writes into his reference what         1 sets his mark
 *       he needs                               2 lists what there is, then all references
 *     2 waits while there is any mark          3 deletes what no reference names; in front of
 *     3 looks whether all is there, puts         each deletion looks whether his mark is there
 *       what is not, and begins again at 2     4 removes his mark
 *
 * Either the mark was set before 2 on the left: then what it removes is gone when 3 looks. Or after
 * it: then the references that are listed hold what is needed. The store must list what was just
 * put; a removal looks whether it does, and refuses otherwise.
 *
 * An uploaded snapshot exists as long as its head does. The head is put last, when 3 found all; and
 * removed first, and again behind its reference: for an upload that ended unheard, was removed and
 * goes on at the same time. It looks at its reference behind the head, so either of them sees the
 * other. Marks and references of the dead stay until somebody who knows says so.
 *
 * What is left to chance: a remover that is stopped between the look at his mark and the deletion,
 * for as long as somebody needs to expire the mark and to finish an upload. S3 has no way to bind
 * one to the other. So only a mark of somebody who is known to be dead is to be expired.
 *
 * Errors     -EBUSY: the bucket is in a state in which this is not done, the sentence says why;
 *            -ECANCELED: the mark was expired by somebody; -EBADMSG, -EPROTONOSUPPORT: a reference
 *            that cannot be read; what the store says, and the wait function.
 * Ownership  the bucket stays the caller's, and valid.
 * Threads    one at a time for each struct; any number of them, also on other hosts.
 */
#pragma once

#include "crypto/hash.h"
#include "transfer/reference.h"

/* Called while a mark of somebody else is seen, which is told: sleeps a while and returns 0, or
 * ends the waiting with a negative code. */
typedef int share_wait_fn(const struct removing_mark *mark, void *arg);

struct share_wait {
    share_wait_fn *wait;
    void *arg;
};

/* --- needing --- */

struct reference {
    const struct bucket *bucket;
    struct reference_head head;
    uint32_t next_part;
    struct name_set parts; /* that it consists of; sorted */
    struct name_set names; /* in them; sorted */
};

/* One that was begun earlier goes on: its parts are read. */
int reference_open(struct reference *reference, const struct bucket *bucket,
                   const struct reference_head *head, struct error *err);
void reference_close(struct reference *reference); /* keeps it in the bucket */
/* Those that are not in it yet. The set gets sorted. */
int reference_add(struct reference *reference, struct name_set *names, struct error *err);

/* Waits while there is a mark, then looks, also at its own parts: ret_missing gets what is in the
 * reference and not in the bucket, or there with another length than needed says. If it stays
 * empty, all is there and stays there as long as the reference. needed may be more or less than the
 * reference holds, but counts for lengths only; NULL is allowed. */
int reference_settle(struct reference *reference, const struct name_set *needed,
                     const struct share_wait *wait, struct name_set *ret_missing,
                     struct error *err);

/* The head, when nothing is missing. -ECANCELED: the reference is gone, as the same snapshot was
 * removed meanwhile, or its reference expired; then there is no head either. */
int reference_publish(struct reference *reference, const uint8_t manifest[static HASH_LEN],
                      struct bytes head, struct error *err);

/* Another head in the place of the one that is there: with its ring wrapped anew. -ENOENT: the
 * snapshot was removed meanwhile, and there is no head. */
int reference_exchange_head(const struct bucket *bucket, const struct uuid *reference,
                            const uint8_t manifest[static HASH_LEN], struct bytes head,
                            struct error *err);

/* Gives up all that it holds: of an upload without a head, a filesystem that was removed. */
int reference_drop(const struct bucket *bucket, const struct uuid *reference, struct error *err);

/* --- removing --- */

struct removal {
    const struct bucket *bucket;
    struct removing_mark mark;
};

struct removal_counts {
    uint64_t objects; /* deleted */
    uint64_t bytes;
    uint64_t kept; /* objects that somebody needs */
};

/* Sets the mark, or takes the one that was left by the same removal before a crash. -EBUSY: the
 * store does not list it. */
int removal_begin(struct removal *removal, const struct bucket *bucket,
                  const struct removing_mark *mark, struct error *err);
/* Its head, then its reference. One that is gone already, or in part, is no error. */
int removal_snapshot(struct removal *removal, const uint8_t manifest[static HASH_LEN],
                     struct error *err);
/* Called before each deletion, and at last, with how many objects of how many were looked at. A
 * negative errno ends the sweep. */
typedef int removal_watch_fn(uint64_t looked_at, uint64_t total, void *arg);
/* Deletes what no reference names. -EBUSY: a snapshot has no reference; nothing was deleted.
 * watch may be NULL. */
int removal_sweep(struct removal *removal, removal_watch_fn *watch, void *arg,
                  struct removal_counts *ret, struct error *err);
int removal_end(struct removal *removal, struct error *err);

/* --- looking --- */

/* Each mark; each part of a reference, with its names. Returns 0 to go on. */
typedef int mark_visit_fn(const struct removing_mark *mark, void *arg);
typedef int reference_visit_fn(const struct reference_head *head, const struct name_set *names,
                               void *arg);

int bucket_marks(const struct bucket *bucket, mark_visit_fn *visit, void *arg, struct error *err);
int bucket_references(const struct bucket *bucket, reference_visit_fn *visit, void *arg,
                      struct error *err);

/* Of somebody who will not go on. */
int mark_expire(const struct bucket *bucket, const struct uuid *mark, struct error *err);
