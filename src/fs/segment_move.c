/* Ciphertext copied as it is from objects that are mostly unused: the store's side of compaction.
 *
 *   segments_choose_victims()
 *   the caller finds every run that a record names, and keeps those in segments_in_victim()
 *   segments_copy() of each, then, under a write transaction, segments_moved() of all
 *   segments_end_victims()
 *
 * What is freed meanwhile is remembered, so that the account of what was moved is right. */
#include "fs/segments_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

static bool is_worth_it(const struct segment *segment, const struct segment_choice *choice)
{
    bool is_ended = segment->state == SEGMENT_CLOSED || segment->state == SEGMENT_ENDED;

    return is_ended && segment->writer == NULL && !segment->is_dirty && segment->pending == 0 &&
           !segment->is_victim && segment->live > 0 &&
           segment->live < (uint64_t)segment->size * choice->live_max_8 / 8;
}

static struct segment *least_used(const struct segments *segments,
                                  const struct segment_choice *choice) REQUIRES(segments->lock)
{
    struct segment *best = NULL;

    for (size_t i = 0; i < segments->bucket_count; i++)
        for (struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket)
            if (is_worth_it(s, choice) && (best == NULL || s->live < best->live))
                best = s;
    return best;
}

unsigned segments_choose_victims(struct segments *segments, const struct segment_choice *choice)
{
    uint64_t budget = choice->budget;
    unsigned count = 0;

    mutex_lock(&segments->lock);
    while (count < choice->max && !segments->needs_recount) {
        struct segment *segment = least_used(segments, choice);
        if (segment == NULL || segment->live > budget)
            break;
        segment->is_victim = true;
        budget -= segment->live;
        count++;
    }
    segments->has_victims = count > 0;
    run_list_clear(&segments->freed_of_victims);
    mutex_unlock(&segments->lock);
    return count;
}

void segments_end_victims(struct segments *segments)
{
    mutex_lock(&segments->lock);
    for (size_t i = 0; i < segments->bucket_count; i++)
        for (struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket)
            s->is_victim = false;
    segments->has_victims = false;
    run_list_release(&segments->freed_of_victims);
    mutex_unlock(&segments->lock);
}

/* How much of it, from its start, lies together; and whether in a victim. Whole blocks. */
static uint32_t part_together(const struct block_run *run, const struct place *place)
{
    uint64_t step = (uint64_t)run->block_len + BLOCK_OVERHEAD;
    uint64_t blocks = place->len / step;

    return blocks < run->count ? (uint32_t)blocks : run->count;
}

/* Takes what lies together off the front of a run. */
static int take_together(struct segments *segments, struct block_run *run, struct block_run *ret,
                         struct place *ret_place, bool *ret_is_victim, bool *ret_is_pack)
{
    mutex_lock(&segments->lock);
    int r = segment_resolve(segments, &run->segment, run->address, ret_place);
    *ret_is_victim = r == 0 && ret_place->object->is_victim;
    *ret_is_pack = r == 0 && ret_place->object->kind == SEGMENT_PACK;
    mutex_unlock(&segments->lock);
    if (r < 0)
        return r;
    uint32_t blocks = part_together(run, ret_place);
    if (blocks == 0)
        return -EBADMSG;
    *ret = *run;
    ret->count = blocks;
    run->count -= blocks;
    run->address += (uint32_t)block_run_sealed(ret);
    return 0;
}

int segments_in_victim(struct segments *segments, struct block_run *run, struct block_run *ret,
                       bool *ret_is_victim)
{
    struct place place;
    bool is_pack;

    return take_together(segments, run, ret, &place, ret_is_victim, &is_pack);
}

int segments_in_pack(struct segments *segments, struct block_run *run, struct pack_blocks *ret,
                     bool *ret_is_pack)
{
    struct place place;
    bool is_victim;

    int r = take_together(segments, run, &ret->run, &place, &is_victim, ret_is_pack);
    if (r == 0 && *ret_is_pack) { /* which stays as long as the table */
        ret->pack = place.object->id;
        ret->offset = place.offset;
        ret->identity = place.identity;
    }
    return r;
}

int segments_locate(struct segments *segments, const struct block_run *run,
                    struct block_run *ret_front, struct block_identity *ret_identity)
{
    struct place place;

    mutex_lock(&segments->lock);
    int r = segment_resolve(segments, &run->segment, run->address, &place);
    mutex_unlock(&segments->lock);
    if (r < 0)
        return r;
    uint32_t blocks = part_together(run, &place);
    if (blocks == 0)
        return -EBADMSG;
    *ret_front = *run;
    ret_front->count = blocks;
    *ret_identity = place.identity;
    return 0;
}

/* Whether they are what they are said to be; where and offset: there they were read. */
static int verify_blocks(struct aead *aead, struct block_identity identity,
                         const struct block_run *run, const uint8_t *sealed,
                         const struct segment *where, uint32_t offset, struct error *err)
{
    const uint32_t step = run->block_len + BLOCK_OVERHEAD;
    char object[SEGMENT_TEXT_SIZE];
    int r = 0;

    for (uint32_t i = 0; i < run->count && r == 0; i++, identity.address += step) {
        const struct bytes block = { .data = sealed + (size_t)i * step, .len = step };
        r = block_check(aead, &identity, block);
    }
    if (r < 0) {
        segment_describe(where, object);
        return error_set(err, r, "what lies at byte %u of %s cannot be opened: %s", offset, object,
                         r == -EBADMSG ? "it was altered" : strerrordesc_np(-r));
    }
    return 0;
}

static int read_sealed(struct segments *segments, const struct block_run *run, uint8_t *to,
                       struct place *ret_place, struct error *err)
{
    size_t len = (size_t)block_run_sealed(run), got = 0;
    struct source source;

    int r = source_get(segments, &run->segment, run->address, false, &source, err);
    if (r < 0)
        return r;
    *ret_place = source.place;
    r = segment_read_object(source.place.object->object, true, source.place.offset, len, to, &got,
                            err);
    if (r == 0 && got < len)
        r = error_set(err, -EBADMSG, "an object is too short");
    source_put(segments, &source);
    return r;
}

int segments_read_sealed(struct segments *segments, const struct block_run *run, uint8_t *to,
                         struct block_identity *ret_identity, struct error *err)
{
    struct place place;

    int r = read_sealed(segments, run, to, &place, err);
    if (r < 0)
        return r;
    if (part_together(run, &place) < run->count)
        return error_set(err, -EAGAIN, "blocks were moved while they were read");
    *ret_identity = place.identity;
    return 0;
}

/* A piece in which identity, offset (where it was) and data are set. It is taken. */
static int store_piece(struct segments *segments, struct piece *piece, const struct block_run *run,
                       bool may_wait, const struct segment_origin *origin, struct segment_copy *ret,
                       struct error *err)
{
    struct room room;

    piece->len = (uint32_t)block_run_sealed(run);
    int r = segment_reserve(segments, piece->len, may_wait, &room, err);
    if (r != 0) {
        piece_free(segments, piece);
        return r;
    }
    piece->entries[0] = (struct segment_entry){ .offset = piece->offset,
                                                .count = run->count,
                                                .block_len = run->block_len,
                                                .ino = origin->ino,
                                                .file_offset = origin->offset,
                                                .identity = piece->identity };
    piece->entry_count = 1;
    return segment_write_copy(segments, &room, piece, run, ret, err);
}

static int read_outside(struct segments *segments, const struct block_run *run,
                        const struct segment_outside *from, uint8_t *to, struct error *err)
{
    CLEANUP(object_closep) struct object *object = NULL;
    CLEANUP(aead_freep) struct aead *aead = NULL;
    const struct segment pack = { .id = from->pack, .kind = SEGMENT_PACK };
    size_t len = (size_t)block_run_sealed(run), got = 0;

    int r = block_aead_new(&segments->keys, &segments->fs, &from->identity, &aead);
    if (r < 0)
        return error_set(err, r, "no cipher for generation %u of the key of a filesystem",
                         from->identity.generation);
    r = from->packs->open(from->packs->arg, &from->pack, &object, err);
    if (r == 0)
        r = segment_read_object(object, true, from->offset, len, to, &got, err);
    if (r == 0 && got < len)
        r = error_set(err, -EBADMSG, "a pack is too short");
    return r < 0 ? r : verify_blocks(aead, from->identity, run, to, &pack, from->offset, err);
}

int segments_bring(struct segments *segments, const struct block_run *run,
                   const struct segment_outside *from, const struct segment_origin *origin,
                   struct segment_copy *ret, struct error *err)
{
    int r = segments_push_back(segments, err); /* a store may be slower than the bucket */
    if (r < 0)
        return r;
    struct piece *piece = piece_new(segments, (size_t)block_run_sealed(run));
    if (piece == NULL)
        return error_set(err, -ENOMEM, "no memory to bring blocks");
    r = read_outside(segments, run, from, piece->data, err);
    if (r < 0) {
        piece_free(segments, piece);
        return r;
    }
    piece->identity = from->identity;
    piece->offset = from->offset;
    return store_piece(segments, piece, run, true, origin, ret, err);
}

int segments_copy(struct segments *segments, const struct block_run *run,
                  const struct segment_origin *origin, struct segment_copy *ret, struct error *err)
{
    struct piece *piece = piece_new(segments, (size_t)block_run_sealed(run));
    struct place place;

    if (piece == NULL)
        return error_set(err, -ENOMEM, "no memory to move blocks");
    int r = read_sealed(segments, run, piece->data, &place, err);
    if (r != 0) {
        piece_free(segments, piece);
        return r;
    }
    piece->identity = place.identity;
    piece->offset = place.offset;
    return store_piece(segments, piece, run, false, origin, ret, err);
}

void segments_uncopy(struct segments *segments, const struct segment_copy *copy)
{
    const struct block_run there = { .segment = copy->object, .count = 1 };

    segments_release(segments, &there, 1);
}

/* Bytes of the copied range that were freed since the victims were chosen. */
static uint32_t freed_of(const struct segments *segments, const struct segment_copy *copy)
    REQUIRES(segments->lock)
{
    uint64_t first = copy->address;
    uint64_t end = first + copy->len;
    uint64_t freed = 0;

    for (size_t i = 0; i < segments->freed_of_victims.count; i++) {
        const struct block_run *run = &segments->freed_of_victims.items[i];
        uint64_t run_end = run->address + block_run_sealed(run);
        uint64_t from = run->address > first ? run->address : first;
        uint64_t to = run_end < end ? run_end : end;
        if (uuid_equal(&run->segment, &copy->segment) && from < to)
            freed += to - from;
    }
    return (uint32_t)freed;
}

static int move_one(struct segments *segments, const struct segment_copy *copy)
    REQUIRES(segments->lock)
{
    struct segment *object = segment_find(segments, &copy->object);
    uint32_t live = copy->len - freed_of(segments, copy);
    struct place place;

    if (object == NULL)
        return -ENOENT;
    int r = segment_resolve(segments, &copy->segment, copy->address, &place);
    if (r < 0 || live == 0)
        return r == -ENOENT ? 0 : r;
    if (!place.object->is_victim)
        return 0; /* the copy was lost by a sync, and rescued to where it lies now */
    /* The address space is that of the run's segment; the seal's identity may be another's. */
    return segment_relocate(segments, &copy->segment, copy->address, &copy->identity, copy->len,
                            live, object, copy->offset);
}

/* What is left of ranges that lie in a victim is not used by anybody. */
static void vacate(struct segments *segments) REQUIRES(segments->lock)
{
    for (size_t i = 0; i < segments->bucket_count; i++)
        for (struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket) {
            if (s->is_victim && s->live != 0)
                segments->needs_recount = true;
            for (size_t k = 0; k < s->moved_count; k++)
                if (s->moved[k].object->is_victim && s->moved[k].object->live == 0) {
                    s->moved[k].live = 0;
                    segment_changed(segments, s);
                }
        }
}

int segments_moved(struct segments *segments, const struct segment_copy *copies, size_t count)
{
    int r = 0;

    mutex_lock(&segments->lock);
    for (size_t i = 0; i < count && r == 0; i++)
        r = move_one(segments, &copies[i]);
    if (r == 0)
        vacate(segments);
    else
        segments->needs_recount = true; /* some are moved, and some are not */
    mutex_unlock(&segments->lock);
    return r;
}
