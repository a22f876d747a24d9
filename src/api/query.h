/* query.h - what stands behind the '?' of a request, and how times are written.
 *
 * Times are RFC 3339 in UTC: 2026-11-27T14:00:00Z, with or without a fraction of the second.
 *
 * Errors     -EINVAL and a sentence that names the parameter.
 */
#pragma once

#include <stdint.h>

#include "api/routes.h"
#include "control/journal.h"

/* "" is what a parameter without a value has; NULL: it is not there. */
const char *api_query_text(const struct api_request *request, const char *name);

/* One that is not there leaves *ret as it was. */
int api_query_number(const struct api_request *request, const char *name, uint64_t max,
                     uint64_t *ret, struct error *err);
int api_query_time(const struct api_request *request, const char *name, int64_t *ret_ns,
                   struct error *err);

/* How many entries a list gives: "limit", API_LIST_LIMIT if it is not there, at most
 * API_LIST_MAX. */
#define API_LIST_LIMIT 50u
#define API_LIST_MAX 500u
int api_query_limit(const struct api_request *request, size_t *ret, struct error *err);

/* What the lists of events and of the audit log take: limit, before, filesystem, from, until, and
 * the type under its own name. */
int api_query_journal(const struct api_request *request, const char *type_name,
                      struct journal_query *ret, struct error *err);

#define API_TIME_SIZE 32u
void api_time_text(int64_t ns, char ret[static API_TIME_SIZE]);
