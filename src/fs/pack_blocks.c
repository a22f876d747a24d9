#include "fs/pack_blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/segment_format.h"

static int add_one(struct pack_blocks_list *list, const struct pack_blocks *blocks)
{
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 64 : 2 * list->room;
        struct pack_blocks *items = reallocarray(list->items, room, sizeof(*items));
        if (items == NULL)
            return -ENOMEM;
        list->items = items;
        list->room = room;
    }
    list->items[list->count++] = *blocks;
    return 0;
}

/* Takes so many blocks off the front. */
static void skip(struct pack_blocks *blocks, uint32_t count)
{
    const uint32_t len = count * (blocks->run.block_len + BLOCK_OVERHEAD);

    blocks->offset += len;
    blocks->run.address += len;
    blocks->run.count -= count;
    blocks->identity.address += len;
    blocks->file_offset += (uint64_t)count * blocks->run.block_len;
}

int pack_blocks_add(struct pack_blocks_list *list, const struct pack_blocks *blocks)
{
    const uint32_t step = blocks->run.block_len + BLOCK_OVERHEAD;
    const uint32_t most = PACK_BLOCKS_MAX / step > 0 ? PACK_BLOCKS_MAX / step : 1;
    struct pack_blocks rest = *blocks;
    int r = 0;

    while (rest.run.count > 0 && r == 0) {
        struct pack_blocks front = rest;
        front.run.count = rest.run.count < most ? rest.run.count : most;
        r = add_one(list, &front);
        skip(&rest, front.run.count);
    }
    return r;
}

static int compare(const void *a, const void *b)
{
    const struct pack_blocks *left = a, *right = b;
    int order = memcmp(&left->pack, &right->pack, sizeof(left->pack));

    return order != 0 ? order : (left->offset > right->offset) - (left->offset < right->offset);
}

/* Of one row of equal blocks, so far apart in all respects. */
static bool is_same(const struct pack_blocks *left, const struct pack_blocks *right)
{
    const int64_t apart = (int64_t)right->offset - left->offset;

    return left->run.block_len == right->run.block_len &&
           apart % (left->run.block_len + (int64_t)BLOCK_OVERHEAD) == 0 &&
           left->run.address + apart == right->run.address &&
           left->identity.address + apart == right->identity.address &&
           left->identity.generation == right->identity.generation &&
           uuid_equal(&left->identity.fs, &right->identity.fs) &&
           uuid_equal(&left->identity.segment, &right->identity.segment) &&
           uuid_equal(&left->run.segment, &right->run.segment);
}

/* Off the front of right what left has, too. */
static void unite(const struct pack_blocks *left, struct pack_blocks *right)
{
    uint64_t end = left->offset + block_run_sealed(&left->run);

    if (!uuid_equal(&left->pack, &right->pack) || end <= right->offset || !is_same(left, right))
        return;
    uint64_t twice = (end - right->offset) / (right->run.block_len + BLOCK_OVERHEAD);
    skip(right, twice < right->run.count ? (uint32_t)twice : right->run.count);
}

void pack_blocks_sort(struct pack_blocks_list *list)
{
    size_t kept = 0;

    if (list->count > 0)
        qsort(list->items, list->count, sizeof(*list->items), compare);
    for (size_t i = 0; i < list->count; i++) {
        struct pack_blocks *item = &list->items[i];
        if (kept > 0)
            unite(&list->items[kept - 1], item);
        if (item->run.count > 0)
            list->items[kept++] = *item;
    }
    list->count = kept;
}

void pack_blocks_clear(struct pack_blocks_list *list)
{
    list->count = 0;
}

void pack_blocks_release(struct pack_blocks_list *list)
{
    free(list->items);
    *list = PACK_BLOCKS_LIST_INIT;
}

bool pack_span_next(const struct pack_blocks_list *list, uint32_t max, size_t *at,
                    struct pack_span *ret)
{
    if (*at == list->count)
        return false;
    const struct pack_blocks *first = &list->items[*at];
    uint64_t end = first->offset + block_run_sealed(&first->run);
    size_t next = *at + 1;

    for (; next < list->count; next++) {
        const struct pack_blocks *item = &list->items[next];
        uint64_t item_end = item->offset + block_run_sealed(&item->run);
        if (!uuid_equal(&item->pack, &first->pack) || item->offset > end + PACK_GAP_MAX ||
            item_end - first->offset > max)
            break;
        end = item_end > end ? item_end : end;
    }
    *ret = (struct pack_span){ .first = *at,
                               .count = next - *at,
                               .offset = first->offset,
                               .len = (uint32_t)(end - first->offset) };
    *at = next;
    return true;
}

int pack_blocks_check(const struct pack_blocks *blocks, struct aead *aead, struct bytes sealed,
                      uint32_t *ret_bad)
{
    const uint32_t step = blocks->run.block_len + BLOCK_OVERHEAD;
    struct block_identity identity = blocks->identity;
    int r = 0;

    for (uint32_t i = 0; i < blocks->run.count && r == 0; i++, identity.address += step) {
        const size_t at = (size_t)i * step;
        r = at + step <= sealed.len
                ? block_check(aead, &identity, (struct bytes){ sealed.data + at, step })
                : -EBADMSG;
        if (r < 0)
            *ret_bad = i;
    }
    return r;
}
