/* A snapshot in a bucket for a filesystem of the same origin: believed, and its keys found. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "transfer/download.h"

static void superblock_clear(struct superblock *superblock)
{
    superblock_release(superblock);
    *superblock = (struct superblock){ .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
}

struct opening {
    const struct download_snapshot *snapshot;
    struct superblock own;
    struct superblock origin; /* that of the head, believed */
    struct key_set *keys;     /* one: that of the head, as its own and as a foreign one */
    struct error *err;
};

static const struct secret *find_key(const struct opening *opening, const struct uuid *fs,
                                     uint32_t generation)
{
    const struct key_set *keys = opening->snapshot->keys;

    return uuid_equal(fs, &opening->own.uuid) ? key_set_find(keys, generation)
                                              : key_set_find_foreign(keys, fs, generation);
}

static int require_key(const struct opening *opening, const struct uuid *fs, uint32_t generation,
                       const struct secret **ret)
{
    char id[UUID_TEXT_SIZE];

    *ret = find_key(opening, fs, generation);
    if (*ret != NULL)
        return 0;
    uuid_format(fs, id);
    return error_set(opening->err, -ENOKEY,
                     "the snapshot needs generation %u of the key of filesystem %s, which is not "
                     "at hand",
                     generation, id);
}

/* Whoever has the same name key descends from the same filesystem: it is drawn once and inherited.
 */
static int compare_origins(const struct opening *opening)
{
    char id[UUID_TEXT_SIZE];

    if (secret_equal(secret_bytes(&opening->origin.name_key), secret_bytes(&opening->own.name_key)))
        return 0;
    uuid_format(&opening->origin.uuid, id);
    return error_set(opening->err, -EXDEV,
                     "the snapshot is of filesystem %s, which is of another origin; coffer fs "
                     "download makes a new filesystem of it",
                     id);
}

static int open_head(struct opening *opening)
{
    const struct download_snapshot *snapshot = opening->snapshot;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    CLEANUP(transfer_keys_freep) struct transfer_keys *transfer = NULL;
    struct snapshot_head head;
    struct superblock peeked = { .generation = 0 };
    const struct secret *key = NULL;

    int r = head_get(snapshot->bucket, snapshot->locator.manifest, &encoded, opening->err);
    if (r == 0)
        r = head_decode(buf_bytes(&encoded), &head, opening->err);
    if (r == 0)
        r = superblock_peek(head.superblock, &peeked, opening->err);
    if (r == 0)
        r = require_key(opening, &peeked.uuid, peeked.generation, &key);
    if (r < 0)
        return r;
    r = key_set_add(opening->keys, peeked.generation, key);
    if (r == 0)
        r = key_set_add_foreign(opening->keys, &peeked.uuid, peeked.generation, key);
    if (r < 0)
        return error_set(opening->err, r, "no memory for the key of a snapshot");
    r = head_verify(buf_bytes(&encoded), opening->keys, (struct key_checks){ .count = 0 },
                    &opening->origin, &transfer, opening->err);
    return r < 0 ? r : compare_origins(opening);
}

/* So that what cannot be opened is told before anything is brought. */
static int require_all(const struct opening *opening, const struct snapshot_about *about)
{
    const struct secret *key = NULL;
    int r = 0;

    for (uint32_t i = 0; i < about->needed_count && r == 0; i++)
        r = require_key(opening, &about->needed[i].origin, about->needed[i].generation, &key);
    return r;
}

static int open_origin(struct opening *opening, struct volume_origin **ret)
{
    const struct origin_record record = { .state = ORIGIN_NEEDED,
                                          .fs = opening->origin.uuid,
                                          .generation = opening->origin.generation };
    struct origin_record named = record;
    const struct origin_opening as = { .record = &named,
                                       .superblock = &opening->origin,
                                       .keys = opening->keys };
    struct download_place place = { .bucket = opening->snapshot->bucket,
                                    .patience_ms = opening->snapshot->patience_ms };
    struct volume_origin *origin = NULL;

    memcpy(named.manifest, opening->snapshot->locator.manifest, sizeof(named.manifest));
    int r = download_open(&as, &place, &origin, opening->err);
    if (r < 0)
        return r;
    r = require_all(opening, download_about(origin));
    if (r < 0)
        origin->ops->close(origin);
    else
        *ret = origin;
    return r;
}

int download_open_snapshot(const struct download_snapshot *snapshot, struct volume_origin **ret,
                           struct error *err)
{
    struct opening opening = { .snapshot = snapshot, .err = err };

    superblock_clear(&opening.own);
    superblock_clear(&opening.origin);
    opening.keys = calloc(1, sizeof(*opening.keys));
    int r = opening.keys == NULL ? error_set(err, -ENOMEM, "no memory for keys") : 0;
    if (r == 0)
        r = superblock_decode(snapshot->superblock, snapshot->keys, &opening.own, err);
    if (r == 0)
        r = open_head(&opening);
    if (r == 0)
        r = open_origin(&opening, ret);
    superblock_release(&opening.own);
    superblock_release(&opening.origin);
    if (opening.keys != NULL)
        key_set_release(opening.keys);
    free(opening.keys);
    return r;
}
