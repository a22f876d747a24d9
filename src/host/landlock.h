/* landlock.h - restricts the calling thread, and all that it starts, to the folders named.
 *
 * Errors     negative errno and a sentence. -EOPNOTSUPP: the kernel has no Landlock (before 5.13,
 *            or switched off); nothing was restricted.
 * Threads    call it before there is a second one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct landlock_path {
    const char *path; /* folder or file; one that is not there is passed over if it is read_only */
    bool is_read_only;
};

int landlock_enter(const struct landlock_path *paths, size_t count, struct error *err);
