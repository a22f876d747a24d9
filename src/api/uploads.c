/* uploads.c - /api/v1/object-stores/{name}/snapshots and /uses: what lies in a store, and who uses
 * it. Much of that is what others wrote there: texts are cleaned. */
#include <errno.h>
#include <stdlib.h>

#include "api/query.h"
#include "api/routes.h"
#include "base/clean_text.h"
#include "base/cleanup.h"
#include "control/tasks.h"
#include "control/uploads.h"
#include "net/json.h"

static json_t *clean_json(const char *text)
{
    char clean[WRAPPED_ADDRESSES_SIZE];

    clean_text(text, clean, sizeof(clean));
    return json_string(clean);
}

static json_t *time_json(int64_t ns)
{
    char text[API_TIME_SIZE];

    api_time_text(ns, text);
    return json_string(text);
}

static json_t *uuid_json(const struct uuid *uuid)
{
    char text[UUID_TEXT_SIZE];

    uuid_format(uuid, text);
    return json_string(uuid_is_zero(uuid) ? "" : text);
}

/* --- snapshots --- */

static json_t *key_json(const struct uploaded_key *key)
{
    return json_pack("{s:o,s:I,s:o,s:o,s:I,s:o,s:o,s:o}", "origin", uuid_json(&key->origin),
                     "generation", (json_int_t)key->generation, "type", clean_json(key->key.type),
                     "key", clean_json(key->key.key), "version", (json_int_t)key->key.version,
                     "namespace", clean_json(key->key.kms_namespace), "mount_path",
                     clean_json(key->key.mount_path), "addresses", clean_json(key->addresses));
}

static json_t *keys_json(const struct uploaded_view *view)
{
    json_t *keys = json_array();

    for (size_t i = 0; i < view->key_count; i++)
        (void)json_array_append_new(keys, key_json(&view->keys[i]));
    return keys;
}

/* The keys once more, the first of them as members of the row: as a rule there is one. */
static int add_key(json_t *row, const struct uploaded_key *key)
{
    json_t *more =
        json_pack("{s:o,s:o,s:I,s:o,s:o,s:o}", "kms_type", clean_json(key->key.type), "kms_key",
                  clean_json(key->key.key), "kms_key_version", (json_int_t)key->key.version,
                  "kms_namespace", clean_json(key->key.kms_namespace), "kms_mount_path",
                  clean_json(key->key.mount_path), "kms_addresses", clean_json(key->addresses));

    return json_object_update_new(row, more);
}

static json_t *damaged_json(const struct uploaded_view *view)
{
    return json_pack("{s:s,s:s,s:o,s:[]}", "locator", view->locator, "status", "damaged", "text",
                     clean_json(view->fault.text), "keys");
}

static json_t *snapshot_json(const struct uploaded_view *view)
{
    if (view->fault.code < 0)
        return damaged_json(view);
    json_t *row = json_pack(
        "{s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:o}", "locator", view->locator, "status",
        "complete", "text", "", "filesystem", clean_json(view->filesystem), "snapshot",
        clean_json(view->snapshot), "access_point", clean_json(view->access_point), "origin",
        uuid_json(&view->fs), "created", time_json(view->created_ns), "uploaded",
        time_json(view->uploaded_ns), "size", (json_int_t)view->size, "inodes",
        (json_int_t)view->inodes, "data_size", (json_int_t)view->data_len, "keys", keys_json(view));

    if (row && add_key(row, &view->keys[0]) < 0) {
        json_decref(row);
        return NULL;
    }
    return row;
}

static int append(json_t *rows, json_t *row)
{
    return json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;
}

static int append_snapshot(const struct uploaded_view *view, void *arg)
{
    return append(arg, snapshot_json(view));
}

/* What visitors filled, or why they could not. */
static int reply_rows(int r, json_t *rows, struct api_reply *ret, struct error *err)
{
    if (r == -ENOMEM)
        r = api_no_memory(err);
    if (r < 0) {
        json_decref(rows);
        return r;
    }
    ret->body = rows;
    return api_reply_end(ret, err);
}

int api_list_uploads(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    size_t limit = API_LIST_LIMIT;
    int r = api_query_limit(request, &limit, err);

    if (r < 0)
        return r;
    json_t *rows = json_array();
    r = control_uploads_each(request->context->control, request->name,
                             api_query_text(request, "after"), limit, append_snapshot, rows, err);
    return reply_rows(r, rows, ret, err);
}

static int remove_now(const struct api_request *request, const char *locator, struct api_reply *ret,
                      struct error *err)
{
    struct uploads_removed removed = { .snapshots = 0 };

    int r =
        control_uploads_remove(request->context->control, request->name, locator, &removed, err);
    if (r < 0)
        return r;
    ret->body = json_pack("{s:I,s:I,s:I,s:I}", "snapshots", (json_int_t)removed.snapshots,
                          "objects", (json_int_t)removed.objects, "bytes",
                          (json_int_t)removed.bytes, "kept", (json_int_t)removed.kept);
    return api_reply_end(ret, err);
}

/* Without a locator: only what nobody needs any more. */
int api_remove_upload(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct task_view view = { .id = 0 };
    const char *locator = NULL;
    bool is_background = false;
    int r = json_get_text(request->body, "locator", JSON_OPTIONAL, &locator, err);

    if (r == 0)
        r = json_get_bool(request->body, "background", JSON_OPTIONAL, &is_background, err);
    if (r == 0 && !is_background)
        return remove_now(request, locator, ret, err);
    if (r == 0)
        r = control_uploads_remove_start(request->context->control, request->name, locator, &view,
                                         err);
    return r < 0 ? r : api_reply_task(&view, 202, ret, err);
}

/* --- verification --- */

static void append_fault(const char *text, void *arg)
{
    (void)json_array_append_new(arg, clean_json(text));
}

static int verify_now(const struct api_request *request, const char *locator, unsigned one_in,
                      struct api_reply *ret, struct error *err)
{
    json_t *report = json_array();
    uint64_t faults = 0;

    int r = control_upload_verify(request->context->control, request->name, locator, one_in,
                                  append_fault, report, &faults, err);
    if (r < 0) {
        json_decref(report);
        return r;
    }
    ret->body = json_pack("{s:I,s:o}", "faults", (json_int_t)faults, "report", report);
    return api_reply_end(ret, err);
}

int api_verify_upload(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct task_view view = { .id = 0 };
    const char *locator = NULL;
    bool is_background = false;
    int64_t one_in = 1;
    int r = json_get_text(request->body, "locator", JSON_REQUIRED, &locator, err);

    if (r == 0)
        r = json_get_integer(request->body, "one_in", JSON_OPTIONAL, &one_in, err);
    if (r == 0 && (one_in < 1 || one_in > INT32_MAX))
        r = error_set(err, -EINVAL, "\"one_in\" is 1 for all, or a larger number for a sample");
    if (r == 0)
        r = json_get_bool(request->body, "background", JSON_OPTIONAL, &is_background, err);
    if (r == 0 && !is_background)
        return verify_now(request, locator, (unsigned)one_in, ret, err);
    if (r == 0)
        r = control_upload_verify_start(request->context->control, request->name, locator,
                                        (unsigned)one_in, &view, err);
    return r < 0 ? r : api_reply_task(&view, 202, ret, err);
}

/* --- rewrap --- */

struct rewrapping {
    json_t *rows;
    json_int_t failed;
};

static int append_rewrapped(const struct upload_rewrap_row *row, void *arg)
{
    struct rewrapping *rewrapping = arg;

    rewrapping->failed += row->result == REWRAP_FAILED;
    return append(rewrapping->rows,
                  json_pack("{s:s,s:o,s:o,s:s,s:o,s:I,s:s,s:o,s:I,s:s,s:I,s:o}", "locator",
                            row->locator, "filesystem", clean_json(row->filesystem), "snapshot",
                            clean_json(row->snapshot), "old_type", row->from.type, "old_key",
                            clean_json(row->from.key), "old_version", (json_int_t)row->from.version,
                            "new_type", row->to.type, "new_key", clean_json(row->to.key),
                            "new_version", (json_int_t)row->to.version, "result",
                            api_rewrap_result(row->result), "dropped", (json_int_t)row->dropped,
                            "text", clean_json(row->text)));
}

static int get_rewrap(const struct api_request *request, struct upload_rewrap_options *options,
                      struct key_provider_config *config, struct error *err)
{
    const json_t *kms = json_object_get(request->body, "kms");
    int r = json_get_text(request->body, "locator", JSON_OPTIONAL, &options->locator, err);

    if (r == 0)
        r = json_get_bool(request->body, "all", JSON_OPTIONAL, &options->is_all, err);
    if (r == 0)
        r = json_get_bool(request->body, "dry_run", JSON_OPTIONAL, &options->is_dry, err);
    if (r == 0)
        r = json_get_bool(request->body, "drop_previous", JSON_OPTIONAL, &options->drop_previous,
                          err);
    if (r < 0 || !kms)
        return r;
    if (!json_is_object(kms))
        return error_set(err, -EINVAL, "\"kms\" must be an object");
    options->target = config;
    r = api_get_kms_config(kms, config, err);
    if (r == 0)
        r = api_check_kms_paths(request, kms, err);
    return r < 0 ? r : control_kms_complete(request->context->control, config, err);
}

static int rewrap_now(const struct api_request *request,
                      const struct upload_rewrap_options *options, struct api_reply *ret,
                      struct error *err)
{
    struct rewrapping rewrapping = { .rows = json_array() };
    int r = control_uploads_rewrap(request->context->control, request->name, options,
                                   append_rewrapped, &rewrapping, err);

    if (r < 0) {
        json_decref(rewrapping.rows);
        return r == -ENOMEM ? api_no_memory(err) : r;
    }
    ret->body =
        json_pack("{s:o,s:I,s:o*}", "snapshots", rewrapping.rows, "failed", rewrapping.failed,
                  "unneeded", api_unneeded_json(request->context->control));
    return api_reply_end(ret, err);
}

int api_rewrap_uploads(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    struct upload_rewrap_options options = { .is_dry = false };
    struct task_view view = { .id = 0 };
    bool is_background = false;
    int r = get_rewrap(request, &options, &config, err);

    if (r == 0)
        r = json_get_bool(request->body, "background", JSON_OPTIONAL, &is_background, err);
    if (r == 0 && !is_background)
        return rewrap_now(request, &options, ret, err);
    if (r == 0)
        r = control_uploads_rewrap_start(request->context->control, request->name, &options, &view,
                                         err);
    return r < 0 ? r : api_reply_task(&view, 202, ret, err);
}

/* --- who uses the store --- */

static int append_use(const struct bucket_use *use, void *arg)
{
    return append(arg, json_pack("{s:o,s:s,s:o,s:o,s:b,s:o,s:I,s:s}", "id", uuid_json(&use->id),
                                 "kind", bucket_use_name(use->kind), "origin", uuid_json(&use->fs),
                                 "instance", uuid_json(&use->instance), "this_instance",
                                 (int)use->is_ours, "since", time_json(use->since_ns), "objects",
                                 (json_int_t)use->names, "locator", use->locator));
}

int api_list_uses(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    json_t *rows = json_array();
    int r =
        control_bucket_uses_each(request->context->control, request->name, append_use, rows, err);

    return reply_rows(r, rows, ret, err);
}

int api_expire_use(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    const char *text = NULL;
    struct uuid id;
    int r = json_get_text(request->body, "id", JSON_REQUIRED, &text, err);

    if (r < 0)
        return r;
    if (uuid_parse(text, &id) < 0)
        return error_set(err, -EINVAL,
                         "'%.64s' is not one of the ids that coffer fs tier ops lists", text);
    r = control_bucket_expire(request->context->control, request->name, &id, err);
    return r < 0 ? r : api_reply_done(ret, err);
}
