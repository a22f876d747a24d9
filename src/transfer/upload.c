#include "transfer/upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parallel.h"
#include "transfer/pack_plan.h"

#define PARALLEL 4u
#define CHUNKS_WAITING 16u /* sealed, for one part of the reference */
#define NAMES_WAITING 4096u
#define SETTLE_TRIES 10u
#define AGAIN_MISSING                                                                              \
    "what is uploaded is missing in the object store again and again: does somebody remove "       \
    "objects"                                                                                      \
    " there?"

struct sealed_chunk {
    struct bucket_name name;
    struct buf object;
};

struct upload {
    const struct upload_config *config;
    struct superblock superblock;
    struct transfer_keys *keys;
    struct name_set there; /* when it began */
    struct placed_list base;
    struct pack_plan plan;
    struct name_set planned; /* its packs */
    struct manifest manifest;
    struct bucket_name manifest_name;
    struct buf manifest_object;
    struct reference reference;
    bool has_reference;
    struct name_set new_names; /* to be in the next part of the reference */
    struct sealed_chunk chunks[CHUNKS_WAITING];
    unsigned chunk_count;
    const struct name_set *only; /* the dump is made again: for these chunks */
    uint64_t inodes, size;
    struct error *err;

    struct mutex lock; /* while several threads put: guards what is below */
    struct upload_progress progress;
    int failed;
};

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "cannot upload a snapshot: out of memory");
}

static int check_stop(struct upload *upload)
{
    const struct upload_config *config = upload->config;

    if (config->should_stop && config->should_stop(&upload->progress, config->arg))
        return error_set(upload->err, -ECANCELED, "the upload was stopped");
    return 0;
}

/* The first failure of several threads is the one that is told. */
static void note(struct upload *upload, int r, size_t len, uint64_t data, const struct error *err)
{
    mutex_lock(&upload->lock);
    if (r == 0) {
        upload->progress.put_objects++;
        upload->progress.put_bytes += len;
        upload->progress.data_done += data;
        if (upload->config->on_progress)
            upload->config->on_progress(&upload->progress, upload->config->arg);
    } else if (upload->failed == 0) {
        upload->failed = r;
        if (upload->err)
            *upload->err = *err;
    }
    mutex_unlock(&upload->lock);
}

static unsigned threads_of(const struct upload *upload)
{
    return upload->config->parallel ? upload->config->parallel : PARALLEL;
}

static bool is_there(const struct upload *upload, const struct bucket_name *name, uint64_t len)
{
    const struct bucket_object *found = name_set_find(&upload->there, name);

    return found && found->size == len;
}

/* --- what is in the bucket already --- */

struct base_search {
    struct buf head;
    uint64_t created_ns;
};

/* The newest snapshot of the same filesystem. */
static void look_at_head(const struct upload *upload, const struct bucket_name *name,
                         struct base_search *search)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct superblock superblock;
    struct snapshot_head head;

    if (head_get(upload->config->bucket, name->id, &encoded, NULL) < 0 ||
        head_decode(buf_bytes(&encoded), &head, NULL) < 0 ||
        superblock_peek(head.superblock, &superblock, NULL) < 0)
        return;
    if (!uuid_equal(&superblock.uuid, &upload->superblock.uuid) ||
        (search->head.len > 0 && head.about.created_ns <= search->created_ns))
        return;
    search->created_ns = head.about.created_ns;
    buf_move(&search->head, &encoded);
}

/* What does not verify is no base. */
static int load_base(struct upload *upload, struct bytes encoded)
{
    CLEANUP(superblock_release)
    struct superblock superblock = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    CLEANUP(transfer_keys_freep) struct transfer_keys *keys = NULL;
    CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    struct snapshot_head head;

    int r = head_decode(encoded, &head, NULL);
    if (r == 0)
        r = head_verify(encoded, upload->config->keys, (struct key_checks){ .items = NULL },
                        &superblock, &keys, NULL);
    if (r < 0)
        return r;
    const struct bucket_name name = bucket_name_of(BUCKET_MANIFEST, head.manifest);
    r = bucket_get(upload->config->bucket, &name, MANIFEST_MAX, &object, NULL);
    if (r == 0)
        r = manifest_open(keys, head.manifest, buf_bytes(&object), &manifest, NULL);
    const struct dump_source source = { upload->config->bucket, keys, &manifest };
    return r == 0 ? placed_load(&source, &upload->base, NULL) : r;
}

/* Of the base only what lies in packs that are there. */
static void drop_missing(struct upload *upload)
{
    size_t kept = 0;

    for (size_t i = 0; i < upload->base.count; i++) {
        const struct placed *placed = &upload->base.items[i];
        const struct bucket_name name = bucket_name_of(BUCKET_PACK, placed->pack);
        const struct bucket_object *found = name_set_find(&upload->there, &name);
        if (found && (uint64_t)placed->offset + placed->len <= found->size)
            upload->base.items[kept++] = *placed;
    }
    upload->base.count = kept;
}

static int find_base(struct upload *upload)
{
    CLEANUP(name_set_release) struct name_set heads = NAME_SET_INIT;
    struct base_search search = { .head = BUF_INIT };
    const struct bucket *bucket = upload->config->bucket;

    int r = bucket_list(bucket, BUCKET_PACK, &upload->there, upload->err);
    if (r == 0)
        r = bucket_list(bucket, BUCKET_CHUNK, &upload->there, upload->err);
    if (r == 0)
        r = bucket_list(bucket, BUCKET_HEAD, &heads, upload->err);
    for (size_t i = 0; i < heads.count && r == 0; i++)
        look_at_head(upload, &heads.items[i].name, &search);
    if (r == 0 && search.head.len > 0 && load_base(upload, buf_bytes(&search.head)) == 0)
        drop_missing(upload);
    buf_release(&search.head);
    return r;
}

/* --- packs --- */

static void put_pack(struct upload *upload, const struct planned_pack *pack)
{
    const struct bucket_name name = bucket_name_of(BUCKET_PACK, pack->id);
    CLEANUP(free_ptr) uint8_t *data = malloc(pack->len);
    struct error err = { .code = 0 };

    int r = data ? 0 : no_memory(&err);
    if (r == 0)
        r = pack_read(&upload->plan, pack, upload->config->source, data, &err);
    if (r == 0)
        r = bucket_put(upload->config->bucket, &name, (struct bytes){ data, pack->len }, &err);
    note(upload, r, pack->len, pack->len, &err);
}

struct pack_batch {
    struct upload *upload;
    const struct planned_pack *packs[64];
    unsigned count;
};

static void put_pack_of(void *arg, size_t index)
{
    struct pack_batch *batch = arg;

    put_pack(batch->upload, batch->packs[index]);
}

static int put_batch(struct pack_batch *batch)
{
    struct upload *upload = batch->upload;

    int r = check_stop(upload);
    if (r < 0)
        return r;
    parallel_each(batch->count, threads_of(upload), put_pack_of, batch);
    batch->count = 0;
    return upload->failed;
}

/* only NULL: those that were not there when it began. */
static int put_packs(struct upload *upload, const struct name_set *only)
{
    struct pack_batch batch = { .upload = upload };
    unsigned full = 2 * threads_of(upload);
    int r = 0;

    full = full < 64 ? full : 64;
    for (size_t i = 0; i < upload->plan.pack_count && r == 0; i++) {
        const struct planned_pack *pack = &upload->plan.packs[i];
        const struct bucket_name name = bucket_name_of(BUCKET_PACK, pack->id);
        if (only ? !name_set_find(only, &name) : is_there(upload, &name, pack->len)) {
            upload->progress.data_done += only ? 0 : pack->len;
            continue;
        }
        batch.packs[batch.count++] = pack;
        if (batch.count == full)
            r = put_batch(&batch);
    }
    return r == 0 && batch.count > 0 ? put_batch(&batch) : r;
}

static int add_name(struct upload *upload, struct name_set *set, const struct bucket_name *name,
                    uint64_t len)
{
    return name_set_add(set, name, len) < 0 ? no_memory(upload->err) : 0;
}

/* Those of older snapshots that are used. */
static int list_old_packs(struct upload *upload)
{
    const struct placed_list *placed = &upload->plan.placed;
    int r = 0;

    for (size_t i = 0; i < placed->count && r == 0; i++) {
        const struct bucket_name name = bucket_name_of(BUCKET_PACK, placed->items[i].pack);
        const struct bucket_object *found = name_set_find(&upload->there, &name);
        if (found && !name_set_find(&upload->planned, &name))
            r = add_name(upload, &upload->new_names, &name, found->size);
    }
    return r;
}

/* Into the manifest and the reference, all that are used. */
static int list_packs(struct upload *upload)
{
    const struct pack_plan *plan = &upload->plan;
    int r = 0;

    for (size_t i = 0; i < plan->pack_count && r == 0; i++) {
        const struct bucket_name name = bucket_name_of(BUCKET_PACK, plan->packs[i].id);
        r = add_name(upload, &upload->planned, &name, plan->packs[i].len);
    }
    name_set_sort(&upload->planned);
    if (r == 0)
        r = list_old_packs(upload);
    if (r == 0 && name_set_join(&upload->new_names, &upload->planned) < 0)
        r = no_memory(upload->err);
    name_set_sort(&upload->new_names);
    for (size_t i = 0; i < upload->new_names.count && r == 0; i++)
        r = manifest_add_pack(&upload->manifest, upload->new_names.items[i].name.id,
                              (uint32_t)upload->new_names.items[i].size, upload->err);
    return r;
}

/* --- chunks --- */

static void put_chunk(void *arg, size_t index)
{
    struct upload *upload = arg;
    const struct sealed_chunk *chunk = &upload->chunks[index];
    struct error err = { .code = 0 };

    int r = bucket_put(upload->config->bucket, &chunk->name, buf_bytes(&chunk->object), &err);
    note(upload, r, chunk->object.len, 0, &err);
}

/* First the names into the reference, then the objects. */
static int flush(struct upload *upload)
{
    int r = check_stop(upload);

    if (r == 0 && !upload->only)
        r = reference_add(&upload->reference, &upload->new_names, upload->err);
    if (r == 0) {
        parallel_each(upload->chunk_count, threads_of(upload), put_chunk, upload);
        r = upload->failed;
    }
    for (unsigned i = 0; i < upload->chunk_count; i++)
        buf_release(&upload->chunks[i].object);
    upload->chunk_count = 0;
    name_set_clear(&upload->new_names);
    return r;
}

static int on_cut(const struct dump_cut *cut, void *arg, struct error *err)
{
    struct upload *upload = arg;
    const struct bucket_name name = bucket_name_of(BUCKET_CHUNK, cut->name);
    const uint32_t len = (uint32_t)cut->plain.len + AEAD_TAG_LEN;
    int r = 0;

    if (!upload->only) {
        r = manifest_add_chunk(&upload->manifest, cut->name, len, cut->records, cut->first_key,
                               err);
        if (r == 0 && name_set_add(&upload->new_names, &name, 0) < 0)
            r = no_memory(err);
    }
    if (r < 0)
        return r;
    if (upload->only ? name_set_find(upload->only, &name) != NULL : !is_there(upload, &name, len)) {
        struct sealed_chunk *chunk = &upload->chunks[upload->chunk_count++];
        chunk->name = name;
        if (chunk_seal(upload->keys, cut->name, cut->plain, &chunk->object) < 0)
            return no_memory(err);
    }
    bool is_full =
        upload->chunk_count == CHUNKS_WAITING || upload->new_names.count >= NAMES_WAITING;
    return is_full ? flush(upload) : 0;
}

struct dumping {
    struct upload *upload;
    struct dump_writer *writer;
};

static int count_inode(struct upload *upload, struct bytes value)
{
    static _Thread_local struct inode inode;

    int r = inode_decode(value, &inode);
    if (r < 0)
        return r;
    upload->inodes++;
    upload->size += inode.stored;
    return 0;
}

static int dump_one(struct bytes key, struct bytes value, void *arg)
{
    struct dumping *dumping = arg;
    struct upload *upload = dumping->upload;
    const struct dump_record record = { key, value };
    int r = 0;

    if (!upload->only && record_kind_of(key) == RECORD_INODE)
        r = count_inode(upload, value);
    upload->progress.records += upload->only ? 0 : 1;
    return r < 0 ? r : dump_writer_add(dumping->writer, &record, upload->err);
}

static int dump_locations(struct dumping *dumping)
{
    const struct placed_list *placed = &dumping->upload->plan.placed;
    struct location_bytes location;
    int r = 0;

    for (size_t i = 0; i < placed->count && r == 0; i++) {
        r = placed_encode(&placed->items[i], &location);
        if (r < 0)
            return error_set(dumping->upload->err, r, "a range of blocks cannot be located");
        r = dump_one(record_key_bytes(&location.key),
                     (struct bytes){ location.value, location.len }, dumping);
    }
    return r;
}

static int dump(struct upload *upload)
{
    CLEANUP(dump_writer_freep) struct dump_writer *writer = NULL;
    uint64_t records = 0;
    struct set_hash set;

    if (dump_writer_new(upload->keys, on_cut, upload, &writer) < 0)
        return no_memory(upload->err);
    struct dumping dumping = { upload, writer };
    int r = upload->config->source->ops->records(upload->config->source, dump_one, &dumping,
                                                 upload->err);
    if (r == 0)
        r = dump_locations(&dumping);
    if (r == 0)
        r = dump_writer_finish(writer, &records, &set, upload->err);
    if (r == 0)
        r = flush(upload);
    if (r == 0 && !upload->only) {
        upload->manifest.records = records;
        upload->manifest.set = set;
    }
    return r;
}

/* --- manifest and head --- */

static int compare_needed(const void *a, const void *b)
{
    const struct key_needed *left = a, *right = b;
    int order = memcmp(left->origin.bytes, right->origin.bytes, UUID_LEN);

    return order != 0
               ? order
               : (left->generation > right->generation) - (left->generation < right->generation);
}

static int add_needed(struct snapshot_about *about, const struct uuid *origin, uint32_t generation)
{
    for (uint32_t i = 0; i < about->needed_count; i++)
        if (about->needed[i].generation == generation &&
            uuid_equal(&about->needed[i].origin, origin))
            return 0;
    if (about->needed_count == KEY_GENERATIONS_MAX)
        return -ENOSPC;
    about->needed[about->needed_count++] = (struct key_needed){ *origin, generation };
    return 0;
}

static int list_needed(struct upload *upload)
{
    struct snapshot_about *about = &upload->manifest.about;
    const struct placed_list *placed = &upload->plan.placed;

    int r = add_needed(about, &upload->superblock.uuid, upload->superblock.generation);
    for (size_t i = 0; i < placed->count && r == 0; i++)
        r = add_needed(about, &placed->items[i].identity.fs, placed->items[i].identity.generation);
    if (r < 0)
        return error_set(upload->err, r, "the snapshot needs more than %u keys",
                         KEY_GENERATIONS_MAX);
    qsort(about->needed, about->needed_count, sizeof(about->needed[0]), compare_needed);
    return 0;
}

static int copy_text(char to[static MANIFEST_NAME_SIZE], const char *from, struct error *err)
{
    size_t len = strlen(from);

    if (len >= MANIFEST_NAME_SIZE)
        return error_set(err, -ENAMETOOLONG, "the name of the filesystem is too long");
    memcpy(to, from, len + 1);
    return 0;
}

static int describe(struct upload *upload)
{
    const struct upload_config *config = upload->config;
    struct manifest *manifest = &upload->manifest;

    manifest->fs = upload->superblock.uuid;
    manifest->generation = upload->superblock.generation;
    manifest->upload = config->upload;
    manifest->block_size = config->source->block_size;
    manifest->data_len = upload->plan.new_len + upload->plan.old_len;
    manifest->about.epoch = config->source->epoch;
    manifest->about.created_ns = config->source->created_ns;
    manifest->about.uploaded_ns = config->started_ns;
    manifest->about.size = upload->size;
    manifest->about.inodes = upload->inodes;
    int r = copy_text(manifest->about.filesystem, config->filesystem, upload->err);
    if (r == 0)
        r = copy_text(manifest->about.snapshot, config->source->snapshot, upload->err);
    if (r == 0)
        r = copy_text(manifest->about.access_point, config->source->access_point, upload->err);
    return r == 0 ? list_needed(upload) : r;
}

static int put_manifest(struct upload *upload)
{
    uint8_t name[HASH_LEN];
    struct error err = { .code = 0 };

    int r = describe(upload);
    if (r == 0)
        r = manifest_seal(&upload->manifest, upload->keys, &upload->manifest_object, name,
                          upload->err);
    if (r < 0)
        return r;
    upload->manifest_name = bucket_name_of(BUCKET_MANIFEST, name);
    name_set_clear(&upload->new_names);
    if (name_set_add(&upload->new_names, &upload->manifest_name, 0) < 0)
        return no_memory(upload->err);
    r = reference_add(&upload->reference, &upload->new_names, upload->err);
    name_set_clear(&upload->new_names);
    if (r == 0) {
        r = bucket_put(upload->config->bucket, &upload->manifest_name,
                       buf_bytes(&upload->manifest_object), &err);
        note(upload, r, upload->manifest_object.len, 0, &err);
    }
    return r;
}

/* -ERESTART: a pack that an older snapshot had put is gone; without it the plan is another one. */
static int look_at_missing(const struct upload *upload, const struct name_set *missing,
                           bool *ret_has_chunks)
{
    *ret_has_chunks = false;
    for (size_t i = 0; i < missing->count; i++) {
        const struct bucket_name *name = &missing->items[i].name;
        if (name->kind == BUCKET_PACK && !name_set_find(&upload->planned, name))
            return -ERESTART;
        *ret_has_chunks = *ret_has_chunks || name->kind == BUCKET_CHUNK;
    }
    return 0;
}

static int put_missing(struct upload *upload, const struct name_set *missing)
{
    bool has_chunks;

    int r = look_at_missing(upload, missing, &has_chunks);
    if (r == 0)
        r = put_packs(upload, missing);
    if (r == 0 && has_chunks) {
        upload->only = missing;
        r = dump(upload);
        upload->only = NULL;
    }
    if (r == 0 && name_set_find(missing, &upload->manifest_name))
        r = bucket_put(upload->config->bucket, &upload->manifest_name,
                       buf_bytes(&upload->manifest_object), upload->err);
    return r;
}

/* The reference may hold names of an earlier try, which may be gone: they are not needed. */
static void keep_needed(struct name_set *missing, const struct name_set *needed)
{
    size_t kept = 0;

    for (size_t i = 0; i < missing->count; i++)
        if (name_set_find(needed, &missing->items[i].name))
            missing->items[kept++] = missing->items[i];
    missing->count = kept;
}

static int settle(struct upload *upload)
{
    CLEANUP(name_set_release) struct name_set needed = NAME_SET_INIT;
    CLEANUP(name_set_release) struct name_set missing = NAME_SET_INIT;

    if (manifest_names(&upload->manifest, &needed) < 0 ||
        name_set_add(&needed, &upload->manifest_name, upload->manifest_object.len) < 0)
        return no_memory(upload->err);
    name_set_sort(&needed);
    for (unsigned i = 0; i < SETTLE_TRIES; i++) {
        int r = reference_settle(&upload->reference, &needed, &upload->config->wait, &missing,
                                 upload->err);
        keep_needed(&missing, &needed);
        if (r < 0 || missing.count == 0)
            return r;
        r = put_missing(upload, &missing);
        if (r < 0)
            return r;
    }
    return error_set(upload->err, -EBUSY, AGAIN_MISSING);
}

static int publish(struct upload *upload)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    const struct upload_config *config = upload->config;
    struct snapshot_head head = { .manifest_len = upload->manifest_object.len,
                                  .upload = config->upload,
                                  .about = upload->manifest.about,
                                  .data_len = upload->manifest.data_len,
                                  .has_names = !config->hides_names,
                                  .superblock = config->superblock,
                                  .ring = config->ring };

    memcpy(head.manifest, upload->manifest_name.id, HASH_LEN);
    int r = head_encode(&head, upload->keys, &encoded, upload->err);
    return r == 0 ? reference_publish(&upload->reference, head.manifest, buf_bytes(&encoded),
                                      upload->err)
                  : r;
}

/* --- all --- */

static int begin(struct upload *upload)
{
    const struct upload_config *config = upload->config;

    int r = superblock_decode(config->superblock, config->keys, &upload->superblock, upload->err);
    if (r < 0)
        return r;
    if (transfer_keys_new(&upload->superblock,
                          key_set_find(config->keys, upload->superblock.generation),
                          &upload->keys) < 0)
        return no_memory(upload->err);
    const struct reference_head about = { REFERENCE_UPLOAD, config->upload, upload->superblock.uuid,
                                          config->instance, config->started_ns };
    r = reference_open(&upload->reference, config->bucket, &about, upload->err);
    upload->has_reference = r == 0;
    return r == 0 ? find_base(upload) : r;
}

static int put_data(struct upload *upload)
{
    int r = pack_plan_make(&upload->plan, upload->keys, upload->config->source, &upload->base,
                           upload->config->pack_len, upload->err);

    if (r == 0)
        r = list_packs(upload);
    if (r < 0)
        return r;
    upload->progress.data = upload->plan.new_len + upload->plan.old_len;
    upload->progress.data_there = upload->plan.old_len;
    upload->progress.data_done = upload->plan.old_len;
    r = reference_add(&upload->reference, &upload->new_names, upload->err);
    name_set_clear(&upload->new_names);
    return r == 0 ? put_packs(upload, NULL) : r;
}

static void release(struct upload *upload)
{
    superblock_release(&upload->superblock);
    transfer_keys_free(upload->keys);
    name_set_release(&upload->there);
    placed_list_release(&upload->base);
    pack_plan_release(&upload->plan);
    name_set_release(&upload->planned);
    manifest_release(&upload->manifest);
    buf_release(&upload->manifest_object);
    if (upload->has_reference)
        reference_close(&upload->reference);
    name_set_release(&upload->new_names);
    for (unsigned i = 0; i < upload->chunk_count; i++)
        buf_release(&upload->chunks[i].object);
    free(upload);
}

static int run(struct upload *upload)
{
    int r = begin(upload);

    if (r == 0)
        r = put_data(upload);
    if (r == 0)
        r = dump(upload);
    if (r == 0)
        r = put_manifest(upload);
    if (r == 0)
        r = settle(upload);
    return r == 0 ? publish(upload) : r;
}

static int try_once(const struct upload_config *config, struct locator *ret,
                    struct upload_progress *progress, struct error *err)
{
    struct error why = { .code = 0 };
    struct upload *upload = calloc(1, sizeof(*upload));

    if (!upload)
        return no_memory(err);
    upload->config = config;
    upload->lock = MUTEX_INIT;
    upload->err = &why;
    upload->there = upload->planned = upload->new_names = NAME_SET_INIT;
    upload->progress.put_objects = progress->put_objects;
    upload->progress.put_bytes = progress->put_bytes;
    int r = run(upload);
    if (r == 0)
        memcpy(ret->manifest, upload->manifest_name.id, HASH_LEN);
    *progress = upload->progress;
    release(upload);
    if (r < 0 && err)
        *err = why;
    return r;
}

int upload_run(const struct upload_config *config, struct locator *ret,
               struct upload_progress *ret_progress, struct error *err)
{
    struct upload_progress progress = { .data = 0 };
    int r = -ERESTART;

    for (unsigned i = 0; i < SETTLE_TRIES && r == -ERESTART; i++)
        r = try_once(config, ret, &progress, err);
    *ret_progress = progress;
    return r == -ERESTART ? error_set(err, -EBUSY, AGAIN_MISSING) : r;
}

int upload_abort(const struct bucket *bucket, const struct uuid *upload, struct error *err)
{
    return reference_drop(bucket, upload, err);
}
