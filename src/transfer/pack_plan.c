#include "transfer/pack_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define RANGE_LEN (2u * (UUID_LEN + 4u) + UUID_LEN + 4u + 4u) /* as it is hashed */

/* One that is being made. */
struct planning {
    struct pack_plan *plan;
    const struct transfer_keys *keys;
    struct upload_source *source;
    const struct placed_list *base;
    uint32_t pack_len;
    struct planned_pack open; /* the last one, which has room */
    size_t open_placed;       /* the first one of its ranges in plan->placed */
};

void pack_plan_release(struct pack_plan *plan)
{
    free(plan->ranges);
    free(plan->packs);
    placed_list_release(&plan->placed);
    *plan = PACK_PLAN_INIT;
}

static int grow(void **items, size_t count, size_t *room, size_t item_len)
{
    if (count < *room)
        return 0;
    size_t more = *room ? 2 * *room : 64;
    void *grown = reallocarray(*items, more, item_len);
    if (!grown)
        return -ENOMEM;
    *items = grown;
    *room = more;
    return 0;
}

/* Of one pack: the last range, as far as what follows goes on there. */
static bool continues(const struct pack_range *left, const struct pack_range *right)
{
    const uint32_t len = (uint32_t)block_run_sealed(&left->run);

    return left->run.block_len == right->run.block_len &&
           uuid_equal(&left->run.segment, &right->run.segment) &&
           left->run.address + len == right->run.address &&
           uuid_equal(&left->identity.fs, &right->identity.fs) &&
           uuid_equal(&left->identity.segment, &right->identity.segment) &&
           left->identity.generation == right->identity.generation &&
           left->identity.address + len == right->identity.address;
}

/* So that what a pack consists of does not depend on where its blocks lie at present. */
static int add_range(struct pack_plan *plan, struct planned_pack *pack,
                     const struct pack_range *range)
{
    struct pack_range *last = pack->count > 0 ? &plan->ranges[plan->range_count - 1] : NULL;
    void *ranges = plan->ranges;

    if (last && continues(last, range)) {
        last->run.count += range->run.count;
        return 0;
    }
    int r = grow(&ranges, plan->range_count, &plan->range_room, sizeof(*range));
    plan->ranges = ranges;
    if (r < 0)
        return r;
    plan->ranges[plan->range_count++] = *range;
    pack->count++;
    return 0;
}

static void write_range(struct writer *writer, const struct pack_range *range)
{
    writer_bytes(writer, range->run.segment.bytes, UUID_LEN);
    writer_u32(writer, range->run.address);
    writer_bytes(writer, range->identity.fs.bytes, UUID_LEN);
    writer_u32(writer, range->identity.generation);
    writer_bytes(writer, range->identity.segment.bytes, UUID_LEN);
    writer_u32(writer, range->identity.address);
    writer_u32(writer, (uint32_t)block_run_sealed(&range->run));
}

static int name_pack(const struct planning *planning, struct planned_pack *pack)
{
    CLEANUP(free_ptr) uint8_t *bytes = malloc(pack->count * RANGE_LEN);
    uint8_t hash[HASH_LEN];

    if (!bytes)
        return -ENOMEM;
    struct writer writer = writer_init(bytes, pack->count * RANGE_LEN);
    for (size_t i = 0; i < pack->count; i++)
        write_range(&writer, &planning->plan->ranges[pack->first + i]);
    const struct bytes all = writer_written(&writer);
    int r = writer_done(&writer);
    if (r == 0)
        r = hmac_sha256(planning->keys->packs, &all, 1, hash);
    if (r == 0)
        memcpy(pack->id, hash, PACK_ID_LEN);
    return r;
}

/* Its ranges were placed under the id of zeros. */
static int close_pack(struct planning *planning)
{
    static const uint8_t zeros[PACK_ID_LEN];
    struct pack_plan *plan = planning->plan;
    struct planned_pack *pack = &planning->open;

    if (pack->count == 0)
        return 0;
    int r = name_pack(planning, pack);
    void *packs = plan->packs;
    if (r == 0)
        r = grow(&packs, plan->pack_count, &plan->pack_room, sizeof(*pack));
    plan->packs = packs;
    if (r < 0)
        return r;
    for (size_t i = planning->open_placed; i < plan->placed.count; i++)
        if (memcmp(plan->placed.items[i].pack, zeros, PACK_ID_LEN) == 0)
            memcpy(plan->placed.items[i].pack, pack->id, PACK_ID_LEN);
    plan->packs[plan->pack_count++] = *pack;
    *pack = (struct planned_pack){ .first = plan->range_count };
    planning->open_placed = plan->placed.count;
    return 0;
}

static struct placed placed_of(const struct block_run *run, const struct block_identity *identity)
{
    return (struct placed){ .segment = run->segment,
                            .first = run->address,
                            .len = (uint32_t)block_run_sealed(run),
                            .identity = *identity };
}

/* So many blocks go into the open pack, as many as it has room for, but one at least. */
static int add_new(struct planning *planning, struct block_run run,
                   const struct block_identity *identity, uint32_t *ret_blocks)
{
    const uint32_t step = run.block_len + BLOCK_OVERHEAD;
    struct planned_pack *pack = &planning->open;
    int r = 0;

    if (pack->count > 0 && pack->len + step > planning->pack_len)
        r = close_pack(planning);
    if (r < 0)
        return r;
    uint32_t room = pack->len < planning->pack_len ? (planning->pack_len - pack->len) / step : 0;
    room = room > 0 ? room : 1;
    run.count = run.count < room ? run.count : room;
    const struct pack_range range = { run, *identity };
    struct placed placed = placed_of(&run, identity);
    placed.offset = pack->len;
    r = add_range(planning->plan, pack, &range);
    if (r == 0)
        r = placed_list_add(&planning->plan->placed, &placed);
    if (r < 0)
        return r;
    pack->len += placed.len;
    planning->plan->new_len += placed.len;
    *ret_blocks = run.count;
    return 0;
}

/* Blocks of the front of run that no older pack holds. */
static uint32_t uncovered(const struct planning *planning, const struct block_run *run)
{
    const struct placed_list *base = planning->base;
    size_t next = placed_find(base, &run->segment, run->address);
    const uint32_t step = run->block_len + BLOCK_OVERHEAD;

    if (next == base->count || !uuid_equal(&base->items[next].segment, &run->segment) ||
        base->items[next].first <= run->address)
        return run->count;
    uint32_t blocks = (base->items[next].first - run->address + step - 1) / step;
    return blocks < run->count ? blocks : run->count;
}

static bool is_same_identity(const struct block_identity *a, const struct block_identity *b)
{
    return uuid_equal(&a->fs, &b->fs) && a->generation == b->generation &&
           uuid_equal(&a->segment, &b->segment) && a->address == b->address;
}

/* All of it is sealed in one go. */
static int add_front(struct planning *planning, struct block_run run,
                     struct block_identity identity)
{
    const uint32_t step = run.block_len + BLOCK_OVERHEAD;
    struct placed old;
    int r = 0;

    while (run.count > 0 && r == 0) {
        uint32_t blocks = placed_blocks(planning->base, &run, &old);
        if (blocks > 0 && is_same_identity(&old.identity, &identity)) {
            r = placed_list_add(&planning->plan->placed, &old);
            planning->plan->old_len += old.len;
        } else {
            struct block_run fresh = run;
            fresh.count = blocks > 0 ? blocks : uncovered(planning, &run);
            r = add_new(planning, fresh, &identity, &blocks);
        }
        run.count -= blocks;
        run.address += blocks * step;
        identity.address += blocks * step;
    }
    return r;
}

static int add_run(struct planning *planning, struct block_run run, struct error *err)
{
    struct block_identity identity;
    struct block_run front;

    while (run.count > 0) {
        int r = planning->source->ops->locate(planning->source, &run, &front, &identity, err);
        if (r < 0)
            return r;
        if (add_front(planning, front, identity) < 0)
            return error_set(err, -ENOMEM, "cannot plan an upload: out of memory");
        run.count -= front.count;
        run.address += (uint32_t)block_run_sealed(&front);
    }
    return 0;
}

int pack_plan_make(struct pack_plan *plan, const struct transfer_keys *keys,
                   struct upload_source *source, const struct placed_list *base, uint32_t pack_len,
                   struct error *err)
{
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;
    struct planning planning = { .plan = plan,
                                 .keys = keys,
                                 .source = source,
                                 .base = base,
                                 .pack_len = pack_len ? pack_len : PACK_LEN };

    int r = source->ops->blocks(source, &blocks, err);
    for (size_t i = 0; i < blocks.count && r == 0; i++)
        r = add_run(&planning, blocks.items[i], err);
    if (r == 0 && close_pack(&planning) < 0)
        r = error_set(err, -ENOMEM, "cannot plan an upload: out of memory");
    return r;
}

/* It may lie in several places by now. */
static int read_range(struct upload_source *source, const struct pack_range *range, uint8_t *to,
                      struct error *err)
{
    struct block_identity expected = range->identity, found;
    struct block_run run = range->run, front;

    while (run.count > 0) {
        int r = source->ops->locate(source, &run, &front, &found, err);
        if (r == 0 && !is_same_identity(&found, &expected))
            r = error_set(err, -EAGAIN, "blocks were sealed anew while they were uploaded");
        if (r == 0)
            r = source->ops->read(source, &front, &expected, to, err);
        if (r < 0)
            return r;
        const uint32_t len = (uint32_t)block_run_sealed(&front);
        to += len;
        run.count -= front.count;
        run.address += len;
        expected.address += len;
    }
    return 0;
}

int pack_read(const struct pack_plan *plan, const struct planned_pack *pack,
              struct upload_source *source, uint8_t *to, struct error *err)
{
    int r = 0;

    for (size_t i = 0; i < pack->count && r == 0; i++) {
        const struct pack_range *range = &plan->ranges[pack->first + i];
        r = read_range(source, range, to, err);
        to += block_run_sealed(&range->run);
    }
    return r;
}
