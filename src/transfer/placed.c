#include "transfer/placed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

void placed_list_release(struct placed_list *list)
{
    free(list->items);
    *list = PLACED_LIST_INIT;
}

static bool continues(const struct placed *left, const struct placed *right)
{
    return uuid_equal(&left->segment, &right->segment) && left->first + left->len == right->first &&
           memcmp(left->pack, right->pack, PACK_ID_LEN) == 0 &&
           left->offset + left->len == right->offset &&
           uuid_equal(&left->identity.fs, &right->identity.fs) &&
           uuid_equal(&left->identity.segment, &right->identity.segment) &&
           left->identity.generation == right->identity.generation &&
           left->identity.address + left->len == right->identity.address;
}

int placed_list_add(struct placed_list *list, const struct placed *placed)
{
    if (list->count > 0 && continues(&list->items[list->count - 1], placed)) {
        list->items[list->count - 1].len += placed->len;
        return 0;
    }
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        struct placed *items = reallocarray(list->items, room, sizeof(*items));
        if (!items)
            return -ENOMEM;
        list->items = items;
        list->room = room;
    }
    list->items[list->count++] = *placed;
    return 0;
}

/* Whether it ends at or in front of an address. */
static bool is_before(const struct placed *placed, const struct uuid *segment, uint32_t address)
{
    int order = memcmp(placed->segment.bytes, segment->bytes, UUID_LEN);

    return order != 0 ? order < 0 : placed->first + placed->len <= address;
}

size_t placed_find(const struct placed_list *list, const struct uuid *segment, uint32_t address)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (is_before(&list->items[middle], segment, address))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t placed_blocks(const struct placed_list *list, const struct block_run *run,
                       struct placed *ret)
{
    size_t index = placed_find(list, &run->segment, run->address);
    const uint32_t step = run->block_len + BLOCK_OVERHEAD;

    if (index == list->count)
        return 0;
    struct placed found = list->items[index];
    if (!uuid_equal(&found.segment, &run->segment) || found.first > run->address)
        return 0;
    uint32_t inside = run->address - found.first;
    uint32_t blocks = (found.len - inside) / step;
    blocks = blocks < run->count ? blocks : run->count;
    found.first += inside;
    found.offset += inside;
    found.identity.address += inside;
    found.len = blocks * step;
    *ret = found;
    return blocks;
}

int placed_encode(const struct placed *placed, struct location_bytes *ret)
{
    struct location_record location = { .len = placed->len,
                                        .live = placed->len,
                                        .offset = placed->offset,
                                        .identity = placed->identity };

    memcpy(location.object.bytes, placed->pack, UUID_LEN);
    location_key(&placed->segment, placed->first, &ret->key);
    return location_encode(&location, ret->value, &ret->len);
}

int placed_decode(const struct dump_record *record, struct placed *ret)
{
    struct location_record location;
    struct placed placed;

    int r = record_key_segment(record->key, RECORD_LOCATION, &placed.segment, &placed.first);
    if (r == 0)
        r = location_decode(record->value, &location);
    if (r != 0)
        return r;
    placed.len = location.len;
    memcpy(placed.pack, location.object.bytes, UUID_LEN);
    placed.offset = location.offset;
    placed.identity = location.identity;
    *ret = placed;
    return 0;
}

/* Sorted and without overlap, as records are and as they must be. */
static bool is_behind(const struct placed_list *list, const struct placed *placed)
{
    return list->count == 0 ||
           is_before(&list->items[list->count - 1], &placed->segment, placed->first);
}

static int read_all(struct dump_reader *reader, struct placed_list *list, struct error *err)
{
    struct dump_record record;
    struct placed placed;
    int r;

    while ((r = dump_reader_next(reader, &record, err)) == 0) {
        if (record_kind_of(record.key) != RECORD_LOCATION)
            break;
        r = placed_decode(&record, &placed);
        if (r == 0 && !is_behind(list, &placed))
            r = -EBADMSG;
        if (r == 0)
            r = placed_list_add(list, &placed);
        if (r < 0)
            return error_set(err, r, "a location record of the snapshot cannot be used: %s",
                             strerrordesc_np(-r));
    }
    return r == -ENODATA ? 0 : r;
}

int placed_load(const struct dump_source *source, struct placed_list *ret, struct error *err)
{
    struct placed_list list = PLACED_LIST_INIT;
    struct record_key first, end;
    struct dump_reader reader;

    kind_range(RECORD_LOCATION, &first, &end);
    dump_reader_init(&reader, source);
    int r = dump_reader_seek(&reader, record_key_bytes(&first), err);
    if (r == 0)
        r = read_all(&reader, &list, err);
    dump_reader_release(&reader);
    if (r < 0) {
        placed_list_release(&list);
        return r;
    }
    *ret = list;
    return 0;
}
