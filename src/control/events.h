/* events.h - what happened: the newest EVENTS_KEPT of it in the registry, each also a line of the
 * log. An event is visible at once and durable within about a second (docs/formats/registry.md has
 * its form); one that the registry does not take is in the log alone.
 *
 * Units      times: nanoseconds since 1970.
 * Errors     negative errno and a sentence.
 * Threads    any. It takes no lock but the registry's, so it may be called under every other.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "control/fs_record.h"
#include "control/journal.h"

#define EVENTS_KEPT 10000u
#define EVENT_LEVELS 3u /* error, warning, info */

struct event {
    uint64_t number; /* 1, 2, 3, ... */
    int64_t time_ns;
    enum log_level level;             /* error, warning or info */
    char type[32];                    /* "worker-died", ... as a program reads it */
    char filesystem[FS_NAME_MAX + 1]; /* "" if it concerns none */
    char text[512];
};

#define EVENT_MAX 640u
int event_encode(const struct event *event, uint8_t *ret, size_t *ret_len);
/* The number is the key's; -EBADMSG: it is damaged. */
int event_decode(struct bytes encoded, uint64_t number, struct event *ret);

struct events {
    struct registry *registry;
    uint64_t kept;     /* EVENTS_KEPT but in tests */
    struct mutex lock; /* guards all below, also while an event goes to the registry */
    uint64_t newest;   /* number; 0: there is none */
    uint64_t counts[EVENT_LEVELS];
};

/* Goes on behind what the registry holds. */
int events_open(struct events *events, struct registry *registry, struct error *err);

void events_add(struct events *events, enum log_level level, const char *type,
                const char *filesystem, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

struct events_query {
    struct journal_query journal;
    enum log_level level; /* so grave or graver */
};

/* In the order of their numbers. *ret is the caller's to free. */
int events_list(struct events *events, const struct events_query *query, struct event **ret,
                size_t *ret_count, struct error *err);

/* How many there were of each level since the start. */
void events_counts(struct events *events, uint64_t ret[static EVENT_LEVELS]);
