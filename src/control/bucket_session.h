/* bucket_session.h - one use of a configured object store: a process of its own (coffer-store) that
 * has the bucket's credentials and the network, or the store's folder, and nothing else. Whoever
 * has the other end of its socket uses it as an object store (store/remote_store.h): cofferd for
 * short work, or a worker, which has keys.
 *
 * The process ends when that end is closed, whoever has it then: a worker goes on while cofferd is
 * away. If it dies, what is under way fails with -ENOTCONN, and so does all that comes later over
 * this socket; the next session has a new process.
 *
 * Where cofferd is root, a bucket's process becomes the user of the workers, and a folder's process
 * the folder's owner, so that all that is put there belongs to one user.
 *
 * Errors     negative errno and a sentence. -ENOENT: no such object store; -ETIMEDOUT: the process
 *            does not answer; what it says of its store.
 * Threads    any.
 */
#pragma once

#include "base/thread.h"
#include "control/control.h"
#include "store/object_store.h"

/* For cofferd itself. Closing the store ends the process. */
int bucket_session_open(struct control *control, const char *store, struct object_store **ret,
                        struct error *err);

/* The socket, for a worker: it opens that with remote_store_open(). *ret_fd is the caller's, to be
 * closed when the worker has it. */
int bucket_session_start(struct control *control, const char *store, int *ret_fd,
                         struct error *err);

/* --- inside the control plane --- */

/* The processes that were started and not waited for yet. */
struct bucket_processes {
    struct mutex lock; /* guards all below; no other is taken with it */
    struct bucket_process *items;
    size_t count;
    size_t room;
};

/* Takes notice of those that have ended: one that did so badly is an event. */
void bucket_processes_reap(struct control *control);
/* For a control plane that shuts down: what it does itself with a store ends with a failure. */
void bucket_processes_end(struct control *control);
/* Those that still run go on without us. */
void bucket_processes_release(struct bucket_processes *processes);
