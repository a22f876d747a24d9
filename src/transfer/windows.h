/* windows.h - what was read ahead in packs: who reads a pack bit by bit, one bit behind the other,
 * reads it in pieces of WINDOW_LEN in truth. The last few pieces stay in memory, as the ciphertext
 * that they are.
 *
 *     windows_read() ── true: it was there
 *                    ── false, a window: to be filled, then windows_filled()
 *                    ── false, NULL: this is to be read by itself
 *
 * Units      bytes. WINDOWS * WINDOW_LEN of memory at most.
 * Ownership  a window is the windows'.
 * Threads    any; who needs what another one is reading waits for that.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/thread.h"
#include "base/uuid.h"

#define WINDOWS 6u
#define WINDOW_LEN ((size_t)4 * 1024 * 1024)

struct window {
    struct uuid pack;
    uint64_t offset;
    size_t len;    /* what is there; 0: nothing */
    uint8_t *data; /* of WINDOW_LEN; NULL: none yet */
    bool is_loading;
    unsigned users; /* who copy out of it */
    uint64_t used;  /* when, in the windows' time */
};

/* Where somebody stopped reading. */
struct read_end {
    struct uuid pack;
    uint64_t offset;
};

struct windows {
    struct mutex lock; /* guards all below */
    pthread_cond_t changed;
    struct window items[WINDOWS];
    struct read_end ends[2 * WINDOWS];
    unsigned next_end;
    uint64_t time;
};

void windows_init(struct windows *windows);
void windows_release(struct windows *windows); /* nobody uses it */

bool windows_read(struct windows *windows, const struct uuid *pack, uint64_t offset, size_t len,
                  uint8_t *to, struct window **ret_to_fill);
/* len 0: that failed. */
void windows_filled(struct windows *windows, struct window *window, size_t len);

/* What there is of a pack is not to be relied on; NULL: of all. */
void windows_forget(struct windows *windows, const struct uuid *pack);
