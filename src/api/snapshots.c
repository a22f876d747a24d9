/* /api/v1/filesystems/{name}/snapshots and .../restore. A snapshot is named in the body: its name
 * may hold any character but '/'. */
#include <errno.h>
#include <stdlib.h>

#include "api/query.h"
#include "api/routes.h"
#include "base/cleanup.h"
#include "control/locators.h"
#include "net/json.h"

struct uploaded {
    struct locator_record *items; /* of the filesystem, by snapshot */
    size_t count;
};

static json_t *uploads_json(const struct uploaded *uploaded, uint64_t snapshot)
{
    json_t *list = json_array();

    for (size_t i = 0; i < uploaded->count; i++) {
        const struct locator_record *item = &uploaded->items[i];
        char when[API_TIME_SIZE];
        if (item->snapshot != snapshot)
            continue;
        api_time_text(item->uploaded_ns, when);
        (void)json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "object_store", item->store,
                                                    "locator", item->locator, "uploaded", when));
    }
    return list;
}

static json_t *snapshot_json(struct control *control, const char *filesystem,
                             const struct control_snapshot *snapshot,
                             const struct uploaded *uploaded)
{
    char created[API_TIME_SIZE];
    char mounted_at[FS_MOUNTPOINT_SIZE];

    api_time_text(snapshot->created_ns, created);
    (void)control_snapshot_mounted_at(control, filesystem, snapshot->id, mounted_at);
    return json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:o}", "id", (json_int_t)snapshot->id,
                     "filesystem", filesystem, "name", snapshot->name, "access_point",
                     snapshot->access_point, "created", created, "status",
                     snapshot->is_removing ? "removing" : "ready", "mounted_at", mounted_at,
                     "uploads", uploads_json(uploaded, snapshot->id));
}

int api_list_snapshots(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(free_ptr) struct control_snapshot *snapshots = NULL;
    CLEANUP(free_ptr) struct locator_record *locators = NULL;
    struct control *control = request->context->control;
    struct uploaded uploaded = { .count = 0 };
    size_t count = 0;

    int r = control_locators(control, request->name, &locators, &uploaded.count, err);
    if (r == 0)
        r = control_snapshot_list(control, request->name, &snapshots, &count, err);
    if (r < 0)
        return r;
    uploaded.items = locators;
    ret->body = json_array();
    for (size_t i = 0; i < count && ret->body; i++)
        (void)json_array_append_new(
            ret->body, snapshot_json(control, request->name, &snapshots[i], &uploaded));
    return api_reply_end(ret, err);
}

int api_add_snapshot(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct control_snapshot snapshot = { .id = 0 };
    const struct uploaded nowhere = { .count = 0 };
    const char *access_point = NULL;
    const char *name = NULL;
    int r = json_get_text(request->body, "name", JSON_REQUIRED, &name, err);

    if (r == 0)
        r = json_get_text(request->body, "access_point", JSON_OPTIONAL, &access_point, err);
    if (r == 0)
        r = control_snapshot_add(request->context->control, request->name, name, access_point,
                                 &snapshot, err);
    if (r < 0)
        return r;
    ret->status = 201;
    ret->body = snapshot_json(request->context->control, request->name, &snapshot, &nowhere);
    return api_reply_end(ret, err);
}

int api_update_snapshot(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    const char *access_point = NULL;
    const char *new_name = NULL;
    const char *name = NULL;
    int r = json_get_text(request->body, "name", JSON_REQUIRED, &name, err);

    if (r == 0)
        r = json_get_text(request->body, "new_name", JSON_OPTIONAL, &new_name, err);
    if (r == 0)
        r = json_get_text(request->body, "access_point", JSON_OPTIONAL, &access_point, err);
    if (r == 0 && !new_name && !access_point)
        r = error_set(err, -EINVAL,
                      "give a new name (--new-name) or an access point (--access-point)");
    if (r == 0)
        r = control_snapshot_update(request->context->control, request->name, name, new_name,
                                    access_point, err);
    return r < 0 ? r : api_reply_done(ret, err);
}

int api_remove_snapshot(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    const char *name = NULL;
    int r = json_get_text(request->body, "name", JSON_REQUIRED, &name, err);

    if (r == 0)
        r = control_snapshot_remove(request->context->control, request->name, name, err);
    return r < 0 ? r : api_reply_done(ret, err);
}

int api_restore_filesystem(const struct api_request *request, struct api_reply *ret,
                           struct error *err)
{
    struct control_restore order = { .snapshot = NULL };
    uint64_t inodes = 0;
    int r = json_get_text(request->body, "snapshot", JSON_REQUIRED, &order.snapshot, err);

    if (r == 0)
        r = json_get_text(request->body, "keep_as", JSON_OPTIONAL, &order.keep_as, err);
    if (r == 0)
        r = json_get_text(request->body, "keep_access_point", JSON_OPTIONAL,
                          &order.keep_access_point, err);
    if (r == 0 && !order.keep_as && order.keep_access_point)
        r = error_set(err, -EINVAL,
                      "an access point is of no use without a name for what is kept (--keep-as)");
    if (r == 0)
        r = control_restore(request->context->control, request->name, &order, &inodes, err);
    if (r < 0)
        return r;
    ret->body = json_pack("{s:I}", "changed", (json_int_t)inodes);
    return api_reply_end(ret, err);
}
