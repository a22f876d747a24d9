/* capacity.h - numbers of bytes as people write them: 10GB, 1.5TiB, 512B.
 *
 * Units      decimal (kB MB GB TB PB EB) and binary (KiB MiB GiB TiB PiB EiB), in any case.
 *            A single letter is refused, since it means both.
 * Errors     -EINVAL with a sentence.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define CAPACITY_TEXT_SIZE 24

/* A fraction is rounded down to whole bytes; "unlimited" is 0. */
int capacity_parse(const char *text, uint64_t *ret, struct error *err);

/* In binary units with two digits, rounded down, so that "1.00 TiB" is at least one. */
void capacity_format(uint64_t bytes, char ret_text[static CAPACITY_TEXT_SIZE]);
