/* Whatever arrives on the socket between cofferd and a worker: it is refused, or it is a message
 * that is encoded as it came. */
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "host/worker_protocol.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (secret_heap_init(NULL) < 0)
        abort();
    return 0;
}

static void decode(struct bytes packet, enum worker_side side)
{
    static struct worker_message message;
    static uint8_t encoded[WORKER_PACKET_MAX];
    size_t len;

    if (worker_message_decode(packet, side, &message, NULL) == 0 &&
        (worker_message_encode(&message, encoded, &len, NULL) < 0 || len != packet.len ||
         memcmp(encoded, packet.data, len) != 0))
        abort();
    worker_message_release(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode((struct bytes){ data, size }, WORKER_SIDE_COFFERD);
    decode((struct bytes){ data, size }, WORKER_SIDE_WORKER);
    return 0;
}
