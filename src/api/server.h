/* server.h - the REST face, twice: HTTP on a Unix socket of this host, and, where it is wanted,
 * HTTPS with login and the web page. One thread for each connection, so that a slow request holds
 * up nobody else.
 *
 * On the Unix socket only root and the user that runs the daemon are served; the kernel says who
 * the peer is, and he may do everything. Over HTTPS everybody can connect: he has the role of the
 * user as whom he logged in, a browser's request must come from our own page, and all that he can
 * send or hold is bounded.
 *
 * Units      bytes.
 * Errors     negative errno and a sentence.
 * Ownership  the listening descriptor becomes the server's, also on failure. What the context
 *            points to outlives the server.
 * Threads    open and close from one; handlers run on many.
 */
#pragma once

#include "api/routes.h"
#include "base/error.h"

#define API_BODY_MAX (1024u * 1024u)
#define API_STRANGER_BODY_MAX (4u * 1024u) /* of whoever is not logged in */
#define API_CONNECTIONS_MAX 128u
#define API_WEB_CONNECTIONS_MAX 96u
#define API_WEB_CONNECTIONS_OF_ADDRESS_MAX 32u

struct api_server;

int api_server_open(const struct api_context *context, int listen_fd, struct api_server **ret,
                    struct error *err);

/* TLS 1.2 or 1.3 with the identity in context->web, on a TCP socket. */
int api_web_open(const struct api_context *context, int listen_fd, struct api_server **ret,
                 struct error *err);

/* Takes no new request, and waits for those that are running. */
void api_server_close(struct api_server *server); /* NULL is allowed */
