/* What is found in the place of a user's record: nothing is read outside of it, and what is read is
 * written back as it was. */
#include <stdlib.h>
#include <string.h>

#include "control/user_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct user_record record;
    uint8_t written[USER_RECORD_MAX];
    size_t len = 0;

    if (user_record_decode((struct bytes){ .data = data, .len = size }, &record, NULL) < 0)
        return 0;
    if (user_record_encode(&record, written, &len, NULL) < 0 || len != size ||
        memcmp(written, data, len) != 0)
        abort();
    return 0;
}
