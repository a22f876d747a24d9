#include "tests/support/keyring_samples.h"

#include <stdlib.h>
#include <string.h>

#define SECOND 1000000000ull
#define SAMPLE_TIME (1700000000ull * SECOND)

const struct uuid sample_uuid = { { 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x46, 0x78, 0x87, 0x96,
                                    0xa5, 0xb4, 0xc3, 0xd2, 0xe1, 0xf0 } };
const struct uuid sample_origin = { { 0x70, 0x61, 0x52, 0x43, 0x34, 0x25, 0x41, 0x07, 0xb8, 0xa9,
                                      0x9a, 0x8b, 0x7c, 0x6d, 0x5e, 0x4f } };

static void must(int r)
{
    if (r < 0)
        abort();
}

void sample_key(uint8_t first, struct secret *ret)
{
    must(secret_new(ret, FS_KEY_LEN));
    for (size_t i = 0; i < ret->len; i++)
        ret->data[i] = (uint8_t)(first + i);
}

void sample_keys(struct key_set *ret)
{
    struct secret key = SECRET_INIT;

    *ret = (struct key_set){ .count = 0 };
    sample_key(0x10, &key);
    must(key_set_add(ret, 1, &key));
    sample_key(0x50, &key);
    must(key_set_add(ret, 2, &key));
    secret_release(&key);
}

void sample_superblock(struct superblock *ret)
{
    *ret = (struct superblock){
        .uuid = sample_uuid,
        .generation = 2,
        .block_size = 16384,
        .created_ns = SAMPLE_TIME,
        .owner = { { 0xaa, 0xbb } },
        .owner_count = 3,
        .commit = 0x0102030405060708,
        .written_ns = SAMPLE_TIME + 60 * SECOND,
        .is_clean = true,
        .name_key = SECRET_INIT,
        .chunk_key = SECRET_INIT,
    };
    sample_key(0x90, &ret->name_key);
    sample_key(0xb0, &ret->chunk_key);
}

static struct wrapped_key vault_wrapping(uint32_t version)
{
    struct wrapped_key wrapped = {
        .provider = "vault",
        .addresses = "https://vault-1.example:8200,https://vault-2.example:8200",
        .kms_namespace = "storage",
        .mount_path = "transit",
        .key_name = "coffer-key",
        .key_version = version,
        .mode = WRAP_MODE_SERVER,
    };
    memcpy(wrapped.blob, "vault:v0:c2FtcGxl", 17);
    wrapped.blob[7] = (uint8_t)('0' + version);
    wrapped.blob_len = 17;
    return wrapped;
}

static struct wrapped_key kmip_wrapping(void)
{
    struct wrapped_key wrapped = {
        .provider = "kmip",
        .addresses = "kmip.example:5696",
        .key_name = "1",
        .mode = WRAP_MODE_CBC_PKCS5,
        .iv_len = 16,
        .blob_len = 80,
    };
    memset(wrapped.iv, 0x11, wrapped.iv_len);
    memset(wrapped.blob, 0x22, wrapped.blob_len);
    return wrapped;
}

static struct wrapped_key local_wrapping(void)
{
    struct wrapped_key wrapped = {
        .provider = "local",
        .key_name = "default",
        .mode = WRAP_MODE_GCM,
        .iv_len = 12,
        .tag_len = 16,
        .blob_len = 76,
    };
    memset(wrapped.iv, 0x33, wrapped.iv_len);
    memset(wrapped.tag, 0x44, wrapped.tag_len);
    memset(wrapped.blob, 0x55, wrapped.blob_len);
    return wrapped;
}

static void add(struct key_ring *ring, uint32_t number, const struct uuid *origin, uint8_t first,
                const struct wrapped_key *wrapped)
{
    struct secret key = SECRET_INIT, name_key = SECRET_INIT, chunk_key = SECRET_INIT;

    sample_key(first, &key);
    sample_key(0x90, &name_key);
    sample_key(0xb0, &chunk_key);
    const struct key_generation_new new = {
        .number = number,
        .origin = origin,
        .key = &key,
        .wrapped = wrapped,
        .now_ns = SAMPLE_TIME + number * SECOND,
        .name_key = &name_key,
        .chunk_key = &chunk_key,
    };
    must(key_ring_add(ring, &new, NULL));
    secret_release(&key);
    secret_release(&name_key);
    secret_release(&chunk_key);
}

void sample_ring(struct key_ring *ret)
{
    struct wrapped_key vault = vault_wrapping(1);
    struct wrapped_key vault_new = vault_wrapping(2);
    struct wrapped_key kmip = kmip_wrapping();
    struct wrapped_key local = local_wrapping();

    key_ring_init(ret, &sample_uuid);
    ret->sequence = 41;
    add(ret, 1, NULL, 0x10, &vault);
    add(ret, 7, &sample_origin, 0xd0, &local);
    add(ret, 2, NULL, 0x50, &kmip);
    key_generation_replace(key_ring_find(ret, NULL, 1), &vault_new, SAMPLE_TIME + 9 * SECOND);
}
