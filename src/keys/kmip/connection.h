/* connection.h - one connection to a KMIP server: mutual TLS, the protocol version agreed upon,
 * one request and its answer at a time.
 *
 * Errors     the classes of key_provider.h. After any error of kmip_exchange() the connection
 *            can only be closed.
 * Ownership  a response points into *ret_message, which the caller wipes and releases. The
 *            credential's texts stay the caller's, and unchanged until kmip_disconnect().
 * Threads    one connection is used by one thread at a time.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "keys/kmip/message.h"
#include "net/tls.h"

struct kmip_connection;

int kmip_connect(const struct tls_target *target, const struct kmip_credential *credential,
                 int64_t deadline_ms, struct kmip_connection **ret, struct error *err);
void kmip_disconnect(struct kmip_connection *connection); /* NULL is allowed */

struct kmip_version kmip_connection_version(const struct kmip_connection *connection);

/* Of the requests on this connection: the version, and who asks. */
const struct kmip_header *kmip_connection_header(const struct kmip_connection *connection);

/* -EACCES: a server, named by the text, does not accept who asks; words are its own. */
int kmip_refuse_login(const struct kmip_credential *credential, const char *server,
                      const char *words, struct error *err);

/* Sends a request and reads what answers it; the server's refusal is a success here. */
int kmip_exchange(struct kmip_connection *connection, struct bytes request,
                  enum kmip_operation what, int64_t deadline_ms, struct buf *ret_message,
                  struct kmip_response *ret, struct error *err);
