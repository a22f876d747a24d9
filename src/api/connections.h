/* connections.h - the connections of the HTTPS server, and how long each may take: to shake hands
 * and send a request, to take the answer, and to stay idle. A client that dribbles is cut off when
 * its time is up, however little by little it sends or reads. While a request is being worked on,
 * there is no limit.
 *
 * Units      milliseconds.
 * Errors     negative errno and a sentence.
 * Threads    any, but open and close.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct connections;
struct connection_time;

int connections_open(struct connections **ret, struct error *err);
void connections_close(struct connections *connections); /* NULL is allowed */

/* NULL without memory. fd stays the caller's, and open until the end. */
struct connection_time *connections_begin(struct connections *connections, int fd,
                                          int64_t limit_ms);
void connections_end(struct connections *connections, struct connection_time *time);

/* From now on so long; 0: without a limit. */
void connections_limit(struct connections *connections, struct connection_time *time,
                       int64_t limit_ms);
