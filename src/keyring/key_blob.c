#include "keyring/key_blob.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "crypto/hash.h"

static const uint8_t magic[8] = { 'C', 'O', 'F', 'K', 'E', 'Y', 0, 1 }; /* the last: version */

#define KEY_OFFSET (sizeof(magic) + UUID_LEN + 4u)
#define DIGEST_OFFSET (KEY_OFFSET + FS_KEY_LEN)

/* All of a blob: what is expected of one is made anew and compared as a whole. */
static int build(const struct uuid *uuid, uint32_t generation, struct bytes key, struct secret *ret)
{
    CLEANUP(secret_release) struct secret blob = SECRET_INIT;
    uint8_t digest[HASH_LEN];

    int r = secret_new(&blob, KEY_BLOB_LEN);
    if (r < 0)
        return r;
    struct writer writer = writer_init(blob.data, blob.len);
    writer_bytes(&writer, magic, sizeof(magic));
    writer_bytes(&writer, uuid->bytes, UUID_LEN);
    writer_u32(&writer, generation);
    writer_bytes(&writer, key.data, key.len);
    assert(writer.len == DIGEST_OFFSET);

    struct bytes covered = writer_written(&writer);
    r = hash_sha256(&covered, 1, digest);
    if (r < 0)
        return r;
    writer_bytes(&writer, digest, KEY_BLOB_DIGEST_LEN);
    memory_wipe(digest, sizeof(digest));
    assert(writer_done(&writer) == 0 && writer.len == KEY_BLOB_LEN);
    secret_move(ret, &blob);
    return 0;
}

int key_blob_encode(const struct uuid *uuid, uint32_t generation, const struct secret *key,
                    struct secret *ret, struct error *err)
{
    assert(key->len == FS_KEY_LEN);

    int r = build(uuid, generation, secret_bytes(key), ret);
    return r < 0 ? error_set(err, r, "cannot prepare the key for wrapping: out of memory") : 0;
}

int key_blob_decode(const struct secret *blob, const struct uuid *uuid, uint32_t generation,
                    struct secret *ret_key, struct error *err)
{
    CLEANUP(secret_release) struct secret expected = SECRET_INIT;
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    char name[UUID_TEXT_SIZE];
    int r = 0;

    bool is_right = blob->len == KEY_BLOB_LEN;
    if (is_right) {
        struct bytes inside = { blob->data + KEY_OFFSET, FS_KEY_LEN };
        r = build(uuid, generation, inside, &expected);
        if (r == 0)
            r = secret_assign(&key, inside);
        if (r < 0)
            return error_set(err, r, "cannot check an unwrapped key: out of memory");
        is_right = secret_equal(secret_bytes(blob), secret_bytes(&expected));
    }
    if (!is_right) {
        uuid_format(uuid, name);
        return error_set(err, -EBADMSG,
                         "the key server unwrapped something that is not the key of filesystem %s,"
                         " generation %u: the wrapped key was altered or belongs elsewhere",
                         name, generation);
    }
    secret_move(ret_key, &key);
    return 0;
}
