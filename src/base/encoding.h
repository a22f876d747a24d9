/* encoding.h - bytes as text: hexadecimal, and base64 with the standard alphabet and padding
 * (RFC 4648, section 4).
 *
 * Errors     -EINVAL: the text is not of the encoding; -ENOSPC: it decodes to more than fits.
 * Ownership  the caller gives the room.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"

/* Lower case; ret_text has room for 2 * len + 1. */
void hex_encode(struct bytes from, char *ret_text);

/* Decodes a text of exactly 2 * len digits, of either case. */
int hex_decode(const char *text, uint8_t *ret, size_t len);

#define BASE64_SIZE(len) (((len) + 2) / 3 * 4 + 1)

/* ret_text has room for BASE64_SIZE(from.len), its NUL included. */
void base64_encode(struct bytes from, char *ret_text);

/* *ret_len says how many bytes of ret were written. Refuses white space and missing padding. */
int base64_decode(const char *text, size_t text_len, uint8_t *ret, size_t size, size_t *ret_len);
