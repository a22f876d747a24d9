#include "keyring/sealed_names.h"

#include <assert.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "crypto/kdf.h"

#define PLAIN_LEN (NAME_KEY_LEN + CHUNK_KEY_LEN)
#define AAD_LEN (UUID_LEN + 4u)

static int aead_of(const struct names_context *context, const struct secret *fs_key,
                   struct aead **ret)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    int r = kdf_derive(fs_key, context->label, (struct bytes){ .data = NULL }, &key);
    return r < 0 ? r : aead_new(&key, ret);
}

static void aad_of(const struct names_context *context, uint8_t ret[static AAD_LEN])
{
    struct writer writer = writer_init(ret, AAD_LEN);

    writer_bytes(&writer, context->uuid->bytes, UUID_LEN);
    writer_u32(&writer, context->generation);
    assert(writer_done(&writer) == 0);
}

int sealed_names_seal(const struct names_context *context, const struct secret *fs_key,
                      const struct secret *name_key, const struct secret *chunk_key,
                      uint8_t ret[static SEALED_NAMES_LEN])
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    CLEANUP(aead_freep) struct aead *aead = NULL;
    struct nonce_batch batch = { .drawn = false };
    uint8_t aad[AAD_LEN];

    assert(name_key->len == NAME_KEY_LEN && chunk_key->len == CHUNK_KEY_LEN);
    int r = secret_new(&plain, PLAIN_LEN);
    if (r < 0)
        return r;
    r = aead_of(context, fs_key, &aead);
    if (r < 0)
        return r;
    memcpy(plain.data, name_key->data, NAME_KEY_LEN);
    memcpy(plain.data + NAME_KEY_LEN, chunk_key->data, CHUNK_KEY_LEN);
    aad_of(context, aad);
    (void)nonce_next(&batch, ret);
    return aead_seal(aead, ret, (struct bytes){ aad, sizeof(aad) }, secret_bytes(&plain),
                     ret + AEAD_NONCE_LEN);
}

int sealed_names_open(const struct names_context *context, const struct secret *fs_key,
                      const uint8_t sealed[static SEALED_NAMES_LEN], struct secret *ret_name_key,
                      struct secret *ret_chunk_key)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    CLEANUP(secret_release) struct secret name_key = SECRET_INIT;
    CLEANUP(aead_freep) struct aead *aead = NULL;
    uint8_t aad[AAD_LEN];

    int r = secret_new(&plain, PLAIN_LEN);
    if (r < 0)
        return r;
    r = aead_of(context, fs_key, &aead);
    if (r < 0)
        return r;
    aad_of(context, aad);
    r = aead_open(aead, sealed, (struct bytes){ aad, sizeof(aad) },
                  (struct bytes){ sealed + AEAD_NONCE_LEN, SEALED_NAMES_LEN - AEAD_NONCE_LEN },
                  plain.data);
    if (r == 0)
        r = secret_assign(&name_key, (struct bytes){ plain.data, NAME_KEY_LEN });
    if (r == 0)
        r = secret_assign(ret_chunk_key,
                          (struct bytes){ plain.data + NAME_KEY_LEN, CHUNK_KEY_LEN });
    if (r == 0)
        secret_move(ret_name_key, &name_key);
    return r;
}
