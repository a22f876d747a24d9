/* remote_store.h - an object store that another process holds: it has the credentials and the
 * network, and this one has the keys. All operations travel over a stream socket, up to
 * REMOTE_SLOTS of them at once; who asks for more waits. The other end is remote_server_run().
 *
 * The other process is not trusted: what it says is bounded and looked at, and a message that no
 * server sends ends the connection. Objects hold ciphertext, so it cannot read or forge any.
 *
 * What is read in large pieces, 128 KiB or more, comes through shared memory (remote_room.h): up to
 * REMOTE_SLOTS times REMOTE_READ_MAX of it while it is read, none when nothing at all was
 * answered for a second.
 *
 * put, replace and get are for objects of at most REMOTE_OBJECT_MAX bytes; create writes longer
 * ones. list holds all that it found in memory before it visits the first.
 *
 * Errors     those of the store behind, its sentence cleaned. -ENOTCONN: the connection has ended;
 *            whether what was under way has been done is not known. -EBADMSG, -EPROTO,
 *            -EPROTONOSUPPORT: the other process said what it may not. Each is final: all
 *            later operations fail likewise.
 * Ownership  the store owns fd once it was opened. Close its objects and writers first.
 * Threads    as of store/object_store.h. One thread of its own reads the answers.
 */
#pragma once

#include <sys/types.h>

#include "store/object_store.h"

int remote_store_open(int fd, struct object_store **ret, struct error *err);

/* Calls fn once, when the connection ends, or now if it has ended: by any thread, and under a lock
 * of the store, so fn does no more than to tell another thread. NULL: not any more, from when this
 * returns. Closing the store is no such end. */
typedef void remote_store_ended_fn(void *arg);
void remote_store_on_end(struct object_store *store, remote_store_ended_fn *fn, void *arg);

/* Ends the connection: what is under way fails with -ENOTCONN, and all that is asked later. */
void remote_store_end(struct object_store *store);

/* For whoever started coffer-store, before the socket goes to the one who opens the store: tells it
 * which bucket (s3_settings_pack), and whom it becomes if it runs as root. Returns what became of
 * that; fd stays the caller's. Waits as long as the socket's own time limits let it. */
int remote_store_start(int fd, struct bytes settings, uid_t uid, gid_t gid, struct error *err);
