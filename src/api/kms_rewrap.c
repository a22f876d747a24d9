/* kms_rewrap.c - /api/v1/kms/rewrap, /api/v1/filesystems/{name}/kms-rewrap, and the removal of the
 * key server's configuration. */
#include <errno.h>

#include "api/routes.h"
#include "base/cleanup.h"
#include "net/json.h"

const char *api_rewrap_result(enum rewrap_result result)
{
    switch (result) {
    case REWRAP_DONE:
        return "rewrapped";
    case REWRAP_UNCHANGED:
        return "unchanged";
    case REWRAP_PLANNED:
        return "planned";
    case REWRAP_FAILED:
        break;
    }
    return "failed";
}

static json_t *row_json(const struct rewrap_row *row)
{
    return json_pack("{s:s,s:s,s:s,s:I,s:s,s:s,s:I,s:s,s:I,s:I,s:s}", "name", row->name, "old_type",
                     row->from.type, "old_key", row->from.key, "old_version",
                     (json_int_t)row->from.version, "new_type", row->to.type, "new_key",
                     row->to.key, "new_version", (json_int_t)row->to.version, "result",
                     api_rewrap_result(row->result), "dropped", (json_int_t)row->dropped,
                     "kept_dropped", (json_int_t)row->kept, "text", row->text);
}

static json_t *needed_json(const struct rewrap_key *key)
{
    return json_pack("{s:s,s:s,s:I}", "type", key->type, "key", key->key, "version",
                     (json_int_t)key->version);
}

static json_t *report_json(const struct rewrap_report *report)
{
    json_t *rows = json_array();
    json_t *needed = json_array();

    for (size_t i = 0; i < report->count; i++)
        (void)json_array_append_new(rows, row_json(&report->rows[i]));
    for (size_t i = 0; i < report->needed_count; i++)
        (void)json_array_append_new(needed, needed_json(&report->needed[i]));
    return json_pack("{s:o,s:I,s:o,s:I,s:s}", "filesystems", rows, "failed",
                     (json_int_t)report->failed, "needed", needed, "left_alone",
                     (json_int_t)report->left_alone, "remains", report->remains);
}

static int rewrap(const struct api_request *request, const struct rewrap_options *options,
                  struct api_reply *ret, struct error *err)
{
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    int r = control_kms_rewrap(request->context->control, options, &report, err);

    if (r < 0)
        return r;
    ret->body = report_json(&report);
    return api_reply_end(ret, err);
}

int api_rewrap_kms(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct rewrap_options options = { .is_rotation = true };
    int r = json_get_text(request->body, "new_key_uid", JSON_OPTIONAL, &options.new_key_uid, err);

    if (r == 0)
        r = json_get_bool(request->body, "dry_run", JSON_OPTIONAL, &options.is_dry, err);
    if (r == 0)
        r = json_get_bool(request->body, "all", JSON_OPTIONAL, &options.with_own_keys, err);
    if (r == 0)
        r = json_get_bool(request->body, "drop_previous", JSON_OPTIONAL, &options.drop_previous,
                          err);
    if (r == 0)
        r = json_get_bool(request->body, "convert_to_cluster_key", JSON_OPTIONAL, &options.converts,
                          err);
    return r < 0 ? r : rewrap(request, &options, ret, err);
}

int api_rewrap_filesystem(const struct api_request *request, struct api_reply *ret,
                          struct error *err)
{
    struct rewrap_options options = { .name = request->name };
    int r = json_get_bool(request->body, "dry_run", JSON_OPTIONAL, &options.is_dry, err);

    if (r == 0)
        r = json_get_bool(request->body, "drop_previous", JSON_OPTIONAL, &options.drop_previous,
                          err);
    return r < 0 ? r : rewrap(request, &options, ret, err);
}

int api_delete_kms(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(kms_set_report_release) struct kms_set_report report = { .rewrapped = 0 };
    bool allow_downgrade = false;
    int r = json_get_bool(request->body, "allow_downgrade", JSON_OPTIONAL, &allow_downgrade, err);

    if (r == 0)
        r = control_kms_unset(request->context->control, allow_downgrade, &report, err);
    if (r < 0)
        return r;
    ret->body = api_kms_json(request->context->control);
    if (ret->body)
        (void)json_object_set_new(ret->body, "keys_left", api_keys_left_json(&report));
    return api_reply_end(ret, err);
}
