/* alert_book.h - the alerts that are raised. alerts.c finds conditions, here they become alerts
 * with hysteresis: one rises when its condition was seen, and clears when that was away for a while
 * (as its kind has it), so that what comes and goes is one alert and not many. Muting hides an
 * alert for a time; it rises and clears as ever.
 *
 * Units      monotonic milliseconds for the waiting, nanoseconds since 1970 for what is shown.
 * Errors     negative errno and a sentence. -ENOENT: no such kind of alert.
 * Ownership  texts of kinds live for ever.
 * Threads    any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "control/events.h"
#include "control/fs_record.h"
#include "control/registry.h"

#define ALERT_COMMENT_SIZE 200u

/* What is known of every alert of a type. */
struct alert_kind {
    const char *type; /* as a program reads it: "kms-unreachable" */
    bool is_critical; /* as a rule; else a warning */
    const char *title;
    const char *cause;
    const char *action; /* what to do */
    uint32_t linger_ms; /* its condition must be away so long before it clears */
};

/* "critical" or "warning" */
static inline const char *alert_severity(bool is_critical)
{
    return is_critical ? "critical" : "warning";
}

/* NULL: there is none of that type. */
const struct alert_kind *alert_kind_find(const char *type);
const struct alert_kind *alert_kinds(size_t *ret_count);

struct alert {
    const struct alert_kind *kind;
    bool is_critical;                 /* else a warning */
    char filesystem[FS_NAME_MAX + 1]; /* "" if it concerns none */
    char text[640];
    int64_t raised_ns;
    bool is_clearing; /* its condition is away, but not yet for long enough */
    bool is_muted;
    int64_t muted_until_ns; /* INT64_MAX: until it is unmuted */
    char comment[ALERT_COMMENT_SIZE];
};

struct alert_book;

/* Both stay the caller's and outlive it. */
int alert_book_open(struct events *events, struct registry *registry, struct alert_book **ret,
                    struct error *err);
void alert_book_close(struct alert_book *book); /* NULL is allowed */

/* Takes all conditions of the moment now_ms; of each kind and filesystem one counts. Raises,
 * clears, and adds events about both. */
int alert_book_update(struct alert_book *book, const struct alert *conditions, size_t count,
                      int64_t now_ms, struct error *err);

/* Somebody has just put this right: alerts whose type begins so clear without lingering. */
void alert_book_settle(struct alert_book *book, const char *type_prefix);

/* What is raised, with its muting, the critical ones first. *ret is the caller's to free. */
int alert_book_list(struct alert_book *book, struct alert **ret, size_t *ret_count,
                    struct error *err);

/* Kept over restarts. until_ns: INT64_MAX is for ever; a time that has passed unmutes. */
int alert_book_mute(struct alert_book *book, const char *type, int64_t until_ns,
                    const char *comment, struct error *err);
