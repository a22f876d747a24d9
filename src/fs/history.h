/* history.h - older versions of records, for snapshots: saving them, finding what a snapshot sees,
 * and which blocks they hold. docs/formats/metadata.md, "Epochs and history".
 *
 * A version of a record is what was current from the epoch w in which it was written to the epoch
 * e in which it was current last. Those of one key follow one another in time, and a block that is
 * dropped from a key does not come back to it: a block that two versions name is named by all that
 * are stored in between. So what else names a block is decided by looking at neighbours, and each
 * block counts once as in use, as long as any version names it. Only a restore brings blocks back,
 * and with it time becomes a tree: history_branch.c.
 *
 * Errors     of the engine, with a sentence in txn->err.
 * Threads    as the transaction.
 */
#pragma once

#include "fs/chunk_scan.h"

struct version {
    struct bytes value;
    uint64_t written; /* w */
    uint64_t last;    /* e */
};

/* 0, or -EBADMSG. */
int version_decode(struct bytes value, uint64_t last, struct version *ret);

/* Whether records of this kind have a history. */
bool history_has_kind(uint8_t kind);

/* Blocks that a change of the EXTENTS record of key drops, before the record is changed: what is
 * named by an older version goes on being counted, the rest is added to txn->freed. The list is
 * changed. */
int history_drop_blocks(struct volume_txn *txn, const struct record_key *key,
                        struct run_list *dropped);

/* The blocks of a version of an EXTENTS record that neither its neighbours name. What lies before
 * is not looked at if only_behind. */
int history_own_blocks(struct volume_txn *txn, const struct record_key *key,
                       const struct version *version, bool only_behind, struct run_list *ret);

/* Before a current record is removed that cannot be opened, and so cannot be saved: who looks for
 * what a snapshot saw finds a version that cannot be understood, and not that there was nothing. */
int history_save_lost(struct volume_txn *txn, const struct record_key *key);

/* Removes a saved version and, if it is one of an EXTENTS record, gives its blocks up. */
int history_remove(struct volume_txn *txn, const struct record_key *key, uint64_t last);

/* history_unseen.c: removes the saved versions of key, an EXTENTS record, that no kept snapshot
 * sees, so many at most, the oldest first. For those any two of which may share blocks (is_mixed).
 * What was altered is -EBADMSG or -EPROTONOSUPPORT, and nothing was changed. */
#define HISTORY_UNSEEN_MAX 256u
int history_remove_unseen(struct volume_txn *txn, const struct record_key *key, size_t *ret_count);

/* The first version of key, saved or current (then last is UINT64_MAX), that was written in epoch
 * or later; -ENOENT. */
int history_next_written(struct volume_txn *txn, const struct record_key *key, uint64_t epoch,
                         struct version *ret);

/* history_branch.c: takes from a list the blocks that versions of key on other branches name, and
 * the first and last ones of its own; only those behind self, if only_behind. self: the epoch in
 * which the version was written whose blocks they are. */
int history_subtract_branches(struct volume_txn *txn, const struct record_key *key, uint64_t self,
                              bool only_behind, struct run_list *from);
/* Those that any other version of key names. */
int history_subtract_all(struct volume_txn *txn, const struct record_key *key, uint64_t self,
                         bool only_behind, struct run_list *from);
/* Whether blocks that a version written in that epoch has, and the one before it has not, can be in
 * those behind it only. */
int history_is_on_line(struct volume_txn *txn, uint64_t written, bool *ret);
/* Whether any version may share blocks with any other of its key. */
int history_is_mixed(struct volume_txn *txn, bool *ret);
int history_subtract_version(struct volume_txn *txn, const struct version *version,
                             struct run_list *from);
/* Those that the value of a version names. */
int history_version_blocks(struct volume_txn *txn, struct bytes value, struct run_list *ret);

/* The saved version of key whose last epoch is the least not below first; -ENOENT. */
int history_find(struct volume_txn *txn, const struct record_key *key, uint64_t first,
                 struct version *ret);

/* history_insert.c: from now on snapshot epoch, which arrives, sees value under key (NULL:
 * nothing), and all others what they saw before. Blocks that nothing named before go to
 * txn->made_live. */
int history_insert(struct volume_txn *txn, const struct record_key *key, uint64_t epoch,
                   const struct bytes *value);
/* The blocks of an EXTENTS record that no version names, current or saved. */
int history_missing_blocks(struct volume_txn *txn, const struct record_key *key, struct bytes value,
                           struct run_list *ret);

/* For history_insert.c: a saved version, or the note that key was created, with its index. */
int history_put_version(struct volume_txn *txn, const struct record_key *key,
                        const struct spliced *value, uint64_t written, uint64_t last);
int history_put_created(struct volume_txn *txn, const struct record_key *key, uint64_t epoch);
int history_forget_version(struct volume_txn *txn, const struct record_key *key, uint64_t last);

/* history_index.c: which records changed when, some entries at a time. */
#define INDEX_BATCH 64u

struct index_entry {
    struct record_key key; /* the live record's */
    uint64_t epoch;
    enum history_what what;
};

struct index_batch {
    size_t count;
    struct index_entry entries[INDEX_BATCH];
    struct record_key next; /* where to look on */
    bool has_more;
    struct error *err; /* the reader's */
};

/* In front of all entries of an epoch. */
void history_index_start(uint64_t epoch, struct record_key *ret);
/* From there up to, without, end. */
int history_index_read(struct volume_txn *txn, const struct record_key *from, uint64_t end,
                       struct index_batch *ret);

/* Every saved version of an EXTENTS record, with the blocks that no later version names: with
 * those of the current records, each block once. */
int history_scan_blocks(struct volume_txn *txn, blocks_visit_fn *visit, void *arg);
