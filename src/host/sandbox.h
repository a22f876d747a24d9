/* sandbox.h - how a worker locks itself in: an unprivileged user, no capabilities and no way to
 * new ones, Landlock around its own two folders, the system calls that it needs and no other.
 *
 * Errors     negative errno and a sentence.
 * Threads    call sandbox_enter() before there is a second one.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* Whom the workers of a cofferd that is root become: the user "coffer" where the system has one,
 * else "nobody". */
void sandbox_worker_user(uid_t *ret_uid, gid_t *ret_gid);

/* For root: makes the folder if it is missing, and gives it and all in it to this user if it is
 * root's own. Links are not followed, files with several links not given away. */
int sandbox_give_folder(const char *path, uid_t uid, gid_t gid, struct error *err);

#define SANDBOX_FOLDERS_MAX 4u

struct sandbox {
    uid_t uid; /* of no meaning unless the process is root's */
    gid_t gid;
    const char *folders[SANDBOX_FOLDERS_MAX]; /* that it may read and change */
    size_t folder_count;
    bool may_be_read_only; /* the folders, by how their disk is mounted */
    bool needs_network;    /* to connect to a store, and to read what names and certificates need */
};

/* ret_paths: how each folder is called from inside, for that user may not pass through those
 * above it. Without Landlock in the kernel *ret_has_landlock is false, and the rest holds. */
int sandbox_enter(const struct sandbox *sandbox,
                  char ret_paths[static SANDBOX_FOLDERS_MAX][PATH_MAX], bool *ret_has_landlock,
                  struct error *err);
