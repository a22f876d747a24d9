/* uuid.h - the 128-bit names of filesystems, runs and segments (RFC 9562; new ones are random,
 * version 4, and made by crypto/random.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define UUID_LEN 16u
#define UUID_TEXT_SIZE 37u

struct uuid {
    uint8_t bytes[UUID_LEN];
};

void uuid_format(const struct uuid *uuid, char ret_text[static UUID_TEXT_SIZE]);

/* Takes the form with dashes, in either case. -EINVAL for anything else. */
int uuid_parse(const char *text, struct uuid *ret);

bool uuid_equal(const struct uuid *a, const struct uuid *b);
bool uuid_is_zero(const struct uuid *uuid);
