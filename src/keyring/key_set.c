#include <assert.h>
#include <errno.h>

#include "base/wire.h"
#include "keyring/superblock.h"

const struct secret *key_set_find(const struct key_set *keys, uint32_t generation)
{
    for (uint32_t i = 0; i < keys->count; i++)
        if (keys->generations[i] == generation)
            return &keys->keys[i];
    return NULL;
}

uint32_t key_set_newest(const struct key_set *keys)
{
    return keys->count ? keys->generations[keys->count - 1] : 0;
}

int key_set_add(struct key_set *keys, uint32_t generation, const struct secret *key)
{
    struct secret copy = SECRET_INIT;

    assert(key->len == FS_KEY_LEN);
    if (generation == 0)
        return -EINVAL;
    if (key_set_find(keys, generation))
        return -EEXIST;
    if (keys->count == KEY_GENERATIONS_MAX)
        return -ENOSPC;
    int r = secret_assign(&copy, secret_bytes(key));
    if (r < 0)
        return r;

    uint32_t i = keys->count++;
    for (; i > 0 && keys->generations[i - 1] > generation; i--) {
        keys->generations[i] = keys->generations[i - 1];
        secret_move(&keys->keys[i], &keys->keys[i - 1]);
    }
    keys->generations[i] = generation;
    secret_move(&keys->keys[i], &copy);
    return 0;
}

const struct secret *key_set_find_foreign(const struct key_set *keys, const struct uuid *origin,
                                          uint32_t generation)
{
    for (uint32_t i = 0; i < keys->foreign_count; i++)
        if (keys->foreign[i].generation == generation &&
            uuid_equal(&keys->foreign[i].origin, origin))
            return &keys->foreign[i].key;
    return NULL;
}

int key_set_add_foreign(struct key_set *keys, const struct uuid *origin, uint32_t generation,
                        const struct secret *key)
{
    assert(key->len == FS_KEY_LEN);
    if (generation == 0)
        return -EINVAL;
    if (key_set_find_foreign(keys, origin, generation))
        return -EEXIST;
    if (keys->foreign_count == KEY_GENERATIONS_MAX)
        return -ENOSPC;
    struct foreign_key *foreign = &keys->foreign[keys->foreign_count];
    *foreign = (struct foreign_key){ .origin = *origin, .generation = generation };
    int r = secret_assign(&foreign->key, secret_bytes(key));
    if (r == 0)
        keys->foreign_count++;
    return r;
}

int key_set_join_foreign(struct key_set *to, const struct key_set *from)
{
    uint32_t missing = 0;
    int r = 0;

    for (uint32_t i = 0; i < from->foreign_count; i++) {
        const struct foreign_key *key = &from->foreign[i];
        const struct secret *have = key_set_find_foreign(to, &key->origin, key->generation);
        if (have && !secret_equal(secret_bytes(have), secret_bytes(&key->key)))
            return -EBADMSG;
        missing += !have;
    }
    if (missing > KEY_GENERATIONS_MAX - to->foreign_count)
        return -ENOSPC;
    for (uint32_t i = 0; i < from->foreign_count && r == 0; i++) {
        const struct foreign_key *key = &from->foreign[i];
        if (!key_set_find_foreign(to, &key->origin, key->generation))
            r = key_set_add_foreign(to, &key->origin, key->generation, &key->key);
    }
    return r;
}

static int copy_own(struct key_set *to, const struct key_set *from)
{
    int r = 0;

    for (uint32_t i = 0; i < from->count && r == 0; i++)
        r = key_set_add(to, from->generations[i], &from->keys[i]);
    return r;
}

static int copy_foreign(struct key_set *to, const struct key_set *from)
{
    int r = 0;

    for (uint32_t i = 0; i < from->foreign_count && r == 0; i++)
        r = key_set_add_foreign(to, &from->foreign[i].origin, from->foreign[i].generation,
                                &from->foreign[i].key);
    return r;
}

int key_set_copy(struct key_set *to, const struct key_set *from)
{
    struct key_set copy = { .count = 0 };

    int r = copy_own(&copy, from);
    if (r == 0)
        r = copy_foreign(&copy, from);
    if (r < 0) {
        key_set_release(&copy);
        return r;
    }
    key_set_release(to);
    *to = copy;
    return 0;
}

void key_set_release(struct key_set *keys)
{
    for (uint32_t i = 0; i < keys->count; i++)
        secret_release(&keys->keys[i]);
    for (uint32_t i = 0; i < keys->foreign_count; i++)
        secret_release(&keys->foreign[i].key);
    *keys = (struct key_set){ .count = 0 };
}

bool foreign_key_ids_have(const struct foreign_key_ids *ids, const struct uuid *origin,
                          uint32_t generation)
{
    for (uint32_t i = 0; i < ids->count; i++)
        if (ids->items[i].generation == generation && uuid_equal(&ids->items[i].origin, origin))
            return true;
    return false;
}

int foreign_key_ids_add(struct foreign_key_ids *ids, const struct uuid *origin, uint32_t generation)
{
    if (foreign_key_ids_have(ids, origin, generation))
        return 0;
    if (ids->count == KEY_GENERATIONS_MAX)
        return -ENOSPC;
    ids->items[ids->count].origin = *origin;
    ids->items[ids->count++].generation = generation;
    return 0;
}

void foreign_key_ids_write(struct writer *writer, const struct foreign_key_ids *ids)
{
    writer_u8(writer, (uint8_t)ids->count);
    for (uint32_t i = 0; i < ids->count; i++) {
        writer_bytes(writer, ids->items[i].origin.bytes, UUID_LEN);
        writer_u32(writer, ids->items[i].generation);
    }
}

int foreign_key_ids_read(struct reader *reader, struct foreign_key_ids *ids)
{
    for (uint32_t count = reader_u8(reader); count > 0 && !reader->failed; count--) {
        struct uuid origin;
        reader_copy(reader, origin.bytes, UUID_LEN);
        uint32_t generation = reader_u32(reader);
        if (!reader->failed && (foreign_key_ids_have(ids, &origin, generation) ||
                                foreign_key_ids_add(ids, &origin, generation) < 0))
            reader_fail(reader);
    }
    return 0;
}
