#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "fs/check_internal.h"
#include "fs/superblocks.h"

void check_fault(struct check *check, const char *format, ...)
{
    char text[640];
    va_list args;
    int len = 0;

    if (check->snapshot != 0)
        len = snprintf(text, sizeof(text), "Snapshot %llu: ", (unsigned long long)check->snapshot);
    va_start(args, format);
    (void)vsnprintf(text + len, sizeof(text) - (size_t)len, format, args);
    va_end(args);
    check->faults++;
    if (check->report != NULL)
        check->report(text, check->report_arg);
}

struct inode_sum *check_inode(struct check *check, uint64_t ino)
{
    size_t low = 0;
    size_t high = check->inode_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (check->inodes[middle].ino < ino)
            low = middle + 1;
        else
            high = middle;
    }
    return low < check->inode_count && check->inodes[low].ino == ino ? &check->inodes[low] : NULL;
}

int check_scan(struct check *check, enum record_kind kind, meta_visit_fn *visit)
{
    struct volume_txn txn = { .volume = check->volume,
                              .meta = check->txn,
                              .snapshot = check->snapshot };
    struct record_key first;
    struct record_key end;

    kind_range(kind, &first, &end);
    int r = txn_scan(&txn, &first, &end, visit, check);
    return r < 0 && txn.err.code != 0 ? error_set(check->err, r, "%s", txn.err.text) : r;
}

static void check_superblocks(struct check *check)
{
    struct superblock_places places = { .store_r = -ENOENT };
    struct volume *volume = check->volume;

    if (superblocks_read(volume->store, volume->engine, &volume->keys, &places, NULL) < 0) {
        check_fault(check, "The superblock cannot be read.");
        return;
    }
    if (places.store_r != 0)
        check_fault(check, "The superblock in the store is missing or was altered.");
    if (places.copy_r != 0)
        check_fault(check, "The copy of the superblock in the metadata is missing or was altered.");
    if (places.store_r == 0 && places.copy_r == 0 &&
        places.store.owner_count > places.copy.owner_count)
        check_fault(check,
                    "The store was opened since with other metadata (owner count %llu; here %llu).",
                    (unsigned long long)places.store.owner_count,
                    (unsigned long long)places.copy.owner_count);
    uint64_t commit = sealer_commit_number(volume->sealer);
    if (places.store_r == 0 && places.store.commit > commit)
        check_fault(check, "The store knows commit %llu, the metadata only %llu.",
                    (unsigned long long)places.store.commit, (unsigned long long)commit);
    superblocks_release(&places);
}

/* What the inodes together say, against what the filesystem keeps once. */
static void check_counters(struct check *check)
{
    struct counters_record counters;
    struct record_key key;
    struct bytes value;

    state_key(STATE_COUNTERS, &key);
    int r = meta_get(check->txn, record_key_bytes(&key), &value, NULL);
    if (r < 0 || counters_decode(value, &counters) < 0)
        check_fault(check, "The record of the counters is missing or was altered.");
}

/* A read transaction that sees all of the changes that the account knows of, and no other. */
static int begin(struct check *check, struct meta_txn **ret_view)
{
    struct meta_txn *change = NULL;
    int r = 0;

    if (!check->volume->is_read_only)
        r = meta_begin(check->volume->engine, META_RECLAIM, &change, check->err);
    if (r < 0)
        return r;
    segments_check_begin(check->volume->segments);
    check->expected_files = atomic_load(&check->volume->files);
    check->expected_stored = atomic_load(&check->volume->stored);
    check->expected_held = atomic_load(&check->volume->held);
    check->epoch = atomic_load(&check->volume->epoch);
    check->changes = snapshot_set_changes(&check->volume->snapshots);
    check->is_removing = snapshot_set_removing(&check->volume->snapshots) != 0;
    r = meta_begin(check->volume->engine, META_READ, ret_view, check->err);
    meta_abort(change);
    return r;
}

static int check_records(struct check *check)
{
    CLEANUP(meta_abortp) struct meta_txn *view = NULL;

    int r = begin(check, &view);
    check->txn = view;
    if (r == 0)
        r = check_names(check);
    if (r == 0)
        r = check_data(check);
    if (r == 0) {
        check_counts(check);
        check_counters(check);
        r = check_history(check);
    }
    return r;
}

int volume_check(struct volume *volume, bool read_data, volume_report_fn *report, void *arg,
                 uint64_t *ret_faults, struct error *err)
{
    struct error why = { 0 };
    struct check check = {
        .volume = volume, .read_data = read_data, .report = report, .report_arg = arg, .err = &why
    };

    if (volume_is_restoring(volume))
        return error_set(err, -EBUSY,
                         "the filesystem is being put back to a snapshot, which has not ended; "
                         "start it, which ends that, and check it then");
    reap_waiting(volume);
    maintenance_begin_check(&volume->maintenance);
    int r = sealer_check(volume->sealer, volume->engine, report, arg, &check.faults, &why);
    if (r == 0) {
        check_superblocks(&check);
        r = check_records(&check);
    }
    segments_check_end(volume->segments);
    maintenance_end_check(&volume->maintenance);
    free(check.inodes);
    if (is_altered(r)) { /* as far as it was possible */
        check_fault(&check, "The check had to end at a record that was altered: %s.", why.text);
        r = 0;
    }
    if (r < 0)
        return error_set(err, r, "%s", why.code != 0 ? why.text : strerrordesc_np(-r));
    *ret_faults = check.faults;
    return 0;
}
