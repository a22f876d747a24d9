#include "net/wiping_alloc.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

void *wiping_malloc(size_t len)
{
    return malloc(len);
}

void *wiping_calloc(size_t count, size_t len)
{
    return calloc(count, len);
}

/* realloc() may move the bytes and leave the old ones behind. */
void *wiping_realloc(void *ptr, size_t len)
{
    size_t old_len = ptr ? malloc_usable_size(ptr) : 0;

    if (ptr && len > 0 && len <= old_len)
        return ptr;
    void *bigger = malloc(len ? len : 1);
    if (!bigger)
        return NULL;
    if (ptr) {
        memcpy(bigger, ptr, old_len < len ? old_len : len);
        wiping_free(ptr);
    }
    return bigger;
}

char *wiping_strdup(const char *text)
{
    return strdup(text);
}

void wiping_free(void *ptr)
{
    if (!ptr)
        return;
    memory_wipe(ptr, malloc_usable_size(ptr));
    free(ptr);
}
