#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/bucket_session.h"
#include "control/filesystem.h"
#include "control/upload_keys.h"
#include "control/uploads.h"
#include "crypto/random.h"

struct verifying {
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
    return r < 0 ? r : upload_open(control, NULL, "verification of an uploaded snapshot", ret, err);
}

static void ignore_end(void *arg)
{
    (void)arg;
}

static int spawn(struct control *control, struct worker **ret, struct error *err)
{
    const struct worker_watcher watcher = { .on_ended = ignore_end };
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

static int ask(struct worker *worker, struct worker_message *message, int fd,
               const struct verifying *verifying, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *answer = calloc(1, sizeof(*answer));

    if (!answer)
        return error_set(err, -ENOMEM, "out of memory");
    int r = worker_ask(worker, message, fd, -1, answer, err);
    return r < 0 ? r
                 : filesystem_take_report(answer, verifying->report, verifying->arg,
                                          verifying->ret_faults, err);
}

static int verify(struct control *control, const char *store, struct worker_message *message,
                  const struct verifying *verifying, struct error *err)
{
    CLEANUP(close_fd) int fd = -1;
    struct worker *worker = NULL;

    int r = bucket_session_start(control, store, &fd, err);
    if (r == 0)
        r = spawn(control, &worker, err);
    if (r < 0)
        return r;
    r = ask(worker, message, fd, verifying, err);
    worker_discard(worker);
    return r;
}

int control_upload_verify(struct control *control, const char *store, const char *locator,
                          unsigned one_in, control_report_fn *report, void *arg,
                          uint64_t *ret_faults, struct error *err)
{
    CLEANUP(upload_opened_release) struct upload_opened opened = UPLOAD_OPENED_INIT;
    CLEANUP(free_ptr) struct worker_message *message = calloc(1, sizeof(*message));
    const struct verifying verifying = { report, arg, ret_faults };
    struct locator parsed;

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    int r = locator_parse(locator, &parsed, err);
    if (r == 0)
        r = open_head(control, store, &parsed, &opened, err);
    if (r < 0)
        return r;
    message->type = WORKER_VERIFY;
    message->verify.one_in = one_in > 0 ? one_in : 1;
    message->verify.uid = control->worker_uid;
    message->verify.gid = control->worker_gid;
    memcpy(message->verify.manifest, parsed.manifest, WORKER_MANIFEST_LEN);
    message->verify.keys = opened.keys; /* stays that of opened */
    r = verify(control, store, message, &verifying, err);
    if (r == 0)
        events_add(&control->events, *ret_faults > 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO,
                   "upload-verified", opened.owner ? opened.owner->name : "",
                   "the uploaded snapshot %s in object store %s was verified: %llu fault(s)",
                   locator, store, (unsigned long long)*ret_faults);
    return r;
}
