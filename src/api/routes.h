/* routes.h - the requests that the API answers: one table, which docs/api/openapi.yaml describes
 * and a test compares with it, and what each needs of its caller. A new one is also told to that
 * document, with its x-roles.
 *
 * A handler answers with a status and a JSON value, or a text, or returns a negative errno and a
 * sentence, which become an error reply.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "api/caller.h"
#include "api/throttle.h"
#include "base/error.h"
#include "control/control.h"
#include "control/object_stores.h"

struct tls_identity;

/* The HTTPS server, as status shows it. */
struct api_web {
    char address[280]; /* "*:14000", "192.0.2.1:14000"; "": there is none */
    const struct tls_identity *identity;
    bool is_self_made; /* its certificate */
    uint16_t port;
};

struct api_context {
    struct control *control;
    const char *state_dir;
    const char *socket;
    int64_t started_ns;
    struct sessions *sessions;
    struct throttle *logins;
    struct api_web web;
};

struct api_request {
    const struct api_context *context;
    const struct api_caller *caller;
    char name[256];     /* what stands for {name} in the path; "" if the route has none */
    const json_t *body; /* an object; empty if the request has none */
    /* What stands behind '?': query.h reads it. NULL: nothing does. */
    const char *(*query)(void *arg, const char *name);
    void *query_arg;
};

struct api_reply {
    unsigned status;
    json_t *body;
    char *text; /* instead of a body; freed by whoever sends it */
    const char *text_type;
    unsigned error_status;            /* of a failure; 0: as its errno says */
    char session[SESSION_TOKEN_SIZE]; /* the browser shall keep this token ... */
    bool ends_session;                /* ... or forget the one that it has */
};

typedef int api_handler_fn(const struct api_request *request, struct api_reply *ret,
                           struct error *err);

struct api_route {
    const char *method;
    const char *pattern;
    enum api_need need;
    api_handler_fn *handle;
};

extern const struct api_route api_routes[];
extern const size_t api_route_count;

/* The route of a request; its {name} goes to ret_name of 256 bytes. -ENOENT: there is no such
 * path; -EOPNOTSUPP: not with this method. */
int api_route_find(const char *method, const char *path, const struct api_route **ret,
                   char *ret_name);

/* The HTTP status of a negative errno. */
unsigned api_status_of(int code);

/* {"error": text, "code": "ENOENT"}; NULL without memory. */
json_t *api_error_body(const struct error *err);

/* What a handler ends with. api_reply_end: 0, or -ENOMEM if its body could not be made. */
int api_reply_end(const struct api_reply *reply, struct error *err);
int api_reply_done(struct api_reply *ret, struct error *err); /* an empty object */
int api_no_memory(struct error *err);

/* One handler for each route. session.c */
api_handler_fn api_log_in;
api_handler_fn api_log_out;
api_handler_fn api_get_session;
api_handler_fn api_change_own_password;
/* users.c */
api_handler_fn api_list_users;
api_handler_fn api_add_user;
api_handler_fn api_update_user;
api_handler_fn api_remove_user;
api_handler_fn api_set_user_password;
/* status.c */
api_handler_fn api_get_status;
/* kms.c */
api_handler_fn api_get_kms;
api_handler_fn api_put_kms;
/* ca_cert.c */
api_handler_fn api_get_ca_cert;
api_handler_fn api_put_ca_cert;
api_handler_fn api_delete_ca_cert;
/* kms_check.c */
api_handler_fn api_check_kms;
/* kms_rewrap.c */
api_handler_fn api_delete_kms;
api_handler_fn api_rewrap_kms;
api_handler_fn api_rewrap_filesystem;
/* filesystems.c */
api_handler_fn api_list_filesystems;
api_handler_fn api_add_filesystem;
api_handler_fn api_adopt_filesystem;
api_handler_fn api_get_filesystem;
api_handler_fn api_remove_filesystem;
api_handler_fn api_update_filesystem;
api_handler_fn api_set_cache;
api_handler_fn api_set_capacity;
api_handler_fn api_set_origin;
api_handler_fn api_start_filesystem;
api_handler_fn api_stop_filesystem;
api_handler_fn api_check_filesystem;
/* object_stores.c */
api_handler_fn api_list_object_stores;
api_handler_fn api_add_object_store;
api_handler_fn api_get_object_store;
api_handler_fn api_update_object_store;
api_handler_fn api_remove_object_store;
api_handler_fn api_check_object_store;
/* uploads.c */
api_handler_fn api_list_uploads;
api_handler_fn api_remove_upload;
api_handler_fn api_rewrap_uploads;
api_handler_fn api_verify_upload;
api_handler_fn api_list_uses;
api_handler_fn api_expire_use;
/* snapshots.c */
api_handler_fn api_list_snapshots;
api_handler_fn api_add_snapshot;
api_handler_fn api_update_snapshot;
api_handler_fn api_remove_snapshot;
api_handler_fn api_restore_filesystem;
/* snapshot_diff.c */
api_handler_fn api_diff_snapshots;
/* snapshot_policies.c */
api_handler_fn api_list_snapshot_policies;
api_handler_fn api_add_snapshot_policy;
api_handler_fn api_get_snapshot_policy;
api_handler_fn api_update_snapshot_policy;
api_handler_fn api_remove_snapshot_policy;
api_handler_fn api_attach_snapshot_policy;
api_handler_fn api_detach_snapshot_policy;
api_handler_fn api_run_snapshot_policy;
/* tasks.c */
api_handler_fn api_list_tasks;
api_handler_fn api_get_task;
api_handler_fn api_pause_task;
api_handler_fn api_resume_task;
api_handler_fn api_abort_task;
api_handler_fn api_upload_snapshot;
api_handler_fn api_download_snapshot;
/* key_copy.c */
api_handler_fn api_export_key;
api_handler_fn api_repair_key;
api_handler_fn api_drop_unused_keys;
api_handler_fn api_import_key;

/* metrics.c */
api_handler_fn api_get_metrics;
/* alerts.c */
api_handler_fn api_list_alerts;
api_handler_fn api_list_alert_types;
api_handler_fn api_mute_alert;
api_handler_fn api_unmute_alert;
/* events.c */
api_handler_fn api_list_events;
/* audit.c */
api_handler_fn api_list_audit;
api_handler_fn api_verify_audit;
api_handler_fn api_read_audit;
api_handler_fn api_forget_audit;

json_t *api_kms_json(struct control *control);
/* kms.c: keys that nothing known here needs; NULL: that is not known */
json_t *api_unneeded_json(struct control *control);
/* kms.c: what a body says of a key server, and whether this caller may say it. */
int api_get_kms_config(const json_t *body, struct key_provider_config *ret, struct error *err);
int api_check_kms_paths(const struct api_request *request, const json_t *body, struct error *err);
const char *api_rewrap_result(enum rewrap_result result);
/* object_stores.c: which object store a body means: "object_store" or "site". */
int api_get_store_choice(const json_t *body, struct store_choice *ret, struct error *err);
/* What a recovery copy holds: "keys". */
int api_get_keys(const json_t *body, struct secret *ret, struct error *err);

int api_reply_view(const struct fs_view *view, unsigned status, struct api_reply *ret,
                   struct error *err);
/* Of a task that was started: 202. */
struct task_view;
int api_reply_task(const struct task_view *view, unsigned status, struct api_reply *ret,
                   struct error *err);
/* The steps of a check of the key server that are not well, as /api/v1/kms/check shows them. */
json_t *api_kms_warnings(struct control *control);
json_t *api_keys_left_json(const struct kms_set_report *report); /* in kms.c */
int api_alerts_json(struct control *control, json_t **ret, struct error *err);
