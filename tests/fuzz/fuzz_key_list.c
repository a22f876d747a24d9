/* Which keys wrapped those of a filesystem that is being shredded. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/key_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(key_list_release) struct key_list list = { .count = 0 };
    CLEANUP(key_list_release) struct key_list again = { .count = 0 };
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    if (key_list_decode((struct bytes){ data, size }, &list, NULL) < 0)
        return 0;
    if (key_list_encode(&list, &encoded, NULL) < 0 ||
        key_list_decode(buf_bytes(&encoded), &again, NULL) < 0 || again.count != list.count)
        abort();
    return 0;
}
