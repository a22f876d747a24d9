/* What is found in the place of a superblock: read without and with keys. */
#include <stdlib.h>

#include "tests/support/keyring_samples.h"

static struct key_set keys;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (secret_heap_init(NULL) < 0)
        abort();
    sample_keys(&keys);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct superblock sb = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    struct bytes input = { data, size };

    int peeked = superblock_peek(input, &sb, NULL);
    int r = superblock_decode(input, &keys, &sb, NULL);
    if (r == 0 && peeked < 0)
        abort(); /* verified, and yet malformed */
    superblock_release(&sb);
    return 0;
}
