/* What is found in the place of an object store's record: what is read is written back as it was.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/store_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Flags that this version does not know are not kept, and what an earlier version wrote becomes one
 * of this. */
#define VERSION_AT 4u
#define FLAGS_AT 7u
#define NEWEST 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;
    CLEANUP(buf_release) struct buf written = BUF_INIT;

    if (store_record_decode((struct bytes){ data, size }, &record, NULL) < 0)
        return 0;
    (void)store_record_check(&record, NULL);
    if (store_record_encode(&record, &written, NULL) < 0)
        abort();
    if (data[VERSION_AT] != NEWEST)
        return 0;
    if (written.len != size || memcmp(written.data, data, FLAGS_AT) != 0 ||
        memcmp(written.data + FLAGS_AT + 1, data + FLAGS_AT + 1, size - FLAGS_AT - 1) != 0)
        abort();
    return 0;
}
