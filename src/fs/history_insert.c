/* What a snapshot that arrives sees of a key, put between what older and newer snapshots see.
 *
 *     before      w ─────────── f ─────────── e        one version, which snapshot f sees, too
 *     afterwards  w ──── f - 1 │ f │ f + 1 ── e        the inserted one is in the middle
 *
 * Each part is stored only if a kept snapshot lies in it, or if it is the current record, which is
 * written anew then: so a version still is what was current from w to e, and no two overlap. */
#include <errno.h>

#include "base/cleanup.h"
#include "fs/chunk_scan.h"
#include "fs/history.h"

/* Epochs in which nothing is written: no version is left out. */
#define NO_VERSION UINT64_MAX

struct inserting {
    struct volume_txn *txn;
    const struct record_key *key;
    uint64_t epoch;
    const struct bytes *value;
    struct version seen; /* last: UINT64_MAX, it is current */
    bool has_seen;
};

static int blocks_of(struct volume_txn *txn, struct bytes value, struct run_list *ret)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;

    int r = extents_decode(value, &list);
    if (r < 0)
        return error_set(&txn->err, r, "a list of extents cannot be understood");
    return chunk_blocks(&list, ret);
}

int history_missing_blocks(struct volume_txn *txn, const struct record_key *key, struct bytes value,
                           struct run_list *ret)
{
    int r = blocks_of(txn, value, ret);

    return r < 0 ? r : history_subtract_all(txn, key, NO_VERSION, false, ret);
}

static bool is_extents(const struct inserting *inserting)
{
    return record_kind_of(record_key_bytes(inserting->key)) == RECORD_EXTENTS;
}

static int find_seen(struct inserting *inserting)
{
    struct volume_txn *txn = inserting->txn;
    struct version *seen = &inserting->seen;

    int r = history_find(txn, inserting->key, inserting->epoch, seen);
    if (r == -ENOENT) {
        r = meta_get(txn->meta, record_key_bytes(inserting->key), &seen->value, &txn->err);
        seen->written = txn->meta->found;
        seen->last = UINT64_MAX;
    }
    inserting->has_seen = r == 0 && seen->written <= inserting->epoch;
    return r == -ENOENT ? 0 : r;
}

/* Nothing names them yet, so they are what only a snapshot holds. */
static int hold_blocks(struct inserting *inserting)
{
    CLEANUP(run_list_release) struct run_list missing = RUN_LIST_INIT;
    struct volume_txn *txn = inserting->txn;

    if (inserting->value == NULL || !is_extents(inserting))
        return 0;
    int r = history_missing_blocks(txn, inserting->key, *inserting->value, &missing);
    if (r < 0)
        return r;
    txn->held += (int64_t)run_list_sealed(&missing);
    return run_list_join(&txn->made_live, &missing);
}

static int put_seen(struct inserting *inserting, uint64_t written, uint64_t last)
{
    const struct spliced value = spliced_of(inserting->seen.value);

    return history_put_version(inserting->txn, inserting->key, &value, written, last);
}

/* No snapshot but this one saw it. */
static int give_up_seen(struct inserting *inserting)
{
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;
    struct volume_txn *txn = inserting->txn;

    if (!is_extents(inserting))
        return 0;
    int r = history_missing_blocks(txn, inserting->key, inserting->seen.value, &blocks);
    if (r < 0)
        return r;
    txn->held -= (int64_t)run_list_sealed(&blocks);
    return run_list_join(&txn->freed, &blocks);
}

/* What was seen, from the epoch behind on. */
static int put_behind(struct inserting *inserting, bool *ret_is_kept)
{
    struct volume_txn *txn = inserting->txn;
    struct version *seen = &inserting->seen;
    bool is_live = seen->last == UINT64_MAX;
    uint64_t last = is_live ? txn->meta->epoch - 1 : seen->last;
    int r = 0;

    *ret_is_kept =
        snapshot_set_has_kept(&txn->volume->snapshots, inserting->epoch + 1, last) || is_live;
    if (snapshot_set_has_kept(&txn->volume->snapshots, inserting->epoch + 1, last))
        r = put_seen(inserting, inserting->epoch + 1, last);
    else if (!is_live && (seen->last != inserting->epoch || inserting->value == NULL))
        r = history_forget_version(txn, inserting->key, seen->last);
    if (r == 0 && is_live)
        r = meta_put(txn->meta, record_key_bytes(inserting->key), seen->value, &txn->err);
    return r;
}

static int split_seen(struct inserting *inserting)
{
    struct volume_txn *txn = inserting->txn;
    struct version *seen = &inserting->seen;
    bool is_kept;

    int r = put_behind(inserting, &is_kept);
    if (r < 0)
        return r;
    if (seen->written < inserting->epoch &&
        snapshot_set_has_kept(&txn->volume->snapshots, seen->written, inserting->epoch - 1))
        return put_seen(inserting, seen->written, inserting->epoch - 1);
    return is_kept ? 0 : give_up_seen(inserting);
}

/* So that who compares snapshots, or goes back to one, looks at the key. */
static int note_change(struct inserting *inserting)
{
    if (inserting->value == NULL)
        return history_put_created(inserting->txn, inserting->key, inserting->epoch + 1);
    return inserting->has_seen
               ? 0
               : history_put_created(inserting->txn, inserting->key, inserting->epoch);
}

int history_insert(struct volume_txn *txn, const struct record_key *key, uint64_t epoch,
                   const struct bytes *value)
{
    struct inserting inserting = { .txn = txn, .key = key, .epoch = epoch, .value = value };

    int r = find_seen(&inserting);
    if (r < 0 || (value == NULL && !inserting.has_seen))
        return r;
    r = hold_blocks(&inserting);
    if (r == 0 && value != NULL) {
        const struct spliced put = spliced_of(*value);
        r = history_put_version(txn, key, &put, epoch, epoch);
    }
    if (r == 0 && inserting.has_seen)
        r = split_seen(&inserting);
    return r < 0 ? r : note_change(&inserting);
}
