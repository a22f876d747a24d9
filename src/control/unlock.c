/* unlock.c - the keys of a filesystem that is to be started. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "control/filesystem.h"
#include "control/rings.h"

static void remember(struct filesystem *filesystem, const struct fs_record *record,
                     const struct rings_opened *opened)
{
    const struct wrapped_key *newest = rings_newest(&opened->ring);

    mutex_lock(&filesystem->lock);
    filesystem->record.check_count = record->check_count;
    for (uint32_t i = 0; i < record->check_count; i++)
        filesystem->record.checks[i] = record->checks[i];
    if (newest)
        filesystem->wrapped = *newest;
    mutex_unlock(&filesystem->lock);
}

int filesystem_unlock(struct filesystem *filesystem, bool may_repair, struct key_set *ret,
                      bool *ret_is_kms, struct error *err)
{
    CLEANUP(rings_opened_release) struct rings_opened opened = RINGS_OPENED_INIT;
    CLEANUP(free_ptr) struct fs_record *record = malloc(sizeof(*record));
    const char *purpose = may_repair ? "to start it" : "to check it";
    struct rings_options options = { .may_repair = may_repair };
    struct error why = { .code = 0 };

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    mutex_lock(&filesystem->lock);
    *record = filesystem->record;
    mutex_unlock(&filesystem->lock);

    int r = rings_open(filesystem->control, record, &options, &opened, ret_is_kms, &why);
    if (r == 0)
        remember(filesystem, record, &opened);
    int audited = filesystem_audit_unwrap(filesystem, r, purpose, &why, err);
    if (r < 0)
        return error_set(err, r, "%s", why.text);
    if (audited < 0)
        return audited;
    r = key_set_copy(ret, &opened.keys);
    return r < 0 ? error_set(err, r, "out of secret memory") : 0;
}
