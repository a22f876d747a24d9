#include "control/alert_book.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean_text.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"
#include "base/wire.h"

#define MUTE_PREFIX "alert-mute/"
#define MUTE_NAME_SIZE 64u
#define MUTE_VERSION 1u
#define MUTE_MAX 256u

struct raised {
    struct alert alert;
    int64_t seen_ms; /* when its condition was seen last */
    bool is_seen;    /* by the update that goes on; two may be in one millisecond */
    bool is_settled; /* clears at once when its condition is away */
};

struct alert_book {
    struct events *events;
    struct registry *registry;
    struct mutex lock; /* guards all below; held while events are added */
    struct raised *items;
    size_t count;
};

int alert_book_open(struct events *events, struct registry *registry, struct alert_book **ret,
                    struct error *err)
{
    struct alert_book *book = calloc(1, sizeof(*book));

    if (!book)
        return error_set(err, -ENOMEM, "out of memory");
    *book = (struct alert_book){ .events = events, .registry = registry, .lock = MUTEX_INIT };
    *ret = book;
    return 0;
}

void alert_book_close(struct alert_book *book)
{
    if (!book)
        return;
    free(book->items);
    free(book);
}

/* ------------------------------------------------------------------ rising and clearing */

static struct raised *find_locked(struct alert_book *book, const struct alert *condition)
    REQUIRES(book->lock)
{
    for (size_t i = 0; i < book->count; i++) {
        struct alert *alert = &book->items[i].alert;
        if (alert->kind == condition->kind && strcmp(alert->filesystem, condition->filesystem) == 0)
            return &book->items[i];
    }
    return NULL;
}

static void tell_raised(struct alert_book *book, const struct alert *condition)
{
    events_add(book->events, condition->is_critical ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING,
               "alert-raised", condition->filesystem, "%s: %s", condition->kind->type,
               condition->text);
}

static int raise_locked(struct alert_book *book, const struct alert *condition, int64_t now_ms,
                        struct error *err) REQUIRES(book->lock)
{
    struct raised *grown = realloc(book->items, (book->count + 1) * sizeof(*grown));

    if (!grown)
        return error_set(err, -ENOMEM, "out of memory for the alerts");
    book->items = grown;
    struct raised *raised = &grown[book->count++];
    *raised = (struct raised){ .alert = *condition, .seen_ms = now_ms, .is_seen = true };
    raised->alert.raised_ns = clock_wall_ns();
    raised->alert.is_clearing = false;
    tell_raised(book, condition);
    return 0;
}

static int see_locked(struct alert_book *book, const struct alert *condition, int64_t now_ms,
                      struct error *err) REQUIRES(book->lock)
{
    struct raised *raised = find_locked(book, condition);

    if (!raised)
        return raise_locked(book, condition, now_ms, err);
    if (raised->seen_ms < now_ms)
        raised->seen_ms = now_ms;
    raised->is_seen = true;
    raised->is_settled = false;
    raised->alert.is_clearing = false;
    if (condition->is_critical && !raised->alert.is_critical)
        tell_raised(book, condition);
    raised->alert.is_critical = condition->is_critical;
    (void)snprintf(raised->alert.text, sizeof(raised->alert.text), "%s", condition->text);
    return 0;
}

static void clear_gone_locked(struct alert_book *book, int64_t now_ms) REQUIRES(book->lock)
{
    size_t kept = 0;

    for (size_t i = 0; i < book->count; i++) {
        struct raised *raised = &book->items[i];
        const struct alert_kind *kind = raised->alert.kind;
        bool is_away = !raised->is_seen;
        bool is_gone =
            is_away && (raised->is_settled || now_ms - raised->seen_ms >= kind->linger_ms);
        raised->alert.is_clearing = is_away;
        raised->is_seen = false;
        if (is_gone)
            events_add(book->events, LOG_LEVEL_INFO, "alert-cleared", raised->alert.filesystem,
                       "%s: %s", kind->type, kind->title);
        else
            book->items[kept++] = *raised;
    }
    book->count = kept;
}

int alert_book_update(struct alert_book *book, const struct alert *conditions, size_t count,
                      int64_t now_ms, struct error *err)
{
    int r = 0;

    mutex_lock(&book->lock);
    for (size_t i = 0; i < count && r == 0; i++)
        r = see_locked(book, &conditions[i], now_ms, err);
    if (r == 0)
        clear_gone_locked(book, now_ms);
    mutex_unlock(&book->lock);
    return r;
}

void alert_book_settle(struct alert_book *book, const char *type_prefix)
{
    mutex_lock(&book->lock);
    for (size_t i = 0; i < book->count; i++)
        if (strncmp(book->items[i].alert.kind->type, type_prefix, strlen(type_prefix)) == 0)
            book->items[i].is_settled = true;
    mutex_unlock(&book->lock);
}

/* ------------------------------------------------------------------ muting */

static void mute_name(const char *type, char ret[static MUTE_NAME_SIZE])
{
    (void)snprintf(ret, MUTE_NAME_SIZE, MUTE_PREFIX "%s", type);
}

int alert_book_mute(struct alert_book *book, const char *type, int64_t until_ns,
                    const char *comment, struct error *err)
{
    char clean[ALERT_COMMENT_SIZE];
    char name[MUTE_NAME_SIZE];
    uint8_t value[MUTE_MAX];
    struct writer writer = writer_init(value, sizeof(value));

    if (!alert_kind_find(type))
        return error_set(err, -ENOENT,
                         "there is no alert of the type '%s'; 'coffer alerts types' lists them",
                         type);
    mute_name(type, name);
    if (until_ns <= clock_wall_ns())
        return registry_put_value(book->registry, name, (struct bytes){ .data = NULL }, err);
    clean_text(comment, clean, sizeof(clean));
    writer_u16(&writer, MUTE_VERSION);
    writer_u64(&writer, (uint64_t)until_ns);
    writer_text(&writer, clean);
    return registry_put_value(book->registry, name, writer_written(&writer), err);
}

/* What cannot be read does not mute. */
static void read_mute(struct alert_book *book, struct alert *alert, int64_t now_ns)
{
    CLEANUP(buf_release) struct buf value = BUF_INIT;
    char comment[ALERT_COMMENT_SIZE];
    char name[MUTE_NAME_SIZE];

    mute_name(alert->kind->type, name);
    if (registry_get_value(book->registry, name, &value, NULL) < 0)
        return;
    struct reader reader = reader_init(buf_bytes(&value));
    bool is_known = reader_u16(&reader) == MUTE_VERSION;
    int64_t until_ns = (int64_t)reader_u64(&reader);
    reader_text(&reader, comment, sizeof(comment));
    if (!is_known || reader_done(&reader) < 0 || until_ns <= now_ns)
        return;
    alert->is_muted = true;
    alert->muted_until_ns = until_ns;
    memcpy(alert->comment, comment, sizeof(comment));
}

/* ------------------------------------------------------------------ the list */

static int compare(const void *left, const void *right)
{
    const struct alert *a = left;
    const struct alert *b = right;
    int order = b->is_critical - a->is_critical;

    if (order == 0)
        order = strcmp(a->kind->type, b->kind->type);
    return order ? order : strcmp(a->filesystem, b->filesystem);
}

int alert_book_list(struct alert_book *book, struct alert **ret, size_t *ret_count,
                    struct error *err)
{
    int64_t now_ns = clock_wall_ns();

    mutex_lock(&book->lock);
    size_t count = book->count;
    struct alert *list = calloc(count + 1, sizeof(*list));
    for (size_t i = 0; list && i < count; i++)
        list[i] = book->items[i].alert;
    mutex_unlock(&book->lock);
    if (!list)
        return error_set(err, -ENOMEM, "out of memory for the alerts");
    for (size_t i = 0; i < count; i++)
        read_mute(book, &list[i], now_ns);
    qsort(list, count, sizeof(*list), compare);
    *ret = list;
    *ret_count = count;
    return 0;
}
