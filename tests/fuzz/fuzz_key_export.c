/* What a recovery copy held, after it was opened. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "keyring/key_export.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (secret_heap_init(NULL) < 0)
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(free_ptr) struct key_export *copy = calloc(1, sizeof(*copy));

    if (!copy)
        abort();
    if (key_export_decode((struct bytes){ data, size }, copy, NULL) == 0) {
        const struct exported_key *last = &copy->keys[copy->count - 1];
        if (!key_export_find(copy, &last->origin, last->generation))
            abort();
    }
    key_export_release(copy);
    return 0;
}
