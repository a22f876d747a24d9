#include "api/routes.h"

#include <errno.h>
#include <string.h>

const struct api_route api_routes[] = {
    { "POST", "/api/v1/login", NEED_NOTHING, api_log_in },
    { "GET", "/api/v1/session", NEED_LOGIN, api_get_session },
    { "DELETE", "/api/v1/session", NEED_LOGIN, api_log_out },
    { "PUT", "/api/v1/session/password", NEED_LOGIN, api_change_own_password },
    { "GET", "/api/v1/users", NEED_ADMIN, api_list_users },
    { "POST", "/api/v1/users", NEED_ADMIN, api_add_user },
    { "PATCH", "/api/v1/users/{name}", NEED_ADMIN, api_update_user },
    { "DELETE", "/api/v1/users/{name}", NEED_ADMIN, api_remove_user },
    { "PUT", "/api/v1/users/{name}/password", NEED_ADMIN, api_set_user_password },
    { "GET", "/api/v1/status", NEED_VIEW, api_get_status },
    { "GET", "/api/v1/kms", NEED_VIEW, api_get_kms },
    { "PUT", "/api/v1/kms", NEED_KEYS, api_put_kms },
    { "DELETE", "/api/v1/kms", NEED_KEYS, api_delete_kms },
    { "POST", "/api/v1/kms/rewrap", NEED_KEYS, api_rewrap_kms },
    { "POST", "/api/v1/kms/check", NEED_KEYS, api_check_kms },
    { "GET", "/api/v1/ca-cert", NEED_VIEW, api_get_ca_cert },
    { "PUT", "/api/v1/ca-cert", NEED_KEYS, api_put_ca_cert },
    { "DELETE", "/api/v1/ca-cert", NEED_KEYS, api_delete_ca_cert },
    { "GET", "/api/v1/filesystems", NEED_VIEW, api_list_filesystems },
    { "POST", "/api/v1/filesystems", NEED_ADMIN, api_add_filesystem },
    { "POST", "/api/v1/filesystems/adopt", NEED_ADMIN, api_adopt_filesystem },
    { "GET", "/api/v1/filesystems/{name}", NEED_VIEW, api_get_filesystem },
    { "PATCH", "/api/v1/filesystems/{name}", NEED_KEYS, api_update_filesystem },
    { "DELETE", "/api/v1/filesystems/{name}", NEED_ADMIN, api_remove_filesystem },
    { "PUT", "/api/v1/filesystems/{name}/cache", NEED_ADMIN, api_set_cache },
    { "PUT", "/api/v1/filesystems/{name}/capacity", NEED_ADMIN, api_set_capacity },
    { "PUT", "/api/v1/filesystems/{name}/origin", NEED_ADMIN, api_set_origin },
    { "POST", "/api/v1/filesystems/{name}/start", NEED_FILESYSTEM, api_start_filesystem },
    { "POST", "/api/v1/filesystems/{name}/stop", NEED_FILESYSTEM, api_stop_filesystem },
    { "POST", "/api/v1/filesystems/{name}/check", NEED_FILESYSTEM, api_check_filesystem },
    { "POST", "/api/v1/filesystems/{name}/kms-rewrap", NEED_KEYS, api_rewrap_filesystem },
    { "POST", "/api/v1/filesystems/{name}/key/export", NEED_ADMIN, api_export_key },
    { "POST", "/api/v1/filesystems/{name}/key/repair", NEED_KEYS, api_repair_key },
    { "POST", "/api/v1/filesystems/{name}/key/drop-unused", NEED_KEYS, api_drop_unused_keys },
    { "POST", "/api/v1/filesystems/{name}/key/import", NEED_ADMIN, api_import_key },
    { "GET", "/api/v1/object-stores", NEED_VIEW, api_list_object_stores },
    { "POST", "/api/v1/object-stores", NEED_ADMIN, api_add_object_store },
    { "GET", "/api/v1/object-stores/{name}", NEED_VIEW, api_get_object_store },
    { "PATCH", "/api/v1/object-stores/{name}", NEED_ADMIN, api_update_object_store },
    { "DELETE", "/api/v1/object-stores/{name}", NEED_ADMIN, api_remove_object_store },
    { "POST", "/api/v1/object-stores/{name}/check", NEED_ADMIN, api_check_object_store },
    { "GET", "/api/v1/object-stores/{name}/snapshots", NEED_VIEW, api_list_uploads },
    { "DELETE", "/api/v1/object-stores/{name}/snapshots", NEED_ADMIN, api_remove_upload },
    { "POST", "/api/v1/object-stores/{name}/snapshots/rewrap", NEED_KEYS, api_rewrap_uploads },
    { "POST", "/api/v1/object-stores/{name}/snapshots/verify", NEED_FILESYSTEM, api_verify_upload },
    { "GET", "/api/v1/object-stores/{name}/uses", NEED_VIEW, api_list_uses },
    { "DELETE", "/api/v1/object-stores/{name}/uses", NEED_ADMIN, api_expire_use },
    { "GET", "/api/v1/filesystems/{name}/snapshots", NEED_VIEW, api_list_snapshots },
    { "POST", "/api/v1/filesystems/{name}/snapshots", NEED_FILESYSTEM, api_add_snapshot },
    { "PATCH", "/api/v1/filesystems/{name}/snapshots", NEED_FILESYSTEM, api_update_snapshot },
    { "DELETE", "/api/v1/filesystems/{name}/snapshots", NEED_ADMIN, api_remove_snapshot },
    { "POST", "/api/v1/filesystems/{name}/snapshots/diff", NEED_FILESYSTEM, api_diff_snapshots },
    { "POST", "/api/v1/filesystems/{name}/restore", NEED_ADMIN, api_restore_filesystem },
    { "GET", "/api/v1/snapshot-policies", NEED_VIEW, api_list_snapshot_policies },
    { "POST", "/api/v1/snapshot-policies", NEED_ADMIN, api_add_snapshot_policy },
    { "GET", "/api/v1/snapshot-policies/{name}", NEED_VIEW, api_get_snapshot_policy },
    { "PATCH", "/api/v1/snapshot-policies/{name}", NEED_ADMIN, api_update_snapshot_policy },
    { "DELETE", "/api/v1/snapshot-policies/{name}", NEED_ADMIN, api_remove_snapshot_policy },
    { "POST", "/api/v1/snapshot-policies/{name}/attach", NEED_ADMIN, api_attach_snapshot_policy },
    { "POST", "/api/v1/snapshot-policies/{name}/detach", NEED_ADMIN, api_detach_snapshot_policy },
    { "POST", "/api/v1/snapshot-policies/{name}/run-once", NEED_FILESYSTEM,
      api_run_snapshot_policy },
    { "POST", "/api/v1/filesystems/{name}/snapshots/upload", NEED_FILESYSTEM, api_upload_snapshot },
    { "POST", "/api/v1/filesystems/{name}/snapshots/download", NEED_FILESYSTEM,
      api_download_snapshot },
    { "GET", "/api/v1/tasks", NEED_VIEW, api_list_tasks },
    { "GET", "/api/v1/tasks/{name}", NEED_VIEW, api_get_task },
    { "POST", "/api/v1/tasks/{name}/pause", NEED_FILESYSTEM, api_pause_task },
    { "POST", "/api/v1/tasks/{name}/resume", NEED_FILESYSTEM, api_resume_task },
    { "POST", "/api/v1/tasks/{name}/abort", NEED_FILESYSTEM, api_abort_task },
    { "GET", "/metrics", NEED_VIEW, api_get_metrics },
    { "GET", "/api/v1/alerts", NEED_VIEW, api_list_alerts },
    { "GET", "/api/v1/alerts/types", NEED_VIEW, api_list_alert_types },
    { "PUT", "/api/v1/alerts/{name}/mute", NEED_ATTENTION, api_mute_alert },
    { "DELETE", "/api/v1/alerts/{name}/mute", NEED_ATTENTION, api_unmute_alert },
    { "GET", "/api/v1/events", NEED_VIEW, api_list_events },
    { "GET", "/api/v1/audit", NEED_VIEW, api_list_audit },
    { "GET", "/api/v1/audit/verify", NEED_VIEW, api_verify_audit },
    { "GET", "/api/v1/audit/stored", NEED_VIEW, api_read_audit },
    { "POST", "/api/v1/audit/archived", NEED_ADMIN, api_forget_audit },
};
const size_t api_route_count = sizeof(api_routes) / sizeof(api_routes[0]);

#define NAME_SIZE 256u

/* Whether path is what pattern describes; {name} stands for one part that is not empty. */
static int match(const char *pattern, const char *path, char *ret_name)
{
    static const char parameter[] = "{name}";
    const char *at = strstr(pattern, parameter);

    ret_name[0] = '\0';
    if (!at)
        return strcmp(pattern, path) == 0;
    size_t before = (size_t)(at - pattern);
    if (strncmp(pattern, path, before) != 0)
        return 0;
    size_t len = strcspn(path + before, "/");
    if (len == 0 || len >= NAME_SIZE || strcmp(path + before + len, at + strlen(parameter)) != 0)
        return 0;
    memcpy(ret_name, path + before, len);
    ret_name[len] = '\0';
    return 1;
}

int api_route_find(const char *method, const char *path, const struct api_route **ret,
                   char *ret_name)
{
    int r = -ENOENT;
    char name[NAME_SIZE];

    for (size_t i = 0; i < api_route_count; i++) {
        if (!match(api_routes[i].pattern, path, name))
            continue;
        r = -EOPNOTSUPP;
        if (strcmp(api_routes[i].method, method) != 0)
            continue;
        *ret = &api_routes[i];
        memcpy(ret_name, name, NAME_SIZE);
        return 0;
    }
    return r;
}

unsigned api_status_of(int code)
{
    static const struct {
        int code;
        unsigned status;
    } statuses[] = {
        { -EINVAL, 400 },       { -ENAMETOOLONG, 400 }, { -EACCES, 403 },       { -EPERM, 403 },
        { -ENOENT, 404 },       { -EOPNOTSUPP, 405 },   { -EEXIST, 409 },       { -EBUSY, 409 },
        { -EXDEV, 409 },        { -ENOKEY, 409 },       { -ENOTEMPTY, 409 },    { -EFBIG, 413 },
        { -EKEYREVOKED, 409 },  { -EBADMSG, 422 },      { -EPROTO, 502 },       { -EAGAIN, 503 },
        { -ESHUTDOWN, 503 },    { -ETIMEDOUT, 504 },    { -ENOSPC, 507 },       { -ENXIO, 422 },
        { -ECONNREFUSED, 502 }, { -EHOSTUNREACH, 502 }, { -EKEYREJECTED, 502 }, { -EUSERS, 429 },
        { -ENOSYS, 409 },       { -EALREADY, 409 },
    };

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (statuses[i].code == code)
            return statuses[i].status;
    return 500;
}

json_t *api_error_body(const struct error *err)
{
    const char *code = strerrorname_np(-err->code);

    return json_pack("{s:s,s:s}", "error", err->text, "code", code ? code : "EIO");
}

int api_no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "out of memory for the answer");
}

int api_reply_end(const struct api_reply *reply, struct error *err)
{
    return reply->body ? 0 : api_no_memory(err);
}

int api_reply_done(struct api_reply *ret, struct error *err)
{
    ret->body = json_object();
    return api_reply_end(ret, err);
}
