#include "api/connections.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/thread.h"

struct connection_time {
    struct connection_time *next;
    int fd;
    int64_t until_ms; /* INT64_MAX: no limit */
};

struct connections {
    struct mutex lock;      /* guards all below; shutting a socket down does not wait */
    pthread_cond_t changed; /* something ends sooner, or the end is wanted */
    struct connection_time *first;
    bool is_closing;
    pthread_t thread;
};

/* Ends what is over; returns when the next one is. */
static int64_t cut_off_locked(struct connections *connections, int64_t now_ms)
    REQUIRES(connections->lock)
{
    int64_t next_ms = INT64_MAX;

    for (struct connection_time *time = connections->first; time; time = time->next) {
        if (time->until_ms <= now_ms) {
            (void)shutdown(time->fd, SHUT_RDWR); /* whoever waits for it sees its end */
            time->until_ms = INT64_MAX;
        }
        if (time->until_ms < next_ms)
            next_ms = time->until_ms;
    }
    return next_ms;
}

static void *watch(void *arg)
{
    struct connections *connections = arg;

    mutex_lock(&connections->lock);
    while (!connections->is_closing) {
        int64_t next_ms = cut_off_locked(connections, clock_monotonic_ms());
        if (next_ms == INT64_MAX)
            cond_wait(&connections->changed, &connections->lock);
        else
            (void)cond_wait_until(&connections->changed, &connections->lock, next_ms);
    }
    mutex_unlock(&connections->lock);
    return NULL;
}

int connections_open(struct connections **ret, struct error *err)
{
    struct connections *connections = calloc(1, sizeof(*connections));

    if (!connections)
        return error_set(err, -ENOMEM, "out of memory");
    connections->lock = MUTEX_INIT;
    (void)pthread_cond_init(&connections->changed, NULL);
    int r = -pthread_create(&connections->thread, NULL, watch, connections);
    if (r < 0) {
        (void)pthread_cond_destroy(&connections->changed);
        free(connections);
        return error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r));
    }
    *ret = connections;
    return 0;
}

void connections_close(struct connections *connections)
{
    if (!connections)
        return;
    mutex_lock(&connections->lock);
    connections->is_closing = true;
    (void)pthread_cond_broadcast(&connections->changed);
    mutex_unlock(&connections->lock);
    (void)pthread_join(connections->thread, NULL);
    while (connections->first)
        connections_end(connections, connections->first);
    (void)pthread_cond_destroy(&connections->changed);
    free(connections);
}

static int64_t end_of(int64_t limit_ms)
{
    return limit_ms > 0 ? clock_monotonic_ms() + limit_ms : INT64_MAX;
}

struct connection_time *connections_begin(struct connections *connections, int fd, int64_t limit_ms)
{
    struct connection_time *time = calloc(1, sizeof(*time));

    if (!time)
        return NULL;
    *time = (struct connection_time){ .fd = fd, .until_ms = end_of(limit_ms) };
    mutex_lock(&connections->lock);
    time->next = connections->first;
    connections->first = time;
    (void)pthread_cond_signal(&connections->changed);
    mutex_unlock(&connections->lock);
    return time;
}

void connections_end(struct connections *connections, struct connection_time *time)
{
    mutex_lock(&connections->lock);
    for (struct connection_time **at = &connections->first; *at; at = &(*at)->next) {
        if (*at == time) {
            *at = time->next;
            break;
        }
    }
    mutex_unlock(&connections->lock);
    free(time);
}

void connections_limit(struct connections *connections, struct connection_time *time,
                       int64_t limit_ms)
{
    mutex_lock(&connections->lock);
    time->until_ms = end_of(limit_ms);
    (void)pthread_cond_signal(&connections->changed);
    mutex_unlock(&connections->lock);
}
