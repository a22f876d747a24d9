/* Whatever arrives on the socket between a remote store and the process that holds the store: it is
 * refused, or it is a message that is encoded as it came. */
#include <stdlib.h>
#include <string.h>

#include "store/remote_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct bytes whole, enum remote_side side)
{
    static uint8_t encoded[REMOTE_HEAD_LEN + REMOTE_FIELDS_MAX];
    static struct remote_message message;
    size_t len;

    if (remote_decode(whole, side, &message, NULL) < 0)
        return;
    if (remote_encode(&message, encoded, &len, NULL) < 0 || len + message.data.len != whole.len ||
        memcmp(encoded, whole.data, len) != 0)
        abort();
    if (message.data.len > 0 && message.data.data != whole.data + len)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode((struct bytes){ data, size }, REMOTE_CLIENT);
    decode((struct bytes){ data, size }, REMOTE_SERVER);
    return 0;
}
