/* uploads_remove_task.c - the removal of an uploaded snapshot as a task. The note of the removal
 * (uploads_removal.h) is what a restart goes on from; a task whose removal had ended before that
 * was noted only looks once more. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "control/object_stores.h"
#include "control/tasks.h"
#include "control/uploads.h"
#include "control/uploads_removal.h"

#define PARAMETERS_VERSION 1u

int control_uploads_remove_start(struct control *control, const char *store, const char *locator,
                                 struct task_view *ret, struct error *err)
{
    uint8_t room[2 + HASH_LEN];
    struct writer writer = writer_init(room, sizeof(room));
    struct locator parsed;
    struct store_view view;

    int r = locator ? locator_parse(locator, &parsed, err) : 0;
    if (r == 0)
        r = control_store_get(control, store, &view, err);
    if (r == 0)
        r = uploads_removal_check(control, view.name, &parsed, locator ? 1 : 0, err);
    if (r < 0)
        return r;
    writer_u8(&writer, PARAMETERS_VERSION);
    writer_u8(&writer, locator ? 1 : 0);
    if (locator)
        writer_bytes(&writer, parsed.manifest, sizeof(parsed.manifest));
    const struct task_new what = { .kind = &removal_kind,
                                   .store = view.name,
                                   .parameters = { room, writer.len } };
    return task_add(control, &what, ret, err);
}

static int read_parameters(struct task *task, struct locator *ret, size_t *ret_count,
                           struct error *err)
{
    const struct task_record *record = task_record(task);
    struct reader reader =
        reader_init((struct bytes){ record->parameters, record->parameters_len });
    uint8_t version = reader_u8(&reader);
    uint8_t count = reader_u8(&reader);

    if (count > 0)
        reader_copy(&reader, ret->manifest, sizeof(ret->manifest));
    if (version != PARAMETERS_VERSION || count > 1 || reader_done(&reader) < 0) {
        task_give_up(task);
        return error_set(err, -EPROTONOSUPPORT,
                         "the parameters of the removal were written by a later version of coffer");
    }
    *ret_count = count;
    return 0;
}

/* One that is paused or aborted lets the uploads go on that wait for it; after a restart it goes on
 * under its mark. */
static int watch(uint64_t looked_at, uint64_t total, void *arg)
{
    struct task *task = arg;

    task_report(task, total, looked_at, 0, "removing");
    if (!task_should_stop(task))
        return 0;
    return atomic_load(&task_control(task)->is_shutting_down) ? -ESHUTDOWN : -ECANCELED;
}

static void set_result(struct task *task, const struct uploads_removed *removed)
{
    char text[TASK_RESULT_SIZE];

    (void)snprintf(text, sizeof(text),
                   "snapshots %" PRIu64 ", objects %" PRIu64 ", bytes %" PRIu64
                   ", still needed %" PRIu64,
                   removed->snapshots, removed->objects, removed->bytes, removed->kept);
    task_set_result(task, text);
}

static int run(struct task *task, struct error *err)
{
    struct uploads_removed removed = { .snapshots = 0 };
    struct locator locator;
    size_t count = 0;

    int r = read_parameters(task, &locator, &count, err);
    if (r < 0)
        return r;
    task_report(task, 0, 0, 0, "looking");
    r = uploads_removal_run(task_control(task), task_record(task)->store, &locator, count, watch,
                            task, &removed, err);
    if (r == 0)
        set_result(task, &removed);
    else if (r == -EBUSY)
        task_give_up(task); /* what is there is not as it must be: that does not pass */
    return r;
}

/* Also of one that was paused while it waited for the store, with its mark there. */
static int end_removal(struct task *task, struct error *err)
{
    return uploads_removal_end(task_control(task), task_record(task)->store, err);
}

const struct task_kind removal_kind = {
    .name = "removal", .unit = "objects", .run = run, .undo = end_removal, .rest = end_removal
};

/* The next number in it; 0: there is none. */
static uint64_t take_number(const char **text)
{
    char *end = NULL;

    *text += strcspn(*text, "0123456789");
    uint64_t number = strtoull(*text, &end, 10);
    *text = end;
    return number;
}

/* Of set_result(). */
static void read_result(const char *text, struct uploads_removed *ret)
{
    ret->snapshots = take_number(&text);
    ret->objects = take_number(&text);
    ret->bytes = take_number(&text);
    ret->kept = take_number(&text);
}

int control_uploads_remove(struct control *control, const char *store, const char *locator,
                           struct uploads_removed *ret, struct error *err)
{
    struct task_view view;

    int r = control_uploads_remove_start(control, store, locator, &view, err);
    if (r == 0)
        r = task_wait_end(control, view.id, &view, err);
    if (r == 0)
        read_result(view.result, ret);
    return r;
}
