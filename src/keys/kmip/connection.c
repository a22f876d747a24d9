#include "keys/kmip/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/secret.h"
#include "keys/address_list.h"
#include "keys/kmip/ttlv.h"

#define TAG_RESPONSE_MESSAGE 0x42007bu
#define VERSIONS_MAX 16u

struct kmip_connection {
    struct tls_connection *tls;
    struct kmip_header header;
};

/* Best first: 2.x only where nothing older is left. */
static const struct kmip_version spoken[] = { { 1, 4 }, { 1, 3 }, { 1, 2 }, { 2, 1 }, { 2, 0 } };
#define SPOKEN_COUNT (sizeof(spoken) / sizeof(spoken[0]))

static int read_message(struct kmip_connection *connection, int64_t deadline_ms, struct buf *ret,
                        struct error *err)
{
    uint8_t header[TTLV_HEADER_LEN];
    enum ttlv_type type = TTLV_STRUCTURE;
    uint32_t tag = 0, len = 0;

    int r = tls_read(connection->tls, header, sizeof(header), deadline_ms, err);
    if (r < 0)
        return address_result(r, err);
    r = ttlv_read_header((struct bytes){ .data = header, .len = sizeof(header) }, &tag, &type,
                         &len);
    if (r < 0 || tag != TAG_RESPONSE_MESSAGE || type != TTLV_STRUCTURE || len > KMIP_RESPONSE_MAX)
        return error_set(err, -EPROTO,
                         "the server does not answer in KMIP: check the address and port");

    struct buf message = { .data = malloc(sizeof(header) + len), .len = sizeof(header) + len };
    if (!message.data)
        return error_set(err, -ENOMEM, "not enough memory for a KMIP answer");
    memcpy(message.data, header, sizeof(header));
    r = tls_read(connection->tls, message.data + sizeof(header), len, deadline_ms, err);
    if (r < 0) {
        message.len = 0; /* nothing secret: it was not all read, and is not shown */
        buf_release(&message);
        return address_result(r, err);
    }
    buf_wipe(ret);
    buf_move(ret, &message);
    return 0;
}

int kmip_exchange(struct kmip_connection *connection, struct bytes request,
                  enum kmip_operation what, int64_t deadline_ms, struct buf *ret_message,
                  struct kmip_response *ret, struct error *err)
{
    int r = tls_write(connection->tls, request, deadline_ms, err);

    if (r < 0)
        return address_result(r, err);
    r = read_message(connection, deadline_ms, ret_message, err);
    if (r < 0)
        return r;
    if (kmip_read_response(buf_bytes(ret_message), what, ret) < 0)
        return error_set(err, -EPROTO, "the KMIP server's answer makes no sense");
    return 0;
}

/* ------------------------------------------------------------------ the version */

static int choose_version(const struct kmip_version *offered, size_t count,
                          struct kmip_version *ret, struct error *err)
{
    for (size_t i = 0; i < SPOKEN_COUNT; i++)
        for (size_t j = 0; j < count; j++)
            if (spoken[i].major == offered[j].major && spoken[i].minor == offered[j].minor) {
                *ret = spoken[i];
                return 0;
            }
    return error_set(err, -EPROTO,
                     "the KMIP server speaks none of the versions 1.2 to 1.4, 2.0 and 2.1");
}

int kmip_refuse_login(const struct kmip_credential *credential, const char *server,
                      const char *words, struct error *err)
{
    if (credential->username)
        return error_set(err, -EACCES,
                         "%s does not accept the user '%s' with this password, or not the client "
                         "certificate (%s): give both anew with 'coffer security kms set'; the "
                         "certificate needs exactly one CN that the server knows, and clientAuth "
                         "as extended key usage",
                         server, credential->username, words);
    return error_set(err, -EACCES,
                     "%s does not accept the client certificate (%s): it needs exactly one CN that "
                     "the server knows, and clientAuth as extended key usage; if the server also "
                     "wants a user name and password, give --username",
                     server, words);
}

static int refuse_discovery(const struct kmip_connection *connection,
                            const struct kmip_response *response, struct error *err)
{
    switch ((uint32_t)response->reason) {
    case KMIP_AUTHENTICATION_NOT_SUCCESSFUL:
    case KMIP_PERMISSION_DENIED:
    case KMIP_NOT_AUTHORISED:
        return kmip_refuse_login(&connection->header.credential, "the KMIP server", response->text,
                                 err);
    default:
        return error_set(err, -EPROTO,
                         "the KMIP server refuses to say its versions: %s (reason 0x%x)",
                         response->text, (unsigned)response->reason);
    }
}

static int send_discovery(struct kmip_connection *connection, int64_t deadline_ms, struct buf *room,
                          struct kmip_response *ret, struct error *err)
{
    uint8_t request[KMIP_REQUEST_MAX];
    struct writer writer = writer_init(request, sizeof(request));
    int r = kmip_write_discover_versions(&writer, &connection->header, spoken, SPOKEN_COUNT);

    if (r < 0)
        return error_set(err, r, "cannot write a KMIP request");
    r = kmip_exchange(connection, writer_written(&writer), KMIP_DISCOVER_VERSIONS, deadline_ms,
                      room, ret, err);
    memory_wipe(request, sizeof(request));
    return r;
}

/* Asks in the header version `in`: 0, an error, or 1 if the server cannot read that version. */
static int discover_in(struct kmip_connection *connection, struct kmip_version in,
                       int64_t deadline_ms, struct error *err)
{
    CLEANUP(buf_wipe) struct buf message = BUF_INIT;
    struct kmip_version offered[VERSIONS_MAX];
    struct kmip_response response = { .is_success = false };
    size_t count = 0;

    connection->header.version = in;
    int r = send_discovery(connection, deadline_ms, &message, &response, err);
    if (r < 0)
        return r;
    if (response.is_success) {
        if (kmip_read_versions(response.payload, offered, VERSIONS_MAX, &count) < 0)
            return error_set(err, -EPROTO, "the KMIP server's list of versions makes no sense");
        return choose_version(offered, count, &connection->header.version, err);
    }
    if (response.reason == KMIP_OPERATION_NOT_SUPPORTED)
        return 0;
    if (response.reason == KMIP_INVALID_MESSAGE || response.reason == KMIP_UNSUPPORTED_VERSION)
        return 1;
    return refuse_discovery(connection, &response, err);
}

static int negotiate(struct kmip_connection *connection, int64_t deadline_ms, struct error *err)
{
    static const struct kmip_version headers[] = {
        { 1, 2 }, { 1, 4 }, { 1, 3 }, { 2, 1 }, { 2, 0 }
    };

    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        int r = discover_in(connection, headers[i], deadline_ms, err);
        if (r <= 0)
            return r;
    }
    return error_set(err, -EPROTO,
                     "the KMIP server reads no message of the versions 1.2 to 1.4, 2.0 and 2.1: it "
                     "is too old or not a KMIP server");
}

static void disconnectp(struct kmip_connection **connection)
{
    kmip_disconnect(*connection);
}

int kmip_connect(const struct tls_target *target, const struct kmip_credential *credential,
                 int64_t deadline_ms, struct kmip_connection **ret, struct error *err)
{
    CLEANUP(disconnectp) struct kmip_connection *connection = calloc(1, sizeof(*connection));

    if (!connection)
        return error_set(err, -ENOMEM, "not enough memory for a KMIP connection");
    connection->header.credential = *credential;
    int r = tls_connect(target, deadline_ms, &connection->tls, err);
    if (r < 0)
        return address_result(r, err);
    r = negotiate(connection, deadline_ms, err);
    if (r == 0)
        *ret = TAKE(connection);
    return r;
}

void kmip_disconnect(struct kmip_connection *connection)
{
    if (!connection)
        return;
    tls_close(connection->tls);
    free(connection);
}

struct kmip_version kmip_connection_version(const struct kmip_connection *connection)
{
    return connection->header.version;
}

const struct kmip_header *kmip_connection_header(const struct kmip_connection *connection)
{
    return &connection->header;
}
