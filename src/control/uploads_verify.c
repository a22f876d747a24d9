#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "control/bucket_session.h"
#include "control/filesystem.h"
#include "control/object_stores.h"
#include "control/tasks.h"
#include "control/upload_keys.h"
#include "control/uploads.h"
#include "crypto/random.h"
#include "transfer/verify.h"

#define PARAMETERS_VERSION 1u

struct verifying {
    const char *store;
    struct locator locator;
    unsigned one_in;
    struct task *task; /* NULL: somebody waits for the end, whatever happens */
    control_report_fn *report;
    void *arg;
    uint64_t *ret_faults;
};

/* The head's keys, by the key server; this process looks at nothing else in the store. */
static int open_head(struct control *control, const char *store, const struct locator *locator,
                     struct upload_opened *ret, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct bucket bucket;

    int r = bucket_session_open(control, store, &opened, err);
    if (r == 0)
        r = bucket_init(&bucket, opened, "", err);
    if (r == 0)
        r = upload_read(control, &bucket, locator, ret, err);
    const struct upload_opening opening = { .purpose = "verification of an uploaded snapshot" };
    return r < 0 ? r : upload_open(control, &opening, ret, err);
}

static void ignore_end(void *arg)
{
    (void)arg;
}

static void on_progress(const struct worker_task_progress *progress, void *arg)
{
    const struct verifying *verifying = arg;

    if (verifying->task)
        task_report(verifying->task, progress->total, progress->done, progress->moved,
                    progress->phase);
}

static int spawn(struct control *control, struct verifying *verifying, struct worker **ret,
                 struct error *err)
{
    const struct worker_watcher watcher = { .on_ended = ignore_end,
                                            .on_task_progress = on_progress,
                                            .arg = verifying };
    char path[PATH_MAX], id[UUID_TEXT_SIZE];
    struct uuid uuid;

    random_uuid(&uuid);
    uuid_format(&uuid, id);
    if (snprintf(path, sizeof(path), "%s/run/%s", control->state_dir, id) >= (int)sizeof(path))
        return error_set(err, -ENAMETOOLONG, "path too long: %s", control->state_dir);
    int r = worker_spawn(control->worker_program, path, &watcher, ret, err);
    (void)unlink(path); /* nobody else shall find it */
    return r;
}

static bool should_stop(void *arg)
{
    const struct verifying *verifying = arg;

    return verifying->task && task_should_stop(verifying->task);
}

static int ask(struct worker *worker, struct worker_message *message, int fd,
               struct verifying *verifying, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *answer = calloc(1, sizeof(*answer));

    if (!answer)
        return error_set(err, -ENOMEM, "out of memory");
    int r = worker_ask_until(worker, message, fd, should_stop, verifying, answer, err);
    return r < 0 ? r
                 : filesystem_take_report(answer, verifying->report, verifying->arg,
                                          verifying->ret_faults, err);
}

static int have_verified(struct control *control, struct worker_message *message,
                         struct verifying *verifying, struct error *err)
{
    CLEANUP(close_fd) int fd = -1;
    struct worker *worker = NULL;

    int r = bucket_session_start(control, verifying->store, &fd, err);
    if (r == 0)
        r = spawn(control, verifying, &worker, err);
    if (r < 0)
        return r;
    r = ask(worker, message, fd, verifying, err);
    worker_discard(worker);
    return r;
}

static void tell(struct control *control, const struct verifying *verifying, const char *owner)
{
    char text[LOCATOR_SIZE] = "";

    (void)locator_format(&verifying->locator, text, NULL);
    events_add(&control->events, *verifying->ret_faults > 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO,
               "upload-verified", owner,
               "the uploaded snapshot %s in object store %s was verified: %llu fault(s)", text,
               verifying->store, (unsigned long long)*verifying->ret_faults);
}

static int verify(struct control *control, struct verifying *verifying, struct error *err)
{
    CLEANUP(upload_opened_release) struct upload_opened opened = UPLOAD_OPENED_INIT;
    CLEANUP(free_ptr) struct worker_message *message = calloc(1, sizeof(*message));

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    int r = open_head(control, verifying->store, &verifying->locator, &opened, err);
    if (r < 0)
        return r;
    message->type = WORKER_VERIFY;
    message->verify.one_in = verifying->one_in > 0 ? verifying->one_in : 1;
    message->verify.uid = control->worker_uid;
    message->verify.gid = control->worker_gid;
    memcpy(message->verify.manifest, verifying->locator.manifest, WORKER_MANIFEST_LEN);
    message->verify.keys = opened.keys; /* stays that of opened */
    r = have_verified(control, message, verifying, err);
    if (r == 0)
        tell(control, verifying, opened.owner ? opened.owner->name : "");
    return r;
}

int control_upload_verify(struct control *control, const char *store, const char *locator,
                          unsigned one_in, control_report_fn *report, void *arg,
                          uint64_t *ret_faults, struct error *err)
{
    struct verifying verifying = {
        .store = store, .one_in = one_in, .report = report, .arg = arg, .ret_faults = ret_faults
    };

    int r = locator_parse(locator, &verifying.locator, err);
    return r < 0 ? r : verify(control, &verifying, err);
}

/* --- as a task --- */

int control_upload_verify_start(struct control *control, const char *store, const char *locator,
                                unsigned one_in, struct task_view *ret, struct error *err)
{
    uint8_t room[64];
    struct writer writer = writer_init(room, sizeof(room));
    struct store_view view;
    struct locator parsed;

    int r = locator_parse(locator, &parsed, err);
    if (r == 0)
        r = control_store_get(control, store, &view, err);
    if (r < 0)
        return r;
    writer_u8(&writer, PARAMETERS_VERSION);
    writer_u32(&writer, one_in > 0 ? one_in : 1);
    writer_bytes(&writer, parsed.manifest, sizeof(parsed.manifest));
    const struct task_new what = { .kind = &verify_kind,
                                   .store = view.name,
                                   .parameters = { room, writer.len } };
    return task_add(control, &what, ret, err);
}

static int read_parameters(struct task *task, struct verifying *ret, struct error *err)
{
    const struct task_record *record = task_record(task);
    struct reader reader =
        reader_init((struct bytes){ record->parameters, record->parameters_len });
    uint8_t version = reader_u8(&reader);

    ret->one_in = reader_u32(&reader);
    reader_copy(&reader, ret->locator.manifest, sizeof(ret->locator.manifest));
    if (version == PARAMETERS_VERSION && reader_done(&reader) == 0)
        return 0;
    task_give_up(task);
    return error_set(
        err, -EPROTONOSUPPORT,
        "the parameters of the verification were written by a later version of coffer");
}

/* As many sentences as fit into a task's record. */
struct findings {
    char text[400];
    size_t len;
};

static void note_fault(const char *text, void *arg)
{
    struct findings *findings = arg;
    int len = snprintf(findings->text + findings->len, sizeof(findings->text) - findings->len,
                       "%s%s", findings->len > 0 ? "; " : "", text);

    if (len > 0 && findings->len + (size_t)len < sizeof(findings->text))
        findings->len += (size_t)len;
    else
        findings->text[findings->len] = '\0';
}

static int judge(struct task *task, const struct verifying *verifying, struct error *err)
{
    const struct findings *findings = verifying->arg;
    unsigned long long faults = *verifying->ret_faults;
    char locator[LOCATOR_SIZE] = "", text[TASK_RESULT_SIZE];

    (void)locator_format(&verifying->locator, locator, NULL);
    if (faults > 0) {
        task_give_up(task);
        return error_set(err, -EBADMSG, "%s has %llu fault%s and cannot be relied on: %s", locator,
                         faults, faults == 1 ? "" : "s", findings->text);
    }
    (void)snprintf(text, sizeof(text), "%s: all that was read is as it was uploaded", locator);
    task_set_result(task, text);
    return 0;
}

static int run(struct task *task, struct error *err)
{
    struct findings findings = { .len = 0 };
    uint64_t faults = 0;
    struct verifying verifying = { .store = task_record(task)->store,
                                   .task = task,
                                   .report = note_fault,
                                   .arg = &findings,
                                   .ret_faults = &faults };

    int r = read_parameters(task, &verifying, err);
    if (r < 0)
        return r;
    r = verify(task_control(task), &verifying, err);
    if (verify_is_fault(r))
        task_give_up(task);
    return r < 0 ? r : judge(task, &verifying, err);
}

/* It makes nothing, so that an abort has nothing to undo. What is paused begins anew. */
const struct task_kind verify_kind = { .name = "verification", .unit = "objects", .run = run };
