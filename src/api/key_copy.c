/* key_copy.c - /api/v1/filesystems/{name}/key: export and import of the recovery copy of its keys,
 * repair of its key ring, and those of other filesystems in it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes.h"
#include "base/cleanup.h"
#include "base/encoding.h"
#include "keyring/key_export.h"
#include "net/json.h"

int api_export_key(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(buf_release) struct buf copy = BUF_INIT;
    char lacking[KEY_LACKING_SIZE] = "";
    const char *pem = NULL;
    int r = json_get_text(request->body, "recipient_cert", JSON_REQUIRED, &pem, err);

    if (r < 0)
        return r;
    struct bytes certificates = { .data = (const uint8_t *)pem, .len = strlen(pem) };
    r = control_key_export(request->context->control, request->name, certificates, &copy, lacking,
                           err);
    if (r < 0)
        return r;
    ret->body =
        json_pack("{s:s%,s:s}", "cms", (const char *)copy.data, copy.len, "lacking", lacking);
    return api_reply_end(ret, err);
}

int api_repair_key(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    char used[CONTROL_LOCATOR_SIZE] = "";
    const char *locator = NULL;
    const char *store = NULL;
    int r = json_get_text(request->body, "object_store", JSON_REQUIRED, &store, err);

    if (r == 0)
        r = json_get_text(request->body, "locator", JSON_OPTIONAL, &locator, err);
    if (r == 0)
        r = control_key_repair(request->context->control, request->name, store, locator, used, err);
    if (r < 0)
        return r;
    ret->body = json_pack("{s:s,s:s}", "name", request->name, "locator", used);
    return api_reply_end(ret, err);
}

static json_t *foreign_key_json(const struct foreign_key_view *view)
{
    const char *result = view->is_used ? "used" : view->is_dropped ? "dropped" : "unused";
    char origin[UUID_TEXT_SIZE];

    uuid_format(&view->origin, origin);
    return json_pack("{s:s,s:I,s:s,s:s,s:I,s:s}", "filesystem_uuid", origin, "generation",
                     (json_int_t)view->generation, "type", view->wrapped_by.type, "key",
                     view->wrapped_by.key, "version", (json_int_t)view->wrapped_by.version,
                     "result", result);
}

int api_drop_unused_keys(const struct api_request *request, struct api_reply *ret,
                         struct error *err)
{
    CLEANUP(free_ptr) struct foreign_keys_report *report = calloc(1, sizeof(*report));
    bool is_dry = false;
    int r = json_get_bool(request->body, "dry_run", JSON_OPTIONAL, &is_dry, err);

    if (r == 0 && !report)
        r = error_set(err, -ENOMEM, "out of memory");
    if (r == 0)
        r = control_key_drop_unused(request->context->control, request->name, is_dry, report, err);
    if (r < 0)
        return r;
    ret->body = json_array();
    for (uint32_t i = 0; i < report->count && ret->body; i++)
        (void)json_array_append_new(ret->body, foreign_key_json(&report->items[i]));
    return api_reply_end(ret, err);
}

int api_get_keys(const json_t *body, struct secret *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret text = SECRET_INIT;
    CLEANUP(secret_release) struct secret keys = SECRET_INIT;
    size_t len = 0;
    int r = json_get_secret(body, "keys", JSON_REQUIRED, &text, err);

    if (r < 0)
        return r;
    if (secret_new(&keys, KEY_EXPORT_MAX) < 0)
        return error_set(err, -ENOMEM, "out of secret memory");
    r = base64_decode((const char *)text.data, text.len, keys.data, keys.len, &len);
    if (r < 0)
        return error_set(err, -EINVAL, "keys is not what a recovery copy holds, in base64");
    secret_truncate(&keys, len);
    secret_move(ret, &keys);
    return 0;
}

int api_import_key(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret keys = SECRET_INIT;
    struct fs_view view = { .state = FS_STOPPED };
    bool allow_no_kms = false;
    int r = api_get_keys(request->body, &keys, err);

    if (r == 0)
        r = json_get_bool(request->body, "allow_no_kms", JSON_OPTIONAL, &allow_no_kms, err);
    if (r == 0)
        r = control_key_import(request->context->control, request->name, secret_bytes(&keys),
                               allow_no_kms, &view, err);
    return r < 0 ? r : api_reply_view(&view, 200, ret, err);
}
