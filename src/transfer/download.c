#include "transfer/download.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "transfer/dump.h"

struct preparing {
    const struct download_config *config;
    struct transfer_keys *keys;
    struct manifest manifest;
    size_t manifest_len;
    struct download *download;
    struct error *err;
};

static int open_head(struct preparing *preparing)
{
    const struct download_config *config = preparing->config;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    int r = head_get(config->bucket, config->locator.manifest, &encoded, preparing->err);
    if (r == 0)
        r = head_verify(buf_bytes(&encoded), config->keys, config->known,
                        &preparing->download->superblock, &preparing->keys, preparing->err);
    return r;
}

static int open_manifest(struct preparing *preparing)
{
    const struct download_config *config = preparing->config;

    return manifest_get(config->bucket, preparing->keys, config->locator.manifest,
                        &preparing->manifest, &preparing->manifest_len, preparing->err);
}

/* --- the reference --- */

static int needed_names(const struct preparing *preparing, struct name_set *ret)
{
    const struct bucket_name name =
        bucket_name_of(BUCKET_MANIFEST, preparing->config->locator.manifest);
    int r = manifest_names(&preparing->manifest, ret);

    if (r == 0)
        r = name_set_add(ret, &name, preparing->manifest_len);
    if (r == 0)
        name_set_sort(ret);
    return r;
}

static int tell_missing(const struct preparing *preparing, const struct name_set *missing)
{
    char text[OBJECT_NAME_MAX + 1];

    bucket_object_name(preparing->config->bucket, &missing->items[0].name, text);
    return error_set(preparing->err, -ENOENT,
                     "the object store lacks %zu objects of the snapshot, among them %s: it was "
                     "removed, or they were",
                     missing->count, text);
}

static int hold_objects(struct preparing *preparing, struct reference *reference,
                        struct name_set *needed)
{
    CLEANUP(name_set_release) struct name_set names = NAME_SET_INIT;
    CLEANUP(name_set_release) struct name_set missing = NAME_SET_INIT;
    struct error *err = preparing->err;

    if (name_set_join(&names, needed) < 0)
        return error_set(err, -ENOMEM, "cannot download a snapshot: out of memory");
    int r = reference_add(reference, &names, err);
    if (r == 0)
        r = reference_settle(reference, needed, &preparing->config->wait, &missing, err);
    return r < 0 || missing.count == 0 ? r : tell_missing(preparing, &missing);
}

/* What a bucket says that may not be written to. */
static bool is_read_only(int r)
{
    return r == -EACCES || r == -EPERM || r == -EROFS;
}

static int tell_read_only(struct error *err)
{
    char why[sizeof(err->text)];

    (void)snprintf(why, sizeof(why), "%.300s", err->text);
    return error_set(err, -EROFS,
                     "nothing can be written to the object store, so that it could not be kept "
                     "there that its objects are needed (--read-only-store does without): %s",
                     why);
}

static int put_reference(struct preparing *preparing)
{
    const struct download_config *config = preparing->config;
    const struct reference_head head = { REFERENCE_DOWNLOAD, config->reference, config->fs,
                                         config->instance, config->now_ns };
    CLEANUP(name_set_release) struct name_set needed = NAME_SET_INIT;
    struct reference reference;

    if (uuid_is_zero(&config->reference))
        return 0;
    if (needed_names(preparing, &needed) < 0)
        return error_set(preparing->err, -ENOMEM, "cannot download a snapshot: out of memory");
    int r = reference_open(&reference, config->bucket, &head, preparing->err);
    if (r == 0) {
        r = hold_objects(preparing, &reference, &needed);
        reference_close(&reference);
    }
    if (r == -ENOENT) /* then it keeps the rest for nobody */
        (void)reference_drop(config->bucket, &config->reference, NULL);
    return is_read_only(r) ? tell_read_only(preparing->err) : r;
}

/* --- what the new filesystem begins with --- */

/* The last INODE record is in the last chunk that begins in front of the next kind. */
static int find_next_ino(struct preparing *preparing)
{
    const struct dump_source source = { preparing->config->bucket, preparing->keys,
                                        &preparing->manifest };
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    struct dump_chunk chunk = { .records = 0 };
    struct record_key first, end;
    struct dump_record record;
    uint64_t ino = 0;

    kind_range(RECORD_INODE, &first, &end);
    if (preparing->manifest.chunk_count == 0)
        return error_set(preparing->err, -EBADMSG, "the snapshot has no records");
    int r =
        dump_chunk_get(&source, manifest_find_chunk(&preparing->manifest, record_key_bytes(&end)),
                       &plain, &chunk, preparing->err);
    for (struct bytes body = chunk.body; r == 0 && dump_record_next(&body, &record);)
        if (record_kind_of(record.key) == RECORD_INODE)
            r = record_key_inode(record.key, RECORD_INODE, &ino, NULL);
    if (r == 0 && (ino == 0 || ino > INODE_NUMBER_MAX))
        r = -EBADMSG;
    if (r < 0)
        return preparing->err->code != 0
                   ? r
                   : error_set(preparing->err, r, "the snapshot has no files, or is malformed");
    preparing->download->counters.next_ino = ino + 1;
    return 0;
}

static void describe(struct preparing *preparing)
{
    const struct download_config *config = preparing->config;
    const struct manifest *manifest = &preparing->manifest;
    struct download *download = preparing->download;

    download->about = manifest->about;
    download->block_size = manifest->block_size;
    download->counters.files = manifest->about.inodes;
    download->counters.stored = manifest->about.size;
    download->origin = (struct origin_record){ .state = ORIGIN_NEEDED,
                                               .fs = manifest->fs,
                                               .generation = manifest->generation,
                                               .reference = config->reference,
                                               .data_len = manifest->data_len };
    memcpy(download->origin.manifest, config->locator.manifest, HASH_LEN);
}

int download_prepare(const struct download_config *config, struct download *ret, struct error *err)
{
    struct download download = { .superblock = { .name_key = SECRET_INIT,
                                                 .chunk_key = SECRET_INIT } };
    struct error why = { .code = 0 };
    struct preparing preparing = {
        .config = config, .manifest = MANIFEST_INIT, .download = &download, .err = &why
    };

    int r = open_head(&preparing);
    if (r == 0)
        r = open_manifest(&preparing);
    if (r == 0)
        r = put_reference(&preparing);
    if (r == 0)
        r = find_next_ino(&preparing);
    if (r == 0)
        describe(&preparing);
    transfer_keys_free(preparing.keys);
    manifest_release(&preparing.manifest);
    if (r < 0) {
        download_release(&download);
        return error_set(err, r, "%s", why.code != 0 ? why.text : strerrordesc_np(-r));
    }
    *ret = download;
    return 0;
}

void download_release(struct download *download)
{
    superblock_release(&download->superblock);
}

struct volume_inheritance download_inheritance(const struct download *download)
{
    return (struct volume_inheritance){ .name_key = &download->superblock.name_key,
                                        .chunk_key = &download->superblock.chunk_key,
                                        .block_size = download->block_size,
                                        .origin = download->origin,
                                        .counters = download->counters };
}
