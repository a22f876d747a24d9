/* The messages between cofferd and a worker: they come out as they went in, and nothing else
 * comes in at all. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "crypto/secret.h"
#include "host/import_order.h"
#include "host/unix_socket.h"
#include "host/upload_order.h"
#include "host/worker_protocol.h"
#include "keyring/key_ring.h"

static uint8_t packet[WORKER_PACKET_MAX];

static void fill_start(struct worker_message *message, uint32_t key_count)
{
    memset(message, 0, sizeof(*message));
    message->type = WORKER_START;
    message->request = 7;
    struct worker_start *start = &message->start;
    memset(start->uuid.bytes, 1, UUID_LEN);
    memset(start->owner.bytes, 2, UUID_LEN);
    (void)snprintf(start->meta_url, sizeof(start->meta_url), "lmdb:/a/meta");
    (void)snprintf(start->store_url, sizeof(start->store_url), "dir:/a/store");
    start->capacity = 1u << 30;
    start->cache_bytes = 1u << 20;
    (void)snprintf(start->cache_folder, sizeof(start->cache_folder), "/a/cache");
    start->block_size = 16384;
    start->flags = WORKER_FLAG_FORMAT | WORKER_FLAG_TAKE_OVER | WORKER_FLAG_DROP_ARRIVING |
                   WORKER_FLAG_SALVAGE;
    assert_int_equal(
        secret_assign(&start->store_settings, (struct bytes){ (const uint8_t *)"settings", 8 }), 0);
    start->uid = 65534;
    start->gid = 65533;
    for (uint32_t i = 0; i < key_count; i++) {
        assert_int_equal(secret_new(&start->keys.keys[i], FS_KEY_LEN), 0);
        memset(start->keys.keys[i].data, (int)(0x40 + i), FS_KEY_LEN);
        start->keys.generations[i] = 3 * i + 1;
        start->keys.count = i + 1;
    }
}

static void fill_origin(struct worker_start *start)
{
    struct secret key = SECRET_INIT;

    start->has_origin = true;
    memset(start->origin.manifest, 3, sizeof(start->origin.manifest));
    memset(start->origin.fs.bytes, 4, UUID_LEN);
    memset(start->origin.reference.bytes, 5, UUID_LEN);
    assert_int_equal(secret_new(&key, FS_KEY_LEN), 0);
    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++) {
        key.data[0] = (uint8_t)i;
        assert_int_equal(key_set_add_foreign(&start->keys, &start->origin.fs, i + 1, &key), 0);
    }
    secret_release(&key);
}

static struct bytes encode(const struct worker_message *message)
{
    size_t len = 0;

    assert_int_equal(worker_message_encode(message, packet, &len, NULL), 0);
    return (struct bytes){ packet, len };
}

static void start_carries_every_member_and_every_key(void **state)
{
    struct worker_message sent;
    struct worker_message got;
    (void)state;

    fill_start(&sent, KEY_GENERATIONS_MAX);
    fill_origin(&sent.start);
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_int_equal(got.type, WORKER_START);
    assert_int_equal(got.request, 7);
    assert_memory_equal(&got.start.uuid, &sent.start.uuid, UUID_LEN);
    assert_memory_equal(&got.start.owner, &sent.start.owner, UUID_LEN);
    assert_string_equal(got.start.meta_url, sent.start.meta_url);
    assert_string_equal(got.start.store_url, sent.start.store_url);
    assert_true(got.start.capacity == sent.start.capacity);
    assert_true(got.start.cache_bytes == sent.start.cache_bytes);
    assert_string_equal(got.start.cache_folder, "/a/cache");
    assert_int_equal(got.start.block_size, 16384);
    assert_int_equal(got.start.flags, sent.start.flags);
    assert_int_equal(got.start.uid, 65534);
    assert_int_equal(got.start.gid, 65533);
    assert_true(secret_equal(secret_bytes(&got.start.store_settings),
                             secret_bytes(&sent.start.store_settings)));
    assert_true(got.start.has_origin);
    assert_memory_equal(&got.start.origin, &sent.start.origin, sizeof(got.start.origin));
    assert_int_equal(got.start.keys.foreign_count, KEY_GENERATIONS_MAX);
    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++)
        assert_int_equal(
            key_set_find_foreign(&got.start.keys, &got.start.origin.fs, i + 1)->data[0], i);
    assert_int_equal(got.start.keys.count, KEY_GENERATIONS_MAX);
    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++) {
        assert_int_equal(got.start.keys.generations[i], 3 * i + 1);
        assert_memory_equal(got.start.keys.keys[i].data, sent.start.keys.keys[i].data, FS_KEY_LEN);
    }
    worker_message_release(&got);
    worker_message_release(&sent);
}

static void status_reply_carries_every_member(void **state)
{
    struct worker_message sent = { .type = WORKER_STATUS_REPLY, .request = 1u << 31 };
    struct worker_message got;
    (void)state;

    sent.status = (struct worker_status_reply){ .is_started = true,
                                                .is_read_only = true,
                                                .pid = 12,
                                                .mountpoint = "/mnt/a b",
                                                .capacity = 1,
                                                .total = 2,
                                                .free = 3,
                                                .used = 4,
                                                .files = 5,
                                                .files_free = 6,
                                                .corruptions = 7,
                                                .generation_count = 2,
                                                .generations = { 1, 9 },
                                                .cache_used = 10,
                                                .cache_hits = 11,
                                                .cache_misses = 12,
                                                .has_origin = true,
                                                .origin_data = 13,
                                                .origin_data_left = 14,
                                                .speaks = 0xfffffffe,
                                                .salvages = true };
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_true(got.request == 1u << 31);
    assert_memory_equal(&got.status, &sent.status, sizeof(got.status));
    worker_message_release(&got);

    sent.status.speaks = 2;
    struct bytes older = encode(&sent); /* of workers that did not tell of salvaging, ... */
    assert_int_equal(worker_message_decode(older, WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_int_equal(got.status.speaks, 2);
    assert_false(got.status.salvages);
    older.len -= 4; /* ... nor their version, ... */
    assert_int_equal(worker_message_decode(older, WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_int_equal(got.status.speaks, 1);
    assert_true(got.status.has_origin);
    older.len -= 17; /* ... that were without this, ... */
    assert_int_equal(worker_message_decode(older, WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_int_equal(got.status.speaks, 1);
    assert_false(got.status.has_origin);
    assert_int_equal(got.status.cache_misses, 12);
    older.len -= 24; /* ... and without a cache */
    assert_int_equal(worker_message_decode(older, WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_int_equal(got.status.cache_misses, 0);
    assert_int_equal(got.status.generations[1], 9);
}

static void the_longest_report_fits(void **state)
{
    static struct worker_message sent = { .type = WORKER_CHECK_REPLY };
    static struct worker_message got;
    (void)state;

    memset(sent.check_reply.report, 'x', WORKER_REPORT_SIZE - 1);
    sent.check_reply.faults = 1u << 20;
    sent.check_reply.is_cut = true;
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_string_equal(got.check_reply.report, sent.check_reply.report);
    assert_true(got.check_reply.is_cut);
}

static void snapshots_and_orders_about_them_carry_every_member(void **state)
{
    static struct worker_message sent;
    static struct worker_message got;
    (void)state;

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_SNAPSHOT_UPDATE;
    memset(sent.snapshot.name, 'n', WORKER_NAME_SIZE - 1);
    memset(sent.snapshot.new_name, 'o', WORKER_NAME_SIZE - 1);
    memset(sent.snapshot.access_point, 'a', WORKER_NAME_SIZE - 1);
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_memory_equal(&got.snapshot, &sent.snapshot, sizeof(sent.snapshot));

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_SNAPSHOTS_REPLY;
    sent.snapshots.has_more = true;
    sent.snapshots.count = WORKER_SNAPSHOTS_MAX;
    for (uint32_t i = 0; i < WORKER_SNAPSHOTS_MAX; i++) {
        struct worker_snapshot *item = &sent.snapshots.items[i];
        item->id = 1000 + i;
        item->created_ns = -(int64_t)i;
        item->is_removing = i % 2 == 1;
        memset(item->name, 'n', WORKER_NAME_SIZE - 1);
        memset(item->access_point, 'a', WORKER_NAME_SIZE - 1);
    }
    struct bytes bytes = encode(&sent);
    assert_int_equal(worker_message_decode(bytes, WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_memory_equal(&got.snapshots, &sent.snapshots, sizeof(sent.snapshots));
    packet[9]++; /* one more than there may be */
    assert_int_equal(worker_message_decode(bytes, WORKER_SIDE_WORKER, &got, NULL), -EBADMSG);

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_RESTORE_REPLY;
    sent.restored.inodes = UINT64_MAX - 2;
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_true(got.restored.inodes == UINT64_MAX - 2);

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_SNAPSHOT_DIFF;
    sent.snapshot_diff = (struct worker_snapshot_diff){
        .older = "a", .newer = "b", .ino = UINT64_MAX - 3, .count = UINT32_MAX - 4
    };
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_memory_equal(&got.snapshot_diff, &sent.snapshot_diff, sizeof(sent.snapshot_diff));

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_SNAPSHOT_DIFF_REPLY;
    sent.differences.has_more = true;
    sent.differences.ino = 5;
    sent.differences.count = 6;
    memset(sent.differences.text, 't', WORKER_DIFF_SIZE - 1);
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_memory_equal(&got.differences, &sent.differences, sizeof(sent.differences));

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_SNAPSHOT_LIST;
    sent.snapshot_list.behind = UINT64_MAX - 1;
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_true(got.snapshot_list.behind == UINT64_MAX - 1);

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_SNAPSHOT_FIND;
    sent.snapshot_find = (struct worker_snapshot_find){ .id = UINT64_MAX - 2, .name = "\t" };
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_memory_equal(&got.snapshot_find, &sent.snapshot_find, sizeof(sent.snapshot_find));
}

static void a_verification_carries_its_keys_and_a_sample_of_none_is_refused(void **state)
{
    static struct worker_message sent;
    static struct worker_message got;
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    uint8_t bytes[FS_KEY_LEN];

    (void)state;
    memset(bytes, 7, sizeof(bytes));
    assert_int_equal(secret_assign(&key, (struct bytes){ bytes, sizeof(bytes) }), 0);
    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_VERIFY;
    memset(sent.verify.manifest, 9, WORKER_MANIFEST_LEN);
    sent.verify.one_in = 3;
    sent.verify.uid = 4;
    sent.verify.gid = 5;
    assert_int_equal(key_set_add(&sent.verify.keys, 2, &key), 0);
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_memory_equal(got.verify.manifest, sent.verify.manifest, WORKER_MANIFEST_LEN);
    assert_int_equal(got.verify.one_in, 3);
    assert_int_equal(got.verify.uid, 4);
    assert_int_equal(got.verify.gid, 5);
    assert_non_null(key_set_find(&got.verify.keys, 2));
    worker_message_release(&got);
    sent.verify.one_in = 0;
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL),
                     -EBADMSG);
    key_set_release(&sent.verify.keys);
}

static void keys_that_are_added_are_foreign_ones(void **state)
{
    static struct worker_message sent;
    static struct worker_message got;
    const struct uuid origin = { { 3 } };
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    (void)state;
    assert_int_equal(secret_new(&key, FS_KEY_LEN), 0);
    sent.type = WORKER_ADD_KEYS;
    for (uint32_t i = 1; i <= KEY_GENERATIONS_MAX; i++) {
        key.data[0] = (uint8_t)i;
        assert_int_equal(key_set_add_foreign(&sent.add_keys.keys, &origin, i, &key), 0);
    }
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_int_equal(got.add_keys.keys.count, 0);
    assert_int_equal(got.add_keys.keys.foreign_count, KEY_GENERATIONS_MAX);
    for (uint32_t i = 1; i <= KEY_GENERATIONS_MAX; i++)
        assert_int_equal(key_set_find_foreign(&got.add_keys.keys, &origin, i)->data[0], i);
    worker_message_release(&got);
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_WORKER, &got, NULL), -EPROTO);
    worker_message_release(&got);
    sent.add_keys.keys.foreign[1].generation = 1; /* two of one number */
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL),
                     -EBADMSG);
    worker_message_release(&got);
    worker_message_release(&sent);
}

static void which_keys_are_used_is_told_without_them(void **state)
{
    static struct worker_message sent, got;

    (void)state;
    sent = (struct worker_message){ .type = WORKER_KEY_USES_REPLY };
    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++)
        assert_int_equal(
            foreign_key_ids_add(&sent.key_uses, &(struct uuid){ { (uint8_t)(i / 2) } }, i % 2 + 1),
            0);
    assert_int_equal(foreign_key_ids_add(&sent.key_uses, &(struct uuid){ { 0 } }, 1), 0);
    assert_int_equal(foreign_key_ids_add(&sent.key_uses, &(struct uuid){ { 99 } }, 1), -ENOSPC);
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_int_equal(got.key_uses.count, KEY_GENERATIONS_MAX);
    assert_memory_equal(&got.key_uses, &sent.key_uses, sizeof(got.key_uses));
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL),
                     -EPROTO);
    /* More than a ring can have. */
    struct bytes whole = encode(&sent);
    static uint8_t longer[WORKER_PACKET_MAX];
    memcpy(longer, whole.data, whole.len);
    memset(longer + whole.len, 0xee, UUID_LEN + 4);
    longer[8] = KEY_GENERATIONS_MAX + 1;
    whole = (struct bytes){ longer, whole.len + UUID_LEN + 4 };
    assert_int_equal(worker_message_decode(whole, WORKER_SIDE_WORKER, &got, NULL), -EBADMSG);
}

static void tasks_carry_every_member(void **state)
{
    static struct worker_message sent;
    static struct worker_message got;
    struct worker_task_start *start = &sent.task_start;
    (void)state;

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_TASK_START;
    start->task = 1;
    start->run = UINT64_MAX;
    memset(start->kind, 'k', WORKER_TASK_KIND_SIZE - 1);
    start->parameters_len = WORKER_TASK_PARAMETERS_MAX;
    memset(start->parameters, 'p', WORKER_TASK_PARAMETERS_MAX);
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_memory_equal(&got.task_start, start, sizeof(*start));
    sent.type = WORKER_TASK_SEAL;
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_memory_equal(&got.task_start, start, sizeof(*start));
    sent.type = WORKER_TASK_SEALED;
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_memory_equal(&got.task_start, start, sizeof(*start));

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_TASK_STOP;
    sent.task_stop.task = 77;
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_int_equal(got.task_stop.task, 77);

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_TASK_PROGRESS;
    sent.task_progress = (struct worker_task_progress){
        .task = 1, .run = 2, .total = 3, .done = 4, .moved = 5, .phase = "data"
    };
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_memory_equal(&got.task_progress, &sent.task_progress, sizeof(sent.task_progress));

    memset(&sent, 0, sizeof(sent));
    sent.type = WORKER_TASK_DONE;
    sent.task_done = (struct worker_task_done){
        .task = 1, .run = 2, .code = -EIO, .is_final = true, .text = "why", .result = "what"
    };
    struct bytes bytes = encode(&sent);
    assert_int_equal(worker_message_decode(bytes, WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_memory_equal(&got.task_done, &sent.task_done, sizeof(sent.task_done));
    packet[8 + 16 + 3] = 0; /* a code that is no failure and not 0 */
    assert_int_equal(worker_message_decode(bytes, WORKER_SIDE_WORKER, &got, NULL), -EBADMSG);
}

static void an_order_to_upload_carries_every_member(void **state)
{
    static struct worker_task_start start;
    static uint8_t ring[KEY_RING_MAX];
    struct upload_order order = { .snapshot = 5,
                                  .started_ns = 7,
                                  .hides_names = true,
                                  .filesystem = "projects",
                                  .ring = { ring, sizeof(ring) } };
    struct upload_order got;
    (void)state;

    memset(ring, 'r', sizeof(ring));
    memset(order.upload.bytes, 1, UUID_LEN);
    memset(order.instance.bytes, 2, UUID_LEN);
    assert_int_equal(upload_order_encode(&order, &start), 0);
    struct bytes encoded = { start.parameters, start.parameters_len };
    assert_int_equal(upload_order_decode(encoded, &got), 0);
    assert_int_equal(got.snapshot, 5);
    assert_int_equal(got.started_ns, 7);
    assert_true(got.hides_names && uuid_equal(&got.upload, &order.upload));
    assert_true(uuid_equal(&got.instance, &order.instance));
    assert_string_equal(got.filesystem, "projects");
    assert_int_equal(got.ring.len, sizeof(ring));
    assert_memory_equal(got.ring.data, ring, sizeof(ring));
    for (size_t len = 0; len < 100; len++)
        assert_int_equal(upload_order_decode((struct bytes){ encoded.data, len }, &got), -EBADMSG);
}

static void an_order_to_import_carries_every_member(void **state)
{
    struct import_order order = { .name = "monday", .is_drop = true };
    uint8_t encoded[IMPORT_ORDER_MAX + 1] = { 0 };
    struct import_order got;
    size_t len = 0;
    (void)state;

    memset(order.manifest, 3, sizeof(order.manifest));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(import_order_encode(&order, encoded, &len), 0);
        assert_int_equal(import_order_decode((struct bytes){ encoded, len }, &got), 0);
        assert_memory_equal(got.manifest, order.manifest, sizeof(got.manifest));
        assert_string_equal(got.name, order.name);
        assert_int_equal(got.is_drop, order.is_drop);
        for (size_t other = 0; other <= len + 1; other++)
            if (other != len)
                assert_int_equal(import_order_decode((struct bytes){ encoded, other }, &got),
                                 -EBADMSG);
        order = (struct import_order){ .is_drop = false }; /* no name is one, too */
    }
    encoded[1] = 2;
    assert_int_equal(import_order_decode((struct bytes){ encoded, len }, &got), -EBADMSG);
    encoded[0] = 3;
    assert_int_equal(import_order_decode((struct bytes){ encoded, len }, &got), -EPROTONOSUPPORT);
}

static void an_order_to_import_may_have_its_name_sealed(void **state)
{
    struct import_order order = { .is_sealed = true };
    uint8_t encoded[IMPORT_ORDER_MAX + 1] = { 0 };
    struct import_order got;
    size_t len = 0;
    (void)state;

    memset(order.manifest, 3, sizeof(order.manifest));
    memset(order.sealed, 4, sizeof(order.sealed));
    assert_int_equal(import_order_encode(&order, encoded, &len), 0);
    assert_int_equal(len, IMPORT_ORDER_MAX);
    assert_int_equal(import_order_decode((struct bytes){ encoded, len }, &got), 0);
    assert_true(got.is_sealed);
    assert_memory_equal(got.manifest, order.manifest, sizeof(got.manifest));
    assert_memory_equal(got.sealed, order.sealed, sizeof(got.sealed));
    assert_string_equal(got.name, "");
    for (size_t other = 0; other <= len + 1; other++)
        if (other != len)
            assert_int_equal(import_order_decode((struct bytes){ encoded, other }, &got), -EBADMSG);
    encoded[1] = 1; /* nothing is taken away under a name */
    assert_int_equal(import_order_decode((struct bytes){ encoded, len }, &got), -EBADMSG);
}

static void an_order_to_import_of_an_earlier_version_is_read(void **state)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct import_order got;
    (void)state;

    assert_int_equal(file_read(FORMATS_FOLDER "/import-order-v1.bin", 4096, &encoded, NULL), 0);
    assert_int_equal(import_order_decode(buf_bytes(&encoded), &got), 0);
    assert_false(got.is_sealed);
    assert_string_equal(got.name, "monday");
    assert_int_equal(got.manifest[31], 7);
}

static void mounts_of_snapshots_carry_every_member(void **state)
{
    struct worker_message sent = { .type = WORKER_SNAPSHOT_MOUNT, .snapshot_mount = { 77 } };
    struct worker_message got;
    (void)state;

    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_COFFERD, &got, NULL), 0);
    assert_int_equal(got.snapshot_mount.snapshot, 77);
    sent = (struct worker_message){ .type = WORKER_MOUNT_ENDED };
    sent.mount_ended = (struct worker_mount_ended){ 78, -5, "a disk failed" };
    assert_int_equal(worker_message_decode(encode(&sent), WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_memory_equal(&got.mount_ended, &sent.mount_ended, sizeof(sent.mount_ended));
    sent = (struct worker_message){ .type = WORKER_MOUNTS_REPLY };
    sent.mounts.has_ended = true;
    sent.mounts.count = WORKER_SNAPSHOT_MOUNTS_MAX;
    for (uint32_t i = 0; i < WORKER_SNAPSHOT_MOUNTS_MAX; i++)
        sent.mounts.snapshots[i] = i + 1;
    struct bytes bytes = encode(&sent);
    assert_int_equal(worker_message_decode(bytes, WORKER_SIDE_WORKER, &got, NULL), 0);
    assert_true(got.mounts.has_ended);
    assert_int_equal(got.mounts.count, WORKER_SNAPSHOT_MOUNTS_MAX);
    assert_memory_equal(got.mounts.snapshots, sent.mounts.snapshots, sizeof(sent.mounts.snapshots));
    packet[9]++; /* one more than there may be */
    assert_int_equal(worker_message_decode(bytes, WORKER_SIDE_WORKER, &got, NULL), -EBADMSG);
}

static void a_message_of_the_other_side_is_refused(void **state)
{
    struct worker_message message;
    struct worker_message got;
    (void)state;

    fill_start(&message, 1);
    assert_int_equal(worker_message_decode(encode(&message), WORKER_SIDE_WORKER, &got, NULL),
                     -EPROTO);
    worker_message_release(&got);
    worker_message_release(&message);
    message = (struct worker_message){ .type = WORKER_DONE };
    assert_int_equal(worker_message_decode(encode(&message), WORKER_SIDE_COFFERD, &got, NULL),
                     -EPROTO);
}

static void an_unknown_number_or_form_is_refused(void **state)
{
    struct worker_message message = { .type = WORKER_STOP, .request = 77 };
    struct worker_message got;
    (void)state;

    struct bytes bytes = encode(&message);
    for (unsigned number = 0; number < 256; number++) {
        const struct worker_message_info *info = worker_message_info(number);
        packet[1] = (uint8_t)number;
        if (info && info->sender == WORKER_SIDE_COFFERD)
            continue;
        assert_int_equal(worker_message_decode(bytes, WORKER_SIDE_COFFERD, &got, NULL), -EPROTO);
        assert_int_equal(got.request, 77); /* so it can be answered */
    }
    packet[1] = WORKER_STOP;
    assert_int_equal(worker_message_decode(bytes, WORKER_SIDE_COFFERD, &got, NULL), 0);
    packet[0]++;
    assert_int_equal(worker_message_decode(bytes, WORKER_SIDE_COFFERD, &got, NULL),
                     -EPROTONOSUPPORT);
    assert_int_equal(got.request, 0);
}

static void each_message_has_a_number_of_its_own_and_a_version_that_there_is(void **state)
{
    (void)state;

    for (unsigned number = 0; number < 256; number++) {
        const struct worker_message_info *info = worker_message_info(number);
        if (!info)
            continue;
        assert_int_equal(info->type, number);
        assert_true(info->since >= 1 && info->since <= WORKER_SPEAKS);
    }
}

static void a_shortened_or_lengthened_order_is_refused(void **state)
{
    struct worker_message message;
    struct worker_message got;
    (void)state;

    fill_start(&message, 2);
    struct bytes bytes = encode(&message);
    for (size_t len = 0; len < bytes.len; len++) {
        assert_int_not_equal(
            worker_message_decode((struct bytes){ packet, len }, WORKER_SIDE_COFFERD, &got, NULL),
            0);
        worker_message_release(&got);
    }
    assert_int_equal(worker_message_decode((struct bytes){ packet, bytes.len + 1 },
                                           WORKER_SIDE_COFFERD, &got, NULL),
                     -EBADMSG);
    worker_message_release(&got);
    worker_message_release(&message);
}

/* Of each message that a worker sends, as short as it can be. */
static void what_a_later_worker_has_behind_a_message_is_passed_over(void **state)
{
    static struct worker_message sent;
    static struct worker_message got;
    unsigned tried = 0;
    (void)state;

    for (unsigned number = 0; number < 256; number++) {
        const struct worker_message_info *info = worker_message_info(number);
        if (!info || info->sender != WORKER_SIDE_WORKER)
            continue;
        memset(&sent, 0, sizeof(sent));
        sent.type = info->type;
        sent.request = 9;
        if (sent.type == WORKER_STATUS_REPLY) {
            sent.status.used = 5;
            sent.status.speaks = WORKER_SPEAKS + 1;
        }
        struct bytes bytes = encode(&sent);
        memset(packet + bytes.len, 0xff, 7);
        bytes.len += 7;
        assert_int_equal(worker_message_decode(bytes, WORKER_SIDE_WORKER, &got, NULL), 0);
        assert_int_equal(got.type, info->type);
        assert_int_equal(got.request, 9);
        if (got.type == WORKER_STATUS_REPLY)
            assert_memory_equal(&got.status, &sent.status, sizeof(got.status));
        worker_message_release(&got);
        tried++;
    }
    assert_true(tried > 10);
}

static void keys_out_of_order_are_refused(void **state)
{
    struct worker_message message;
    struct worker_message got;
    (void)state;

    fill_start(&message, 2);
    message.start.keys.generations[1] = message.start.keys.generations[0];
    assert_int_equal(worker_message_decode(encode(&message), WORKER_SIDE_COFFERD, &got, NULL),
                     -EBADMSG);
    worker_message_release(&got);
    worker_message_release(&message);
}

static void mount_brings_its_descriptor_and_others_bring_none(void **state)
{
    struct worker_message sent = { .type = WORKER_MOUNT, .mount = { "/mnt", true } };
    struct worker_message got;
    struct stat a, b;
    int pair[2];
    int fd = -1;
    size_t len;
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(worker_message_send(pair[0], &sent, null_fd, 1000, NULL), 0);
    assert_int_equal(worker_message_receive(pair[1], WORKER_SIDE_COFFERD, &got, &fd, 1000, NULL),
                     0);
    assert_string_equal(got.mount.mountpoint, "/mnt");
    assert_int_equal(fstat(null_fd, &a), 0);
    assert_int_equal(fstat(fd, &b), 0);
    assert_true(a.st_rdev == b.st_rdev && fd != null_fd);
    (void)close(fd);

    /* MOUNT without one, STOP with one */
    assert_int_equal(worker_message_encode(&sent, packet, &len, NULL), 0);
    assert_int_equal(unix_socket_send(pair[0], (struct bytes){ packet, len }, -1, 1000, NULL), 0);
    assert_int_equal(worker_message_receive(pair[1], WORKER_SIDE_COFFERD, &got, &fd, 1000, NULL),
                     -EBADMSG);
    sent = (struct worker_message){ .type = WORKER_STOP };
    assert_int_equal(worker_message_encode(&sent, packet, &len, NULL), 0);
    assert_int_equal(unix_socket_send(pair[0], (struct bytes){ packet, len }, null_fd, 1000, NULL),
                     0);
    assert_int_equal(worker_message_receive(pair[1], WORKER_SIDE_COFFERD, &got, &fd, 1000, NULL),
                     -EBADMSG);
    (void)close(null_fd);
    (void)close(pair[0]);
    assert_int_equal(worker_message_receive(pair[1], WORKER_SIDE_COFFERD, &got, &fd, 1000, NULL),
                     -EPIPE);
    (void)close(pair[1]);
}

static int set_up(void **state)
{
    (void)state;
    return secret_heap_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_carries_every_member_and_every_key),
        cmocka_unit_test(status_reply_carries_every_member),
        cmocka_unit_test(the_longest_report_fits),
        cmocka_unit_test(snapshots_and_orders_about_them_carry_every_member),
        cmocka_unit_test(a_verification_carries_its_keys_and_a_sample_of_none_is_refused),
        cmocka_unit_test(keys_that_are_added_are_foreign_ones),
        cmocka_unit_test(which_keys_are_used_is_told_without_them),
        cmocka_unit_test(tasks_carry_every_member),
        cmocka_unit_test(an_order_to_upload_carries_every_member),
        cmocka_unit_test(an_order_to_import_carries_every_member),
        cmocka_unit_test(an_order_to_import_may_have_its_name_sealed),
        cmocka_unit_test(an_order_to_import_of_an_earlier_version_is_read),
        cmocka_unit_test(mounts_of_snapshots_carry_every_member),
        cmocka_unit_test(a_message_of_the_other_side_is_refused),
        cmocka_unit_test(an_unknown_number_or_form_is_refused),
        cmocka_unit_test(each_message_has_a_number_of_its_own_and_a_version_that_there_is),
        cmocka_unit_test(a_shortened_or_lengthened_order_is_refused),
        cmocka_unit_test(what_a_later_worker_has_behind_a_message_is_passed_over),
        cmocka_unit_test(keys_out_of_order_are_refused),
        cmocka_unit_test(mount_brings_its_descriptor_and_others_bring_none),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
