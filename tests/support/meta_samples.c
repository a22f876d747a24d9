#include "tests/support/meta_samples.h"

#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "meta/record_kinds.h"

static void fixed_secret(struct secret *secret, int byte)
{
    *secret = SECRET_INIT;
    if (secret_new(secret, FS_KEY_LEN) < 0)
        abort();
    memset(secret->data, byte, FS_KEY_LEN);
}

void meta_sample_keys(struct key_set *ret_keys, struct secret *ret_name_key)
{
    memset(ret_keys, 0, sizeof(*ret_keys));
    for (uint32_t i = 0; i < 2; i++) {
        ret_keys->generations[i] = i + 1;
        fixed_secret(&ret_keys->keys[i], (int)i + 1);
    }
    ret_keys->count = 2;
    fixed_secret(ret_name_key, 0x77);
}

void meta_sample_owner(struct uuid *ret)
{
    memset(ret->bytes, 0x0a, UUID_LEN);
}

struct meta_sample meta_sample(unsigned number)
{
    static const uint8_t inode[] = { 0, RECORD_INODE, 0, 0, 0, 0, 0, 0, 0, 1 };
    static const uint8_t dirent[] = { 0, RECORD_DIRENT, 0,    0,    0,   0, 0, 0, 0,
                                      1, 0xde,          0xad, 0xbe, 0xef };
    static const uint8_t superblock[] = { 0, RECORD_SUPERBLOCK };
    static const uint8_t history[] = {
        0, RECORD_HISTORY, RECORD_INODE, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4
    };
    static const uint8_t plain[] = "what a record holds";
    static const struct meta_sample samples[META_SAMPLES] = {
        { { inode, sizeof(inode) }, { plain, sizeof(plain) } },
        { { dirent, sizeof(dirent) }, { plain, 4 } },
        { { superblock, sizeof(superblock) }, { plain, 9 } },
        { { history, sizeof(history) }, { plain, 0 } },
    };

    return samples[number];
}

int meta_sample_next(struct bytes *file, struct bytes *ret_key, struct bytes *ret_stored)
{
    struct reader reader = reader_init(*file);

    *ret_key = reader_string(&reader, META_KEY_MAX);
    *ret_stored = reader_string(&reader, UINT16_MAX);
    if (reader.failed)
        return -1;
    *file = (struct bytes){ reader.data, reader.len };
    return 0;
}

int meta_sample_append(struct buf *file, struct bytes key, struct bytes stored)
{
    uint8_t room[1024];
    struct writer writer = writer_init(room, sizeof(room));

    writer_string(&writer, key);
    writer_string(&writer, stored);
    return writer_done(&writer) < 0 ? -1 : buf_append(file, writer_written(&writer));
}
