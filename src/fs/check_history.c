/* Saved versions: each by itself, against its neighbours and its index entry; and what snapshots
 * see, as a filesystem. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/check_internal.h"
#include "fs/history.h"
#include "fs/restore.h"

/* Of so many snapshots the tree is looked at: of more, the oldest, the newest, and some between. */
#define TREES_MAX 16u

typedef unsigned long long ull;

struct history_check {
    struct check *check;
    struct volume_txn txn;
    struct record_key key; /* of the last one seen */
    uint64_t last;
};

/* The last version of a key that was seen, against what is current. */
static int check_current(struct history_check *history)
{
    struct spliced value;

    if (history->key.len == 0)
        return 0;
    int r =
        meta_view(history->txn.meta, record_key_bytes(&history->key), &value, history->check->err);
    if (r == 0 && history->txn.meta->found <= history->last)
        check_fault(history->check,
                    "A record that was saved in epoch %llu is not older than the current one.",
                    (ull)history->last);
    return r == -ENOENT ? 0 : r;
}

static int check_index(struct history_check *history, const struct record_key *key, uint64_t last)
{
    struct record_key index;
    struct bytes value;

    int r = history_index_encode(record_key_bytes(key), last, HISTORY_SAVED, &index);
    if (r == 0)
        r = meta_get(history->txn.meta, record_key_bytes(&index), &value, history->check->err);
    if (r == -ENOENT)
        check_fault(history->check, "A record saved in epoch %llu is not in the index.", (ull)last);
    return r == -ENOENT ? 0 : r;
}

static void check_times(struct history_check *history, const struct version *version,
                        bool is_same_key)
{
    struct check *check = history->check;
    struct volume *volume = check->volume;

    if (version->last >= atomic_load(&volume->epoch))
        check_fault(check, "A record was saved in epoch %llu, which has not ended.",
                    (ull)version->last);
    if (is_same_key && version->written <= history->last)
        check_fault(check, "Two records saved in epochs %llu and %llu overlap in time.",
                    (ull)history->last, (ull)version->last);
    /* While one is being removed, what was saved for it goes by and by. */
    if (!check->is_removing &&
        !snapshot_set_has_kept(&volume->snapshots, version->written, version->last) &&
        snapshot_set_changes(&volume->snapshots) == check->changes)
        check_fault(check, "A record saved in epoch %llu is of no snapshot.", (ull)version->last);
}

static int visit_version(struct bytes key, struct bytes value, void *arg)
{
    struct history_check *history = arg;
    struct version version;
    struct record_key live;
    uint64_t last;
    int r = 0;

    if (history_key_decode(key, &live, &last) < 0 || version_decode(value, last, &version) < 0 ||
        !history_has_kind(record_kind_of(record_key_bytes(&live)))) {
        check_fault(history->check, "A saved record cannot be understood.");
        return 0;
    }
    bool is_same_key =
        live.len == history->key.len && memcmp(live.data, history->key.data, live.len) == 0;
    if (!is_same_key)
        r = check_current(history);
    check_times(history, &version, is_same_key);
    history->key = live;
    history->last = last;
    return r < 0 ? r : check_index(history, &live, last);
}

static int visit_index(struct bytes key, struct bytes value, void *arg)
{
    struct history_check *history = arg;
    enum history_what what;
    struct version version;
    struct record_key live;
    uint64_t epoch;

    if (history_index_decode(key, &live, &epoch, &what) < 0 || value.len != 0) {
        check_fault(history->check, "An index entry of saved records cannot be understood.");
        return 0;
    }
    if (what == HISTORY_CREATED)
        return 0;
    int r = history_find(&history->txn, &live, epoch, &version);
    if (r == -ENOENT || (r == 0 && version.last != epoch)) {
        check_fault(history->check, "The index names a record of epoch %llu that was not saved.",
                    (ull)epoch);
        r = 0;
    }
    return r;
}

static int scan(struct history_check *history, enum record_kind kind, meta_visit_fn *visit)
{
    struct record_key first;
    struct record_key end;

    kind_range(kind, &first, &end);
    return txn_scan(&history->txn, &first, &end, visit, history);
}

static int check_tree(struct check *check, uint64_t epoch)
{
    check->snapshot = epoch;
    check->inode_count = 0;
    int r = check_names(check);
    if (r == 0)
        r = check_past_data(check);
    check->snapshot = 0;
    return r;
}

static int check_trees(struct check *check)
{
    struct snapshot_set *set = &check->volume->snapshots;
    struct snapshot_entry entry = { 0 };
    size_t count = 0;
    int r = 0;

    while (snapshot_set_next(set, entry.epoch, &entry))
        count += entry.record.state == SNAPSHOT_KEPT;
    size_t step = count <= TREES_MAX ? 1 : (count + TREES_MAX - 3) / (TREES_MAX - 2);
    entry.epoch = 0;
    for (size_t i = 0; r == 0 && snapshot_set_next(set, entry.epoch, &entry);) {
        if (entry.record.state != SNAPSHOT_KEPT || entry.epoch >= check->epoch)
            continue;
        if (i % step == 0 || i + 1 == count)
            r = check_tree(check, entry.epoch);
        i++;
    }
    return r;
}

/* One that marks what is from outside may be of the group that is not closed yet. */
static int check_restore(uint64_t epoch, const struct restore_record *restore, void *arg)
{
    struct check *check = arg;
    uint64_t first_impossible = check->epoch + (restore->state == RESTORE_OUTSIDE ? 1 : 0);

    if (restore->state == RESTORE_RUNNING || epoch >= first_impossible)
        check_fault(check, "A restore that was begun in epoch %llu has not ended.", (ull)epoch);
    return 0;
}

int check_history(struct check *check)
{
    struct history_check history = { .check = check,
                                     .txn = { .volume = check->volume, .meta = check->txn } };

    int r = scan(&history, RECORD_HISTORY, visit_version);
    if (r == 0)
        r = check_current(&history);
    if (r == 0)
        r = scan(&history, RECORD_HISTORY_INDEX, visit_index);
    if (r == 0)
        r = restores_scan(check->txn, check_restore, check, check->err);
    return r < 0 ? r : check_trees(check);
}
