/* Lookup keys: a keyed hash stands in the record's key, so that names are found without being
 * there (docs/formats/metadata.md). */
#include "fs/volume_internal.h"

#include <string.h>

#include "base/wire.h"

int lookup_key(struct volume *volume, enum lookup_domain domain, uint64_t ino, const char *name,
               uint8_t ret[static LOOKUP_KEY_LEN])
{
    uint8_t head[1 + sizeof(ino)];
    uint8_t hash[HASH_LEN];
    struct writer writer = writer_init(head, sizeof(head));

    writer_u8(&writer, (uint8_t)domain);
    writer_u64be(&writer, ino);
    const struct bytes pieces[] = { writer_written(&writer),
                                    { (const uint8_t *)name, strlen(name) } };
    int r = hmac_sha256(volume->name_hmac, pieces, 2, hash);
    if (r == 0)
        memcpy(ret, hash, LOOKUP_KEY_LEN);
    return r;
}
