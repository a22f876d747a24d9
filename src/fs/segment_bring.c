/* Blocks of a snapshot from outside: which of them are still here, and where those lie that were
 * copied. Between the look and the transaction in which they become live, an object may go: who
 * calls keeps compaction away, and looks again in that transaction, in which no group is closed. */
#include "fs/segments_internal.h"

#include <errno.h>
#include <string.h>

static bool is_there(const struct segment *object)
{
    return object->kind == SEGMENT_OWN && !object->is_deleted && !object->has_failed &&
           (object->state == SEGMENT_OPEN || object->state == SEGMENT_CLOSED ||
            object->state == SEGMENT_ENDED);
}

/* So many bytes from address on lie together, or nowhere together. */
struct held {
    bool is_held;
    uint64_t len;
};

static struct held look(const struct segment *segment, uint32_t address, uint64_t len)
{
    size_t index = segment_find_location(segment, address);
    const struct location *next = index < segment->moved_count ? &segment->moved[index] : NULL;

    if (next != NULL && next->first <= address)
        return (struct held){ is_there(next->object), next->len - (address - next->first) };
    uint64_t room = next == NULL ? len : next->first - address;
    uint64_t part = len < room ? len : room;
    return (struct held){ is_there(segment) && address + part <= segment->size, room };
}

int segments_find_held(struct segments *segments, struct block_run *run, struct block_run *ret,
                       bool *ret_is_held)
{
    uint64_t step = (uint64_t)run->block_len + BLOCK_OVERHEAD;
    struct held held = { false, block_run_sealed(run) };

    mutex_lock(&segments->lock);
    const struct segment *segment = segment_find(segments, &run->segment);
    if (segment != NULL)
        held = look(segment, run->address, held.len);
    mutex_unlock(&segments->lock);
    uint64_t blocks = held.len / step;
    if (blocks == 0)
        return -EBADMSG;
    *ret = *run;
    ret->count = blocks < run->count ? (uint32_t)blocks : run->count;
    run->count -= ret->count;
    run->address += (uint32_t)block_run_sealed(ret);
    *ret_is_held = held.is_held;
    return 0;
}

static struct segment *find_or_add(struct segments *segments, const struct uuid *id,
                                   const struct block_identity *identity) REQUIRES(segments->lock)
{
    struct segment *segment = segment_find(segments, id);

    return segment != NULL ? segment : segment_add_foreign(segments, id, identity);
}

static int place_one(struct segments *segments, const struct segment_copy *copy)
    REQUIRES(segments->lock)
{
    struct segment *object = segment_find(segments, &copy->object);
    struct segment *segment = find_or_add(segments, &copy->segment, &copy->identity);
    const struct location location = { .first = copy->address,
                                       .len = copy->len,
                                       .offset = copy->offset,
                                       .object = object,
                                       .identity = copy->identity,
                                       .is_changed = true };

    if (object == NULL)
        return -ENOENT;
    if (object->has_failed)
        return -ESTALE; /* what nothing told of yet was not rescued from it */
    if (segment == NULL || find_or_add(segments, &copy->identity.segment, &copy->identity) == NULL)
        return -ENOMEM;
    segment_changed(segments, segment);
    int r = segment_add_location(segment, &location);
    return r == -EBADMSG ? -ESTALE : r;
}

int segments_place(struct segments *segments, const struct segment_copy *copies, size_t count,
                   struct error *err)
{
    int r = 0;

    mutex_lock(&segments->lock);
    for (size_t i = 0; i < count && r == 0; i++)
        r = place_one(segments, &copies[i]);
    mutex_unlock(&segments->lock);
    return r < 0
               ? error_set(err, r, "blocks of a snapshot cannot be placed: %s", strerrordesc_np(-r))
               : 0;
}
