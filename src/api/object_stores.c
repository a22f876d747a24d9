/* object_stores.c - /api/v1/object-stores: the stores that snapshots are uploaded to. A secret key
 * goes in and never out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "api/routes.h"
#include "base/cleanup.h"
#include "control/object_stores.h"
#include "net/ca_bundle.h"
#include "net/json.h"

#define NS_PER_S 1000000000

static json_t *time_json(int64_t time_ns)
{
    char text[32] = "";
    time_t time = time_ns / NS_PER_S;
    struct tm parts;

    if (gmtime_r(&time, &parts))
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return json_string(text);
}

static json_t *view_json(const struct store_view *view)
{
    json_t *body =
        json_pack("{s:s,s:s,s:s,s:o,s:I,s:I}", "name", view->name, "type",
                  store_kind_name(view->kind), "site", store_site_name(view->site), "created",
                  time_json(view->created_ns), "upload_bandwidth", (json_int_t)view->rates.sent,
                  "download_bandwidth", (json_int_t)view->rates.received);
    json_t *more =
        view->kind == STORE_KIND_S3
            ? json_pack("{s:s,s:i,s:s,s:s,s:s,s:s,s:s,s:b,s:i}", "hostname", view->hostname, "port",
                        (int)view->port, "protocol", view->is_plain_http ? "HTTP" : "HTTPS",
                        "bucket", view->bucket, "region", view->region, "prefix", view->prefix,
                        "access_key_id", view->access_key_id, "ca_cert", (int)view->has_ca_cert,
                        "max_concurrent", (int)view->concurrency)
            : json_pack("{s:s}", "path", view->path);

    if (body && json_object_update_new(body, more) < 0) {
        json_decref(body);
        return NULL;
    }
    return body;
}

static int reply(const struct store_view *view, unsigned status, struct api_reply *ret,
                 struct error *err)
{
    ret->status = status;
    ret->body = view_json(view);
    return api_reply_end(ret, err);
}

int api_list_object_stores(const struct api_request *request, struct api_reply *ret,
                           struct error *err)
{
    CLEANUP(free_ptr) struct store_view *views = NULL;
    size_t count = 0;
    int r = control_store_list(request->context->control, &views, &count, err);

    if (r < 0)
        return r;
    ret->body = json_array();
    for (size_t i = 0; i < count && ret->body; i++)
        (void)json_array_append_new(ret->body, view_json(&views[i]));
    return api_reply_end(ret, err);
}

int api_get_object_store(const struct api_request *request, struct api_reply *ret,
                         struct error *err)
{
    CLEANUP(free_ptr) struct store_view *view = calloc(1, sizeof(*view));

    if (!view)
        return api_no_memory(err);
    int r = control_store_get(request->context->control, request->name, view, err);
    return r < 0 ? r : reply(view, 200, ret, err);
}

/* --- what a request gives --- */

static int take_protocol(const json_t *body, struct s3_settings *s3, struct error *err)
{
    const char *protocol = NULL;
    int r = json_get_text(body, "protocol", JSON_OPTIONAL, &protocol, err);

    if (r < 0 || !protocol)
        return r;
    if (strcasecmp(protocol, "HTTP") != 0 && strcasecmp(protocol, "HTTPS") != 0)
        return error_set(err, -EINVAL,
                         "the protocol is HTTP or HTTPS; a certificate is always verified: give "
                         "its CA, if the system does not know it");
    s3->is_plain_http = strcasecmp(protocol, "HTTP") == 0;
    return 0;
}

static int take_number(const json_t *body, const char *name, int64_t max, int64_t *ret,
                       struct error *err)
{
    int r = json_get_integer(body, name, JSON_OPTIONAL, ret, err);

    if (r == 0 && (*ret < 0 || *ret > max))
        r = error_set(err, -EINVAL, "\"%s\" must be from 0 to %lld", name, (long long)max);
    return r;
}

static int take_site(const json_t *body, enum store_site *site, struct error *err)
{
    const char *text = NULL;
    int r = json_get_text(body, "site", JSON_OPTIONAL, &text, err);

    return r < 0 || !text ? r : store_site_parse(text, site, err);
}

static int take_rates(const json_t *body, struct limit_rates *rates, struct error *err)
{
    int64_t sent = (int64_t)rates->sent, received = (int64_t)rates->received;
    int r = take_number(body, "upload_bandwidth", INT64_MAX, &sent, err);

    if (r == 0)
        r = take_number(body, "download_bandwidth", INT64_MAX, &received, err);
    if (r == 0) {
        rates->sent = (uint64_t)sent;
        rates->received = (uint64_t)received;
    }
    return r;
}

static int take_ca_cert(const json_t *body, struct s3_settings *s3, struct error *err)
{
    struct ca_certificate certificates[CA_BUNDLE_MAX];
    const char *pem = NULL;
    size_t count = 0;
    int r = json_get_text(body, "ca_cert", JSON_OPTIONAL, &pem, err);

    if (r < 0 || !pem)
        return r;
    const struct bytes text = { .data = (const uint8_t *)pem, .len = strlen(pem) };
    if (text.len > S3_CA_CERT_MAX)
        return error_set(err, -EFBIG, "the CA certificates are longer than %u bytes",
                         S3_CA_CERT_MAX);
    if (text.len > 0)
        r = ca_bundle_read(text, certificates, &count, err);
    if (r == 0 && buf_assign(&s3->ca_cert_pem, text) < 0)
        r = error_set(err, -ENOMEM, "out of memory");
    return r;
}

static int take_s3_texts(const json_t *body, struct s3_settings *s3, struct error *err)
{
    int r = json_get_line(body, "hostname", JSON_OPTIONAL, s3->hostname, sizeof(s3->hostname), err);

    if (r == 0)
        r = json_get_line(body, "bucket", JSON_OPTIONAL, s3->bucket, sizeof(s3->bucket), err);
    if (r == 0)
        r = json_get_line(body, "region", JSON_OPTIONAL, s3->region, sizeof(s3->region), err);
    if (r == 0)
        r = json_get_line(body, "prefix", JSON_OPTIONAL, s3->prefix, sizeof(s3->prefix), err);
    if (r == 0)
        r = json_get_line(body, "access_key_id", JSON_OPTIONAL, s3->access_key_id,
                          sizeof(s3->access_key_id), err);
    return r;
}

static int take_s3(const json_t *body, struct s3_settings *s3, struct error *err)
{
    int64_t port = s3->port, concurrency = s3->concurrency;
    int r = take_s3_texts(body, s3, err);

    if (r == 0)
        r = take_number(body, "port", UINT16_MAX, &port, err);
    if (r == 0)
        r = take_number(body, "max_concurrent", S3_CONCURRENCY_MAX, &concurrency, err);
    if (r == 0)
        r = take_protocol(body, s3, err);
    if (r == 0)
        r = take_ca_cert(body, s3, err);
    if (r == 0)
        r = json_get_secret(body, "secret_key", JSON_OPTIONAL, &s3->secret_key, err);
    if (r == 0) {
        s3->port = (uint16_t)port;
        s3->concurrency = (unsigned)concurrency;
    }
    return r;
}

/* Who gives a folder, if only the same one again, says that the store is there. */
static int take_folder(const json_t *body, struct store_record *record, struct error *err)
{
    if (json_object_get(body, "path"))
        record->mark = (struct uuid){ .bytes = { 0 } };
    return json_get_line(body, "path", JSON_OPTIONAL, record->path, sizeof(record->path), err);
}

static int refuse_other_kind(const json_t *body, const char *const *names, const char *kind,
                             struct error *err)
{
    for (; *names; names++)
        if (json_object_get(body, *names))
            return error_set(err, -EINVAL, "\"%s\" does not belong to an object store of type %s",
                             *names, kind);
    return 0;
}

/* arg: a pointer to the body. */
static int take_settings(struct store_record *record, void *arg, struct error *err)
{
    static const char *const of_s3[] = { "hostname",       "port",       "protocol",
                                         "bucket",         "region",     "prefix",
                                         "ca_cert",        "secret_key", "access_key_id",
                                         "max_concurrent", NULL };
    static const char *const of_dir[] = { "path", NULL };
    bool is_s3 = record->kind == STORE_KIND_S3;
    const json_t *body = *(const json_t **)arg;
    int r = refuse_other_kind(body, is_s3 ? of_dir : of_s3, store_kind_name(record->kind), err);

    if (r == 0)
        r = take_site(body, &record->site, err);
    if (r == 0)
        r = take_rates(body, &record->rates, err);
    if (r == 0 && !is_s3)
        r = take_folder(body, record, err);
    if (r == 0 && is_s3)
        r = take_s3(body, &record->s3, err);
    return r;
}

static int take_kind(const json_t *body, enum store_kind *ret, struct error *err)
{
    const char *type = NULL;
    int r = json_get_text(body, "type", JSON_REQUIRED, &type, err);

    if (r < 0)
        return r;
    if (strcmp(type, "s3") != 0 && strcmp(type, "dir") != 0)
        return error_set(err, -EINVAL, "an object store's type is s3 or dir");
    *ret = strcmp(type, "s3") == 0 ? STORE_KIND_S3 : STORE_KIND_DIR;
    return 0;
}

static int take_verify(const json_t *body, bool *ret, struct error *err)
{
    bool skips = false;
    int r = json_get_bool(body, "skip_verification", JSON_OPTIONAL, &skips, err);

    *ret = !skips;
    return r;
}

int api_get_store_choice(const json_t *body, struct store_choice *ret, struct error *err)
{
    int r = json_get_text(body, "object_store", JSON_OPTIONAL, &ret->name, err);

    return r < 0 ? r : json_get_text(body, "site", JSON_OPTIONAL, &ret->site, err);
}

/* --- changes --- */

int api_add_object_store(const struct api_request *request, struct api_reply *ret,
                         struct error *err)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;
    CLEANUP(free_ptr) struct store_view *view = calloc(1, sizeof(*view));
    const json_t *body = request->body;
    bool verify = true;

    if (!view)
        return api_no_memory(err);
    int r =
        json_get_line(request->body, "name", JSON_REQUIRED, record.name, sizeof(record.name), err);
    if (r == 0)
        r = take_kind(request->body, &record.kind, err);
    if (r == 0)
        r = take_settings(&record, &body, err);
    if (r == 0)
        r = take_verify(request->body, &verify, err);
    if (r == 0)
        r = control_store_add(request->context->control, &record, verify, view, err);
    return r < 0 ? r : reply(view, 201, ret, err);
}

int api_update_object_store(const struct api_request *request, struct api_reply *ret,
                            struct error *err)
{
    CLEANUP(free_ptr) struct store_view *view = calloc(1, sizeof(*view));
    const json_t *body = request->body;
    bool verify = true;

    if (!view)
        return api_no_memory(err);
    int r = take_verify(request->body, &verify, err);
    if (r == 0)
        r = control_store_update(request->context->control, request->name, take_settings, &body,
                                 verify, view, err);
    return r < 0 ? r : reply(view, 200, ret, err);
}

static int reply_name(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    ret->body = json_pack("{s:s}", "name", request->name);
    return api_reply_end(ret, err);
}

int api_remove_object_store(const struct api_request *request, struct api_reply *ret,
                            struct error *err)
{
    int r = control_store_remove(request->context->control, request->name, err);

    return r < 0 ? r : reply_name(request, ret, err);
}

int api_check_object_store(const struct api_request *request, struct api_reply *ret,
                           struct error *err)
{
    int r = control_store_check(request->context->control, request->name, err);

    return r < 0 ? r : reply_name(request, ret, err);
}
