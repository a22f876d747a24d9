/* events.h - what happened, the newest EVENTS_KEPT of it in memory, each also one line of the log.
 *
 * Units      times: nanoseconds since 1970.
 * Threads    any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/thread.h"

#define EVENTS_KEPT 256u

struct event {
    uint64_t number; /* 1, 2, 3, ... since cofferd started */
    int64_t time_ns;
    enum log_level level;
    char type[32];       /* "worker-died", ... as a program reads it */
    char filesystem[33]; /* "" if it concerns none */
    char text[400];
};

struct events {
    struct mutex lock; /* guards all below; nothing else is taken under it */
    uint64_t count;
    struct event kept[EVENTS_KEPT]; /* number n is at (n - 1) % EVENTS_KEPT */
};

void events_add(struct events *events, enum log_level level, const char *type,
                const char *filesystem, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Copies those after number, oldest first; returns how many. */
size_t events_after(struct events *events, uint64_t number, struct event *ret, size_t max);
