/* Removing versions of a list of extents any two of which may share blocks (history_branch.c). What
 * only the removed ones name is known when all others were looked at. So those that go are removed
 * together, in one walk over all versions: one by one each of them would cost such a walk. */
#include "fs/history.h"

#include <errno.h>

#include "base/cleanup.h"

#define PILE_MIN 4096u

struct unseen {
    struct volume_txn *txn;
    uint64_t gone[HISTORY_UNSEEN_MAX]; /* last epochs of those that are removed, ascending */
    size_t count;
    struct run_list blocks; /* that only they name, as far as is known */
    struct run_list others; /* named by others, and not taken from these yet */
};

static bool is_unseen(const struct unseen *unseen, const struct version *version)
{
    return !snapshot_set_has_kept(&unseen->txn->volume->snapshots, version->written, version->last);
}

static bool is_gone(const struct unseen *unseen, const struct version *version)
{
    return unseen->count > 0 && version->last <= unseen->gone[unseen->count - 1] &&
           is_unseen(unseen, version);
}

static int read_version(struct unseen *unseen, struct bytes key, struct bytes value,
                        struct version *ret)
{
    struct record_key live;
    uint64_t last;

    if (history_key_decode(key, &live, &last) < 0 || version_decode(value, last, ret) < 0)
        return error_set(&unseen->txn->err, -EBADMSG, "a saved record cannot be understood");
    unseen->txn->examined += value.len;
    return 0;
}

/* 1: there are as many as go at a time. */
static int note_gone(struct bytes key, struct bytes value, void *arg)
{
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;
    struct unseen *unseen = arg;
    struct version version;

    int r = read_version(unseen, key, value, &version);
    if (r < 0 || !is_unseen(unseen, &version))
        return r;
    r = history_version_blocks(unseen->txn, version.value, &blocks);
    if (r == 0)
        r = run_list_join(&unseen->blocks, &blocks);
    if (r < 0)
        return r;
    unseen->gone[unseen->count++] = version.last;
    return unseen->count == HISTORY_UNSEEN_MAX;
}

static int subtract_pile(struct unseen *unseen)
{
    run_list_unite(&unseen->others);
    int r = run_list_subtract(&unseen->blocks, &unseen->others);

    run_list_clear(&unseen->others);
    return r;
}

/* A pile of what others name is taken off at a time, and it is as large as what it is taken from:
 * so that costs as much as reading them. */
static int pile(struct unseen *unseen, struct bytes value)
{
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;

    int r = history_version_blocks(unseen->txn, value, &blocks);
    if (r == 0)
        r = run_list_join(&unseen->others, &blocks);
    if (r == 0 && unseen->others.count > unseen->blocks.count + PILE_MIN)
        r = subtract_pile(unseen);
    return r;
}

/* 1: nothing is left that others could name. */
static int note_other(struct bytes key, struct bytes value, void *arg)
{
    struct unseen *unseen = arg;
    struct version version;

    int r = read_version(unseen, key, value, &version);
    if (r < 0 || is_gone(unseen, &version))
        return r;
    r = pile(unseen, version.value);
    return r < 0 ? r : unseen->blocks.count == 0;
}

static int walk(struct unseen *unseen, const struct record_key *key, meta_visit_fn *visit)
{
    struct record_key first;
    struct record_key end;

    (void)history_key_encode(record_key_bytes(key), 0, &first);
    (void)history_key_encode(record_key_bytes(key), UINT64_MAX, &end);
    int r = meta_scan(unseen->txn->meta, record_key_bytes(&first), record_key_bytes(&end), visit,
                      unseen, &unseen->txn->err);
    return r < 0 ? r : 0;
}

static int subtract_others(struct unseen *unseen, const struct record_key *key)
{
    struct bytes live;

    run_list_unite(&unseen->blocks);
    int r = walk(unseen, key, note_other);
    if (r == 0)
        r = meta_get(unseen->txn->meta, record_key_bytes(key), &live, &unseen->txn->err);
    if (r == 0)
        r = pile(unseen, live);
    return r == 0 || r == -ENOENT ? subtract_pile(unseen) : r;
}

static int remove_gone(struct unseen *unseen, const struct record_key *key)
{
    struct volume_txn *txn = unseen->txn;

    txn->held -= (int64_t)run_list_sealed(&unseen->blocks);
    int r = run_list_join(&txn->freed, &unseen->blocks);
    for (size_t i = 0; r == 0 && i < unseen->count; i++)
        r = history_forget_version(txn, key, unseen->gone[i]);
    return r;
}

int history_remove_unseen(struct volume_txn *txn, const struct record_key *key, size_t *ret_count)
{
    struct unseen unseen = { .txn = txn };

    int r = walk(&unseen, key, note_gone);
    if (r == 0 && unseen.count > 0)
        r = subtract_others(&unseen, key);
    if (r == 0)
        r = remove_gone(&unseen, key);
    if (r == 0)
        *ret_count = unseen.count;
    run_list_release(&unseen.blocks);
    run_list_release(&unseen.others);
    return r;
}
