/* An archive of the audit log. */
#include <stdlib.h>

#include "host/audit_archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count(uint64_t number, const char *text, void *arg)
{
    (void)number;
    (void)text;
    (*(uint64_t *)arg)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct audit_head kept = { .number = 1 };
    struct audit_archive archive = { .entries = 0 };
    uint64_t told = 0;

    if (audit_archive_verify((struct bytes){ data, size }, &kept, count, &told, &archive, NULL) ==
            0 &&
        told != archive.faults)
        abort();
    return 0;
}
