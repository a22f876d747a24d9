/* events.c - /api/v1/events: what happened. */
#include <errno.h>
#include <string.h>

#include "api/query.h"
#include "base/cleanup.h"
#include "net/json.h"

static const char *severity_name(enum log_level level)
{
    static const char *const names[] = {
        [LOG_LEVEL_ERROR] = "critical",
        [LOG_LEVEL_WARNING] = "warning",
        [LOG_LEVEL_INFO] = "info",
    };

    return names[level];
}

/* Between warning and critical there is nothing of ours; other products' words are understood. */
static int get_severity(const struct api_request *request, enum log_level *ret, struct error *err)
{
    static const struct {
        const char *name;
        enum log_level level;
    } severities[] = {
        { "info", LOG_LEVEL_INFO },      { "warning", LOG_LEVEL_WARNING },
        { "minor", LOG_LEVEL_ERROR },    { "major", LOG_LEVEL_ERROR },
        { "critical", LOG_LEVEL_ERROR },
    };
    const char *text = api_query_text(request, "severity");

    *ret = LOG_LEVEL_INFO;
    if (!text)
        return 0;
    for (size_t i = 0; i < sizeof(severities) / sizeof(severities[0]); i++) {
        if (strcmp(severities[i].name, text) == 0) {
            *ret = severities[i].level;
            return 0;
        }
    }
    return error_set(err, -EINVAL, "a severity is info, warning or critical");
}

static json_t *event_json(const struct event *event)
{
    char time[API_TIME_SIZE];

    api_time_text(event->time_ns, time);
    return json_pack("{s:I,s:s,s:s,s:s,s:s,s:s}", "number", (json_int_t)event->number, "time", time,
                     "severity", severity_name(event->level), "type", event->type, "filesystem",
                     event->filesystem, "text", event->text);
}

int api_list_events(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(free_ptr) struct event *items = NULL;
    CLEANUP(json_freep) json_t *list = json_array();
    struct events_query query = { .level = LOG_LEVEL_INFO };
    size_t count = 0;
    int r = api_query_journal(request, "type", &query.journal, err);

    if (r == 0)
        r = get_severity(request, &query.level, err);
    if (r == 0)
        r = events_list(control_events(request->context->control), &query, &items, &count, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(list, event_json(&items[i])) < 0)
            return api_no_memory(err);
    ret->body = TAKE(list);
    return api_reply_end(ret, err);
}
