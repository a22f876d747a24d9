#include "fs/volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "fs/commit.h"
#include "fs/restore.h"
#include "fs/snapshot.h"
#include "fs/superblocks.h"
#include "fs/volume_internal.h"

static void on_trouble(const char *text, void *arg)
{
    volume_report(arg, VOLUME_EVENT_WRITE_LOST, "%s", text);
}

static struct volume *volume_new(const struct volume_config *config)
{
    struct volume *volume = calloc(1, sizeof(*volume));

    if (volume == NULL)
        return NULL;
    volume->uuid = config->uuid;
    volume->owner = config->owner;
    volume->store = config->store;
    volume->is_read_only = config->read_only || config->salvage;
    volume->salvages = config->salvage;
    volume->on_event = config->on_event;
    volume->event_arg = config->event_arg;
    volume->superblock_lock = MUTEX_INIT;
    maintenance_init(&volume->maintenance);
    volume->snapshot_change = MUTEX_INIT;
    volume->import_cursor.lock = MUTEX_INIT;
    snapshot_set_init(&volume->snapshots);
    atomic_init(&volume->epoch, 1);
    atomic_init(&volume->capacity, config->capacity);
    volume->reaper.ending = MUTEX_INIT;
    volume->reaper.lock = MUTEX_INIT;
    references_init(&volume->references);
    if (key_set_copy(&volume->keys, config->keys) < 0) {
        references_release(&volume->references);
        snapshots_release(volume);
        free(volume);
        return NULL;
    }
    return volume;
}

/* What is open is closed, as it is. */
static int volume_free(struct volume *volume, struct error *err)
{
    keeper_stop(volume);
    volume_origin_stop(volume);
    int r = meta_close(volume->engine, err);
    sealer_free(volume->sealer);
    segments_free(volume->segments);
    origin_close(volume);
    hmac_free(volume->name_hmac);
    references_release(&volume->references);
    reaper_release(&volume->reaper);
    snapshots_release(volume);
    superblock_release(&volume->superblock);
    key_set_release(&volume->keys);
    free(volume->keeper);
    free(volume);
    return r;
}

static int uuid_fault(const struct superblock *superblock, const struct volume *volume,
                      const char *place, struct error *err)
{
    char found[UUID_TEXT_SIZE];

    if (uuid_equal(&superblock->uuid, &volume->uuid))
        return 0;
    uuid_format(&superblock->uuid, found);
    return error_set(err, -EBADMSG, "the %s is that of another filesystem, %s", place, found);
}

/* Moves the superblock that is believed into the volume. */
static int choose_superblock(struct volume *volume, struct superblock_places *places,
                             struct error *err)
{
    int r = 0;

    if (places->store_r == 0)
        r = uuid_fault(&places->store, volume, "store", err);
    if (r == 0 && places->copy_r == 0)
        r = uuid_fault(&places->copy, volume, "metadata", err);
    if (r == 0 && places->store_is_of_another)
        r = error_set(err, -EBADMSG,
                      "the store holds another filesystem, not that of the metadata");
    if (r < 0)
        return r;
    if (places->store_r == 0) {
        volume->superblock = places->store;
        places->store = (struct superblock){ .generation = 0 };
    } else if (places->copy_r == 0) {
        volume->superblock = places->copy;
        places->copy = (struct superblock){ .generation = 0 };
    } else if (places->store_r == -ENOENT) {
        return error_set(err, -ENOENT,
                         "there is no superblock, neither in the store nor in the "
                         "metadata: this is not a filesystem of coffer, or both "
                         "were lost");
    } else {
        return error_set(err, places->store_r,
                         "the superblock in the store cannot be used (%s), and the metadata has "
                         "no good copy of it",
                         places->store_err.text);
    }
    volume->block_size = volume->superblock.block_size;
    if (volume->block_size == 0 || volume->block_size > CHUNK_SIZE)
        return error_set(err, -EBADMSG, "the superblock names an impossible block size");
    return 0;
}

static int load_sealer(struct volume *volume, struct error *err)
{
    const struct sealer_config config = { .keys = &volume->keys,
                                          .name_key = &volume->superblock.name_key,
                                          .owner = volume->owner,
                                          .salvages = volume->salvages };

    int r = hmac_new(&volume->superblock.name_key, &volume->name_hmac);
    if (r < 0)
        return error_set(err, r, "no memory for the name key");
    r = sealer_new(&config, &volume->sealer, err);
    if (r < 0)
        return r;
    sealer_hooks(volume->sealer, &volume->seal_hooks);
    return sealer_load(volume->sealer, volume->engine, err);
}

static int load_counters(struct volume *volume, struct meta_txn *txn, struct error *err)
{
    struct counters_record counters;
    struct record_key key;
    struct bytes value;

    state_key(STATE_COUNTERS, &key);
    int r = meta_get(txn, record_key_bytes(&key), &value, err);
    if (r == 0)
        r = counters_decode(value, &counters);
    if (volume->salvages && (r == -EBADMSG || salvage_passes(volume, r)))
        return 0; /* an altered one was counted when it was opened */
    if (r < 0)
        return error_set(err, r, "the metadata has no counters: it is not complete, or altered");
    atomic_store(&volume->next_ino, counters.next_ino);
    atomic_store(&volume->files, counters.files);
    atomic_store(&volume->stored, counters.stored);
    return 0;
}

/* An empty folder, where a disk should be mounted, is not to become this filesystem's store: what
 * was written there would be out of sight when the disk is back. That it has a superblock proves
 * nothing, since a missing one is repaired before. Who salvages does no harm. */
static int check_store(struct volume *volume, const struct superblock_places *places,
                       struct error *err)
{
    bool is_there = places->store_r != -ENOENT;

    if (volume->salvages || (is_there && volume->is_read_only))
        return 0;
    int r = segments_look(volume->segments, err);
    return r != -ENOENT ? r
                        : error_set(err, r,
                                    "the store holds %snone of the segments that the metadata "
                                    "names: is it the right one, and its disk mounted? If they are "
                                    "lost, a mount with --salvage shows what is left",
                                    is_there ? "" : "no superblock and ");
}

static int load_segments(struct volume *volume, struct error *err)
{
    const struct segments_config config = { .store = volume->store,
                                            .packs = origin_packs(volume),
                                            .fs = volume->uuid,
                                            .keys = &volume->keys,
                                            .segment_size = room_segment_size(volume->store),
                                            .on_trouble = on_trouble,
                                            .trouble_arg = volume,
                                            .salvages = volume->salvages };
    CLEANUP(meta_abortp) struct meta_txn *txn = NULL;

    int r = segments_new(&config, &volume->segments, err);
    if (r == 0)
        r = meta_begin(volume->engine, META_READ, &txn, err);
    if (r == 0)
        r = load_counters(volume, txn, err);
    if (r == 0)
        r = snapshots_load(volume, txn, err);
    return r < 0 ? r : segments_load(volume->segments, txn, err);
}

/* An old backup of the metadata was put back, or another owner took the filesystem over: what the
 * store knows, the metadata does not. */
static void check_history(struct volume *volume, const struct superblock_places *places,
                          const struct volume_config *config)
{
    uint64_t commit = sealer_commit_number(volume->sealer);
    bool is_later = places->store_r == 0 && volume->superblock.commit > commit;
    bool is_taken = places->store_r == 0 && places->copy_r == 0 &&
                    volume->superblock.owner_count > places->copy.owner_count;

    if ((!is_later && !is_taken) || config->take_over)
        return;
    volume->is_read_only = true;
    volume_report(
        volume, VOLUME_EVENT_READ_ONLY,
        is_later ? "The store knows commit %llu, the metadata only %llu: an old copy of "
                   "the metadata was put back. Opened read-only; to go on from this old "
                   "state, start it with --take-over."
                 : "The store was opened since by another owner, with other metadata "
                   "(owner count %llu; here %llu). Opened read-only; to take it over, "
                   "start it with --take-over.",
        (unsigned long long)(is_later ? volume->superblock.commit : volume->superblock.owner_count),
        (unsigned long long)(is_later ? commit : places->copy.owner_count));
}

static int put_copy(struct volume_txn *txn, void *arg)
{
    (void)arg;
    return superblock_put(txn->meta, &txn->volume->superblock, &txn->volume->keys, &txn->err);
}

/* Whatever was lost: it is not known then whether this is the newest state. */
static void tell_salvage(struct volume *volume, const struct superblock_places *places)
{
    unsigned lost = atomic_load(&volume->lost_records) + sealer_lost_commits(volume->sealer);
    bool is_old = places->store_r == 0 && sealer_lost_commits(volume->sealer) == 0 &&
                  volume->superblock.commit > sealer_commit_number(volume->sealer);

    volume_report(volume, VOLUME_EVENT_READ_ONLY,
                  "Opened read-only to salvage files: %u records that say where data lies, or "
                  "which state this is, are altered or missing%s%s. What can be read is what was "
                  "written, but some of it may be older than the rest. Copy the files into another "
                  "filesystem; this one should not be written to again.",
                  lost, is_old ? "; the store knows a later state than the metadata" : "",
                  volume_is_restoring(volume)
                      ? "; it was being put back to a snapshot and shows parts of both states"
                      : "");
}

/* The metadata first: it may know of an owner that the store has not heard of, but not the other
 * way round. Both places are written, so that one that was lost or altered is repaired. */
static int claim(struct volume *volume, uint64_t owner_count, struct error *err)
{
    volume->superblock.owner = volume->owner;
    volume->superblock.owner_count = owner_count + 1;
    volume->superblock.is_clean = false;
    atomic_store(&volume->counters_changed, true);
    int r = volume_change(volume, META_RECLAIM, put_copy, NULL);
    if (r < 0)
        return error_set(err, r, "the superblock's copy could not be written to the metadata: %s",
                         strerrordesc_np(-r));
    r = meta_sync(volume->engine, err);
    if (r == 0)
        r = commit_publish(volume, false, err);
    if (r != -ENOSPC)
        return r;
    /* A disk as full as that takes no data either, but files can be removed. */
    atomic_store(&volume->must_publish, true);
    volume_report(volume, VOLUME_EVENT_FULL, "The store is full: %s.", err->text);
    return 0;
}

static int start_writing(struct volume *volume, const struct superblock_places *places,
                         struct error *err)
{
    uint64_t owner_count = volume->superblock.owner_count;
    int r = 0;

    if (places->copy_r == 0 && places->copy.owner_count > owner_count)
        owner_count = places->copy.owner_count;
    if (segments_need_recount(volume->segments) && !origin_is_importing(volume))
        r = volume_recount(volume, err);
    if (r == -EIO) { /* a record was altered: the keeper tries on, and nothing is given up before */
        *err = (struct error){ .code = 0 };
        r = 0;
    }
    if (r == 0)
        r = claim(volume, owner_count, err);
    if (r == 0)
        r = restore_resume(volume, err);
    if (r == 0)
        r = inode_reap_all(volume);
    if (r < 0)
        return err->code != 0 ? r : error_set(err, r, "files without a name could not be removed");
    r = keeper_start(volume, err);
    return r < 0 ? r : origin_start(volume, err);
}

/* With something underneath, if not all of a downloaded filesystem is here. */
static int open_engine(struct volume *volume, const struct volume_config *config, struct error *err)
{
    struct underlay_config underlay = { .options = { .read_only = volume->is_read_only,
                                                     .leaves_room = true },
                                        .url = config->meta_url };

    commit_hooks(volume, &underlay.hooks);
    if (config->open_origin == NULL)
        return meta_engine_open(underlay.url, &underlay.options, &underlay.hooks, &volume->engine,
                                err);
    state_key(STATE_IMPORT, &underlay.cursor);
    return underlay_open(&underlay, &volume->engine, err);
}

/* Of what is this filesystem's beyond doubt. */
static int load_state(struct volume *volume, const struct volume_config *config, struct error *err)
{
    int r = load_sealer(volume, err);
    if (r == 0)
        r = origin_load(volume, config, err);
    if (r == 0 && volume->salvages && origin_packs(volume) != NULL)
        r = error_set(err, -EOPNOTSUPP,
                      "not all of the filesystem is here: download its snapshot again instead");
    if (r == 0)
        r = load_segments(volume, err);
    if (r != -EBADMSG || volume->salvages || err->code == 0)
        return r;
    const struct error why = *err;
    return error_set(err, r,
                     "%s; if no sound copy of the metadata can be put back, mount it with "
                     "--salvage, read-only, and copy its files",
                     why.text);
}

static int load(struct volume *volume, const struct volume_config *config, struct error *err)
{
    struct superblock_places places = { .store_r = -ENOENT };

    int r = open_engine(volume, config, err);
    if (r == 0)
        r = superblocks_read(volume->store, volume->engine, &volume->keys, &places, err);
    if (r == 0)
        r = choose_superblock(volume, &places, err);
    if (r == 0)
        r = load_state(volume, config, err);
    if (r == 0)
        r = check_store(volume, &places, err);
    if (r == 0 && volume->salvages)
        tell_salvage(volume, &places);
    else if (r == 0)
        check_history(volume, &places, config);
    if (r == 0 && volume->is_read_only && !config->read_only && !volume->salvages &&
        volume_is_restoring(volume))
        r = error_set(err, -EBUSY,
                      "the filesystem is being put back to a snapshot, which cannot go on while it "
                      "is read-only: the store knows a later state, or another owner; find out "
                      "which copy is right, and start it with --take-over to go on with this one");
    if (r == 0 && !volume->is_read_only)
        r = start_writing(volume, &places, err);
    superblocks_release(&places);
    return r;
}

int volume_open(const struct volume_config *config, struct volume **ret, struct error *err)
{
    struct volume *volume = volume_new(config);
    struct error why = { 0 };

    if (volume == NULL)
        return error_set(err, -ENOMEM, "no memory for a volume");
    int r = load(volume, config, &why);
    if (r < 0) {
        (void)volume_free(volume, NULL);
        return error_set(err, r, "%s", why.code != 0 ? why.text : strerrordesc_np(-r));
    }
    *ret = volume;
    return 0;
}

/* Twice: the first group completes the segments, the second one's records say so. */
static int close_cleanly(struct volume *volume, struct error *err)
{
    keeper_stop(volume);
    volume_origin_stop(volume);
    reap_waiting(volume);
    segments_end_current(volume->segments);
    int r = commit_group(volume, err);
    if (r == 0)
        r = commit_group(volume, err);
    if (r == 0 && segments_delete_dead(volume->segments))
        r = commit_group(volume, err);
    return r < 0 ? r : commit_publish(volume, true, err);
}

int volume_close(struct volume *volume, struct error *err)
{
    int r = volume->is_read_only ? 0 : close_cleanly(volume, err);
    int closed = volume_free(volume, r < 0 ? NULL : err);

    return r < 0 ? r : closed;
}

const struct key_set *volume_keys(const struct volume *volume)
{
    return &volume->keys;
}

int volume_add_keys(struct volume *volume, const struct key_set *keys, struct error *err)
{
    int r = segments_add_keys(volume->segments, keys);

    if (r == 0)
        r = key_set_join_foreign(&volume->keys, keys);
    if (r == -EBADMSG)
        return error_set(err, r,
                         "a key that comes to the filesystem is another one than it has under the "
                         "same number; if its key ring has let go of that one, stop and start the "
                         "filesystem, whose worker still holds it");
    return r < 0 ? error_set(err, r, "no keys are added: %s", strerrordesc_np(-r)) : 0;
}

int volume_foreign_keys(struct volume *volume, struct foreign_key_ids *ret, struct error *err)
{
    struct foreign_key_ids ids = { .count = 0 };
    struct origin_progress progress;

    if (volume->is_read_only)
        return error_set(err, -EROFS,
                         "the filesystem is read-only, and may not tell of all that it holds");
    if (volume_origin_progress(volume, &progress))
        return error_set(err, -EBUSY, "not all of what the filesystem was made of is here yet");
    int synced = volume_sync(volume, err); /* what was given up just now is not named any more */
    if (synced < 0)
        return synced;
    /* What no range names now, none does in the group that is durable behind it. */
    int r = segments_foreign_keys(volume->segments, &ids);
    synced = volume_sync(volume, err);
    if (synced < 0)
        return synced;
    if (r == 0)
        r = segments_foreign_keys(volume->segments, &ids);
    if (r < 0)
        return error_set(err, r,
                         "its data names more keys of other filesystems than a key ring has");
    *ret = ids;
    return 0;
}

bool volume_is_read_only(const struct volume *volume)
{
    return volume->is_read_only;
}

int volume_sync(struct volume *volume, struct error *err)
{
    struct error why = { 0 };

    if (volume->is_read_only)
        return 0;
    /* Which group it is, is asked first: while this stores an object, the group may be closed. */
    uint64_t group = meta_last_group(volume->engine);
    segments_push(volume->segments);
    int r = volume_result(volume, meta_sync_group(volume->engine, group, &why), 0, &why);
    if (r < 0 && err != NULL)
        *err = why;
    return r;
}

static void sync_done(struct meta_waiter *base, int result, const struct error *why)
{
    struct volume_waiter *waiter = (struct volume_waiter *)base;

    waiter->done(waiter, volume_result(waiter->volume, result, 0, why));
}

void volume_sync_later(struct volume *volume, struct volume_waiter *waiter)
{
    waiter->volume = volume;
    waiter->base.done = sync_done;
    if (volume->is_read_only) {
        waiter->done(waiter, 0);
        return;
    }
    meta_sync_later(volume->engine, meta_last_group(volume->engine), &waiter->base);
    segments_push(volume->segments);
}

int volume_statfs(struct volume *volume, struct volume_statfs *ret)
{
    struct object_store_space disk = { 0 };

    reap_waiting(volume);
    uint64_t used = volume_used(volume);
    uint64_t capacity = atomic_load(&volume->capacity);
    struct error err = { 0 };

    int r = object_store_space(volume->store, &disk, &err);
    if (r < 0)
        return volume_result(volume, r, 0, &err);
    uint64_t free_bytes = disk.total != 0 ? room_for_data(&disk) : (uint64_t)1 << 50;
    if (capacity != 0) {
        uint64_t left = capacity > used ? capacity - used : 0;
        free_bytes = left < free_bytes ? left : free_bytes;
    }
    *ret = (struct volume_statfs){ .total = capacity != 0 ? capacity : used + free_bytes,
                                   .free = free_bytes,
                                   .used = used,
                                   .files = atomic_load(&volume->files),
                                   .files_free = free_bytes / INODE_COST };
    return 0;
}

void volume_set_capacity(struct volume *volume, uint64_t capacity)
{
    atomic_store(&volume->capacity, capacity);
}
