/* ca_cert.c - /api/v1/ca-cert: the CA certificates that are trusted for Vault. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/routes.h"
#include "base/cleanup.h"
#include "net/ca_bundle.h"
#include "net/json.h"

static json_t *time_json(int64_t seconds)
{
    char text[32] = "";
    time_t time = seconds;
    struct tm parts;

    if (gmtime_r(&time, &parts))
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return json_string(text);
}

static json_t *certificate_json(const struct ca_certificate *certificate)
{
    char hex[2 * HASH_LEN + 1];

    for (size_t i = 0; i < HASH_LEN; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", certificate->fingerprint[i]);
    return json_pack("{s:s,s:o,s:o,s:s}", "subject", certificate->subject, "from",
                     time_json(certificate->from_s), "until", time_json(certificate->until_s),
                     "sha256", hex);
}

static json_t *certificates_json(struct bytes pem)
{
    struct ca_certificate certificates[CA_BUNDLE_MAX];
    json_t *list = json_array();
    size_t count = 0;

    /* Also one that has expired since it was set. */
    if (ca_bundle_look(pem, certificates, &count, NULL) < 0)
        return list;
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(list, certificate_json(&certificates[i]));
    return list;
}

static int answer(struct control *control, struct api_reply *ret, struct error *err)
{
    CLEANUP(buf_release) struct buf pem = BUF_INIT;
    int r = control_ca_cert(control, &pem, err);

    if (r < 0)
        return r;
    if (pem.len == 0)
        ret->body = json_pack("{s:b}", "configured", 0);
    else
        ret->body = json_pack("{s:b,s:o,s:o}", "configured", 1, "certificates",
                              certificates_json(buf_bytes(&pem)), "pem",
                              json_stringn((const char *)pem.data, pem.len));
    return api_reply_end(ret, err);
}

/* How Vault answers with the change is part of the answer: it was made, whatever that is. */
static int change(const struct api_request *request, struct bytes pem, struct api_reply *ret,
                  struct error *err)
{
    struct kms_status status = { .is_configured = false };
    struct control *control = request->context->control;
    int r = control_ca_cert_set(control, pem, &status, err);

    if (r == 0)
        r = answer(control, ret, err);
    if (r < 0 || strcmp(status.type, "vault") != 0)
        return r;
    if (json_object_set_new(ret->body, "kms_error", json_string(status.error)) < 0)
        return api_no_memory(err);
    return 0;
}

int api_get_ca_cert(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    return answer(request->context->control, ret, err);
}

int api_put_ca_cert(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    const char *text = NULL;
    int r = json_get_text(request->body, "cert", JSON_REQUIRED, &text, err);

    if (r == 0 && *text == '\0')
        r = error_set(err, -EINVAL, "\"cert\" is empty; to trust the system's CAs, delete it");
    if (r < 0)
        return r;
    return change(request, (struct bytes){ (const uint8_t *)text, strlen(text) }, ret, err);
}

int api_delete_ca_cert(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    return change(request, (struct bytes){ .len = 0 }, ret, err);
}
