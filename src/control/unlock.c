/* unlock.c - the keys of a filesystem that is to be started. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "control/filesystem.h"
#include "control/rings.h"

int filesystem_unlock(struct filesystem *filesystem, bool may_repair, struct key_set *ret,
                      bool *ret_is_kms, struct error *err)
{
    CLEANUP(rings_opened_release) struct rings_opened opened = RINGS_OPENED_INIT;
    CLEANUP(free_ptr) struct fs_record *record = malloc(sizeof(*record));
    struct rings_options options = { .may_repair = may_repair };

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    mutex_lock(&filesystem->lock);
    *record = filesystem->record;
    mutex_unlock(&filesystem->lock);

    int r = rings_open(filesystem->control, record, &options, &opened, ret_is_kms, err);
    if (r == 0 && (r = key_set_copy(ret, &opened.keys)) < 0)
        (void)error_set(err, r, "out of secret memory");
    if (r < 0)
        return r;
    const struct wrapped_key *newest = rings_newest(&opened.ring);
    mutex_lock(&filesystem->lock);
    filesystem->record.check_count = record->check_count;
    for (uint32_t i = 0; i < record->check_count; i++)
        filesystem->record.checks[i] = record->checks[i];
    if (newest)
        filesystem->wrapped = *newest;
    mutex_unlock(&filesystem->lock);
    return 0;
}
