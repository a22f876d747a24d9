/* server.h - the REST face: HTTP on a Unix socket that the caller listens on. One thread for each
 * connection, so that a slow request holds up nobody else. Only root and the user that runs the
 * daemon are served; the kernel says who the peer is. Requests are at most API_BODY_MAX bytes.
 *
 * Errors     negative errno and a sentence.
 * Ownership  the listening descriptor becomes the server's, also on failure.
 * Threads    open and close from one; handlers run on many.
 */
#pragma once

#include "api/routes.h"
#include "base/error.h"

#define API_BODY_MAX (1024u * 1024u)
#define API_CONNECTIONS_MAX 128u

struct api_server;

int api_server_open(const struct api_context *context, int listen_fd, struct api_server **ret,
                    struct error *err);

/* Takes no new request, and waits for those that are running. */
void api_server_close(struct api_server *server); /* NULL is allowed */
