/* filesystems.c - /api/v1/filesystems: the list, one, adding, adopting, removing, starting,
 * stopping and checking. */
#include <errno.h>
#include <stdlib.h>

#include "api/routes.h"
#include "base/clean_text.h"
#include "base/cleanup.h"
#include "control/uploads.h"
#include "net/json.h"

/* Of one that was downloaded, and is not all here. */
static int add_origin(json_t *row, const struct fs_view *view)
{
    json_t *origin = json_pack(
        "{s:s,s:I,s:o,s:o}", "origin_store", view->origin_store, "origin_task",
        (json_int_t)view->origin_task, "origin_size",
        view->has_origin_left ? json_integer((json_int_t)view->origin_data) : json_null(),
        "origin_left",
        view->has_origin_left ? json_integer((json_int_t)view->origin_data_left) : json_null());

    return json_object_update_new(row, origin);
}

static json_t *view_json(const struct fs_view *view)
{
    char uuid[UUID_TEXT_SIZE];

    uuid_format(&view->uuid, uuid);
    json_t *row = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:s,s:s,s:I,s:s,s:s,s:s,s:b,s:b,s:s,s:b,s:s,s:s,s:I,s:I,"
        "s:I,s:I,s:s}",
        "name", view->name, "uuid", uuid, "status", fs_state_name(view->state), "status_text",
        view->status_text, "lacking", view->lacking, "capacity", (json_int_t)view->capacity, "used",
        (json_int_t)view->used, "free", (json_int_t)view->free, "kms_type", view->kms_type,
        "kms_key", view->kms_key, "kms_key_version", (json_int_t)view->kms_key_version,
        "mounted_at", view->mounted_at, "store", view->store_url, "meta", view->meta_url,
        "read_only", (int)view->is_read_only, "older_worker", (int)view->has_older_worker,
        "kms_namespace", view->kms_namespace, "own_kms_key", (int)view->has_own_kms_key, "kms_role",
        view->kms_role, "kms_cipher_mode", wrap_mode_name(view->kms_cipher_mode), "cache",
        (json_int_t)view->cache_bytes, "cache_used", (json_int_t)view->cache_used, "cache_hits",
        (json_int_t)view->cache_hits, "cache_misses", (json_int_t)view->cache_misses,
        "cache_folder", view->cache_folder);

    if (row && add_origin(row, view) < 0) {
        json_decref(row);
        return NULL;
    }
    return row;
}

int api_reply_view(const struct fs_view *view, unsigned status, struct api_reply *ret,
                   struct error *err)
{
    ret->status = status;
    ret->body = view_json(view);
    return api_reply_end(ret, err);
}

int api_list_filesystems(const struct api_request *request, struct api_reply *ret,
                         struct error *err)
{
    CLEANUP(free_ptr) struct fs_view *views = NULL;
    size_t count = 0;
    int r = control_list(request->context->control, &views, &count, err);

    if (r < 0)
        return r;
    ret->body = json_array();
    for (size_t i = 0; i < count && ret->body; i++)
        (void)json_array_append_new(ret->body, view_json(&views[i]));
    return api_reply_end(ret, err);
}

/* secret is the caller's to release. */
static int get_kms_key(const json_t *body, struct fs_key_change *ret, struct secret *secret,
                       struct error *err)
{
    int r = json_get_text(body, "kms_key", JSON_OPTIONAL, &ret->key, err);

    if (r == 0)
        r = json_get_text(body, "kms_namespace", JSON_OPTIONAL, &ret->kms_namespace, err);
    if (r == 0)
        r = json_get_text(body, "kms_role_id", JSON_OPTIONAL, &ret->role_id, err);
    if (r == 0)
        r = json_get_secret(body, "kms_secret_id", JSON_OPTIONAL, secret, err);
    if (r == 0 && secret->len > 0)
        ret->secret_id = secret;
    return r;
}

static int get_cache(const json_t *body, enum json_need need, uint64_t *ret, struct error *err)
{
    int64_t bytes = 0;
    int r = json_get_integer(body, "cache", need, &bytes, err);

    if (r == 0 && bytes < 0)
        r = error_set(err, -EINVAL, "a cache's size is not negative");
    *ret = (uint64_t)bytes;
    return r;
}

int api_set_cache(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct fs_view view = { .state = FS_STOPPED };
    uint64_t bytes = 0;
    int r = get_cache(request->body, JSON_REQUIRED, &bytes, err);

    if (r == 0)
        r = control_set_cache(request->context->control, request->name, bytes, &view, err);
    return r < 0 ? r : api_reply_view(&view, 200, ret, err);
}

static int get_capacity(const json_t *body, enum json_need need, uint64_t *ret, struct error *err)
{
    int64_t bytes = 0;
    int r = json_get_integer(body, "capacity", need, &bytes, err);

    if (r == 0 && bytes < 0)
        r = error_set(err, -EINVAL, "a capacity is not negative");
    *ret = (uint64_t)bytes;
    return r;
}

int api_set_capacity(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct fs_view view = { .state = FS_STOPPED };
    uint64_t bytes = 0;
    int r = get_capacity(request->body, JSON_REQUIRED, &bytes, err);

    if (r == 0)
        r = control_set_capacity(request->context->control, request->name, bytes, &view, err);
    return r < 0 ? r : api_reply_view(&view, 200, ret, err);
}

int api_set_origin(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct fs_view view = { .state = FS_STOPPED };
    const char *store = NULL;
    int r = json_get_text(request->body, "object_store", JSON_REQUIRED, &store, err);

    if (r == 0)
        r = control_set_origin(request->context->control, request->name, store, &view, err);
    return r < 0 ? r : api_reply_view(&view, 200, ret, err);
}

/* What it is made of: nothing, or a snapshot in an object store, whose name chosen gets. */
static int get_origin(const struct api_request *request, char chosen[static STORE_NAME_MAX + 1],
                      struct fs_add *add, struct error *err)
{
    struct store_choice choice = { .name = NULL };
    int r = json_get_text(request->body, "locator", JSON_OPTIONAL, &add->locator, err);

    if (r == 0)
        r = api_get_store_choice(request->body, &choice, err);
    if (r == 0)
        r = json_get_bool(request->body, "read_only_store", JSON_OPTIONAL, &add->is_read_only_store,
                          err);
    if (r < 0 || !choice.site) {
        add->object_store = choice.name;
        return r;
    }
    add->object_store = chosen;
    return control_store_choose(request->context->control, &choice, chosen, err);
}

int api_add_filesystem(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret secret = SECRET_INIT;
    char chosen[STORE_NAME_MAX + 1];
    struct fs_add add = { .name = NULL };
    struct fs_view view = { .state = FS_STOPPED };
    uint64_t cache = 0;
    int r = json_get_text(request->body, "name", JSON_REQUIRED, &add.name, err);

    if (r == 0)
        r = get_capacity(request->body, JSON_OPTIONAL, &add.capacity, err);
    if (r == 0)
        r = json_get_text(request->body, "store", JSON_OPTIONAL, &add.store_url, err);
    if (r == 0)
        r = json_get_text(request->body, "meta", JSON_OPTIONAL, &add.meta_url, err);
    if (r == 0)
        r = get_cache(request->body, JSON_OPTIONAL, &cache, err);
    if (r == 0)
        r = json_get_text(request->body, "cache_folder", JSON_OPTIONAL, &add.cache_folder, err);
    if (r == 0)
        r = json_get_bool(request->body, "allow_no_kms", JSON_OPTIONAL, &add.allow_no_kms, err);
    if (r == 0)
        r = get_origin(request, chosen, &add, err);
    if (r == 0)
        r = get_kms_key(request->body, &add.kms, &secret, err);
    if (r < 0)
        return r;
    add.cache_bytes = json_object_get(request->body, "cache") ? &cache : NULL;
    r = control_add(request->context->control, &add, &view, err);
    return r < 0 ? r : api_reply_view(&view, 201, ret, err);
}

int api_adopt_filesystem(const struct api_request *request, struct api_reply *ret,
                         struct error *err)
{
    CLEANUP(secret_release) struct secret keys = SECRET_INIT;
    struct fs_adopt adopt = { .name = NULL };
    struct fs_view view = { .state = FS_STOPPED };
    int r = json_get_text(request->body, "name", JSON_REQUIRED, &adopt.name, err);

    if (r == 0)
        r = json_get_text(request->body, "meta", JSON_REQUIRED, &adopt.meta_url, err);
    if (r == 0)
        r = json_get_text(request->body, "store", JSON_REQUIRED, &adopt.store_url, err);
    if (r == 0)
        r = json_get_bool(request->body, "allow_no_kms", JSON_OPTIONAL, &adopt.allow_no_kms, err);
    if (r == 0 && json_object_get(request->body, "keys"))
        r = api_get_keys(request->body, &keys, err);
    adopt.keys = secret_bytes(&keys);
    if (r == 0)
        r = control_adopt(request->context->control, &adopt, &view, err);
    return r < 0 ? r : api_reply_view(&view, 201, ret, err);
}

int api_get_filesystem(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct fs_view view = { .state = FS_STOPPED };
    int r = control_get(request->context->control, request->name, &view, err);

    return r < 0 ? r : api_reply_view(&view, 200, ret, err);
}

static json_t *shred_key_json(const struct shred_key *one)
{
    return json_pack("{s:s,s:s,s:I,s:s,s:s,s:I,s:s}", "type", one->key.type, "key", one->key.key,
                     "version", (json_int_t)one->key.version, "namespace", one->key.kms_namespace,
                     "mount_path", one->key.mount_path, "users", (json_int_t)one->users,
                     "user_names", one->names);
}

static void append_text(const char *text, void *arg)
{
    char clean[700];

    clean_text(text, clean, sizeof(clean));
    (void)json_array_append_new(arg, json_string(clean));
}

static int shred(const struct api_request *request, bool uploaded, struct api_reply *ret,
                 struct error *err)
{
    CLEANUP(shred_report_release) struct shred_report report = { .count = 0 };
    CLEANUP(json_freep) json_t *remaining = json_array();
    struct control *control = request->context->control;
    uint64_t removed = 0;
    int r = uploaded ? control_shred_uploads(control, request->name, append_text, remaining,
                                             &removed, err)
                     : 0;

    if (r == 0)
        r = control_shred(control, request->name, &report, err);
    if (r < 0)
        return r;
    json_t *keys = json_array();
    for (size_t i = 0; i < report.count; i++)
        (void)json_array_append_new(keys, shred_key_json(&report.keys[i]));
    ret->body = json_pack("{s:o,s:I,s:O}", "remaining_keys", keys, "uploads_removed",
                          (json_int_t)removed, "uploads_remaining", remaining);
    return api_reply_end(ret, err);
}

int api_remove_filesystem(const struct api_request *request, struct api_reply *ret,
                          struct error *err)
{
    bool is_shred = false;
    bool uploaded = false;
    int r = json_get_bool(request->body, "shred", JSON_OPTIONAL, &is_shred, err);

    if (r == 0)
        r = json_get_bool(request->body, "uploaded", JSON_OPTIONAL, &uploaded, err);
    if (r == 0 && uploaded && !is_shred)
        r = error_set(err, -EINVAL, "\"uploaded\" goes with \"shred\" (--shred --uploaded)");
    if (r == 0 && is_shred)
        return shred(request, uploaded, ret, err);
    if (r == 0)
        r = control_remove(request->context->control, request->name, err);
    return r < 0 ? r : api_reply_done(ret, err);
}

int api_update_filesystem(const struct api_request *request, struct api_reply *ret,
                          struct error *err)
{
    CLEANUP(secret_release) struct secret secret = SECRET_INIT;
    struct fs_key_change change = { .use_cluster = false };
    struct fs_view view = { .state = FS_STOPPED };
    int r = get_kms_key(request->body, &change, &secret, err);

    if (r == 0)
        r = json_get_bool(request->body, "use_cluster_kms_key", JSON_OPTIONAL, &change.use_cluster,
                          err);
    if (r == 0)
        r = control_set_kms_key(request->context->control, request->name, &change, &view, err);
    return r < 0 ? r : api_reply_view(&view, 200, ret, err);
}

int api_start_filesystem(const struct api_request *request, struct api_reply *ret,
                         struct error *err)
{
    struct start_options options = { .take_over = false };
    struct fs_view view = { .state = FS_STOPPED };
    int r = json_get_bool(request->body, "take_over", JSON_OPTIONAL, &options.take_over, err);

    if (r == 0)
        r = json_get_bool(request->body, "salvage", JSON_OPTIONAL, &options.salvage, err);
    if (r == 0)
        r = control_start(request->context->control, request->name, &options, &view, err);
    return r < 0 ? r : api_reply_view(&view, 200, ret, err);
}

int api_stop_filesystem(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    int r = control_stop(request->context->control, request->name, err);

    return r < 0 ? r : api_reply_done(ret, err);
}

#define REPORT_LINES_MAX 1000u

static void add_line(const char *text, void *arg)
{
    if (json_array_size(arg) < REPORT_LINES_MAX)
        (void)json_array_append_new(arg, json_string(text));
}

int api_check_filesystem(const struct api_request *request, struct api_reply *ret,
                         struct error *err)
{
    CLEANUP(json_freep) json_t *report = json_array();
    bool read_data = false;
    uint64_t faults = 0;
    int r = json_get_bool(request->body, "read_data", JSON_OPTIONAL, &read_data, err);

    if (!report)
        return api_no_memory(err);
    if (r == 0)
        r = control_check(request->context->control, request->name, read_data, add_line, report,
                          &faults, err);
    if (r < 0)
        return r;
    ret->body = json_pack("{s:I,s:O}", "faults", (json_int_t)faults, "report", report);
    return api_reply_end(ret, err);
}
