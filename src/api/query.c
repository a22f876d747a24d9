#include "api/query.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S 1000000000LL

const char *api_query_text(const struct api_request *request, const char *name)
{
    return request->query ? request->query(request->query_arg, name) : NULL;
}

int api_query_number(const struct api_request *request, const char *name, uint64_t max,
                     uint64_t *ret, struct error *err)
{
    const char *text = api_query_text(request, name);
    char *end = NULL;

    if (!text)
        return 0;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value > max)
        return error_set(err, -EINVAL, "%s is a number of at most %" PRIu64, name, max);
    *ret = value;
    return 0;
}

int api_query_limit(const struct api_request *request, size_t *ret, struct error *err)
{
    uint64_t limit = API_LIST_LIMIT;
    int r = api_query_number(request, "limit", API_LIST_MAX, &limit, err);

    if (r == 0)
        *ret = (size_t)limit;
    return r;
}

/* The fraction behind a '.', in nanoseconds; NULL: it is none. */
static const char *parse_fraction(const char *text, int64_t *ret_ns)
{
    int64_t unit = NS_PER_S;

    *ret_ns = 0;
    if (*text != '.')
        return text;
    for (text++; *text >= '0' && *text <= '9'; text++) {
        unit /= 10;
        *ret_ns += unit * (*text - '0');
    }
    return unit == NS_PER_S ? NULL : text;
}

int api_query_time(const struct api_request *request, const char *name, int64_t *ret_ns,
                   struct error *err)
{
    const char *text = api_query_text(request, name);
    struct tm utc = { .tm_isdst = 0 };
    int64_t fraction = 0;

    if (!text)
        return 0;
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
    if (end)
        end = parse_fraction(end, &fraction);
    int64_t seconds = end ? timegm(&utc) : 0;
    if (!end || strcmp(end, "Z") != 0 || seconds < 0 || seconds > INT64_MAX / NS_PER_S - 1)
        return error_set(err, -EINVAL, "%s is a time like 2026-11-27T14:00:00Z", name);
    *ret_ns = seconds * NS_PER_S + fraction;
    return 0;
}

int api_query_journal(const struct api_request *request, const char *type_name,
                      struct journal_query *ret, struct error *err)
{
    struct journal_query query = { .filesystem = api_query_text(request, "filesystem"),
                                   .type = api_query_text(request, type_name) };
    int r = api_query_limit(request, &query.limit, err);

    if (r == 0)
        r = api_query_number(request, "before", INT64_MAX, &query.before, err);
    if (r == 0)
        r = api_query_time(request, "from", &query.from_ns, err);
    if (r == 0)
        r = api_query_time(request, "until", &query.until_ns, err);
    if (r == 0)
        *ret = query;
    return r;
}

void api_time_text(int64_t ns, char ret[static API_TIME_SIZE])
{
    time_t seconds = (time_t)(ns / NS_PER_S);
    struct tm utc;

    if (!gmtime_r(&seconds, &utc) || strftime(ret, API_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
        ret[0] = '\0';
        return;
    }
    size_t len = strlen(ret);
    (void)snprintf(ret + len, API_TIME_SIZE - len, ".%03dZ", (int)(ns % NS_PER_S / 1000000));
}
