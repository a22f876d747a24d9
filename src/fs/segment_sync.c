/* Makes what was appended durable: syncs, completes full segments with their footer, and brings
 * what a failed sync may have lost into another object.
 *
 * After a failed sync the kernel may have dropped the data and will report nothing again, so the
 * object is believed only up to what an earlier sync answered for. The pieces are still in
 * memory. They are written to the current segment as they are, and LOCATION records say so; those
 * go into the very group that waits for this sync (segments_group_record()).
 *
 * A store that prefers sealing stores an object whole at each sync: there the current segment is
 * ended by each sync, so that nothing is stored twice, and several segments are stored at once. Who
 * waits for a group may store one ahead (segments_push()); a sync waits for these. One segment is
 * with one thread: a push takes it out of the list of dirty when nobody writes to it any more, and
 * leaves alone what a sync has (is_syncing). */
#include "fs/segments_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/parallel.h"

#define PUSH_LEN ((uint32_t)1024 * 1024) /* worth an object */
#define SEALS_AT_ONCE 4u /* in a store that is far away; a disk is not faster with several */
#define FAILURES_MAX 3u  /* of the store, in one sync; what is left then waits for the next */

/* What came of a round of a sync. */
struct round_result {
    bool has_moved;  /* data went into another object: there is more to make durable */
    bool has_failed; /* the store did, which a segment that failed before does not say again */
};

void pieces_free(struct segments *segments, struct piece *pieces)
{
    while (pieces != NULL) {
        struct piece *next = pieces->next;
        piece_free(segments, pieces);
        pieces = next;
    }
}

/* Footer and tail behind the blocks. A segment without them is as good, but for rescue. */
static int write_footer(struct segments *segments, struct segment *segment, struct error *err)
{
    const struct block_identity identity = { .fs = segments->fs,
                                             .generation = segment->generation,
                                             .segment = segment->id };
    struct buf footer = BUF_INIT;

    int r = segment_footer_encode(segment->aead, &identity, segment->size, segment->entries,
                                  segment->entry_count, &footer);
    if (r < 0)
        return error_set(err, r, "no memory for the footer of a segment");
    r = object_writer_write(segment->writer, segment->size, buf_bytes(&footer), err);
    if (r == 0) {
        mutex_lock(&segments->lock);
        segment->size += (uint32_t)footer.len;
        segments->stored += footer.len;
        mutex_unlock(&segments->lock);
    }
    buf_release(&footer);
    return r;
}

static bool is_settled(const struct segment *segment)
{
    return segment->is_full && segment->in_flight == 0;
}

/* Nothing is written to it any more, nor will be. Where a sync stores all of it, those who write
 * are waited for: their bytes are on the way to memory only. */
static bool is_complete(struct segments *segments, const struct segment *segment)
{
    mutex_lock(&segments->lock);
    if (object_store_prefers_sealing(segments->store))
        while (segment->is_full && segment->in_flight > 0)
            cond_wait(&segments->changed, &segments->lock);
    bool is = is_settled(segment);
    mutex_unlock(&segments->lock);
    return is;
}

static void close_writer(struct segments *segments, struct segment *segment,
                         enum segment_state state) REQUIRES(segments->lock)
{
    object_writer_close(TAKE(segment->writer));
    free(TAKE(segment->entries));
    segment->entry_count = 0;
    segment->entry_room = 0;
    segment->state = state;
    segment_changed(segments, segment);
}

static struct piece *take_pieces(struct segments *segments, struct segment *segment,
                                 uint64_t *ret_len)
{
    mutex_lock(&segments->lock);
    struct piece *pieces = TAKE(segment->pieces);
    segment->pieces_end = &segment->pieces;
    mutex_unlock(&segments->lock);
    *ret_len = 0;
    for (const struct piece *piece = pieces; piece != NULL; piece = piece->next)
        *ret_len += piece->room;
    return pieces;
}

/* In front of those that came since. */
static void give_pieces_back(struct segment *segment, struct piece *pieces)
{
    struct piece **end = &pieces;

    while (*end != NULL)
        end = &(*end)->next;
    *end = segment->pieces;
    if (segment->pieces == NULL)
        segment->pieces_end = end;
    segment->pieces = pieces;
    if (pieces == NULL)
        segment->pieces_end = &segment->pieces;
}

/* One object. What is taken from pieces is durable after 0; later appends have pieces of their
 * own. */
static int sync_object(struct segments *segments, struct segment *segment, bool *ret_is_closed,
                       struct error *err)
{
    /* Noted as dirty once more while the sync that completed it was at work. */
    *ret_is_closed = segment->writer == NULL;
    if (segment->has_failed || segment->writer == NULL)
        return segment->has_failed ? -EIO : 0;
    if (!is_complete(segments, segment))
        return object_writer_sync(segment->writer, err);
    bool has_footer = write_footer(segments, segment, NULL) == 0;
    int r = has_footer ? object_writer_seal(segment->writer, err)
                       : object_writer_sync(segment->writer, err);
    if (r == 0) {
        mutex_lock(&segments->lock);
        close_writer(segments, segment, has_footer ? SEGMENT_CLOSED : SEGMENT_ENDED);
        mutex_unlock(&segments->lock);
        *ret_is_closed = true;
    }
    return r;
}

static int extra_add(struct segments *segments, const struct extra_record *extra)
{
    if (segments->extra_count == segments->extra_room) {
        size_t room = segments->extra_room == 0 ? 16 : 2 * segments->extra_room;
        struct extra_record *extras = reallocarray(segments->extras, room, sizeof(*extras));
        if (extras == NULL)
            return -ENOMEM;
        segments->extras = extras;
        segments->extra_room = room;
    }
    segments->extras[segments->extra_count++] = *extra;
    return 0;
}

static int note_location(struct segments *segments, const struct block_identity *identity,
                         uint32_t len, struct segment *object, uint32_t offset)
    REQUIRES(segments->lock)
{
    const struct location_record location = {
        .len = len, .live = len, .object = object->id, .offset = offset, .identity = *identity
    };
    struct extra_record extra = { .len = 0 };

    location_key(&identity->segment, identity->address, &extra.key);
    (void)location_encode(&location, extra.value, &extra.len);
    int r = extra_add(segments, &extra);
    return r < 0 ? r
                 : segment_relocate(segments, &identity->segment, identity->address, identity, len,
                                    len, object, offset);
}

/* Part by part, as it lay before: of what was fetched some may have been freed since, or even be
 * forgotten. */
static int note_locations(struct segments *segments, const struct piece *piece,
                          struct segment *object) REQUIRES(segments->lock)
{
    struct block_identity at = piece->identity;
    uint32_t done = 0;
    int r = 0;

    while (done < piece->len && r == 0) {
        bool is_known;
        uint32_t len =
            segment_together(segments, &at.segment, at.address, piece->len - done, &is_known);
        if (is_known)
            r = note_location(segments, &at, len, object, piece->offset + done);
        at.address += len;
        done += len;
    }
    return r;
}

/* The records of one rescued piece: where it lies now, that this object is in use, and that
 * counts of before this moment are not to be relied on. */
static int note_rescue(struct segments *segments, const struct piece *piece, struct segment *object)
    REQUIRES(segments->lock)
{
    const struct usage_record usage = { .state = SEGMENT_OPEN,
                                        .generation = object->generation,
                                        .size = object->size,
                                        .live = object->live };
    struct extra_record extras[2] = { 0 };

    usage_key(&object->id, &extras[0].key);
    (void)usage_encode(&usage, extras[0].value, &extras[0].len);
    state_key(STATE_RECOUNT, &extras[1].key);
    for (size_t i = 0; i < 2; i++)
        if (extra_add(segments, &extras[i]) < 0)
            return -ENOMEM;
    segments->needs_recount = true;
    segments->recount_noted = true;
    return note_locations(segments, piece, object);
}

/* Into the current segment: the piece is that one's then. */
static int rescue_piece(struct segments *segments, struct piece *piece, struct error *err)
{
    uint32_t before = piece->offset;
    struct room room;

    int r = segment_reserve_for_rescue(segments, piece->len, &room, err);
    if (r < 0)
        return r;
    piece_place(piece, room.offset);
    piece->next = NULL;
    r = segment_write(segments, room.segment, piece, err);
    if (r < 0) {
        piece_place(piece, before);
        return r;
    }
    mutex_lock(&segments->lock);
    r = note_rescue(segments, piece, room.segment);
    segment_unpend(segments, room.segment);
    mutex_unlock(&segments->lock);
    return r < 0 ? error_set(err, r, "no memory to write data again") : 0;
}

static void tell_trouble(struct segments *segments, const struct segment *segment,
                         const struct error *why)
{
    char id[UUID_TEXT_SIZE];
    struct error text = { 0 };

    if (segments->on_trouble == NULL)
        return;
    uuid_format(&segment->id, id);
    error_write(&text, why->code,
                "The store could not make segment %s durable (%s); what it holds since is being "
                "written again, into another one.",
                id, why->text);
    segments->on_trouble(text.text, segments->trouble_arg);
}

/* Its pieces, one after the other; what could not be written stays with it. */
static int rescue(struct segments *segments, struct segment *segment, struct piece *pieces,
                  struct round_result *result, struct error *err)
{
    int r = 0;

    while (pieces != NULL && r == 0) {
        struct piece *piece = pieces;
        pieces = piece->next;
        mutex_lock(&segments->lock);
        segments->not_durable -= piece->room;
        mutex_unlock(&segments->lock);
        r = rescue_piece(segments, piece, err);
        if (r == 0) {
            result->has_moved = true;
            continue;
        }
        mutex_lock(&segments->lock);
        segments->not_durable += piece->room;
        mutex_unlock(&segments->lock);
        piece->next = pieces;
        pieces = piece;
    }
    mutex_lock(&segments->lock);
    give_pieces_back(segment, pieces);
    if (segment->pieces == NULL && segment->in_flight == 0)
        close_writer(segments, segment, SEGMENT_ENDED);
    else
        segment_note_dirty(segments, segment);
    mutex_unlock(&segments->lock);
    return r;
}

/* True: it had not failed before. */
static bool mark_failed(struct segments *segments, struct segment *segment, const struct error *why)
{
    mutex_lock(&segments->lock);
    bool is_news = !segment->has_failed;
    segment->has_failed = true;
    segment->is_syncing = false;
    segments_end_segment(segments, segment);
    mutex_unlock(&segments->lock);
    if (is_news)
        tell_trouble(segments, segment, why);
    return is_news;
}

static void synced(struct segments *segments, struct segment *segment, struct piece *pieces,
                   uint64_t len, bool is_closed)
{
    mutex_lock(&segments->lock);
    segments->not_durable -= len;
    segment->is_syncing = false;
    if (!is_closed && segment->is_full)
        segment_note_dirty(segments, segment); /* until it is complete */
    mutex_unlock(&segments->lock);
    pieces_free(segments, pieces);
}

/* One segment of a round. */
struct sync_job {
    struct segments *segments;
    struct segment *segment;
    struct piece *pieces;
    uint64_t len; /* memory of the pieces */
    bool is_closed;
    int result;
    struct error why;
};

static void run_job(void *arg, size_t index)
{
    struct sync_job *job = (struct sync_job *)arg + index;

    job->pieces = take_pieces(job->segments, job->segment, &job->len);
    job->result = sync_object(job->segments, job->segment, &job->is_closed, &job->why);
}

/* What could not be stored is again among the dirty: a later sync finds another place for it. True:
 * the segment had not failed before. */
static bool put_off(const struct sync_job *job)
{
    struct segments *segments = job->segments;

    bool is_news = mark_failed(segments, job->segment, &job->why);
    mutex_lock(&segments->lock);
    give_pieces_back(job->segment, job->pieces);
    segment_note_dirty(segments, job->segment);
    mutex_unlock(&segments->lock);
    return is_news;
}

/* works: what is known of the store, 0 or why nothing is to be brought elsewhere yet. */
static int finish_job(const struct sync_job *job, const struct error *works,
                      struct round_result *result, struct error *err)
{
    if (job->result == 0) {
        synced(job->segments, job->segment, job->pieces, job->len, job->is_closed);
        return 0;
    }
    if (works->code < 0 && job->pieces != NULL) {
        if (put_off(job))
            result->has_failed = true;
        return error_set(err, works->code, "%s", works->text);
    }
    if (mark_failed(job->segments, job->segment, &job->why))
        result->has_failed = true;
    return rescue(job->segments, job->segment, job->pieces, result, err);
}

static int fill(struct object_writer *writer, uint64_t len, struct error *err)
{
    static const uint8_t zeros[65536];
    int r = 0;

    for (uint64_t at = SEGMENT_HEADER_LEN; at < len && r == 0; at += sizeof(zeros)) {
        size_t part = len - at < sizeof(zeros) ? (size_t)(len - at) : sizeof(zeros);
        r = object_writer_write(writer, at, (struct bytes){ .data = zeros, .len = part }, err);
    }
    return r;
}

/* An object of this name, made and removed again. */
static int try_store(struct segments *segments, const struct segment *segment, uint64_t len,
                     struct error *err)
{
    char name[SEGMENT_NAME_SIZE];
    struct object_writer *writer = NULL;

    segment_object_name(&segment->id, name);
    int r = object_store_remove(segments->store, name, err); /* of an attempt before */
    if (r == 0)
        r = object_store_create(segments->store, name, &writer, err);
    if (r == 0)
        r = segment_write_header(segments, segment, writer, err);
    if (r == 0)
        r = fill(writer, len, err);
    if (r == 0)
        r = object_writer_sync(writer, err);
    object_writer_close(writer);
    int removed = object_store_remove(segments->store, name, r == 0 ? err : NULL);
    return r < 0 ? r : removed;
}

/* Each rescue takes an id, and while nothing becomes durable no others are announced. A store may
 * fail for long, so once they are few it has to show first that it works, by an object with nothing
 * in it, but as long as what it failed to take: a full disk or a quota takes short ones for long.
 * Its id is as good as new when nothing is left of it, and serves the next attempt until then. */
static void ask_store(struct segments *segments, uint64_t len, struct error *ret)
{
    mutex_lock(&segments->lock);
    bool is_asked = segments->usable.count < IDS_WANTED;
    struct segment *segment = is_asked ? TAKE(segments->probe) : NULL;
    if (is_asked && segment == NULL && segments->usable.count > 0)
        segment = segment_list_pop(&segments->usable);
    mutex_unlock(&segments->lock);
    if (segment == NULL)
        return;
    int r = try_store(segments, segment, len, ret);
    mutex_lock(&segments->lock);
    if (r == 0)
        segment_list_push(&segments->usable, segment);
    else
        segments->probe = segment;
    mutex_unlock(&segments->lock);
}

/* All that is dirty now, out of the list: others put segments there meanwhile. */
static int take_dirty(struct segments *segments, struct sync_job **ret, size_t *ret_count)
{
    size_t count = 0;

    mutex_lock(&segments->lock);
    for (const struct segment *s = segments->dirty; s != NULL; s = s->next_dirty)
        count++;
    struct sync_job *taken = calloc(count + 1, sizeof(*taken));
    if (taken != NULL) {
        struct segment *next = TAKE(segments->dirty);
        for (size_t i = 0; next != NULL; next = next->next_dirty) {
            taken[i++] = (struct sync_job){ .segments = segments, .segment = next };
            next->is_dirty = false;
            next->is_syncing = true;
        }
    }
    mutex_unlock(&segments->lock);
    *ret = taken;
    *ret_count = count;
    return taken == NULL ? -ENOMEM : 0;
}

static int sync_round(struct segments *segments, struct round_result *result, struct error *err)
{
    CLEANUP(free_ptr) struct sync_job *jobs = NULL;
    bool seals = object_store_prefers_sealing(segments->store);
    struct error works = { 0 };
    uint64_t longest = 0; /* of what is to be brought elsewhere */
    size_t count = 0;
    int first = 0;

    if (seals)
        segments_end_current(segments);
    if (take_dirty(segments, &jobs, &count) < 0)
        return error_set(err, -ENOMEM, "no memory to make segments durable");
    parallel_each(count, seals ? SEALS_AT_ONCE : 1, run_job, jobs);
    for (size_t i = 0; i < count; i++)
        if (jobs[i].result < 0 && jobs[i].len > longest)
            longest = jobs[i].len;
    if (longest > 0)
        ask_store(segments, longest, &works);
    for (size_t i = 0; i < count; i++) {
        int r = finish_job(&jobs[i], &works, result, first == 0 ? err : NULL);
        if (first == 0)
            first = r;
    }
    return first;
}

/* --- ahead of a sync --- */

/* One that a push can take, out of the list. NULL: none. */
static struct segment *take_settled(struct segments *segments) REQUIRES(segments->lock)
{
    struct segment **at = &segments->dirty;

    for (; *at != NULL; at = &(*at)->next_dirty) {
        struct segment *segment = *at;
        if (segment->writer == NULL || segment->has_failed || segment->is_syncing ||
            !is_settled(segment))
            continue;
        *at = segment->next_dirty;
        segment->is_dirty = false;
        return segment;
    }
    return NULL;
}

/* NULL: nothing is worth it, or enough are under way. */
static struct segment *begin_push(struct segments *segments, unsigned *ret_slot)
{
    struct segment *segment = NULL;
    unsigned slot = 0;

    mutex_lock(&segments->lock);
    while (slot < PUSHES_MAX && segments->pushing[slot] != 0)
        slot++;
    if (slot < PUSHES_MAX) {
        const struct segment *current = segments->lanes[0].current; /* there is no other then */
        if (current != NULL && current->size >= PUSH_LEN)
            segments_end_current_locked(segments);
        segment = take_settled(segments);
    }
    if (segment != NULL)
        segments->pushing[slot] = segment->push = ++segments->pushes_begun;
    mutex_unlock(&segments->lock);
    *ret_slot = slot;
    return segment;
}

static void end_push(struct segments *segments, unsigned slot)
{
    mutex_lock(&segments->lock);
    segments->pushing[slot] = 0;
    (void)pthread_cond_broadcast(&segments->changed);
    mutex_unlock(&segments->lock);
}

void segments_push(struct segments *segments)
{
    struct sync_job job = { .segments = segments };
    unsigned slot;

    if (!object_store_prefers_sealing(segments->store))
        return;
    job.segment = begin_push(segments, &slot);
    if (job.segment == NULL)
        return;
    run_job(&job, 0);
    if (job.result == 0)
        synced(segments, job.segment, job.pieces, job.len, job.is_closed);
    else
        (void)put_off(&job);
    end_push(segments, slot);
}

static bool is_pushing(const struct segments *segments, uint64_t until) REQUIRES(segments->lock)
{
    for (unsigned i = 0; i < PUSHES_MAX; i++)
        if (segments->pushing[i] != 0 && segments->pushing[i] <= until)
            return true;
    return false;
}

/* For those that began before. True if one failed, and what it held has no other place yet. An
 * append that is still under way in an object that failed is for the next sync. */
static bool wait_for_pushes(struct segments *segments)
{
    bool has_failed = false;

    mutex_lock(&segments->lock);
    uint64_t until = segments->pushes_begun;
    while (is_pushing(segments, until))
        cond_wait(&segments->changed, &segments->lock);
    for (const struct segment *s = segments->dirty; s != NULL; s = s->next_dirty)
        has_failed =
            has_failed || (s->has_failed && s->pieces != NULL && s->push != 0 && s->push <= until);
    mutex_unlock(&segments->lock);
    return has_failed;
}

/* --- syncs --- */

int segments_sync_locked(struct segments *segments, struct error *err)
{
    unsigned failures = 0;
    int r = 0;

    /* A round without a failure moves what was being written into an object that had failed when
     * the one before ended: nothing is written to such an object any more, so they are few. */
    while (failures <= FAILURES_MAX) {
        struct round_result result = { .has_moved = false };
        r = sync_round(segments, &result, err);
        if (r == 0 && wait_for_pushes(segments))
            result = (struct round_result){ .has_moved = true, .has_failed = true };
        if (!result.has_moved)
            return r;
        failures += result.has_failed ? 1 : 0;
    }
    return r < 0 ? r : error_set(err, -EIO, "the store fails to make anything durable");
}

int segments_sync(struct segments *segments, struct error *err)
{
    mutex_lock(&segments->sync_lock);
    int r = segments_sync_locked(segments, err);
    mutex_unlock(&segments->sync_lock);
    return r;
}

int segments_try_sync(struct segments *segments) THREAD_CHECK(no_thread_safety_analysis)
{
    if (pthread_mutex_trylock(&segments->sync_lock.native) != 0)
        return 0;
    int r = segments_sync_locked(segments, NULL);
    mutex_unlock(&segments->sync_lock);
    return r == -ENOMEM ? r : 0;
}
