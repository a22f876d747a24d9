#include "control/events.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"

void events_add(struct events *events, enum log_level level, const char *type,
                const char *filesystem, const char *format, ...)
{
    struct event event = { .time_ns = clock_wall_ns(), .level = level };
    va_list args;

    (void)snprintf(event.type, sizeof(event.type), "%s", type);
    (void)snprintf(event.filesystem, sizeof(event.filesystem), "%s", filesystem);
    va_start(args, format);
    (void)vsnprintf(event.text, sizeof(event.text), format, args);
    va_end(args);

    mutex_lock(&events->lock);
    event.number = ++events->count;
    events->kept[(event.number - 1) % EVENTS_KEPT] = event;
    mutex_unlock(&events->lock);
    log_write(level, "%s event=%s filesystem=%s", event.text, event.type, event.filesystem);
}

size_t events_after(struct events *events, uint64_t number, struct event *ret, size_t max)
{
    size_t count = 0;

    mutex_lock(&events->lock);
    uint64_t oldest = events->count > EVENTS_KEPT ? events->count - EVENTS_KEPT : 0;
    for (uint64_t n = number > oldest ? number : oldest; n < events->count && count < max; n++)
        ret[count++] = events->kept[n % EVENTS_KEPT];
    mutex_unlock(&events->lock);
    return count;
}
