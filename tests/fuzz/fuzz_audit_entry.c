/* What is found in the place of entries of the audit log, one after the other, and of the note of
 * the newest: nothing is read outside of it, and what is read is written back as it was. */
#include <stdlib.h>
#include <string.h>

#include "host/audit_entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore(uint64_t number, const char *text, void *arg)
{
    (void)number;
    (void)text;
    (void)arg;
}

/* But for the hash, which only has to be right in a log. */
static void must_write_back(struct bytes input)
{
    struct audit_entry entry;
    uint8_t written[AUDIT_ENTRY_MAX];
    uint8_t hash[HASH_LEN];
    size_t len = 0;

    if (audit_entry_decode(input, &entry, hash, NULL) < 0)
        return;
    if (audit_entry_encode(&entry, written, &len, hash, NULL) < 0 || len != input.len ||
        memcmp(written, input.data, len - HASH_LEN) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct audit_chain chain = { .number = 0 };
    struct bytes input = { .data = data, .len = size };
    struct bytes first = { .data = data, .len = size / 2 };
    struct audit_head head;

    must_write_back(input);
    audit_chain_step(&chain, 1, first, ignore, NULL);
    audit_chain_step(&chain, 2, input, ignore, NULL);
    bool has_head = audit_head_decode(input, &head, NULL) == 0;
    audit_chain_end(&chain, has_head ? &head : NULL, ignore, NULL);
    return 0;
}
