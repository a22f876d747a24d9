/* uploads_rewrap_task.c - the rewrap of uploaded snapshots as a task: begun anew after whatever
 * interrupts it, it finds unchanged what is done. For the configured key server only: the login of
 * another one is not kept. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/wire.h"
#include "control/object_stores.h"
#include "control/tasks.h"
#include "control/uploads.h"

#define PARAMETERS_VERSION 1u
#define FLAG_DROP_PREVIOUS 1u
#define FLAG_ONE 2u /* the hash of its manifest follows */

int control_uploads_rewrap_start(struct control *control, const char *store,
                                 const struct upload_rewrap_options *options, struct task_view *ret,
                                 struct error *err)
{
    uint8_t room[64];
    struct writer writer = writer_init(room, sizeof(room));
    struct store_view view;
    struct locator locator;

    if ((options->locator != NULL) == options->is_all)
        return error_set(err, -EINVAL, "give one locator, or say that all are meant (--all)");
    if (options->target || options->is_dry)
        return error_set(err, -EINVAL, "%s is waited for; leave out --background",
                         options->is_dry ? "a dry run" : "a rewrap for another KMS");
    int r = options->locator ? locator_parse(options->locator, &locator, err) : 0;
    if (r == 0)
        r = control_store_get(control, store, &view, err);
    if (r < 0)
        return r;
    writer_u8(&writer, PARAMETERS_VERSION);
    writer_u8(&writer, (uint8_t)((options->drop_previous ? FLAG_DROP_PREVIOUS : 0) |
                                 (options->locator ? FLAG_ONE : 0)));
    if (options->locator)
        writer_bytes(&writer, locator.manifest, sizeof(locator.manifest));
    const struct task_new what = { .kind = &rewrap_kind,
                                   .store = view.name,
                                   .parameters = { room, writer.len } };
    return task_add(control, &what, ret, err);
}

struct rewrapping {
    struct task *task;
    uint64_t count; /* of heads that were looked at */
    uint64_t rewrapped;
    uint64_t failed;
    char text[400];        /* of the first that failed */
    struct error may_pass; /* the first of those failures that may */
};

static int note_row(const struct upload_rewrap_row *row, void *arg)
{
    struct rewrapping *rewrapping = arg;

    rewrapping->rewrapped += row->result == REWRAP_DONE;
    if (row->result == REWRAP_FAILED && rewrapping->failed++ == 0)
        (void)snprintf(rewrapping->text, sizeof(rewrapping->text), "%s: %.300s", row->locator,
                       row->text);
    if (row->may_pass && rewrapping->may_pass.code == 0)
        (void)error_set(&rewrapping->may_pass, -EAGAIN, "%s: %.300s", row->locator, row->text);
    task_report(rewrapping->task, 0, ++rewrapping->count, 0, "keys");
    return task_should_stop(rewrapping->task) ? -ECANCELED : 0;
}

static int read_parameters(struct task *task, struct upload_rewrap_options *ret,
                           char locator_text[static LOCATOR_SIZE], struct error *err)
{
    const struct task_record *record = task_record(task);
    struct reader reader =
        reader_init((struct bytes){ record->parameters, record->parameters_len });
    uint8_t version = reader_u8(&reader);
    uint8_t flags = reader_u8(&reader);
    struct locator locator = { .manifest = { 0 } };

    if (flags & FLAG_ONE)
        reader_copy(&reader, locator.manifest, sizeof(locator.manifest));
    if (version != PARAMETERS_VERSION || reader_done(&reader) < 0) {
        task_give_up(task);
        return error_set(err, -EPROTONOSUPPORT,
                         "the parameters of the rewrap were written by a later version of coffer");
    }
    ret->drop_previous = flags & FLAG_DROP_PREVIOUS;
    ret->is_all = !(flags & FLAG_ONE);
    ret->locator = ret->is_all ? NULL : locator_text;
    return ret->is_all ? 0 : locator_format(&locator, locator_text, err);
}

static int judge(const struct rewrapping *rewrapping, struct error *err)
{
    char text[TASK_RESULT_SIZE];

    if (rewrapping->may_pass.code < 0)
        return error_set(err, rewrapping->may_pass.code, "%s", rewrapping->may_pass.text);
    if (rewrapping->failed > 0) {
        task_give_up(rewrapping->task);
        return error_set(err, -EIO, "%llu of %llu failed and are wrapped as before: %s",
                         (unsigned long long)rewrapping->failed,
                         (unsigned long long)rewrapping->count, rewrapping->text);
    }
    (void)snprintf(text, sizeof(text), "%llu rewrapped, %llu unchanged",
                   (unsigned long long)rewrapping->rewrapped,
                   (unsigned long long)(rewrapping->count - rewrapping->rewrapped));
    task_set_result(rewrapping->task, text);
    return 0;
}

static int run(struct task *task, struct error *err)
{
    struct upload_rewrap_options options = { .is_dry = false };
    struct rewrapping rewrapping = { .task = task };
    char locator[LOCATOR_SIZE];

    int r = read_parameters(task, &options, locator, err);
    if (r == 0)
        r = control_uploads_rewrap(task_control(task), task_record(task)->store, &options, note_row,
                                   &rewrapping, err);
    return r < 0 ? r : judge(&rewrapping, err);
}

/* What is wrapped anew stays so, which harms nobody: an abort has nothing to undo. */
const struct task_kind rewrap_kind = { .name = "rewrap", .unit = "snapshots", .run = run };
