/* Compaction: what is left of segments that are mostly unused is copied, sealed as it is, into new
 * ones, and the old objects are deleted when that is durable. And the account made anew, which
 * looks at the same: all runs that any record names.
 *
 * A round costs one look at all extents, so it waits until there is enough to win: a part of what
 * is stored, or of what is left on a disk that fills. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "fs/chunk_scan.h"
#include "fs/commit.h"
#include "fs/history.h"
#include "fs/volume_internal.h"

#define VICTIMS_MAX 16u
#define USUAL_LIVE_MAX_8 4u /* eighths of an object in use: it is moved if there are less */
#define FULL_LIVE_MAX_8 7u  /* the same when somebody waits for room */
#define FEWER_BY 4u         /* if the metadata has no room for what a round would tell of */
#define BUDGET_SLACK ((uint64_t)1024 * 1024)
#define MOVE_LEN (32u + LOCATION_VALUE_LEN + META_SEAL_OVERHEAD_MAX) /* a record and its key */
#define LEFT_OF_METADATA ((uint64_t)384 * 1024) /* more than it takes to begin there */
#define GARBAGE_MIN ((uint64_t)128 * 1024 * 1024)
#define REST_MS ((int64_t)10 * 1000) /* after a round that failed or won nothing */

/* A run in a victim and the file it belongs to. */
struct survivor {
    struct block_run run;
    struct segment_origin origin;
};

struct round {
    struct volume *volume;
    struct segment_choice choice;
    struct survivor *survivors;
    size_t count;
    size_t room;
    struct segment_copy *copies;
    size_t copied;
    bool is_too_much; /* for the metadata */
    struct error *err;
};

static int add_survivor(struct round *round, const struct block_run *run,
                        const struct segment_origin *origin)
{
    if (round->count == round->room) {
        size_t room = round->room == 0 ? 256 : 2 * round->room;
        struct survivor *survivors = reallocarray(round->survivors, room, sizeof(*survivors));
        if (survivors == NULL)
            return error_set(round->err, -ENOMEM, "no memory for a round of compaction");
        round->survivors = survivors;
        round->room = room;
    }
    round->survivors[round->count++] = (struct survivor){ .run = *run, .origin = *origin };
    return 0;
}

/* A record that names what is not there is left alone: check tells about it. */
static int add_run(struct round *round, struct block_run run, const struct segment_origin *origin)
{
    struct block_run part;
    bool is_victim;
    int r = 0;

    while (run.count > 0 && r == 0) {
        if (segments_in_victim(round->volume->segments, &run, &part, &is_victim) < 0)
            return 0;
        if (is_victim)
            r = add_survivor(round, &part, origin);
    }
    return r;
}

static int visit_blocks(uint64_t ino, uint32_t chunk, const struct run_list *blocks, void *arg)
{
    const struct segment_origin origin = { .ino = ino, .offset = (uint64_t)chunk * CHUNK_SIZE };
    int r = 0;

    for (size_t i = 0; i < blocks->count && r == 0; i++)
        r = add_run(arg, blocks->items[i], &origin);
    return r;
}

/* The LOCATION records of so many copies are put when the group is closed, where nobody is asked
 * any more whether there is room, and no other group could come before this one. */
static int expect_records(struct round *round, struct meta_txn *txn, size_t count, uint64_t left)
{
    int r = meta_expect(txn, count, count * MOVE_LEN + left, round->err);

    round->is_too_much = r == -ENOSPC;
    return r;
}

/* Before anything is copied. These records take room in the metadata and give none back: what makes
 * room there must still be able to begin when they are put. */
static int look_for_room(struct round *round)
{
    struct meta_txn *change = NULL;

    int r = meta_begin(round->volume->engine, META_RECLAIM, &change, round->err);
    if (r < 0)
        return r;
    r = expect_records(round, change, round->count, LEFT_OF_METADATA);
    meta_abort(change);
    return r;
}

/* Victims and what survives in them, as of one moment between two changes. Returns the number of
 * victims. */
static int choose(struct round *round)
{
    struct volume *volume = round->volume;
    CLEANUP(meta_abortp) struct meta_txn *view = NULL;
    struct meta_txn *change = NULL;

    int r = meta_begin(volume->engine, META_RECLAIM, &change, round->err);
    if (r < 0)
        return r;
    unsigned victims = segments_choose_victims(volume->segments, &round->choice);
    if (victims > 0)
        r = meta_begin(volume->engine, META_READ, &view, round->err);
    meta_abort(change);
    if (r < 0 || victims == 0)
        return r;
    r = blocks_scan(volume, view, visit_blocks, round, round->err);
    if (r == 0)
        r = look_for_room(round);
    return r < 0 ? r : (int)victims;
}

/* It was freed since; where it was moved to once may be forgotten. */
static bool is_gone(struct round *round, struct block_run run)
{
    struct block_run part;
    bool is_victim = false;

    return segments_in_victim(round->volume->segments, &run, &part, &is_victim) < 0 || !is_victim;
}

/* Writers leave room for what is still to be copied. */
static void claim_room(struct round *round)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < round->count; i++)
        bytes += block_run_sealed(&round->survivors[i].run);
    atomic_store(&round->volume->claimed_room, bytes);
    atomic_store(&round->volume->known_room, 0); /* it was found without the claim */
}

static int copy_all(struct round *round)
{
    struct volume *volume = round->volume;

    round->copies = calloc(round->count + 1, sizeof(*round->copies));
    if (round->copies == NULL)
        return error_set(round->err, -ENOMEM, "no memory for a round of compaction");
    claim_room(round);
    for (size_t i = 0; i < round->count; i++) {
        const struct survivor *survivor = &round->survivors[i];
        int r = segments_copy(volume->segments, &survivor->run, &survivor->origin,
                              &round->copies[round->copied], round->err);
        atomic_fetch_sub(&volume->claimed_room, block_run_sealed(&survivor->run));
        if (r == 0)
            round->copied++;
        else if (r != -ENOENT || !is_gone(round, survivor->run))
            return r;
    }
    return 0;
}

static int apply_moves(struct volume_txn *txn, void *arg)
{
    struct round *round = arg;

    int r = txn_touch(txn);
    if (r == 0)
        r = expect_records(round, txn->meta, round->copied, 0);
    return r < 0 ? r : segments_moved(txn->volume->segments, round->copies, round->copied);
}

static int run_round(struct round *round)
{
    int victims = choose(round);

    if (victims <= 0)
        return victims;
    int r = copy_all(round);
    if (r == 0)
        r = volume_change(round->volume, META_RECLAIM, apply_moves, round);
    for (size_t i = 0; i < round->copied; i++)
        segments_uncopy(round->volume->segments, &round->copies[i]);
    return r < 0 ? r : 1;
}

/* Enough to win that a look at all extents is worth it. */
static bool is_due(struct volume *volume)
{
    struct segments_space space;
    struct object_store_space disk = { 0 };

    segments_space(volume->segments, &space);
    uint64_t garbage = space.stored > space.live ? space.stored - space.live : 0;
    if (garbage > GARBAGE_MIN && garbage > space.stored / 4)
        return true;
    if (garbage < SEGMENT_SIZE / 4 || object_store_space(volume->store, &disk, NULL) < 0 ||
        disk.total == 0)
        return false;
    return disk.free < disk.total / 8 && garbage > disk.free / 4;
}

/* What a round may take of the disk. The objects of the victims go only when it is over. */
static uint64_t budget(struct volume *volume)
{
    struct object_store_space disk = { 0 };

    if (object_store_space(volume->store, &disk, NULL) < 0 || disk.total == 0)
        return UINT64_MAX;
    /* The metadata may lie on the same disk and grow meanwhile. */
    uint64_t part = disk.free - disk.free / 4;
    return part > BUDGET_SLACK ? part - BUDGET_SLACK : 0;
}

static int compact_once(struct volume *volume, const struct segment_choice *choice,
                        bool *ret_is_too_much, struct error *err)
{
    struct round round = { .volume = volume, .choice = *choice, .err = err };

    maintenance_begin(&volume->maintenance);
    int r = run_round(&round);
    atomic_store(&volume->claimed_room, 0);
    if (r < 0 && round.copied > 0)
        segments_end_current(volume->segments); /* so that what was copied in vain goes */
    segments_end_victims(volume->segments);
    maintenance_end(&volume->maintenance);
    *ret_is_too_much = round.is_too_much;
    free(round.survivors);
    free(round.copies);
    return r;
}

/* Of segments of which less than so many eighths are in use. */
static int compact(struct volume *volume, unsigned live_max_8, struct error *err)
{
    struct segment_choice choice = { .max = VICTIMS_MAX, .live_max_8 = live_max_8 };
    bool is_too_much;
    int r;

    if (origin_is_importing(volume)) /* a round looks at all extents */
        return 0;
    do {
        choice.budget = budget(volume);
        r = compact_once(volume, &choice, &is_too_much, err);
        choice.max /= FEWER_BY;
    } while (is_too_much && choice.max > 0);
    return r;
}

int volume_compact(struct volume *volume, struct error *err)
{
    if (clock_monotonic_ms() < volume->compaction_rests_until_ms || !is_due(volume))
        return 0;
    int r = compact(volume, USUAL_LIVE_MAX_8, err);
    if (r <= 0)
        volume->compaction_rests_until_ms = clock_monotonic_ms() + REST_MS;
    return r;
}

/* Twice: the first group completes a segment that was full, the second one finds it dead. */
static bool delete_dead(struct volume *volume)
{
    bool has_deleted = segments_delete_dead(volume->segments);

    for (unsigned i = 0; i < 2 && !has_deleted && commit_group(volume, NULL) == 0; i++)
        has_deleted = segments_delete_dead(volume->segments);
    return has_deleted;
}

bool volume_make_room(struct volume *volume)
{
    if (delete_dead(volume))
        return true;
    if (compact(volume, FULL_LIVE_MAX_8, NULL) > 0 && delete_dead(volume))
        return true;
    /* What is left to win may be in the segment that is being written. */
    if (!segments_end_wasteful(volume->segments, FULL_LIVE_MAX_8))
        return false;
    return delete_dead(volume) ||
           (compact(volume, FULL_LIVE_MAX_8, NULL) > 0 && delete_dead(volume));
}

struct recount {
    struct volume *volume;
    uint64_t bytes;
};

static int recount_blocks(uint64_t ino, uint32_t chunk, const struct run_list *blocks, void *arg)
{
    struct recount *recount = arg;
    const struct run_list none = RUN_LIST_INIT;

    (void)ino;
    (void)chunk;
    segments_account(recount->volume->segments, blocks, &none);
    segments_settled(recount->volume->segments);
    recount->bytes += run_list_sealed(blocks);
    return 0;
}

static int recount_all(struct volume_txn *txn, void *arg)
{
    struct recount *recount = arg;
    struct volume *volume = recount->volume;

    segments_recount_begin(volume->segments);
    int r = live_blocks_scan(txn->meta, recount_blocks, recount, &txn->err);
    recount->bytes = 0;
    if (r == 0)
        r = history_scan_blocks(txn, recount_blocks, recount);
    if (r == 0) {
        atomic_store(&volume->held, recount->bytes);
        atomic_store(&volume->held_changed, true);
        segments_recount_end(volume->segments);
    }
    return r;
}

int volume_recount(struct volume *volume, struct error *err)
{
    struct recount recount = { .volume = volume };

    if (!maintenance_begin_recount(&volume->maintenance))
        return error_set(err, -EBUSY, "what is in use is not counted during a check");
    int r = volume_change(volume, META_RECLAIM, recount_all, &recount);
    maintenance_end(&volume->maintenance);
    return r < 0 ? error_set(err, r, "what is in use could not be counted: %s", strerrordesc_np(-r))
                 : 0;
}
