/* fs_audit.c - entries of the audit log about one filesystem and the key that wraps its newest
 * generation. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "control/filesystem.h"

int filesystem_audit(struct filesystem *filesystem, enum audit_operation operation, int result,
                     const char *text, struct error *err)
{
    CLEANUP(free_ptr) struct wrapped_key *wrapped = malloc(sizeof(*wrapped));

    if (!wrapped)
        return error_set(err, -ENOMEM, "out of memory");
    mutex_lock(&filesystem->lock);
    *wrapped = filesystem->wrapped;
    mutex_unlock(&filesystem->lock);
    struct audit_note note = { .operation = operation,
                               .uuid = &filesystem->record.uuid,
                               .filesystem = filesystem->record.name,
                               .key = audit_key_of(wrapped),
                               .result = result,
                               .text = text };
    return audit_add(filesystem->control->audit, &note, 1, err);
}

void filesystem_audit_failure(struct filesystem *filesystem, enum audit_operation operation,
                              int result, const struct error *why)
{
    struct error err = { .code = 0 };

    if (result != CONTROL_CRASHED &&
        filesystem_audit(filesystem, operation, result, why->text, &err) < 0)
        events_add(&filesystem->control->events, LOG_LEVEL_ERROR, "audit-not-written",
                   filesystem->record.name, "%s", err.text);
}

int filesystem_audit_unwrap(struct filesystem *filesystem, int r, const char *purpose,
                            const struct error *why, struct error *err)
{
    mutex_lock(&filesystem->lock);
    bool is_known = r < 0 && filesystem->audited_failure == r;
    filesystem->audited_failure = r;
    mutex_unlock(&filesystem->lock);
    if (is_known)
        return 0;
    return filesystem_audit(filesystem, AUDIT_UNWRAP, r, r < 0 ? why->text : purpose, err);
}
