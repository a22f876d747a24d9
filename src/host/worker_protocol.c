/* A packet: u8 1, the form of packets, u8 number, u16 zero, u32 request number, body. Texts and
 * URLs are a u16 length and so many bytes.
 * An order with anything left behind its body is refused: it would not be done as it was meant. So
 * one that grows belongs to a later version (WORKER_SPEAKS), and its row says which. What a worker
 * says grows at its end only: who knows less passes over the rest, and who knows more takes what is
 * left out for zeros, as get_status() does. */
#include "host/worker_protocol.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"

#define PACKET_FORM 1u
#define FLAGS_ALL                                                                                  \
    (WORKER_FLAG_READ_ONLY | WORKER_FLAG_TAKE_OVER | WORKER_FLAG_FORMAT |                          \
     WORKER_FLAG_DROP_ARRIVING | WORKER_FLAG_SALVAGE)

static bool get_bool(struct reader *reader)
{
    uint8_t value = reader_u8(reader);

    if (value > 1)
        reader_fail(reader);
    return value == 1;
}

static void put_foreign_keys(struct writer *writer, const struct key_set *keys)
{
    writer_u8(writer, (uint8_t)keys->foreign_count);
    for (uint32_t i = 0; i < keys->foreign_count; i++) {
        assert(keys->foreign[i].key.len == FS_KEY_LEN);
        writer_bytes(writer, keys->foreign[i].origin.bytes, UUID_LEN);
        writer_u32(writer, keys->foreign[i].generation);
        writer_bytes(writer, keys->foreign[i].key.data, FS_KEY_LEN);
    }
}

static void put_keys(struct writer *writer, const struct key_set *keys)
{
    writer_u8(writer, (uint8_t)keys->count);
    for (uint32_t i = 0; i < keys->count; i++) {
        assert(keys->keys[i].len == FS_KEY_LEN);
        writer_u32(writer, keys->generations[i]);
        writer_bytes(writer, keys->keys[i].data, FS_KEY_LEN);
    }
    put_foreign_keys(writer, keys);
}

static int get_foreign_keys(struct reader *reader, struct key_set *ret)
{
    uint32_t count = reader_u8(reader);
    int r = 0;

    if (count > KEY_GENERATIONS_MAX)
        reader_fail(reader);
    for (uint32_t i = 0; i < count && !reader->failed && r == 0; i++) {
        CLEANUP(secret_release) struct secret key = SECRET_INIT;
        struct uuid origin;
        reader_copy(reader, origin.bytes, UUID_LEN);
        uint32_t generation = reader_u32(reader);
        struct bytes bytes = reader_bytes(reader, FS_KEY_LEN);
        if (reader->failed)
            break;
        r = secret_assign(&key, bytes);
        if (r == 0)
            r = key_set_add_foreign(ret, &origin, generation, &key);
        if (r == -EINVAL || r == -EEXIST) { /* as no cofferd sends it */
            reader_fail(reader);
            r = 0;
        }
    }
    return r;
}

static int get_keys(struct reader *reader, struct key_set *ret)
{
    uint32_t count = reader_u8(reader);

    if (count > KEY_GENERATIONS_MAX)
        reader_fail(reader);
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        uint32_t generation = reader_u32(reader);
        struct bytes key = reader_bytes(reader, FS_KEY_LEN);

        if (i > 0 && generation <= ret->generations[i - 1])
            reader_fail(reader);
        if (reader->failed)
            break;
        int r = secret_assign(&ret->keys[i], key);
        if (r < 0)
            return r;
        ret->generations[i] = generation;
        ret->count = i + 1;
    }
    return get_foreign_keys(reader, ret);
}

static void put_start(struct writer *writer, const struct worker_message *message)
{
    const struct worker_start *start = &message->start;

    writer_bytes(writer, start->uuid.bytes, UUID_LEN);
    writer_bytes(writer, start->owner.bytes, UUID_LEN);
    writer_text(writer, start->meta_url);
    writer_text(writer, start->store_url);
    writer_u64(writer, start->capacity);
    writer_u64(writer, start->cache_bytes);
    writer_text(writer, start->cache_folder);
    writer_u32(writer, start->block_size);
    writer_u32(writer, start->flags);
    writer_u32(writer, start->uid);
    writer_u32(writer, start->gid);
    put_keys(writer, &start->keys);
    writer_string(writer, secret_bytes(&start->store_settings));
    writer_u8(writer, start->has_origin);
    writer_bytes(writer, start->origin.manifest, sizeof(start->origin.manifest));
    writer_bytes(writer, start->origin.fs.bytes, UUID_LEN);
    writer_bytes(writer, start->origin.reference.bytes, UUID_LEN);
}

static int get_start(struct reader *reader, struct worker_message *message)
{
    struct worker_start *start = &message->start;

    reader_copy(reader, start->uuid.bytes, UUID_LEN);
    reader_copy(reader, start->owner.bytes, UUID_LEN);
    reader_text(reader, start->meta_url, sizeof(start->meta_url));
    reader_text(reader, start->store_url, sizeof(start->store_url));
    start->capacity = reader_u64(reader);
    start->cache_bytes = reader_u64(reader);
    reader_text(reader, start->cache_folder, sizeof(start->cache_folder));
    start->block_size = reader_u32(reader);
    start->flags = reader_u32(reader);
    start->uid = reader_u32(reader);
    start->gid = reader_u32(reader);
    if (start->flags & ~(uint32_t)FLAGS_ALL)
        reader_fail(reader);
    int r = get_keys(reader, &start->keys);
    struct bytes settings = reader_string(reader, WORKER_STORE_SETTINGS_MAX);
    start->has_origin = get_bool(reader);
    reader_copy(reader, start->origin.manifest, sizeof(start->origin.manifest));
    reader_copy(reader, start->origin.fs.bytes, UUID_LEN);
    reader_copy(reader, start->origin.reference.bytes, UUID_LEN);
    return r < 0 || settings.len == 0 ? r : secret_assign(&start->store_settings, settings);
}

static void put_mount(struct writer *writer, const struct worker_message *message)
{
    writer_text(writer, message->mount.mountpoint);
    writer_u8(writer, message->mount.is_noatime);
}

static int get_mount(struct reader *reader, struct worker_message *message)
{
    reader_text(reader, message->mount.mountpoint, sizeof(message->mount.mountpoint));
    message->mount.is_noatime = get_bool(reader);
    return 0;
}

static void put_snapshot_mount(struct writer *writer, const struct worker_message *message)
{
    writer_u64(writer, message->snapshot_mount.snapshot);
}

static int get_snapshot_mount(struct reader *reader, struct worker_message *message)
{
    message->snapshot_mount.snapshot = reader_u64(reader);
    return 0;
}

static void put_mounts_reply(struct writer *writer, const struct worker_message *message)
{
    const struct worker_mounts_reply *reply = &message->mounts;

    writer_u8(writer, reply->has_ended);
    writer_u8(writer, (uint8_t)reply->count);
    for (uint32_t i = 0; i < reply->count; i++)
        writer_u64(writer, reply->snapshots[i]);
}

static int get_mounts_reply(struct reader *reader, struct worker_message *message)
{
    struct worker_mounts_reply *reply = &message->mounts;

    reply->has_ended = get_bool(reader);
    uint32_t count = reader_u8(reader);
    if (count > WORKER_SNAPSHOT_MOUNTS_MAX)
        reader_fail(reader);
    for (uint32_t i = 0; i < count && !reader->failed; i++)
        reply->snapshots[i] = reader_u64(reader);
    reply->count = reader->failed ? 0 : count;
    return 0;
}

static void put_mount_ended(struct writer *writer, const struct worker_message *message)
{
    writer_u64(writer, message->mount_ended.snapshot);
    writer_u32(writer, (uint32_t)message->mount_ended.code);
    writer_text(writer, message->mount_ended.text);
}

static int get_mount_ended(struct reader *reader, struct worker_message *message)
{
    struct worker_mount_ended *ended = &message->mount_ended;

    ended->snapshot = reader_u64(reader);
    ended->code = (int32_t)reader_u32(reader);
    reader_text(reader, ended->text, sizeof(ended->text));
    if (ended->code > 0)
        reader_fail(reader);
    return 0;
}

static void put_nothing(struct writer *writer, const struct worker_message *message)
{
    (void)writer;
    (void)message;
}

static int get_nothing(struct reader *reader, struct worker_message *message)
{
    (void)reader;
    (void)message;
    return 0;
}

static void put_check(struct writer *writer, const struct worker_message *message)
{
    writer_u8(writer, message->check.read_data);
}

static int get_check(struct reader *reader, struct worker_message *message)
{
    message->check.read_data = get_bool(reader);
    return 0;
}

static void put_verify(struct writer *writer, const struct worker_message *message)
{
    const struct worker_verify *verify = &message->verify;

    writer_bytes(writer, verify->manifest, WORKER_MANIFEST_LEN);
    writer_u32(writer, verify->one_in);
    writer_u32(writer, verify->uid);
    writer_u32(writer, verify->gid);
    put_keys(writer, &verify->keys);
}

static int get_verify(struct reader *reader, struct worker_message *message)
{
    struct worker_verify *verify = &message->verify;

    reader_copy(reader, verify->manifest, WORKER_MANIFEST_LEN);
    verify->one_in = reader_u32(reader);
    verify->uid = reader_u32(reader);
    verify->gid = reader_u32(reader);
    if (verify->one_in == 0)
        reader_fail(reader);
    return get_keys(reader, &verify->keys);
}

static void put_add_keys(struct writer *writer, const struct worker_message *message)
{
    put_foreign_keys(writer, &message->add_keys.keys);
}

static int get_add_keys(struct reader *reader, struct worker_message *message)
{
    return get_foreign_keys(reader, &message->add_keys.keys);
}

static void put_key_uses(struct writer *writer, const struct worker_message *message)
{
    foreign_key_ids_write(writer, &message->key_uses);
}

static int get_key_uses(struct reader *reader, struct worker_message *message)
{
    return foreign_key_ids_read(reader, &message->key_uses);
}

static void put_set_cache(struct writer *writer, const struct worker_message *message)
{
    writer_u64(writer, message->set_cache.bytes);
}

static int get_set_cache(struct reader *reader, struct worker_message *message)
{
    message->set_cache.bytes = reader_u64(reader);
    return 0;
}

static void put_set_capacity(struct writer *writer, const struct worker_message *message)
{
    writer_u64(writer, message->set_capacity.capacity);
}

static int get_set_capacity(struct reader *reader, struct worker_message *message)
{
    message->set_capacity.capacity = reader_u64(reader);
    return 0;
}

static void put_done(struct writer *writer, const struct worker_message *message)
{
    writer_u32(writer, (uint32_t)message->done.code);
    writer_text(writer, message->done.text);
}

static int get_done(struct reader *reader, struct worker_message *message)
{
    message->done.code = (int32_t)reader_u32(reader);
    reader_text(reader, message->done.text, sizeof(message->done.text));
    if (message->done.code > 0)
        reader_fail(reader);
    return 0;
}

static void put_status(struct writer *writer, const struct worker_message *message)
{
    const struct worker_status_reply *status = &message->status;

    writer_u8(writer, status->is_started);
    writer_u8(writer, status->is_mounted);
    writer_u8(writer, status->is_read_only);
    writer_u32(writer, (uint32_t)status->pid);
    writer_bytes(writer, status->uuid.bytes, UUID_LEN);
    writer_text(writer, status->mountpoint);
    writer_u64(writer, status->capacity);
    writer_u64(writer, status->total);
    writer_u64(writer, status->free);
    writer_u64(writer, status->used);
    writer_u64(writer, status->files);
    writer_u64(writer, status->files_free);
    writer_u64(writer, status->corruptions);
    writer_u8(writer, (uint8_t)status->generation_count);
    for (uint32_t i = 0; i < status->generation_count; i++)
        writer_u32(writer, status->generations[i]);
    writer_u64(writer, status->cache_used);
    writer_u64(writer, status->cache_hits);
    writer_u64(writer, status->cache_misses);
    writer_u8(writer, status->has_origin);
    writer_u64(writer, status->origin_data);
    writer_u64(writer, status->origin_data_left);
    if (status->speaks > 1)
        writer_u32(writer, status->speaks);
    if (status->speaks > 2)
        writer_u8(writer, status->salvages);
}

static int get_status(struct reader *reader, struct worker_message *message)
{
    struct worker_status_reply *status = &message->status;

    status->speaks = 1; /* unless it says otherwise */
    status->is_started = get_bool(reader);
    status->is_mounted = get_bool(reader);
    status->is_read_only = get_bool(reader);
    status->pid = (int32_t)reader_u32(reader);
    reader_copy(reader, status->uuid.bytes, UUID_LEN);
    reader_text(reader, status->mountpoint, sizeof(status->mountpoint));
    status->capacity = reader_u64(reader);
    status->total = reader_u64(reader);
    status->free = reader_u64(reader);
    status->used = reader_u64(reader);
    status->files = reader_u64(reader);
    status->files_free = reader_u64(reader);
    status->corruptions = reader_u64(reader);
    uint32_t count = reader_u8(reader);
    if (count > KEY_GENERATIONS_MAX)
        reader_fail(reader);
    for (uint32_t i = 0; i < count && !reader->failed; i++)
        status->generations[i] = reader_u32(reader);
    status->generation_count = reader->failed ? 0 : count;
    if (reader->len == 0) /* of an older worker, which has none */
        return 0;
    status->cache_used = reader_u64(reader);
    status->cache_hits = reader_u64(reader);
    status->cache_misses = reader_u64(reader);
    if (reader->len == 0) /* likewise */
        return 0;
    status->has_origin = get_bool(reader);
    status->origin_data = reader_u64(reader);
    status->origin_data_left = reader_u64(reader);
    if (reader->len == 0)
        return 0;
    status->speaks = reader_u32(reader);
    if (status->speaks < 2)
        reader_fail(reader);
    if (status->speaks > 2)
        status->salvages = get_bool(reader);
    return 0;
}

static void put_check_reply(struct writer *writer, const struct worker_message *message)
{
    const struct worker_check_reply *reply = &message->check_reply;

    writer_u64(writer, reply->faults);
    writer_u8(writer, reply->is_cut);
    writer_text(writer, reply->report);
}

static int get_check_reply(struct reader *reader, struct worker_message *message)
{
    struct worker_check_reply *reply = &message->check_reply;

    reply->faults = reader_u64(reader);
    reply->is_cut = get_bool(reader);
    reader_text(reader, reply->report, sizeof(reply->report));
    return 0;
}

static void put_snapshot_order(struct writer *writer, const struct worker_message *message)
{
    writer_text(writer, message->snapshot.name);
    writer_text(writer, message->snapshot.new_name);
    writer_text(writer, message->snapshot.access_point);
}

static int get_snapshot_order(struct reader *reader, struct worker_message *message)
{
    struct worker_snapshot_order *order = &message->snapshot;

    reader_text(reader, order->name, sizeof(order->name));
    reader_text(reader, order->new_name, sizeof(order->new_name));
    reader_text(reader, order->access_point, sizeof(order->access_point));
    return 0;
}

static void put_snapshot_list(struct writer *writer, const struct worker_message *message)
{
    writer_u64(writer, message->snapshot_list.behind);
}

static int get_snapshot_list(struct reader *reader, struct worker_message *message)
{
    message->snapshot_list.behind = reader_u64(reader);
    return 0;
}

static void put_snapshot_find(struct writer *writer, const struct worker_message *message)
{
    writer_u64(writer, message->snapshot_find.id);
    writer_text(writer, message->snapshot_find.name);
}

static int get_snapshot_find(struct reader *reader, struct worker_message *message)
{
    struct worker_snapshot_find *find = &message->snapshot_find;

    find->id = reader_u64(reader);
    reader_text(reader, find->name, sizeof(find->name));
    return 0;
}

static void put_snapshots_reply(struct writer *writer, const struct worker_message *message)
{
    const struct worker_snapshots_reply *reply = &message->snapshots;

    writer_u8(writer, reply->has_more);
    writer_u8(writer, (uint8_t)reply->count);
    for (uint32_t i = 0; i < reply->count; i++) {
        const struct worker_snapshot *item = &reply->items[i];
        writer_u64(writer, item->id);
        writer_u64(writer, (uint64_t)item->created_ns);
        writer_u8(writer, item->is_removing);
        writer_text(writer, item->name);
        writer_text(writer, item->access_point);
    }
}

static int get_snapshots_reply(struct reader *reader, struct worker_message *message)
{
    struct worker_snapshots_reply *reply = &message->snapshots;

    reply->has_more = get_bool(reader);
    uint32_t count = reader_u8(reader);
    if (count > WORKER_SNAPSHOTS_MAX)
        reader_fail(reader);
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        struct worker_snapshot *item = &reply->items[i];
        item->id = reader_u64(reader);
        item->created_ns = (int64_t)reader_u64(reader);
        item->is_removing = get_bool(reader);
        reader_text(reader, item->name, sizeof(item->name));
        reader_text(reader, item->access_point, sizeof(item->access_point));
    }
    reply->count = reader->failed ? 0 : count;
    return 0;
}

static void put_task_start(struct writer *writer, const struct worker_message *message)
{
    const struct worker_task_start *start = &message->task_start;

    writer_u64(writer, start->task);
    writer_u64(writer, start->run);
    writer_text(writer, start->kind);
    writer_string(writer, (struct bytes){ start->parameters, start->parameters_len });
}

static int get_task_start(struct reader *reader, struct worker_message *message)
{
    struct worker_task_start *start = &message->task_start;

    start->task = reader_u64(reader);
    start->run = reader_u64(reader);
    reader_text(reader, start->kind, sizeof(start->kind));
    struct bytes parameters = reader_string(reader, sizeof(start->parameters));
    if (parameters.len > 0)
        memcpy(start->parameters, parameters.data, parameters.len);
    start->parameters_len = (uint32_t)parameters.len;
    return 0;
}

static void put_task_stop(struct writer *writer, const struct worker_message *message)
{
    writer_u64(writer, message->task_stop.task);
}

static int get_task_stop(struct reader *reader, struct worker_message *message)
{
    message->task_stop.task = reader_u64(reader);
    return 0;
}

static void put_task_progress(struct writer *writer, const struct worker_message *message)
{
    const struct worker_task_progress *progress = &message->task_progress;

    writer_u64(writer, progress->task);
    writer_u64(writer, progress->run);
    writer_u64(writer, progress->total);
    writer_u64(writer, progress->done);
    writer_u64(writer, progress->moved);
    writer_text(writer, progress->phase);
}

static int get_task_progress(struct reader *reader, struct worker_message *message)
{
    struct worker_task_progress *progress = &message->task_progress;

    progress->task = reader_u64(reader);
    progress->run = reader_u64(reader);
    progress->total = reader_u64(reader);
    progress->done = reader_u64(reader);
    progress->moved = reader_u64(reader);
    reader_text(reader, progress->phase, sizeof(progress->phase));
    return 0;
}

static void put_task_done(struct writer *writer, const struct worker_message *message)
{
    const struct worker_task_done *done = &message->task_done;

    writer_u64(writer, done->task);
    writer_u64(writer, done->run);
    writer_u32(writer, (uint32_t)done->code);
    writer_u8(writer, done->is_final);
    writer_text(writer, done->text);
    writer_text(writer, done->result);
}

static int get_task_done(struct reader *reader, struct worker_message *message)
{
    struct worker_task_done *done = &message->task_done;

    done->task = reader_u64(reader);
    done->run = reader_u64(reader);
    done->code = (int32_t)reader_u32(reader);
    done->is_final = get_bool(reader);
    reader_text(reader, done->text, sizeof(done->text));
    reader_text(reader, done->result, sizeof(done->result));
    if (done->code > 0)
        reader_fail(reader);
    return 0;
}

static void put_snapshot_diff(struct writer *writer, const struct worker_message *message)
{
    writer_text(writer, message->snapshot_diff.older);
    writer_text(writer, message->snapshot_diff.newer);
    writer_u64(writer, message->snapshot_diff.ino);
    writer_u32(writer, message->snapshot_diff.count);
}

static int get_snapshot_diff(struct reader *reader, struct worker_message *message)
{
    struct worker_snapshot_diff *order = &message->snapshot_diff;

    reader_text(reader, order->older, sizeof(order->older));
    reader_text(reader, order->newer, sizeof(order->newer));
    order->ino = reader_u64(reader);
    order->count = reader_u32(reader);
    return 0;
}

static void put_snapshot_diff_reply(struct writer *writer, const struct worker_message *message)
{
    writer_u8(writer, message->differences.has_more);
    writer_u64(writer, message->differences.ino);
    writer_u32(writer, message->differences.count);
    writer_text(writer, message->differences.text);
}

static int get_snapshot_diff_reply(struct reader *reader, struct worker_message *message)
{
    struct worker_snapshot_diff_reply *reply = &message->differences;

    reply->has_more = get_bool(reader);
    reply->ino = reader_u64(reader);
    reply->count = reader_u32(reader);
    reader_text(reader, reply->text, sizeof(reply->text));
    return 0;
}

static void put_restore_reply(struct writer *writer, const struct worker_message *message)
{
    writer_u64(writer, message->restored.inodes);
}

static int get_restore_reply(struct reader *reader, struct worker_message *message)
{
    message->restored.inodes = reader_u64(reader);
    return 0;
}

static void put_event(struct writer *writer, const struct worker_message *message)
{
    writer_u8(writer, (uint8_t)message->event.kind);
    writer_text(writer, message->event.text);
}

static int get_event(struct reader *reader, struct worker_message *message)
{
    uint8_t kind = reader_u8(reader);

    if (kind >= WORKER_EVENT_COUNT)
        reader_fail(reader);
    else
        message->event.kind = (enum worker_event_kind)kind;
    reader_text(reader, message->event.text, sizeof(message->event.text));
    return 0;
}

/* The whole trust boundary between cofferd and its workers. The handlers stand in the tables of
 * worker/service.c and of control/. A number that two rows have does not compile. */
struct row {
    struct worker_message_info info;
    void (*put)(struct writer *writer, const struct worker_message *message);
    int (*get)(struct reader *reader, struct worker_message *message);
};

enum descriptor {
    NO_FD,
    WITH_FD,
    PERHAPS_FD,
};

#define ROW(number, side, version, fd, put_body, get_body)                                         \
    [WORKER_##number] = {                                                                          \
        { .type = WORKER_##number,                                                                 \
          .name = #number,                                                                         \
          .sender = WORKER_SIDE_##side,                                                            \
          .has_fd = (fd) != NO_FD,                                                                 \
          .fd_is_optional = (fd) == PERHAPS_FD,                                                    \
          .since = (version) },                                                                    \
        put_body,                                                                                  \
        get_body,                                                                                  \
    }

static const struct row messages[] = {
    /* number, sender, the version that first had it as it is now, descriptor */
    ROW(START, COFFERD, 1, PERHAPS_FD, put_start, get_start),
    ROW(MOUNT, COFFERD, 2, WITH_FD, put_mount, get_mount),
    ROW(STATUS, COFFERD, 1, NO_FD, put_nothing, get_nothing),
    ROW(CHECK, COFFERD, 1, NO_FD, put_check, get_check),
    ROW(STOP, COFFERD, 1, NO_FD, put_nothing, get_nothing),
    ROW(SET_CAPACITY, COFFERD, 1, NO_FD, put_set_capacity, get_set_capacity),
    ROW(SET_CACHE, COFFERD, 1, NO_FD, put_set_cache, get_set_cache),
    ROW(SET_BUCKET, COFFERD, 1, WITH_FD, put_nothing, get_nothing),
    ROW(ADD_KEYS, COFFERD, 2, NO_FD, put_add_keys, get_add_keys),
    ROW(SNAPSHOT_TAKE, COFFERD, 1, NO_FD, put_snapshot_order, get_snapshot_order),
    ROW(SNAPSHOT_UPDATE, COFFERD, 1, NO_FD, put_snapshot_order, get_snapshot_order),
    ROW(SNAPSHOT_REMOVE, COFFERD, 1, NO_FD, put_snapshot_order, get_snapshot_order),
    ROW(SNAPSHOT_LIST, COFFERD, 1, NO_FD, put_snapshot_list, get_snapshot_list),
    ROW(SNAPSHOT_FIND, COFFERD, 4, NO_FD, put_snapshot_find, get_snapshot_find),
    ROW(TASK_START, COFFERD, 1, PERHAPS_FD, put_task_start, get_task_start),
    ROW(TASK_STOP, COFFERD, 1, NO_FD, put_task_stop, get_task_stop),
    ROW(TASK_SEAL, COFFERD, 2, NO_FD, put_task_start, get_task_start),
    ROW(TASK_SEALED, WORKER, 2, NO_FD, put_task_start, get_task_start),
    ROW(RESTORE, COFFERD, 1, NO_FD, put_snapshot_order, get_snapshot_order),
    ROW(SNAPSHOT_MOUNT, COFFERD, 1, WITH_FD, put_snapshot_mount, get_snapshot_mount),
    ROW(MOUNTS, COFFERD, 1, NO_FD, put_nothing, get_nothing),
    ROW(MOUNTS_REPLY, WORKER, 1, NO_FD, put_mounts_reply, get_mounts_reply),
    ROW(MOUNT_ENDED, WORKER, 1, NO_FD, put_mount_ended, get_mount_ended),
    ROW(BUCKET_ENDED, WORKER, 1, NO_FD, put_nothing, get_nothing),
    ROW(VERIFY, COFFERD, 1, WITH_FD, put_verify, get_verify),
    ROW(SNAPSHOT_DIFF, COFFERD, 1, NO_FD, put_snapshot_diff, get_snapshot_diff),
    ROW(KEY_USES, COFFERD, 5, NO_FD, put_nothing, get_nothing),
    ROW(KEY_USES_REPLY, WORKER, 5, NO_FD, put_key_uses, get_key_uses),
    ROW(DONE, WORKER, 1, NO_FD, put_done, get_done),
    ROW(STATUS_REPLY, WORKER, 1, NO_FD, put_status, get_status),
    ROW(CHECK_REPLY, WORKER, 1, NO_FD, put_check_reply, get_check_reply),
    ROW(SNAPSHOTS_REPLY, WORKER, 1, NO_FD, put_snapshots_reply, get_snapshots_reply),
    ROW(RESTORE_REPLY, WORKER, 1, NO_FD, put_restore_reply, get_restore_reply),
    ROW(SNAPSHOT_DIFF_REPLY, WORKER, 1, NO_FD, put_snapshot_diff_reply, get_snapshot_diff_reply),
    ROW(EVENT, WORKER, 1, NO_FD, put_event, get_event),
    ROW(UNMOUNTED, WORKER, 1, NO_FD, put_done, get_done),
    ROW(TASK_PROGRESS, WORKER, 1, NO_FD, put_task_progress, get_task_progress),
    ROW(TASK_DONE, WORKER, 1, NO_FD, put_task_done, get_task_done),
};

#define MESSAGE_COUNT (sizeof(messages) / sizeof(messages[0]))

static const struct row *find_row(unsigned type)
{
    return type < MESSAGE_COUNT && messages[type].put ? &messages[type] : NULL;
}

const struct worker_message_info *worker_message_info(unsigned type)
{
    const struct row *row = find_row(type);

    return row ? &row->info : NULL;
}

int worker_message_encode(const struct worker_message *message, uint8_t *ret, size_t *ret_len,
                          struct error *err)
{
    struct writer writer = writer_init(ret, WORKER_PACKET_MAX);
    const struct row *row = find_row(message->type);

    assert(row);
    writer_u8(&writer, PACKET_FORM);
    writer_u8(&writer, (uint8_t)message->type);
    writer_u16(&writer, 0);
    writer_u32(&writer, message->request);
    row->put(&writer, message);
    int r = writer_done(&writer);
    if (r < 0)
        return error_set(err, r, "a %s message became too long", row->info.name);
    *ret_len = writer.len;
    return 0;
}

static int end_of_body(const struct reader *reader, enum worker_side sender)
{
    if (sender == WORKER_SIDE_COFFERD)
        return reader_done(reader);
    return reader->failed ? -EBADMSG : 0;
}

int worker_message_decode(struct bytes packet, enum worker_side sender, struct worker_message *ret,
                          struct error *err)
{
    struct reader reader = reader_init(packet);
    uint8_t form = reader_u8(&reader);
    uint8_t type = reader_u8(&reader);
    uint16_t zero = reader_u16(&reader);
    uint32_t request = reader_u32(&reader);
    const struct row *row = find_row(type);

    memset(ret, 0, sizeof(*ret));
    if (!reader.failed && form != PACKET_FORM)
        return error_set(err, -EPROTONOSUPPORT,
                         "the other side sends packets of form %u, this one of form %u; restart "
                         "what is older",
                         form, PACKET_FORM);
    if (reader.failed || zero != 0)
        return error_set(err, -EBADMSG, "a worker message has a malformed beginning");
    ret->request = request;
    if (!row || row->info.sender != sender)
        return error_set(err, -EPROTO, "worker message %u is not for this side to send", type);
    ret->type = row->info.type;
    int r = row->get(&reader, ret);
    if (r == 0)
        r = end_of_body(&reader, sender);
    if (r < 0)
        return error_set(err, r, "a %s message is malformed: %s", row->info.name,
                         strerrordesc_np(-r));
    return 0;
}

void worker_message_release(struct worker_message *message)
{
    if (message->type == WORKER_START) {
        key_set_release(&message->start.keys);
        secret_release(&message->start.store_settings);
    }
    if (message->type == WORKER_VERIFY)
        key_set_release(&message->verify.keys);
    if (message->type == WORKER_ADD_KEYS)
        key_set_release(&message->add_keys.keys);
    message->type = (enum worker_message_type)0;
}
