/* packed_s3.c - of coffer-fsd-s3, whose store is behind a network. */
#include "store/s3_store.h"
#include "worker/start.h"

int worker_open_packed(struct bytes settings, struct object_store **ret, struct error *err)
{
    return s3_store_open_packed(settings, ret, err);
}
