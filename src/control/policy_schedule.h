/* policy_schedule.h - the times at which a snapshot policy has snapshots taken: once an hour, a
 * day, a week or a month. All of it is UTC: no moment comes twice or not at all when clocks are put
 * forward or back, and it means the same on every host.
 *
 * Units      seconds since 1970, but since_ns.
 * Errors     -EINVAL and a sentence: not a time of that period.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "control/store_record.h"

enum policy_period {
    POLICY_HOURLY,
    POLICY_DAILY,
    POLICY_WEEKLY,
    POLICY_MONTHLY,
    POLICY_PERIODS,
};

#define POLICY_RETENTION_MAX 500u
#define POLICY_WHEN_SIZE 80u

struct policy_schedule {
    bool is_on;
    uint8_t minute;
    uint8_t hour;                    /* 0 of an hourly one */
    uint8_t weekdays;                /* of a weekly one: 1 << 0 Sunday, ... */
    uint8_t day;                     /* of a monthly one; a shorter month: its last day */
    uint16_t retention;              /* so many of its snapshots are kept */
    char upload[STORE_NAME_MAX + 1]; /* the object store for each of them; "": none */
    int64_t since_ns;                /* nothing that was due before is made up */
};

/* "hourly", ... */
const char *policy_period_name(enum policy_period period);
uint16_t policy_period_retention(enum policy_period period); /* if nothing is said */

/* "15" (hourly), "23:00", "sunday,wednesday 23:00", "1 23:00", or "off": sets when it is, and
 * leaves the rest. Formats in the same form; "" if it is off. */
int policy_schedule_parse(enum policy_period period, const char *text, struct policy_schedule *ret,
                          struct error *err);
void policy_schedule_format(enum policy_period period, const struct policy_schedule *schedule,
                            char ret[static POLICY_WHEN_SIZE]);

/* Whether it can be: for what was read from elsewhere. */
bool policy_schedule_is_sane(enum policy_period period, const struct policy_schedule *schedule);

/* Of one that is on: the last moment that is not after at, and the first one behind it. */
int64_t policy_schedule_latest(enum policy_period period, const struct policy_schedule *schedule,
                               int64_t at);
int64_t policy_schedule_next(enum policy_period period, const struct policy_schedule *schedule,
                             int64_t at);
