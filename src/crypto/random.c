#include "crypto/random.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *to, size_t len)
{
    uint8_t *at = to;

    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0 && errno != EINTR)
            abort();
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

void random_uuid(struct uuid *ret)
{
    random_bytes(ret->bytes, UUID_LEN);
    ret->bytes[6] = (uint8_t)((ret->bytes[6] & 0x0f) | 0x40); /* version */
    ret->bytes[8] = (uint8_t)((ret->bytes[8] & 0x3f) | 0x80); /* variant */
}
