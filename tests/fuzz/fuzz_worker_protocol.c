/* Whatever arrives on the socket between cofferd and a worker: it is refused, or it is a message
 * that is encoded as it came. */
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "host/upload_order.h"
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

/* What older workers leave out of a status is written as 0. */
#define STATUS_ADDED_LEN 24u

static bool is_as_it_came(const struct worker_message *message, struct bytes packet,
                          struct bytes encoded)
{
    bool is_older = message->type == WORKER_STATUS_REPLY &&
                    encoded.len == packet.len + STATUS_ADDED_LEN &&
                    message->status.cache_used == 0 && message->status.cache_hits == 0 &&
                    message->status.cache_misses == 0;

    return (is_older || encoded.len == packet.len) &&
           memcmp(encoded.data, packet.data, packet.len) == 0;
}

static void decode(struct bytes packet, enum worker_side side)
{
    static struct worker_message message;
    static uint8_t encoded[WORKER_PACKET_MAX];
    size_t len = 0;

    if (worker_message_decode(packet, side, &message, NULL) == 0 &&
        (worker_message_encode(&message, encoded, &len, NULL) < 0 ||
         !is_as_it_came(&message, packet, (struct bytes){ encoded, len })))
        abort();
    worker_message_release(&message);
}

static void decode_order(struct bytes parameters)
{
    static struct worker_task_start encoded;
    struct upload_order order;

    if (upload_order_decode(parameters, &order) == 0 &&
        parameters.len <= sizeof(encoded.parameters) &&
        (upload_order_encode(&order, &encoded) < 0 || encoded.parameters_len != parameters.len ||
         memcmp(encoded.parameters, parameters.data, parameters.len) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode((struct bytes){ data, size }, WORKER_SIDE_COFFERD);
    decode((struct bytes){ data, size }, WORKER_SIDE_WORKER);
    decode_order((struct bytes){ data, size });
    return 0;
}
