/* wiping_alloc.h - malloc and its kin for libraries that hold secrets for a moment: what they
 * free is overwritten first.
 *
 * Memory from here may also be given to plain free(), and plain malloc()'s to here: other code
 * cannot mix the two up.
 *
 * Threads    any.
 */
#pragma once

#include <stddef.h>

void *wiping_malloc(size_t len);
void *wiping_calloc(size_t count, size_t len);
void *wiping_realloc(void *ptr, size_t len);
char *wiping_strdup(const char *text);
void wiping_free(void *ptr);
