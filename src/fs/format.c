/* Makes an empty filesystem. Its metadata is one durable step, which holds the superblock's copy;
 * the superblock in the store is the last thing that is written. So what a crash leaves behind is
 * nothing, or all but that. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "crypto/random.h"
#include "fs/commit.h"
#include "fs/records.h"
#include "fs/superblocks.h"
#include "fs/volume.h"
#include "meta/sealer.h"

#define NAME_KEY_LEN 32u

struct format {
    const struct volume_config *config;
    const struct volume_inheritance *inheritance; /* NULL: it is empty */
    struct superblock superblock;
    struct sealer *sealer;
    struct meta_engine *engine;
};

static int draw_key(struct secret *ret)
{
    int r = secret_new(ret, NAME_KEY_LEN);

    if (r == 0)
        random_bytes(ret->data, ret->len);
    return r;
}

static int take_keys(const struct volume_inheritance *inheritance, struct superblock *superblock)
{
    int r = secret_assign(&superblock->name_key, secret_bytes(inheritance->name_key));

    return r < 0 ? r : secret_assign(&superblock->chunk_key, secret_bytes(inheritance->chunk_key));
}

static int draw_keys(struct superblock *superblock)
{
    int r = draw_key(&superblock->name_key);

    return r < 0 ? r : draw_key(&superblock->chunk_key);
}

static int draw_superblock(struct format *format, uint32_t block_size, struct error *err)
{
    struct superblock *superblock = &format->superblock;
    uint64_t now = (uint64_t)clock_wall_ns();

    superblock->uuid = format->config->uuid;
    superblock->generation = key_set_newest(format->config->keys);
    superblock->block_size = block_size;
    superblock->created_ns = now;
    superblock->owner = format->config->owner;
    superblock->owner_count = 1;
    superblock->written_ns = now;
    superblock->is_clean = true;
    int r = format->inheritance != NULL ? take_keys(format->inheritance, superblock)
                                        : draw_keys(superblock);
    return r < 0 ? error_set(err, r, "no memory for the keys of a new filesystem") : 0;
}

static int put_root(struct meta_txn *txn, const struct volume_owner *owner, struct error *err)
{
    int64_t now = clock_file_ns();
    const struct inode root = { .mode = S_IFDIR | 0755,
                                .nlink = 2,
                                .uid = owner->uid,
                                .gid = owner->gid,
                                .parent = VOLUME_ROOT,
                                .atime_ns = now,
                                .mtime_ns = now,
                                .ctime_ns = now };
    uint8_t value[INODE_VALUE_MAX];
    struct record_key key;
    size_t len;

    inode_key(VOLUME_ROOT, &key);
    int r = inode_encode(&root, value, &len);
    if (r < 0)
        return error_set(err, r, "the root directory cannot be stored");
    return meta_put(txn, record_key_bytes(&key), (struct bytes){ .data = value, .len = len }, err);
}

static int put_empty(struct format *format, struct meta_txn *txn, struct error *err)
{
    const struct counters_record counters = { .next_ino = VOLUME_ROOT + 1, .files = 1 };
    int r = put_root(txn, &format->config->root, err);

    return r < 0 ? r : counters_put(txn, &counters, err);
}

/* The root directory is among what is imported. */
static int put_inherited(const struct volume_inheritance *inheritance, struct meta_txn *txn,
                         struct error *err)
{
    struct record_key cursor;

    state_key(STATE_IMPORT, &cursor);
    int r = origin_put(txn, &inheritance->origin, err);
    if (r == 0)
        r = underlay_put_cursor(txn, &cursor, err);
    return r < 0 ? r : counters_put(txn, &inheritance->counters, err);
}

static int put_all(struct format *format, struct error *err)
{
    CLEANUP(meta_abortp) struct meta_txn *txn = NULL;

    int r = meta_begin(format->engine, META_WRITE, &txn, err);
    if (r == 0)
        r = format->inheritance != NULL ? put_inherited(format->inheritance, txn, err)
                                        : put_empty(format, txn, err);
    if (r == 0)
        r = superblock_put(txn, &format->superblock, format->config->keys, err);
    if (r == 0)
        r = meta_commit(TAKE(txn), err);
    return r < 0 ? r : meta_sync(format->engine, err);
}

static int make_metadata(struct format *format, struct error *err)
{
    const struct sealer_config config = { .keys = format->config->keys,
                                          .name_key = &format->superblock.name_key,
                                          .owner = format->config->owner };
    const struct meta_options options = { .create = true };
    struct meta_hooks hooks = { .arg = NULL };

    int r = sealer_new(&config, &format->sealer, err);
    if (r < 0)
        return r;
    sealer_hooks(format->sealer, &hooks);
    r = meta_engine_open(format->config->meta_url, &options, &hooks, &format->engine, err);
    if (r < 0)
        return r;
    r = sealer_load(format->sealer, format->engine, err);
    if (r == 0)
        r = put_all(format, err);
    int closed = meta_close(TAKE(format->engine), r < 0 ? NULL : err);
    return r < 0 ? r : closed;
}

/* There is metadata: that of this filesystem, whose superblock did not get as far as the store? */
static int take_up(struct format *format, struct error *err)
{
    const struct meta_options options = { .read_only = true };
    const struct meta_hooks hooks = { .arg = NULL };
    struct superblock_places places = { .store_r = -ENOENT };

    int r = meta_engine_open(format->config->meta_url, &options, &hooks, &format->engine, err);
    if (r < 0)
        return r;
    r = superblocks_read(format->config->store, format->engine, format->config->keys, &places, err);
    (void)meta_close(TAKE(format->engine), NULL);
    if (r < 0)
        return r;
    if (places.copy_r != 0 || !uuid_equal(&places.copy.uuid, &format->config->uuid)) {
        superblocks_release(&places);
        return error_set(err, -EEXIST,
                         "there is metadata of something else already; name another "
                         "place");
    }
    superblock_release(&format->superblock);
    format->superblock = places.copy;
    places.copy = (struct superblock){ .generation = 0 };
    superblocks_release(&places);
    return 0;
}

static int format_all(struct format *format, uint32_t block_size, struct error *err)
{
    struct error why = { 0 };
    uint64_t size;

    int r = object_store_stat(format->config->store, SUPERBLOCK_OBJECT, &size, err);
    if (r == 0)
        return error_set(err, -EEXIST, "the store holds a filesystem already; name another one");
    if (r != -ENOENT)
        return r;
    r = draw_superblock(format, block_size, err);
    if (r < 0)
        return r;
    r = make_metadata(format, &why);
    if (r == -EEXIST)
        r = take_up(format, err);
    else if (r < 0)
        return error_set(err, r, "%s", why.text);
    if (r < 0)
        return r;
    return superblock_write(format->config->store, &format->superblock, format->config->keys, true,
                            err);
}

static int make(const struct volume_config *config, uint32_t block_size,
                const struct volume_inheritance *inheritance, struct error *err)
{
    struct format format = { .config = config, .inheritance = inheritance };
    struct error why = { 0 };

    if (block_size == 0 || block_size > CHUNK_SIZE || (block_size & (block_size - 1)) != 0)
        return error_set(err, -EINVAL, "the block size must be a power of two up to 1 MiB");
    int r = format_all(&format, block_size, &why);
    sealer_free(format.sealer);
    superblock_release(&format.superblock);
    return r < 0 ? error_set(err, r, "%s", why.text) : 0;
}

int volume_format(const struct volume_config *config, uint32_t block_size, struct error *err)
{
    return make(config, block_size, NULL, err);
}

int volume_format_inherited(const struct volume_config *config,
                            const struct volume_inheritance *inheritance, struct error *err)
{
    return make(config, inheritance->block_size, inheritance, err);
}
