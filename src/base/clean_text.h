/* clean_text.h - texts that came from elsewhere, a key server's message for example, made fit to be
 * stored, logged and shown: UTF-8 without control characters.
 *
 * Units      sizes are bytes, the NUL included.
 * Threads    any.
 */
#pragma once

#include <stddef.h>

/* Copies as much as fits; whatever is neither UTF-8 nor printable becomes '?'. */
void clean_text(const char *from, char *ret, size_t size);
