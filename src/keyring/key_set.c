#include <assert.h>
#include <errno.h>

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

int key_set_copy(struct key_set *to, const struct key_set *from)
{
    struct key_set copy = { .count = 0 };

    for (uint32_t i = 0; i < from->count; i++) {
        int r = key_set_add(&copy, from->generations[i], &from->keys[i]);
        if (r < 0) {
            key_set_release(&copy);
            return r;
        }
    }
    key_set_release(to);
    *to = copy;
    return 0;
}

void key_set_release(struct key_set *keys)
{
    for (uint32_t i = 0; i < keys->count; i++)
        secret_release(&keys->keys[i]);
    *keys = (struct key_set){ .count = 0 };
}
