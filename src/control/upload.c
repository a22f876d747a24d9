#include "control/upload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/wire.h"
#include "control/bucket_session.h"
#include "control/locators.h"
#include "control/object_stores.h"
#include "control/uploads.h"
#include "control/uploads_removal.h"
#include "host/upload_order.h"
#include "transfer/upload.h"

#define PARAMETERS_VERSION 1u
#define FLAG_HIDES_NAMES 1u
#define FLAG_ALLOW_NO_KMS 2u
#define TURN_PAUSE_MS 500

/* --- how it begins --- */

static int expect_kms(struct filesystem *fs, bool is_allowed, struct error *err)
{
    mutex_lock(&fs->lock);
    bool is_local = strcmp(fs->wrapped.provider, "local") == 0;
    mutex_unlock(&fs->lock);
    if (!is_local || is_allowed)
        return 0;
    return error_set(
        err, -EPERM,
        "the key of filesystem %s is wrapped by a local file, which is not uploaded: "
        "without this host's state folder, or a recovery copy (coffer fs key export), "
        "nobody could open the snapshot. Configure a KMS (coffer security kms set), or "
        "give --allow-no-kms",
        fs->record.name);
}

static int find_snapshot(struct filesystem *fs, const char *name, uint64_t *ret, struct error *err)
{
    struct control_snapshot snapshot = { .id = 0 };
    bool is_there = false;

    int r = filesystem_look_for_snapshot(fs, name, &snapshot, &is_there, err);
    if (r == 0 && !is_there)
        r = error_set(err, -ENOENT,
                      "filesystem %s has no snapshot '%.64s'; 'coffer fs snapshot' lists them",
                      fs->record.name, name);
    if (r == 0)
        *ret = snapshot.id;
    return r;
}

static int audit(struct filesystem *fs, const struct task_new *what, struct error *err)
{
    char text[AUDIT_TEXT_SIZE];

    (void)snprintf(text, sizeof(text),
                   "snapshot %" PRIu64 ", with the wrapped key, to object store %s", what->snapshot,
                   what->store);
    return filesystem_audit(fs, AUDIT_UPLOAD, 0, text, err);
}

/* While nobody removes the snapshot. */
static int begin_locked(struct filesystem *fs, const struct snapshot_upload *upload,
                        struct task_new *what, struct task_view *ret, struct error *err)
    REQUIRES(fs->snapshots)
{
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);

    if (!worker)
        return error_set(err, -EBUSY, "filesystem %s is not started; mount it first",
                         fs->record.name);
    int r = find_snapshot(fs, upload->snapshot, &what->snapshot, err);
    const struct task_use use = { &fs->record.uuid, what->snapshot, what->store };
    if (r == 0)
        r = tasks_expect_none(fs->control, &use, err);
    if (r == 0)
        r = audit(fs, what, err);
    return r == 0 ? task_add(fs->control, what, ret, err) : r;
}

int control_snapshot_upload(struct control *control, const char *fs_name,
                            const struct snapshot_upload *upload, struct task_view *ret,
                            struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, fs_name, err);
    const uint8_t parameters[] = { PARAMETERS_VERSION,
                                   (uint8_t)((upload->hides_names ? FLAG_HIDES_NAMES : 0) |
                                             (upload->allow_no_kms ? FLAG_ALLOW_NO_KMS : 0)) };
    char store[STORE_NAME_MAX + 1];

    if (!fs)
        return -ENOENT;
    int r = control_store_choose(control, &upload->store, store, err);
    if (r == 0)
        r = expect_kms(fs, upload->allow_no_kms, err);
    if (r < 0)
        return r;
    struct task_new what = { .kind = &upload_kind,
                             .fs = fs,
                             .store = store,
                             .parameters = { parameters, sizeof(parameters) } };
    mutex_lock(&fs->snapshots);
    r = begin_locked(fs, upload, &what, ret, err);
    mutex_unlock(&fs->snapshots);
    return r;
}

/* --- the work --- */

static int read_flags(struct task *task, uint8_t *ret, struct error *err)
{
    const struct task_record *record = task_record(task);
    struct reader reader =
        reader_init((struct bytes){ record->parameters, record->parameters_len });
    uint8_t version = reader_u8(&reader);
    uint8_t flags = reader_u8(&reader);

    if (version == PARAMETERS_VERSION && reader_done(&reader) == 0) {
        *ret = flags;
        return 0;
    }
    task_give_up(task);
    return error_set(err, -EPROTONOSUPPORT,
                     "the parameters of the upload were written by a later version of coffer");
}

/* Of the same filesystem into the same store one after the other: each finds there what the one
 * before has put. */
static uint64_t one_before(struct task *task)
{
    CLEANUP(free_ptr) struct task_view *views = NULL;
    const struct task_record *record = task_record(task);
    uint64_t found = 0;
    size_t count = 0;

    if (control_task_list(task_control(task), &views, &count, NULL) < 0)
        return 0;
    for (size_t i = 0; i < count && views[i].id < record->id; i++)
        if (views[i].state == TASK_RUNNING && strcmp(views[i].kind, record->kind) == 0 &&
            strcmp(views[i].filesystem, record->filesystem) == 0 &&
            strcmp(views[i].store, record->store) == 0)
            found = views[i].id;
    return found;
}

static int wait_for_turn(struct task *task)
{
    char phase[TASK_PHASE_SIZE];
    uint64_t before;
    int r = 0;

    while (r == 0 && (before = one_before(task)) != 0) {
        (void)snprintf(phase, sizeof(phase), "waits for task %" PRIu64, before);
        task_report(task, 0, 0, 0, phase);
        r = task_sleep(task, TURN_PAUSE_MS);
    }
    return r;
}

static int read_ring(struct filesystem *fs, struct buf *ret, struct error *err)
{
    filesystem_hold_rings(fs);
    int r = registry_get_ring(fs->control->registry, &fs->record.uuid, ret, err);
    filesystem_let_rings(fs);
    return r;
}

static int do_in_worker(struct task *task, struct filesystem *fs, uint8_t flags, struct bytes ring,
                        struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(1, sizeof(*message));
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);
    CLEANUP(close_fd) int fd = -1;
    const struct task_record *record = task_record(task);
    struct upload_order order = { .snapshot = record->snapshot,
                                  .upload = record->uuid,
                                  .started_ns = (uint64_t)record->created_ns,
                                  .hides_names = flags & FLAG_HIDES_NAMES,
                                  .ring = ring };

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    control_instance(task_control(task), &order.instance);
    (void)snprintf(order.filesystem, sizeof(order.filesystem), "%s", record->filesystem);
    if (upload_order_encode(&order, &message->task_start) < 0)
        return error_set(err, -ENOSPC, "the key ring of %s is too long", record->filesystem);
    /* Without a worker there is no use for a process that holds the store. */
    int r = worker ? bucket_session_start(task_control(task), record->store, &fd, err) : 0;
    return r < 0 ? r : task_run_in_worker(task, fs, message, fd, err);
}

/* The keys were wrapped anew meanwhile, perhaps because what wrapped them before is in wrong hands:
 * the head gets the ring as it is now. */
static int renew_ring(struct task *task, struct bytes ring, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(buf_release) struct buf head = BUF_INIT;
    CLEANUP(buf_release) struct buf changed = BUF_INIT;
    char name[OBJECT_NAME_MAX + 1];
    struct locator locator;
    struct bucket bucket;

    int r = locator_parse(task_record(task)->result, &locator, err);
    if (r == 0)
        r = bucket_session_open(task_control(task), task_record(task)->store, &store, err);
    if (r == 0)
        r = bucket_init(&bucket, store, "", err);
    if (r == 0)
        r = head_get(&bucket, locator.manifest, &head, err);
    if (r == 0)
        r = head_exchange_ring(buf_bytes(&head), ring, &changed, err);
    if (r < 0)
        return r;
    const struct bucket_name of_head = bucket_name_of(BUCKET_HEAD, locator.manifest);
    bucket_object_name(&bucket, &of_head, name);
    return object_store_replace(store, name, buf_bytes(&changed), err);
}

static int keep_locator(struct task *task, struct error *err)
{
    const struct task_record *record = task_record(task);
    struct locator_record found = { .fs = record->fs,
                                    .snapshot = record->snapshot,
                                    .uploaded_ns = clock_wall_ns() };

    memcpy(found.store, record->store, sizeof(found.store));
    (void)snprintf(found.locator, sizeof(found.locator), "%.64s", record->result);
    return locators_put(task_control(task), &found, err);
}

static bool same_bytes(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static int upload(struct task *task, struct filesystem *fs, uint8_t flags, struct error *err)
{
    CLEANUP(buf_release) struct buf ring = BUF_INIT;
    CLEANUP(buf_release) struct buf later = BUF_INIT;

    int r = read_ring(fs, &ring, err);
    if (r == 0)
        r = do_in_worker(task, fs, flags, buf_bytes(&ring), err);
    if (r == 0)
        r = read_ring(fs, &later, err);
    if (r == 0 && !same_bytes(&ring, &later))
        r = renew_ring(task, buf_bytes(&later), err);
    return r == 0 ? keep_locator(task, err) : r;
}

static int run(struct task *task, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = NULL;
    uint8_t flags = 0;

    int r = read_flags(task, &flags, err);
    if (r == 0)
        r = task_filesystem(task, &fs, err);
    if (r == 0)
        r = expect_kms(fs, flags & FLAG_ALLOW_NO_KMS, err);
    if (r == 0)
        r = wait_for_turn(task);
    return r == 0 ? upload(task, fs, flags, err) : r;
}

/* --- what is left of one that will not go on --- */

struct published {
    struct locator items[8];
    size_t count;
};

/* One that was told to stop may have ended just before, unheard: then its head is there. */
static int find_published(struct task *task, const struct bucket *bucket, struct published *ret,
                          struct error *err)
{
    const struct task_record *record = task_record(task);
    struct reference_head about = { .kind = REFERENCE_UPLOAD,
                                    .reference = record->uuid,
                                    .fs = record->fs,
                                    .written_ns = (uint64_t)record->created_ns };
    struct reference reference;

    control_instance(task_control(task), &about.instance);
    int r = reference_open(&reference, bucket, &about, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < reference.names.count && r == 0 && ret->count < 8; i++) {
        struct bucket_name name = reference.names.items[i].name;
        uint64_t size = 0;
        if (name.kind != BUCKET_MANIFEST)
            continue;
        name.kind = BUCKET_HEAD;
        int found = bucket_stat(bucket, &name, &size, err);
        if (found == 0)
            memcpy(ret->items[ret->count++].manifest, name.id, HASH_LEN);
        r = found == -ENOENT ? 0 : found;
    }
    reference_close(&reference);
    return r;
}

static int drop_reference(struct task *task, struct published *ret, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    const struct task_record *record = task_record(task);
    struct bucket bucket;

    int r = bucket_session_open(task_control(task), record->store, &store, err);
    if (r == 0)
        r = bucket_init(&bucket, store, "", err);
    if (r == 0)
        r = find_published(task, &bucket, ret, err);
    return r == 0 && ret->count == 0 ? upload_abort(&bucket, &record->uuid, err) : r;
}

static int undo(struct task *task, struct error *err)
{
    struct published published = { .count = 0 };
    struct uploads_removed removed;

    int r = drop_reference(task, &published, err);
    if (r == 0)
        r = uploads_remove(task_control(task), task_record(task)->store, published.items,
                           published.count, &removed, err);
    if (r == -EBUSY) /* somebody has to look at the store; the next removal there takes it away */
        task_give_up(task);
    return r;
}

static void ending(struct task *task, enum task_state to)
{
    const struct task_record *record = task_record(task);
    char what[TASK_ABOUT_SIZE];

    (void)snprintf(what, sizeof(what), "the upload of snapshot %" PRIu64 " to %s", record->snapshot,
                   record->store);
    task_audit_ending(task, to, AUDIT_UPLOAD, what);
}

const struct task_kind upload_kind = {
    .name = "upload", .unit = "bytes", .run = run, .undo = undo, .ending = ending
};
