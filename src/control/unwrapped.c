#include "control/unwrapped.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/filesystem.h"

int unwrapped_init(struct unwrapped *ret, struct error *err)
{
    ret->wrapped = calloc(UNWRAPPED_MAX, sizeof(*ret->wrapped));
    ret->plains = calloc(UNWRAPPED_MAX, sizeof(*ret->plains));
    return ret->wrapped && ret->plains ? 0 : error_set(err, -ENOMEM, "out of memory");
}

void unwrapped_release(struct unwrapped *unwrapped)
{
    for (size_t i = 0; unwrapped->plains && i < UNWRAPPED_MAX; i++)
        secret_release(&unwrapped->plains[i]);
    free(unwrapped->plains);
    free(unwrapped->wrapped);
    *unwrapped = (struct unwrapped){ .count = 0 };
}

void unwrapped_collect(struct unwrapped *unwrapped, struct control *control,
                       const struct fs_record *record)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;

    if (fs_record_has_own_login(record) || record->has_next ||
        registry_peek_ring(control->registry, &record->uuid, &ring, NULL) < 0)
        return;
    for (uint32_t i = 0; i < ring.count && unwrapped->count < UNWRAPPED_MAX; i++)
        if (strcmp(ring.generations[i].current.key.provider, "local") != 0)
            unwrapped->wrapped[unwrapped->count++] = ring.generations[i].current.key;
}
