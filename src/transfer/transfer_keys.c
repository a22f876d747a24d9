#include "transfer/transfer_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "crypto/kdf.h"
#include "keyring/key_labels.h"

#define CHUNK_AAD_LEN (UUID_LEN + 4u + CHUNK_NAME_LEN)

static int derive_hmac(const struct secret *from, const char *label, struct hmac **ret)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    int r = kdf_derive(from, label, (struct bytes){ .data = NULL }, &key);
    return r < 0 ? r : hmac_new(&key, ret);
}

static int derive_all(struct transfer_keys *keys, const struct secret *fs_key,
                      const struct secret *chunk_key)
{
    int r = kdf_derive(fs_key, KEY_LABEL_TRANSFER, (struct bytes){ .data = NULL }, &keys->transfer);

    if (r == 0)
        r = derive_hmac(&keys->transfer, KEY_LABEL_HEAD_MAC, &keys->heads);
    if (r == 0)
        r = derive_hmac(&keys->transfer, KEY_LABEL_MANIFEST_NONCE, &keys->nonces);
    if (r == 0)
        r = hmac_new(chunk_key, &keys->names);
    if (r == 0)
        r = derive_hmac(chunk_key, KEY_LABEL_PACK_NAME, &keys->packs);
    if (r == 0)
        r = derive_hmac(chunk_key, KEY_LABEL_CHUNK_CUT, &keys->cuts);
    if (r == 0)
        r = derive_hmac(chunk_key, KEY_LABEL_DUMP_SET, &keys->set);
    return r;
}

int transfer_keys_new(const struct superblock *superblock, const struct secret *fs_key,
                      struct transfer_keys **ret)
{
    CLEANUP(transfer_keys_freep) struct transfer_keys *keys = calloc(1, sizeof(*keys));

    if (!keys)
        return -ENOMEM;
    keys->fs = superblock->uuid;
    keys->generation = superblock->generation;
    int r = derive_all(keys, fs_key, &superblock->chunk_key);
    if (r == 0)
        *ret = TAKE(keys);
    return r;
}

void transfer_keys_free(struct transfer_keys *keys)
{
    if (!keys)
        return;
    secret_release(&keys->transfer);
    hmac_free(keys->names);
    hmac_free(keys->packs);
    hmac_free(keys->cuts);
    hmac_free(keys->set);
    hmac_free(keys->nonces);
    hmac_free(keys->heads);
    free(keys);
}

static void write_whose(struct writer *writer, const struct transfer_keys *keys)
{
    writer_bytes(writer, keys->fs.bytes, UUID_LEN);
    writer_u32(writer, keys->generation);
}

int chunk_name(const struct transfer_keys *keys, struct bytes plain,
               uint8_t ret[static CHUNK_NAME_LEN])
{
    uint8_t whose[UUID_LEN + 4];
    struct writer writer = writer_init(whose, sizeof(whose));

    write_whose(&writer, keys);
    const struct bytes pieces[] = { writer_written(&writer), plain };
    return hmac_sha256(keys->names, pieces, 2, ret);
}

static int chunk_aead(const struct transfer_keys *keys, const uint8_t name[static CHUNK_NAME_LEN],
                      struct aead **ret, uint8_t ret_aad[static CHUNK_AAD_LEN])
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    struct writer writer = writer_init(ret_aad, CHUNK_AAD_LEN);

    write_whose(&writer, keys);
    writer_bytes(&writer, name, CHUNK_NAME_LEN);
    int r =
        kdf_derive(&keys->transfer, KEY_LABEL_CHUNK, (struct bytes){ name, CHUNK_NAME_LEN }, &key);
    return r < 0 ? r : aead_new(&key, ret);
}

static const uint8_t zero_nonce[AEAD_NONCE_LEN]; /* see the header */

int chunk_seal(const struct transfer_keys *keys, const uint8_t name[static CHUNK_NAME_LEN],
               struct bytes plain, struct buf *ret)
{
    CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    CLEANUP(aead_freep) struct aead *aead = NULL;
    uint8_t aad[CHUNK_AAD_LEN];

    sealed.data = malloc(plain.len + AEAD_TAG_LEN);
    if (!sealed.data)
        return -ENOMEM;
    sealed.len = plain.len + AEAD_TAG_LEN;
    int r = chunk_aead(keys, name, &aead, aad);
    if (r == 0)
        r = aead_seal(aead, zero_nonce, (struct bytes){ aad, sizeof(aad) }, plain, sealed.data);
    if (r == 0)
        buf_move(ret, &sealed);
    return r;
}

int chunk_open(const struct transfer_keys *keys, const uint8_t name[static CHUNK_NAME_LEN],
               struct bytes sealed, struct buf *ret)
{
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    CLEANUP(aead_freep) struct aead *aead = NULL;
    uint8_t aad[CHUNK_AAD_LEN], found[CHUNK_NAME_LEN];

    if (sealed.len < AEAD_TAG_LEN)
        return -EBADMSG;
    plain.data = malloc(sealed.len);
    if (!plain.data)
        return -ENOMEM;
    plain.len = sealed.len - AEAD_TAG_LEN;
    int r = chunk_aead(keys, name, &aead, aad);
    if (r == 0)
        r = aead_open(aead, zero_nonce, (struct bytes){ aad, sizeof(aad) }, sealed, plain.data);
    if (r == 0)
        r = chunk_name(keys, buf_bytes(&plain), found);
    if (r == 0 && memcmp(found, name, CHUNK_NAME_LEN) != 0)
        r = -EBADMSG; /* who sealed it did not keep to the names */
    if (r == 0)
        buf_move(ret, &plain);
    return r;
}

int manifest_aead(const struct transfer_keys *keys, const struct uuid *upload, struct aead **ret)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    int r = kdf_derive(&keys->transfer, KEY_LABEL_MANIFEST,
                       (struct bytes){ upload->bytes, UUID_LEN }, &key);
    return r < 0 ? r : aead_new(&key, ret);
}

int manifest_nonce(const struct transfer_keys *keys, const struct uuid *upload, struct bytes plain,
                   uint8_t ret[static AEAD_NONCE_LEN])
{
    const struct bytes pieces[] = { { upload->bytes, UUID_LEN }, plain };
    uint8_t hash[HASH_LEN];

    int r = hmac_sha256(keys->nonces, pieces, 2, hash);
    if (r == 0)
        memcpy(ret, hash, AEAD_NONCE_LEN);
    return r;
}
