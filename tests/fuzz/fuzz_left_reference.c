/* The registry's note of a reference that is left in an object store: what is read is written again
 * as it was. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/left_references.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_release) struct buf again = BUF_INIT;
    struct left_reference record;

    if (left_reference_decode((struct bytes){ data, size }, &record, NULL) < 0)
        return 0;
    if (left_reference_encode(&record, &again) < 0 || again.len != size ||
        memcmp(again.data, data, size) != 0)
        abort();
    return 0;
}
