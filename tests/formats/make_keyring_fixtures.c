/* Writes key-ring-v1.bin, superblock-v1.bin, sealed-name-v1.bin and key-export-v1.bin, and that
 * sealed to recovery-cert.pem (of recovery-key.pem, which is for this only), key-export-v1.pem,
 * into the folder that it is given. What is in the repository is never written again: a later
 * version of coffer must go on reading it. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "crypto/cms.h"
#include "crypto/secret.h"
#include "keyring/key_blob.h"
#include "keyring/key_export.h"
#include "keyring/sealed_name.h"
#include "tests/support/keyring_samples.h"

static int save(const char *folder, const char *name, struct bytes data)
{
    char path[512];

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
        return -1;
    return file_replace(path, data, 0644, NULL);
}

static int seal_export(const char *folder, const struct secret *plain)
{
    CLEANUP(buf_release) struct buf certificate = BUF_INIT;
    CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/recovery-cert.pem", folder);
    int r = file_read(path, 65536, &certificate, NULL);
    if (r == 0)
        r = cms_seal(buf_bytes(&certificate), secret_bytes(plain), &sealed, NULL);
    return r < 0 ? r : save(folder, "key-export-v1.pem", buf_bytes(&sealed));
}

/* The keys of sample_ring(). */
static int save_export(const char *folder, const struct key_ring *ring)
{
    static const uint8_t firsts[] = { 0x10, 0x50, 0xd0 };
    struct secret blobs[3] = { SECRET_INIT, SECRET_INIT, SECRET_INIT };
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < ring->count && i < 3; i++) {
        CLEANUP(secret_release) struct secret key = SECRET_INIT;
        const struct key_generation *generation = &ring->generations[i];
        sample_key(firsts[i], &key);
        r = key_blob_encode(&generation->origin, generation->number, &key, &blobs[i], NULL);
    }
    if (r == 0)
        r = key_export_encode(ring, blobs, &plain, NULL);
    if (r == 0)
        r = save(folder, "key-export-v1.bin", secret_bytes(&plain));
    if (r == 0)
        r = seal_export(folder, &plain);
    for (int i = 0; i < 3; i++)
        secret_release(&blobs[i]);
    return r;
}

static int save_name(const char *folder, const struct key_set *keys)
{
    uint8_t sealed[SEALED_NAME_LEN], context[32];

    memset(context, 7, sizeof(context));
    int r = sealed_name_seal(keys, (struct bytes){ context, sizeof(context) }, "monday", sealed);
    return r < 0 ? r : save(folder, "sealed-name-v1.bin", (struct bytes){ sealed, sizeof(sealed) });
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
    if (r == 0)
        r = save_name(argv[1], &keys);
    if (r == 0)
        r = save_export(argv[1], &ring);
    key_ring_release(&ring);
    superblock_release(&sb);
    key_set_release(&keys);
    buf_release(&encoded);
    return r < 0;
}
