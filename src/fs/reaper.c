/* Orphans whose last reference was given back: they end a few at a time, in one transaction,
 * instead of one by one between the operations of whoever removes many files. What is not ended
 * when the process does is found in ORPHAN by the next open. */
#include "fs/volume_internal.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "fs/commit.h"

#define REAP_WAKE 64u  /* so many are worth waking the keeper */
#define REAP_MAX 4096u /* with so many, who adds one helps */
#define REAP_BATCH 32u /* ended in one transaction */

void reaper_release(struct reaper *reaper)
{
    free(reaper->inos);
}

static int add_locked(struct reaper *reaper, uint64_t ino) REQUIRES(reaper->lock)
{
    if (reaper->count == reaper->room) {
        size_t room = reaper->room == 0 ? REAP_WAKE : 2 * reaper->room;
        uint64_t *inos = reallocarray(reaper->inos, room, sizeof(*inos));
        if (inos == NULL)
            return -1;
        reaper->inos = inos;
        reaper->room = room;
    }
    reaper->inos[reaper->count++] = ino;
    return 0;
}

void reap_later(struct volume *volume, uint64_t ino)
{
    struct reaper *reaper = &volume->reaper;

    mutex_lock(&reaper->lock);
    bool is_added = add_locked(reaper, ino) == 0;
    size_t count = reaper->count;
    mutex_unlock(&reaper->lock);
    if (!is_added)
        (void)inode_reap(volume, ino); /* reported if it fails; the next open tries again */
    else if (count >= REAP_MAX)
        reap_waiting(volume);
    else if (count == REAP_WAKE)
        keeper_wake(volume);
}

static void reap_some(struct volume *volume, const uint64_t *inos, size_t count)
{
    struct reap_batch batch = { .inos = inos, .count = count };

    if (inode_reap_batch(volume, &batch) == 0 && !batch.has_more)
        return;
    for (size_t i = 0; i < count; i++) /* a large one, or one that is damaged */
        (void)inode_reap(volume, inos[i]);
}

static size_t take_all(struct reaper *reaper, uint64_t **ret)
{
    mutex_lock(&reaper->lock);
    size_t count = reaper->count;
    *ret = TAKE(reaper->inos);
    reaper->count = 0;
    reaper->room = 0;
    mutex_unlock(&reaper->lock);
    return count;
}

void reap_waiting(struct volume *volume)
{
    CLEANUP(free_ptr) uint64_t *inos = NULL;

    if (volume->is_read_only)
        return;
    mutex_lock(&volume->reaper.ending);
    size_t count = take_all(&volume->reaper, &inos);
    for (size_t i = 0; i < count; i += REAP_BATCH)
        reap_some(volume, inos + i, count - i < REAP_BATCH ? count - i : REAP_BATCH);
    mutex_unlock(&volume->reaper.ending);
}
