/* Taking, listing, renaming and removing snapshots. */
#include "fs/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "fs/commit.h"
#include "fs/restore.h"

#define ACCESS_STEM_MAX (NAME_MAX_LEN - 11u) /* a number fits behind it */

int snapshot_put(struct volume_txn *txn, uint64_t epoch, const struct snapshot_record *record)
{
    uint8_t value[SNAPSHOT_VALUE_MAX];
    struct record_key key;
    size_t len;

    txn->volume->changed_snapshot = epoch;
    snapshot_key(epoch, &key);
    int r = snapshot_encode(record, value, &len);
    return r < 0 ? r : txn_put(txn, &key, (struct bytes){ .data = value, .len = len });
}

struct snapshots_loading {
    struct volume *volume;
    struct error *err;
};

static int load_one(struct bytes key, struct bytes value, void *arg)
{
    struct snapshots_loading *loading = arg;
    struct snapshot_record record;
    uint64_t epoch;

    int r = record_key_epoch(key, RECORD_SNAPSHOT, &epoch);
    if (r == 0)
        r = snapshot_decode(value, &record);
    if (r == 0)
        r = snapshot_set_put(&loading->volume->snapshots, epoch, &record);
    if (r == -EBADMSG && loading->volume->salvages)
        return 0; /* counted when it was opened */
    return r < 0 ? error_set(loading->err, r, "the record of a snapshot cannot be understood") : 0;
}

static int load_held(struct volume *volume, struct meta_txn *txn, struct error *err)
{
    struct record_key key;
    struct bytes value;
    uint64_t held = 0;

    state_key(STATE_HELD, &key);
    int r = meta_get(txn, record_key_bytes(&key), &value, err);
    if (r == -ENOENT)
        return 0;
    if (r == 0)
        r = held_decode(value, &held);
    if (r == -EBADMSG && volume->salvages)
        return 0;
    if (r < 0)
        return error_set(err, r, "the record of what snapshots hold cannot be understood");
    atomic_store(&volume->held, held);
    return 0;
}

int snapshots_load(struct volume *volume, struct meta_txn *txn, struct error *err)
{
    struct snapshots_loading loading = { .volume = volume, .err = err };
    struct record_key first;
    struct record_key end;

    kind_range(RECORD_SNAPSHOT, &first, &end);
    int r =
        meta_scan(txn, record_key_bytes(&first), record_key_bytes(&end), load_one, &loading, err);
    if (r < 0)
        return r;
    uint64_t restored = 0;
    r = restores_load(volume, txn, &restored, err);
    if (r < 0 && !(r == -EBADMSG && volume->salvages))
        return r;
    /* The commit that closed an epoch was still in it. */
    uint64_t epoch = snapshot_set_newest(&volume->snapshots) + 1;
    if (epoch <= restored)
        epoch = restored + 1;
    if (epoch < sealer_epoch(volume->sealer))
        epoch = sealer_epoch(volume->sealer);
    atomic_store(&volume->epoch, epoch);
    return load_held(volume, txn, err);
}

int snapshots_close_group(struct volume *volume, struct meta_txn *txn, struct error *err)
{
    struct snapshot_record record;
    struct record_key key;
    struct bytes value;

    uint64_t changed = volume->changed_snapshot;

    volume->group_epoch = txn->epoch;
    int restored = restores_close_group(volume, txn, err);
    if (restored < 0 || changed == 0)
        return restored;
    snapshot_key(changed, &key);
    int r = meta_get(txn, record_key_bytes(&key), &value, err);
    if (r == 0)
        r = snapshot_decode(value, &record);
    if (r == 0)
        r = snapshot_set_put(&volume->snapshots, changed, &record);
    else if (r == -ENOENT) /* it is gone, or was not committed */
        snapshot_set_drop(&volume->snapshots, changed);
    if (r < 0 && r != -ENOENT)
        return error_set(err, r, "a snapshot cannot be completed");
    if (r == 0 && changed == atomic_load(&volume->epoch))
        atomic_store(&volume->epoch, changed + 1);
    volume->changed_snapshot = 0;
    return 0;
}

int snapshot_change(struct volume *volume, enum meta_access access, volume_txn_fn *fn, void *arg,
                    struct error *err)
{
    mutex_lock(&volume->snapshot_change);
    int r = volume_change(volume, access, fn, arg);
    /* What fails after this may still succeed later, as any change. */
    if (r == 0)
        r = volume_sync(volume, err);
    mutex_unlock(&volume->snapshot_change);
    return r;
}

/* What is imported counts as changed then. */
int snapshot_refuse_import(struct volume *volume, struct error *err)
{
    struct origin_progress progress = { .chunks = 0 };

    if (!origin_is_importing(volume))
        return 0;
    (void)volume_origin_progress(volume, &progress);
    return error_set(err, -EBUSY,
                     "no snapshot can be taken while names and attributes are downloaded (%u of %u "
                     "parts are here); %s",
                     progress.chunks_done, progress.chunks,
                     progress.is_paused ? "the download is paused, or waits: see its task"
                                        : "wait until they are");
}

static int being_restored(struct error *err)
{
    return error_set(err, -EBUSY,
                     "the filesystem is being put back to a snapshot; try again later");
}

/* Also of the one that arrives. */
static bool has_name(struct snapshot_set *set, const char *name, struct snapshot_entry *ret)
{
    return snapshot_set_find(set, name, ret) ||
           (snapshot_set_arriving(set, ret) && strcmp(ret->record.name, name) == 0);
}

static bool has_access(struct snapshot_set *set, const char *access_point,
                       struct snapshot_entry *ret)
{
    return snapshot_set_find_access(set, access_point, ret) ||
           (snapshot_set_arriving(set, ret) && strcmp(ret->record.access_point, access_point) == 0);
}

/* The first that is free: "x", "x.2", "x.3" and so on. */
static void give_way(struct snapshot_set *set, char access_point[static NAME_MAX_LEN + 1])
{
    char stem[ACCESS_STEM_MAX + 1];
    struct snapshot_entry other;

    (void)snprintf(stem, sizeof(stem), "%.*s", (int)ACCESS_STEM_MAX, access_point);
    for (unsigned i = 2; has_access(set, access_point, &other); i++)
        (void)snprintf(access_point, NAME_MAX_LEN + 1, "%s.%u", stem, i);
}

int snapshot_taking_put(struct volume_txn *txn, struct snapshot_taking *taking)
{
    struct snapshot_set *set = &txn->volume->snapshots;
    struct snapshot_entry other;

    if (has_name(set, taking->record.name, &other))
        return error_set(
            taking->err, -EEXIST,
            "there is a snapshot of that name already; name another one, or remove it first");
    if (taking->gives_way)
        give_way(set, taking->record.access_point);
    if (has_access(set, taking->record.access_point, &other))
        return error_set(taking->err, -EEXIST,
                         "another snapshot has that access point; name another one");
    taking->record.slot = snapshot_set_free_slot(set);
    if (taking->record.slot == 0)
        return error_set(taking->err, -ENOSPC,
                         "there are %u snapshots, and no more can be; remove some",
                         SNAPSHOT_SLOT_MAX);
    if (taking->record.state == SNAPSHOT_KEPT)
        taking->record.created_ns = clock_wall_ns();
    taking->epoch = txn->meta->epoch;
    return snapshot_put(txn, taking->epoch, &taking->record);
}

static int set_name(char to[static NAME_MAX_LEN + 1], const char *name, const char *what,
                    struct error *err)
{
    if (!snapshot_name_is_possible(name))
        return error_set(err, -EINVAL,
                         "%s must have 1 to 255 bytes without '/' and control characters, and must "
                         "not be '.' or '..'",
                         what);
    memcpy(to, name, strlen(name) + 1);
    return 0;
}

int snapshot_taking_init(struct snapshot_taking *taking, const char *name, const char *access_point,
                         struct error *err)
{
    *taking = (struct snapshot_taking){ .record = { .state = SNAPSHOT_KEPT }, .err = err };
    int r = set_name(taking->record.name, name, "the name of a snapshot", err);
    return r < 0 ? r : set_name(taking->record.access_point, access_point, "an access point", err);
}

static int put_taken(struct volume_txn *txn, void *arg)
{
    if (atomic_load(&txn->volume->restoring) != 0)
        return being_restored(((struct snapshot_taking *)arg)->err);
    return snapshot_taking_put(txn, arg);
}

static int failure(int r, struct error *err, const char *what)
{
    if (r >= 0 || (err != NULL && err->code != 0))
        return r;
    return error_set(err, r, "%s: %s", what, strerrordesc_np(-r));
}

void snapshot_entry_describe(const struct snapshot_entry *entry, struct volume_snapshot *ret)
{
    *ret = (struct volume_snapshot){ .epoch = entry->epoch,
                                     .slot = entry->record.slot,
                                     .created_ns = entry->record.created_ns,
                                     .is_removing = entry->record.state == SNAPSHOT_REMOVING };
    memcpy(ret->name, entry->record.name, sizeof(ret->name));
    memcpy(ret->access_point, entry->record.access_point, sizeof(ret->access_point));
}

int volume_snapshot_take(struct volume *volume, const char *name, const char *access_point,
                         struct volume_snapshot *ret, struct error *err)
{
    struct error why = { 0 };
    struct snapshot_taking taking;

    int r = snapshot_taking_init(&taking, name, access_point, &why);
    if (r == 0)
        r = snapshot_refuse_import(volume, &why);
    if (r == 0)
        r = snapshot_change(volume, META_WRITE, put_taken, &taking, &why);
    if (r < 0) {
        (void)failure(r, &why, "the snapshot could not be taken");
        return error_set(err, r, "%s", why.text);
    }
    const struct snapshot_entry entry = { .epoch = taking.epoch, .record = taking.record };
    snapshot_entry_describe(&entry, ret);
    return 0;
}

int volume_snapshot_list(struct volume *volume, volume_snapshot_fn *visit, void *arg)
{
    return volume_snapshot_list_behind(volume, 0, visit, arg);
}

int volume_snapshot_list_behind(struct volume *volume, uint64_t epoch, volume_snapshot_fn *visit,
                                void *arg)
{
    struct volume_snapshot snapshot;
    struct snapshot_entry entry = { .epoch = epoch };
    int r = 0;

    while (r == 0 && snapshot_set_next(&volume->snapshots, entry.epoch, &entry)) {
        snapshot_entry_describe(&entry, &snapshot);
        if (entry.record.state != SNAPSHOT_ARRIVING)
            r = visit(&snapshot, arg);
    }
    return r;
}

int volume_snapshot_find(struct volume *volume, const char *name, struct volume_snapshot *ret)
{
    struct snapshot_entry entry;

    if (!snapshot_set_find(&volume->snapshots, name, &entry))
        return -ENOENT;
    snapshot_entry_describe(&entry, ret);
    return 0;
}

int volume_snapshot_find_epoch(struct volume *volume, uint64_t epoch, struct volume_snapshot *ret)
{
    struct snapshot_entry entry;

    if (!snapshot_set_find_epoch(&volume->snapshots, epoch, &entry))
        return -ENOENT;
    snapshot_entry_describe(&entry, ret);
    return 0;
}

struct renaming {
    const char *name;
    struct snapshot_record record; /* with what is to change; empty: stays */
    enum snapshot_state state;
    struct error *err;
};

static int change_record(struct volume_txn *txn, void *arg)
{
    struct renaming *renaming = arg;
    struct snapshot_set *set = &txn->volume->snapshots;
    struct snapshot_entry entry;
    struct snapshot_entry other;

    if (atomic_load(&txn->volume->restoring) != 0)
        return being_restored(renaming->err);
    if (!snapshot_set_find(set, renaming->name, &entry))
        return error_set(renaming->err, -ENOENT, "there is no snapshot of that name");
    if (renaming->record.name[0] != '\0') {
        if (has_name(set, renaming->record.name, &other) && other.epoch != entry.epoch)
            return error_set(renaming->err, -EEXIST,
                             "there is a snapshot of the new name already; name another one, or "
                             "remove it first");
        memcpy(entry.record.name, renaming->record.name, sizeof(entry.record.name));
    }
    if (renaming->record.access_point[0] != '\0') {
        if (has_access(set, renaming->record.access_point, &other) && other.epoch != entry.epoch)
            return error_set(renaming->err, -EEXIST, "another snapshot has that access point");
        memcpy(entry.record.access_point, renaming->record.access_point,
               sizeof(entry.record.access_point));
    }
    entry.record.state = renaming->state;
    return snapshot_put(txn, entry.epoch, &entry.record);
}

static int run_renaming(struct volume *volume, enum meta_access access, struct renaming *renaming,
                        const char *what, struct error *err)
{
    struct error why = { 0 };

    renaming->err = &why;
    int r = snapshot_change(volume, access, change_record, renaming, &why);
    if (r == 0)
        return 0;
    (void)failure(r, &why, what);
    return error_set(err, r, "%s", why.text);
}

int volume_snapshot_update(struct volume *volume, const char *name, const char *new_name,
                           const char *access_point, struct error *err)
{
    struct renaming renaming = { .name = name, .state = SNAPSHOT_KEPT };
    int r = 0;

    if (new_name != NULL)
        r = set_name(renaming.record.name, new_name, "the name of a snapshot", err);
    if (r == 0 && access_point != NULL)
        r = set_name(renaming.record.access_point, access_point, "an access point", err);
    if (r < 0)
        return r;
    return run_renaming(volume, META_WRITE, &renaming, "the snapshot could not be changed", err);
}

int volume_snapshot_remove(struct volume *volume, const char *name, struct error *err)
{
    struct renaming renaming = { .name = name, .state = SNAPSHOT_REMOVING };

    int r = run_renaming(volume, META_RECLAIM, &renaming, "the snapshot could not be removed", err);
    keeper_wake(volume);
    return r;
}
