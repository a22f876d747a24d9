#include "worker/event_queue.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int event_queue_init(struct event_queue *queue)
{
    *queue = (struct event_queue){ .lock = MUTEX_INIT };
    queue->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return queue->fd < 0 ? -errno : 0;
}

void event_queue_release(struct event_queue *queue)
{
    if (queue->fd >= 0)
        (void)close(queue->fd);
    queue->fd = -1;
}

static bool is_repetition_locked(const struct event_queue *queue, const struct worker_event *event)
    REQUIRES(queue->lock)
{
    return queue->has_last && queue->last.kind == event->kind &&
           strcmp(queue->last.text, event->text) == 0;
}

static bool add_locked(struct event_queue *queue, const struct worker_event *event)
    REQUIRES(queue->lock)
{
    if (event->kind == WORKER_EVENT_CORRUPTION)
        queue->corruptions++;
    if (is_repetition_locked(queue, event))
        return false;
    queue->last = *event;
    queue->has_last = true;
    if (queue->count == EVENT_QUEUE_MAX) {
        queue->first = (queue->first + 1) % EVENT_QUEUE_MAX;
        queue->count--;
    }
    queue->events[(queue->first + queue->count++) % EVENT_QUEUE_MAX] = *event;
    return true;
}

void event_queue_add(struct event_queue *queue, enum worker_event_kind kind, const char *text)
{
    struct worker_event event = { .kind = kind };
    const uint64_t one = 1;

    (void)snprintf(event.text, sizeof(event.text), "%s", text);
    mutex_lock(&queue->lock);
    bool is_new = add_locked(queue, &event);
    mutex_unlock(&queue->lock);
    if (is_new)
        (void)!write(queue->fd, &one, sizeof(one)); /* full means readable already */
}

bool event_queue_take(struct event_queue *queue, struct worker_event *ret)
{
    uint64_t counter;
    bool has_one = false;

    mutex_lock(&queue->lock);
    if (queue->count > 0) {
        *ret = queue->events[queue->first];
        queue->first = (queue->first + 1) % EVENT_QUEUE_MAX;
        queue->count--;
        has_one = true;
    } else {
        (void)!read(queue->fd, &counter, sizeof(counter)); /* nothing there is as good */
    }
    mutex_unlock(&queue->lock);
    return has_one;
}

uint64_t event_queue_corruptions(struct event_queue *queue)
{
    mutex_lock(&queue->lock);
    uint64_t corruptions = queue->corruptions;
    mutex_unlock(&queue->lock);
    return corruptions;
}
