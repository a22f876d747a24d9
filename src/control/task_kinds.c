/* task_kinds.c - every kind of task. */
#include <string.h>

#include "control/tasks.h"

static const struct task_kind *const kinds[] = {
    &upload_kind, &download_kind, &verify_kind, &rewrap_kind, &removal_kind, &import_kind,
};

const struct task_kind *task_kind_find(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}
