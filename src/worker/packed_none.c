/* packed_none.c - of coffer-fsd, which has its store in a folder. */
#include <errno.h>

#include "worker/start.h"

int worker_open_packed(struct bytes settings, struct object_store **ret, struct error *err)
{
    (void)settings;
    (void)ret;
    return error_set(err, -EOPNOTSUPP,
                     "this worker opens folders only; cofferd is of another "
                     "version: restart it");
}
