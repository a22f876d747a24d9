/* The registry's note of a removal in an object store: what is read is written again as it was. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/uploads_removal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_release) struct buf again = BUF_INIT;
    struct removal_record record;

    if (removal_record_decode((struct bytes){ data, size }, &record, NULL) < 0)
        return 0;
    if (removal_record_encode(&record, &again) < 0 || again.len != size ||
        memcmp(again.data, data, size) != 0)
        abort();
    return 0;
}
