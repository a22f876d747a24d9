/* What a failed sync may have lost, brought elsewhere.
 *
 * After a failed sync the kernel may have dropped the data and will report nothing again, so the
 * object is believed only up to what an earlier sync answered for. The pieces are still in
 * memory. They are written to the current segment as they are, and LOCATION records say so; those
 * go into the very group that waits for this sync (segments_group_record()).
 *
 * Each rescue takes an id of a segment, and while nothing becomes durable no others are announced.
 * A store may fail for long, so once ids are few the pieces go into objects to which nobody else
 * appends: in them they are durable, or nothing is left and the id is as good as new. Nothing less
 * than the data itself shows that a store takes it: a full disk or a quota takes short objects for
 * long, and one that compresses takes zeros. */
#include "fs/segments_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

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
                          const struct room *room) REQUIRES(segments->lock)
{
    struct block_identity at = piece->identity;
    uint32_t done = 0;
    int r = 0;

    while (done < piece->len && r == 0) {
        bool is_known;
        uint32_t len =
            segment_together(segments, &at.segment, at.address, piece->len - done, &is_known);
        if (is_known)
            r = note_location(segments, &at, len, room->segment, room->offset + done);
        at.address += len;
        done += len;
    }
    return r;
}

/* The records of one rescued piece: where it lies now, that this object is in use, and that
 * counts of before this moment are not to be relied on. What was noted before memory ran out is
 * noted anew when the piece, which stays where it was, is rescued again. */
static int note_rescue(struct segments *segments, const struct piece *piece,
                       const struct room *room) REQUIRES(segments->lock)
{
    const struct segment *object = room->segment;
    const struct usage_record usage = { .state = object->state,
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
    segments->is_rescued = true;
    return note_locations(segments, piece, room);
}

static struct piece *detach_first(struct segments *segments, struct segment *segment)
    REQUIRES(segments->lock)
{
    struct piece *piece = segment->syncing;

    segment->syncing = piece->next;
    piece->next = NULL;
    segments->not_durable -= piece->room;
    return piece;
}

/* It lies in the current segment, too: the piece becomes that one's. */
static int hand_over(struct segments *segments, struct segment *from, const struct room *room)
    REQUIRES(segments->lock)
{
    int r = note_rescue(segments, from->syncing, room);

    if (r < 0)
        return r;
    struct piece *piece = detach_first(segments, from);
    uint32_t before = piece->offset;
    piece_place(piece, room->offset);
    r = segment_keep(segments, room->segment, piece);
    if (r < 0) {
        piece_place(piece, before);
        piece->next = from->syncing;
        from->syncing = piece;
        segments->not_durable += piece->room;
    }
    return r;
}

/* The first one of those that a sync had. */
static int rescue_piece(struct segments *segments, struct segment *from, struct error *err)
{
    const struct piece *piece = from->syncing; /* nobody else changes it */
    const struct bytes data = { .data = piece->data, .len = piece->len };
    struct room room;

    int r = segment_reserve_for_rescue(segments, piece->len, &room, err);
    if (r < 0)
        return r;
    int written = object_writer_write(room.segment->writer, room.offset, data, err);
    mutex_lock(&segments->lock);
    r = written == 0 ? hand_over(segments, from, &room) : written;
    segment_end_write(segments, room.segment, written);
    segment_unpend(segments, room.segment);
    mutex_unlock(&segments->lock);
    return written == 0 && r < 0 ? error_set(err, r, "no memory to write data again") : r;
}

int segment_rescue(struct segments *segments, struct segment *segment, bool *ret_has_moved,
                   struct error *err)
{
    int r = 0;

    while (segment->syncing != NULL && r == 0) {
        r = rescue_piece(segments, segment, err);
        *ret_has_moved = *ret_has_moved || r == 0;
    }
    return r;
}

/* --- when ids are few --- */

/* Some failed segments, and the object into which their pieces go. */
struct apart {
    struct segments *segments;
    struct segment *const *failed;
    size_t count;
    struct segment *to;
    uint32_t size;
    struct piece *done; /* whose place is noted */
};

static uint64_t waiting_in(const struct segment *segment)
{
    uint64_t len = 0;

    for (const struct piece *piece = segment->syncing; piece != NULL; piece = piece->next)
        len += piece->len;
    return len;
}

static int write_pieces(struct apart *apart, struct object_writer *writer, struct error *err)
{
    int r = segment_write_header(apart->segments, apart->to, writer, err);

    apart->size = SEGMENT_HEADER_LEN;
    for (size_t i = 0; i < apart->count; i++)
        for (const struct piece *piece = apart->failed[i]->syncing; piece != NULL && r == 0;
             piece = piece->next) {
            const struct bytes data = { .data = piece->data, .len = piece->len };
            r = object_writer_write(writer, apart->size, data, err);
            apart->size += piece->len;
        }
    return r == 0 ? object_writer_sync(writer, err) : r;
}

static int store_apart(struct apart *apart, struct error *err)
{
    struct object_store *store = apart->segments->store;
    char name[SEGMENT_NAME_SIZE];
    struct object_writer *writer = NULL;

    segment_object_name(&apart->to->id, name);
    int r = object_store_remove(store, name, err); /* of an attempt before */
    if (r == 0)
        r = object_store_create(store, name, &writer, err);
    if (r == 0)
        r = write_pieces(apart, writer, err);
    object_writer_close(writer);
    if (r < 0)
        (void)object_store_remove(store, name, NULL); /* else the next attempt does */
    return r;
}

/* The pieces are durable, and go as soon as it is noted where. */
static int note_apart(struct segments *segments, struct apart *apart) REQUIRES(segments->lock)
{
    struct room room = { .segment = apart->to, .offset = SEGMENT_HEADER_LEN };
    int r = 0;

    apart->to->generation = segments->generation;
    apart->to->state = SEGMENT_ENDED;
    apart->to->is_full = true;
    apart->to->size = apart->size;
    segments->stored += apart->size;
    segment_changed(segments, apart->to);
    for (size_t i = 0; i < apart->count; i++)
        while (apart->failed[i]->syncing != NULL && r == 0) {
            const uint32_t len = apart->failed[i]->syncing->len;
            r = note_rescue(segments, apart->failed[i]->syncing, &room);
            if (r < 0)
                break;
            struct piece *piece = detach_first(segments, apart->failed[i]);
            piece->next = apart->done;
            apart->done = piece;
            room.offset += len;
        }
    return r;
}

static struct segment *take_id(struct segments *segments)
{
    mutex_lock(&segments->lock);
    struct segment *segment = TAKE(segments->probe);
    if (segment == NULL)
        segment = segment_list_pop(&segments->usable);
    mutex_unlock(&segments->lock);
    return segment;
}

static int rescue_some(struct segments *segments, struct segment *const *failed, size_t count,
                       struct error *err)
{
    struct apart apart = {
        .segments = segments, .failed = failed, .count = count, .to = take_id(segments)
    };

    if (apart.to == NULL)
        return error_set(err, -EAGAIN, "no segment id has been announced that could be used");
    int r = store_apart(&apart, err);
    mutex_lock(&segments->lock);
    if (r < 0)
        segments->probe = apart.to;
    else if (note_apart(segments, &apart) < 0)
        r = error_set(err, -ENOMEM, "no memory to write data again");
    mutex_unlock(&segments->lock);
    pieces_free(segments, apart.done);
    return r;
}

int segments_rescue_apart(struct segments *segments, struct segment *const *failed, size_t count,
                          struct error *err)
{
    size_t end;

    for (size_t first = 0; first < count; first = end) {
        uint64_t len = SEGMENT_HEADER_LEN + waiting_in(failed[first]);
        for (end = first + 1; end < count; end++) {
            uint64_t more = waiting_in(failed[end]);
            if (len + more > segments->segment_size)
                break;
            len += more;
        }
        int r =
            len > SEGMENT_HEADER_LEN ? rescue_some(segments, &failed[first], end - first, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}
