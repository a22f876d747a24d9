/* connection.h - one connection to a KMIP server: mutual TLS, the protocol version agreed upon,
 * one request and its answer at a time.
 *
 * Errors     the classes of key_provider.h. After any error of kmip_exchange() the connection
 *            can only be closed.
 * Ownership  a response points into *ret_message, which the caller wipes and releases.
 * Threads    one connection is used by one thread at a time.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "keys/kmip/message.h"
#include "net/tls.h"

struct kmip_connection;

int kmip_connect(const struct tls_target *target, int64_t deadline_ms, struct kmip_connection **ret,
                 struct error *err);
void kmip_disconnect(struct kmip_connection *connection); /* NULL is allowed */

struct kmip_version kmip_connection_version(const struct kmip_connection *connection);

/* Sends a request and reads what answers it; the server's refusal is a success here. */
int kmip_exchange(struct kmip_connection *connection, struct bytes request,
                  enum kmip_operation what, int64_t deadline_ms, struct buf *ret_message,
                  struct kmip_response *ret, struct error *err);
