/* What is found in the place of a snapshot policy's records: what is read is written back as it
 * was.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/policy_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_the_same(const struct buf *written, const uint8_t *data, size_t size)
{
    if (written->len != size || memcmp(written->data, data, size) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(policy_attachment_release) struct policy_attachment attachment = POLICY_ATTACHMENT_INIT;
    CLEANUP(buf_release) struct buf written = BUF_INIT;
    struct policy policy;

    if (policy_decode((struct bytes){ data, size }, &policy, NULL) == 0) {
        if (policy_encode(&policy, &written, NULL) < 0)
            abort();
        must_be_the_same(&written, data, size);
    }
    if (policy_attachment_decode((struct bytes){ data, size }, &attachment, NULL) == 0) {
        if (policy_attachment_encode(&attachment, &written, NULL) < 0)
            abort();
        must_be_the_same(&written, data, size);
    }
    return 0;
}
