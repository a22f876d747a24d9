/* The registry's record of a filesystem: what is read is written again as the newest version, which
 * reads as the same. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/fs_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(free_ptr) struct fs_record *records = calloc(2, sizeof(*records));
    static uint8_t room[FS_RECORD_MAX];
    size_t len = 0;

    if (!records)
        abort();
    if (fs_record_decode((struct bytes){ data, size }, &records[0], NULL) < 0 ||
        fs_record_encode(&records[0], room, &len, NULL) < 0)
        return 0;
    if (fs_record_decode((struct bytes){ room, len }, &records[1], NULL) < 0 ||
        records[0].check_count != records[1].check_count ||
        strcmp(records[0].name, records[1].name) != 0)
        abort();
    return 0;
}
