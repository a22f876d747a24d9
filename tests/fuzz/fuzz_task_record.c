/* What is found in the place of a task's record, or a locator's: what is read is written back as it
 * was. */
#include <stdlib.h>
#include <string.h>

#include "control/locators.h"
#include "control/task_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct task_record task;
    struct locator_record locator;
    uint8_t task_bytes[TASK_RECORD_MAX], locator_bytes[LOCATOR_RECORD_MAX];
    size_t len = 0;

    if (task_record_decode((struct bytes){ data, size }, &task, NULL) == 0 &&
        (task_record_encode(&task, task_bytes, &len, NULL) < 0 || len != size ||
         memcmp(task_bytes, data, size) != 0))
        abort();
    if (locator_record_decode((struct bytes){ data, size }, &locator, NULL) == 0 &&
        (locator_record_encode(&locator, locator_bytes, &len, NULL) < 0 || len != size ||
         memcmp(locator_bytes, data, size) != 0))
        abort();
    return 0;
}
