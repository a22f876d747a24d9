/* The blocks of a snapshot that arrives: where they are, here or in the bucket, and bringing them.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/parallel.h"
#include "fs/snapshot_import_batch.h"

#define THREADS 4u

static int add_part(struct import_batch *batch, const struct import_part *part)
{
    if (batch->part_count == batch->part_room) {
        size_t room = batch->part_room == 0 ? 64 : 2 * batch->part_room;
        struct import_part *parts = reallocarray(batch->parts, room, sizeof(*parts));
        if (parts == NULL)
            return error_set(batch->err, -ENOMEM, "no memory to bring blocks");
        batch->parts = parts;
        batch->part_room = room;
    }
    batch->parts[batch->part_count++] = *part;
    return 0;
}

/* The last LOCATION record that does not begin behind an address. */
static bool find_record(const struct underlay_source *source, const struct underlay_chunk *chunk,
                        const struct record_key *wanted, struct bytes *ret_key,
                        struct bytes *ret_value)
{
    struct bytes body = chunk->body, key, value;
    bool found = false;

    while (source->ops->next(&body, &key, &value) &&
           underlay_order(key, record_key_bytes(wanted)) <= 0) {
        *ret_key = key;
        *ret_value = value;
        found = true;
    }
    return found;
}

/* Where the front of a run lies in the bucket; len: how far that goes. */
static int read_location(struct import_batch *batch, const struct underlay_chunk *chunk,
                         const struct block_run *run, struct segment_outside *ret,
                         uint32_t *ret_len)
{
    struct location_record location;
    struct record_key wanted;
    struct bytes key, value;
    struct uuid segment;
    uint32_t first = 0;

    location_key(&run->segment, run->address, &wanted);
    if (!find_record(batch->import->origin->records, chunk, &wanted, &key, &value) ||
        record_key_segment(key, RECORD_LOCATION, &segment, &first) < 0 ||
        location_decode(value, &location) < 0 || !uuid_equal(&segment, &run->segment) ||
        run->address - first >= location.len)
        return error_set(batch->err, -EBADMSG,
                         "the snapshot does not say where some of its blocks lie");
    uint32_t inside = run->address - first;
    *ret = (struct segment_outside){ .packs = &batch->import->origin->packs,
                                     .pack = location.object,
                                     .offset = location.offset + inside,
                                     .identity = location.identity };
    ret->identity.address += inside;
    *ret_len = location.len - inside;
    return 0;
}

static int locate(struct import_batch *batch, const struct block_run *run,
                  struct segment_outside *ret, uint32_t *ret_len)
{
    struct underlay_source *source = batch->import->origin->records;
    struct underlay_chunk *chunk;
    struct record_key key;

    location_key(&run->segment, run->address, &key);
    int r = source->ops->take(source, record_key_bytes(&key), true, &chunk, batch->err);
    if (r < 0)
        return r;
    r = read_location(batch, chunk, run, ret, ret_len);
    source->ops->give(source, chunk);
    return r;
}

/* As many parts as it lies in packs. */
static int add_outside(struct import_batch *batch, struct import_part part)
{
    const uint32_t step = part.run.block_len + BLOCK_OVERHEAD;
    uint32_t left = part.run.count, len = 0;
    int r = 0;

    while (left > 0 && r == 0) {
        part.run.count = left;
        r = locate(batch, &part.run, &part.from, &len);
        if (r == 0 && len < step)
            r = error_set(batch->err, -EBADMSG, "a block of the snapshot lies in two places");
        if (r < 0)
            break;
        part.run.count = len / step < left ? len / step : left;
        r = add_part(batch, &part);
        left -= part.run.count;
        part.run.address += (uint32_t)block_run_sealed(&part.run);
    }
    return r;
}

static int add_run(struct import_batch *batch, struct block_run run,
                   const struct segment_origin *origin)
{
    struct import_part part = { .origin = *origin };
    int r = 0;

    while (run.count > 0 && r == 0) {
        r = segments_find_held(batch->volume->segments, &run, &part.run, &part.is_held);
        if (r < 0)
            return error_set(batch->err, r, "a run of blocks of the snapshot cannot be");
        r = part.is_held ? add_part(batch, &part) : add_outside(batch, part);
    }
    return r;
}

static int open_held(struct segments *segments, const struct import_part *part, struct error *err)
{
    size_t len = (size_t)part->run.count * part->run.block_len;
    CLEANUP(free_ptr) uint8_t *plain = malloc(len);

    if (plain == NULL)
        return error_set(err, -ENOMEM, "no memory to read blocks");
    return segments_read_origin(segments, &part->run, 0, len, plain, err);
}

static void open_one(void *arg, size_t index)
{
    struct import_batch *batch = arg;
    struct import_part *part = &batch->parts[index];

    if (part->is_held)
        part->result = open_held(batch->volume->segments, part, &part->err);
}

/* What cannot be opened is not here: nothing names it, so nobody saw that a disk or a failed sync
 * took it, or its object was deleted just now. The bucket has it. */
static int open_all_held(struct import_batch *batch)
{
    int r = 0;

    parallel_each(batch->part_count, THREADS, open_one, batch);
    for (size_t i = batch->part_count; i-- > 0 && r == 0;) {
        struct import_part part = batch->parts[i];
        if (part.result == 0)
            continue;
        batch->parts[i] = batch->parts[--batch->part_count]; /* which was looked at */
        part.is_held = false;
        part.result = 0;
        r = add_outside(batch, part);
    }
    return r;
}

static void bring_one(void *arg, size_t index)
{
    struct import_batch *batch = arg;
    struct import_part *part = &batch->parts[index];

    if (part->is_held)
        return;
    part->result = segments_bring(batch->volume->segments, &part->run, &part->from, &part->origin,
                                  &part->copy, &part->err);
    part->is_copied = part->result == 0;
}

/* The first failure is told. */
static int gather(struct import_batch *batch)
{
    int r = 0;

    batch->copies = calloc(batch->part_count + 1, sizeof(*batch->copies));
    for (size_t i = 0; i < batch->part_count; i++) {
        const struct import_part *part = &batch->parts[i];
        if (part->is_copied && batch->copies != NULL)
            batch->copies[batch->copied++] = part->copy;
        else if (part->is_copied)
            segments_uncopy(batch->volume->segments, &part->copy);
        if (part->result < 0 && r == 0) {
            r = part->result;
            *batch->err = part->err;
        }
    }
    return r == 0 && batch->copies == NULL
               ? error_set(batch->err, -ENOMEM, "no memory to bring blocks")
               : r;
}

static int check_room(struct import_batch *batch)
{
    uint64_t outside = 0;

    for (size_t i = 0; i < batch->part_count; i++)
        if (!batch->parts[i].is_held)
            outside += block_run_sealed(&batch->parts[i].run);
    int r = volume_reserve(batch->volume, batch->missing_bytes, 0);
    if (r < 0)
        return error_set(batch->err, r,
                         "the filesystem has no capacity for what the snapshot holds; give it more "
                         "(coffer fs update FILESYSTEM --capacity SIZE), or remove files or "
                         "snapshots");
    return room_find(batch->volume, outside, batch->err);
}

int import_batch_bring(struct import_batch *batch)
{
    int r = 0;

    for (size_t i = 0; i < batch->missing_count && r == 0; i++)
        r = add_run(batch, batch->missing[i].run, &batch->missing[i].origin);
    if (r == 0)
        r = open_all_held(batch);
    if (r == 0)
        r = check_room(batch);
    if (r < 0)
        return r;
    parallel_each(batch->part_count, THREADS, bring_one, batch);
    return gather(batch);
}
