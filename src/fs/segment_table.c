/* Which segments there are, where their ranges lie, and how much of each object is in use. */
#include "fs/segments_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define BUCKETS_MIN 256u

static size_t bucket_of(const struct segments *segments, const struct uuid *id)
{
    uint64_t hash;

    memcpy(&hash, id->bytes, sizeof(hash)); /* ids are random */
    return (size_t)hash & (segments->bucket_count - 1);
}

void segment_list_push(struct segment_list *list, struct segment *segment)
{
    segment->next_listed = NULL;
    if (list->first == NULL)
        list->end = &list->first;
    *list->end = segment;
    list->end = &segment->next_listed;
    list->count++;
}

struct segment *segment_list_pop(struct segment_list *list)
{
    struct segment *first = list->first;

    if (first == NULL)
        return NULL;
    list->first = first->next_listed;
    list->count--;
    first->next_listed = NULL;
    return first;
}

struct segment *segment_find(struct segments *segments, const struct uuid *id)
{
    if (segments->bucket_count == 0)
        return NULL;
    struct segment *found = segments->buckets[bucket_of(segments, id)];
    while (found != NULL && !uuid_equal(&found->id, id))
        found = found->next_in_bucket;
    return found;
}

static int grow_buckets(struct segments *segments) REQUIRES(segments->lock)
{
    size_t count = segments->bucket_count == 0 ? BUCKETS_MIN : 2 * segments->bucket_count;
    struct segment **old = segments->buckets;
    size_t old_count = segments->bucket_count;
    struct segment **buckets = calloc(count, sizeof(struct segment *));

    if (buckets == NULL)
        return -ENOMEM;
    segments->buckets = buckets;
    segments->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        struct segment *segment = old[i];
        while (segment != NULL) {
            struct segment *next = segment->next_in_bucket;
            size_t bucket = bucket_of(segments, &segment->id);
            segment->next_in_bucket = buckets[bucket];
            buckets[bucket] = segment;
            segment = next;
        }
    }
    free(old);
    return 0;
}

struct segment *segment_add(struct segments *segments, const struct uuid *id)
{
    if (segments->segment_count >= segments->bucket_count && grow_buckets(segments) < 0)
        return NULL;
    struct segment *segment = calloc(1, sizeof(*segment));
    if (segment == NULL)
        return NULL;
    segment->id = *id;
    size_t bucket = bucket_of(segments, id);
    segment->next_in_bucket = segments->buckets[bucket];
    segments->buckets[bucket] = segment;
    segments->segment_count++;
    return segment;
}

static void free_pieces(struct piece *pieces)
{
    while (pieces != NULL) {
        struct piece *piece = pieces;
        pieces = piece->next;
        if (piece->entries != piece->own_entries)
            free(piece->entries);
        free(piece);
    }
}

void segment_free(struct segments *segments, struct segment *segment)
{
    object_writer_close(TAKE(segment->writer));
    segment_close_reader(segments, segment);
    free_pieces(segment->pieces);
    free_pieces(segment->syncing);
    free(segment->moved);
    free(segment->entries);
    free(segment);
}

void segment_drop(struct segments *segments, struct segment *segment)
{
    struct segment **link = &segments->buckets[bucket_of(segments, &segment->id)];

    while (*link != segment)
        link = &(*link)->next_in_bucket;
    *link = segment->next_in_bucket;
    segments->segment_count--;
    segment->is_gone = true;
    if (segment->readers == 0)
        segment_free(segments, segment);
}

void segment_changed(struct segments *segments, struct segment *segment)
{
    if (segment->is_changed)
        return;
    segment->is_changed = true;
    segment->next_changed = segments->changed_first;
    segments->changed_first = segment;
}

/* The first location that ends behind address. */
size_t segment_find_location(const struct segment *segment, uint32_t address)
{
    size_t low = 0;
    size_t high = segment->moved_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct location *location = &segment->moved[middle];
        if (location->first + location->len <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int segment_resolve(struct segments *segments, const struct uuid *id, uint32_t address,
                    struct place *ret)
{
    struct segment *segment = segment_find(segments, id);

    if (segment == NULL)
        return -ENOENT;
    size_t index = segment_find_location(segment, address);
    const struct location *next = index < segment->moved_count ? &segment->moved[index] : NULL;
    if (next != NULL && next->first <= address) {
        uint32_t inside = address - next->first;
        *ret = (struct place){ .object = next->object,
                               .offset = next->offset + inside,
                               .len = next->len - inside,
                               .identity = next->identity };
        ret->identity.address += inside;
        return 0;
    }
    if (segment->kind != SEGMENT_OWN)
        return -ENOENT; /* it has no object */
    *ret = (struct place){ .object = segment,
                           .offset = address,
                           .len = next == NULL ? UINT32_MAX : next->first - address,
                           .identity = { .fs = segments->fs,
                                         .generation = segment->generation,
                                         .segment = *id,
                                         .address = address } };
    return 0;
}

uint32_t segment_together(struct segments *segments, const struct uuid *id, uint32_t address,
                          uint32_t len, bool *ret_is_known)
{
    const struct segment *segment = segment_find(segments, id);
    struct place place;

    *ret_is_known = segment_resolve(segments, id, address, &place) == 0;
    if (*ret_is_known)
        return place.len < len ? place.len : len;
    size_t next = segment != NULL ? segment_find_location(segment, address) : 0;
    if (segment == NULL || next == segment->moved_count)
        return len;
    uint32_t gap = segment->moved[next].first - address;
    return gap < len ? gap : len;
}

int segment_insert_location(struct segment *segment, size_t index, const struct location *location)
{
    if (segment->moved_count == segment->moved_room) {
        size_t room = segment->moved_room == 0 ? 8 : 2 * segment->moved_room;
        struct location *moved = reallocarray(segment->moved, room, sizeof(*moved));
        if (moved == NULL)
            return -ENOMEM;
        segment->moved = moved;
        segment->moved_room = room;
    }
    memmove(&segment->moved[index + 1], &segment->moved[index],
            (segment->moved_count - index) * sizeof(*location));
    segment->moved[index] = *location;
    segment->moved_count++;
    return 0;
}

void segments_drop_dead_location(struct segments *segments, struct segment *segment, size_t index)
{
    (void)segments;
    memmove(&segment->moved[index], &segment->moved[index + 1],
            (segment->moved_count - index - 1) * sizeof(struct location));
    segment->moved_count--;
}

/* A location that the range cuts becomes two, so that afterwards each is inside or outside. Its
 * account goes to the left one: what is moved brings its own along, and an error in between is
 * mended by segment_relocate(). */
int segment_split_location(struct segment *segment, uint32_t address)
{
    size_t index = segment_find_location(segment, address);

    if (index == segment->moved_count || segment->moved[index].first >= address)
        return 0;
    struct location *left = &segment->moved[index];
    struct location right = *left;
    uint32_t inside = address - left->first;
    right.first += inside;
    right.len -= inside;
    right.offset += inside;
    right.identity.address += inside;
    right.live = left->live > inside ? left->live - inside : 0;
    right.is_changed = true;
    int r = segment_insert_location(segment, index + 1, &right);
    if (r < 0)
        return r;
    left = &segment->moved[index];
    left->len = inside;
    left->live -= right.live;
    left->is_changed = true;
    return 0;
}

void segment_account(struct segments *segments, struct segment *object, int64_t bytes)
{
    object->live += (uint64_t)bytes;
    if (object->kind == SEGMENT_PACK)
        segments->live_in_packs += (uint64_t)bytes;
    else
        segments->live += (uint64_t)bytes;
    segment_changed(segments, object);
}

int segment_add_location(struct segment *segment, const struct location *location)
{
    size_t index = segment_find_location(segment, location->first);

    if (location->len > UINT32_MAX - location->first)
        return -EBADMSG;
    if (index < segment->moved_count &&
        segment->moved[index].first < location->first + location->len)
        return -EBADMSG; /* they overlap */
    return segment_insert_location(segment, index, location);
}

int segment_relocate(struct segments *segments, const struct uuid *id, uint32_t address,
                     const struct block_identity *identity, uint32_t len, uint32_t live,
                     struct segment *object, uint32_t offset)
{
    struct segment *segment = segment_find(segments, id);
    const struct location location = { .first = address,
                                       .len = len,
                                       .live = live,
                                       .offset = offset,
                                       .object = object,
                                       .identity = *identity,
                                       .is_changed = true };
    struct place before;

    if (segment == NULL || segment_resolve(segments, id, address, &before) < 0)
        return -ENOENT;
    int r = segment_split_location(segment, address);
    if (r == 0)
        r = segment_split_location(segment, address + len);
    if (r < 0)
        return r;
    size_t index = segment_find_location(segment, address);
    if (index < segment->moved_count && segment->moved[index].first == address) {
        segment->moved[index] = location;
    } else {
        r = segment_insert_location(segment, index, &location);
        if (r < 0)
            return r;
    }
    before.object->is_shifted = true;
    object->is_shifted = true;
    segment_account(segments, before.object, -(int64_t)live);
    segment_account(segments, object, live);
    segment_changed(segments, segment);
    return 0;
}

/* What lies in a pack is in use as a whole or not at all, so that a part of it can be fetched. */
static int split_in_pack(struct segments *segments, struct segment *segment, uint32_t address,
                         uint32_t len) REQUIRES(segments->lock)
{
    size_t index = segment_find_location(segment, address);
    const struct location *found = index < segment->moved_count ? &segment->moved[index] : NULL;

    if (found == NULL || found->first > address || found->object->kind != SEGMENT_PACK)
        return 0;
    uint32_t end = len < UINT32_MAX - address ? address + len : UINT32_MAX;
    int r = segment_split_location(segment, address);
    if (r == 0)
        r = segment_split_location(segment, end);
    if (r < 0)
        segments->needs_recount = true;
    return r;
}

/* One contiguous part of a run, or as much of it as lies together. */
static uint32_t account_part(struct segments *segments, struct segment *segment, uint32_t address,
                             uint32_t len, int sign) REQUIRES(segments->lock)
{
    (void)split_in_pack(segments, segment, address, len);
    size_t index = segment_find_location(segment, address);
    struct location *next = index < segment->moved_count ? &segment->moved[index] : NULL;

    if (next != NULL && next->first <= address) {
        uint32_t room = next->len - (address - next->first);
        uint32_t part = len < room ? len : room;
        next->live += (uint32_t)sign * part;
        next->is_changed = true;
        segment_changed(segments, segment);
        segment_account(segments, next->object, sign * (int64_t)part);
        return part;
    }
    uint32_t room = next == NULL ? UINT32_MAX : next->first - address;
    uint32_t part = len < room ? len : room;
    if (segment->kind != SEGMENT_OWN)
        segments->needs_recount = true; /* a record names what is not there */
    else
        segment_account(segments, segment, sign * (int64_t)part);
    return part;
}

static void account_run(struct segments *segments, const struct block_run *run, int sign)
    REQUIRES(segments->lock)
{
    struct segment *segment = segment_find(segments, &run->segment);
    uint32_t address = run->address;
    uint32_t left = (uint32_t)block_run_sealed(run);

    if (segment == NULL) { /* a record names what is not there: check tells about it */
        segments->needs_recount = true;
        return;
    }
    if (sign < 0 && segments->has_victims && run_list_add(&segments->freed_of_victims, run) < 0)
        segments->needs_recount = true;
    while (left > 0) {
        uint32_t part = account_part(segments, segment, address, left, sign);
        address += part;
        left -= part;
    }
}

void segments_account(struct segments *segments, const struct run_list *made_live,
                      const struct run_list *freed)
{
    mutex_lock(&segments->lock);
    segments->unsettled++;
    for (size_t i = 0; i < made_live->count; i++)
        account_run(segments, &made_live->items[i], 1);
    for (size_t i = 0; i < freed->count; i++)
        account_run(segments, &freed->items[i], -1);
    mutex_unlock(&segments->lock);
}

void segments_settled(struct segments *segments)
{
    mutex_lock(&segments->lock);
    segments->unsettled--;
    mutex_unlock(&segments->lock);
}

void segments_recount_begin(struct segments *segments)
{
    mutex_lock(&segments->lock);
    for (size_t i = 0; i < segments->bucket_count; i++)
        for (struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket) {
            s->live = 0;
            for (size_t k = 0; k < s->moved_count; k++) {
                s->moved[k].live = 0;
                s->moved[k].is_changed = true;
            }
            segment_changed(segments, s);
        }
    segments->live = 0;
    segments->live_in_packs = 0;
    segments->is_rescued = false;
    mutex_unlock(&segments->lock);
}

/* Nothing else changes the account while the write transaction of a recount is held; but a rescue
 * takes off where it was what may not have been counted yet. */
void segments_recount_end(struct segments *segments)
{
    mutex_lock(&segments->lock);
    segments->needs_recount = segments->is_rescued;
    mutex_unlock(&segments->lock);
}

void segments_distrust(struct segments *segments)
{
    mutex_lock(&segments->lock);
    segments->needs_recount = true;
    mutex_unlock(&segments->lock);
}

bool segments_need_recount(struct segments *segments)
{
    mutex_lock(&segments->lock);
    bool needs = segments->needs_recount;
    mutex_unlock(&segments->lock);
    return needs;
}

bool segments_are_here(struct segments *segments)
{
    mutex_lock(&segments->lock);
    bool are_here =
        segments->live_in_packs == 0 && !segments->needs_recount && segments->unsettled == 0;
    mutex_unlock(&segments->lock);
    return are_here;
}

uint64_t segments_in_packs(struct segments *segments)
{
    mutex_lock(&segments->lock);
    uint64_t bytes = segments->live_in_packs;
    mutex_unlock(&segments->lock);
    return bytes;
}

void segments_space(struct segments *segments, struct segments_space *ret)
{
    mutex_lock(&segments->lock);
    unsigned ids = segments->usable.count + segments->announced.count;
    *ret = (struct segments_space){
        .live = segments->live,
        .stored = segments->stored,
        .not_durable = segments->not_durable,
        .appended = segments->appended,
        .usable_ids = segments->usable.count,
        .wants_ids = ids < IDS_WANTED && segments->announcing.count == 0,
        .waits_for_ids = segments->usable.count <= IDS_KEPT && segments->id_waiters > 0,
    };
    mutex_unlock(&segments->lock);
}

static int add_foreign(const struct segments *segments, const struct uuid *fs, uint32_t generation,
                       struct foreign_key_ids *ids)
{
    return uuid_equal(fs, &segments->fs) ? 0 : foreign_key_ids_add(ids, fs, generation);
}

static int add_foreign_of(const struct segments *segments, const struct segment *segment,
                          struct foreign_key_ids *ids)
{
    int r = segment->kind == SEGMENT_FOREIGN
                ? add_foreign(segments, &segment->fs, segment->generation, ids)
                : 0;

    for (size_t i = 0; i < segment->moved_count && r == 0; i++)
        r = add_foreign(segments, &segment->moved[i].identity.fs,
                        segment->moved[i].identity.generation, ids);
    return r;
}

int segments_foreign_keys(struct segments *segments, struct foreign_key_ids *ids)
{
    int r = 0;

    mutex_lock(&segments->lock);
    for (size_t i = 0; i < segments->bucket_count && r == 0; i++)
        for (const struct segment *segment = segments->buckets[i]; segment != NULL && r == 0;
             segment = segment->next_in_bucket)
            r = add_foreign_of(segments, segment, ids);
    mutex_unlock(&segments->lock);
    return r;
}
