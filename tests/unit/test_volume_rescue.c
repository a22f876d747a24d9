/* A volume whose store fails while memory is short: what waits in memory stays there, once. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/chunk_scan.h"
#include "fs/segments_internal.h"
#include "fs/volume_internal.h"
#include "store/layers/fault.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/volume_case.h"

#define LEN ((size_t)64 * 1024)
#define PIECES 40u /* more than there is room for at first to note rescues */

/* Of what is asked for to note a rescue: how many requests pass, and how many fail then. */
static atomic_uint passing, failing;

/* The linker's names, of --wrap. */
void *real_reallocarray(void *old, size_t count, size_t size) __asm__("__real_reallocarray");
void *wrap_reallocarray(void *old, size_t count, size_t size) __asm__("__wrap_reallocarray");

void *wrap_reallocarray(void *old, size_t count, size_t size)
{
    if (size == sizeof(struct extra_record) && failing > 0) {
        if (passing == 0) {
            failing--;
            return NULL;
        }
        passing--;
    }
    return real_reallocarray(old, count, size);
}

static void fill(uint8_t *data, unsigned number)
{
    for (size_t i = 0; i < LEN; i++)
        data[i] = (uint8_t)(i * 31 + number * 7 + (i >> 8));
}

static void expect_pieces(struct volume_case *c, uint64_t ino)
{
    static uint8_t data[LEN], found[LEN];
    size_t len = 0;

    for (unsigned i = 0; i < PIECES; i++) {
        fill(data, i);
        assert_int_equal(volume_read(c->volume, ino, i * LEN, LEN, found, &len), 0);
        assert_int_equal(len, LEN);
        assert_memory_equal(found, data, LEN);
    }
}

/* A volume with a store that can be made to fail. */
static void begin_with_faults(struct volume_case *c, struct fault_store **ret)
{
    struct object_store *inner;

    volume_case_new(c, 0);
    volume_case_close(c);
    object_store_close(c->store);
    assert_int_equal(object_store_open(c->store_url, &inner, NULL), 0);
    assert_int_equal(fault_store_new(inner, &c->store, ret), 0);
    volume_case_open(c);
}

/* times: requests for memory that pass before one fails. */
static void run_out(unsigned times)
{
    static uint8_t data[LEN];
    struct segments_space space;
    struct fault_store *fault;
    struct volume_case c;

    begin_with_faults(&c, &fault);
    uint64_t ino = volume_case_file(&c, "file");
    assert_int_equal(volume_sync(c.volume, NULL), 0);
    passing = times;
    failing = 1;
    fault_arm(fault, FAULT_SYNC_LOSE, "segments/", 0, 1, -EIO);
    for (unsigned i = 0; i < PIECES; i++) {
        fill(data, i);
        /* The committer may be there before the last one: then it is refused once. */
        while (volume_write(c.volume, ino, i * LEN, (struct bytes){ .data = data, .len = LEN }))
            (void)volume_sync(c.volume, NULL);
    }
    (void)volume_sync(c.volume, NULL); /* fails, if the committer was not there before */
    /* It did run out; the later request comes only if so much is rescued at once. */
    assert_true(failing == 0 || times > 0);
    failing = 0;
    expect_pieces(&c, ino);
    assert_int_equal(volume_sync(c.volume, NULL), 0);
    segments_space(c.volume->segments, &space);
    assert_int_equal(space.not_durable, 0);
    expect_pieces(&c, ino);
    assert_int_equal(c.events[VOLUME_EVENT_CORRUPTION], 0);
    volume_case_reopen(&c);
    expect_pieces(&c, ino);
    volume_case_check(&c);
    volume_case_end(&c);
}

static void memory_that_runs_out_in_a_rescue_loses_nothing(void **state)
{
    (void)state;
    run_out(0);
    run_out(2);
}

/* Compaction copies what lies in a segment as it is, so what waits may be damaged, too. */
static void what_waits_and_is_damaged_is_an_error_at_once(void **state)
{
    static uint8_t data[LEN], found[LEN];
    struct fault_store *fault;
    struct volume_case c;
    size_t len = 0;

    (void)state;
    begin_with_faults(&c, &fault);
    uint64_t ino = volume_case_file(&c, "file");
    assert_int_equal(volume_sync(c.volume, NULL), 0);
    fault_arm(fault, FAULT_SYNC, "segments/", 0, FAULT_ALWAYS, -EIO);
    fault_arm(fault, FAULT_READ_FLIP, "segments/", 0, FAULT_ALWAYS, 0);
    fill(data, 0);
    assert_int_equal(volume_write(c.volume, ino, 0, (struct bytes){ .data = data, .len = LEN }), 0);
    struct segments *segments = c.volume->segments;
    mutex_lock(&segments->lock);
    segments->lanes[0].current->pieces->data[LEN / 2] ^= 1;
    mutex_unlock(&segments->lock);
    (void)alarm(60);
    assert_int_equal(volume_read(c.volume, ino, 0, LEN, found, &len), -EIO);
    (void)alarm(0);
    fault_disarm(fault);
    volume_case_end(&c);
}

static int count_chunk(uint64_t ino, uint32_t chunk, const struct run_list *blocks, void *arg)
{
    struct segments *segments = arg;
    const struct run_list none = RUN_LIST_INIT;

    (void)ino;
    (void)chunk;
    segments_account(segments, blocks, &none);
    segments_settled(segments);
    return 0;
}

/* As a recount does, while a sync fails. */
static int count_and_rescue(struct volume_txn *txn, void *arg)
{
    struct segments *segments = txn->volume->segments;

    segments_recount_begin(segments);
    fault_arm(arg, FAULT_SYNC_LOSE, "segments/", 0, 1, -EIO);
    assert_int_equal(segments_sync(segments, NULL), 0);
    assert_int_equal(live_blocks_scan(txn->meta, count_chunk, segments, &txn->err), 0);
    segments_recount_end(segments);
    return 0;
}

/* What was moved before it was counted was taken off, too. */
static void a_rescue_beside_a_recount_gives_nothing_up(void **state)
{
    static uint8_t data[LEN], found[LEN];
    struct fault_store *fault;
    struct volume_case c;
    size_t len = 0;

    (void)state;
    begin_with_faults(&c, &fault);
    fill(data, 0);
    const struct bytes all = { .data = data, .len = LEN };
    uint64_t durable = volume_case_file(&c, "durable");
    uint64_t waiting = volume_case_file(&c, "waiting");
    assert_int_equal(volume_write(c.volume, durable, 0, all), 0);
    assert_int_equal(volume_sync(c.volume, NULL), 0);
    assert_int_equal(volume_write(c.volume, waiting, 0, all), 0);
    assert_int_equal(volume_change(c.volume, META_RECLAIM, count_and_rescue, fault), 0);
    assert_int_equal(c.events[VOLUME_EVENT_WRITE_LOST], 1); /* it was rescued */
    volume_case_reopen(&c);
    volume_case_reopen(&c);
    assert_int_equal(volume_read(c.volume, durable, 0, LEN, found, &len), 0);
    assert_int_equal(len, LEN);
    assert_memory_equal(found, data, LEN);
    assert_int_equal(volume_read(c.volume, waiting, 0, LEN, found, &len), 0);
    assert_memory_equal(found, data, LEN);
    volume_case_check(&c);
    volume_case_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_runs_out_in_a_rescue_loses_nothing),
        cmocka_unit_test(what_waits_and_is_damaged_is_an_error_at_once),
        cmocka_unit_test(a_rescue_beside_a_recount_gives_nothing_up),
    };

    return cmocka_run_group_tests_name("volume_rescue", tests, NULL, NULL);
}
