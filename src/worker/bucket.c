#include "worker/bucket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/remote_store.h"

static void on_end(void *arg)
{
    const struct worker_bucket *bucket = arg;
    const uint64_t one = 1;

    (void)!write(bucket->ended_fd, &one, sizeof(one)); /* full means readable already */
}

static int open_remote(int fd, struct object_store **ret, struct error *err)
{
    int r = remote_store_open(fd, ret, err);

    if (r < 0)
        close_fd(&fd);
    return r;
}

static int wrap(struct worker_bucket *bucket, struct error *err)
{
    int r = 0;

    bucket->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bucket->ended_fd < 0)
        r = -errno;
    if (r == 0)
        r = renewable_store_new(bucket->remote, &bucket->store, &bucket->renewable);
    return r < 0 ? error_set(err, r, "the bucket cannot be used: %s", strerrordesc_np(-r)) : 0;
}

int worker_bucket_open(int fd, struct worker_bucket **ret, struct error *err)
{
    struct worker_bucket *bucket = calloc(1, sizeof(*bucket));

    if (!bucket) {
        close_fd(&fd);
        return error_set(err, -ENOMEM, "out of memory for a bucket");
    }
    bucket->ended_fd = -1;
    int r = open_remote(fd, &bucket->remote, err);
    if (r == 0)
        r = wrap(bucket, err);
    if (r < 0) {
        object_store_close(bucket->remote);
        close_fd(&bucket->ended_fd);
        free(bucket);
        return r;
    }
    remote_store_on_end(bucket->remote, on_end, bucket);
    *ret = bucket;
    return 0;
}

void worker_bucket_close(struct worker_bucket *bucket)
{
    if (!bucket)
        return;
    object_store_close(bucket->store);
    close_fd(&bucket->ended_fd);
    free(bucket);
}

int worker_bucket_renew(struct worker_bucket *bucket, int fd, struct error *err)
{
    struct object_store *next = NULL;
    uint64_t counter;

    int r = open_remote(fd, &next, err);
    if (r < 0)
        return r;
    remote_store_on_end(bucket->remote, NULL, NULL);
    remote_store_end(bucket->remote); /* objects that are open keep it, and its process */
    r = renewable_store_renew(bucket->renewable, next);
    if (r < 0) {
        object_store_close(next);
        remote_store_on_end(bucket->remote, on_end, bucket);
        return error_set(err, r, "out of memory for a bucket");
    }
    bucket->remote = next;
    bucket->has_ended = false;
    (void)!read(bucket->ended_fd, &counter, sizeof(counter));
    remote_store_on_end(next, on_end, bucket);
    return 0;
}

void worker_bucket_end(struct worker_bucket *bucket)
{
    remote_store_on_end(bucket->remote, NULL, NULL);
    remote_store_end(bucket->remote);
}

bool worker_bucket_take_end(struct worker_bucket *bucket)
{
    uint64_t counter;

    if (read(bucket->ended_fd, &counter, sizeof(counter)) == sizeof(counter))
        bucket->has_ended = true;
    return bucket->has_ended;
}
