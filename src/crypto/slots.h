/* slots.h - a few ready contexts of one key, so that threads need not set the key up again for
 * each use nor wait for one another. Used by aead.c and hash.c.
 *
 * A thread takes the first free slot from where its own number points; with more threads than
 * slots it spins until one is free, which is a microsecond away.
 */
#pragma once

#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#define SLOT_COUNT 16u

struct slot {
    _Alignas(64) atomic_flag taken;
    void *context; /* NULL until the slot is first used */
};

static inline struct slot *slot_take(struct slot slots[static SLOT_COUNT])
{
    static _Thread_local unsigned start;
    static atomic_uint next;

    if (start == 0)
        start = atomic_fetch_add(&next, 1) + 1;
    for (unsigned i = start;; i++) {
        struct slot *slot = &slots[i % SLOT_COUNT];
        if (!atomic_flag_test_and_set_explicit(&slot->taken, memory_order_acquire))
            return slot;
        if (i - start > 2 * SLOT_COUNT)
            (void)sched_yield();
    }
}

static inline void slot_give(struct slot *slot)
{
    atomic_flag_clear_explicit(&slot->taken, memory_order_release);
}
