/* How every operation runs: in one transaction of the metadata engine, repeated if another writer
 * won, with the account of blocks and inodes brought along. */
#include "fs/volume_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/altered.h"
#include "base/clock.h"

bool salvage_passes(struct volume *volume, int r)
{
    if (!volume->salvages || (!is_altered(r) && r != -ENOENT))
        return false;
    atomic_fetch_add(&volume->lost_records, 1);
    return true;
}

void volume_report(struct volume *volume, enum volume_event event, const char *format, ...)
{
    char text[600];
    va_list args;

    if (volume->on_event == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    volume->on_event(event, text, volume->event_arg);
}

#define KEY_EVENT_PAUSE_MS 60000

/* Whoever reads a tree of files meets many such blocks; that they are more tells nothing. */
static void report_key(struct volume *volume, const struct error *err)
{
    int64_t now = clock_monotonic_ms();
    int64_t due = atomic_load(&volume->key_event_due_ms);

    if (now < due ||
        !atomic_compare_exchange_strong(&volume->key_event_due_ms, &due, now + KEY_EVENT_PAUSE_MS))
        return;
    volume_report(volume, VOLUME_EVENT_KEY_MISSING, "Data cannot be read: %s.",
                  err != NULL && err->code != 0 ? err->text : "its key is not at hand");
}

int volume_result(struct volume *volume, int r, uint64_t ino, const struct error *err)
{
    if (r == -ENOKEY) {
        report_key(volume, err);
        return -EIO;
    }
    if (!is_altered(r))
        return r;
    if (ino != 0)
        volume_report(volume, VOLUME_EVENT_CORRUPTION, "Inode %llu: %s.", (unsigned long long)ino,
                      err != NULL && err->code != 0 ? err->text : "a record was altered");
    else
        volume_report(volume, VOLUME_EVENT_CORRUPTION, "The metadata: %s.",
                      err != NULL && err->code != 0 ? err->text : "a record was altered");
    return -EIO;
}

static bool has_capacity(struct volume *volume, uint64_t need)
{
    uint64_t capacity = atomic_load(&volume->capacity);
    uint64_t used = volume_used(volume);

    return capacity == 0 || (used <= capacity && need <= capacity - used);
}

int volume_reserve(struct volume *volume, uint64_t bytes, uint64_t inodes)
{
    uint64_t need = bytes + inodes * INODE_COST;

    if (has_capacity(volume, need))
        return 0;
    reap_waiting(volume); /* removed files count until they have ended */
    return has_capacity(volume, need) ? 0 : -ENOSPC;
}

uint64_t volume_used(struct volume *volume)
{
    return atomic_load(&volume->stored) + atomic_load(&volume->held) +
           atomic_load(&volume->files) * INODE_COST;
}

static void apply_counters(struct volume_txn *txn, int sign)
{
    struct volume *volume = txn->volume;

    if (txn->held != 0) {
        atomic_fetch_add(&volume->held, (uint64_t)(sign * txn->held));
        atomic_store(&volume->held_changed, true);
    }
    if (txn->files == 0 && txn->stored == 0)
        return;
    atomic_fetch_add(&volume->files, (uint64_t)(sign * txn->files));
    atomic_fetch_add(&volume->stored, (uint64_t)(sign * txn->stored));
    atomic_store(&volume->counters_changed, true);
}

/* The account changes while the engine still holds other writers back, so that a group is closed
 * with counts that fit its records. A commit that fails takes it back; until then nothing is
 * given up for dead (segments_settled()). */
static int commit(struct volume_txn *txn)
{
    struct volume *volume = txn->volume;
    struct meta_txn *meta = txn->meta;

    segments_account(volume->segments, &txn->made_live, &txn->freed);
    apply_counters(txn, 1);
    txn->meta = NULL;
    int r = meta_commit(meta, &txn->err);
    if (r < 0) {
        segments_account(volume->segments, &txn->freed, &txn->made_live);
        apply_counters(txn, -1);
        segments_settled(volume->segments);
    }
    segments_settled(volume->segments);
    return r;
}

static int run_once(struct volume_txn *txn, enum meta_access access, volume_txn_fn *fn, void *arg)
{
    run_list_clear(&txn->made_live);
    run_list_clear(&txn->freed);
    txn->files = 0;
    txn->stored = 0;
    txn->held = 0;
    txn->branch_count = 0;
    txn->err = (struct error){ 0 };
    int r = meta_begin(txn->volume->engine, access, &txn->meta, &txn->err);
    if (r < 0)
        return r;
    /* Taking one ends a group: an optimistic transaction that began before cannot become the
     * writer after it. */
    txn->has_history = access != META_READ && !snapshot_set_is_empty(&txn->volume->snapshots);
    r = txn->has_history && access == META_OPTIMISTIC ? -EAGAIN : fn(txn, arg);
    if (r >= 0 && access != META_READ) {
        int committed = commit(txn);
        return committed < 0 ? committed : r;
    }
    meta_abort(txn->meta);
    txn->meta = NULL;
    return r;
}

static int run(struct volume *volume, enum meta_access access, uint64_t snapshot, volume_txn_fn *fn,
               void *arg)
{
    struct volume_txn txn = { .volume = volume, .snapshot = snapshot, .now_ns = clock_file_ns() };
    int r;

    r = run_once(&txn, access, fn, arg);
    while (r == -EAGAIN)
        r = run_once(&txn, access == META_OPTIMISTIC ? META_WRITE : access, fn, arg);
    r = volume_result(volume, r, 0, &txn.err);
    (void)atomic_fetch_add(&volume->examined, txn.examined);
    run_list_release(&txn.made_live);
    run_list_release(&txn.freed);
    return r;
}

int volume_change(struct volume *volume, enum meta_access access, volume_txn_fn *fn, void *arg)
{
    return volume->is_read_only ? -EROFS : run(volume, access, 0, fn, arg);
}

int txn_touch(struct volume_txn *txn)
{
    struct record_key key;
    struct bytes counters;

    state_key(STATE_COUNTERS, &key);
    int r = txn_get(txn, &key, &counters);
    return r < 0 ? r : txn_put(txn, &key, counters);
}

int volume_view(struct volume *volume, volume_txn_fn *fn, void *arg)
{
    return run(volume, META_READ, 0, fn, arg);
}

int volume_view_of(struct volume *volume, uint64_t ino, volume_txn_fn *fn, void *arg)
{
    uint64_t snapshot = 0;

    if (inode_slot(ino) != 0) {
        snapshot = snapshot_set_at_slot(&volume->snapshots, (unsigned)(ino >> 48));
        if (snapshot == 0)
            return -ESTALE;
    }
    return run(volume, META_READ, snapshot, fn, arg);
}
