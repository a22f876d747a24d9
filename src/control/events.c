#include "control/events.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clean_text.h"
#include "base/clock.h"
#include "base/wire.h"

#define KIND "event/"
#define EVENT_MAGIC 0x56454643u /* "CFEV" */
#define EVENT_VERSION 1u

int event_encode(const struct event *event, uint8_t *ret, size_t *ret_len)
{
    struct writer writer = writer_init(ret, EVENT_MAX);

    writer_u32(&writer, EVENT_MAGIC);
    writer_u16(&writer, EVENT_VERSION);
    writer_u8(&writer, (uint8_t)event->level);
    writer_u64(&writer, (uint64_t)event->time_ns);
    writer_text(&writer, event->type);
    writer_text(&writer, event->filesystem);
    writer_text(&writer, event->text);
    *ret_len = writer.len;
    return writer_done(&writer);
}

int event_decode(struct bytes encoded, uint64_t number, struct event *ret)
{
    struct reader reader = reader_init(encoded);
    struct event event = { .number = number };

    if (reader_u32(&reader) != EVENT_MAGIC || reader_u16(&reader) != EVENT_VERSION)
        return -EBADMSG;
    uint8_t level = reader_u8(&reader);
    event.time_ns = (int64_t)reader_u64(&reader);
    reader_text(&reader, event.type, sizeof(event.type));
    reader_text(&reader, event.filesystem, sizeof(event.filesystem));
    reader_text(&reader, event.text, sizeof(event.text));
    if (level > LOG_LEVEL_INFO || reader_done(&reader) < 0)
        return -EBADMSG;
    event.level = (enum log_level)level;
    *ret = event;
    return 0;
}

static int find_newest(uint64_t number, struct bytes value, void *arg)
{
    uint64_t *newest = arg;

    (void)value;
    if (number > *newest)
        *newest = number;
    return 0;
}

int events_open(struct events *events, struct registry *registry, struct error *err)
{
    *events = (struct events){ .registry = registry, .kept = EVENTS_KEPT, .lock = MUTEX_INIT };
    int r = registry_each_entry(registry, KIND, 0, UINT64_MAX, find_newest, &events->newest, err);
    return r < 0 ? error_prefix(err, r, "cannot read the events") : 0;
}

static int store_locked(struct events *events, const struct event *event, struct error *err)
    REQUIRES(events->lock)
{
    uint8_t encoded[EVENT_MAX];
    struct bytes value = { .data = encoded };
    uint64_t number = events->newest + 1;
    struct registry_entries entries = {
        .kind = KIND, .first = number, .values = &value, .count = 1
    };

    if (number > events->kept)
        entries.forget_below = number - events->kept + 1;
    if (event_encode(event, encoded, &value.len) < 0)
        return error_set(err, -ENOSPC, "an event does not fit");
    int r = registry_append(events->registry, &entries, err);
    if (r == 0)
        events->newest = number;
    return r;
}

void events_add(struct events *events, enum log_level level, const char *type,
                const char *filesystem, const char *format, ...)
{
    struct event event = { .time_ns = clock_wall_ns(),
                           .level = level > LOG_LEVEL_INFO ? LOG_LEVEL_INFO : level };
    struct error err = { .code = 0 };
    char text[sizeof(event.text)];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    clean_text(type, event.type, sizeof(event.type));
    clean_text(filesystem, event.filesystem, sizeof(event.filesystem));
    clean_text(text, event.text, sizeof(event.text));

    mutex_lock(&events->lock);
    events->counts[event.level]++;
    int r = store_locked(events, &event, &err);
    mutex_unlock(&events->lock);
    log_write(level, "%s event=%s filesystem=%s", event.text, event.type, event.filesystem);
    if (r < 0)
        log_error("that event could not be stored: %s", err.text);
}

static bool take_event(const struct journal_query *query, uint64_t number, struct bytes value,
                       void *ret_item)
{
    const struct events_query *events_query = (const struct events_query *)query;
    struct event *event = ret_item;

    return event_decode(value, number, event) == 0 && event->level <= events_query->level &&
           journal_wants(query, event->filesystem, event->type, event->time_ns);
}

int events_list(struct events *events, const struct events_query *query, struct event **ret,
                size_t *ret_count, struct error *err)
{
    void *items = NULL;

    mutex_lock(&events->lock);
    uint64_t newest = events->newest;
    mutex_unlock(&events->lock);
    struct journal journal = { .registry = events->registry,
                               .kind = KIND,
                               .first = newest > events->kept ? newest - events->kept + 1 : 1,
                               .newest = newest,
                               .item_size = sizeof(**ret),
                               .take = take_event };
    int r = journal_list(&journal, &query->journal, &items, ret_count, err);
    if (r == 0)
        *ret = items;
    return r;
}

void events_counts(struct events *events, uint64_t ret[static EVENT_LEVELS])
{
    mutex_lock(&events->lock);
    memcpy(ret, events->counts, sizeof(events->counts));
    mutex_unlock(&events->lock);
}
