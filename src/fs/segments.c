#include "fs/segments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "fs/segments_internal.h"

int segments_new(const struct segments_config *config, struct segments **ret, struct error *err)
{
    struct segments *segments = calloc(1, sizeof(*segments));

    if (segments == NULL)
        return error_set(err, -ENOMEM, "no memory for the table of segments");
    segments->store = config->store;
    segments->packs = config->packs;
    segments->fs = config->fs;
    segments->generation = key_set_newest(config->keys);
    segments->segment_size = config->segment_size == 0 ? SEGMENT_SIZE : config->segment_size;
    segments->on_trouble = config->on_trouble;
    segments->trouble_arg = config->trouble_arg;
    segments->salvages = config->salvages;
    segments->sync_lock = MUTEX_INIT;
    segments->lock = MUTEX_INIT;
    segments->changed = segments->fetch_turn = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    int r = key_set_copy(&segments->keys, config->keys);
    if (r < 0) {
        free(segments);
        return error_set(err, r, "no memory for the keys of the segments");
    }
    *ret = segments;
    return 0;
}

int segments_add_keys(struct segments *segments, const struct key_set *keys)
{
    return key_set_join_foreign(&segments->keys, keys);
}

void segments_free(struct segments *segments) THREAD_CHECK(no_thread_safety_analysis)
{
    if (segments == NULL)
        return;
    for (size_t i = 0; i < segments->bucket_count; i++)
        while (segments->buckets[i] != NULL) {
            struct segment *segment = segments->buckets[i];
            segments->buckets[i] = segment->next_in_bucket;
            segment_free(segments, segment);
        }
    free(segments->buckets);
    segments_trim(segments);
    free(segments->extras);
    run_list_release(&segments->freed_of_victims);
    key_set_release(&segments->keys);
    free(segments);
}

struct load {
    struct segments *segments;
    struct error *err;
};

static int unreadable(struct load *load, const char *what, int r)
{
    if (load->segments->salvages && is_altered(r))
        return 0; /* reads that it concerns say so */
    return error_set(load->err, r, "a %s record of the metadata cannot be understood: %s", what,
                     strerrordesc_np(-r));
}

/* An id of an earlier run: never used again. Its object, if there is one, holds nothing that was
 * committed. */
static int load_announced(struct segments *segments, struct segment *segment, struct error *err)
    REQUIRES(segments->lock)
{
    char name[SEGMENT_NAME_SIZE];
    uint64_t size;

    segment_object_name(&segment->id, name);
    int r = object_store_stat(segments->store, name, &size, err);
    if (r < 0 && r != -ENOENT)
        return r;
    if (r == -ENOENT)
        segment->is_deleted = true;
    segment->state = SEGMENT_ENDED;
    segment->size = r == 0 ? (uint32_t)size : 0;
    segments->stored += segment->size;
    segment_changed(segments, segment);
    return 0;
}

static int load_usage(struct segments *segments, const struct uuid *id,
                      const struct usage_record *usage, struct error *err) REQUIRES(segments->lock)
{
    struct segment *segment = segment_add(segments, id);

    if (segment == NULL)
        return error_set(err, -ENOMEM, "no memory for the table of segments");
    segment->state = usage->state;
    segment->generation = usage->generation;
    segment->size = usage->size;
    segment->live = usage->live;
    segment->is_full = true;
    segments->stored += usage->size;
    segments->live += usage->live;
    if (usage->state == SEGMENT_OPEN)
        segment->state = SEGMENT_ENDED; /* by the end of the run that had it open */
    if (usage->state == SEGMENT_DEAD)
        segment_list_push(&segments->dead, segment);
    else if (segment->state == SEGMENT_ENDED && segment->live == 0)
        segment_changed(segments, segment);
    return usage->state == SEGMENT_ANNOUNCED ? load_announced(segments, segment, err) : 0;
}

static int visit_usage(struct bytes key, struct bytes value, void *arg)
    THREAD_CHECK(no_thread_safety_analysis)
{
    struct load *load = arg;
    struct usage_record usage;
    struct uuid id;

    int r = record_key_segment(key, RECORD_USAGE, &id, NULL);
    if (r == 0)
        r = usage_decode(value, &usage);
    if (r != 0)
        return unreadable(load, "USAGE", r);
    return load_usage(load->segments, &id, &usage, load->err);
}

static struct segment *add_kind(struct segments *segments, const struct uuid *id,
                                enum segment_kind kind) REQUIRES(segments->lock)
{
    struct segment *segment = segment_add(segments, id);

    if (segment != NULL) {
        segment->kind = kind;
        segment->is_full = true;
    }
    return segment;
}

/* Of another filesystem, or one of ours that was forgotten: all that is known of it is such a
 * record. */
struct segment *segment_add_foreign(struct segments *segments, const struct uuid *id,
                                    const struct block_identity *identity)
{
    struct segment *segment = add_kind(segments, id, SEGMENT_FOREIGN);

    if (segment != NULL) {
        segment->fs = identity->fs;
        segment->generation = identity->generation;
    }
    return segment;
}

/* What a LOCATION record speaks of and no USAGE record does. */
static int add_downloaded(struct segments *segments, const struct uuid *id,
                          const struct location_record *record) REQUIRES(segments->lock)
{
    const struct segment_packs *packs = segments->packs;
    const struct block_identity *identity = &record->identity;
    bool is_there = true;

    if (segment_find(segments, id) == NULL)
        is_there = segment_add_foreign(segments, id, identity) != NULL;
    if (is_there && segment_find(segments, &identity->segment) == NULL)
        is_there = segment_add_foreign(segments, &identity->segment, identity) != NULL;
    if (is_there && packs != NULL && segment_find(segments, &record->object) == NULL &&
        packs->has(packs->arg, &record->object))
        is_there = add_kind(segments, &record->object, SEGMENT_PACK) != NULL;
    return is_there ? 0 : -ENOMEM;
}

/* Nothing counts it but its locations. */
static void count_pack(struct segments *segments, struct segment *object, uint32_t live)
    REQUIRES(segments->lock)
{
    if (object->kind != SEGMENT_PACK)
        return;
    object->live += live;
    segments->live_in_packs += live;
}

/* A range whose object has no usage record is left where it was written: reading it fails if it
 * is not there, and check tells about it. */
static int visit_location(struct bytes key, struct bytes value, void *arg)
    THREAD_CHECK(no_thread_safety_analysis)
{
    struct load *load = arg;
    struct location_record record;
    struct uuid id;
    uint32_t first;

    int r = record_key_segment(key, RECORD_LOCATION, &id, &first);
    if (r == 0)
        r = location_decode(value, &record);
    if (r != 0)
        return unreadable(load, "LOCATION", r);
    if (add_downloaded(load->segments, &id, &record) < 0)
        return error_set(load->err, -ENOMEM, "no memory for the table of segments");
    struct segment *segment = segment_find(load->segments, &id);
    struct segment *object = segment_find(load->segments, &record.object);
    if (segment == NULL || object == NULL) {
        load->segments->needs_recount = true;
        return 0;
    }
    const struct location location = { .first = first,
                                       .len = record.len,
                                       .live = record.live,
                                       .offset = record.offset,
                                       .object = object,
                                       .identity = record.identity };
    r = segment_add_location(segment, &location);
    if (r < 0)
        return unreadable(load, "LOCATION", r);
    count_pack(load->segments, object, record.live);
    return 0;
}

static int scan_kind(struct meta_txn *txn, enum record_kind kind, meta_visit_fn *visit,
                     struct load *load)
{
    struct record_key first;
    struct record_key end;

    kind_range(kind, &first, &end);
    return meta_scan(txn, record_key_bytes(&first), record_key_bytes(&end), visit, load, load->err);
}

int segments_load(struct segments *segments, struct meta_txn *txn, struct error *err)
{
    struct load load = { .segments = segments, .err = err };
    struct record_key key;
    struct bytes value;

    mutex_lock(&segments->lock);
    int r = scan_kind(txn, RECORD_USAGE, visit_usage, &load);
    if (r == 0 && segments->salvages)
        r = segments_find_unknown(segments, err);
    if (r == 0)
        r = scan_kind(txn, RECORD_LOCATION, visit_location, &load);
    state_key(STATE_RECOUNT, &key);
    if (r == 0)
        r = meta_get(txn, record_key_bytes(&key), &value, err);
    segments->recount_noted = r == 0;
    segments->needs_recount = segments->needs_recount || r == 0;
    mutex_unlock(&segments->lock);
    return r == -ENOENT ? 0 : r;
}

/* At open, when nobody else knows of the segments: the store is asked with the lock held. */
int segments_look(struct segments *segments, struct error *err)
{
    char name[SEGMENT_NAME_SIZE];
    bool is_over = false;
    uint64_t size;
    int r = 0;

    mutex_lock(&segments->lock);
    for (size_t i = 0; i < segments->bucket_count && !is_over; i++)
        for (const struct segment *s = segments->buckets[i]; s != NULL && !is_over;
             s = s->next_in_bucket) {
            if (s->live == 0 || s->kind != SEGMENT_OWN)
                continue;
            segment_object_name(&s->id, name);
            r = object_store_stat(segments->store, name, &size, err);
            is_over = r != -ENOENT;
        }
    mutex_unlock(&segments->lock);
    return r;
}
