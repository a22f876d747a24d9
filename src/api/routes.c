#include "api/routes.h"

#include <errno.h>
#include <string.h>

const struct api_route api_routes[] = {
    { "GET", "/api/v1/status", api_get_status },
    { "GET", "/api/v1/kms", api_get_kms },
    { "PUT", "/api/v1/kms", api_put_kms },
    { "DELETE", "/api/v1/kms", api_delete_kms },
    { "POST", "/api/v1/kms/rewrap", api_rewrap_kms },
    { "POST", "/api/v1/kms/check", api_check_kms },
    { "GET", "/api/v1/ca-cert", api_get_ca_cert },
    { "PUT", "/api/v1/ca-cert", api_put_ca_cert },
    { "DELETE", "/api/v1/ca-cert", api_delete_ca_cert },
    { "GET", "/api/v1/filesystems", api_list_filesystems },
    { "POST", "/api/v1/filesystems", api_add_filesystem },
    { "POST", "/api/v1/filesystems/adopt", api_adopt_filesystem },
    { "GET", "/api/v1/filesystems/{name}", api_get_filesystem },
    { "PATCH", "/api/v1/filesystems/{name}", api_update_filesystem },
    { "DELETE", "/api/v1/filesystems/{name}", api_remove_filesystem },
    { "POST", "/api/v1/filesystems/{name}/start", api_start_filesystem },
    { "POST", "/api/v1/filesystems/{name}/stop", api_stop_filesystem },
    { "POST", "/api/v1/filesystems/{name}/check", api_check_filesystem },
    { "POST", "/api/v1/filesystems/{name}/kms-rewrap", api_rewrap_filesystem },
    { "POST", "/api/v1/filesystems/{name}/key/export", api_export_key },
    { "POST", "/api/v1/filesystems/{name}/key/import", api_import_key },
    { "GET", "/metrics", api_get_metrics },
    { "GET", "/api/v1/alerts", api_list_alerts },
    { "GET", "/api/v1/alerts/types", api_list_alert_types },
    { "PUT", "/api/v1/alerts/{name}/mute", api_mute_alert },
    { "DELETE", "/api/v1/alerts/{name}/mute", api_unmute_alert },
    { "GET", "/api/v1/events", api_list_events },
    { "GET", "/api/v1/audit", api_list_audit },
    { "GET", "/api/v1/audit/verify", api_verify_audit },
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
        { -EINVAL, 400 },    { -ENAMETOOLONG, 400 }, { -EACCES, 403 }, { -EPERM, 403 },
        { -ENOENT, 404 },    { -EOPNOTSUPP, 405 },   { -EEXIST, 409 }, { -EBUSY, 409 },
        { -ENOKEY, 409 },    { -ENOTEMPTY, 409 },    { -EFBIG, 413 },  { -EKEYREVOKED, 409 },
        { -EBADMSG, 422 },   { -EPROTO, 502 },       { -EAGAIN, 503 }, { -ESHUTDOWN, 503 },
        { -ETIMEDOUT, 504 }, { -ENOSPC, 507 },
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
