/* status.c - GET /api/v1/status */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/query.h"
#include "api/web_identity.h"
#include "base/cleanup.h"

#define NS_PER_S 1000000000LL

/* NULL: it is not served. */
static json_t *web_json(const struct api_web *web)
{
    char fingerprint[WEB_FINGERPRINT_SIZE];
    char until[API_TIME_SIZE];

    if (web->address[0] == '\0')
        return NULL;
    web_fingerprint(web->identity, fingerprint);
    api_time_text(tls_identity_validity(web->identity).until_s * NS_PER_S, until);
    return json_pack("{s:s,s:s,s:s,s:b}", "address", web->address, "certificate_sha256",
                     fingerprint, "certificate_until", until, "self_made", (int)web->is_self_made);
}

int api_get_status(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct control *control = request->context->control;
    CLEANUP(free_ptr) struct fs_view *views = NULL;
    size_t count = 0;
    json_t *alerts = NULL;
    char started_at[API_TIME_SIZE];
    long long mounted = 0;
    int r = control_list(control, &views, &count, err);

    if (r == 0)
        r = api_alerts_json(control, &alerts, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        mounted += views[i].state == FS_MOUNTED;
    api_time_text(request->context->started_ns, started_at);
    ret->body =
        json_pack("{s:s,s:I,s:s,s:s,s:s,s:o,s:I,s:I,s:o,s:o*}", "version", COFFER_VERSION, "pid",
                  (json_int_t)getpid(), "state_dir", request->context->state_dir, "socket",
                  request->context->socket, "started_at", started_at, "kms", api_kms_json(control),
                  "filesystems", (json_int_t)count, "mounted", (json_int_t)mounted, "alerts",
                  alerts, "https", web_json(&request->context->web));
    return api_reply_end(ret, err);
}
