/* Which versions share blocks when there were restores. A restore in front of epoch c to what
 * snapshot s sees makes the versions of a key a tree: what is written from c on descends from what
 * s saw, and not from what was written between s and c.
 *
 *      1 ... s ──── c ...            branches: up to s; s + 1 to c - 1; from c on
 *            └─ s + 1 ... c - 1
 *
 * A block comes into a key once, and what descends from a version that does not name it does not
 * name it either. So the versions that name it hang together in the tree; and on the way from one
 * to another, of which only some are stored, the next one that is stored is a neighbour on the same
 * branch, or the first or the last one of another branch.
 *
 * A snapshot that was brought in from outside is a branch of one epoch, and where in the tree its
 * versions belong is not known: they may share blocks with any other version of their key, and are
 * compared with all. Once one was restored that is so of all versions (is_mixed), as long as there
 * is one from before the restore.
 *
 * Behind all of that time is a line again: with a kept snapshot k behind the newest restore and
 * what came last from outside, what a version written behind k has and the one that k saw has not
 * was appended behind k. So no other branch knows it, nor what came from outside, which was put
 * into a bucket before. */
#include "fs/history.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/restore.h"

static int compare_epochs(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;

    return (*a > *b) - (*a < *b);
}

static int add_branches(uint64_t epoch, const struct restore_record *restore, void *arg)
{
    struct volume_txn *txn = arg;

    if (txn->branch_count + 2 > HISTORY_BRANCHES_MAX || txn->outside_count == RESTORES_MAX)
        return error_set(&txn->err, -EBADMSG, "there are more records of restores than can be");
    if (restore->state == RESTORE_OUTSIDE)
        txn->outside[txn->outside_count++] = epoch;
    txn->is_mixed = txn->is_mixed || restore->is_mixed;
    txn->branches[txn->branch_count++] = restore->target + 1;
    txn->branches[txn->branch_count++] = epoch + 1;
    txn->newest_branch = epoch; /* they are ascending */
    return 0;
}

/* As the transaction sees them: they fit to the versions that it sees. */
static int load_branches(struct volume_txn *txn)
{
    if (txn->branch_count > 0)
        return 0;
    txn->branches[txn->branch_count++] = 0;
    txn->outside_count = 0;
    txn->newest_branch = 0;
    txn->is_mixed = false;
    int r = restores_scan(txn->meta, add_branches, txn, &txn->err);
    if (r < 0) {
        txn->branch_count = 0;
        return r;
    }
    qsort(txn->branches, txn->branch_count, sizeof(txn->branches[0]), compare_epochs);
    return 0;
}

/* Behind the branch of an epoch. */
static uint64_t branch_end(const struct volume_txn *txn, uint64_t epoch)
{
    for (unsigned i = 0; i < txn->branch_count; i++)
        if (txn->branches[i] > epoch)
            return txn->branches[i];
    return UINT64_MAX;
}

/* The last version that was written before end; first was, and no earlier than it. */
static int last_before(struct volume_txn *txn, const struct record_key *key,
                       const struct version *first, uint64_t end, struct version *ret)
{
    uint64_t behind_all = atomic_load(&txn->volume->epoch) + 1;
    uint64_t low = first->written + 1;
    uint64_t high = end < behind_all ? end : behind_all;
    struct version found;

    *ret = *first;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int r = history_next_written(txn, key, middle, &found);
        if (r < 0 && r != -ENOENT)
            return r;
        if (r == 0 && found.written < high) {
            *ret = found;
            low = found.written + 1;
        } else {
            high = middle;
        }
    }
    return 0;
}

static int subtract_other(struct volume_txn *txn, const struct version *version, uint64_t self,
                          struct run_list *from)
{
    return version->written == self ? 0 : history_subtract_version(txn, version, from);
}

static bool may_share_with_any(const struct volume_txn *txn, uint64_t self)
{
    for (unsigned i = 0; i < txn->outside_count; i++)
        if (txn->outside[i] == self)
            return true;
    return txn->is_mixed;
}

int history_is_mixed(struct volume_txn *txn, bool *ret)
{
    int r = atomic_load(&txn->volume->has_branches) ? load_branches(txn) : 0;

    *ret = txn->is_mixed;
    return r;
}

int history_is_on_line(struct volume_txn *txn, uint64_t written, bool *ret)
{
    int r = atomic_load(&txn->volume->has_branches) ? load_branches(txn) : 0;

    if (r == 0)
        *ret = txn->branch_count == 0 ||
               snapshot_set_kept_before(&txn->volume->snapshots, written) > txn->newest_branch;
    return r;
}

int history_subtract_branches(struct volume_txn *txn, const struct record_key *key, uint64_t self,
                              bool only_behind, struct run_list *from)
{
    uint64_t at = only_behind ? self + 1 : 0;
    bool is_on_line = false;
    struct version first;
    struct version last;

    int r = history_is_on_line(txn, self, &is_on_line);
    if (r < 0 || is_on_line)
        return r;
    if (may_share_with_any(txn, self))
        return history_subtract_all(txn, key, self, only_behind, from);
    while (r == 0 && at != UINT64_MAX && from->count > 0) {
        r = history_next_written(txn, key, at, &first);
        if (r < 0)
            break;
        at = branch_end(txn, first.written);
        r = last_before(txn, key, &first, at, &last);
        if (r == 0)
            r = subtract_other(txn, &first, self, from);
        if (r == 0 && last.written != first.written)
            r = subtract_other(txn, &last, self, from);
    }
    return r == -ENOENT ? 0 : r;
}
