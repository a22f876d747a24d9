#include "keys/kmip/message.h"

#include <errno.h>
#include <string.h>

#include "keys/kmip/ttlv.h"

enum tag {
    TAG_ATTRIBUTE = 0x420008,
    TAG_ATTRIBUTE_NAME = 0x42000a,
    TAG_ATTRIBUTE_VALUE = 0x42000b,
    TAG_AUTHENTICATION = 0x42000c,
    TAG_BATCH_COUNT = 0x42000d,
    TAG_BATCH_ITEM = 0x42000f,
    TAG_BLOCK_CIPHER_MODE = 0x420011,
    TAG_CREDENTIAL = 0x420023,
    TAG_CREDENTIAL_TYPE = 0x420024,
    TAG_CREDENTIAL_VALUE = 0x420025,
    TAG_CRYPTOGRAPHIC_ALGORITHM = 0x420028,
    TAG_CRYPTOGRAPHIC_LENGTH = 0x42002a,
    TAG_CRYPTOGRAPHIC_PARAMETERS = 0x42002b,
    TAG_CRYPTOGRAPHIC_USAGE_MASK = 0x42002c,
    TAG_DEACTIVATION_DATE = 0x42002f,
    TAG_IV_COUNTER_NONCE = 0x42003d,
    TAG_OBJECT_TYPE = 0x420057,
    TAG_OPERATION = 0x42005c,
    TAG_PADDING_METHOD = 0x42005f,
    TAG_PROTECT_STOP_DATE = 0x420068,
    TAG_PROTOCOL_VERSION = 0x420069,
    TAG_PROTOCOL_VERSION_MAJOR = 0x42006a,
    TAG_PROTOCOL_VERSION_MINOR = 0x42006b,
    TAG_QUERY_FUNCTION = 0x420074,
    TAG_REQUEST_HEADER = 0x420077,
    TAG_REQUEST_MESSAGE = 0x420078,
    TAG_REQUEST_PAYLOAD = 0x420079,
    TAG_RESPONSE_HEADER = 0x42007a,
    TAG_RESPONSE_MESSAGE = 0x42007b,
    TAG_RESPONSE_PAYLOAD = 0x42007c,
    TAG_RESULT_MESSAGE = 0x42007d,
    TAG_RESULT_REASON = 0x42007e,
    TAG_RESULT_STATUS = 0x42007f,
    TAG_STATE = 0x42008d,
    TAG_UNIQUE_IDENTIFIER = 0x420094,
    TAG_USERNAME = 0x420099,
    TAG_VENDOR_IDENTIFICATION = 0x42009d,
    TAG_PASSWORD = 0x4200a1,
    TAG_DATA = 0x4200c2,
    TAG_TAG_LENGTH = 0x4200ce,
    TAG_AUTHENTICATED_ENCRYPTION_TAG = 0x4200ff,
    TAG_ATTRIBUTES = 0x420125,
};

#define STATUS_SUCCESS 0u
#define BLOCK_CIPHER_CBC 1u
#define BLOCK_CIPHER_GCM 9u
#define PADDING_PKCS5 3u
#define CREDENTIAL_USERNAME_AND_PASSWORD 1u
#define QUERY_OPERATIONS 1u
#define QUERY_SERVER_INFORMATION 3u

/* The structures that are open while a request's payload is written. */
struct frame {
    size_t message;
    size_t item;
    size_t payload;
};

static void put_version(struct writer *writer, struct kmip_version version)
{
    size_t begun = ttlv_begin(writer, TAG_PROTOCOL_VERSION);

    ttlv_put_integer(writer, TAG_PROTOCOL_VERSION_MAJOR, (int32_t)version.major);
    ttlv_put_integer(writer, TAG_PROTOCOL_VERSION_MINOR, (int32_t)version.minor);
    ttlv_end(writer, begun);
}

static void put_credential(struct writer *writer, const struct kmip_credential *credential)
{
    size_t authentication = ttlv_begin(writer, TAG_AUTHENTICATION);
    size_t item = ttlv_begin(writer, TAG_CREDENTIAL);

    ttlv_put_enumeration(writer, TAG_CREDENTIAL_TYPE, CREDENTIAL_USERNAME_AND_PASSWORD);
    size_t value = ttlv_begin(writer, TAG_CREDENTIAL_VALUE);
    ttlv_put_text(writer, TAG_USERNAME, credential->username);
    ttlv_put_text_bytes(writer, TAG_PASSWORD, credential->password);
    ttlv_end(writer, value);
    ttlv_end(writer, item);
    ttlv_end(writer, authentication);
}

static struct frame begin_request(struct writer *writer, const struct kmip_header *header,
                                  enum kmip_operation what)
{
    struct frame frame = { .message = ttlv_begin(writer, TAG_REQUEST_MESSAGE) };
    size_t begun = ttlv_begin(writer, TAG_REQUEST_HEADER);

    put_version(writer, header->version);
    if (header->credential.username)
        put_credential(writer, &header->credential);
    ttlv_put_integer(writer, TAG_BATCH_COUNT, 1);
    ttlv_end(writer, begun);
    frame.item = ttlv_begin(writer, TAG_BATCH_ITEM);
    ttlv_put_enumeration(writer, TAG_OPERATION, what);
    frame.payload = ttlv_begin(writer, TAG_REQUEST_PAYLOAD);
    return frame;
}

static int end_request(struct writer *writer, struct frame frame)
{
    ttlv_end(writer, frame.payload);
    ttlv_end(writer, frame.item);
    ttlv_end(writer, frame.message);
    return writer_done(writer);
}

int kmip_write_discover_versions(struct writer *writer, const struct kmip_header *header,
                                 const struct kmip_version *wanted, size_t count)
{
    struct frame frame = begin_request(writer, header, KMIP_DISCOVER_VERSIONS);

    for (size_t i = 0; i < count; i++)
        put_version(writer, wanted[i]);
    return end_request(writer, frame);
}

/* Names no attributes, which asks for all: then 1.x and 2.x ask alike. */
int kmip_write_get_attributes(struct writer *writer, const struct kmip_header *header,
                              const char *uid)
{
    struct frame frame = begin_request(writer, header, KMIP_GET_ATTRIBUTES);

    ttlv_put_text(writer, TAG_UNIQUE_IDENTIFIER, uid);
    return end_request(writer, frame);
}

int kmip_write_query(struct writer *writer, const struct kmip_header *header)
{
    struct frame frame = begin_request(writer, header, KMIP_QUERY);

    ttlv_put_enumeration(writer, TAG_QUERY_FUNCTION, QUERY_OPERATIONS);
    ttlv_put_enumeration(writer, TAG_QUERY_FUNCTION, QUERY_SERVER_INFORMATION);
    return end_request(writer, frame);
}

bool kmip_version_has_gcm(struct kmip_version version)
{
    return version.major > 1 || (version.major == 1 && version.minor >= 4);
}

int kmip_write_crypto(struct writer *writer, const struct kmip_header *header,
                      enum kmip_operation what, const struct kmip_crypto *crypto)
{
    bool is_gcm = crypto->mode == WRAP_MODE_GCM;
    struct frame frame = begin_request(writer, header, what);

    ttlv_put_text(writer, TAG_UNIQUE_IDENTIFIER, crypto->uid);
    size_t parameters = ttlv_begin(writer, TAG_CRYPTOGRAPHIC_PARAMETERS);
    ttlv_put_enumeration(writer, TAG_BLOCK_CIPHER_MODE,
                         is_gcm ? BLOCK_CIPHER_GCM : BLOCK_CIPHER_CBC);
    if (!is_gcm)
        ttlv_put_enumeration(writer, TAG_PADDING_METHOD, PADDING_PKCS5);
    ttlv_put_enumeration(writer, TAG_CRYPTOGRAPHIC_ALGORITHM, KMIP_ALGORITHM_AES);
    if (is_gcm)
        ttlv_put_integer(writer, TAG_TAG_LENGTH, WRAPPED_TAG_MAX);
    ttlv_end(writer, parameters);
    ttlv_put_bytes(writer, TAG_DATA, crypto->data);
    ttlv_put_bytes(writer, TAG_IV_COUNTER_NONCE, crypto->iv);
    if (is_gcm && what == KMIP_DECRYPT)
        ttlv_put_bytes(writer, TAG_AUTHENTICATED_ENCRYPTION_TAG, crypto->tag);
    return end_request(writer, frame);
}

static int read_failure(struct bytes item, struct kmip_response *ret)
{
    struct ttlv_item text;
    uint32_t reason = 0;
    int r = ttlv_find_u32(item, TAG_RESULT_REASON, TTLV_ENUMERATION, &reason);

    if (r < 0 && r != -ENOENT)
        return r;
    ret->reason = (enum kmip_reason)reason;
    if (ttlv_find(item, TAG_RESULT_MESSAGE, TTLV_TEXT, &text) == 0)
        ttlv_show_text(text.value, ret->text, sizeof(ret->text));
    return 0;
}

static int read_item(struct bytes item, enum kmip_operation what, struct kmip_response *ret)
{
    struct ttlv_item payload;
    uint32_t status, operation = 0;
    int r = ttlv_find_u32(item, TAG_RESULT_STATUS, TTLV_ENUMERATION, &status);

    if (r < 0)
        return -EBADMSG;
    ret->is_success = status == STATUS_SUCCESS;
    if (!ret->is_success)
        return read_failure(item, ret);
    if (ttlv_find_u32(item, TAG_OPERATION, TTLV_ENUMERATION, &operation) < 0 ||
        operation != (uint32_t)what)
        return -EBADMSG;
    r = ttlv_find(item, TAG_RESPONSE_PAYLOAD, TTLV_STRUCTURE, &payload);
    if (r == 0)
        ret->payload = payload.value;
    return r == -ENOENT ? 0 : r;
}

int kmip_read_response(struct bytes message, enum kmip_operation what, struct kmip_response *ret)
{
    struct reader reader = reader_init(message);
    struct ttlv_item outer, header, item;
    struct kmip_response response = { .is_success = false };

    if (ttlv_next(&reader, &outer) <= 0 || reader_done(&reader) < 0 ||
        outer.tag != TAG_RESPONSE_MESSAGE || outer.type != TTLV_STRUCTURE)
        return -EBADMSG;
    if (ttlv_find(outer.value, TAG_RESPONSE_HEADER, TTLV_STRUCTURE, &header) < 0 ||
        ttlv_find(outer.value, TAG_BATCH_ITEM, TTLV_STRUCTURE, &item) < 0)
        return -EBADMSG;
    int r = read_item(item.value, what, &response);
    if (r == 0)
        *ret = response;
    return r;
}

static int read_version(struct bytes items, struct kmip_version *ret)
{
    if (ttlv_find_u32(items, TAG_PROTOCOL_VERSION_MAJOR, TTLV_INTEGER, &ret->major) < 0 ||
        ttlv_find_u32(items, TAG_PROTOCOL_VERSION_MINOR, TTLV_INTEGER, &ret->minor) < 0)
        return -EBADMSG;
    return 0;
}

int kmip_read_versions(struct bytes payload, struct kmip_version *ret, size_t max,
                       size_t *ret_count)
{
    struct reader reader = reader_init(payload);
    struct ttlv_item item;
    size_t count = 0;
    int r;

    while ((r = ttlv_next(&reader, &item)) > 0) {
        if (item.tag != TAG_PROTOCOL_VERSION || item.type != TTLV_STRUCTURE || count == max)
            continue;
        r = read_version(item.value, &ret[count++]);
        if (r < 0)
            return r;
    }
    *ret_count = count;
    return r;
}

static void take_operation(struct kmip_server *server, uint32_t operation)
{
    server->gets_attributes |= operation == KMIP_GET_ATTRIBUTES;
    server->encrypts |= operation == KMIP_ENCRYPT;
    server->decrypts |= operation == KMIP_DECRYPT;
}

int kmip_read_query(struct bytes payload, struct kmip_server *ret)
{
    struct reader reader = reader_init(payload);
    struct kmip_server server = { .vendor = "" };
    struct ttlv_item item;
    int r;

    while ((r = ttlv_next(&reader, &item)) > 0) {
        if (item.tag == TAG_OPERATION && item.type == TTLV_ENUMERATION)
            take_operation(&server, ttlv_u32(&item));
        else if (item.tag == TAG_VENDOR_IDENTIFICATION && item.type == TTLV_TEXT)
            ttlv_show_text(item.value, server.vendor, sizeof(server.vendor));
    }
    if (r == 0)
        *ret = server;
    return r;
}

/* The earlier of the two dates that end a key's use. */
static void take_date(struct kmip_attributes *attributes, uint32_t tag, uint64_t date)
{
    if ((tag != TAG_DEACTIVATION_DATE && tag != TAG_PROTECT_STOP_DATE) || date == 0 ||
        date > INT64_MAX)
        return;
    if (attributes->ends_s == 0 || (int64_t)date < attributes->ends_s)
        attributes->ends_s = (int64_t)date;
}

/* A value of a type that the attribute does not have is passed over, like an unknown one. */
static void take_attribute(struct kmip_attributes *attributes, uint32_t tag,
                           const struct ttlv_item *value)
{
    if (value->type == TTLV_DATE_TIME)
        take_date(attributes, tag, ttlv_u64(value));
    if (value->type != TTLV_INTEGER && value->type != TTLV_ENUMERATION)
        return;
    uint32_t number = ttlv_u32(value);
    switch (tag) {
    case TAG_OBJECT_TYPE:
        attributes->object_type = number;
        break;
    case TAG_CRYPTOGRAPHIC_ALGORITHM:
        attributes->algorithm = number;
        break;
    case TAG_CRYPTOGRAPHIC_LENGTH:
        attributes->length = number;
        break;
    case TAG_CRYPTOGRAPHIC_USAGE_MASK:
        attributes->usage_mask = number;
        break;
    case TAG_STATE:
        attributes->state = (enum kmip_state)number;
        break;
    default:
        break;
    }
}

static int take_named_attribute(struct kmip_attributes *attributes, struct bytes items)
{
    static const struct {
        const char *name;
        uint32_t tag;
    } known[] = {
        { "Object Type", TAG_OBJECT_TYPE },
        { "Cryptographic Algorithm", TAG_CRYPTOGRAPHIC_ALGORITHM },
        { "Cryptographic Length", TAG_CRYPTOGRAPHIC_LENGTH },
        { "Cryptographic Usage Mask", TAG_CRYPTOGRAPHIC_USAGE_MASK },
        { "State", TAG_STATE },
        { "Deactivation Date", TAG_DEACTIVATION_DATE },
        { "Protect Stop Date", TAG_PROTECT_STOP_DATE },
    };
    struct reader reader = reader_init(items);
    struct ttlv_item name, value;
    int r = ttlv_find(items, TAG_ATTRIBUTE_NAME, TTLV_TEXT, &name);

    if (r < 0)
        return -EBADMSG;
    while ((r = ttlv_next(&reader, &value)) > 0 && value.tag != TAG_ATTRIBUTE_VALUE)
        ;
    if (r < 0)
        return r;
    for (size_t i = 0; r > 0 && i < sizeof(known) / sizeof(known[0]); i++)
        if (name.value.len == strlen(known[i].name) &&
            memcmp(name.value.data, known[i].name, name.value.len) == 0)
            take_attribute(attributes, known[i].tag, &value);
    return 0;
}

static int take_tagged_attributes(struct kmip_attributes *attributes, struct bytes items)
{
    struct reader reader = reader_init(items);
    struct ttlv_item item;
    int r;

    while ((r = ttlv_next(&reader, &item)) > 0)
        take_attribute(attributes, item.tag, &item);
    return r;
}

int kmip_read_attributes(struct bytes payload, struct kmip_attributes *ret)
{
    struct kmip_attributes attributes = { 0 };
    struct reader reader = reader_init(payload);
    struct ttlv_item item;
    int r;

    while ((r = ttlv_next(&reader, &item)) > 0) {
        if (item.type != TTLV_STRUCTURE)
            continue;
        if (item.tag == TAG_ATTRIBUTE)
            r = take_named_attribute(&attributes, item.value);
        else if (item.tag == TAG_ATTRIBUTES)
            r = take_tagged_attributes(&attributes, item.value);
        if (r < 0)
            return r;
    }
    if (r == 0)
        *ret = attributes;
    return r;
}

int kmip_read_crypto(struct bytes payload, struct bytes *ret_data, struct bytes *ret_tag)
{
    struct ttlv_item data, tag = { .value = { .data = NULL } };

    if (ttlv_find(payload, TAG_DATA, TTLV_BYTES, &data) < 0)
        return -EBADMSG;
    int r = ttlv_find(payload, TAG_AUTHENTICATED_ENCRYPTION_TAG, TTLV_BYTES, &tag);
    if (r < 0 && r != -ENOENT)
        return r;
    *ret_data = data.value;
    *ret_tag = tag.value;
    return 0;
}

const char *kmip_state_name(enum kmip_state state)
{
    switch (state) {
    case KMIP_PRE_ACTIVE:
        return "pre-active";
    case KMIP_ACTIVE:
        return "active";
    case KMIP_DEACTIVATED:
        return "deactivated";
    case KMIP_COMPROMISED:
        return "compromised";
    case KMIP_DESTROYED:
        return "destroyed";
    case KMIP_DESTROYED_COMPROMISED:
        return "destroyed, compromised";
    case KMIP_STATE_UNKNOWN:
    default:
        return "unknown";
    }
}
