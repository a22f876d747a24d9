/* Reads and verifies blocks. The objects and ciphers of the segments that were read last stay
 * open; who uses one holds it. */
#include "fs/segments_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/encoding.h"

static void list_remove(struct segments *segments, struct segment *segment) REQUIRES(segments->lock)
{
    struct segment **from_newer =
        segment->newer ? &segment->newer->older : &segments->newest_reader;
    struct segment **from_older =
        segment->older ? &segment->older->newer : &segments->oldest_reader;

    *from_newer = segment->older;
    *from_older = segment->newer;
    segment->newer = NULL;
    segment->older = NULL;
    segments->reader_count--;
}

static void list_add(struct segments *segments, struct segment *segment) REQUIRES(segments->lock)
{
    segment->older = segments->newest_reader;
    segment->newer = NULL;
    if (segments->newest_reader != NULL)
        segments->newest_reader->newer = segment;
    else
        segments->oldest_reader = segment;
    segments->newest_reader = segment;
    segments->reader_count++;
}

static bool is_listed(const struct segments *segments, const struct segment *segment)
    REQUIRES(segments->lock)
{
    return segment->newer != NULL || segments->newest_reader == segment;
}

void segment_close_reader(struct segments *segments, struct segment *segment)
{
    if (is_listed(segments, segment))
        list_remove(segments, segment);
    object_close(TAKE(segment->object));
    if (segment->writer == NULL) /* which seals with it */
        aead_free(TAKE(segment->aead));
}

static void close_oldest(struct segments *segments) REQUIRES(segments->lock)
{
    struct segment *segment = segments->oldest_reader;

    while (segments->reader_count > READERS_MAX && segment != NULL) {
        struct segment *newer = segment->newer;
        if (segment->readers == 0)
            segment_close_reader(segments, segment);
        segment = newer;
    }
}

static int open_object(struct segments *segments, const struct segment *segment,
                       struct object **ret, struct error *err)
{
    char name[SEGMENT_NAME_SIZE];

    if (segment->kind == SEGMENT_PACK)
        return segments->packs->open(segments->packs->arg, &segment->id, ret, err);
    segment_object_name(&segment->id, name);
    return object_store_open_object(segments->store, name, ret, err);
}

static int no_cipher(const struct block_identity *identity, int r, struct error *err)
{
    char id[UUID_TEXT_SIZE];

    if (r != -ENOKEY)
        return error_set(err, r, "no memory for a cipher");
    uuid_format(&identity->fs, id);
    return error_set(err, r,
                     "it is sealed under generation %u of the key of filesystem %s, which is not "
                     "at hand",
                     identity->generation, id);
}

/* Without the lock: what is missing. Two threads may do so at once; the second one's is closed. */
static int open_missing(struct segments *segments, struct segment *segment, bool with_aead,
                        bool with_object, struct error *err)
{
    CLEANUP(object_closep) struct object *object = NULL;
    CLEANUP(aead_freep) struct aead *aead = NULL;
    int r = 0;

    const struct block_identity identity = { .fs = segment->kind == SEGMENT_FOREIGN ? segment->fs
                                                                                    : segments->fs,
                                             .generation = segment->generation,
                                             .segment = segment->id };
    if (with_aead)
        r = block_aead_new(&segments->keys, &segments->fs, &identity, &aead);
    if (r < 0)
        return no_cipher(&identity, r, err);
    if (with_object)
        r = open_object(segments, segment, &object, err);
    mutex_lock(&segments->lock);
    if (r == 0 && segment->aead == NULL)
        segment->aead = TAKE(aead);
    if (r == 0 && segment->object == NULL)
        segment->object = TAKE(object);
    mutex_unlock(&segments->lock);
    return r;
}

enum need {
    NEEDS_CIPHER = 1,
    NEEDS_OBJECT = 2,
};

/* Held: it is neither closed nor dropped until segment_reader_put(). */
static int hold(struct segments *segments, struct segment *segment, unsigned needs,
                struct error *err)
{
    mutex_lock(&segments->lock);
    bool needs_aead = (needs & NEEDS_CIPHER) && segment->aead == NULL;
    bool needs_object = (needs & NEEDS_OBJECT) && segment->object == NULL;
    mutex_unlock(&segments->lock);
    int r = 0;
    if (needs_aead || needs_object)
        r = open_missing(segments, segment, needs_aead, needs_object, err);
    if (r < 0)
        segment_reader_put(segments, segment);
    return r;
}

void segment_reader_take(struct segments *segments, struct segment *segment)
{
    if (is_listed(segments, segment)) {
        if (segments->newest_reader != segment) {
            list_remove(segments, segment);
            list_add(segments, segment);
        }
    } else {
        list_add(segments, segment);
    }
    segment->readers++;
    close_oldest(segments);
}

void segment_reader_put(struct segments *segments, struct segment *segment)
{
    mutex_lock(&segments->lock);
    segment->readers--;
    if (segment->readers == 0 && segment->is_gone) {
        segment_free(segments, segment);
    } else if (segment->readers == 0 && segment->is_deleted) {
        segment_close_reader(segments, segment);
    }
    mutex_unlock(&segments->lock);
}

int segment_hold(struct segments *segments, const struct uuid *id, struct segment **ret,
                 struct error *err)
{
    mutex_lock(&segments->lock);
    struct segment *segment = segment_find(segments, id);
    if (segment != NULL)
        segment_reader_take(segments, segment);
    mutex_unlock(&segments->lock);
    if (segment == NULL)
        return error_set(err, -ENOENT, "no segment of that id is known");
    int r =
        hold(segments, segment, segment->kind == SEGMENT_PACK ? NEEDS_OBJECT : NEEDS_CIPHER, err);
    if (r == 0)
        *ret = segment;
    return r;
}

void source_put(struct segments *segments, struct source *source)
{
    segment_reader_put(segments, source->place.object);
    segment_reader_put(segments, source->sealed_by);
}

int source_get(struct segments *segments, const struct uuid *id, uint32_t address, bool is_opened,
               struct source *ret, struct error *err)
{
    mutex_lock(&segments->lock);
    int r = segment_resolve(segments, id, address, &ret->place);
    if (r == 0) {
        ret->sealed_by = segment_find(segments, &ret->place.identity.segment);
        r = ret->sealed_by == NULL ? -ENOENT : 0;
    }
    if (r == 0) {
        segment_reader_take(segments, ret->place.object);
        segment_reader_take(segments, ret->sealed_by);
    }
    mutex_unlock(&segments->lock);
    if (r < 0)
        return error_set(err, r, "no segment of that id is known");
    r = hold(segments, ret->place.object, NEEDS_OBJECT, err);
    if (r < 0) {
        segment_reader_put(segments, ret->sealed_by);
        return r;
    }
    r = hold(segments, ret->sealed_by, is_opened ? NEEDS_CIPHER : 0, err);
    if (r < 0)
        segment_reader_put(segments, ret->place.object);
    return r;
}

void segment_describe(const struct segment *segment, char ret[static SEGMENT_TEXT_SIZE])
{
    bool is_pack = segment->kind == SEGMENT_PACK;
    char id[UUID_TEXT_SIZE];

    uuid_format(&segment->id, id);
    if (is_pack)
        hex_encode((struct bytes){ segment->id.bytes, UUID_LEN }, id);
    (void)snprintf(ret, SEGMENT_TEXT_SIZE, "%s %s", is_pack ? "pack" : "segment", id);
}

static int altered(const struct place *place, const char *what, struct error *err)
{
    char object[SEGMENT_TEXT_SIZE];

    segment_describe(place->object, object);
    return error_set(err, -EBADMSG, "the block at byte %u of %s %s", place->offset, object, what);
}

int segment_read_object(struct object *object, bool from_origin, uint64_t offset, size_t len,
                        uint8_t *to, size_t *ret_len, struct error *err)
{
    int r = from_origin ? object_read_origin(object, offset, len, to, ret_len, err) : -EOPNOTSUPP;

    return r == -EOPNOTSUPP ? object_read(object, offset, len, to, ret_len, err) : r;
}

/* Blocks that lie together: from skip on, len bytes. sealed has room for all. */
struct wanted {
    uint32_t block_len;
    uint32_t count;
    uint32_t skip;
    size_t len;
    uint8_t *sealed;
    uint8_t *to;
};

static int open_blocks(const struct source *source, const struct wanted *wanted, size_t got,
                       struct error *err)
{
    uint32_t step = wanted->block_len + BLOCK_OVERHEAD, skip = wanted->skip;
    struct place at = source->place;
    size_t len = wanted->len;
    uint8_t *to = wanted->to;

    for (uint32_t i = 0; i < wanted->count; i++, at.offset += step, at.identity.address += step) {
        size_t shown = wanted->block_len - skip < len ? wanted->block_len - skip : len;
        bool is_whole = shown == wanted->block_len;
        struct bytes block = { .data = wanted->sealed + (size_t)i * step, .len = step };
        if (got < (size_t)(i + 1) * step)
            return altered(&at, "is not there: the object is too short", err);
        /* Part of a block is opened in place: plain text is shorter than sealed. */
        uint8_t *plain = is_whole ? to : wanted->sealed + (size_t)i * step + AEAD_NONCE_LEN;
        int r = block_open(source->sealed_by->aead, &at.identity, block, plain);
        if (r < 0)
            return r == -EBADMSG ? altered(&at, "was altered", err)
                                 : error_set(err, r, "no memory to open a block");
        if (!is_whole)
            memcpy(to, plain + skip, shown);
        to += shown;
        len -= shown;
        skip = 0;
    }
    return 0;
}

/* What does not verify may be a copy that a disk damaged: then the original is asked for. */
static int read_blocks(const struct source *source, const struct wanted *wanted, bool from_origin,
                       struct error *err)
{
    size_t sealed_len = (size_t)wanted->count * (wanted->block_len + BLOCK_OVERHEAD), got = 0;
    struct object *object = source->place.object->object;
    uint32_t offset = source->place.offset;
    struct error why = { .code = 0 };

    int r =
        segment_read_object(object, from_origin, offset, sealed_len, wanted->sealed, &got, &why);
    if (r == 0)
        r = open_blocks(source, wanted, got, &why);
    if (r == -EBADMSG && !from_origin) {
        struct error first = why;
        r = object_read_origin(object, offset, sealed_len, wanted->sealed, &got, &why);
        if (r == 0)
            r = open_blocks(source, wanted, got, &why);
        else if (r == -EOPNOTSUPP) {
            r = -EBADMSG;
            why = first;
        }
    }
    if (r < 0 && err != NULL)
        *err = why;
    return r;
}

struct reading {
    struct segments *segments;
    const struct block_run *run;
    struct piece *scratch; /* for sealed blocks */
    bool from_origin;
    bool is_careful;      /* block by block, and what is in memory from there */
    struct segment *from; /* the last object that was tried; NULL: nothing is known */
    uint32_t from_offset;
    struct error *err;
};

static uint32_t address_of(const struct block_run *run, uint64_t skip)
{
    return run->address + (uint32_t)(skip / run->block_len) * (run->block_len + BLOCK_OVERHEAD);
}

/* --- what waits in memory for a sync, because the store may have lost it --- */

static const struct piece *find_piece(const struct piece *piece, uint32_t offset, uint32_t len)
{
    while (piece != NULL && (offset < piece->offset || len > piece->len ||
                             offset - piece->offset > piece->len - len))
        piece = piece->next;
    return piece;
}

/* The block at address, as it is: -ENOENT if it is not in memory. Copied with the lock held: a
 * piece goes as soon as it is durable. */
static int copy_waiting(const struct reading *reading, uint32_t address, struct source *ret)
{
    struct segments *segments = reading->segments;
    const uint32_t step = reading->run->block_len + BLOCK_OVERHEAD;
    const struct piece *piece = NULL;

    mutex_lock(&segments->lock);
    int r = segment_resolve(segments, &reading->run->segment, address, &ret->place);
    ret->sealed_by = r == 0 ? segment_find(segments, &ret->place.identity.segment) : NULL;
    if (ret->sealed_by != NULL) {
        piece = find_piece(ret->place.object->pieces, ret->place.offset, step);
        if (piece == NULL)
            piece = find_piece(ret->place.object->syncing, ret->place.offset, step);
    }
    if (piece != NULL) {
        memcpy(reading->scratch->data, piece->data + (ret->place.offset - piece->offset), step);
        segment_reader_take(segments, ret->place.object);
        segment_reader_take(segments, ret->sealed_by);
    }
    mutex_unlock(&segments->lock);
    return piece != NULL ? 0 : -ENOENT;
}

static int read_waiting(struct reading *reading, uint64_t skip, size_t len, uint8_t *to,
                        size_t *ret_len)
{
    const uint32_t block_len = reading->run->block_len;
    const uint32_t inside = (uint32_t)(skip % block_len);
    const size_t part = block_len - inside < len ? block_len - inside : len;
    const struct wanted wanted = { block_len, 1, inside, part, reading->scratch->data, to };
    struct source source;

    int r = copy_waiting(reading, address_of(reading->run, skip), &source);
    if (r < 0)
        return r;
    reading->from = source.place.object;
    reading->from_offset = source.place.offset;
    r = hold(reading->segments, source.sealed_by, NEEDS_CIPHER, reading->err);
    if (r == 0) {
        r = open_blocks(&source, &wanted, (size_t)block_len + BLOCK_OVERHEAD, reading->err);
        segment_reader_put(reading->segments, source.sealed_by);
    }
    segment_reader_put(reading->segments, source.place.object);
    *ret_len = part;
    return r;
}

/* After a read that failed: it lies elsewhere by now, or what the object should hold waits. */
static bool is_worth_another_try(struct reading *reading, uint32_t address)
{
    struct segments *segments = reading->segments;
    bool was_careful = reading->is_careful;
    struct place now;

    if (reading->from == NULL)
        return false;
    mutex_lock(&segments->lock);
    bool is_known = segment_resolve(segments, &reading->run->segment, address, &now) == 0;
    bool is_elsewhere =
        is_known && (now.object != reading->from || now.offset != reading->from_offset);
    if (is_known && (now.object->pieces != NULL || now.object->syncing != NULL))
        reading->is_careful = true;
    mutex_unlock(&segments->lock);
    return is_elsewhere || reading->is_careful != was_careful;
}

/* As many blocks as lie together and fit. */
static int read_part(struct reading *reading, uint64_t skip, size_t len, uint8_t *to,
                     size_t *ret_len)
{
    const struct block_run *run = reading->run;
    size_t step = (size_t)run->block_len + BLOCK_OVERHEAD;
    uint32_t inside = (uint32_t)(skip % run->block_len);
    size_t count = reading->is_careful ? 1 : (inside + len + run->block_len - 1) / run->block_len;
    struct source source = { .place.object = NULL };

    int r = source_get(reading->segments, &run->segment, address_of(run, skip), true, &source,
                       reading->err);
    reading->from = source.place.object; /* to be compared only */
    reading->from_offset = source.place.offset;
    if (r < 0)
        return r;
    size_t fit = reading->scratch->room / step;
    size_t together = source.place.len / step;
    count = count < fit ? count : fit;
    count = count < together ? count : together;
    size_t part = count * run->block_len - inside;
    part = part < len ? part : len;
    const struct wanted wanted = { run->block_len, (uint32_t)count,        inside,
                                   part,           reading->scratch->data, to };
    bool is_pack = source.place.object->kind == SEGMENT_PACK;
    if (is_pack)
        segments_demand(reading->segments);
    r = count == 0 ? altered(&source.place, "is cut in two by its location", reading->err)
                   : read_blocks(&source, &wanted, reading->from_origin, reading->err);
    if (is_pack)
        segments_demand_end(reading->segments);
    source_put(reading->segments, &source);
    *ret_len = part;
    return r;
}

static int read_run(struct segments *segments, bool from_origin, const struct block_run *run,
                    uint64_t skip, size_t len, uint8_t *to, struct error *err)
{
    size_t blocks = (size_t)((skip % run->block_len + len + run->block_len - 1) / run->block_len);
    size_t sealed = blocks * ((size_t)run->block_len + BLOCK_OVERHEAD);
    int r = 0;

    if (skip + len > (uint64_t)run->count * run->block_len)
        return error_set(err, -EINVAL, "a read behind the end of its blocks");
    struct piece *scratch = piece_new(segments, sealed < PIECE_ROOM ? sealed : PIECE_ROOM);
    if (scratch == NULL)
        return error_set(err, -ENOMEM, "no memory to read blocks");
    struct error why = { .code = 0 };
    struct reading reading = { .segments = segments,
                               .run = run,
                               .scratch = scratch,
                               .from_origin = from_origin,
                               .err = &why };
    while (len > 0 && r == 0) {
        size_t part = 0;
        r = reading.is_careful ? read_waiting(&reading, skip, len, to, &part) : -ENOENT;
        if (r == -ENOENT)
            r = read_part(&reading, skip, len, to, &part);
        if (r < 0) {
            part = 0;
            r = r != -ENOMEM && is_worth_another_try(&reading, address_of(run, skip)) ? 0 : r;
        }
        skip += part;
        to += part;
        len -= part;
    }
    piece_free(segments, scratch);
    if (r < 0 && err != NULL)
        *err = why;
    return r;
}

int segments_read(struct segments *segments, const struct block_run *run, uint64_t skip, size_t len,
                  uint8_t *to, struct error *err)
{
    return read_run(segments, false, run, skip, len, to, err);
}

int segments_read_origin(struct segments *segments, const struct block_run *run, uint64_t skip,
                         size_t len, uint8_t *to, struct error *err)
{
    return read_run(segments, true, run, skip, len, to, err);
}
