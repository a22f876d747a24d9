/* Writes key-ring-v1.bin and superblock-v1.bin into the folder that it is given. What is in the
 * repository is never written again: a later version of coffer must go on reading it. */
#include <stdio.h>
#include <string.h>

#include "base/file_io.h"
#include "crypto/secret.h"
#include "tests/support/keyring_samples.h"

static int save(const char *folder, const char *name, struct bytes data)
{
    char path[512];

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
        return -1;
    return file_replace(path, data, 0644, NULL);
}

int main(int argc, char **argv)
{
    uint8_t bytes[SUPERBLOCK_MAX];
    struct buf encoded = BUF_INIT;
    struct key_set keys;
    struct key_ring ring;
    struct superblock sb;
    size_t len;

    if (argc != 2 || secret_heap_init(NULL) < 0)
        return 2;
    sample_keys(&keys);
    sample_ring(&ring);
    sample_superblock(&sb);
    int r = key_ring_encode(&ring, &keys, &encoded, NULL);
    if (r == 0)
        r = save(argv[1], "key-ring-v1.bin", buf_bytes(&encoded));
    if (r == 0)
        r = superblock_encode(&sb, key_set_find(&keys, sb.generation), bytes, &len, NULL);
    if (r == 0)
        r = save(argv[1], "superblock-v1.bin", (struct bytes){ bytes, len });
    key_ring_release(&ring);
    superblock_release(&sb);
    key_set_release(&keys);
    buf_release(&encoded);
    return r < 0;
}
