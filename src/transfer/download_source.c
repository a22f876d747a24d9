/* What a downloaded filesystem reads from the bucket until it is there: chunks of records, of which
 * some stay in memory, and packs, which are read ahead. Who finds the bucket failing waits for a
 * while and tries again; when that was in vain, those who come later try once, until one succeeds.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"
#include "transfer/download.h"
#include "transfer/dump.h"
#include "transfer/windows.h"

#define CACHE_CHUNKS 64u /* of at most 256 KiB each */
#define PATIENCE_MS 20000
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 2000
#define REPORT_REST_MS ((int64_t)60 * 1000)

struct kept_chunk {
    struct underlay_chunk base;
    struct buf plain;
    unsigned refs; /* the cache's one included */
    bool is_loading;
    uint64_t used; /* when, in the cache's time */
};

struct download_source {
    struct volume_origin base;
    struct underlay_source records;
    struct bucket bucket;
    struct origin_record record;
    int64_t patience_ms;
    origin_trouble_fn *on_trouble;
    void *trouble_arg;
    struct transfer_keys *keys;
    struct manifest manifest;
    struct windows windows;

    struct mutex lock; /* guards all below */
    pthread_cond_t changed;
    bool is_stopping;
    void (*end)(void *arg); /* never changes, as its argument: download.h */
    void *end_arg;
    bool is_away; /* somebody waited in vain */
    int64_t reported_ms;
    struct kept_chunk *cache[CACHE_CHUNKS];
    uint64_t time;
};

static struct download_source *source_of(struct volume_origin *origin)
{
    return (struct download_source *)origin;
}

static struct download_source *source_of_records(struct underlay_source *records)
{
    return (struct download_source *)((char *)records - offsetof(struct download_source, records));
}

/* --- waiting --- */

/* Of the store; the rest says something of what lies there, and waiting changes nothing. */
static bool can_pass(int r)
{
    return r < 0 && !is_altered(r) && r != -ENOKEY && r != -ENOMEM && r != -ENOENT && r != -EFBIG &&
           r != -EINVAL;
}

struct patience {
    int64_t until_ms;
    int64_t pause_ms;
};

static struct patience be_patient(struct download_source *source)
{
    mutex_lock(&source->lock);
    int64_t patience_ms = source->is_away ? 0 : source->patience_ms;
    mutex_unlock(&source->lock);
    return (struct patience){ clock_monotonic_ms() + patience_ms, PAUSE_MIN_MS };
}

static void report(struct download_source *source, const struct error *why)
{
    int64_t now_ms = clock_monotonic_ms();

    mutex_lock(&source->lock);
    bool is_told = source->is_stopping ||
                   (source->reported_ms != 0 && now_ms - source->reported_ms < REPORT_REST_MS);
    if (!is_told)
        source->reported_ms = now_ms;
    source->is_away = true;
    mutex_unlock(&source->lock);
    if (!is_told && source->on_trouble)
        source->on_trouble(why->text, source->trouble_arg);
}

/* Whether to try again what ended with r. */
static bool waits(struct download_source *source, struct patience *patience, int r,
                  const struct error *why)
{
    if (!can_pass(r)) {
        mutex_lock(&source->lock);
        source->is_away = false;
        source->reported_ms = r == 0 ? 0 : source->reported_ms;
        mutex_unlock(&source->lock);
        return false;
    }
    int64_t now_ms = clock_monotonic_ms();
    int64_t until_ms = now_ms + patience->pause_ms;
    mutex_lock(&source->lock);
    bool goes_on = !source->is_stopping && now_ms < patience->until_ms;
    while (goes_on && !source->is_stopping &&
           cond_wait_until(&source->changed, &source->lock, until_ms))
        ;
    mutex_unlock(&source->lock);
    patience->pause_ms =
        2 * patience->pause_ms < PAUSE_MAX_MS ? 2 * patience->pause_ms : PAUSE_MAX_MS;
    if (!goes_on)
        report(source, why);
    return goes_on;
}

/* What the volume is told: what is missing is as bad as what was altered. */
static int in_its_words(int r, const char *what, const struct error *why, struct error *err)
{
    const char *text = why->code != 0 ? why->text : strerrordesc_np(-r);

    if (r == -ENOENT || r == -EFBIG || r == -EINVAL)
        return error_set(err, -EBADMSG, "%s%s", what, text);
    return error_set(err, can_pass(r) ? -EIO : r, "%s%s", what, text);
}

/* --- chunks --- */

static bool next_record(struct bytes *body, struct bytes *ret_key, struct bytes *ret_value)
{
    struct dump_record record;

    if (!dump_record_next(body, &record))
        return false;
    *ret_key = record.key;
    *ret_value = record.value;
    return true;
}

static int load(struct download_source *source, struct kept_chunk *kept, struct error *err)
{
    const struct dump_source dump = { &source->bucket, source->keys, &source->manifest };
    struct patience patience = be_patient(source);
    struct dump_chunk chunk = { .records = 0 };
    uint32_t index = kept->base.index;
    struct error why;
    int r;

    do {
        why = (struct error){ .code = 0 };
        r = dump_chunk_get(&dump, index, &kept->plain, &chunk, &why);
    } while (waits(source, &patience, r, &why));
    if (r < 0)
        return in_its_words(r, "", &why, err);
    kept->base.first = chunk.first_key;
    kept->base.body = chunk.body;
    if (index + 1 < source->manifest.chunk_count)
        kept->base.behind = manifest_first_key(&source->manifest, index + 1);
    return 0;
}

static void put_chunk(struct kept_chunk *kept)
{
    if (--kept->refs > 0)
        return;
    buf_release(&kept->plain);
    free(kept);
}

static struct kept_chunk *find_chunk(struct download_source *source, uint32_t index)
    REQUIRES(source->lock)
{
    for (unsigned i = 0; i < CACHE_CHUNKS; i++)
        if (source->cache[i] && source->cache[i]->base.index == index)
            return source->cache[i];
    return NULL;
}

/* The place of the one that was used longest ago; one that is loaded just now stays. */
static unsigned free_place(struct download_source *source) REQUIRES(source->lock)
{
    unsigned best = CACHE_CHUNKS;

    for (unsigned i = 0; i < CACHE_CHUNKS; i++) {
        struct kept_chunk *kept = source->cache[i];
        if (!kept)
            return i;
        if (!kept->is_loading && (best == CACHE_CHUNKS || kept->used < source->cache[best]->used))
            best = i;
    }
    if (best < CACHE_CHUNKS)
        put_chunk(TAKE(source->cache[best]));
    return best;
}

static void forget(struct download_source *source, const struct kept_chunk *kept)
    REQUIRES(source->lock)
{
    for (unsigned i = 0; i < CACHE_CHUNKS; i++)
        if (source->cache[i] == kept)
            put_chunk(TAKE(source->cache[i]));
}

/* Others who need it meanwhile wait for this one. */
static int load_new(struct download_source *source, uint32_t index, struct kept_chunk **ret,
                    struct error *err) REQUIRES(source->lock)
{
    struct kept_chunk *kept = calloc(1, sizeof(*kept));

    if (!kept)
        return error_set(err, -ENOMEM, "no memory for records of the snapshot");
    kept->base.index = index;
    kept->refs = 1;
    kept->is_loading = true;
    unsigned place = free_place(source);
    if (place < CACHE_CHUNKS) {
        source->cache[place] = kept;
        kept->refs++;
    }
    mutex_unlock(&source->lock);
    int r = load(source, kept, err);
    mutex_lock(&source->lock);
    kept->is_loading = false;
    if (r < 0) {
        forget(source, kept);
        put_chunk(kept);
    } else {
        *ret = kept;
    }
    (void)pthread_cond_broadcast(&source->changed);
    return r;
}

static int take_locked(struct download_source *source, uint32_t index, bool may_wait,
                       struct kept_chunk **ret, struct error *err) REQUIRES(source->lock)
{
    struct kept_chunk *kept = find_chunk(source, index);

    while (kept && kept->is_loading && may_wait) {
        cond_wait(&source->changed, &source->lock);
        kept = find_chunk(source, index);
    }
    if (kept && !kept->is_loading) {
        kept->refs++;
        kept->used = ++source->time;
        *ret = kept;
        return 0;
    }
    if (!may_wait)
        return -EAGAIN;
    int r = load_new(source, index, &kept, err);
    if (r == 0) {
        kept->used = ++source->time;
        *ret = kept;
    }
    return r;
}

static int take_chunk(struct underlay_source *records, struct bytes key, bool may_wait,
                      struct underlay_chunk **ret, struct error *err)
{
    struct download_source *source = source_of_records(records);
    struct kept_chunk *kept = NULL;

    if (source->manifest.chunk_count == 0)
        return -ENOENT;
    mutex_lock(&source->lock);
    int r = take_locked(source, manifest_find_chunk(&source->manifest, key), may_wait, &kept, err);
    mutex_unlock(&source->lock);
    if (r == 0)
        *ret = &kept->base;
    return r;
}

static void give_chunk(struct underlay_source *records, struct underlay_chunk *chunk)
{
    struct download_source *source = source_of_records(records);

    mutex_lock(&source->lock);
    put_chunk((struct kept_chunk *)chunk);
    mutex_unlock(&source->lock);
}

static const struct underlay_source_ops record_ops = {
    .take = take_chunk,
    .give = give_chunk,
    .next = next_record,
};

/* --- packs --- */

struct pack {
    struct object base;
    struct download_source *source;
    struct uuid id;
    struct bucket_name name;
    struct mutex lock;
    struct object *inner; /* NULL: to be opened; under the lock, but stays until it is closed */
};

static int open_inner(struct pack *pack, struct object **ret, struct error *err)
{
    const struct pack_entry *entry = manifest_find_pack(&pack->source->manifest, pack->id.bytes);
    char text[OBJECT_NAME_MAX + 1];
    struct object *opened = NULL;
    int r = 0;

    mutex_lock(&pack->lock);
    *ret = pack->inner;
    mutex_unlock(&pack->lock);
    if (*ret)
        return 0;
    bucket_object_name(&pack->source->bucket, &pack->name, text);
    r = object_store_open_sized(pack->source->bucket.store, text, entry ? entry->len : 0, &opened,
                                err);
    if (r < 0)
        return r;
    mutex_lock(&pack->lock);
    if (!pack->inner)
        pack->inner = TAKE(opened);
    *ret = pack->inner;
    mutex_unlock(&pack->lock);
    object_close(opened);
    return 0;
}

static void note_missing(const struct pack *pack, struct error *err)
{
    char text[OBJECT_NAME_MAX + 1];

    bucket_object_name(&pack->source->bucket, &pack->name, text);
    (void)error_set(err, -ENOENT, "%s is missing in the object store", text);
}

static int read_patiently(struct pack *pack, uint64_t offset, size_t len, uint8_t *to,
                          size_t *ret_len, struct error *err)
{
    struct patience patience = be_patient(pack->source);
    struct object *inner = NULL;
    struct error why;
    int r;

    do {
        why = (struct error){ .code = 0 };
        r = open_inner(pack, &inner, &why);
        if (r == 0)
            r = object_read(inner, offset, len, to, ret_len, &why);
        if (r == -ENOENT)
            note_missing(pack, &why);
    } while (waits(pack->source, &patience, r, &why));
    return r < 0 ? in_its_words(r, "", &why, err) : 0;
}

static int pack_read(struct object *object, uint64_t offset, size_t len, uint8_t *to,
                     size_t *ret_len, struct error *err)
{
    struct pack *pack = (struct pack *)object;
    struct windows *windows = &pack->source->windows;
    struct window *window;
    size_t got = 0;

    *ret_len = len;
    if (windows_read(windows, &pack->id, offset, len, to, &window))
        return 0;
    if (!window)
        return read_patiently(pack, offset, len, to, ret_len, err);
    int r = read_patiently(pack, offset, WINDOW_LEN, window->data, &got, err);
    *ret_len = len < got ? len : got;
    if (r == 0)
        memcpy(to, window->data, *ret_len);
    windows_filled(windows, window, r == 0 ? got : 0);
    return r;
}

static int pack_read_origin(struct object *object, uint64_t offset, size_t len, uint8_t *to,
                            size_t *ret_len, struct error *err)
{
    struct pack *pack = (struct pack *)object;

    windows_forget(&pack->source->windows, &pack->id);
    return read_patiently(pack, offset, len, to, ret_len, err);
}

static void pack_close(struct object *object)
{
    struct pack *pack = (struct pack *)object;

    object_close(pack->inner);
    (void)pthread_mutex_destroy(&pack->lock.native);
    free(pack);
}

static const struct object_ops pack_ops = {
    .read = pack_read,
    .read_origin = pack_read_origin,
    .close = pack_close,
};

/* The bucket is asked when it is read. */
static int pack_open(void *arg, const struct uuid *id, struct object **ret, struct error *err)
{
    struct pack *pack = calloc(1, sizeof(*pack));

    if (!pack)
        return error_set(err, -ENOMEM, "no memory to read a pack");
    pack->base.ops = &pack_ops;
    pack->source = arg;
    pack->id = *id;
    pack->name = bucket_name_of(BUCKET_PACK, id->bytes);
    pack->lock = MUTEX_INIT;
    *ret = &pack->base;
    return 0;
}

static bool has_pack(void *arg, const struct uuid *id)
{
    const struct download_source *source = arg;

    return manifest_find_pack(&source->manifest, id->bytes) != NULL;
}

/* --- all --- */

static void source_stop(struct volume_origin *origin)
{
    struct download_source *source = source_of(origin);

    mutex_lock(&source->lock);
    source->is_stopping = true;
    (void)pthread_cond_broadcast(&source->changed);
    mutex_unlock(&source->lock);
    if (source->end)
        source->end(source->end_arg);
}

static int source_done(struct volume_origin *origin, struct error *err)
{
    struct download_source *source = source_of(origin);

    windows_forget(&source->windows, NULL);
    if (uuid_is_zero(&source->record.reference))
        return 0; /* none was put */
    return reference_drop(&source->bucket, &source->record.reference, err);
}

static void source_close(struct volume_origin *origin)
{
    struct download_source *source = source_of(origin);

    for (unsigned i = 0; i < CACHE_CHUNKS; i++)
        if (source->cache[i])
            put_chunk(source->cache[i]);
    transfer_keys_free(source->keys);
    manifest_release(&source->manifest);
    windows_release(&source->windows);
    (void)pthread_mutex_destroy(&source->lock.native);
    (void)pthread_cond_destroy(&source->changed);
    free(source);
}

static const struct volume_origin_ops origin_ops = {
    .stop = source_stop,
    .done = source_done,
    .close = source_close,
};

static int derive_keys(struct download_source *source, const struct origin_opening *opening,
                       struct error *err)
{
    const struct origin_record *record = opening->record;
    const struct secret *key = key_set_find_foreign(opening->keys, &record->fs, record->generation);
    /* The chunk key is inherited; it stays the volume's. */
    const struct superblock origin = { .uuid = record->fs,
                                       .generation = record->generation,
                                       .chunk_key = opening->superblock->chunk_key };
    char id[UUID_TEXT_SIZE];

    uuid_format(&record->fs, id);
    if (!key)
        return error_set(err, -ENOKEY,
                         "generation %u of the key of filesystem %s, of which this one is a "
                         "download, is not at hand",
                         record->generation, id);
    int r = transfer_keys_new(&origin, key, &source->keys);
    return r < 0 ? error_set(err, r, "no memory for the keys of the snapshot") : 0;
}

static int get_manifest(struct download_source *source, struct error *err)
{
    size_t len = 0;

    return manifest_get(&source->bucket, source->keys, source->record.manifest, &source->manifest,
                        &len, err);
}

const struct snapshot_about *download_about(const struct volume_origin *origin)
{
    return &((const struct download_source *)origin)->manifest.about;
}

int download_open(const struct origin_opening *opening, void *arg, struct volume_origin **ret,
                  struct error *err)
{
    const struct download_place *place = arg;
    struct download_source *source = calloc(1, sizeof(*source));
    int r = 0;

    if (!source)
        return error_set(err, -ENOMEM, "no memory for a download");
    source->base.ops = &origin_ops;
    source->records.ops = &record_ops;
    source->bucket = *place->bucket;
    source->record = *opening->record;
    source->patience_ms = place->patience_ms > 0 ? place->patience_ms : PATIENCE_MS;
    source->on_trouble = opening->on_trouble;
    source->trouble_arg = opening->trouble_arg;
    source->manifest = MANIFEST_INIT;
    windows_init(&source->windows);
    source->lock = MUTEX_INIT;
    source->changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    if (opening->record->state == ORIGIN_NEEDED) {
        r = derive_keys(source, opening, err);
        if (r == 0)
            r = get_manifest(source, err);
    }
    if (r < 0) {
        source_close(&source->base);
        return r;
    }
    source->base.records = &source->records;
    source->base.starts_paused = place->starts_paused;
    source->end = place->end;
    source->end_arg = place->end_arg;
    source->base.chunk_count = source->manifest.chunk_count;
    source->base.packs = (struct segment_packs){ has_pack, pack_open, source };
    *ret = &source->base;
    return 0;
}
