/* tasks.c - /api/v1/tasks: work that takes long, and what changes it; and the uploads that begin
 * it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/query.h"
#include "api/routes.h"
#include "base/cleanup.h"
#include "control/snapshot_download.h"
#include "control/upload.h"
#include "net/json.h"

/* Null where it is not known. */
static json_t *time_json(int64_t ns)
{
    char text[API_TIME_SIZE];

    if (ns == 0)
        return json_null();
    api_time_text(ns, text);
    return json_string(text);
}

static json_t *percent_json(const struct task_view *view)
{
    if (view->state == TASK_DONE)
        return json_integer(100);
    if (view->total == 0)
        return json_null();
    uint64_t percent =
        view->done < view->total ? (uint64_t)((double)view->done * 100 / (double)view->total) : 100;
    return json_integer((json_int_t)(percent > 99 ? 99 : percent)); /* it is not done yet */
}

static json_t *task_json(const struct task_view *view)
{
    /* One that is paused may wait, too, to let go of what others need: the text says so. */
    bool is_waiting =
        view->is_waiting && view->state != TASK_PAUSED && !task_state_is_end(view->state);

    return json_pack(
        "{s:I,s:s,s:s,s:s,s:s,s:I,s:s,s:s,s:s,s:o,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:s,s:s,s:s}", "id",
        (json_int_t)view->id, "kind", view->kind, "about", view->about, "filesystem",
        view->filesystem, "object_store", view->store, "snapshot", (json_int_t)view->snapshot,
        "state", is_waiting ? "waiting" : task_state_name(view->state), "phase", view->phase,
        "unit", view->unit, "percent", percent_json(view), "total", (json_int_t)view->total, "done",
        (json_int_t)view->done, "moved", (json_int_t)view->moved, "rate", (json_int_t)view->rate,
        "seconds_left", view->left_s < 0 ? json_null() : json_integer((json_int_t)view->left_s),
        "created", time_json(view->created_ns), "ended", time_json(view->ended_ns), "text",
        view->text, "result", view->result, "no_abort", view->no_abort);
}

int api_reply_task(const struct task_view *view, unsigned status, struct api_reply *ret,
                   struct error *err)
{
    ret->status = status;
    ret->body = task_json(view);
    return api_reply_end(ret, err);
}

int api_list_tasks(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(free_ptr) struct task_view *views = NULL;
    size_t count = 0;

    int r = control_task_list(request->context->control, &views, &count, err);
    if (r < 0)
        return r;
    ret->body = json_array();
    for (size_t i = 0; i < count && ret->body; i++)
        (void)json_array_append_new(ret->body, task_json(&views[i]));
    return api_reply_end(ret, err);
}

static int id_of(const struct api_request *request, uint64_t *ret, struct error *err)
{
    const char *text = request->name;
    char *end = NULL;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    if (errno == 0 && text[0] >= '1' && text[0] <= '9' && *end == '\0')
        return 0;
    return error_set(err, -ENOENT, "'%.32s' is not the number of a task; 'coffer task' lists them",
                     text);
}

int api_get_task(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct task_view view = { .id = 0 };
    uint64_t id = 0;

    int r = id_of(request, &id, err);
    if (r == 0)
        r = control_task_get(request->context->control, id, &view, err);
    return r < 0 ? r : api_reply_task(&view, 200, ret, err);
}

int api_pause_task(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct task_view view = { .id = 0 };
    uint64_t id = 0;

    int r = id_of(request, &id, err);
    if (r == 0)
        r = control_task_pause(request->context->control, id, &view, err);
    return r < 0 ? r : api_reply_task(&view, 200, ret, err);
}

int api_resume_task(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct task_view view = { .id = 0 };
    uint64_t id = 0;

    int r = id_of(request, &id, err);
    if (r == 0)
        r = control_task_resume(request->context->control, id, &view, err);
    return r < 0 ? r : api_reply_task(&view, 200, ret, err);
}

int api_abort_task(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct task_view view = { .id = 0 };
    bool is_forced = false;
    uint64_t id = 0;

    int r = id_of(request, &id, err);
    if (r == 0)
        r = json_get_bool(request->body, "force", JSON_OPTIONAL, &is_forced, err);
    if (r == 0)
        r = control_task_abort(request->context->control, id, is_forced, &view, err);
    return r < 0 ? r : api_reply_task(&view, 200, ret, err);
}

int api_upload_snapshot(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct snapshot_upload upload = { .store = { .name = NULL } };
    const json_t *body = request->body;
    struct task_view view = { .id = 0 };

    int r = json_get_text(body, "name", JSON_REQUIRED, &upload.snapshot, err);
    if (r == 0)
        r = api_get_store_choice(body, &upload.store, err);
    if (r == 0)
        r = json_get_bool(body, "hide_names", JSON_OPTIONAL, &upload.hides_names, err);
    if (r == 0)
        r = json_get_bool(body, "allow_no_kms", JSON_OPTIONAL, &upload.allow_no_kms, err);
    if (r == 0)
        r = control_snapshot_upload(request->context->control, request->name, &upload, &view, err);
    return r < 0 ? r : api_reply_task(&view, 202, ret, err);
}

int api_download_snapshot(const struct api_request *request, struct api_reply *ret,
                          struct error *err)
{
    struct snapshot_download download = { .store = { .name = NULL } };
    const json_t *body = request->body;
    struct task_view view = { .id = 0 };

    int r = json_get_text(body, "locator", JSON_REQUIRED, &download.locator, err);
    if (r == 0)
        r = api_get_store_choice(body, &download.store, err);
    if (r == 0)
        r = json_get_text(body, "name", JSON_OPTIONAL, &download.name, err);
    if (r == 0)
        r = control_snapshot_download(request->context->control, request->name, &download, &view,
                                      err);
    return r < 0 ? r : api_reply_task(&view, 202, ret, err);
}
