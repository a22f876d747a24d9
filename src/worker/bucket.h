/* bucket.h - the bucket of a downloaded filesystem, as long as not all of it is here: a store in
 * another process (store/remote_store.h), whose socket cofferd sends. When that process ends, the
 * service is told, cofferd sends another socket, and whoever waits for the bucket goes on.
 *
 * Errors     negative errno and a sentence.
 * Ownership  sockets are taken over, also by a failure. The volume that uses the store is closed
 *            first.
 * Threads    the service's; store is used by any.
 */
#pragma once

#include <stdbool.h>

#include "store/layers/renewable.h"

struct worker_bucket {
    struct object_store *store;
    struct renewable_store *renewable; /* the same */
    struct object_store *remote;       /* behind it */
    int ended_fd; /* an eventfd: readable when that has ended and nobody was told */
    bool has_ended;
};

int worker_bucket_open(int fd, struct worker_bucket **ret, struct error *err);
void worker_bucket_close(struct worker_bucket *bucket); /* NULL is allowed */

int worker_bucket_renew(struct worker_bucket *bucket, int fd, struct error *err);

/* Has what is under way there end, for a volume that is closed. cofferd is not told. */
void worker_bucket_end(struct worker_bucket *bucket);

/* Whether it has ended, as cofferd is to be told. */
bool worker_bucket_take_end(struct worker_bucket *bucket);
