/* kms_check.c - whether the key server does all that coffer needs, found out without changing
 * anything there or here. */
#include "keys/kms_check.h"
#include "control/control.h"
#include "control/filesystem.h"

#include "base/cleanup.h"

int control_kms_check(struct control *control, kms_check_report_fn *report, void *arg,
                      struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct kms_check check = { .report = report, .arg = arg, .address = "" };

    int r = kms_provider(control->kms, &provider, err);
    return r < 0 ? r : key_provider_check(provider, &check, err);
}
