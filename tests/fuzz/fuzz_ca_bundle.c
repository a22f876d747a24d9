/* What somebody gives as certificates of CAs. */
#include <stdlib.h>

#include "net/ca_bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ca_certificate certificates[CA_BUNDLE_MAX];
    const struct bytes pem = { data, size };
    struct error err = { 0 };
    size_t count = 0;
    int r = ca_bundle_read(pem, certificates, &count, &err);

    if (r < 0 ? err.code != r || !err.text[0] : count == 0 || count > CA_BUNDLE_MAX)
        abort();
    for (size_t i = 0; i < count; i++)
        for (const char *at = certificates[i].subject; *at; at++)
            if (*at < 0x20 || *at >= 0x7f)
                abort();
    return 0;
}
