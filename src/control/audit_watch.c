/* audit_watch.c - the audit log is walked when cofferd starts and once a day, so that damage raises
 * an alert without anybody asking. */
#include <stdio.h>
#include <string.h>

#include "control/filesystem.h"

static void keep_first(uint64_t number, const char *text, void *arg)
{
    char *first = arg;

    (void)number;
    if (first[0] == '\0')
        (void)snprintf(first, AUDIT_TEXT_SIZE, "%s", text);
}

void control_watch_audit(struct control *control)
{
    struct audit_verdict verdict = { .faults = 0 };
    char first[AUDIT_TEXT_SIZE] = "";
    struct error err = { .code = 0 };

    if (audit_verify(control->audit, NULL, keep_first, first, &verdict, &err) < 0) {
        log_error("the audit log could not be looked at: %s", err.text);
        return;
    }
    mutex_lock(&control->lock);
    control->audit_damage[0] = '\0';
    if (verdict.faults > 0)
        (void)snprintf(control->audit_damage, sizeof(control->audit_damage),
                       "the audit log is not what cofferd wrote, with %llu fault%s: %.500s",
                       (unsigned long long)verdict.faults, verdict.faults == 1 ? "" : "s", first);
    mutex_unlock(&control->lock);
}
