#include "base/encoding.h"

#include <errno.h>
#include <string.h>

void hex_encode(struct bytes from, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < from.len; i++) {
        ret_text[2 * i] = digits[from.data[i] >> 4];
        ret_text[2 * i + 1] = digits[from.data[i] & 15];
    }
    ret_text[2 * from.len] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hex_decode(const char *text, uint8_t *ret, size_t len)
{
    if (strlen(text) != 2 * len)
        return -EINVAL;
    for (size_t i = 0; i < len; i++)
        if (hex_digit(text[2 * i]) < 0 || hex_digit(text[2 * i + 1]) < 0)
            return -EINVAL;
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)(hex_digit(text[2 * i]) * 16 + hex_digit(text[2 * i + 1]));
    return 0;
}

void base64_encode(struct bytes from, char *ret_text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = ret_text;

    for (size_t i = 0; i < from.len; i += 3) {
        size_t n = from.len - i < 3 ? from.len - i : 3;
        uint32_t group = (uint32_t)from.data[i] << 16;
        if (n > 1)
            group |= (uint32_t)from.data[i + 1] << 8;
        if (n > 2)
            group |= from.data[i + 2];
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = '=';
        *out++ = '=';
        if (n > 1)
            out[-2] = digits[group >> 6 & 63];
        if (n > 2)
            out[-1] = digits[group & 63];
    }
    *out = '\0';
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t text_len, uint8_t *ret, size_t size, size_t *ret_len)
{
    size_t pad = 0;

    if (text_len % 4 != 0)
        return -EINVAL;
    while (pad < 2 && pad < text_len && text[text_len - 1 - pad] == '=')
        pad++;
    size_t len = text_len / 4 * 3 - pad;
    for (size_t i = 0; i < text_len - pad; i++)
        if (base64_digit(text[i]) < 0)
            return -EINVAL;
    if (len > size)
        return -ENOSPC;

    for (size_t i = 0; i < len; i++) {
        /* Byte i is bits 8i to 8i+7 of the digits' six bits each. */
        size_t digit = i * 8 / 6;
        unsigned shift = (unsigned)(i * 8 % 6);
        unsigned pair = (unsigned)base64_digit(text[digit]) << 6;
        pair |= (unsigned)base64_digit(text[digit + 1]);
        ret[i] = (uint8_t)(pair >> (4 - shift));
    }
    *ret_len = len;
    return 0;
}
