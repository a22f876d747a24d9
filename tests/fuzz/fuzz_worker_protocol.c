/* Whatever arrives on the socket between cofferd and a worker: it is refused, or it is a message
 * that is encoded as it came, but for what a later worker has behind it. */
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "host/import_order.h"
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
#define STATUS_CACHE_LEN 24u
#define STATUS_ORIGIN_LEN 17u

static bool is_older(const struct worker_status_reply *status, size_t left_out)
{
    bool has_cache =
        status->cache_used != 0 || status->cache_hits != 0 || status->cache_misses != 0;
    bool has_origin =
        status->has_origin || status->origin_data != 0 || status->origin_data_left != 0;

    return !has_origin && (left_out == STATUS_ORIGIN_LEN ||
                           (!has_cache && left_out == STATUS_CACHE_LEN + STATUS_ORIGIN_LEN));
}

static bool is_as_it_came(const struct worker_message *message, struct bytes packet,
                          enum worker_side side, struct bytes encoded)
{
    if (encoded.len < packet.len)
        return side == WORKER_SIDE_WORKER && memcmp(encoded.data, packet.data, encoded.len) == 0;
    return (encoded.len == packet.len || (message->type == WORKER_STATUS_REPLY &&
                                          is_older(&message->status, encoded.len - packet.len))) &&
           memcmp(encoded.data, packet.data, packet.len) == 0;
}

static void decode(struct bytes packet, enum worker_side side)
{
    static struct worker_message message;
    static uint8_t encoded[WORKER_PACKET_MAX];
    size_t len = 0;

    if (worker_message_decode(packet, side, &message, NULL) == 0 &&
        (worker_message_encode(&message, encoded, &len, NULL) < 0 ||
         !is_as_it_came(&message, packet, side, (struct bytes){ encoded, len })))
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

static void decode_import(struct bytes parameters)
{
    uint8_t encoded[IMPORT_ORDER_MAX];
    struct import_order order;
    size_t len = 0;

    if (import_order_decode(parameters, &order) == 0 &&
        (import_order_encode(&order, encoded, &len) < 0 || len != parameters.len ||
         memcmp(encoded, parameters.data, len) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode((struct bytes){ data, size }, WORKER_SIDE_COFFERD);
    decode((struct bytes){ data, size }, WORKER_SIDE_WORKER);
    decode_order((struct bytes){ data, size });
    decode_import((struct bytes){ data, size });
    return 0;
}
