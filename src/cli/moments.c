#include "cli/moments.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define DURATION_MAX_S (100LL * 365 * 86400)

static int64_t unit_seconds(char letter)
{
    switch (letter) {
    case 's':
        return 1;
    case 'm':
        return 60;
    case 'h':
        return 3600;
    case 'd':
        return 86400;
    case 'w':
        return 7 * 86400;
    default:
        return 0;
    }
}

/* False: it is no sum of numbers with units. */
static bool add_up(const char *text, int64_t *ret_s)
{
    int64_t sum = 0;

    do {
        char *end = NULL;
        if (!isdigit((unsigned char)*text))
            return false;
        errno = 0;
        long long number = strtoll(text, &end, 10);
        int64_t unit = unit_seconds(*end);
        if (errno != 0 || unit == 0 || number > DURATION_MAX_S / unit)
            return false;
        sum += number * unit;
        text = end + 1;
    } while (*text != '\0' && sum <= DURATION_MAX_S);
    *ret_s = sum;
    return sum > 0 && sum <= DURATION_MAX_S;
}

int duration_parse(const char *text, int64_t *ret_s, struct error *err)
{
    if (strcasecmp(text, "infinite") == 0 || strcasecmp(text, "unlimited") == 0) {
        *ret_s = 0;
        return 0;
    }
    if (!add_up(text, ret_s))
        return error_set(err, -EINVAL,
                         "'%s' is not a duration; write it like 30s, 4m, 2h, 1d5h, 1w or infinite",
                         text);
    return 0;
}

/* What follows the moment is "Z" or nothing. */
static bool parse_clock(const char *text, int64_t now_s, struct tm *ret, bool *ret_is_utc)
{
    static const char *const formats[] = {
        "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M",
        "%Y-%m-%d",          "%H:%M:%S",          "%H:%M",
    };
    time_t now = (time_t)now_s;

    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        struct tm parsed = { .tm_mday = 1 };
        if (formats[i][1] == 'H' && !localtime_r(&now, &parsed))
            return false;
        parsed.tm_sec = 0;
        const char *end = strptime(text, formats[i], &parsed);
        if (!end || (*end != '\0' && strcmp(end, "Z") != 0))
            continue;
        *ret_is_utc = *end == 'Z';
        parsed.tm_isdst = -1;
        *ret = parsed;
        return true;
    }
    return false;
}

int moment_parse(const char *text, int64_t now_s, char ret[static MOMENT_TEXT_SIZE],
                 struct error *err)
{
    struct tm moment;
    bool is_utc = false;
    int64_t ago_s = 0;
    time_t seconds;

    if (add_up(text, &ago_s)) {
        seconds = (time_t)(now_s - ago_s);
    } else if (parse_clock(text, now_s, &moment, &is_utc)) {
        seconds = is_utc ? timegm(&moment) : mktime(&moment);
    } else {
        return error_set(err, -EINVAL,
                         "'%s' is not a time; write it like '2026-11-27 14:30', 14:30, or 2h for "
                         "two hours ago",
                         text);
    }
    if (seconds < 0)
        seconds = 0;
    struct tm utc;
    if (!gmtime_r(&seconds, &utc) ||
        strftime(ret, MOMENT_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return error_set(err, -EINVAL, "'%s' is not a time that there is", text);
    return 0;
}
