#include "fs/superblocks.h"

#include <errno.h>

#include "fs/records.h"

static int encode(const struct superblock *superblock, const struct key_set *keys, uint8_t *ret,
                  size_t *ret_len, struct error *err)
{
    const struct secret *key = key_set_find(keys, superblock->generation);

    if (key == NULL)
        return error_set(err, -ENOKEY, "generation %u of the filesystem's key is not at hand",
                         superblock->generation);
    return superblock_encode(superblock, key, ret, ret_len, err);
}

int superblock_write(struct object_store *store, const struct superblock *superblock,
                     const struct key_set *keys, bool create, struct error *err)
{
    uint8_t encoded[SUPERBLOCK_MAX];
    size_t len;

    int r = encode(superblock, keys, encoded, &len, err);
    if (r < 0)
        return r;
    const struct bytes data = { .data = encoded, .len = len };
    return create ? object_store_put(store, SUPERBLOCK_OBJECT, data, err)
                  : object_store_replace(store, SUPERBLOCK_OBJECT, data, err);
}

int superblock_put(struct meta_txn *txn, const struct superblock *superblock,
                   const struct key_set *keys, struct error *err)
{
    uint8_t encoded[SUPERBLOCK_MAX];
    struct record_key key;
    size_t len;

    int r = encode(superblock, keys, encoded, &len, err);
    if (r < 0)
        return r;
    superblock_key(&key);
    return meta_put(txn, record_key_bytes(&key), (struct bytes){ .data = encoded, .len = len },
                    err);
}

struct copy_scan {
    const struct key_set *keys;
    struct superblock_places *places;
};

static int visit_copy(struct bytes key, struct bytes stored, void *arg)
{
    struct copy_scan *scan = arg;

    (void)key;
    scan->places->copy_r = superblock_decode(stored, scan->keys, &scan->places->copy, NULL);
    return 0;
}

static int read_copy(struct meta_engine *engine, const struct key_set *keys,
                     struct superblock_places *places, struct error *err)
{
    struct copy_scan scan = { .keys = keys, .places = places };
    struct record_key first;
    struct record_key end;

    places->copy_r = -ENOENT;
    kind_range(RECORD_SUPERBLOCK, &first, &end);
    return meta_scan_stored(engine, record_key_bytes(&first), record_key_bytes(&end), visit_copy,
                            &scan, err);
}

/* Nothing in it is verified, so it is compared in two members that never change: one of them alone
 * may have been altered. */
static bool is_of_another(struct bytes encoded, const struct superblock *ours)
{
    struct superblock found = { .generation = 0 };

    if (superblock_peek(encoded, &found, NULL) < 0)
        return false;
    bool is = !uuid_equal(&found.uuid, &ours->uuid) && found.created_ns != ours->created_ns;
    superblock_release(&found);
    return is;
}

int superblocks_read(struct object_store *store, struct meta_engine *engine,
                     const struct key_set *keys, struct superblock_places *ret, struct error *err)
{
    struct superblock_places places = { .store_r = -ENOENT };
    struct buf found = BUF_INIT;

    int r = object_store_get(store, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX, &found, &places.store_err);
    if (r == 0)
        places.store_r =
            superblock_decode(buf_bytes(&found), keys, &places.store, &places.store_err);
    else if (r == -ENOENT || r == -EFBIG)
        places.store_r = r == -EFBIG ? -EBADMSG : r;
    else
        return error_set(err, r, "%s", places.store_err.text);
    r = read_copy(engine, keys, &places, err);
    if (r == 0 && places.copy_r == 0 && places.store_r < 0)
        places.store_is_of_another = is_of_another(buf_bytes(&found), &places.copy);
    buf_release(&found);
    if (r < 0) {
        superblocks_release(&places);
        return r;
    }
    *ret = places;
    return 0;
}

void superblocks_release(struct superblock_places *places)
{
    superblock_release(&places->store);
    superblock_release(&places->copy);
}
