#include "control/snapshot_download.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/bucket_session.h"
#include "control/foreign_keys.h"
#include "host/import_order.h"

#define ASK_TIMEOUT_MS 30000

/* --- how it begins --- */

static int read_head(struct control *control, const char *store, const struct locator *locator,
                     struct upload_opened *opened, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *bucket_store = NULL;
    struct bucket bucket;

    int r = bucket_session_open(control, store, &bucket_store, err);
    if (r == 0)
        r = bucket_init(&bucket, bucket_store, "", err);
    if (r == 0)
        r = upload_read(control, &bucket, locator, opened, err);
    return r;
}

/* Where the name is hidden, the worker finds it. */
static int expect_free(struct filesystem *fs, const char *name, struct error *err)
{
    struct control_snapshot snapshot;
    bool is_there = false;

    int r = filesystem_look_for_snapshot(fs, name, &snapshot, &is_there, err);
    if (r < 0 || !is_there)
        return r;
    return error_set(err, -EEXIST,
                     "filesystem %s has a snapshot '%.64s' already; give this one another name "
                     "with --name, or remove that one first",
                     fs->record.name, name);
}

static int expect_alone(struct filesystem *fs, struct error *err)
{
    CLEANUP(free_ptr) struct task_view *views = NULL;
    size_t count = 0;

    int r = control_task_list(fs->control, &views, &count, err);
    for (size_t i = 0; i < count && r == 0; i++)
        if (!task_state_is_end(views[i].state) && strcmp(views[i].kind, import_kind.name) == 0 &&
            strcmp(views[i].filesystem, fs->record.name) == 0)
            r = error_set(err, -EBUSY,
                          "task %" PRIu64 " downloads a snapshot into filesystem %s; wait until it "
                          "has ended, or abort it with 'coffer task abort %" PRIu64 "'",
                          views[i].id, fs->record.name, views[i].id);
    return r;
}

static int audit(struct filesystem *fs, const char *locator, const char *store, struct error *err)
{
    char text[AUDIT_TEXT_SIZE];

    (void)snprintf(text, sizeof(text), "snapshot %s of object store %s, into this filesystem",
                   locator, store);
    return filesystem_audit(fs, AUDIT_DOWNLOAD, 0, text, err);
}

static int expect_ready(struct filesystem *fs, const char *name, struct error *err)
    REQUIRES(fs->snapshots)
{
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);

    if (!worker)
        return error_set(err, -EBUSY, "filesystem %s is not started; mount it first",
                         fs->record.name);
    mutex_lock(&fs->lock);
    bool is_read_only = fs->seen.is_read_only;
    mutex_unlock(&fs->lock);
    if (is_read_only)
        return error_set(err, -EROFS,
                         "filesystem %s is read-only, so no snapshot can come into it; 'coffer fs' "
                         "says why it is",
                         fs->record.name);
    int r = expect_alone(fs, err);
    return r == 0 && name[0] != '\0' ? expect_free(fs, name, err) : r;
}

static int fill_order(const struct snapshot_download *download, const struct locator *locator,
                      struct import_order *ret, struct error *err)
{
    const char *name = download->name ? download->name : "";

    if (strlen(name) >= sizeof(ret->name) || strchr(name, '/') != NULL)
        return error_set(err, -EINVAL,
                         "the name of a snapshot must have 1 to 255 bytes without '/'");
    memcpy(ret->manifest, locator->manifest, sizeof(ret->manifest));
    (void)snprintf(ret->name, sizeof(ret->name), "%s", name);
    return 0;
}

/* The name that somebody chose is not for the registry, which is in clear: the worker seals it. */
static int seal_order(struct filesystem *fs, const struct import_order *order,
                      uint8_t ret[static IMPORT_ORDER_MAX], size_t *ret_len, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    if (!worker)
        return error_set(err, -EBUSY, "filesystem %s is not started; mount it first",
                         fs->record.name);
    struct worker_task_start *sent = &message[0].task_start, *sealed = &message[1].task_start;
    size_t len = 0;
    message[0].type = WORKER_TASK_SEAL;
    int r = import_order_encode(order, sent->parameters, &len);
    if (r < 0)
        return error_set(err, r, "the name of the snapshot is too long");
    sent->parameters_len = (uint32_t)len;
    r = worker_ask(worker, &message[0], -1, ASK_TIMEOUT_MS, &message[1], err);
    if (r == 0 &&
        (message[1].type != WORKER_TASK_SEALED || sealed->parameters_len > IMPORT_ORDER_MAX))
        r = error_set(err, -EPROTO, "the worker gave a wrong answer");
    if (r < 0)
        return r;
    memcpy(ret, sealed->parameters, sealed->parameters_len);
    *ret_len = sealed->parameters_len;
    return 0;
}

static int encode_order(struct filesystem *fs, const struct import_order *order,
                        uint8_t ret[static IMPORT_ORDER_MAX], size_t *ret_len, struct error *err)
{
    if (order->name[0] != '\0')
        return seal_order(fs, order, ret, ret_len, err);
    int r = import_order_encode(order, ret, ret_len);
    return r < 0 ? error_set(err, r, "the order to download a snapshot does not fit") : 0;
}

/* The keys last, so that nothing is refused for which the ring was changed. */
static int prepare(struct filesystem *fs, const char *name, struct upload_opened *opened,
                   struct error *err)
{
    mutex_lock(&fs->snapshots);
    int r = expect_ready(fs, name, err);
    mutex_unlock(&fs->snapshots);
    return r < 0 ? r : foreign_keys_take(fs, opened, err);
}

/* From before its keys are looked for until its task is listed, none leaves the ring. */
static void want_keys(struct filesystem *fs, bool are_wanted)
{
    mutex_lock(&fs->lock);
    if (are_wanted)
        fs->keys_wanted++;
    else
        fs->keys_wanted--;
    mutex_unlock(&fs->lock);
}

static int add(struct filesystem *fs, const char *name, const char *locator,
               const struct task_new *what, struct task_view *ret, struct error *err)
{
    mutex_lock(&fs->snapshots);
    int r = expect_ready(fs, name, err);
    if (r == 0)
        r = audit(fs, locator, what->store, err);
    if (r == 0)
        r = task_add(fs->control, what, ret, err);
    mutex_unlock(&fs->snapshots);
    return r;
}

static int begin(struct filesystem *fs, const char *store, const char *locator,
                 const struct import_order *order, struct upload_opened *opened,
                 struct task_view *ret, struct error *err)
{
    uint8_t parameters[IMPORT_ORDER_MAX];
    struct task_new what = { .kind = &import_kind, .fs = fs, .store = store };
    const char *shown = opened->head.has_names ? opened->head.about.snapshot : "";
    const char *name = order->name[0] != '\0' ? order->name : shown;

    what.parameters.data = parameters;
    int r = encode_order(fs, order, parameters, &what.parameters.len, err);
    if (r < 0)
        return r;
    want_keys(fs, true);
    r = prepare(fs, name, opened, err);
    if (r == 0)
        r = add(fs, name, locator, &what, ret, err);
    want_keys(fs, false);
    return r;
}

int control_snapshot_download(struct control *control, const char *fs_name,
                              const struct snapshot_download *download, struct task_view *ret,
                              struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, fs_name, err);
    CLEANUP(upload_opened_release) struct upload_opened opened = UPLOAD_OPENED_INIT;
    struct import_order order = { .is_drop = false };
    struct locator locator;
    char store[STORE_NAME_MAX + 1];

    if (!fs)
        return -ENOENT;
    int r = locator_parse(download->locator, &locator, err);
    if (r == 0)
        r = fill_order(download, &locator, &order, err);
    if (r == 0)
        r = control_store_choose(control, &download->store, store, err);
    if (r == 0)
        r = read_head(control, store, &locator, &opened, err);
    return r == 0 ? begin(fs, store, download->locator, &order, &opened, ret, err) : r;
}

/* --- the work --- */

static int do_in_worker(struct task *task, bool needs_store, struct bytes parameters,
                        struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = NULL;
    CLEANUP(free_ptr) struct worker_message *message = calloc(1, sizeof(*message));
    CLEANUP(close_fd) int fd = -1;

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    int r = task_filesystem(task, &fs, err);
    if (r < 0)
        return r;
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);
    memcpy(message->task_start.parameters, parameters.data, parameters.len);
    message->task_start.parameters_len = (uint32_t)parameters.len;
    if (worker && needs_store) /* without one there is no use for a process that holds the store */
        r = bucket_session_start(task_control(task), task_record(task)->store, &fd, err);
    return r < 0 ? r : task_run_in_worker(task, fs, message, fd, err);
}

static int import(struct task *task, struct error *err)
{
    const struct task_record *record = task_record(task);

    return do_in_worker(task, true, (struct bytes){ record->parameters, record->parameters_len },
                        err);
}

static int tell_keys(struct task *task, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = NULL;

    int r = task_filesystem(task, &fs, err);
    return r < 0 ? r : foreign_keys_tell(fs, err);
}

/* A worker that was started just before keys joined the ring, or was not told of them as cofferd
 * ended, gets them now. */
static int run(struct task *task, struct error *err)
{
    int r = import(task, err);

    if (r != -ENOKEY)
        return r;
    r = tell_keys(task, err);
    if (r < 0)
        return r;
    r = import(task, err);
    if (r == -ENOKEY)
        task_give_up(task);
    return r;
}

/* What arrived of it is in the filesystem, unseen. */
static int undo(struct task *task, struct error *err)
{
    const struct import_order drop = { .is_drop = true };
    uint8_t parameters[IMPORT_ORDER_MAX];
    struct bytes encoded = { .data = parameters };

    int r = import_order_encode(&drop, parameters, &encoded.len);
    return r < 0 ? r : do_in_worker(task, false, encoded, err);
}

static void ending(struct task *task, enum task_state to)
{
    char what[TASK_ABOUT_SIZE];

    (void)snprintf(what, sizeof(what), "the download of a snapshot from %s",
                   task_record(task)->store);
    task_audit_ending(task, to, AUDIT_DOWNLOAD, what);
}

const struct task_kind import_kind = {
    .name = "import", .unit = "parts", .run = run, .undo = undo, .ending = ending
};
