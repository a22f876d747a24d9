#include "fs/extents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* From one block of a run to the next. */
static uint32_t block_stride(uint32_t block_len)
{
    return block_len + BLOCK_OVERHEAD;
}

/* Returns items, moved to where there is room for as many as needed; NULL: no memory. */
static void *grown(void *items, size_t *room, size_t needed, size_t item_size)
{
    if (needed <= *room)
        return items;
    size_t new_room = *room < 4 ? 8 : *room * 2;
    if (new_room < needed)
        new_room = needed;
    items = reallocarray(items, new_room, item_size);
    if (items)
        *room = new_room;
    return items;
}

static bool run_continues(const struct block_run *left, const struct block_run *right)
{
    return left->block_len == right->block_len && uuid_equal(&left->segment, &right->segment) &&
           left->address + block_run_sealed(left) == right->address;
}

int run_list_add(struct run_list *list, const struct block_run *run)
{
    if (list->count > 0 && run_continues(&list->items[list->count - 1], run)) {
        list->items[list->count - 1].count += run->count;
        return 0;
    }
    void *items = grown(list->items, &list->room, list->count + 1, sizeof(*list->items));
    if (!items)
        return -ENOMEM;
    list->items = items;
    list->items[list->count++] = *run;
    return 0;
}

void run_list_clear(struct run_list *list)
{
    list->count = 0;
}

void run_list_release(struct run_list *list)
{
    free(list->items);
    *list = RUN_LIST_INIT;
}

int run_list_join(struct run_list *to, const struct run_list *more)
{
    int r = 0;

    for (size_t i = 0; i < more->count && r == 0; i++)
        r = run_list_add(to, &more->items[i]);
    return r;
}

uint64_t run_list_sealed(const struct run_list *list)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < list->count; i++)
        bytes += block_run_sealed(&list->items[i]);
    return bytes;
}

static int compare_runs(const void *left, const void *right)
{
    const struct block_run *a = left;
    const struct block_run *b = right;
    int order = memcmp(a->segment.bytes, b->segment.bytes, sizeof(a->segment.bytes));

    return order != 0 ? order : (a->address > b->address) - (a->address < b->address);
}

/* Whether one of the runs, which are sorted, covers the address of a block. */
static bool covers(const struct run_list *sorted, const struct uuid *segment, uint32_t address)
{
    const struct block_run wanted = { .segment = *segment, .address = address };
    size_t low = 0;
    size_t high = sorted->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_runs(&sorted->items[middle], &wanted) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return false;
    const struct block_run *run = &sorted->items[low - 1];
    return uuid_equal(&run->segment, segment) && address < run->address + block_run_sealed(run);
}

void run_list_sort(struct run_list *list)
{
    size_t kept = 0;

    if (list->count == 0)
        return;
    qsort(list->items, list->count, sizeof(*list->items), compare_runs);
    for (size_t i = 0; i < list->count; i++) {
        struct block_run *last = kept > 0 ? &list->items[kept - 1] : NULL;
        if (last && run_continues(last, &list->items[i]))
            last->count += list->items[i].count;
        else if (!last || compare_runs(last, &list->items[i]) != 0)
            list->items[kept++] = list->items[i];
    }
    list->count = kept;
}

/* What of a run lies behind end, up to which there is no gap. */
static struct block_run run_behind(struct block_run run, uint64_t end)
{
    uint32_t stride = block_stride(run.block_len);

    while (run.count > 0 && run.address < end) {
        run.address += stride;
        run.count--;
    }
    return run;
}

void run_list_unite(struct run_list *list)
{
    const struct uuid *segment = NULL;
    uint64_t end = 0; /* of all in this segment so far */
    size_t kept = 0;

    if (list->count == 0)
        return;
    qsort(list->items, list->count, sizeof(*list->items), compare_runs);
    for (size_t i = 0; i < list->count; i++) {
        struct block_run run = list->items[i];
        if (segment == NULL || !uuid_equal(segment, &run.segment))
            end = 0;
        run = run_behind(run, end);
        if (run.count == 0)
            continue;
        end = run.address + block_run_sealed(&run);
        list->items[kept] = run;
        segment = &list->items[kept++].segment;
    }
    list->count = kept;
}

int run_list_subtract(struct run_list *list, struct run_list *other)
{
    CLEANUP(run_list_release) struct run_list left = RUN_LIST_INIT;
    int r = 0;

    if (other->count == 0 || list->count == 0)
        return 0;
    qsort(other->items, other->count, sizeof(*other->items), compare_runs);
    for (size_t i = 0; i < list->count; i++) {
        struct block_run block = list->items[i];
        block.count = 1;
        for (uint32_t k = 0; k < list->items[i].count && r == 0; k++) {
            if (!covers(other, &block.segment, block.address))
                r = run_list_add(&left, &block);
            block.address += block_stride(block.block_len);
        }
    }
    if (r < 0)
        return r;
    const struct run_list before = *list;
    *list = left;
    left = before;
    return 0;
}

static uint32_t extent_end(const struct extent *extent)
{
    return extent->offset + extent->len;
}

static uint32_t extent_blocks(const struct extent *extent)
{
    uint64_t reach = (uint64_t)extent->skip + extent->len;

    if (reach <= extent->block_len) /* spares the many small ones a division */
        return 1;
    return (uint32_t)((reach + extent->block_len - 1) / extent->block_len);
}

struct block_run extent_run(const struct extent *extent)
{
    return (struct block_run){
        .segment = extent->segment,
        .address = extent->address,
        .block_len = extent->block_len,
        .count = extent_blocks(extent),
    };
}

void extents_release(struct extents *list)
{
    free(list->items);
    *list = EXTENTS_INIT;
}

int extents_reserve(struct extents *list, size_t count)
{
    void *items =
        count == 0 ? list->items : grown(list->items, &list->room, count, sizeof(*list->items));

    if (!items && count > 0)
        return -ENOMEM;
    list->items = items;
    return 0;
}

bool extent_is_possible(const struct extent *extent)
{
    if (extent->len == 0 || extent->offset >= CHUNK_SIZE ||
        extent->len > CHUNK_SIZE - extent->offset)
        return false;
    if (extent->block_len == 0 || extent->block_len > CHUNK_SIZE ||
        extent->skip >= extent->block_len)
        return false;
    struct block_run run = extent_run(extent);
    return extent->address + block_run_sealed(&run) <= UINT32_MAX;
}

int extents_append(struct extents *list, const struct extent *extent)
{
    if (!extent_is_possible(extent) || list->count >= EXTENTS_MAX)
        return -EBADMSG;
    if (list->count > 0 && extent->offset < extent_end(&list->items[list->count - 1]))
        return -EBADMSG;
    int r = extents_reserve(list, list->count + 1);
    if (r < 0)
        return r;
    list->items[list->count++] = *extent;
    return 0;
}

size_t extents_find(const struct extents *list, uint32_t offset)
{
    size_t low = 0;
    size_t high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (extent_end(&list->items[middle]) > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

uint64_t extents_bytes(const struct extents *list)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < list->count; i++)
        sum += list->items[i].len;
    return sum;
}

uint64_t extents_bytes_between(const struct extents *list, uint32_t offset, uint32_t end)
{
    uint64_t sum = 0;

    for (size_t i = extents_find(list, offset); i < list->count; i++) {
        const struct extent *extent = &list->items[i];
        if (extent->offset >= end)
            break;
        uint32_t from = extent->offset > offset ? extent->offset : offset;
        uint32_t until = extent_end(extent) < end ? extent_end(extent) : end;
        sum += until - from;
    }
    return sum;
}

/* The extent moved so that a byte which is distance behind its first one is the first. */
static void move_start(struct extent *extent, uint32_t distance)
{
    uint64_t in_run = (uint64_t)extent->skip + distance;

    extent->offset += distance;
    extent->len -= distance;
    extent->address += (uint32_t)(in_run / extent->block_len) * block_stride(extent->block_len);
    extent->skip = (uint32_t)(in_run % extent->block_len);
}

static bool extent_continues(const struct extent *left, const struct extent *right)
{
    if (extent_end(left) != right->offset || left->block_len != right->block_len ||
        !uuid_equal(&left->segment, &right->segment))
        return false;
    struct extent expected = *left;
    move_start(&expected, left->len);
    return expected.address == right->address && expected.skip == right->skip;
}

/* Joined to the last one where it continues it. */
static int push(struct extents *list, const struct extent *extent)
{
    if (list->count > 0 && extent_continues(&list->items[list->count - 1], extent)) {
        list->items[list->count - 1].len += extent->len;
        return 0;
    }
    int r = extents_reserve(list, list->count + 1);
    if (r < 0)
        return r;
    list->items[list->count++] = *extent;
    return 0;
}

/* A range of a chunk, and the extents that show something of it: from first up to, without, last.
 */
struct replaced {
    uint32_t start;
    uint32_t end;
    size_t first;
    size_t last;
};

static struct replaced find_replaced(const struct extents *list, uint32_t offset, uint32_t len)
{
    struct replaced replaced = { .start = offset, .end = offset + len };

    replaced.first = extents_find(list, offset);
    replaced.last = replaced.first;
    if (len == 0)
        return replaced;
    /* Behind the one that shows, or is the first one behind, the last byte of the range. */
    replaced.last = extents_find(list, replaced.end - 1);
    if (replaced.last < list->count && list->items[replaced.last].offset < replaced.end)
        replaced.last++;
    return replaced;
}

/* One block, and where in the chunk its first byte belongs. */
struct placed_block {
    const struct uuid *segment;
    uint32_t address;
    uint32_t block_len;
    int64_t start;
};

static struct placed_block block_of(const struct extent *extent, uint32_t index)
{
    return (struct placed_block){
        .segment = &extent->segment,
        .address = extent->address + index * block_stride(extent->block_len),
        .block_len = extent->block_len,
        .start = (int64_t)extent->offset - extent->skip + (int64_t)index * extent->block_len,
    };
}

/* For an extent that overlaps the place of the block. */
static bool shows(const struct extent *extent, const struct placed_block *block)
{
    if (extent->block_len != block->block_len || !uuid_equal(&extent->segment, block->segment))
        return false;
    int64_t distance = block->start - ((int64_t)extent->offset - extent->skip);
    return distance % block->block_len == 0 &&
           extent->address + distance / block->block_len * block_stride(block->block_len) ==
               block->address;
}

/* Whether the block, which the extent at index shows something of inside of the range, is also
 * shown outside of it, or by an extent further left in it, which then has had its turn. */
static bool is_shown_elsewhere(const struct extents *list, size_t index,
                               const struct placed_block *block, const struct replaced *range)
{
    const struct extent *extent = &list->items[index];
    int64_t end = block->start + block->block_len;

    if (extent->offset < range->start && block->start < range->start)
        return true;
    if (extent_end(extent) > range->end && end > range->end)
        return true;
    for (size_t i = index; i > 0 && (int64_t)extent_end(&list->items[i - 1]) > block->start; i--) {
        if (shows(&list->items[i - 1], block))
            return true;
    }
    if (end <= range->end)
        return false;
    for (size_t i = index + 1; i < list->count && (int64_t)list->items[i].offset < end; i++) {
        if (extent_end(&list->items[i]) > range->end && shows(&list->items[i], block))
            return true;
    }
    return false;
}

/* Adds the blocks of which the extent at index was the first to show something in the range, and
 * of which nothing outside of it is shown. Only its first and last block can have other pieces. */
static int add_freed(const struct extents *list, size_t index, const struct replaced *range,
                     struct run_list *freed)
{
    const struct extent *extent = &list->items[index];
    struct extent inside = *extent;

    if (inside.offset < range->start)
        move_start(&inside, range->start - inside.offset);
    if (extent_end(&inside) > range->end)
        inside.len = range->end - inside.offset;

    struct block_run run = extent_run(&inside);
    struct placed_block last = block_of(&inside, run.count - 1);
    struct placed_block first = block_of(&inside, 0);
    if (run.count > 1 && is_shown_elsewhere(list, index, &last, range))
        run.count--;
    if (is_shown_elsewhere(list, index, &first, range)) {
        run.count--;
        run.address += block_stride(run.block_len);
    }
    return run.count > 0 ? run_list_add(freed, &run) : 0;
}

static int collect_freed(const struct extents *list, const struct replaced *range,
                         struct run_list *freed)
{
    struct run_list before = *freed;
    struct block_run last = { 0 };

    if (freed->count > 0)
        last = freed->items[freed->count - 1];
    for (size_t i = range->first; i < range->last; i++) {
        int r = add_freed(list, i, range, freed);
        if (r < 0) {
            freed->count = before.count;
            if (freed->count > 0)
                freed->items[freed->count - 1] = last;
            return r;
        }
    }
    return 0;
}

/* What takes the place of the replaced ones: what is left of the outermost two, with, and the
 * neighbours, which become replaced ones, so that all that continues one another is joined. */
static int build_middle(const struct extents *list, struct replaced *replaced,
                        const struct extent *with, size_t count, struct extents *ret)
{
    struct extent right = { 0 };
    int r = 0;

    if (replaced->last > replaced->first)
        right = list->items[replaced->last - 1];
    if (replaced->first < replaced->last && list->items[replaced->first].offset < replaced->start) {
        struct extent left = list->items[replaced->first];
        left.len = replaced->start - left.offset;
        r = push(ret, &left);
    } else if (replaced->first > 0) {
        r = push(ret, &list->items[--replaced->first]);
    }
    for (size_t i = 0; i < count && r == 0; i++)
        r = push(ret, &with[i]);
    if (r < 0)
        return r;
    if (right.len > 0 && extent_end(&right) > replaced->end) {
        move_start(&right, replaced->end - right.offset);
        return push(ret, &right);
    }
    return replaced->last < list->count ? push(ret, &list->items[replaced->last++]) : 0;
}

int extents_replace(struct extents *list, uint32_t offset, uint32_t len, const struct extent *with,
                    size_t count, struct run_list *freed)
{
    CLEANUP(extents_release) struct extents middle = EXTENTS_INIT;
    const struct replaced range = find_replaced(list, offset, len);
    struct replaced replaced = range;

    if (len == 0)
        return 0;
    int r = build_middle(list, &replaced, with, count, &middle);
    if (r < 0)
        return r;
    size_t behind = list->count - replaced.last;
    size_t new_count = replaced.first + middle.count + behind;
    if (new_count > EXTENTS_MAX)
        return -EXFULL;
    r = extents_reserve(list, new_count);
    if (r < 0)
        return r;
    r = collect_freed(list, &range, freed);
    if (r < 0)
        return r;
    if (behind > 0)
        memmove(list->items + replaced.first + middle.count, list->items + replaced.last,
                behind * sizeof(*list->items));
    if (middle.count > 0)
        memcpy(list->items + replaced.first, middle.items, middle.count * sizeof(*list->items));
    list->count = new_count;
    return 0;
}
