/* A volume whose store fails: what is reported, what is rescued, what is there after a crash; and
 * compaction. A crash is a process that ends without closing anything. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/chunk_scan.h"
#include "fs/commit.h"
#include "fs/volume_internal.h"
#include "store/layers/cache.h"
#include "store/layers/fault.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/volume_case.h"

#define PIECE (256u * 1024u)
#define PIECES 40u

struct faulty {
    struct volume_case c;
    struct fault_store *fault;
};

static struct object_store *with_faults(struct volume_case *c, struct fault_store **ret)
{
    struct object_store *inner;
    struct object_store *store;

    assert_int_equal(object_store_open(c->store_url, &inner, NULL), 0);
    assert_int_equal(fault_store_new(inner, &store, ret), 0);
    return store;
}

/* Made, closed, and opened again with faults at hand. */
static void faulty_new(struct faulty *f)
{
    volume_case_new(&f->c, 0);
    volume_case_close(&f->c);
    object_store_close(f->c.store);
    f->c.store = with_faults(&f->c, &f->fault);
}

static void fill(uint8_t *data, uint64_t ino, unsigned number)
{
    for (size_t i = 0; i < PIECE; i++)
        data[i] = (uint8_t)(i * 31 + number * 7 + ino * 13 + (i >> 8));
}

static int write_piece(struct volume_case *c, uint64_t ino, unsigned number)
{
    static uint8_t data[PIECE];

    fill(data, ino, number);
    return volume_write(c->volume, ino, (uint64_t)number * PIECE,
                        (struct bytes){ .data = data, .len = PIECE });
}

static void expect_piece(struct volume_case *c, uint64_t ino, unsigned number)
{
    static uint8_t data[PIECE];
    static uint8_t found[PIECE];
    size_t len = 0;

    fill(data, ino, number);
    assert_int_equal(volume_read(c->volume, ino, (uint64_t)number * PIECE, PIECE, found, &len), 0);
    assert_int_equal(len, PIECE);
    assert_memory_equal(found, data, PIECE);
}

static void expect_pieces(struct volume_case *c, const char *name, unsigned count)
{
    struct volume_attr attr;

    assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, name, &attr), 0);
    assert_int_equal(attr.size, (uint64_t)count * PIECE);
    for (unsigned i = 0; i < count; i++)
        expect_piece(c, attr.ino, i);
}

typedef void crash_fn(struct faulty *f);

/* Runs fn in a process that ends without more ado, and opens what that left. */
static void crash_in(struct faulty *f, crash_fn *fn)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        volume_case_open(&f->c);
        fn(f);
        _exit(0); /* a failed assertion has ended it otherwise */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    fault_disarm(f->fault);
    volume_case_open(&f->c);
    volume_case_check(&f->c);
}

static void faulty_end(struct faulty *f)
{
    volume_case_end(&f->c);
}

static void lose_a_sync(struct faulty *f)
{
    uint64_t ino = volume_case_file(&f->c, "file");

    for (unsigned i = 0; i < PIECES; i++) {
        if (i == PIECES / 2)
            assert_int_equal(volume_sync(f->c.volume, NULL), 0);
        assert_int_equal(write_piece(&f->c, ino, i), 0);
    }
    fault_arm(f->fault, FAULT_SYNC_LOSE, "segments/", 0, 1, -EIO);
    assert_int_equal(volume_sync(f->c.volume, NULL), 0);
    assert_int_equal(f->c.events[VOLUME_EVENT_WRITE_LOST], 1);
    for (unsigned i = 0; i < PIECES; i++)
        expect_piece(&f->c, ino, i);
}

static void what_a_failed_sync_lost_is_written_again(void **state)
{
    struct faulty f;

    (void)state;
    faulty_new(&f);
    crash_in(&f, lose_a_sync);
    expect_pieces(&f.c, "file", PIECES);
    volume_case_reopen(&f.c);
    volume_case_check(&f.c);
    faulty_end(&f);
}

static void lose_syncs_again_and_again(struct faulty *f)
{
    uint64_t ino = volume_case_file(&f->c, "file");

    for (unsigned i = 0; i < PIECES; i++) {
        assert_int_equal(write_piece(&f->c, ino, i), 0);
        if (i % 8 == 7) {
            fault_disarm(f->fault);
            fault_arm(f->fault, FAULT_SYNC_LOSE, "segments/", i % 16 == 7, 2, -EIO);
            assert_int_equal(volume_sync(f->c.volume, NULL), 0);
        }
    }
    for (unsigned i = 0; i < PIECES; i++)
        expect_piece(&f->c, ino, i);
    assert_int_equal(volume_case_faults(&f->c, true), 0);
}

static void what_was_rescued_may_be_lost_and_rescued_again(void **state)
{
    struct faulty f;

    (void)state;
    faulty_new(&f);
    crash_in(&f, lose_syncs_again_and_again);
    expect_pieces(&f.c, "file", PIECES);
    faulty_end(&f);
}

/* --- a store that prefers sealing: who syncs stores ahead --- */

#define SYNCERS 8u
#define PIECES_EACH 10u

struct syncer {
    struct faulty *f;
    pthread_t thread;
    uint64_t ino;
    bool is_later; /* by volume_sync_later() */
    unsigned failed;
};

struct later {
    struct volume_waiter waiter;
    struct mutex lock;
    pthread_cond_t changed;
    unsigned told;
    int result;
};

static void on_synced(struct volume_waiter *waiter, int result)
{
    struct later *later = (struct later *)waiter;

    mutex_lock(&later->lock);
    later->told++;
    later->result = result;
    (void)pthread_cond_signal(&later->changed);
    mutex_unlock(&later->lock);
}

static int sync_by_waiter(struct volume *volume)
{
    struct later later = { .waiter.done = on_synced,
                           .lock = MUTEX_INIT,
                           .changed = PTHREAD_COND_INITIALIZER };

    volume_sync_later(volume, &later.waiter);
    mutex_lock(&later.lock);
    while (later.told == 0)
        cond_wait(&later.changed, &later.lock);
    int r = later.told == 1 ? later.result : -EALREADY;
    mutex_unlock(&later.lock);
    return r;
}

static void *write_and_sync(void *arg)
{
    struct syncer *syncer = arg;
    struct volume *volume = syncer->f->c.volume;
    uint8_t *data = malloc(PIECE);

    for (unsigned i = 0; i < PIECES_EACH && data != NULL; i++) {
        const struct bytes piece = { .data = data, .len = PIECE };
        fill(data, syncer->ino, i);
        if (volume_write(volume, syncer->ino, (uint64_t)i * PIECE, piece) != 0 ||
            (syncer->is_later ? sync_by_waiter(volume) : volume_sync(volume, NULL)) != 0)
            syncer->failed++;
    }
    syncer->failed += data == NULL;
    free(data);
    return NULL;
}

static void sync_in_threads(struct faulty *f, unsigned faults)
{
    struct syncer syncers[SYNCERS];
    char name[16];

    fault_prefer_sealing(f->fault);
    for (unsigned i = 0; i < SYNCERS; i++) {
        (void)snprintf(name, sizeof(name), "file%u", i);
        syncers[i] =
            (struct syncer){ .f = f, .ino = volume_case_file(&f->c, name), .is_later = i % 2 == 0 };
    }
    for (unsigned i = 0; i < faults; i++)
        fault_arm(f->fault, FAULT_SYNC_LOSE, "segments/", 3 + 4 * i, 1, -EIO);
    for (unsigned i = 0; i < SYNCERS; i++)
        assert_int_equal(pthread_create(&syncers[i].thread, NULL, write_and_sync, &syncers[i]), 0);
    for (unsigned i = 0; i < SYNCERS; i++) {
        assert_int_equal(pthread_join(syncers[i].thread, NULL), 0);
        assert_int_equal(syncers[i].failed, 0);
    }
}

static void sync_in_threads_well(struct faulty *f)
{
    sync_in_threads(f, 0);
    assert_int_equal(f->c.events[VOLUME_EVENT_WRITE_LOST], 0);
}

static void sync_in_threads_with_losses(struct faulty *f)
{
    sync_in_threads(f, 3); /* fewer than the rounds of a sync */
    assert_true(f->c.events[VOLUME_EVENT_WRITE_LOST] > 0);
}

static void what_threads_store_ahead_is_durable(void **state)
{
    static crash_fn *const ways[] = { sync_in_threads_well, sync_in_threads_with_losses };
    char name[16];

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct faulty f;
        faulty_new(&f);
        crash_in(&f, ways[i]);
        for (unsigned k = 0; k < SYNCERS; k++) {
            (void)snprintf(name, sizeof(name), "file%u", k);
            expect_pieces(&f.c, name, PIECES_EACH);
        }
        assert_int_equal(volume_case_faults(&f.c, true), 0);
        faulty_end(&f);
    }
}

static void fail_every_sync(struct faulty *f)
{
    uint64_t ino = volume_case_file(&f->c, "file");

    assert_int_equal(write_piece(&f->c, ino, 0), 0);
    fault_arm(f->fault, FAULT_SYNC_LOSE, "segments/", 0, FAULT_ALWAYS, -EIO);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(volume_sync(f->c.volume, NULL), -EIO);
        assert_int_equal(sync_by_waiter(f->c.volume), -EIO);
    }
    expect_piece(&f->c, ino, 0);
    fault_disarm(f->fault);
    assert_int_equal(volume_sync(f->c.volume, NULL), 0);
    assert_int_equal(f->c.events[VOLUME_EVENT_ROOM_AGAIN], 1);
    expect_piece(&f->c, ino, 0);
}

static void a_sync_that_cannot_succeed_says_so_until_it_can(void **state)
{
    struct faulty f;

    (void)state;
    faulty_new(&f);
    crash_in(&f, fail_every_sync);
    expect_pieces(&f.c, "file", 1);
    faulty_end(&f);
}

static void fail_all(struct faulty *f)
{
    fault_arm(f->fault, FAULT_SYNC, "segments/", 0, FAULT_ALWAYS, -EAGAIN);
    fault_arm(f->fault, FAULT_SEAL, "segments/", 0, FAULT_ALWAYS, -EAGAIN);
    fault_arm(f->fault, FAULT_REMOVE, "segments/", 10, FAULT_ALWAYS, -EAGAIN);
}

/* As the kernel does of a folder: what a failed sync had is not in the file any more. */
static void lose_all(struct faulty *f)
{
    fault_arm(f->fault, FAULT_SYNC_LOSE, "segments/", 0, FAULT_ALWAYS, -EIO);
}

/* As a quota does where zeros take no room. */
static void fail_dense_ones(struct faulty *f)
{
    fault_arm(f->fault, FAULT_SYNC_DENSE, "segments/", 0, FAULT_ALWAYS, -ENOSPC);
}

/* As a quota that is nearly used up does. */
static void fail_large_ones(struct faulty *f)
{
    fault_arm(f->fault, FAULT_SYNC_LARGE, "segments/", 0, FAULT_ALWAYS, -ENOSPC);
}

/* More often than there are ids for other places. code: what is told besides -EIO. */
static void fail_often(struct faulty *f, crash_fn *arm, int code)
{
    uint64_t ino = volume_case_file(&f->c, "file");

    for (unsigned i = 0; i < PIECES - 1; i++)
        assert_int_equal(write_piece(&f->c, ino, i), 0);
    assert_int_equal(volume_sync(f->c.volume, NULL), 0);
    arm(f);
    assert_int_equal(write_piece(&f->c, ino, PIECES - 1), 0);
    for (unsigned i = 0; i < 60; i++) {
        int synced = volume_sync(f->c.volume, NULL);
        assert_true(synced == -EIO || synced == code);
        if (i % 20 != 0) /* it waits for the next attempt to announce ids */
            continue;
        int wrote = write_piece(&f->c, ino, 0);
        assert_true(wrote == -EIO || wrote == code);
    }
    for (unsigned i = 0; i < PIECES; i++)
        expect_piece(&f->c, ino, i);
    assert_int_equal(f->c.events[VOLUME_EVENT_CORRUPTION], 0);
    fault_disarm(f->fault);
    /* An attempt that was under way may still fail, and is the last one that does. */
    if (volume_sync(f->c.volume, NULL) != 0)
        assert_int_equal(volume_sync(f->c.volume, NULL), 0);
    for (unsigned i = 0; i < PIECES; i++)
        expect_piece(&f->c, ino, i);
    assert_int_equal(write_piece(&f->c, ino, 0), 0);
    assert_int_equal(volume_sync(f->c.volume, NULL), 0);
}

static void fail_for_long(struct faulty *f)
{
    fail_often(f, fail_all, -EIO);
}

static void fail_for_long_far_away(struct faulty *f)
{
    fault_prefer_sealing(f->fault);
    fail_for_long(f);
}

static void fail_large_for_long(struct faulty *f)
{
    fail_often(f, fail_large_ones, -ENOSPC);
}

static void fail_large_for_long_far_away(struct faulty *f)
{
    fault_prefer_sealing(f->fault);
    fail_large_for_long(f);
}

static void fail_dense_for_long(struct faulty *f)
{
    fail_often(f, fail_dense_ones, -ENOSPC);
}

static void fail_dense_for_long_far_away(struct faulty *f)
{
    fault_prefer_sealing(f->fault);
    fail_dense_for_long(f);
}

static void lose_for_long(struct faulty *f)
{
    fail_often(f, lose_all, -EIO);
}

static void a_store_may_fail_for_as_long_as_it_likes(void **state)
{
    static crash_fn *const ways[] = { fail_for_long,       fail_for_long_far_away,
                                      fail_large_for_long, fail_large_for_long_far_away,
                                      fail_dense_for_long, fail_dense_for_long_far_away,
                                      lose_for_long };

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct faulty f;
        faulty_new(&f);
        crash_in(&f, ways[i]);
        expect_pieces(&f.c, "file", PIECES);
        assert_int_equal(volume_case_faults(&f.c, true), 0);
        faulty_end(&f);
    }
}

static void fail_one_write(struct faulty *f)
{
    uint64_t ino = volume_case_file(&f->c, "file");

    assert_int_equal(write_piece(&f->c, ino, 0), 0);
    fault_arm(f->fault, FAULT_WRITE_TORN, "segments/", 0, 1, -EIO);
    assert_int_equal(write_piece(&f->c, ino, 1), -EIO);
    assert_int_equal(write_piece(&f->c, ino, 1), 0);
    /* Once would not be told: it is tried again when something could be deleted. */
    fault_arm(f->fault, FAULT_WRITE, "segments/", 0, FAULT_ALWAYS, -ENOSPC);
    assert_int_equal(write_piece(&f->c, ino, 2), -ENOSPC);
    fault_disarm(f->fault);
    assert_int_equal(write_piece(&f->c, ino, 2), 0);
    fault_arm(f->fault, FAULT_CREATE, "segments/", 0, 1, -ENOSPC);
    assert_int_equal(volume_sync(f->c.volume, NULL), 0);
}

static void a_write_that_fails_is_told_once_and_changes_nothing(void **state)
{
    struct faulty f;

    (void)state;
    faulty_new(&f);
    crash_in(&f, fail_one_write);
    expect_pieces(&f.c, "file", 3);
    faulty_end(&f);
}

static void an_altered_block_is_an_error_and_never_wrong_bytes(void **state)
{
    static uint8_t found[PIECE];
    struct faulty f;
    size_t len;

    (void)state;
    faulty_new(&f);
    volume_case_open(&f.c);
    uint64_t ino = volume_case_file(&f.c, "file");
    assert_int_equal(write_piece(&f.c, ino, 0), 0);
    fault_arm(f.fault, FAULT_READ_FLIP, "segments/", 0, FAULT_ALWAYS, 0);
    expect_piece(&f.c, ino, 0); /* it is still in memory */
    assert_int_equal(f.c.events[VOLUME_EVENT_CORRUPTION], 0);
    assert_int_equal(volume_sync(f.c.volume, NULL), 0);
    assert_int_equal(volume_read(f.c.volume, ino, 0, PIECE, found, &len), -EIO);
    assert_true(f.c.events[VOLUME_EVENT_CORRUPTION] > 0);
    fault_disarm(f.fault);
    expect_piece(&f.c, ino, 0);
    faulty_end(&f);
}

#define BIG_PIECES 800u /* 200 MiB */

/* --- a cache of copies on a local disk --- */

static void with_cache(struct faulty *f, int *ret_fd)
{
    struct cache_config config = { .max_bytes = 64 * CACHE_BLOCK, .prefix = "segments/" };
    struct cache_store *cache;

    assert_int_equal(cache_file_open(f->c.folder, &config.fd, NULL), 0);
    *ret_fd = config.fd;
    assert_int_equal(cache_store_new(f->c.store, &config, &f->c.store, &cache), 0);
}

static void damage(int fd)
{
    static const uint8_t zeros[4096];
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size > (off_t)(2 * PIECE));
    for (off_t at = 0; at < st.st_size; at += (off_t)sizeof(zeros))
        assert_int_equal(pwrite(fd, zeros, 100, at), 100);
}

static void a_damaged_copy_is_noticed_and_the_original_is_read(void **state)
{
    struct faulty f;
    int fd;

    (void)state;
    faulty_new(&f);
    with_cache(&f, &fd);
    volume_case_open(&f.c);
    uint64_t ino = volume_case_file(&f.c, "file");
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(write_piece(&f.c, ino, i), 0);
    volume_case_reopen(&f.c);
    expect_pieces(&f.c, "file", 4);
    damage(fd);
    expect_pieces(&f.c, "file", 4);
    assert_int_equal(f.c.events[VOLUME_EVENT_CORRUPTION], 0);
    expect_pieces(&f.c, "file", 4); /* again in the cache */

    /* The other way round: copies are good, and the store is not. */
    fault_arm(f.fault, FAULT_READ_FLIP, "segments/", 0, FAULT_ALWAYS, 0);
    expect_pieces(&f.c, "file", 4);
    assert_true(volume_case_faults(&f.c, true) > 0);
    fault_disarm(f.fault);
    assert_int_equal(volume_case_faults(&f.c, true), 0);
    faulty_end(&f);
}

static void overwrite_most(struct volume_case *c, uint64_t ino)
{
    for (unsigned i = 0; i < BIG_PIECES; i++)
        if (i % 4 != 0)
            assert_int_equal(write_piece(c, ino, i), 0);
}

static void compaction_gives_room_back_and_loses_nothing(void **state)
{
    struct segments_space space;
    struct volume_case c;

    (void)state;
    volume_case_new(&c, 0);
    keeper_stop(c.volume); /* it would do the same, but when it likes */
    uint64_t ino = volume_case_file(&c, "file");
    for (unsigned i = 0; i < BIG_PIECES; i++)
        assert_int_equal(write_piece(&c, ino, i), 0);
    overwrite_most(&c, ino);
    assert_int_equal(volume_sync(c.volume, NULL), 0);
    segments_space(c.volume->segments, &space);
    uint64_t before = space.stored - space.live;
    assert_true(before > (uint64_t)100 << 20);

    while (volume_compact(c.volume, NULL) > 0) {
        assert_int_equal(commit_group(c.volume, NULL), 0);
        (void)segments_delete_dead(c.volume->segments);
    }
    segments_space(c.volume->segments, &space);
    assert_true(space.stored - space.live < before / 2);
    volume_case_check(&c);
    expect_pieces(&c, "file", BIG_PIECES);
    volume_case_reopen(&c);
    volume_case_check(&c);
    expect_pieces(&c, "file", BIG_PIECES);
    assert_int_equal(volume_unlink(c.volume, VOLUME_ROOT, "file"), 0);
    volume_forget(c.volume, ino, 2);
    volume_case_reopen(&c);
    volume_case_check(&c);
    volume_case_end(&c);
}

/* --- a sync that fails between the copies of a compaction and their move --- */

struct moving {
    struct segments *segments;
    struct segment_copy copies[64];
    size_t copied;
};

static int copy_survivors(uint64_t ino, uint32_t chunk, const struct run_list *blocks, void *arg)
{
    struct moving *moving = arg;
    const struct segment_origin origin = { .ino = ino, .offset = (uint64_t)chunk * CHUNK_SIZE };

    for (size_t i = 0; i < blocks->count; i++) {
        struct block_run run = blocks->items[i], part;
        bool is_victim;
        while (run.count > 0) {
            assert_int_equal(segments_in_victim(moving->segments, &run, &part, &is_victim), 0);
            if (is_victim)
                assert_int_equal(segments_copy(moving->segments, &part, &origin,
                                               &moving->copies[moving->copied++], NULL),
                                 0);
        }
    }
    return 0;
}

static int find_survivors(struct volume_txn *txn, void *arg)
{
    return live_blocks_scan(txn->meta, copy_survivors, arg, NULL);
}

static int move_survivors(struct volume_txn *txn, void *arg)
{
    struct moving *moving = arg;

    (void)txn;
    return segments_moved(moving->segments, moving->copies, moving->copied);
}

static void move_all(struct volume_case *c, unsigned victims)
{
    const struct segment_choice choice = { .max = 16, .live_max_8 = 8, .budget = UINT64_MAX };
    struct moving moving = { .segments = c->volume->segments };

    maintenance_begin(&c->volume->maintenance);
    assert_int_equal(segments_choose_victims(moving.segments, &choice), victims);
    assert_int_equal(volume_view(c->volume, find_survivors, &moving), 0);
    assert_int_equal(volume_change(c->volume, META_FREE, move_survivors, &moving), 0);
    for (size_t i = 0; i < moving.copied; i++)
        segments_uncopy(moving.segments, &moving.copies[i]);
    segments_end_victims(moving.segments);
    maintenance_end(&c->volume->maintenance);
}

/* As the keeper does of what a writer's own sync rescued, before the group is written. */
static void move_what_was_rescued(struct faulty *f)
{
    struct segments *segments = f->c.volume->segments;

    keeper_stop(f->c.volume);
    uint64_t ino = volume_case_file(&f->c, "file");
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(write_piece(&f->c, ino, i), 0);
    fault_arm(f->fault, FAULT_SYNC_LOSE, "segments/", 0, 1, -EIO);
    assert_int_equal(segments_sync(segments, NULL), 0);
    assert_int_equal(f->c.events[VOLUME_EVENT_WRITE_LOST], 1);
    assert_int_equal(volume_recount(f->c.volume, NULL), 0);
    segments_end_current(segments);
    assert_int_equal(segments_sync(segments, NULL), 0);
    move_all(&f->c, 1);
    assert_int_equal(commit_group(f->c.volume, NULL), 0);
    assert_true(segments_delete_dead(segments));
}

static void what_was_moved_after_it_was_rescued_is_where_it_was_moved_to(void **state)
{
    struct faulty f;

    (void)state;
    faulty_new(&f);
    crash_in(&f, move_what_was_rescued);
    expect_pieces(&f.c, "file", 4);
    faulty_end(&f);
}

static void what_was_rescued_while_it_was_moved_is_where_it_was_rescued_to(void **state)
{
    const struct segment_choice choice = { .max = 1, .live_max_8 = 8, .budget = UINT64_MAX };
    struct faulty f;

    (void)state;
    faulty_new(&f);
    volume_case_open(&f.c);
    struct moving moving = { .segments = f.c.volume->segments };
    uint64_t ino = volume_case_file(&f.c, "file");
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(write_piece(&f.c, ino, i), 0);
    segments_end_current(moving.segments);
    assert_int_equal(volume_sync(f.c.volume, NULL), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(write_piece(&f.c, ino, i), 0);
    assert_int_equal(volume_sync(f.c.volume, NULL), 0);

    maintenance_begin(&f.c.volume->maintenance);
    assert_int_equal(segments_choose_victims(moving.segments, &choice), 1);
    assert_int_equal(volume_view(f.c.volume, find_survivors, &moving), 0);
    assert_true(moving.copied > 0);
    fault_arm(f.fault, FAULT_SYNC_LOSE, "segments/", 0, 1, -EIO);
    assert_int_equal(segments_sync(moving.segments, NULL), 0);
    assert_int_equal(f.c.events[VOLUME_EVENT_WRITE_LOST], 1);
    assert_int_equal(volume_change(f.c.volume, META_FREE, move_survivors, &moving), 0);
    for (size_t i = 0; i < moving.copied; i++)
        segments_uncopy(moving.segments, &moving.copies[i]);
    segments_end_victims(moving.segments);
    maintenance_end(&f.c.volume->maintenance);
    fault_disarm(f.fault);

    for (unsigned round = 0; round < 2; round++) {
        expect_pieces(&f.c, "file", 4);
        assert_int_equal(volume_sync(f.c.volume, NULL), 0);
        volume_case_check(&f.c);
        volume_case_reopen(&f.c);
    }
    faulty_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_rescued_while_it_was_moved_is_where_it_was_rescued_to),
        cmocka_unit_test(what_was_moved_after_it_was_rescued_is_where_it_was_moved_to),
        cmocka_unit_test(what_a_failed_sync_lost_is_written_again),
        cmocka_unit_test(what_was_rescued_may_be_lost_and_rescued_again),
        cmocka_unit_test(what_threads_store_ahead_is_durable),
        cmocka_unit_test(a_sync_that_cannot_succeed_says_so_until_it_can),
        cmocka_unit_test(a_store_may_fail_for_as_long_as_it_likes),
        cmocka_unit_test(a_write_that_fails_is_told_once_and_changes_nothing),
        cmocka_unit_test(an_altered_block_is_an_error_and_never_wrong_bytes),
        cmocka_unit_test(a_damaged_copy_is_noticed_and_the_original_is_read),
        cmocka_unit_test(compaction_gives_room_back_and_loses_nothing),
    };

    return cmocka_run_group_tests_name("volume_store", tests, NULL, NULL);
}
