#include "meta/arena.h"

#include <stdlib.h>
#include <sys/mman.h>

struct arena_block {
    struct arena_block *older;
    size_t size; /* of the whole mapping or allocation */
    _Alignas(8) uint8_t data[];
};

/* Large blocks are mapped, so that their memory goes back to the system the moment they are
 * dropped; malloc() would keep it once it has learned that such sizes come and go. */
#define MAPPED_MIN ((size_t)128 * 1024)

static struct arena_block *block_new(size_t size)
{
    struct arena_block *block;

    if (size < MAPPED_MIN) {
        block = malloc(size);
        if (block == NULL)
            return NULL;
    } else {
        void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED)
            return NULL;
        block = map;
    }
    block->size = size;
    return block;
}

static void block_free(struct arena_block *block)
{
    if (block->size < MAPPED_MIN)
        free(block);
    else
        (void)munmap(block, block->size);
}

void *arena_grow_alloc(struct arena *arena, size_t size)
{
    size_t block_size = sizeof(struct arena_block) + size;
    if (block_size < arena->block_size)
        block_size = arena->block_size;

    struct arena_block *block = block_new(block_size);
    if (block == NULL)
        return NULL;
    arena->total += block_size;
    /* A piece larger than a block gets one of its own, and the present one is used on. */
    if (block_size > arena->block_size && arena->blocks != NULL) {
        block->older = arena->blocks->older;
        arena->blocks->older = block;
        return block->data;
    }
    block->older = arena->blocks;
    arena->blocks = block;
    arena->next = block->data + size;
    arena->left = block_size - sizeof(struct arena_block) - size;
    return block->data;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *kept = NULL;

    for (struct arena_block *block = arena->blocks, *older; block != NULL; block = older) {
        older = block->older;
        if (kept == NULL && block->size == arena->block_size)
            kept = block;
        else
            block_free(block);
    }
    *arena = arena_init(arena->block_size);
    if (kept != NULL) {
        kept->older = NULL;
        arena->blocks = kept;
        arena->next = kept->data;
        arena->left = kept->size - sizeof(*kept);
        arena->total = kept->size;
    }
}

void arena_release(struct arena *arena)
{
    for (struct arena_block *block = arena->blocks, *older; block != NULL; block = older) {
        older = block->older;
        block_free(block);
    }
    *arena = arena_init(arena->block_size);
}
