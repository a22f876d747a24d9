/* What a KMIP server may send: any bytes are an answer or are refused. */
#include <stdlib.h>
#include <string.h>

#include "keys/kmip/message.h"
#include "keys/kmip/ttlv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct bytes bytes)
{
    volatile uint8_t sum = 0;

    for (size_t i = 0; i < bytes.len; i++)
        sum = (uint8_t)(sum + bytes.data[i]);
}

static void read_payload(struct bytes payload)
{
    struct kmip_attributes attributes;
    struct kmip_server server;
    struct kmip_version versions[4];
    struct bytes content, tag;
    size_t count;

    (void)kmip_read_attributes(payload, &attributes);
    if (kmip_read_query(payload, &server) == 0 &&
        memchr(server.vendor, '\0', sizeof(server.vendor)) == NULL)
        abort();
    (void)kmip_read_versions(payload, versions, 4, &count);
    if (kmip_read_crypto(payload, &content, &tag) == 0) {
        use(content);
        use(tag);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum kmip_operation operations[] = { KMIP_GET_ATTRIBUTES, KMIP_QUERY,
                                                      KMIP_DISCOVER_VERSIONS, KMIP_ENCRYPT,
                                                      KMIP_DECRYPT };
    const struct bytes message = { data, size };
    struct kmip_response response;
    enum ttlv_type type;
    uint32_t tag, len;

    (void)ttlv_read_header(message, &tag, &type, &len);
    read_payload(message);
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        if (kmip_read_response(message, operations[i], &response) == 0) {
            if (memchr(response.text, '\0', sizeof(response.text)) == NULL)
                abort();
            read_payload(response.payload);
        }
    return 0;
}
