/* What is found in the place of a mounted snapshot's record: what is read is written back as it
 * was.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/snapshot_mount.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_release) struct buf written = BUF_INIT;
    struct snapshot_mount mount;

    if (snapshot_mount_decode((struct bytes){ data, size }, &mount, NULL) < 0)
        return 0;
    if (snapshot_mount_encode(&mount, &written, NULL) < 0 || written.len != size ||
        memcmp(written.data, data, size) != 0)
        abort();
    return 0;
}
