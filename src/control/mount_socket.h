/* mount_socket.h - where those who mount hand in the mounted /dev/fuse descriptor: one packet of
 * JSON {"filesystem": NAME, "mountpoint": "/absolute/folder"} with the descriptor, on a Unix
 * socket of packets; the answer is one packet {"error": ""} or {"error": sentence}.
 *
 * The descriptor goes on to the worker and is closed here at once: nobody but the worker keeps
 * it. Only root and the user that runs the daemon are served.
 *
 * Errors     negative errno and a sentence.
 * Ownership  the listening descriptor becomes its own, also on failure.
 * Threads    open and close from one; each peer is served by a thread of its own.
 */
#pragma once

#include "base/error.h"
#include "control/control.h"

struct mount_socket;

int mount_socket_open(struct control *control, int listen_fd, struct mount_socket **ret,
                      struct error *err);

/* Waits for those that are being served. */
void mount_socket_close(struct mount_socket *socket); /* NULL is allowed */
