/* altered.h - whether an error says something of what is stored, rather than of the way to it.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>

/* It is not as it was written, or of no version known here. */
static inline bool is_altered(int code)
{
    return code == -EBADMSG || code == -EPROTONOSUPPORT;
}
