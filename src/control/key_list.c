#include "control/key_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"

#define LIST_VERSION 1u
#define LIST_BYTES_MAX (60u * 1024u)
#define LIST_MAX (2u * 2u * KEY_GENERATIONS_MAX * 16u)
#define KEY_ENCODED_MAX (4u * 2u + 16u + 3u * WRAPPED_NAME_SIZE + 4u)

void key_list_release(struct key_list *list)
{
    free(list->keys);
    *list = (struct key_list){ .count = 0 };
}

static int compare(const void *a, const void *b)
{
    const struct rewrap_key *x = a;
    const struct rewrap_key *y = b;
    int r = strcmp(x->key, y->key);

    if (r == 0)
        r = (x->version > y->version) - (x->version < y->version);
    if (r == 0)
        r = strcmp(x->type, y->type);
    if (r == 0)
        r = strcmp(x->kms_namespace, y->kms_namespace);
    return r != 0 ? r : strcmp(x->mount_path, y->mount_path);
}

bool key_list_has(const struct key_list *list, const struct rewrap_key *key)
{
    for (size_t i = 0; i < list->count; i++)
        if (compare(&list->keys[i], key) == 0)
            return true;
    return false;
}

void key_list_describe(const struct wrapped_key *wrapped, struct rewrap_key *ret)
{
    memcpy(ret->type, wrapped->provider, sizeof(ret->type));
    memcpy(ret->kms_namespace, wrapped->kms_namespace, sizeof(ret->kms_namespace));
    memcpy(ret->mount_path, wrapped->mount_path, sizeof(ret->mount_path));
    memcpy(ret->key, wrapped->key_name, sizeof(ret->key));
    ret->version = wrapped->key_version;
}

int key_list_add(struct key_list *list, const struct rewrap_key *key, struct error *err)
{
    if (key->type[0] == '\0' || strcmp(key->type, "local") == 0 || key_list_has(list, key))
        return 0;
    struct rewrap_key *grown = reallocarray(list->keys, list->count + 1, sizeof(*grown));
    if (!grown)
        return error_set(err, -ENOMEM, "out of memory");
    list->keys = grown;
    grown[list->count++] = *key;
    return 0;
}

static int add(struct key_list *list, const struct wrapped_key *wrapped, struct error *err)
{
    struct rewrap_key key;

    key_list_describe(wrapped, &key);
    return key_list_add(list, &key, err);
}

int key_list_add_ring(struct key_list *list, const struct key_ring *ring, struct error *err)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < ring->count; i++) {
        const struct key_generation *generation = &ring->generations[i];
        r = add(list, &generation->current.key, err);
        if (r == 0 && generation->has_previous)
            r = add(list, &generation->previous.key, err);
    }
    return r;
}

void key_list_sort(struct key_list *list)
{
    if (list->count > 1)
        qsort(list->keys, list->count, sizeof(*list->keys), compare);
}

int key_list_encode(const struct key_list *list, struct buf *ret, struct error *err)
{
    size_t room = 6 + list->count * KEY_ENCODED_MAX;
    uint8_t *data = malloc(room);

    if (!data)
        return error_set(err, -ENOMEM, "out of memory");
    struct writer writer = writer_init(data, room);
    writer_u16(&writer, LIST_VERSION);
    writer_u32(&writer, (uint32_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        writer_text(&writer, list->keys[i].type);
        writer_text(&writer, list->keys[i].kms_namespace);
        writer_text(&writer, list->keys[i].mount_path);
        writer_text(&writer, list->keys[i].key);
        writer_u32(&writer, list->keys[i].version);
    }
    buf_release(ret);
    *ret = (struct buf){ .data = data, .len = writer.len };
    return writer_done(&writer) < 0 || writer.len > LIST_BYTES_MAX
               ? error_set(err, -ENOSPC, "there are more keys of key servers than fit into a note")
               : 0;
}

int key_list_decode(struct bytes encoded, struct key_list *list, struct error *err)
{
    struct reader reader = reader_init(encoded);
    uint16_t version = reader_u16(&reader);
    uint32_t count = reader_u32(&reader);
    int r = 0;

    if (!reader.failed && version != LIST_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "a list of keys was written by a later version of coffer; use that");
    for (uint32_t i = 0; r == 0 && i < count && count <= LIST_MAX && !reader.failed; i++) {
        struct rewrap_key key = { .version = 0 };
        reader_text(&reader, key.type, sizeof(key.type));
        reader_text(&reader, key.kms_namespace, sizeof(key.kms_namespace));
        reader_text(&reader, key.mount_path, sizeof(key.mount_path));
        reader_text(&reader, key.key, sizeof(key.key));
        key.version = reader_u32(&reader);
        if (!reader.failed)
            r = key_list_add(list, &key, err);
    }
    if (r == 0 && reader_done(&reader) < 0)
        r = error_set(err, -EBADMSG, "a list of keys is damaged");
    return r;
}
