/* remote_server.h - answers what a remote store (remote_store.h) asks over a socket, with an
 * object store that is here. The client is not trusted: each message is looked at before anything
 * of it is used, and what one connection can take is bounded (remote_protocol.h): threads,
 * requests, open objects, bytes that wait.
 *
 * Errors     negative errno and a sentence. -EBADMSG, -EPROTO: the client sent what no client
 *            sends; -EPROTONOSUPPORT: it is of another version.
 * Ownership  fd and store stay the caller's. Objects and writers that the client left open are
 *            closed; what was written to a writer since its last sync may be lost, as in a crash.
 * Threads    runs in the caller's thread and REMOTE_SLOTS of its own, which all have ended when it
 *            returns. One store may serve several connections at once.
 */
#pragma once

#include "store/object_store.h"

/* Until the client closes (0) or misbehaves; then the connection is shut down. fd is a stream
 * socket. Ends late if the store does: what was begun is brought to its end. */
int remote_server_run(int fd, struct object_store *store, struct error *err);
