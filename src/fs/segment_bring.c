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

/* What the range cuts of a location is cut off. Nothing of the range is in use, so all that is lies
 * in front and behind; how much where is counted anew, unless that is clear. */
static int cut_out(struct segments *segments, struct segment *segment, uint32_t first, uint32_t end)
    REQUIRES(segments->lock)
{
    size_t index = segment_find_location(segment, first);

    if (index == segment->moved_count || segment->moved[index].first >= end)
        return 0;
    const struct location whole = segment->moved[index];
    uint32_t whole_end = whole.first + whole.len;
    uint32_t front = whole.first < first ? first - whole.first : 0;
    uint32_t behind = whole_end > end ? whole_end - end : 0;
    int r = segment_split_location(segment, first);
    if (r == 0)
        r = segment_split_location(segment, end);
    bool is_clear = front == 0 || behind == 0 || whole.live == 0 || whole.live == front + behind;
    if (r < 0 || !is_clear || whole.live > front + behind)
        segments->needs_recount = true;
    if (r < 0)
        return r;
    uint32_t live_front = whole.live < front ? whole.live : front;
    uint32_t live_behind = whole.live - live_front < behind ? whole.live - live_front : behind;
    if (front > 0)
        segment->moved[index++].live = live_front;
    segment->moved[index].live = 0;
    if (behind > 0)
        segment->moved[index + 1].live = live_behind;
    return 0;
}

/* Of those that reach into the range, the first and the last one reach out of it. */
static int make_way(struct segments *segments, struct segment *segment, uint32_t first,
                    uint32_t end) REQUIRES(segments->lock)
{
    int r = 0;

    for (uint32_t at = first; at < end && r == 0;) {
        size_t index = segment_find_location(segment, at);
        if (index == segment->moved_count || segment->moved[index].first >= end)
            break;
        const struct location *found = &segment->moved[index];
        uint32_t from = found->first > at ? found->first : at;
        uint32_t found_end = found->first + found->len;
        at = found_end < end ? found_end : end;
        r = cut_out(segments, segment, from, at);
    }
    return r;
}

/* In the place of what lies elsewhere, and between that. A check may look for what was freed since
 * it began. */
static int fill(struct segment *segment, const struct location *whole)
{
    uint32_t at = whole->first, end = whole->first + whole->len;
    int r = 0;

    for (size_t i = segment_find_location(segment, at); at < end && r == 0; i++) {
        const struct location *next = i < segment->moved_count ? &segment->moved[i] : NULL;
        struct location part = *whole;
        bool is_gap = next == NULL || next->first > at;
        uint32_t part_end = next == NULL || next->first >= end ? end
                            : is_gap                           ? next->first
                                                               : next->first + next->len;
        part.first = at;
        part.len = part_end - at;
        part.offset += at - whole->first;
        part.identity.address += at - whole->first;
        whole->object->is_shifted = true;
        (is_gap ? segment : next->object)->is_shifted = true;
        if (is_gap)
            r = segment_insert_location(segment, i, &part);
        else
            segment->moved[i] = part;
        at = part_end;
    }
    return r;
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
    if (copy->len > UINT32_MAX - copy->address)
        return -EBADMSG;
    if (segment == NULL || find_or_add(segments, &copy->identity.segment, &copy->identity) == NULL)
        return -ENOMEM;
    segment_changed(segments, segment);
    int r = make_way(segments, segment, copy->address, copy->address + copy->len);
    return r < 0 ? r : fill(segment, &location);
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
