#include "transfer/windows.h"

#include <stdlib.h>
#include <string.h>

#define GAP_MAX ((uint64_t)64 * 1024) /* is skipped by who still reads one bit behind the other */

void windows_init(struct windows *windows)
{
    *windows =
        (struct windows){ .lock = MUTEX_INIT, .changed = PTHREAD_COND_INITIALIZER, .time = 0 };
}

void windows_release(struct windows *windows)
{
    for (unsigned i = 0; i < WINDOWS; i++)
        free(windows->items[i].data);
    (void)pthread_mutex_destroy(&windows->lock.native);
    (void)pthread_cond_destroy(&windows->changed);
}

/* The one that holds, or will hold, the byte at offset. */
static struct window *find(struct windows *windows, const struct uuid *pack, uint64_t offset)
    REQUIRES(windows->lock)
{
    for (unsigned i = 0; i < WINDOWS; i++) {
        struct window *window = &windows->items[i];
        size_t len = window->is_loading ? WINDOW_LEN : window->len;
        if (len > 0 && uuid_equal(&window->pack, pack) && offset >= window->offset &&
            offset - window->offset < len)
            return window;
    }
    return NULL;
}

/* And remembers where this one ends. */
static bool goes_on(struct windows *windows, const struct uuid *pack, uint64_t offset, size_t len)
    REQUIRES(windows->lock)
{
    const unsigned count = sizeof(windows->ends) / sizeof(windows->ends[0]);
    bool goes = false;

    for (unsigned i = 0; i < count && !goes; i++) {
        struct read_end *end = &windows->ends[i];
        goes = end->offset > 0 && uuid_equal(&end->pack, pack) && offset >= end->offset &&
               offset - end->offset <= GAP_MAX;
        if (goes)
            end->offset = offset + len;
    }
    if (!goes) {
        windows->ends[windows->next_end] = (struct read_end){ *pack, offset + len };
        windows->next_end = (windows->next_end + 1) % count;
    }
    return goes;
}

/* Room for another one: what was used longest ago goes. NULL: all are in use, or no memory. */
static struct window *take_room(struct windows *windows) REQUIRES(windows->lock)
{
    struct window *oldest = NULL;

    for (unsigned i = 0; i < WINDOWS; i++) {
        struct window *window = &windows->items[i];
        if (!window->is_loading && window->users == 0 && (!oldest || window->used < oldest->used))
            oldest = window;
    }
    if (oldest && !oldest->data)
        oldest->data = malloc(WINDOW_LEN);
    if (!oldest || !oldest->data)
        return NULL;
    oldest->len = 0;
    return oldest;
}

static struct window *begin_filling(struct windows *windows, const struct uuid *pack,
                                    uint64_t offset) REQUIRES(windows->lock)
{
    struct window *window = take_room(windows);

    if (!window)
        return NULL;
    window->pack = *pack;
    window->offset = offset;
    window->is_loading = true;
    window->used = ++windows->time;
    return window;
}

/* Gives the lock up while it copies. */
static void copy_out(struct windows *windows, struct window *window, uint64_t offset, size_t len,
                     uint8_t *to) REQUIRES(windows->lock)
{
    window->users++;
    window->used = ++windows->time;
    mutex_unlock(&windows->lock);
    memcpy(to, window->data + (offset - window->offset), len);
    mutex_lock(&windows->lock);
    window->users--;
}

bool windows_read(struct windows *windows, const struct uuid *pack, uint64_t offset, size_t len,
                  uint8_t *to, struct window **ret_to_fill)
{
    bool is_there = false;

    *ret_to_fill = NULL;
    if (len == 0 || len > WINDOW_LEN / 2)
        return false;
    mutex_lock(&windows->lock);
    struct window *window = find(windows, pack, offset);
    while (window && window->is_loading) {
        cond_wait(&windows->changed, &windows->lock);
        window = find(windows, pack, offset);
    }
    bool follows = goes_on(windows, pack, offset, len);
    if (window && offset + len <= window->offset + window->len) {
        copy_out(windows, window, offset, len, to);
        is_there = true;
    } else if (follows) {
        *ret_to_fill = begin_filling(windows, pack, offset);
    }
    mutex_unlock(&windows->lock);
    return is_there;
}

void windows_filled(struct windows *windows, struct window *window, size_t len)
{
    mutex_lock(&windows->lock);
    window->len = len;
    window->is_loading = false;
    (void)pthread_cond_broadcast(&windows->changed);
    mutex_unlock(&windows->lock);
}

void windows_forget(struct windows *windows, const struct uuid *pack)
{
    mutex_lock(&windows->lock);
    for (unsigned i = 0; i < WINDOWS; i++) {
        struct window *window = &windows->items[i];
        if (window->is_loading || window->users > 0 || (pack && !uuid_equal(&window->pack, pack)))
            continue;
        window->len = 0;
        free(window->data);
        window->data = NULL;
    }
    mutex_unlock(&windows->lock);
}
