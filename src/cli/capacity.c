#include "cli/capacity.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <strings.h>

#define FRACTION_DIGITS_MAX 9u
#define PARTS UINT64_C(1000000000) /* 10 to that power */

static const struct {
    const char *name;
    uint64_t bytes;
} units[] = {
    { "EiB", UINT64_C(1) << 60 },
    { "PiB", UINT64_C(1) << 50 },
    { "TiB", UINT64_C(1) << 40 },
    { "GiB", UINT64_C(1) << 30 },
    { "MiB", UINT64_C(1) << 20 },
    { "KiB", UINT64_C(1) << 10 },
    { "EB", UINT64_C(1000000000000000000) },
    { "PB", UINT64_C(1000000000000000) },
    { "TB", UINT64_C(1000000000000) },
    { "GB", UINT64_C(1000000000) },
    { "MB", UINT64_C(1000000) },
    { "kB", UINT64_C(1000) },
    { "B", 1 },
    { "", 1 },
};
#define N_BINARY 6u /* the first ones */

static bool find_unit(const char *text, uint64_t *ret)
{
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcasecmp(text, units[i].name) == 0) {
            *ret = units[i].bytes;
            return true;
        }
    }
    return false;
}

/* false: more than 64 bits. */
static bool read_digits(const char **text, uint64_t *ret)
{
    uint64_t value = 0;

    for (; isdigit((unsigned char)**text); (*text)++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(**text - '0'), &value))
            return false;
    }
    *ret = value;
    return true;
}

/* The digits behind the point, as parts of 10^9. */
static bool read_fraction(const char **text, uint64_t *ret)
{
    uint64_t parts = 0;
    unsigned int n = 0;

    for (; isdigit((unsigned char)**text); (*text)++, n++) {
        if (n >= FRACTION_DIGITS_MAX)
            return false;
        parts = parts * 10 + (uint64_t)(**text - '0');
    }
    for (unsigned int i = n; i < FRACTION_DIGITS_MAX; i++)
        parts *= 10;
    *ret = parts;
    return n > 0;
}

int capacity_parse(const char *text, uint64_t *ret, struct error *err)
{
    const char *p = text;
    uint64_t whole = 0;
    uint64_t parts = 0;
    uint64_t unit = 0;

    if (strcasecmp(text, "unlimited") == 0) {
        *ret = 0;
        return 0;
    }
    if (!isdigit((unsigned char)*p) || !read_digits(&p, &whole))
        return error_set(err, -EINVAL,
                         "'%s' is not a capacity; write it like 10GB or 1.5TiB, or unlimited",
                         text);
    if (*p == '.') {
        p++;
        if (!read_fraction(&p, &parts)) {
            return error_set(err, -EINVAL,
                             "'%s' is not a capacity; write one to nine digits behind the point",
                             text);
        }
    }
    while (*p == ' ')
        p++;
    if (!find_unit(p, &unit)) {
        return error_set(err, -EINVAL,
                         "'%s' has no known unit; write B, kB, MB, GB, TB, PB or EB, or KiB, MiB, "
                         "GiB, TiB, PiB or EiB",
                         text);
    }

    /* unit * parts may need more than 64 bits; its two halves do not. */
    uint64_t rest = unit / PARTS * parts + unit % PARTS * parts / PARTS;
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(whole, unit, &bytes) || __builtin_add_overflow(bytes, rest, &bytes))
        return error_set(err, -EINVAL, "'%s' is more than the largest capacity, 15EiB", text);
    *ret = bytes;
    return 0;
}

void capacity_format(uint64_t bytes, char ret_text[static CAPACITY_TEXT_SIZE])
{
    for (size_t i = 0; i < N_BINARY; i++) {
        if (bytes < units[i].bytes)
            continue;
        uint64_t whole = bytes / units[i].bytes;
        unsigned int shift = units[i].bytes >> 50 ? 10 : 0; /* so that 100 times it fits */
        uint64_t rest = (bytes % units[i].bytes) >> shift;
        unsigned int hundredths = (unsigned int)(rest * 100 / (units[i].bytes >> shift));
        (void)snprintf(ret_text, CAPACITY_TEXT_SIZE, "%llu.%02u %s", (unsigned long long)whole,
                       hundredths, units[i].name);
        return;
    }
    (void)snprintf(ret_text, CAPACITY_TEXT_SIZE, "%llu B", (unsigned long long)bytes);
}
