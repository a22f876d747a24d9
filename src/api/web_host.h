/* web_host.h - the headers by which a browser says where a request was meant to go (Host) and what
 * page made it (Origin). A request that a page of another site, or a name that was made to point
 * here, caused, is told by them.
 *
 * Errors     -EINVAL: not of the form.
 * Threads    any.
 */
#pragma once

#include <stdbool.h>

#define WEB_HOST_SIZE 256u

/* "coffer.example:14000", "192.0.2.1", "[::1]:14000": the name or address, without brackets, in
 * lower case. */
int web_host_parse(const char *header, char ret[static WEB_HOST_SIZE]);

/* Whether it is an IP address: a name that was made to point here cannot be one. */
bool web_host_is_address(const char *host);

/* Whether a page of https://HOST made it. */
bool web_origin_is(const char *origin, const char *host_header);
