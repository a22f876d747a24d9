/* instance.h - one installation of coffer on this host: its state folder and its sockets, found
 * the same way by every program.
 *
 * Taken in this order: what the command line gave, the environment (COFFER_STATE_DIR,
 * COFFER_SOCKET), the default. As root that is /var/lib/coffer and /run/coffer/cofferd.sock; for
 * an ordinary user, or with is_user, the folders of the XDG base directory specification. If only
 * the state folder is given, the socket is STATE/cofferd.sock.
 *
 * Errors     negative errno and a sentence that says which option to give.
 * Ownership  the caller's struct; nothing to release.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "base/error.h"

#define INSTANCE_SOCKET_SIZE 108u /* of sockaddr_un.sun_path */

struct instance {
    char state_dir[PATH_MAX];
    char socket[INSTANCE_SOCKET_SIZE];       /* HTTP */
    char mount_socket[INSTANCE_SOCKET_SIZE]; /* mounts with their descriptors: SOCKET.mount */
    bool is_user;
};

/* state_dir and socket: the options, NULL or "" if not given. */
int instance_init(struct instance *ret, const char *state_dir, const char *socket, bool is_user,
                  struct error *err);

/* A path in the state folder: instance_path(instance, path, err, "run/%s.sock", uuid). */
int instance_path(const struct instance *instance, char ret[static PATH_MAX], struct error *err,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));
