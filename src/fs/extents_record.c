/* EXTENTS records: lists of extents, also a part of one, and one block of it exchanged, without all
 * the others being read and written anew. */
#include <errno.h>

#include "base/wire.h"
#include "fs/record_value.h"
#include "fs/records.h"

static void write_extent(struct writer *writer, const struct extent *extent)
{
    writer_u32(writer, extent->offset);
    writer_u32(writer, extent->len);
    writer_bytes(writer, extent->segment.bytes, sizeof(extent->segment.bytes));
    writer_u32(writer, extent->address);
    writer_u32(writer, extent->block_len);
    writer_u32(writer, extent->skip);
}

int extents_encode(const struct extents *list, uint8_t *ret, size_t *ret_len)
{
    struct writer writer = record_value_begin(ret, EXTENTS_VALUE_MAX);

    if (list->count == 0 || list->count > EXTENTS_MAX)
        return -EINVAL;
    writer_u16(&writer, (uint16_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        const struct extent *extent = &list->items[i];

        if (!extent_is_possible(extent))
            return -EINVAL;
        write_extent(&writer, extent);
    }
    return record_value_end(&writer, ret_len);
}

static struct extent read_extent(struct reader *reader)
{
    struct extent extent;

    extent.offset = reader_u32(reader);
    extent.len = reader_u32(reader);
    reader_copy(reader, extent.segment.bytes, sizeof(extent.segment.bytes));
    extent.address = reader_u32(reader);
    extent.block_len = reader_u32(reader);
    extent.skip = reader_u32(reader);
    return extent;
}

#define EXTENTS_AT 3u /* behind the version and their number */

static size_t stored_at(unsigned index)
{
    return EXTENTS_AT + (size_t)index * EXTENT_LEN;
}

/* That it is a record of a version that is known, with as many extents as it says. */
static int begin_extents(const struct spliced *value, unsigned *ret_count)
{
    uint8_t header[EXTENTS_AT] = { 0 };
    struct reader reader;

    if (!spliced_read(value, 0, 1, header))
        return -EBADMSG;
    bool has_count = spliced_read(value, 1, EXTENTS_AT - 1, header + 1);
    int r = record_value_read((struct bytes){ .data = header, .len = sizeof(header) }, &reader);
    if (r < 0)
        return r;
    *ret_count = reader_u16(&reader);
    bool is_whole = has_count && *ret_count > 0 && *ret_count <= EXTENTS_MAX &&
                    value->len == stored_at(*ret_count);
    return is_whole ? 0 : -EBADMSG;
}

/* begin_extents() has seen that it is there. */
static struct extent extent_at(const struct spliced *value, unsigned index)
{
    uint8_t stored[EXTENT_LEN] = { 0 };

    (void)spliced_read(value, stored_at(index), sizeof(stored), stored);
    struct reader reader = reader_init((struct bytes){ .data = stored, .len = sizeof(stored) });
    return read_extent(&reader);
}

/* Where in the chunk the extent at index starts and ends; that is in front of all else. */
static void extent_place(const struct spliced *value, unsigned index, uint64_t *ret_start,
                         uint64_t *ret_end)
{
    uint8_t stored[8] = { 0 };

    (void)spliced_read(value, stored_at(index), sizeof(stored), stored);
    struct reader reader = reader_init((struct bytes){ .data = stored, .len = sizeof(stored) });
    *ret_start = reader_u32(&reader);
    *ret_end = *ret_start + reader_u32(&reader);
}

/* The first one that ends behind offset. */
static unsigned find_stored(const struct spliced *value, unsigned count, uint32_t offset)
{
    unsigned low = 0;
    unsigned high = count;
    uint64_t start;
    uint64_t end;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        extent_place(value, middle, &start, &end);
        if (end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int decode_range(const struct spliced *value, unsigned first, unsigned count, uint32_t end,
                        struct extents *ret)
{
    int r = 0;

    ret->count = 0;
    for (unsigned i = first; r == 0 && i < count; i++) {
        const struct extent extent = extent_at(value, i);
        if (extent_is_possible(&extent) && extent.offset >= end)
            break;
        r = extents_append(ret, &extent);
    }
    if (r < 0)
        ret->count = 0;
    return r;
}

int extents_decode(struct bytes value, struct extents *ret)
{
    const struct spliced whole = spliced_of(value);
    unsigned count;
    int r = begin_extents(&whole, &count);

    ret->count = 0;
    if (r == 0)
        r = extents_reserve(ret, count);
    return r < 0 ? r : decode_range(&whole, 0, count, UINT32_MAX, ret);
}

int extents_decode_part(const struct spliced *value, uint32_t offset, uint32_t end,
                        struct extents *ret)
{
    unsigned count;
    int r = begin_extents(value, &count);

    ret->count = 0;
    return r < 0 ? r : decode_range(value, find_stored(value, count, offset), count, end, ret);
}

static bool is_whole_block(const struct extent *extent)
{
    return extent->skip == 0 && extent->len == extent->block_len;
}

/* The same run goes on from left to right. */
static bool continues(const struct extent *left, const struct extent *right)
{
    if (left->offset + left->len != right->offset || left->block_len != right->block_len ||
        !uuid_equal(&left->segment, &right->segment))
        return false; /* and one of them, so both, has blocks of some length */
    uint64_t blocks = ((uint64_t)left->skip + left->len) / right->block_len;
    return left->address + blocks * (right->block_len + BLOCK_OVERHEAD) == right->address;
}

/* The extent in front of and behind the block at with, and that block. -ENOENT: the extent does not
 * show exactly one block there. */
static int split_extent(const struct extent *extent, const struct extent *with,
                        struct extent *ret_left, struct extent *ret_block, struct extent *ret_right)
{
    uint32_t distance = with->offset - extent->offset;
    uint32_t in_run = extent->skip + distance;

    if (with->offset < extent->offset || distance >= extent->len ||
        with->len > extent->len - distance || with->len != extent->block_len ||
        in_run % extent->block_len != 0)
        return -ENOENT;
    uint32_t stride = extent->block_len + BLOCK_OVERHEAD;
    *ret_left = *extent;
    ret_left->len = distance;
    *ret_block = *extent;
    ret_block->offset = with->offset;
    ret_block->len = with->len;
    ret_block->address += in_run / extent->block_len * stride;
    ret_block->skip = 0;
    *ret_right = *ret_block;
    ret_right->offset += with->len;
    ret_right->len = extent->len - distance - with->len;
    ret_right->address += stride;
    return 0;
}

/* In the place of the extent at index: what is left of it on both sides, and with. */
static void write_exchange(unsigned count, unsigned index, const struct extent items[3],
                           struct block_exchange *ret)
{
    struct writer extents = writer_init(ret->extent_bytes, sizeof(ret->extent_bytes));
    struct writer number = writer_init(ret->count_bytes, sizeof(ret->count_bytes));
    unsigned written = 0;

    for (unsigned i = 0; i < 3; i++) {
        if (items[i].len == 0)
            continue;
        write_extent(&extents, &items[i]);
        written++;
    }
    writer_u16(&number, (uint16_t)(count + written - 1));
    size_t changed = written == 1 ? 0 : sizeof(ret->count_bytes);
    ret->count = (struct splice){ .at = EXTENTS_AT - sizeof(ret->count_bytes),
                                  .removed = changed,
                                  .added = { ret->count_bytes, changed } };
    ret->extents = (struct splice){ .at = stored_at(index),
                                    .removed = EXTENT_LEN,
                                    .added = { ret->extent_bytes, extents.len } };
}

int extents_exchange(const struct spliced *value, const struct extent *with,
                     struct block_exchange *ret)
{
    struct extent items[3]; /* left of it, itself, right of it */
    unsigned count;
    int r = begin_extents(value, &count);

    if (r < 0)
        return r;
    unsigned index = find_stored(value, count, with->offset);
    if (index == count || count + 2 > EXTENTS_MAX || !is_whole_block(with))
        return -ENOENT;
    const struct extent old = extent_at(value, index);
    if (!extent_is_possible(&old))
        return -EBADMSG;
    r = split_extent(&old, with, &items[0], &ret->replaced, &items[2]);
    if (r < 0)
        return r;
    items[1] = *with;
    struct extent left = items[0].len > 0 || index == 0 ? items[0] : extent_at(value, index - 1);
    struct extent right =
        items[2].len > 0 || index + 1 == count ? items[2] : extent_at(value, index + 1);
    if ((left.len > 0 && continues(&left, with)) || (right.len > 0 && continues(with, &right)))
        return -ENOENT;
    write_exchange(count, index, items, ret);
    return 0;
}
