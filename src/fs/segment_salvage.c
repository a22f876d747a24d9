/* Segments whose USAGE records are lost: the objects in the store say that there are such. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/segments_internal.h"

static int add_unknown(const char *name, uint64_t size, void *arg)
    THREAD_CHECK(no_thread_safety_analysis)
{
    struct segments *segments = arg;
    struct uuid id;

    if (segment_of_object_name(name, &id) < 0 || segment_find(segments, &id) != NULL)
        return 0;
    struct segment *segment = segment_add(segments, &id);
    if (segment == NULL)
        return -ENOMEM;
    segment->state = SEGMENT_ENDED;
    segment->size = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
    segment->is_full = true;
    segments->stored += segment->size;
    return 0;
}

/* As the header says; an altered one may be of any: then nothing is read wrongly, but refused. */
static uint32_t find_generation(const struct segments *segments, const struct segment *segment)
{
    CLEANUP(object_closep) struct object *object = NULL;
    uint8_t found[SEGMENT_HEADER_LEN];
    uint8_t wanted[SEGMENT_HEADER_LEN];
    char name[SEGMENT_NAME_SIZE];
    size_t len = 0;

    segment_object_name(&segment->id, name);
    int r = object_store_open_object(segments->store, name, &object, NULL);
    if (r == 0)
        r = object_read(object, 0, sizeof(found), found, &len, NULL);
    for (uint32_t i = 0; r == 0 && len == sizeof(found) && i < segments->keys.count; i++) {
        const struct block_identity identity = { .fs = segments->fs,
                                                 .generation = segments->keys.generations[i],
                                                 .segment = segment->id };
        segment_header_encode(&identity, wanted);
        if (memcmp(wanted, found, sizeof(found)) == 0)
            return identity.generation;
    }
    return segments->generation;
}

/* The store is asked with the lock held, as in segments_look(). It is listed first: not every store
 * can be asked for something else meanwhile. */
int segments_find_unknown(struct segments *segments, struct error *err)
{
    int r = object_store_list(segments->store, SEGMENT_PREFIX, add_unknown, segments, err);

    for (size_t i = 0; i < segments->bucket_count && r == 0; i++)
        for (struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket)
            if (s->kind == SEGMENT_OWN && s->generation == 0 && !s->is_deleted)
                s->generation = find_generation(segments, s);
    return r;
}
