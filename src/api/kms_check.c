/* kms_check.c - /api/v1/kms/check: what the steps of a check of the key server found; and what is
 * not well of one that was just set. */
#include <errno.h>

#include "api/routes.h"
#include "base/cleanup.h"
#include "keys/kms_check.h"
#include "net/json.h"

struct found {
    json_t *steps;
    enum kms_check_result worst;
    enum kms_check_class first_class; /* of the first failure */
    bool is_short;                    /* of memory */
};

static void take_step(void *arg, const struct kms_check_step *step)
{
    struct found *found = arg;
    bool is_failed = step->result == KMS_CHECK_FAILED;

    if (is_failed && found->worst != KMS_CHECK_FAILED)
        found->first_class = step->class;
    if (is_failed || (step->result == KMS_CHECK_WARNING && found->worst == KMS_CHECK_OK))
        found->worst = step->result;
    json_t *object =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "address", step->address, "step", step->name,
                  "result", kms_check_result_name(step->result), "class",
                  kms_check_class_name(step->class), "text", step->text, "action", step->action);
    found->is_short |= json_array_append_new(found->steps, object) < 0;
}

static void take_warning(void *arg, const struct kms_check_step *step)
{
    if (step->result == KMS_CHECK_WARNING || step->result == KMS_CHECK_FAILED)
        take_step(arg, step);
}

json_t *api_kms_warnings(struct control *control)
{
    struct error ignored = { .code = 0 }; /* the key server is set, whatever becomes of this */
    struct found found = { .steps = json_array() };

    (void)control_kms_check_server(control, take_warning, &found, &ignored);
    return found.steps;
}

int api_check_kms(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *steps = json_array();
    struct found found = { .steps = steps };

    int r = control_kms_check(request->context->control, take_step, &found, err);
    if (r < 0)
        return r;
    if (!found.is_short)
        ret->body = json_pack("{s:s,s:s,s:O}", "result", kms_check_result_name(found.worst),
                              "class", kms_check_class_name(found.first_class), "steps", steps);
    return api_reply_end(ret, err);
}
