/* remote_case.h - a store behind a remote one (store/remote_store.h), with a thread in the place of
 * the other process.
 *
 * Ownership  as a layer: the store that is returned owns the inner one.
 */
#pragma once

#include "store/object_store.h"

/* Any failure in here fails the test. Returns 0. */
int wrap_in_remote(struct object_store *inner, struct object_store **ret);

struct object_store *memory_open(void);
struct object_store *remote_over(struct object_store *inner);
void socket_pair(int fds[2]); /* of a stream */
