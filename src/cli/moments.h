/* moments.h - lengths of time and moments as people write them.
 *
 * Errors     -EINVAL and a sentence.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* "3s", "4m", "2h", "1d", "1w", "1d5h"; *ret_s is 0 for "infinite" and "unlimited". */
int duration_parse(const char *text, int64_t *ret_s, struct error *err);

#define MOMENT_TEXT_SIZE 32u

/* A length of time, meaning so long before now, or a moment of the local time: "2026-11-27",
 * "2026-11-27 14:30", "14:30" of today; with a Z behind it, UTC. As the REST interface wants it. */
int moment_parse(const char *text, int64_t now_s, char ret[static MOMENT_TEXT_SIZE],
                 struct error *err);
