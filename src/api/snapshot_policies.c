/* snapshot_policies.c - /api/v1/snapshot-policies: which snapshots are taken by the clock. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/query.h"
#include "base/cleanup.h"
#include "control/snapshot_policies.h"
#include "net/json.h"

#define KEY_SIZE 32u

static void key_of(enum policy_period period, const char *what, char ret[static KEY_SIZE])
{
    (void)snprintf(ret, KEY_SIZE, "%s%s", policy_period_name(period), what);
}

/* --- as it is shown --- */

static int put_schedule(json_t *row, enum policy_period period,
                        const struct policy_schedule *schedule)
{
    char when[POLICY_WHEN_SIZE];
    char key[KEY_SIZE];
    int r = 0;

    policy_schedule_format(period, schedule, when);
    key_of(period, "", key);
    r |= json_object_set_new(row, key, json_string(when));
    key_of(period, "_retention", key);
    r |= json_object_set_new(row, key, json_integer(schedule->is_on ? schedule->retention : 0));
    key_of(period, "_upload", key);
    r |= json_object_set_new(row, key, json_string(schedule->upload));
    return r;
}

static json_t *filesystem_json(const struct policy_filesystem *filesystem)
{
    char next[API_TIME_SIZE];

    api_time_text(filesystem->next_ns, next);
    return json_pack("{s:s,s:s,s:s}", "name", filesystem->name, "next",
                     filesystem->next_ns == INT64_MAX ? "" : next, "error",
                     filesystem->failure.text);
}

static json_t *policy_json(const struct policy_view *view)
{
    CLEANUP(json_freep) json_t *filesystems = json_array();
    char created[API_TIME_SIZE];
    int r = 0;

    api_time_text(view->policy.created_ns, created);
    CLEANUP(json_freep)
    json_t *row = json_pack("{s:s,s:s}", "name", view->policy.name, "created", created);
    if (!row)
        return NULL;
    for (unsigned i = 0; i < POLICY_PERIODS; i++)
        r |= put_schedule(row, (enum policy_period)i, &view->policy.schedules[i]);
    for (size_t i = 0; i < view->count; i++)
        r |= json_array_append_new(filesystems, filesystem_json(&view->filesystems[i]));
    r |= json_object_set_new(row, "filesystems", TAKE(filesystems));
    return r < 0 ? NULL : TAKE(row);
}

int api_list_snapshot_policies(const struct api_request *request, struct api_reply *ret,
                               struct error *err)
{
    struct policy_view *views = NULL;
    size_t count = 0;
    int r = control_policy_list(request->context->control, NULL, &views, &count, err);

    if (r < 0)
        return r;
    ret->body = json_array();
    for (size_t i = 0; i < count && ret->body; i++)
        (void)json_array_append_new(ret->body, policy_json(&views[i]));
    control_policy_views_free(views, count);
    return api_reply_end(ret, err);
}

static int reply_policy(const struct api_request *request, const char *name, unsigned status,
                        struct api_reply *ret, struct error *err)
{
    struct policy_view *views = NULL;
    size_t count = 0;
    int r = control_policy_list(request->context->control, name, &views, &count, err);

    if (r < 0)
        return r;
    ret->status = status;
    ret->body = policy_json(&views[0]);
    control_policy_views_free(views, count);
    return api_reply_end(ret, err);
}

int api_get_snapshot_policy(const struct api_request *request, struct api_reply *ret,
                            struct error *err)
{
    return reply_policy(request, request->name, 200, ret, err);
}

/* --- as it is given --- */

static int read_schedule(const json_t *body, enum policy_period period, struct policy_schedule *ret,
                         struct error *err)
{
    char key[KEY_SIZE];
    const char *when = NULL;
    int64_t retention = ret->retention;

    key_of(period, "", key);
    int r = json_get_text(body, key, JSON_OPTIONAL, &when, err);
    if (r == 0 && when)
        r = policy_schedule_parse(period, when, ret, err);
    key_of(period, "_retention", key);
    if (r == 0)
        r = json_get_integer(body, key, JSON_OPTIONAL, &retention, err);
    if (r == 0 && retention == 0 && ret->is_on && !json_object_get(body, key))
        retention = policy_period_retention(period);
    if (r == 0 && (retention < 0 || retention > (int64_t)POLICY_RETENTION_MAX))
        r = error_set(err, -EINVAL, "the retention of %s snapshots is 1 to %u",
                      policy_period_name(period), POLICY_RETENTION_MAX);
    key_of(period, "_upload", key);
    if (r == 0)
        r = json_get_line(body, key, JSON_OPTIONAL, ret->upload, sizeof(ret->upload), err);
    if (r == 0)
        ret->retention = (uint16_t)retention;
    return r;
}

static int read_schedules(struct policy *policy, void *arg, struct error *err)
{
    const struct api_request *request = arg;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < POLICY_PERIODS; i++)
        r = read_schedule(request->body, (enum policy_period)i, &policy->schedules[i], err);
    return r;
}

int api_add_snapshot_policy(const struct api_request *request, struct api_reply *ret,
                            struct error *err)
{
    struct api_request given = *request;
    struct policy policy = { .name = "" };
    int r =
        json_get_line(request->body, "name", JSON_REQUIRED, policy.name, sizeof(policy.name), err);

    if (r == 0)
        r = read_schedules(&policy, &given, err);
    if (r == 0)
        r = control_policy_add(request->context->control, &policy, err);
    return r < 0 ? r : reply_policy(request, policy.name, 201, ret, err);
}

int api_update_snapshot_policy(const struct api_request *request, struct api_reply *ret,
                               struct error *err)
{
    struct api_request given = *request;
    int r = control_policy_update(request->context->control, request->name, read_schedules, &given,
                                  err);

    return r < 0 ? r : reply_policy(request, request->name, 200, ret, err);
}

int api_remove_snapshot_policy(const struct api_request *request, struct api_reply *ret,
                               struct error *err)
{
    int r = control_policy_remove(request->context->control, request->name, err);

    return r < 0 ? r : api_reply_done(ret, err);
}

typedef int attach_fn(struct control *control, const char *name, const char *filesystem,
                      struct error *err);

static int change_attached(const struct api_request *request, attach_fn *change,
                           struct api_reply *ret, struct error *err)
{
    const char *filesystem = NULL;
    int r = json_get_text(request->body, "filesystem", JSON_REQUIRED, &filesystem, err);

    if (r == 0)
        r = change(request->context->control, request->name, filesystem, err);
    return r < 0 ? r : reply_policy(request, request->name, 200, ret, err);
}

int api_attach_snapshot_policy(const struct api_request *request, struct api_reply *ret,
                               struct error *err)
{
    return change_attached(request, control_policy_attach, ret, err);
}

int api_detach_snapshot_policy(const struct api_request *request, struct api_reply *ret,
                               struct error *err)
{
    return change_attached(request, control_policy_detach, ret, err);
}

int api_run_snapshot_policy(const struct api_request *request, struct api_reply *ret,
                            struct error *err)
{
    int r = control_policy_run_once(request->context->control, request->name, err);

    return r < 0 ? r : api_reply_done(ret, err);
}
