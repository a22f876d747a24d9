#include "fs/commit.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "fs/snapshot.h"
#include "fs/superblocks.h"
#include "fs/volume_internal.h"

int counters_put(struct meta_txn *txn, const struct counters_record *counters, struct error *err)
{
    uint8_t value[COUNTERS_VALUE_LEN];
    struct record_key key;
    size_t len;

    state_key(STATE_COUNTERS, &key);
    int r = counters_encode(counters, value, &len);
    if (r < 0)
        return error_set(err, r, "the counters cannot be stored");
    return meta_put(txn, record_key_bytes(&key), (struct bytes){ .data = value, .len = len }, err);
}

static int put_counters(struct volume *volume, struct meta_txn *txn, struct error *err)
{
    const struct counters_record counters = { .next_ino = atomic_load(&volume->next_ino),
                                              .files = atomic_load(&volume->files),
                                              .stored = atomic_load(&volume->stored) };

    return counters_put(txn, &counters, err);
}

static int put_held(struct volume *volume, struct meta_txn *txn, struct error *err)
{
    uint8_t value[HELD_VALUE_LEN];
    struct record_key key;
    size_t len;

    state_key(STATE_HELD, &key);
    int r =
        held_encode(atomic_load(&volume->held), atomic_load(&volume->has_branches), value, &len);
    if (r < 0)
        return error_set(err, r, "what snapshots hold cannot be stored");
    return meta_put(txn, record_key_bytes(&key), (struct bytes){ .data = value, .len = len }, err);
}

static uint64_t hook_epoch(void *arg)
{
    return atomic_load(&((struct volume *)arg)->epoch);
}

/* What changed is noted as stored only when all of it is in the group. Segments do so by themselves
 * and come last. */
static int hook_close_group(void *arg, struct meta_txn *txn, struct error *err)
{
    struct volume *volume = arg;

    int r = snapshots_close_group(volume, txn, err);
    if (r == 0 && atomic_load(&volume->counters_changed))
        r = put_counters(volume, txn, err);
    if (r == 0 && atomic_load(&volume->held_changed))
        r = put_held(volume, txn, err);
    if (r == 0)
        r = segments_close_group(volume->segments, txn, err);
    if (r < 0)
        return r;
    atomic_store(&volume->counters_changed, false);
    atomic_store(&volume->held_changed, false);
    return 0;
}

static int hook_before_durable(void *arg, uint64_t group, struct error *err)
{
    struct volume *volume = arg;

    (void)group; /* all that was appended so far is more than the group needs */
    sealer_set_epoch(volume->sealer, volume->group_epoch);
    return segments_sync(volume->segments, err);
}

static void hook_durable(void *arg, uint64_t group)
{
    struct volume *volume = arg;

    (void)group;
    atomic_store(&volume->has_news, true);
    if (atomic_exchange(&volume->is_refusing, false))
        volume_report(volume, VOLUME_EVENT_ROOM_AGAIN,
                      "A commit that had failed is durable now; changes are accepted again.");
    keeper_wake(volume);
}

static void hook_not_durable(void *arg, uint64_t group, const struct error *why)
{
    struct volume *volume = arg;
    bool is_full = why->code == -ENOSPC || why->code == -EDQUOT;

    (void)group;
    keeper_wake(volume);
    if (atomic_exchange(&volume->is_refusing, true))
        return; /* told already */
    volume_report(volume, is_full ? VOLUME_EVENT_FULL : VOLUME_EVENT_WRITE_LOST,
                  "A commit failed and is tried again every second; changes are refused until it "
                  "succeeds, and would be lost if the worker ended before: %s.",
                  why->text);
}

static int hook_seal(void *arg, struct bytes key, struct bytes plain, struct bytes old,
                     uint8_t *ret, size_t *ret_len, struct error *err)
{
    const struct meta_hooks *seal = &((struct volume *)arg)->seal_hooks;

    return seal->seal(seal->seal_arg, key, plain, old, ret, ret_len, err);
}

/* Without these files can be read, if they verify. */
static bool can_be_spared(struct bytes key)
{
    uint8_t kind = record_kind_of(key);

    return kind == RECORD_USAGE || kind == RECORD_LOCATION || kind == RECORD_STATE ||
           kind == RECORD_SNAPSHOT || kind == RECORD_RESTORE;
}

/* Who salvages finds an empty value, which no reader understands, instead of the end of a scan. */
static int hook_open(void *arg, struct bytes key, struct bytes stored, uint8_t *ret,
                     size_t *ret_len, uint64_t *ret_epoch, struct error *err)
{
    struct volume *volume = arg;
    const struct meta_hooks *seal = &volume->seal_hooks;
    struct error why = { .code = 0 };

    int r = seal->open(seal->seal_arg, key, stored, ret, ret_len, ret_epoch, &why);
    if (r < 0 && can_be_spared(key) && salvage_passes(volume, r)) {
        *ret_len = 0;
        *ret_epoch = 0;
        return 0;
    }
    if (r < 0 && err != NULL)
        *err = why;
    return r;
}

static int hook_removed(void *arg, struct bytes key, struct bytes old, struct error *err)
{
    const struct meta_hooks *seal = &((struct volume *)arg)->seal_hooks;

    return seal->removed(seal->seal_arg, key, old, err);
}

/* First those of rescued data, then the sealer's, which count them. */
static int hook_group_record(void *arg, uint64_t group, unsigned index, struct bytes *ret_key,
                             struct bytes *ret_plain, struct error *err)
{
    struct volume *volume = arg;
    const struct meta_hooks *seal = &volume->seal_hooks;

    if (index == 0)
        volume->extra_count = UINT32_MAX;
    if (index < volume->extra_count) {
        if (segments_group_record(volume->segments, index, ret_key, ret_plain) == 0)
            return 0;
        volume->extra_count = index;
    }
    return seal->group_record(seal->seal_arg, group, index - volume->extra_count, ret_key,
                              ret_plain, err);
}

static void hook_group_end(void *arg, uint64_t group, bool is_durable)
{
    struct volume *volume = arg;
    const struct meta_hooks *seal = &volume->seal_hooks;

    seal->group_end(seal->seal_arg, group, is_durable);
    segments_group_end(volume->segments, is_durable);
}

void commit_hooks(struct volume *volume, struct meta_hooks *hooks)
{
    *hooks = (struct meta_hooks){
        .arg = volume,
        .epoch = hook_epoch,
        .close_group = hook_close_group,
        .before_durable = hook_before_durable,
        .durable = hook_durable,
        .not_durable = hook_not_durable,
        .seal_arg = volume,
        .seal = hook_seal,
        .open = hook_open,
        .removed = hook_removed,
        .group_record = hook_group_record,
        .group_end = hook_group_end,
    };
}

int commit_group(struct volume *volume, struct error *err)
{
    struct meta_txn *txn;

    int r = meta_begin(volume->engine, META_RECLAIM, &txn, err);
    if (r < 0)
        return r;
    r = put_counters(volume, txn, err);
    if (r < 0) {
        meta_abort(txn);
        return r;
    }
    r = meta_commit(txn, err);
    return r < 0 ? r : meta_sync(volume->engine, err);
}

int commit_publish(struct volume *volume, bool is_clean, struct error *err)
{
    mutex_lock(&volume->superblock_lock);
    unsigned announced = segments_announced(volume->segments);
    volume->superblock.commit = sealer_commit_number(volume->sealer);
    volume->superblock.written_ns = (uint64_t)clock_wall_ns();
    volume->superblock.is_clean = is_clean;
    int r = superblock_write(volume->store, &volume->superblock, &volume->keys, false, err);
    if (r == 0)
        segments_confirm(volume->segments, announced);
    mutex_unlock(&volume->superblock_lock);
    return r;
}
