#include "control/policy_schedule.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define HOUR_S 3600
#define DAY_S (24 * HOUR_S)
#define WEEK_DAYS 7
#define FIRST_WEEKDAY 4 /* 1970 began on a Thursday */

static const struct {
    const char *name;
    uint16_t retention;
    const char *form;
} periods[POLICY_PERIODS] = {
    [POLICY_HOURLY] = { "hourly", 24, "a minute, 0 to 59" },
    [POLICY_DAILY] = { "daily", 7, "a time as 23:00 (UTC)" },
    [POLICY_WEEKLY] = { "weekly", 4, "days and a time as 'sunday,wednesday 23:00' (UTC)" },
    [POLICY_MONTHLY] = { "monthly", 12, "a day, 1 to 31, and a time as '1 23:00' (UTC)" },
};

static const char *const weekdays[WEEK_DAYS] = { "sunday",   "monday", "tuesday", "wednesday",
                                                 "thursday", "friday", "saturday" };

const char *policy_period_name(enum policy_period period)
{
    assert(period < POLICY_PERIODS);
    return periods[period].name;
}

uint16_t policy_period_retention(enum policy_period period)
{
    assert(period < POLICY_PERIODS);
    return periods[period].retention;
}

/* --- text --- */

/* One or two digits up to max. False: there are none. */
static bool take_number(const char **text, unsigned max, uint8_t *ret)
{
    size_t len = strspn(*text, "0123456789");
    unsigned value = 0;

    if (len == 0 || len > 2)
        return false;
    for (size_t i = 0; i < len; i++)
        value = value * 10 + (unsigned)((*text)[i] - '0');
    *text += len;
    *ret = (uint8_t)value;
    return value <= max;
}

static bool take_char(const char **text, char wanted)
{
    bool is_it = **text == wanted;

    *text += is_it;
    return is_it;
}

static bool take_time(const char **text, struct policy_schedule *ret)
{
    return take_number(text, 23, &ret->hour) && take_char(text, ':') &&
           take_number(text, 59, &ret->minute);
}

/* Three letters are enough. */
static bool take_weekday(const char **text, uint8_t *ret)
{
    size_t len = strcspn(*text, ", ");

    for (unsigned i = 0; i < WEEK_DAYS && len >= 3; i++) {
        if (len > strlen(weekdays[i]) || strncasecmp(*text, weekdays[i], len) != 0)
            continue;
        *ret |= (uint8_t)(1u << i);
        *text += len;
        return true;
    }
    return false;
}

static bool take_weekdays(const char **text, uint8_t *ret)
{
    do {
        if (!take_weekday(text, ret))
            return false;
    } while (take_char(text, ','));
    return true;
}

static bool take_when(enum policy_period period, const char *text, struct policy_schedule *ret)
{
    bool is_well = false;

    switch (period) {
    case POLICY_HOURLY:
        (void)take_char(&text, ':');
        is_well = take_number(&text, 59, &ret->minute);
        break;
    case POLICY_DAILY:
        is_well = take_time(&text, ret);
        break;
    case POLICY_WEEKLY:
        is_well =
            take_weekdays(&text, &ret->weekdays) && take_char(&text, ' ') && take_time(&text, ret);
        break;
    case POLICY_MONTHLY:
        is_well = take_number(&text, 31, &ret->day) && ret->day > 0 && take_char(&text, ' ') &&
                  take_time(&text, ret);
        break;
    case POLICY_PERIODS:
        break;
    }
    return is_well && *text == '\0';
}

int policy_schedule_parse(enum policy_period period, const char *text, struct policy_schedule *ret,
                          struct error *err)
{
    struct policy_schedule parsed = { .is_on = true };

    assert(period < POLICY_PERIODS);
    if (strcmp(text, "off") == 0)
        parsed.is_on = false;
    else if (!take_when(period, text, &parsed))
        return error_set(err, -EINVAL,
                         "'%.40s' is not when a snapshot is taken %s; give %s, or off", text,
                         policy_period_name(period), periods[period].form);
    ret->is_on = parsed.is_on;
    ret->minute = parsed.minute;
    ret->hour = parsed.hour;
    ret->weekdays = parsed.weekdays;
    ret->day = parsed.day;
    return 0;
}

static void format_weekdays(uint8_t set, char *ret, size_t size)
{
    size_t len = 0;

    ret[0] = '\0';
    for (unsigned i = 0; i < WEEK_DAYS; i++)
        if (set & 1u << i)
            len += (size_t)snprintf(ret + len, size - len, "%s%s", len > 0 ? "," : "", weekdays[i]);
}

void policy_schedule_format(enum policy_period period, const struct policy_schedule *schedule,
                            char ret[static POLICY_WHEN_SIZE])
{
    unsigned hour = schedule->hour;
    unsigned minute = schedule->minute;
    char days[POLICY_WHEN_SIZE - 8] = "";

    ret[0] = '\0';
    if (!schedule->is_on)
        return;
    format_weekdays(schedule->weekdays, days, sizeof(days));
    if (period == POLICY_HOURLY)
        (void)snprintf(ret, POLICY_WHEN_SIZE, "%u", minute);
    else if (period == POLICY_DAILY)
        (void)snprintf(ret, POLICY_WHEN_SIZE, "%02u:%02u", hour, minute);
    else if (period == POLICY_WEEKLY)
        (void)snprintf(ret, POLICY_WHEN_SIZE, "%s %02u:%02u", days, hour, minute);
    else
        (void)snprintf(ret, POLICY_WHEN_SIZE, "%u %02u:%02u", (unsigned)schedule->day, hour,
                       minute);
}

bool policy_schedule_is_sane(enum policy_period period, const struct policy_schedule *schedule)
{
    bool is_time = schedule->minute < 60 && schedule->hour < 24 && schedule->day <= 31 &&
                   schedule->weekdays < 1u << WEEK_DAYS;
    bool has_days = (period != POLICY_WEEKLY || schedule->weekdays != 0) &&
                    (period != POLICY_MONTHLY || schedule->day != 0);

    return is_time && schedule->retention <= POLICY_RETENTION_MAX &&
           (!schedule->is_on || (has_days && schedule->retention > 0));
}

/* --- moments --- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t time_of_day(const struct policy_schedule *schedule)
{
    return schedule->hour * HOUR_S + schedule->minute * 60;
}

static bool is_weekday(const struct policy_schedule *schedule, int64_t day)
{
    int64_t weekday = day + FIRST_WEEKDAY - floor_div(day + FIRST_WEEKDAY, WEEK_DAYS) * WEEK_DAYS;

    return schedule->weekdays & 1u << weekday;
}

/* The day whose moment it is, going step days at a time from this one on. */
static int64_t seek_weekday(const struct policy_schedule *schedule, int64_t day, int step)
{
    for (unsigned i = 0; i < WEEK_DAYS && !is_weekday(schedule, day); i++)
        day += step;
    return day;
}

/* months behind the month in which at is. */
static int64_t moment_of_month(const struct policy_schedule *schedule, int64_t at, int months)
{
    time_t now = (time_t)at;
    struct tm parts;

    if (!gmtime_r(&now, &parts))
        return at;
    /* Day 0 of the month behind is the last day of this one. */
    struct tm last = { .tm_year = parts.tm_year, .tm_mon = parts.tm_mon + months + 1 };
    (void)timegm(&last); /* brings all of it in order */
    int day = schedule->day < last.tm_mday ? schedule->day : last.tm_mday;
    struct tm moment = { .tm_year = last.tm_year, .tm_mon = last.tm_mon, .tm_mday = day };
    return (int64_t)timegm(&moment) + time_of_day(schedule);
}

int64_t policy_schedule_latest(enum policy_period period, const struct policy_schedule *schedule,
                               int64_t at)
{
    int64_t in_day = time_of_day(schedule);
    int64_t day = floor_div(at - in_day, DAY_S);

    if (period == POLICY_HOURLY) {
        int64_t in_hour = schedule->minute * 60;
        return floor_div(at - in_hour, HOUR_S) * HOUR_S + in_hour;
    }
    if (period == POLICY_MONTHLY) {
        int64_t moment = moment_of_month(schedule, at, 0);
        return moment <= at ? moment : moment_of_month(schedule, at, -1);
    }
    if (period == POLICY_WEEKLY)
        day = seek_weekday(schedule, day, -1);
    return day * DAY_S + in_day;
}

int64_t policy_schedule_next(enum policy_period period, const struct policy_schedule *schedule,
                             int64_t at)
{
    int64_t latest = policy_schedule_latest(period, schedule, at);

    if (period == POLICY_HOURLY)
        return latest + HOUR_S;
    if (period == POLICY_MONTHLY) {
        int64_t moment = moment_of_month(schedule, at, 0);
        return moment > at ? moment : moment_of_month(schedule, at, 1);
    }
    int64_t in_day = time_of_day(schedule);
    int64_t day = floor_div(latest - in_day, DAY_S) + 1;
    if (period == POLICY_WEEKLY)
        day = seek_weekday(schedule, day, 1);
    return day * DAY_S + in_day;
}
