/* arena.h - memory that is handed out in pieces and given back all at once.
 *
 * Units      bytes; pieces are aligned to 8.
 * Errors     NULL: memory has run out.
 * Threads    one at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    uint8_t *next;
    size_t left;
    size_t block_size;
    size_t total; /* bytes taken from the system */
};

static inline struct arena arena_init(size_t block_size)
{
    return (struct arena){ .block_size = block_size };
}

void *arena_grow_alloc(struct arena *arena, size_t size);

static inline void *arena_alloc(struct arena *arena, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    if (size > arena->left || arena->next == NULL)
        return arena_grow_alloc(arena, size);
    void *piece = arena->next;
    arena->next += size;
    arena->left -= size;
    return piece;
}

/* Everything handed out is gone; one block of the usual size is kept for what comes next. */
void arena_reset(struct arena *arena);
void arena_release(struct arena *arena);
