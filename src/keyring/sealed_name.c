#include "keyring/sealed_name.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "crypto/kdf.h"
#include "keyring/key_labels.h"

#define HEAD_LEN (4u + AEAD_NONCE_LEN)

static int aead_of(const struct key_set *keys, uint32_t generation, struct bytes context,
                   struct aead **ret)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    const struct secret *fs_key = key_set_find(keys, generation);

    if (!fs_key)
        return -ENOKEY;
    int r = kdf_derive(fs_key, KEY_LABEL_TASK_NAME, context, &key);
    return r < 0 ? r : aead_new(&key, ret);
}

int sealed_name_seal(const struct key_set *keys, struct bytes context, const char *name,
                     uint8_t ret[static SEALED_NAME_LEN])
{
    CLEANUP(aead_freep) struct aead *aead = NULL;
    struct nonce_batch batch = { .drawn = false };
    struct writer writer = writer_init(ret, 4);
    uint8_t plain[SEALED_NAME_PLAIN_LEN] = { 0 };
    uint32_t generation = key_set_newest(keys);
    size_t len = strlen(name) + 1;

    if (len > sizeof(plain))
        return -ENAMETOOLONG;
    memcpy(plain, name, len);
    int r = aead_of(keys, generation, context, &aead);
    if (r < 0)
        return r;
    writer_u32(&writer, generation);
    (void)nonce_next(&batch, ret + 4);
    return aead_seal(aead, ret + 4, (struct bytes){ .len = 0 },
                     (struct bytes){ plain, sizeof(plain) }, ret + HEAD_LEN);
}

int sealed_name_open(const struct key_set *keys, struct bytes context,
                     const uint8_t sealed[static SEALED_NAME_LEN],
                     char ret[static SEALED_NAME_PLAIN_LEN])
{
    CLEANUP(aead_freep) struct aead *aead = NULL;
    struct reader reader = reader_init((struct bytes){ sealed, 4 });
    uint8_t plain[SEALED_NAME_PLAIN_LEN];

    int r = aead_of(keys, reader_u32(&reader), context, &aead);
    if (r == 0)
        r = aead_open(aead, sealed + 4, (struct bytes){ .len = 0 },
                      (struct bytes){ sealed + HEAD_LEN, SEALED_NAME_LEN - HEAD_LEN }, plain);
    if (r == 0 && memchr(plain, 0, sizeof(plain)) == NULL)
        r = -EBADMSG;
    if (r == 0)
        memcpy(ret, plain, sizeof(plain));
    return r;
}
