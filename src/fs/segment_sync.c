/* Makes what was appended durable: syncs, and completes full segments with their footer. What a
 * failed sync may have lost is brought elsewhere (segment_rescue.c).
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

/* Returns their memory. */
static uint64_t take_pieces(struct segments *segments, struct segment *segment)
{
    uint64_t len = 0;

    mutex_lock(&segments->lock);
    segment->syncing = TAKE(segment->pieces);
    segment->pieces_end = &segment->pieces;
    for (const struct piece *piece = segment->syncing; piece != NULL; piece = piece->next)
        len += piece->room;
    mutex_unlock(&segments->lock);
    return len;
}

/* In front of those that came since. */
static void give_pieces_back(struct segment *segment)
{
    struct piece **end = &segment->syncing;

    if (segment->syncing == NULL)
        return;
    while (*end != NULL)
        end = &(*end)->next;
    *end = segment->pieces;
    if (segment->pieces == NULL)
        segment->pieces_end = end;
    segment->pieces = TAKE(segment->syncing);
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

/* What could not be brought elsewhere is again among the dirty: a later sync finds a place for it.
 */
static void end_failed(struct segments *segments, struct segment *segment)
{
    mutex_lock(&segments->lock);
    give_pieces_back(segment);
    if (segment->pieces == NULL && segment->in_flight == 0)
        close_writer(segments, segment, SEGMENT_ENDED);
    else
        segment_note_dirty(segments, segment);
    mutex_unlock(&segments->lock);
}

static void synced(struct segments *segments, struct segment *segment, uint64_t len, bool is_closed)
{
    mutex_lock(&segments->lock);
    struct piece *pieces = TAKE(segment->syncing);
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
    uint64_t len; /* memory of its pieces */
    bool is_closed;
    int result;
    struct error why;
};

static void run_job(void *arg, size_t index)
{
    struct sync_job *job = (struct sync_job *)arg + index;

    job->len = take_pieces(job->segments, job->segment);
    job->result = sync_object(job->segments, job->segment, &job->is_closed, &job->why);
}

static int end_job(const struct sync_job *job, bool is_apart, struct round_result *result,
                   struct error *err)
{
    struct segments *segments = job->segments;
    int r = 0;

    if (job->result == 0) {
        synced(segments, job->segment, job->len, job->is_closed);
        return 0;
    }
    if (mark_failed(segments, job->segment, &job->why))
        result->has_failed = true;
    if (!is_apart)
        r = segment_rescue(segments, job->segment, &result->has_moved, err);
    end_failed(segments, job->segment);
    return r;
}

/* While nothing becomes durable no ids are announced, and each rescue into the current segment
 * takes one. */
static bool are_ids_few(struct segments *segments)
{
    mutex_lock(&segments->lock);
    bool are_few = segments->usable.count < IDS_WANTED;
    mutex_unlock(&segments->lock);
    return are_few;
}

/* A failure does not end it: what is durable is noted, and what is not goes on waiting. */
static int end_round(struct segments *segments, const struct sync_job *jobs, size_t count,
                     struct round_result *result, struct error *err)
{
    CLEANUP(free_ptr) struct segment **failed = calloc(count + 1, sizeof(struct segment *));
    size_t failures = 0;
    int first = 0;

    for (size_t i = 0; i < count && failed != NULL; i++)
        if (jobs[i].result < 0)
            failed[failures++] = jobs[i].segment;
    bool is_apart = failed == NULL || (failures > 0 && are_ids_few(segments));
    if (failed == NULL)
        first = error_set(err, -ENOMEM, "no memory to make segments durable");
    else if (is_apart)
        first = segments_rescue_apart(segments, failed, failures, err);
    for (size_t i = 0; i < count; i++) {
        int r = end_job(&jobs[i], is_apart, result, first == 0 ? err : NULL);
        if (first == 0)
            first = r;
    }
    return first;
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
    size_t count = 0;

    if (seals)
        segments_end_current(segments);
    if (take_dirty(segments, &jobs, &count) < 0)
        return error_set(err, -ENOMEM, "no memory to make segments durable");
    parallel_each(count, seals ? SEALS_AT_ONCE : 1, run_job, jobs);
    return end_round(segments, jobs, count, result, err);
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
    if (job.result == 0) {
        synced(segments, job.segment, job.len, job.is_closed);
    } else {
        (void)mark_failed(segments, job.segment, &job.why);
        end_failed(segments, job.segment);
    }
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
