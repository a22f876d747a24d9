#include "mount/sync_replies.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/thread.h"

struct sync_reply {
    struct volume_waiter waiter;
    struct sync_replies *replies;
    fuse_req_t req;
    int fd;
    int result;
    struct sync_reply *next;
};

struct sync_replies {
    struct volume *volume;
    pthread_t thread;
    int fd; /* the thread's: of the answer that it is giving */

    struct mutex lock;      /* guards all below */
    pthread_cond_t changed; /* the thread waits here */
    struct sync_reply *done;
    unsigned count; /* of those that are not answered yet */
    bool is_stopping;
};

/* The answers that can be given. NULL: there will be none any more. */
static struct sync_reply *wait_for_done(struct sync_replies *replies)
{
    mutex_lock(&replies->lock);
    while (replies->done == NULL && !(replies->is_stopping && replies->count == 0))
        cond_wait(&replies->changed, &replies->lock);
    struct sync_reply *done = TAKE(replies->done);
    mutex_unlock(&replies->lock);
    return done;
}

static void answer(struct sync_replies *replies, struct sync_reply *reply)
{
    replies->fd = reply->fd;
    /* The kernel may take none: the program, or the mount, is gone. */
    (void)fuse_reply_err(reply->req, -reply->result);
    free(reply);
    mutex_lock(&replies->lock);
    replies->count--;
    mutex_unlock(&replies->lock);
}

static void *run(void *arg)
{
    struct sync_replies *replies = arg;
    struct sync_reply *done;

    while ((done = wait_for_done(replies)) != NULL) {
        while (done != NULL) {
            struct sync_reply *next = done->next;
            answer(replies, done);
            done = next;
        }
    }
    return NULL;
}

int sync_replies_new(struct volume *volume, struct sync_replies **ret)
{
    struct sync_replies *replies = calloc(1, sizeof(*replies));

    if (!replies)
        return -ENOMEM;
    replies->volume = volume;
    replies->lock = MUTEX_INIT;
    replies->changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    int r = thread_start(&replies->thread, run, replies);
    if (r < 0) {
        free(replies);
        return r;
    }
    *ret = replies;
    return 0;
}

void sync_replies_free(struct sync_replies *replies)
{
    if (!replies)
        return;
    mutex_lock(&replies->lock);
    replies->is_stopping = true;
    (void)pthread_cond_signal(&replies->changed);
    mutex_unlock(&replies->lock);
    (void)pthread_join(replies->thread, NULL);
    free(replies);
}

static void on_synced(struct volume_waiter *waiter, int result)
{
    struct sync_reply *reply = (struct sync_reply *)waiter;
    struct sync_replies *replies = reply->replies;

    reply->result = result;
    mutex_lock(&replies->lock);
    reply->next = replies->done;
    replies->done = reply;
    (void)pthread_cond_signal(&replies->changed);
    mutex_unlock(&replies->lock);
}

/* False: so many wait that the next one has to be waited for. */
static bool take_place(struct sync_replies *replies)
{
    mutex_lock(&replies->lock);
    bool has_place = replies->count < SYNC_REPLIES_MAX;
    if (has_place)
        replies->count++;
    mutex_unlock(&replies->lock);
    return has_place;
}

void sync_replies_add(struct sync_replies *replies, fuse_req_t req, int fd)
{
    struct sync_reply *reply = calloc(1, sizeof(*reply));

    if (!reply || !take_place(replies)) {
        free(reply);
        (void)fuse_reply_err(req, -volume_sync(replies->volume, NULL));
        return;
    }
    *reply =
        (struct sync_reply){ .waiter.done = on_synced, .replies = replies, .req = req, .fd = fd };
    volume_sync_later(replies->volume, &reply->waiter);
}

int sync_replies_fd(const struct sync_replies *replies)
{
    return pthread_equal(pthread_self(), replies->thread) ? replies->fd : -1;
}
