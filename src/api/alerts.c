/* alerts.c - /api/v1/alerts: what needs attention, and muting it. */
#include <errno.h>
#include <string.h>

#include "api/query.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "net/json.h"

#define NS_PER_S 1000000000LL
#define MUTE_MAX_S (100LL * 365 * 86400)

static json_t *alert_json(const struct alert *alert)
{
    char raised[API_TIME_SIZE];
    char until[API_TIME_SIZE] = "";

    api_time_text(alert->raised_ns, raised);
    if (alert->is_muted && alert->muted_until_ns == INT64_MAX)
        (void)snprintf(until, sizeof(until), "for ever");
    else if (alert->is_muted)
        api_time_text(alert->muted_until_ns, until);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:s,s:s,s:s,s:s}", "type", alert->kind->type,
                     "severity", alert_severity(alert->is_critical), "title", alert->kind->title,
                     "filesystem", alert->filesystem, "text", alert->text, "time", raised,
                     "clearing", (int)alert->is_clearing, "muted", (int)alert->is_muted,
                     "muted_until", until, "comment", alert->comment, "cause", alert->kind->cause,
                     "action", alert->kind->action);
}

int api_alerts_json(struct control *control, json_t **ret, struct error *err)
{
    CLEANUP(free_ptr) struct alert *alerts = NULL;
    CLEANUP(json_freep) json_t *list = json_array();
    size_t count = 0;
    int r = control_alerts(control, &alerts, &count, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(list, alert_json(&alerts[i])) < 0)
            return api_no_memory(err);
    *ret = TAKE(list);
    return *ret ? 0 : api_no_memory(err);
}

int api_list_alerts(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    return api_alerts_json(request->context->control, &ret->body, err);
}

int api_list_alert_types(const struct api_request *request, struct api_reply *ret,
                         struct error *err)
{
    size_t count = 0;
    const struct alert_kind *kinds = alert_kinds(&count);

    (void)request;
    ret->body = json_array();
    for (size_t i = 0; ret->body && i < count; i++)
        (void)json_array_append_new(
            ret->body, json_pack("{s:s,s:s,s:s,s:s,s:s}", "type", kinds[i].type, "severity",
                                 alert_severity(kinds[i].is_critical), "title", kinds[i].title,
                                 "cause", kinds[i].cause, "action", kinds[i].action));
    return api_reply_end(ret, err);
}

int api_mute_alert(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    char comment[ALERT_COMMENT_SIZE] = "";
    int64_t seconds = 0;
    int r = json_get_integer(request->body, "seconds", JSON_OPTIONAL, &seconds, err);

    if (r == 0)
        r = json_get_line(request->body, "comment", JSON_OPTIONAL, comment, sizeof(comment), err);
    if (r == 0 && (seconds < 0 || seconds > MUTE_MAX_S))
        r = error_set(err, -EINVAL, "an alert is muted for at most 100 years, or for ever");
    int64_t until_ns = seconds == 0 ? INT64_MAX : clock_wall_ns() + seconds * NS_PER_S;
    if (r == 0)
        r = control_mute_alert(request->context->control, request->name, until_ns, comment, err);
    return r < 0 ? r : api_reply_done(ret, err);
}

int api_unmute_alert(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    int r = control_mute_alert(request->context->control, request->name, 0, "", err);

    return r < 0 ? r : api_reply_done(ret, err);
}
