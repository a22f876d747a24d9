/* Lists of extents against a model that knows, for each byte, which block it is of. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/extents.h"

#define BLOCKS_MAX ((size_t)1 << 22)
#define REGION ((uint32_t)64 * 1024)

struct model_block {
    uint32_t segment;
    uint32_t address;
    uint32_t block_len;
    int64_t start;  /* in the chunk */
    uint32_t shown; /* bytes */
};

struct model {
    struct model_block *blocks; /* ascending by segment and address */
    size_t count;
    uint32_t *block_at; /* for each byte of the chunk: index + 1, or 0 */
    uint32_t segment;
    uint32_t next_address;
    uint64_t random;
    struct extents list;
    struct run_list freed;
};

static uint32_t draw(struct model *model, uint32_t below)
{
    model->random = model->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(model->random >> 33) % below;
}

static struct uuid segment_id(uint32_t number)
{
    struct uuid id = { { 0 } };

    memcpy(id.bytes, &number, sizeof(number));
    return id;
}

static uint32_t segment_number(const struct uuid *id)
{
    uint32_t number;

    memcpy(&number, id->bytes, sizeof(number));
    return number;
}

static struct extent extent_at(uint32_t offset, uint32_t len, uint32_t address, uint32_t block_len,
                               uint32_t skip)
{
    return (struct extent){ .offset = offset,
                            .len = len,
                            .segment = segment_id(7),
                            .address = address,
                            .block_len = block_len,
                            .skip = skip };
}

static void expect_extent(const struct extent *found, const struct extent *expected)
{
    assert_int_equal(found->offset, expected->offset);
    assert_int_equal(found->len, expected->len);
    assert_true(uuid_equal(&found->segment, &expected->segment));
    assert_int_equal(found->address, expected->address);
    assert_int_equal(found->block_len, expected->block_len);
    assert_int_equal(found->skip, expected->skip);
}

static void expect_list(const struct extents *list, const struct extent *expected, size_t count)
{
    assert_int_equal(list->count, count);
    for (size_t i = 0; i < count; i++)
        expect_extent(&list->items[i], &expected[i]);
}

static int model_setup(void **state)
{
    static struct model model;

    model = (struct model){ .random = 20240611, .list = EXTENTS_INIT, .freed = RUN_LIST_INIT };
    model.blocks = calloc(BLOCKS_MAX, sizeof(*model.blocks));
    model.block_at = calloc(CHUNK_SIZE, sizeof(*model.block_at));
    *state = &model;
    return model.blocks && model.block_at ? 0 : -ENOMEM;
}

static int model_teardown(void **state)
{
    struct model *model = *state;

    free(model->blocks);
    free(model->block_at);
    extents_release(&model->list);
    run_list_release(&model->freed);
    return 0;
}

static size_t block_index(const struct model *model, const struct uuid *segment, uint32_t address)
{
    uint32_t number = segment_number(segment);
    size_t low = 0;
    size_t high = model->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct model_block *block = &model->blocks[middle];
        if (block->segment < number || (block->segment == number && block->address < address))
            low = middle + 1;
        else
            high = middle;
    }
    assert_true(low < model->count);
    assert_int_equal(model->blocks[low].segment, number);
    assert_int_equal(model->blocks[low].address, address);
    return low;
}

/* Both could be one. */
static bool continues(const struct extent *left, const struct extent *right)
{
    uint32_t in_run = left->skip + left->len;

    return left->offset + left->len == right->offset && left->block_len == right->block_len &&
           uuid_equal(&left->segment, &right->segment) &&
           right->address ==
               left->address + in_run / left->block_len * (left->block_len + BLOCK_OVERHEAD) &&
           right->skip == in_run % left->block_len;
}

/* Every byte of the list is of the block and at the place that the model says. */
static void expect_mapping(const struct model *model)
{
    uint64_t shown = 0;
    uint32_t end = 0;

    for (size_t i = 0; i < model->list.count; i++) {
        const struct extent *extent = &model->list.items[i];
        assert_true(extent->offset >= end && extent->len > 0 && extent->skip < extent->block_len);
        assert_false(i > 0 && continues(&model->list.items[i - 1], extent));
        end = extent->offset + extent->len;
        assert_true(end <= CHUNK_SIZE);
        shown += extent->len;
        for (uint32_t at = 0; at < extent->len;) {
            uint32_t in_run = extent->skip + at;
            size_t index = block_index(model, &extent->segment,
                                       extent->address + in_run / extent->block_len *
                                                             (extent->block_len + BLOCK_OVERHEAD));
            const struct model_block *block = &model->blocks[index];
            assert_int_equal(block->block_len, extent->block_len);
            do {
                assert_int_equal(model->block_at[extent->offset + at], index + 1);
                assert_int_equal(extent->offset + at - block->start,
                                 (extent->skip + at) % extent->block_len);
                at++;
            } while (at < extent->len && (extent->skip + at) % extent->block_len != 0);
        }
    }
    assert_int_equal(shown, extents_bytes(&model->list));
}

static uint64_t model_shown(const struct model *model, uint32_t from, uint32_t to)
{
    uint64_t shown = 0;

    for (uint32_t i = from; i < to; i++)
        shown += model->block_at[i] != 0;
    return shown;
}

/* A new run of the model's, shown at offset. Some runs continue the one before. */
static struct extent model_append(struct model *model, uint32_t offset, uint32_t len,
                                  uint32_t block_len)
{
    if (draw(model, 3) == 0 || model->next_address > (uint32_t)48 << 20) {
        model->segment++;
        model->next_address = draw(model, 2) * 4096;
    }
    struct extent extent = { .offset = offset,
                             .len = len,
                             .segment = segment_id(model->segment),
                             .address = model->next_address,
                             .block_len = block_len,
                             .skip = 0 };
    struct block_run run = extent_run(&extent);

    for (uint32_t i = 0; i < run.count; i++) {
        assert_true(model->count < BLOCKS_MAX);
        model->blocks[model->count++] = (struct model_block){
            .segment = model->segment,
            .address = model->next_address,
            .block_len = block_len,
            .start = (int64_t)offset + (int64_t)i * block_len,
        };
        model->next_address += block_len + BLOCK_OVERHEAD;
    }
    return extent;
}

/* Returns how many blocks died. */
static size_t model_replace(struct model *model, uint32_t offset, uint32_t len,
                            const struct extent *with, size_t count)
{
    size_t died = 0;

    for (uint32_t i = offset; i < offset + len; i++) {
        uint32_t index = model->block_at[i];
        if (index != 0 && --model->blocks[index - 1].shown == 0)
            died++;
        model->block_at[i] = 0;
    }
    for (size_t i = 0; i < count; i++) {
        size_t index = block_index(model, &with[i].segment, with[i].address);
        for (uint32_t at = 0; at < with[i].len; at++) {
            size_t block = index + at / with[i].block_len;
            model->block_at[with[i].offset + at] = (uint32_t)block + 1;
            model->blocks[block].shown++;
        }
    }
    return died;
}

/* freed names exactly so many blocks, none of which is shown, and none of them twice. */
static void expect_freed(struct model *model, size_t died)
{
    size_t freed = 0;

    for (size_t i = 0; i < model->freed.count; i++) {
        const struct block_run *run = &model->freed.items[i];
        for (uint32_t k = 0; k < run->count; k++, freed++) {
            struct model_block *block = &model->blocks[block_index(
                model, &run->segment, run->address + k * (run->block_len + BLOCK_OVERHEAD))];
            assert_int_equal(block->block_len, run->block_len);
            assert_int_equal(block->shown, 0);
            block->shown = UINT32_MAX; /* freed: shall not be again */
        }
    }
    assert_int_equal(freed, died);
}

static uint32_t draw_block_len(struct model *model)
{
    switch (draw(model, 4)) {
    case 0:
        return 16384;
    case 1:
        return 1 + draw(model, 16384);
    case 2:
        return 1 + draw(model, 200);
    default:
        return 4096;
    }
}

/* Up to three runs with holes in between, as an append that met a segment's end, and a write of
 * several pieces, would give. */
static size_t draw_extents(struct model *model, uint32_t offset, uint32_t len, struct extent ret[3])
{
    size_t count = 0;
    uint32_t end = offset + len;

    if (draw(model, 5) == 0)
        return 0;
    while (count < 3 && offset < end) {
        uint32_t piece = draw(model, 3) == 0 ? 1 + draw(model, end - offset) : end - offset;
        ret[count++] = model_append(model, offset, piece, draw_block_len(model));
        offset += piece + (draw(model, 4) == 0 ? draw(model, 100) : 0);
    }
    return count;
}

/* A list that must not have changed after an error. */
static struct extent *copy_items(const struct extents *list)
{
    struct extent *copy = calloc(list->count + 1, sizeof(*copy));

    assert_non_null(copy);
    if (list->count > 0)
        memcpy(copy, list->items, list->count * sizeof(*copy));
    return copy;
}

static bool step(struct model *model, uint32_t base, uint32_t len_max)
{
    struct extent with[3];
    uint32_t offset = base + draw(model, REGION);
    uint32_t room = base + REGION - offset;
    uint32_t len = 1 + draw(model, room < len_max ? room : len_max);
    size_t count = draw_extents(model, offset, len, with);
    size_t before = model->list.count;
    struct extent *copy = copy_items(&model->list);

    run_list_clear(&model->freed);
    int r = extents_replace(&model->list, offset, len, with, count, &model->freed);
    if (r == -EXFULL) {
        expect_list(&model->list, copy, before);
        assert_int_equal(model->freed.count, 0);
    } else {
        assert_int_equal(r, 0);
        expect_freed(model, model_replace(model, offset, len, with, count));
        assert_true(model->list.count <= EXTENTS_MAX);
    }
    free(copy);
    return r == 0;
}

static void random_replaces_show_what_the_model_shows(void **state)
{
    static const uint32_t bases[] = { 0, 123457, CHUNK_SIZE - REGION };
    static const uint32_t lens[] = { 64, 700, 20000, REGION };
    struct model *model = *state;
    unsigned full = 0;

    for (unsigned round = 0; round < 12; round++) {
        uint32_t base = bases[round % 3];
        for (unsigned i = 0; i < 1200; i++) {
            full += !step(model, base, lens[(round / 3 + i / 900) % 4]);
            if (i % 64 == 0)
                expect_mapping(model);
        }
        expect_mapping(model);
        assert_int_equal(extents_bytes(&model->list), model_shown(model, 0, CHUNK_SIZE));
        uint32_t from = draw(model, REGION);
        uint32_t end = from + 1 + draw(model, REGION);
        assert_int_equal(extents_bytes_between(&model->list, from, end),
                         model_shown(model, from, end));
    }
    assert_true(model->count > 10000);
    assert_true(full > 0);
}

/* Single bytes in every other place until the list is full, and then more, which fail. */
static void a_full_list_stays_as_it_is(void **state)
{
    struct model *model = *state;
    struct extent with;

    for (uint32_t i = 0; i < EXTENTS_MAX; i++) {
        with = extent_at(i * 2, 1, i * 100, 1, 0);
        assert_int_equal(extents_replace(&model->list, i * 2, 1, &with, 1, &model->freed), 0);
    }
    struct extent *copy = copy_items(&model->list);
    with = extent_at(5000, 1, 500000, 1, 0);
    assert_int_equal(extents_replace(&model->list, 5000, 1, &with, 1, &model->freed), -EXFULL);
    expect_list(&model->list, copy, EXTENTS_MAX);
    assert_int_equal(model->freed.count, 0);

    /* What does not make it longer is still possible. */
    with = extent_at(10, 1, 500000, 1, 0);
    assert_int_equal(extents_replace(&model->list, 10, 1, &with, 1, &model->freed), 0);
    copy[5] = with;
    expect_list(&model->list, copy, EXTENTS_MAX);
    assert_int_equal(model->freed.count, 1);
    assert_int_equal(model->freed.items[0].address, 500);
    free(copy);

    run_list_clear(&model->freed);
    assert_int_equal(extents_replace(&model->list, 0, CHUNK_SIZE, NULL, 0, &model->freed), 0);
    assert_int_equal(model->list.count, 0);
    assert_int_equal(model->freed.count, EXTENTS_MAX);
}

struct cut_case {
    const char *what;
    uint32_t offset;
    uint32_t len;
    struct extent left;  /* len 0: none */
    struct extent right; /* len 0: none */
    struct block_run freed;
};

/* A hole is cut into one extent: 4 blocks of 100 bytes from address 1000, the first 10 bytes of
 * which are not shown, at 50 to 430. Blocks begin at 40, 140, 240, 340 and addresses 1000, 1128,
 * 1256, 1384. */
static const struct cut_case cut_cases[] = {
    { "the first byte",
      50,
      1,
      { 0 },
      { .offset = 51, .len = 379, .address = 1000, .skip = 11 },
      { .count = 0 } },
    { "up to a block's border",
      50,
      90,
      { 0 },
      { .offset = 140, .len = 290, .address = 1128, .skip = 0 },
      { .address = 1000, .count = 1 } },
    { "one more",
      50,
      91,
      { 0 },
      { .offset = 141, .len = 289, .address = 1128, .skip = 1 },
      { .address = 1000, .count = 1 } },
    { "inside one block",
      150,
      10,
      { .offset = 50, .len = 100, .address = 1000, .skip = 10 },
      { .offset = 160, .len = 270, .address = 1128, .skip = 20 },
      { .count = 0 } },
    { "exactly one block",
      140,
      100,
      { .offset = 50, .len = 90, .address = 1000, .skip = 10 },
      { .offset = 240, .len = 190, .address = 1256, .skip = 0 },
      { .address = 1128, .count = 1 } },
    { "one block less a byte",
      140,
      99,
      { .offset = 50, .len = 90, .address = 1000, .skip = 10 },
      { .offset = 239, .len = 191, .address = 1128, .skip = 99 },
      { .count = 0 } },
    { "two blocks and pieces around",
      139,
      202,
      { .offset = 50, .len = 89, .address = 1000, .skip = 10 },
      { .offset = 341, .len = 89, .address = 1384, .skip = 1 },
      { .address = 1128, .count = 2 } },
    { "the end",
      340,
      90,
      { .offset = 50, .len = 290, .address = 1000, .skip = 10 },
      { 0 },
      { .address = 1384, .count = 1 } },
    { "beyond the end",
      341,
      1000,
      { .offset = 50, .len = 291, .address = 1000, .skip = 10 },
      { 0 },
      { .count = 0 } },
    { "all", 0, 4096, { 0 }, { 0 }, { .address = 1000, .count = 4 } },
    { "just before",
      0,
      50,
      { .offset = 50, .len = 380, .address = 1000, .skip = 10 },
      { 0 },
      { .count = 0 } },
    { "just behind",
      430,
      50,
      { .offset = 50, .len = 380, .address = 1000, .skip = 10 },
      { 0 },
      { .count = 0 } },
    { "nothing",
      200,
      0,
      { .offset = 50, .len = 380, .address = 1000, .skip = 10 },
      { 0 },
      { .count = 0 } },
};

static void a_cut_gives_parts_that_show_the_same(void **state)
{
    struct model *model = *state;

    for (size_t i = 0; i < sizeof(cut_cases) / sizeof(cut_cases[0]); i++) {
        const struct cut_case *c = &cut_cases[i];
        struct extent whole = extent_at(50, 380, 1000, 100, 10);
        struct extent expected[2];
        size_t count = 0;

        print_message("# %s\n", c->what);
        model->list.count = 0;
        run_list_clear(&model->freed);
        assert_int_equal(extents_append(&model->list, &whole), 0);
        assert_int_equal(extents_replace(&model->list, c->offset, c->len, NULL, 0, &model->freed),
                         0);
        if (c->left.len > 0)
            expected[count++] =
                extent_at(c->left.offset, c->left.len, c->left.address, 100, c->left.skip);
        if (c->right.len > 0)
            expected[count++] =
                extent_at(c->right.offset, c->right.len, c->right.address, 100, c->right.skip);
        expect_list(&model->list, expected, count);
        assert_int_equal(model->freed.count, c->freed.count > 0);
        if (c->freed.count > 0) {
            assert_int_equal(model->freed.items[0].address, c->freed.address);
            assert_int_equal(model->freed.items[0].count, c->freed.count);
            assert_int_equal(model->freed.items[0].block_len, 100);
        }
    }
}

/* Small changes inside one block leave pieces of it, of which only the last one frees it. */
static void a_block_in_pieces_is_freed_once_with_its_last_piece(void **state)
{
    struct model *model = *state;
    struct extent block = extent_at(1000, 100, 5000, 100, 0);

    assert_int_equal(extents_append(&model->list, &block), 0);
    for (uint32_t i = 0; i < 4; i++) {
        struct extent small = extent_at(1010 + 20 * i, 10, 9000 + 1000 * i, 10, 0);
        assert_int_equal(extents_replace(&model->list, small.offset, 10, &small, 1, &model->freed),
                         0);
    }
    assert_int_equal(model->list.count, 9);
    assert_int_equal(model->freed.count, 0);

    /* All but its first piece. */
    assert_int_equal(extents_replace(&model->list, 1015, 85, NULL, 0, &model->freed), 0);
    assert_int_equal(model->list.count, 2);
    assert_int_equal(model->freed.count, 3); /* the small ones but the first, which is cut */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(model->freed.items[i].address, 10000 + 1000 * i);

    run_list_clear(&model->freed);
    assert_int_equal(extents_replace(&model->list, 1000, 11, NULL, 0, &model->freed), 0);
    assert_int_equal(model->freed.count, 1);
    assert_int_equal(model->freed.items[0].address, 5000);

    run_list_clear(&model->freed);
    assert_int_equal(extents_replace(&model->list, 0, CHUNK_SIZE, NULL, 0, &model->freed), 0);
    assert_int_equal(model->freed.count, 1);
    assert_int_equal(model->freed.items[0].address, 9000);
    assert_int_equal(model->list.count, 0);
}

static void pieces_on_both_sides_keep_a_block(void **state)
{
    struct model *model = *state;
    struct extent block = extent_at(0, 100, 5000, 100, 0);

    assert_int_equal(extents_append(&model->list, &block), 0);
    assert_int_equal(extents_replace(&model->list, 30, 10, NULL, 0, &model->freed), 0);
    assert_int_equal(extents_replace(&model->list, 60, 10, NULL, 0, &model->freed), 0);
    assert_int_equal(model->list.count, 3);
    assert_int_equal(extents_replace(&model->list, 0, 30, NULL, 0, &model->freed), 0);
    assert_int_equal(extents_replace(&model->list, 70, 30, NULL, 0, &model->freed), 0);
    assert_int_equal(model->freed.count, 0);
    assert_int_equal(extents_replace(&model->list, 39, 22, NULL, 0, &model->freed), 0);
    assert_int_equal(model->freed.count, 1);
    assert_int_equal(model->freed.items[0].count, 1);
}

static void what_continues_is_joined(void **state)
{
    struct model *model = *state;
    struct extent first = extent_at(0, 200, 1000, 100, 0);
    struct extent next = extent_at(200, 100, 1256, 100, 0);
    struct extent other = extent_at(300, 100, 1385, 100, 0); /* one byte too far */
    struct extent shorter = extent_at(400, 50, 1513, 50, 0);

    assert_int_equal(extents_replace(&model->list, 0, 200, &first, 1, &model->freed), 0);
    assert_int_equal(extents_replace(&model->list, 300, 100, &other, 1, &model->freed), 0);
    assert_int_equal(extents_replace(&model->list, 400, 50, &shorter, 1, &model->freed), 0);
    assert_int_equal(model->list.count, 3);
    assert_int_equal(extents_replace(&model->list, 200, 100, &next, 1, &model->freed), 0);
    first.len = 300;
    expect_list(&model->list, (struct extent[]){ first, other, shorter }, 3);

    /* In front of what is there, and on both sides. */
    struct extent front = extent_at(500, 100, 3000, 100, 0);
    struct extent back = extent_at(700, 100, 3256, 100, 0);
    struct extent between = extent_at(600, 100, 3128, 100, 0);
    assert_int_equal(extents_replace(&model->list, 700, 100, &back, 1, &model->freed), 0);
    assert_int_equal(extents_replace(&model->list, 500, 100, &front, 1, &model->freed), 0);
    assert_int_equal(extents_replace(&model->list, 600, 100, &between, 1, &model->freed), 0);
    front.len = 300;
    expect_list(&model->list, (struct extent[]){ first, other, shorter, front }, 4);
    assert_int_equal(model->freed.count, 0);

    /* The same file bytes with the same blocks, but not at the same place: no continuation. */
    struct extent apart = extent_at(801, 100, 3384, 100, 0);
    assert_int_equal(extents_replace(&model->list, 801, 100, &apart, 1, &model->freed), 0);
    assert_int_equal(model->list.count, 5);
}

static void the_first_extent_that_ends_behind_an_offset_is_found(void **state)
{
    struct model *model = *state;
    struct extent one = extent_at(100, 50, 1000, 50, 0);
    struct extent two = extent_at(200, 50, 3000, 50, 0);

    assert_int_equal(extents_find(&model->list, 0), 0);
    assert_int_equal(extents_append(&model->list, &one), 0);
    assert_int_equal(extents_append(&model->list, &two), 0);
    assert_int_equal(extents_find(&model->list, 0), 0);
    assert_int_equal(extents_find(&model->list, 149), 0);
    assert_int_equal(extents_find(&model->list, 150), 1);
    assert_int_equal(extents_find(&model->list, 249), 1);
    assert_int_equal(extents_find(&model->list, 250), 2);
}

static void a_decoder_is_refused_what_cannot_be(void **state)
{
    const struct extent bad[] = {
        extent_at(300, 0, 0, 100, 0),                 /* empty */
        extent_at(149, 10, 0, 100, 0),                /* overlaps */
        extent_at(0, 10, 0, 100, 0),                  /* not ascending */
        extent_at(CHUNK_SIZE, 1, 0, 100, 0),          /* outside */
        extent_at(CHUNK_SIZE - 1, 2, 0, 100, 0),      /* leaves the chunk */
        extent_at(300, UINT32_MAX, 0, 100, 0),        /* overflows */
        extent_at(300, 10, 0, 0, 0),                  /* no block length */
        extent_at(300, 10, 0, CHUNK_SIZE + 1, 0),     /* too long a block */
        extent_at(300, 10, 0, 100, 100),              /* skips the whole block */
        extent_at(300, 10, UINT32_MAX - 127, 100, 0), /* leaves the addresses */
    };
    struct model *model = *state;
    struct extent good = extent_at(100, 50, 1000, 50, 0);

    assert_int_equal(extents_append(&model->list, &good), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(extents_append(&model->list, &bad[i]), -EBADMSG);
    for (uint32_t i = 1; i < EXTENTS_MAX; i++) {
        struct extent extent = extent_at(200 + 2 * i, 1, 0, 1, 0);
        assert_int_equal(extents_append(&model->list, &extent), 0);
    }
    struct extent one_more = extent_at(100000, 1, 0, 1, 0);
    assert_int_equal(extents_append(&model->list, &one_more), -EBADMSG);
}

static void runs_that_continue_one_another_are_one(void **state)
{
    struct model *model = *state;
    struct block_run run = { .segment = segment_id(1), .address = 0, .block_len = 100, .count = 2 };

    assert_int_equal(run_list_add(&model->freed, &run), 0);
    run.address = 256;
    assert_int_equal(run_list_add(&model->freed, &run), 0);
    assert_int_equal(model->freed.count, 1);
    assert_int_equal(model->freed.items[0].count, 4);
    assert_int_equal(block_run_sealed(&model->freed.items[0]), 512);
    run.address = 513;
    assert_int_equal(run_list_add(&model->freed, &run), 0);
    run.address = 769;
    run.segment = segment_id(2);
    assert_int_equal(run_list_add(&model->freed, &run), 0);
    run.address = 1025;
    run.block_len = 99;
    assert_int_equal(run_list_add(&model->freed, &run), 0);
    assert_int_equal(model->freed.count, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_replaces_show_what_the_model_shows, model_setup,
                                        model_teardown),
        cmocka_unit_test_setup_teardown(a_full_list_stays_as_it_is, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(a_cut_gives_parts_that_show_the_same, model_setup,
                                        model_teardown),
        cmocka_unit_test_setup_teardown(a_block_in_pieces_is_freed_once_with_its_last_piece,
                                        model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(pieces_on_both_sides_keep_a_block, model_setup,
                                        model_teardown),
        cmocka_unit_test_setup_teardown(what_continues_is_joined, model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(the_first_extent_that_ends_behind_an_offset_is_found,
                                        model_setup, model_teardown),
        cmocka_unit_test_setup_teardown(a_decoder_is_refused_what_cannot_be, model_setup,
                                        model_teardown),
        cmocka_unit_test_setup_teardown(runs_that_continue_one_another_are_one, model_setup,
                                        model_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
