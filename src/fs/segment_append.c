/* The current segments: room in them, sealing, and the pieces that stay in memory until they are
 * durable. */
#include "fs/segments_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Pieces come and go at the rate of the data: some of the usual sizes are kept for the next one. */
static const struct {
    size_t above, room;
    unsigned max;
} piece_sizes[PIECE_SIZES] = {
    { PIECE_ROOM / 4, PIECE_ROOM, NOT_DURABLE_SYNC / PIECE_ROOM + 4 },
    { PACK_SPAN_SMALL / 4 * 3, PACK_SPAN_SMALL, SEGMENT_FETCHES_MAX },
    { PACK_SPAN_MAX / 4 * 3, PACK_SPAN_MAX, SEGMENT_FETCHES_LARGE + 1 },
};

static struct piece *take_spare(struct segments *segments, struct piece_pool *pool)
{
    mutex_lock(&segments->lock);
    struct piece *piece = pool->first;
    if (piece != NULL) {
        pool->first = piece->next;
        pool->count--;
    }
    mutex_unlock(&segments->lock);
    return piece;
}

struct piece *piece_new(struct segments *segments, size_t len)
{
    struct piece *piece = NULL;

    for (unsigned i = 0; i < PIECE_SIZES; i++)
        if (len > piece_sizes[i].above && len <= piece_sizes[i].room) {
            piece = take_spare(segments, &segments->spares[i]);
            len = piece_sizes[i].room;
            break;
        }
    if (piece == NULL) {
        piece = malloc(sizeof(*piece) + len);
        if (piece == NULL)
            return NULL;
        piece->room = len;
    }
    piece->next = NULL;
    piece->len = 0;
    piece->entry_count = 0;
    piece->entries = piece->own_entries;
    return piece;
}

int piece_entries(struct piece *piece, size_t count)
{
    if (count <= APPEND_RUNS_MAX)
        return 0;
    piece->entries = calloc(count, sizeof(*piece->entries));
    if (piece->entries != NULL)
        return 0;
    piece->entries = piece->own_entries;
    return -ENOMEM;
}

/* False: there are enough. */
static bool keep_spare(struct segments *segments, unsigned size, struct piece *piece)
{
    struct piece_pool *pool = &segments->spares[size];

    mutex_lock(&segments->lock);
    bool is_kept = pool->count < piece_sizes[size].max;
    if (is_kept) {
        piece->next = pool->first;
        pool->first = piece;
        pool->count++;
    }
    mutex_unlock(&segments->lock);
    return is_kept;
}

void piece_free(struct segments *segments, struct piece *piece)
{
    if (piece == NULL)
        return;
    if (piece->entries != piece->own_entries)
        free(piece->entries);
    piece->entries = piece->own_entries;
    for (unsigned i = 0; i < PIECE_SIZES; i++)
        if (piece->room == piece_sizes[i].room && keep_spare(segments, i, piece))
            return;
    free(piece);
}

void segments_trim(struct segments *segments)
{
    for (unsigned i = 0; i < PIECE_SIZES; i++) {
        struct piece *spare;
        while ((spare = take_spare(segments, &segments->spares[i])) != NULL)
            free(spare);
    }
}

static bool has_room(const struct segments *segments, const struct lane *lane, uint32_t len)
    REQUIRES(segments->lock)
{
    const struct segment *segment = lane->current;

    return segment != NULL && !segment->is_full && segment->size + len <= segments->segment_size;
}

static int no_id(struct error *err)
{
    return error_set(err, -EAGAIN, "no segment id has been announced that could be used");
}

/* What the wait for an id ended with: there is none. */
static int id_failure(const struct segments *segments, struct error *err) REQUIRES(segments->lock)
{
    if (err != NULL)
        *err = segments->id_error;
    return segments->id_error.code < 0 ? segments->id_error.code : -EIO;
}

/* For whom a segment is opened. */
struct claim {
    bool may_wait; /* for an id to be announced */
    unsigned kept; /* ids that are left to others */
};

/* Until an id was announced, or something else has changed. Nobody else is kept from opening a
 * segment meanwhile: a rescue may, which this waits for. */
static int wait_for_id(struct segments *segments, const struct claim *claim, struct error *err)
    REQUIRES(segments->lock)
{
    uint64_t failures = segments->id_failures;

    if (!claim->may_wait)
        return no_id(err);
    segments->id_waiters++;
    cond_wait(&segments->changed, &segments->lock);
    segments->id_waiters--;
    return segments->id_failures == failures ? 0 : id_failure(segments, err);
}

int segment_write_header(struct segments *segments, const struct segment *segment,
                         struct object_writer *writer, struct error *err)
{
    const struct block_identity identity = { .fs = segments->fs,
                                             .generation = segments->generation,
                                             .segment = segment->id };
    uint8_t header[SEGMENT_HEADER_LEN];

    segment_header_encode(&identity, header);
    return object_writer_write(writer, 0, (struct bytes){ .data = header, .len = sizeof(header) },
                               err);
}

/* Without the lock: the object and the cipher of a new segment. */
static int make_object(struct segments *segments, struct segment *segment,
                       struct object_writer **ret, struct aead **ret_aead, bool *ret_is_clean,
                       struct error *err)
{
    char name[SEGMENT_NAME_SIZE];
    struct object_writer *writer = NULL;

    int r = segment_aead_new(&segments->keys, segments->generation, &segment->id, ret_aead);
    if (r < 0)
        return error_set(err, r, "no cipher for a new segment: %s", strerrordesc_np(-r));
    segment_object_name(&segment->id, name);
    r = object_store_create(segments->store, name, &writer, err);
    if (r == 0)
        r = segment_write_header(segments, segment, writer, err);
    if (r == 0) {
        *ret = writer;
        return 0;
    }
    object_writer_close(writer);
    aead_free(*ret_aead);
    *ret_aead = NULL;
    /* Nothing was sealed in it: if nothing is left of it, the id is as good as new. */
    *ret_is_clean = object_store_remove(segments->store, name, NULL) == 0;
    return r;
}

void segments_end_segment(struct segments *segments, struct segment *segment)
{
    segment->is_full = true;
    for (unsigned i = 0; i <= FETCH_LANES; i++)
        if (segments->lanes[i].current == segment)
            segments->lanes[i].current = NULL;
}

/* Makes the next current segment; there is an id. The lock is given up meanwhile. */
static int open_next(struct segments *segments, struct lane *lane, struct error *err)
    REQUIRES(segments->lock)
{
    struct segment *segment = segment_list_pop(&segments->usable);
    struct object_writer *writer = NULL;
    struct aead *aead = NULL;
    bool is_clean = true;

    lane->is_opening = true;
    mutex_unlock(&segments->lock);
    int r = make_object(segments, segment, &writer, &aead, &is_clean, err);
    mutex_lock(&segments->lock);
    lane->is_opening = false;
    (void)pthread_cond_broadcast(&segments->changed);
    if (r < 0 && is_clean) {
        segment_list_push(&segments->usable, segment);
        return r;
    }
    segment->generation = segments->generation;
    segment_changed(segments, segment);
    if (r < 0) { /* an object of this name may be there */
        segment->state = SEGMENT_ENDED;
        segment->is_full = true;
        return r;
    }
    segment->state = SEGMENT_OPEN;
    segment->writer = writer;
    segment->aead = aead;
    segment->size = SEGMENT_HEADER_LEN;
    segment->pieces_end = &segment->pieces;
    segments->stored += SEGMENT_HEADER_LEN;
    if (lane->current != NULL)
        segments_end_segment(segments, lane->current);
    lane->current = segment;
    return 0;
}

void segment_note_dirty(struct segments *segments, struct segment *segment)
{
    if (segment->is_dirty)
        return;
    segment->is_dirty = true;
    segment->next_dirty = segments->dirty;
    segments->dirty = segment;
}

/* It is completed by the next sync. */
static void end_lane(struct segments *segments, struct lane *lane) REQUIRES(segments->lock)
{
    if (lane->current == NULL)
        return;
    segment_note_dirty(segments, lane->current);
    segments_end_segment(segments, lane->current);
}

void segments_end_current_locked(struct segments *segments)
{
    for (unsigned i = 0; i <= FETCH_LANES; i++)
        end_lane(segments, &segments->lanes[i]);
}

static void take_room(struct segments *segments, struct segment *segment, uint32_t len,
                      struct room *ret) REQUIRES(segments->lock)
{
    *ret = (struct room){ .segment = segment, .offset = segment->size };
    segment->size += len;
    segment->in_flight++;
    segment->pending++;
    segments->stored += len;
    segments->appended += len;
    segment_note_dirty(segments, segment);
}

static int reserve(struct segments *segments, struct lane *lane, uint32_t len,
                   const struct claim *claim, struct room *ret, struct error *err)
{
    int r = 0;

    mutex_lock(&segments->lock);
    while (r == 0 && !has_room(segments, lane, len)) {
        if (lane->is_opening) {
            cond_wait(&segments->changed, &segments->lock);
            continue;
        }
        if (segments->usable.count <= claim->kept) {
            r = wait_for_id(segments, claim, err);
            continue;
        }
        end_lane(segments, lane);
        r = open_next(segments, lane, err);
    }
    if (r == 0)
        take_room(segments, lane->current, len, ret);
    mutex_unlock(&segments->lock);
    return r;
}

int segment_reserve_in(struct segments *segments, struct lane *lane, uint32_t len, bool may_wait,
                       struct room *ret, struct error *err)
{
    const struct claim claim = { .may_wait = may_wait, .kept = IDS_KEPT };

    return reserve(segments, lane, len, &claim, ret, err);
}

int segment_reserve_for_rescue(struct segments *segments, uint32_t len, struct room *ret,
                               struct error *err)
{
    const struct claim claim = { .may_wait = false, .kept = 0 };

    return reserve(segments, &segments->lanes[0], len, &claim, ret, err);
}

int segment_reserve(struct segments *segments, uint32_t len, bool may_wait, struct room *ret,
                    struct error *err)
{
    return segment_reserve_in(segments, &segments->lanes[0], len, may_wait, ret, err);
}

static struct lane *free_lane(struct segments *segments) REQUIRES(segments->lock)
{
    for (unsigned i = 1; i <= FETCH_LANES; i++)
        if (!segments->lanes[i].is_taken)
            return &segments->lanes[i];
    return NULL;
}

struct lane *segments_take_lane(struct segments *segments)
{
    struct lane *lane;

    if (object_store_prefers_sealing(segments->store))
        return &segments->lanes[0];
    mutex_lock(&segments->lock);
    while ((lane = free_lane(segments)) == NULL)
        cond_wait(&segments->fetch_turn, &segments->lock);
    lane->is_taken = true;
    mutex_unlock(&segments->lock);
    return lane;
}

void segments_give_lane(struct segments *segments, struct lane *lane)
{
    mutex_lock(&segments->lock);
    lane->is_taken = false;
    (void)pthread_cond_broadcast(&segments->fetch_turn);
    mutex_unlock(&segments->lock);
}

/* Continues the one before it if it is the same file's next data in the next blocks. */
static bool entry_joins(struct segment_entry *last, const struct segment_entry *entry)
{
    if (last->ino != entry->ino || last->block_len != entry->block_len ||
        last->offset + segment_entry_sealed(last) != entry->offset ||
        last->file_offset + (uint64_t)last->count * last->block_len != entry->file_offset ||
        !uuid_equal(&last->identity.segment, &entry->identity.segment) ||
        last->identity.address + segment_entry_sealed(last) != entry->identity.address)
        return false;
    last->count += entry->count;
    return true;
}

static int entry_add(struct segment *segment, const struct segment_entry *entry)
{
    if (segment->entry_count > 0 && entry_joins(&segment->entries[segment->entry_count - 1], entry))
        return 0;
    if (segment->entry_count == segment->entry_room) {
        uint32_t room = segment->entry_room == 0 ? 64 : 2 * segment->entry_room;
        struct segment_entry *entries = reallocarray(segment->entries, room, sizeof(*entries));
        if (entries == NULL)
            return -ENOMEM;
        segment->entries = entries;
        segment->entry_room = room;
    }
    segment->entries[segment->entry_count++] = *entry;
    return 0;
}

int segment_keep(struct segments *segments, struct segment *segment, struct piece *piece)
{
    for (unsigned i = 0; i < piece->entry_count; i++)
        if (entry_add(segment, &piece->entries[i]) < 0)
            return -ENOMEM;
    *segment->pieces_end = piece;
    segment->pieces_end = &piece->next;
    segments->not_durable += piece->room;
    segment_note_dirty(segments, segment);
    return 0;
}

/* Who completes it may wait for that. */
static void leave_flight(struct segments *segments, struct segment *segment)
    REQUIRES(segments->lock)
{
    segment->in_flight--;
    if (segment->in_flight == 0 && segment->is_full)
        (void)pthread_cond_broadcast(&segments->changed);
}

void segment_unpend(struct segments *segments, struct segment *segment)
{
    segment->pending--;
    if (segment->pending == 0 && segment->live == 0)
        segment_changed(segments, segment); /* it may be dead */
}

/* A full disk may have room again; from any other failure nothing good follows. */
void segment_end_write(struct segments *segments, struct segment *segment, int r)
{
    if (r < 0 && r != -ENOSPC && r != -EDQUOT)
        segments_end_segment(segments, segment);
    leave_flight(segments, segment);
}

int segment_write(struct segments *segments, struct segment *segment, struct piece *piece,
                  struct error *err)
{
    int r = object_writer_write(segment->writer, piece->offset,
                                (struct bytes){ .data = piece->data, .len = piece->len }, err);

    mutex_lock(&segments->lock);
    if (r == 0 && segment_keep(segments, segment, piece) < 0)
        r = error_set(err, -ENOMEM, "no memory to write to a segment");
    segment_end_write(segments, segment, r);
    if (r < 0)
        segment_unpend(segments, segment);
    mutex_unlock(&segments->lock);
    return r;
}

void piece_place(struct piece *piece, uint32_t offset)
{
    for (unsigned i = 0; i < piece->entry_count; i++)
        piece->entries[i].offset = piece->entries[i].offset - piece->offset + offset;
    piece->offset = offset;
}

int segment_write_copy(struct segments *segments, const struct room *room, struct piece *piece,
                       const struct block_run *run, struct segment_copy *ret, struct error *err)
{
    piece_place(piece, room->offset);
    const struct segment_copy copy = { .segment = run->segment,
                                       .address = run->address,
                                       .len = piece->len,
                                       .identity = piece->identity,
                                       .object = room->segment->id,
                                       .offset = room->offset };
    int r = segment_write(segments, room->segment, piece, err);
    if (r < 0)
        piece_free(segments, piece);
    else
        *ret = copy;
    return r;
}

/* What an append of len bytes becomes: full blocks, and a shorter one. */
static size_t plan_runs(size_t len, uint32_t block_len, struct block_run ret[APPEND_RUNS_MAX])
{
    size_t full = len / block_len;
    size_t rest = len % block_len;
    size_t count = 0;

    if (full > 0)
        ret[count++] = (struct block_run){ .block_len = block_len, .count = (uint32_t)full };
    if (rest > 0)
        ret[count++] = (struct block_run){ .block_len = (uint32_t)rest, .count = 1 };
    return count;
}

static int seal_runs(struct segment *segment, const struct block_identity *first,
                     const struct block_run *runs, size_t count, struct bytes data, uint8_t *to)
{
    struct nonce_batch nonces = { 0 };
    struct block_identity block = *first;

    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < runs[i].count; k++) {
            struct bytes plain = { .data = data.data, .len = runs[i].block_len };
            int r = block_seal(segment->aead, &block, &nonces, plain, to);
            if (r < 0)
                return r;
            data.data += plain.len;
            to += plain.len + BLOCK_OVERHEAD;
            block.address += runs[i].block_len + BLOCK_OVERHEAD;
        }
    return 0;
}

/* Where the runs and the piece that holds them lie. */
static void place_runs(const struct block_identity *first, const struct segment_origin *origin,
                       struct block_run *runs, size_t count, struct piece *piece)
{
    uint32_t address = first->address;
    uint64_t file_offset = origin->offset;

    piece->identity = *first;
    piece->offset = first->address;
    piece->entry_count = (unsigned)count;
    for (size_t i = 0; i < count; i++) {
        runs[i].segment = first->segment;
        runs[i].address = address;
        piece->entries[i] = (struct segment_entry){ .offset = address,
                                                    .count = runs[i].count,
                                                    .block_len = runs[i].block_len,
                                                    .ino = origin->ino,
                                                    .file_offset = file_offset,
                                                    .identity = *first };
        piece->entries[i].identity.address = address;
        address += (uint32_t)block_run_sealed(&runs[i]);
        file_offset += (uint64_t)runs[i].count * runs[i].block_len;
    }
    piece->len = address - first->address;
}

/* Gives back what segment_reserve() took, and nothing was written to. */
static void give_up_room(struct segments *segments, struct segment *segment)
{
    mutex_lock(&segments->lock);
    leave_flight(segments, segment);
    segment_unpend(segments, segment);
    mutex_unlock(&segments->lock);
}

int segments_push_back(struct segments *segments, struct error *err)
{
    mutex_lock(&segments->lock);
    uint64_t waiting = segments->not_durable;
    mutex_unlock(&segments->lock);

    if (waiting < NOT_DURABLE_SYNC)
        return 0;
    if (waiting < NOT_DURABLE_MAX)
        return segments_try_sync(segments); /* a failure is told to who asks for durability */
    int r = segments_sync(segments, err);
    /* A program asked to write, which says nothing of servers and connections. */
    return r == 0 || r == -ENOSPC || r == -EDQUOT || r == -ENOMEM ? r : error_recode(err, -EIO);
}

static int append_piece(struct segments *segments, const struct segment_origin *origin,
                        struct bytes data, struct block_run *runs, size_t count,
                        struct piece *piece, struct error *err)
{
    uint32_t len = 0;
    struct room room;

    for (size_t i = 0; i < count; i++)
        len += (uint32_t)block_run_sealed(&runs[i]);
    int r = segment_reserve(segments, len, true, &room, err);
    if (r != 0)
        return r;
    const struct block_identity first = { .fs = segments->fs,
                                          .generation = segments->generation,
                                          .segment = room.segment->id,
                                          .address = room.offset };
    place_runs(&first, origin, runs, count, piece);
    r = seal_runs(room.segment, &first, runs, count, data, piece->data);
    if (r == 0)
        return segment_write(segments, room.segment, piece, err);
    give_up_room(segments, room.segment);
    return error_set(err, r, "no memory to seal a block");
}

int segments_append(struct segments *segments, const struct segment_origin *origin,
                    struct bytes data, uint32_t block_len, struct block_run ret[APPEND_RUNS_MAX],
                    size_t *ret_count, struct error *err)
{
    size_t count = plan_runs(data.len, block_len, ret);
    size_t blocks = data.len / block_len + 1;

    int r = segments_push_back(segments, err);
    if (r < 0)
        return r;
    struct piece *piece = piece_new(segments, data.len + blocks * BLOCK_OVERHEAD);
    if (piece == NULL)
        return error_set(err, -ENOMEM, "no memory to write to a segment");
    r = append_piece(segments, origin, data, ret, count, piece, err);
    if (r < 0)
        piece_free(segments, piece);
    else
        *ret_count = count;
    return r;
}

void segments_release(struct segments *segments, const struct block_run *runs, size_t count)
{
    if (count == 0)
        return;
    mutex_lock(&segments->lock);
    struct segment *segment = segment_find(segments, &runs[0].segment);
    if (segment != NULL)
        segment_unpend(segments, segment);
    mutex_unlock(&segments->lock);
}

void segments_end_current(struct segments *segments)
{
    mutex_lock(&segments->lock);
    segments_end_current_locked(segments);
    mutex_unlock(&segments->lock);
}

void segments_end_fetched(struct segments *segments)
{
    mutex_lock(&segments->lock);
    for (unsigned i = 1; i <= FETCH_LANES; i++)
        end_lane(segments, &segments->lanes[i]);
    mutex_unlock(&segments->lock);
}

bool segments_end_wasteful(struct segments *segments, unsigned live_max_8)
{
    mutex_lock(&segments->lock);
    struct lane *lane = &segments->lanes[0];
    const struct segment *segment = lane->current;
    bool ends = segment != NULL && segment->pending == 0 &&
                segment->live < (uint64_t)segment->size * live_max_8 / 8;
    if (ends)
        end_lane(segments, lane);
    mutex_unlock(&segments->lock);
    return ends;
}
