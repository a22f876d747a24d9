#include "keyring/superblock.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "crypto/hash.h"
#include "crypto/kdf.h"
#include "keyring/key_labels.h"
#include "keyring/sealed_names.h"

#define VERSION 1u
#define BLOCK_SIZE_MIN 512u
#define BLOCK_SIZE_MAX (1u << 20)

static const uint8_t magic[8] = { 'C', 'O', 'F', 'F', 'E', 'R', 'S', 'B' };

void superblock_release(struct superblock *superblock)
{
    secret_release(&superblock->name_key);
    secret_release(&superblock->chunk_key);
}

static bool is_block_size(uint32_t size)
{
    return size >= BLOCK_SIZE_MIN && size <= BLOCK_SIZE_MAX && (size & (size - 1)) == 0;
}

static int mac_of(const struct secret *fs_key, struct bytes covered, uint8_t ret[static HASH_LEN])
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(hmac_freep) struct hmac *hmac = NULL;

    int r = kdf_derive(fs_key, KEY_LABEL_SUPERBLOCK_MAC, (struct bytes){ .data = NULL }, &key);
    if (r == 0)
        r = hmac_new(&key, &hmac);
    return r < 0 ? r : hmac_sha256(hmac, &covered, 1, ret);
}

/* What is sealed, and how much of the superblock is under its MAC. */
struct parts {
    const uint8_t *sealed;
    const uint8_t *mac;
    struct bytes covered;
};

/* *ret gets no secrets. */
static int parse(struct bytes encoded, struct superblock *ret, struct parts *ret_parts,
                 struct error *err)
{
    struct reader reader = reader_init(encoded);
    uint8_t found[sizeof(magic)];
    struct superblock sb = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    struct parts parts;

    reader_copy(&reader, found, sizeof(found));
    uint32_t version = reader_u32(&reader);
    if (reader.failed || memcmp(found, magic, sizeof(magic)) != 0)
        return error_set(err, -EBADMSG, "the superblock is not one: its beginning is altered");
    if (version != VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "the superblock is of format version %u, and this coffer reads only %u:"
                         " use a newer coffer",
                         version, VERSION);
    reader_copy(&reader, sb.uuid.bytes, UUID_LEN);
    sb.generation = reader_u32(&reader);
    sb.block_size = reader_u32(&reader);
    sb.created_ns = reader_u64(&reader);
    reader_copy(&reader, sb.owner.bytes, UUID_LEN);
    sb.owner_count = reader_u64(&reader);
    sb.commit = reader_u64(&reader);
    sb.written_ns = reader_u64(&reader);
    uint8_t is_clean = reader_u8(&reader);
    sb.is_clean = is_clean == 1;
    parts.sealed = reader_bytes(&reader, SEALED_NAMES_LEN).data;
    parts.covered = (struct bytes){ encoded.data, encoded.len - reader.len };
    parts.mac = reader_bytes(&reader, HASH_LEN).data;
    if (reader_done(&reader) < 0 || is_clean > 1 || sb.generation == 0 ||
        !is_block_size(sb.block_size))
        return error_set(err, -EBADMSG, "the superblock is malformed");
    *ret = sb;
    *ret_parts = parts;
    return 0;
}

int superblock_peek(struct bytes encoded, struct superblock *ret, struct error *err)
{
    struct parts parts;

    return parse(encoded, ret, &parts, err);
}

int superblock_decode(struct bytes encoded, const struct key_set *keys, struct superblock *ret,
                      struct error *err)
{
    CLEANUP(superblock_release)
    struct superblock sb = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    struct parts parts;
    uint8_t mac[HASH_LEN];

    int r = parse(encoded, &sb, &parts, err);
    if (r < 0)
        return r;
    const struct secret *fs_key = key_set_find(keys, sb.generation);
    if (!fs_key)
        return error_set(err, -ENOKEY,
                         "the superblock is sealed under key generation %u, which is not at hand",
                         sb.generation);
    r = mac_of(fs_key, parts.covered, mac);
    if (r < 0)
        return error_set(err, r, "cannot verify the superblock: out of memory");
    if (!secret_equal((struct bytes){ mac, HASH_LEN }, (struct bytes){ parts.mac, HASH_LEN }))
        return error_set(err, -EBADMSG,
                         "the superblock was altered, or is not of key generation %u",
                         sb.generation);
    const struct names_context context = { KEY_LABEL_SUPERBLOCK, &sb.uuid, sb.generation };
    r = sealed_names_open(&context, fs_key, parts.sealed, &sb.name_key, &sb.chunk_key);
    if (r < 0)
        return error_set(err, r, "the keys in the superblock cannot be opened: %s",
                         strerrordesc_np(-r));
    *ret = sb;
    sb.name_key = SECRET_INIT;
    sb.chunk_key = SECRET_INIT;
    return 0;
}

int superblock_encode(const struct superblock *superblock, const struct secret *fs_key,
                      uint8_t *ret, size_t *ret_len, struct error *err)
{
    const struct superblock *sb = superblock;
    const struct names_context context = { KEY_LABEL_SUPERBLOCK, &sb->uuid, sb->generation };
    uint8_t sealed[SEALED_NAMES_LEN];
    uint8_t mac[HASH_LEN];

    assert(fs_key->len == FS_KEY_LEN && sb->generation > 0);
    if (!is_block_size(sb->block_size))
        return error_set(err, -EINVAL, "a block size of %u is not a power of two from %u to %u",
                         sb->block_size, BLOCK_SIZE_MIN, BLOCK_SIZE_MAX);
    int r = sealed_names_seal(&context, fs_key, &sb->name_key, &sb->chunk_key, sealed);
    if (r < 0)
        return error_set(err, r, "cannot seal the superblock: %s", strerrordesc_np(-r));

    struct writer writer = writer_init(ret, SUPERBLOCK_MAX);
    writer_bytes(&writer, magic, sizeof(magic));
    writer_u32(&writer, VERSION);
    writer_bytes(&writer, sb->uuid.bytes, UUID_LEN);
    writer_u32(&writer, sb->generation);
    writer_u32(&writer, sb->block_size);
    writer_u64(&writer, sb->created_ns);
    writer_bytes(&writer, sb->owner.bytes, UUID_LEN);
    writer_u64(&writer, sb->owner_count);
    writer_u64(&writer, sb->commit);
    writer_u64(&writer, sb->written_ns);
    writer_u8(&writer, sb->is_clean ? 1 : 0);
    writer_bytes(&writer, sealed, sizeof(sealed));
    r = mac_of(fs_key, writer_written(&writer), mac);
    if (r < 0)
        return error_set(err, r, "cannot seal the superblock: %s", strerrordesc_np(-r));
    writer_bytes(&writer, mac, sizeof(mac));
    assert(writer_done(&writer) == 0);
    *ret_len = writer.len;
    return 0;
}
