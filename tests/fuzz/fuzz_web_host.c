/* The headers Host and Origin, as whoever connects may send them: nothing is read or written
 * outside of them, and a host has no more than what a name or an address is made of. */
#include <stdlib.h>
#include <string.h>

#include "api/web_host.h"
#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz0123456789.-_:";
    CLEANUP(free_ptr) char *header = malloc(size + 1);
    char host[WEB_HOST_SIZE];

    if (!header)
        return 0;
    if (size > 0)
        memcpy(header, data, size);
    header[size] = '\0';
    if (web_host_parse(header, host) == 0 &&
        (host[0] == '\0' || strspn(host, good) != strlen(host)))
        abort();
    (void)web_host_is_address(header);
    (void)web_origin_is(header, header);
    return 0;
}
