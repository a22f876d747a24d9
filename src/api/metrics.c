/* metrics.c - /metrics: how things stand, in the text format of Prometheus (version 0.0.4). No call
 * to a key server is waited for. Names of filesystems need no escaping: fs_name_check(). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/query.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "keys/key_requests.h"

#define NS_PER_S 1e9

static void head(FILE *out, const char *name, const char *type, const char *help)
{
    (void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_instance(FILE *out, const struct api_request *request)
{
    head(out, "coffer_info", "gauge", "The version that runs.");
    (void)fprintf(out, "coffer_info{version=\"%s\"} 1\n", COFFER_VERSION);
    head(out, "coffer_start_time_seconds", "gauge", "When cofferd started, since 1970.");
    (void)fprintf(out, "coffer_start_time_seconds %.3f\n",
                  (double)request->context->started_ns / NS_PER_S);
}

static void put_states(FILE *out, const struct fs_view *views, size_t count)
{
    size_t by_state[FS_STATE_COUNT] = { 0 };

    for (size_t i = 0; i < count; i++)
        by_state[views[i].state]++;
    head(out, "coffer_filesystems", "gauge", "How many filesystems are in each state.");
    for (int state = 0; state < FS_STATE_COUNT; state++)
        (void)fprintf(out, "coffer_filesystems{state=\"%s\"} %zu\n",
                      fs_state_name((enum fs_state)state), by_state[state]);
}

static void put_sizes(FILE *out, const struct fs_view *views, size_t count)
{
    head(out, "coffer_filesystem_capacity_bytes", "gauge", "Its limit; 0: none.");
    for (size_t i = 0; i < count; i++)
        (void)fprintf(out, "coffer_filesystem_capacity_bytes{filesystem=\"%s\"} %" PRIu64 "\n",
                      views[i].name, views[i].capacity);
    head(out, "coffer_filesystem_used_bytes", "gauge",
         "What is in use, of those that are started.");
    for (size_t i = 0; i < count; i++)
        if (fs_state_has_worker(views[i].state))
            (void)fprintf(out, "coffer_filesystem_used_bytes{filesystem=\"%s\"} %" PRIu64 "\n",
                          views[i].name, views[i].used);
}

static int put_filesystems(FILE *out, struct control *control, struct error *err)
{
    CLEANUP(free_ptr) struct fs_view *views = NULL;
    size_t count = 0;
    int r = control_list(control, &views, &count, err);

    if (r < 0)
        return r;
    put_states(out, views, count);
    put_sizes(out, views, count);
    return 0;
}

static void put_lives(FILE *out, const struct kms_status *status)
{
    if (status->login.is_known && status->login.has_end) {
        head(out, "coffer_kms_token_left_seconds", "gauge",
             "Until the token ends, if not renewed.");
        (void)fprintf(out, "coffer_kms_token_left_seconds %.3f\n",
                      (double)(status->login.ends_ms - clock_monotonic_ms()) / 1e3);
        head(out, "coffer_kms_token_is_kept", "gauge", "1: it is renewed in time by itself.");
        (void)fprintf(out, "coffer_kms_token_is_kept %d\n", status->login.is_kept);
    }
    if (status->certificate_until_s > 0) {
        head(out, "coffer_kms_certificate_left_seconds", "gauge",
             "Until the client's certificate ends.");
        (void)fprintf(out, "coffer_kms_certificate_left_seconds %.3f\n",
                      (double)status->certificate_until_s - (double)clock_wall_ns() / NS_PER_S);
    }
}

static void put_kms(FILE *out, struct control *control)
{
    struct kms_status status = { .is_configured = false };

    control_kms_status(control, &status);
    head(out, "coffer_kms_configured", "gauge", "1: a key server is configured.");
    (void)fprintf(out, "coffer_kms_configured %d\n", status.is_configured);
    if (!status.is_configured)
        return;
    head(out, "coffer_kms_reachable", "gauge", "1: it answered when it was asked last.");
    (void)fprintf(out, "coffer_kms_reachable %d\n", status.is_reachable);
    head(out, "coffer_kms_usable", "gauge", "1: what it was asked last went well.");
    (void)fprintf(out, "coffer_kms_usable %d\n", status.error_code == 0 && status.is_reachable);
    head(out, "coffer_kms_last_success_timestamp_seconds", "gauge",
         "When it did last what it was asked, since 1970; 0: not yet.");
    (void)fprintf(out, "coffer_kms_last_success_timestamp_seconds %.3f\n",
                  (double)status.last_success_ns / NS_PER_S);
    head(out, "coffer_kms_key_version", "gauge", "The key's newest version; 0: it has none.");
    (void)fprintf(out, "coffer_kms_key_version %" PRIu32 "\n", status.key.latest_version);
    put_lives(out, &status);
}

static void put_requests(FILE *out)
{
    head(out, "coffer_kms_requests_total", "counter",
         "What key servers were asked for, and how that ended.");
    for (int operation = 0; operation < KEY_OPERATION_COUNT; operation++)
        for (int outcome = 0; outcome < KEY_OUTCOME_COUNT; outcome++)
            (void)fprintf(
                out, "coffer_kms_requests_total{operation=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                key_operation_name((enum key_operation)operation),
                key_outcome_name((enum key_outcome)outcome),
                key_requests_count((enum key_operation)operation, (enum key_outcome)outcome));
}

static void put_alert_types(FILE *out, const struct alert *alerts, size_t count)
{
    size_t n_kinds = 0;
    const struct alert_kind *kinds = alert_kinds(&n_kinds);

    head(out, "coffer_alerts_by_type", "gauge", "How many alerts of each type are raised.");
    for (size_t i = 0; i < n_kinds; i++) {
        size_t raised = 0;
        for (size_t k = 0; k < count; k++)
            raised += alerts[k].kind == &kinds[i];
        (void)fprintf(out, "coffer_alerts_by_type{type=\"%s\"} %zu\n", kinds[i].type, raised);
    }
}

static int put_alerts(FILE *out, struct control *control, struct error *err)
{
    CLEANUP(free_ptr) struct alert *alerts = NULL;
    size_t by_severity[2][2] = { { 0 } }; /* is critical, is muted */
    size_t count = 0;
    int r = control_alerts(control, &alerts, &count, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        by_severity[alerts[i].is_critical][alerts[i].is_muted]++;
    head(out, "coffer_alerts", "gauge", "How many alerts are raised.");
    for (int critical = 0; critical < 2; critical++)
        for (int muted = 0; muted < 2; muted++)
            (void)fprintf(out, "coffer_alerts{severity=\"%s\",muted=\"%s\"} %zu\n",
                          alert_severity(critical), muted ? "true" : "false",
                          by_severity[critical][muted]);
    put_alert_types(out, alerts, count);
    return 0;
}

static void put_logs(FILE *out, struct control *control)
{
    struct audit_head newest;
    uint64_t counts[EVENT_LEVELS];

    events_counts(control_events(control), counts);
    head(out, "coffer_events_total", "counter", "What happened since cofferd started.");
    (void)fprintf(out, "coffer_events_total{severity=\"critical\"} %" PRIu64 "\n",
                  counts[LOG_LEVEL_ERROR]);
    (void)fprintf(out, "coffer_events_total{severity=\"warning\"} %" PRIu64 "\n",
                  counts[LOG_LEVEL_WARNING]);
    (void)fprintf(out, "coffer_events_total{severity=\"info\"} %" PRIu64 "\n",
                  counts[LOG_LEVEL_INFO]);
    audit_newest(control_audit(control), &newest);
    head(out, "coffer_audit_entries_total", "counter", "Number of the audit log's newest entry.");
    (void)fprintf(out, "coffer_audit_entries_total %" PRIu64 "\n", newest.number);
}

static int put_all(FILE *out, const struct api_request *request, struct error *err)
{
    struct control *control = request->context->control;

    put_instance(out, request);
    int r = put_filesystems(out, control, err);
    if (r == 0)
        r = put_alerts(out, control, err);
    if (r < 0)
        return r;
    put_kms(out, control);
    put_requests(out);
    put_logs(out, control);
    return 0;
}

int api_get_metrics(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(free_ptr) char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return api_no_memory(err);
    int r = put_all(out, request, err);
    if (fclose(out) != 0 && r == 0)
        r = api_no_memory(err);
    if (r < 0)
        return r;
    ret->text = TAKE(text);
    ret->text_type = "text/plain; version=0.0.4; charset=utf-8";
    return 0;
}
