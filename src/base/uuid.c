#include "base/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/encoding.h"

void uuid_format(const struct uuid *uuid, char ret_text[static UUID_TEXT_SIZE])
{
    char hex[2 * UUID_LEN + 1];

    hex_encode((struct bytes){ uuid->bytes, UUID_LEN }, hex);
    (void)snprintf(ret_text, UUID_TEXT_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
                   hex + 16, hex + 20);
}

int uuid_parse(const char *text, struct uuid *ret)
{
    static const uint8_t dashes[] = { 8, 13, 18, 23 };
    char hex[2 * UUID_LEN + 1];
    size_t digits = 0;

    if (strlen(text) != UUID_TEXT_SIZE - 1)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(dashes); i++)
        if (text[dashes[i]] != '-')
            return -EINVAL;
    for (size_t i = 0; i < UUID_TEXT_SIZE - 1; i++)
        if (memchr(dashes, (int)i, sizeof(dashes)) == NULL)
            hex[digits++] = text[i];
    hex[digits] = '\0';
    return hex_decode(hex, ret->bytes, UUID_LEN);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, UUID_LEN) == 0;
}

bool uuid_is_zero(const struct uuid *uuid)
{
    static const struct uuid zero;

    return uuid_equal(uuid, &zero);
}
