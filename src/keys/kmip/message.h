/* message.h - the KMIP requests that coffer sends and their answers (KMIP 1.2 to 2.1): Discover
 * Versions, Query, Get Attributes, Encrypt, Decrypt; one operation in each message, and of the
 * optional header fields only a user name and password, since servers refuse some of the others.
 *
 * Errors     -EBADMSG: the answer is not one to such a request; -ENOSPC: the request does not fit.
 * Ownership  what is read points into the message.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/wire.h"
#include "keyring/wrapped_key.h"

#define KMIP_REQUEST_MAX 4096u
#define KMIP_RESPONSE_MAX (64u * 1024u)
#define KMIP_TEXT_SIZE 200u

struct kmip_version {
    uint32_t major;
    uint32_t minor;
};

/* Who asks, besides the client certificate. username NULL: nobody. */
struct kmip_credential {
    const char *username;
    struct bytes password; /* a request that holds it is wiped */
};

struct kmip_header {
    struct kmip_version version;
    struct kmip_credential credential;
};

enum kmip_operation {
    KMIP_GET_ATTRIBUTES = 0x0b,
    KMIP_QUERY = 0x18,
    KMIP_DISCOVER_VERSIONS = 0x1e,
    KMIP_ENCRYPT = 0x1f,
    KMIP_DECRYPT = 0x20,
};

/* Result reasons that coffer tells apart (1.4, section 9.1.3.2.29, and 2.1's additions). */
enum kmip_reason {
    KMIP_REASON_NONE = 0,
    KMIP_ITEM_NOT_FOUND = 0x01,
    KMIP_AUTHENTICATION_NOT_SUCCESSFUL = 0x03,
    KMIP_INVALID_MESSAGE = 0x04,
    KMIP_OPERATION_NOT_SUPPORTED = 0x05,
    KMIP_INVALID_FIELD = 0x07,
    KMIP_CRYPTOGRAPHIC_FAILURE = 0x0a,
    KMIP_PERMISSION_DENIED = 0x0c,
    KMIP_INCOMPATIBLE_USAGE_MASK = 0x29,
    KMIP_INTERNAL_SERVER_ERROR = 0x2a,
    KMIP_OBJECT_DESTROYED = 0x36,
    KMIP_OBJECT_NOT_FOUND = 0x37,
    KMIP_NOT_AUTHORISED = 0x39,
    KMIP_SERVER_LIMIT_EXCEEDED = 0x3a,
    KMIP_UNSUPPORTED_VERSION = 0x3f,
    KMIP_WRONG_LIFECYCLE_STATE = 0x43,
    KMIP_GENERAL_FAILURE = 0x100,
};

enum kmip_state {
    KMIP_STATE_UNKNOWN = 0,
    KMIP_PRE_ACTIVE = 1,
    KMIP_ACTIVE = 2,
    KMIP_DEACTIVATED = 3,
    KMIP_COMPROMISED = 4,
    KMIP_DESTROYED = 5,
    KMIP_DESTROYED_COMPROMISED = 6,
};

#define KMIP_USAGE_ENCRYPT 0x04u
#define KMIP_USAGE_DECRYPT 0x08u
#define KMIP_OBJECT_SYMMETRIC_KEY 2u
#define KMIP_ALGORITHM_AES 3u

/* Older versions lose the tag. */
bool kmip_version_has_gcm(struct kmip_version version);

/* What Encrypt and Decrypt are about. GCM needs a version that has it. */
struct kmip_crypto {
    const char *uid;
    enum wrap_mode mode; /* WRAP_MODE_CBC_PKCS5 or WRAP_MODE_GCM */
    struct bytes data;
    struct bytes iv;
    struct bytes tag; /* GCM, Decrypt */
};

int kmip_write_discover_versions(struct writer *writer, const struct kmip_header *header,
                                 const struct kmip_version *wanted, size_t count);
int kmip_write_get_attributes(struct writer *writer, const struct kmip_header *header,
                              const char *uid);
int kmip_write_crypto(struct writer *writer, const struct kmip_header *header,
                      enum kmip_operation what, const struct kmip_crypto *crypto);

struct kmip_response {
    bool is_success;
    enum kmip_reason reason;   /* why not */
    char text[KMIP_TEXT_SIZE]; /* the server's own words, fit to be shown */
    struct bytes payload;      /* items; empty on failure */
};

/* The answer to one request, whatever version its header names: servers answer in another one
 * what they cannot parse, and then do not repeat the operation. */
int kmip_read_response(struct bytes message, enum kmip_operation what, struct kmip_response *ret);

/* *ret_count is at most max; more are left out. */
int kmip_read_versions(struct bytes payload, struct kmip_version *ret, size_t max,
                       size_t *ret_count);

/* What a server says of itself. */
struct kmip_server {
    char vendor[KMIP_TEXT_SIZE]; /* fit to be shown; "" if it does not say */
    bool gets_attributes;
    bool encrypts;
    bool decrypts;
};

/* Asks for its operations and its name. */
int kmip_write_query(struct writer *writer, const struct kmip_header *header);
int kmip_read_query(struct bytes payload, struct kmip_server *ret);

/* What the server did not say is 0. */
struct kmip_attributes {
    uint32_t object_type;
    uint32_t algorithm;
    uint32_t length; /* bits */
    uint32_t usage_mask;
    enum kmip_state state;
    int64_t ends_s; /* when it is deactivated, or may not encrypt any more, since 1970 */
};

/* Both forms: Attribute structures (1.x) and one Attributes structure (2.x). */
int kmip_read_attributes(struct bytes payload, struct kmip_attributes *ret);

/* Of Encrypt and Decrypt: the data, and the tag if there is one. */
int kmip_read_crypto(struct bytes payload, struct bytes *ret_data, struct bytes *ret_tag);

const char *kmip_state_name(enum kmip_state state);
