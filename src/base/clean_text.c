#include "base/clean_text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The bytes of the character that begins here; 0: it is not UTF-8, or commands a terminal. */
static size_t printable_len(const unsigned char *at)
{
    uint32_t code = at[0];
    size_t len = code < 0x80 ? 1 : code >= 0xf0 ? 4 : code >= 0xe0 ? 3 : 2;
    static const uint32_t least[] = { 0, ' ', 0xa0, 0x800, 0x10000 };

    if (len > 1) {
        if (code < 0xc2 || code > 0xf4)
            return 0;
        code &= 0x7fu >> len;
    }
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3fu);
    }
    bool is_surrogate = code >= 0xd800 && code < 0xe000;
    return code < least[len] || code == 0x7f || code > 0x10ffff || is_surrogate ? 0 : len;
}

void clean_text(const char *from, char *ret, size_t size)
{
    size_t used = 0;

    while (*from != '\0') {
        size_t len = printable_len((const unsigned char *)from);
        size_t taken = len ? len : 1;
        if (used + taken >= size)
            break;
        if (len)
            memcpy(ret + used, from, len);
        else
            ret[used] = '?';
        used += taken;
        from += taken;
    }
    ret[used] = '\0';
}
