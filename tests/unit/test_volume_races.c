/* What happens between the steps of an operation on a file, or of a check: a layer of the store
 * makes another change there, at a chosen call of the first one. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/commit.h"
#include "fs/extents.h"
#include "fs/segments_internal.h"
#include "fs/volume_internal.h"
#include "store/layers/fault.h"
#include "store/layers/layer.h"
#include "tests/support/file_case.h"

#define BLOCK_SIZE 4096u

typedef void interruption_fn(struct volume_case *c, uint64_t ino);

/* Calls fn once, in front of the operation of that kind on a segment after skip others. */
struct interrupting_store {
    struct layer base;
    struct volume_case *c;
    uint64_t ino;
    interruption_fn *fn;
    enum store_op op;
    unsigned skip;
};

static int interrupt(struct layer *layer, struct store_call *call, struct error *err)
{
    struct interrupting_store *store = (struct interrupting_store *)layer;

    if (store->fn != NULL && call->op == store->op &&
        strncmp(call->name, SEGMENT_PREFIX, strlen(SEGMENT_PREFIX)) == 0 && store->skip-- == 0) {
        interruption_fn *fn = TAKE(store->fn);
        fn(store->c, store->ino);
    }
    return store_call_perform(call, err);
}

static void release_store(struct layer *layer)
{
    free(layer);
}

static const struct layer_kind interrupting_kind = {
    .around = interrupt,
    .release = release_store,
};

struct race {
    struct volume_case c;
    struct interrupting_store *store;
    struct fault_store *fault;
    uint64_t ino;
    bool has_room; /* of ask_for_room() */
    int recounted;
};

static int setup(void **state)
{
    struct race *race = calloc(1, sizeof(*race));
    struct interrupting_store *store = calloc(1, sizeof(*store));
    struct object_store *inner = NULL;

    assert_non_null(race);
    assert_non_null(store);
    assert_int_equal(object_store_open("memory:", &inner, NULL), 0);
    assert_int_equal(fault_store_new(inner, &inner, &race->fault), 0);
    layer_init(&store->base, &interrupting_kind, inner);
    race->store = store;
    volume_case_new_on(&race->c, BLOCK_SIZE, &store->base.base);
    race->ino = volume_case_file(&race->c, "f");
    /* The segment is there from now on: its making is none of the calls. */
    uint64_t other = volume_case_file(&race->c, "other");
    CLEANUP(free_ptr) uint8_t *zeros = calloc(1, 10000);
    file_case_write(&race->c, other, 0, zeros, 10000);
    *state = race;
    return 0;
}

static int teardown(void **state)
{
    struct race *race = *state;

    assert_null(race->store->fn); /* it did come to that */
    fault_disarm(race->fault);
    volume_case_check(&race->c);
    volume_case_reopen(&race->c);
    volume_case_end(&race->c);
    free(race);
    return 0;
}

static void arm(struct race *race, enum store_op op, unsigned skip, interruption_fn *fn)
{
    race->store->c = &race->c;
    race->store->ino = race->ino;
    race->store->op = op;
    race->store->skip = skip;
    race->store->fn = fn;
}

static void change_the_body(struct volume_case *c, uint64_t ino)
{
    file_case_write(c, ino, 7, "x", 1);
}

static void shorten_the_body(struct volume_case *c, uint64_t ino)
{
    file_case_truncate(c, ino, 8);
}

static void make_blocks(struct volume_case *c, uint64_t ino)
{
    file_case_write(c, ino, 0, "0123456789", 10);
    file_case_write(c, ino, 5000, "y", 1);
}

static void a_body_that_changes_while_it_becomes_blocks_is_not_lost(void **state)
{
    struct race *race = *state;

    file_case_write(&race->c, race->ino, 0, "abcdefghijkl", 12);
    arm(race, STORE_WRITE, 1, change_the_body);
    file_case_write(&race->c, race->ino, 3000, "behind", 6);
    file_case_expect(&race->c, race->ino, 0, "abcdefgxijkl", 12);
    file_case_expect(&race->c, race->ino, 2999, "\0behind", 7);
}

static void a_body_that_gets_shorter_meanwhile_is_that_short(void **state)
{
    struct race *race = *state;

    file_case_write(&race->c, race->ino, 0, "abcdefghijkl", 12);
    arm(race, STORE_WRITE, 1, shorten_the_body);
    file_case_write(&race->c, race->ino, 3000, "behind", 6);
    file_case_expect(&race->c, race->ino, 0, "abcdefgh\0\0\0\0", 12);
    file_case_expect(&race->c, race->ino, 3000, "behind", 6);
}

static void a_body_that_another_one_makes_blocks_of_is_not_put_over_them(void **state)
{
    struct race *race = *state;

    file_case_write(&race->c, race->ino, 0, "abcdefghijkl", 12);
    arm(race, STORE_WRITE, 1, make_blocks);
    file_case_write(&race->c, race->ino, 3000, "behind", 6);
    file_case_expect(&race->c, race->ino, 0, "0123456789kl", 12);
    file_case_expect(&race->c, race->ino, 3000, "behind", 6);
    file_case_expect(&race->c, race->ino, 5000, "y", 1);
}

/* Single bytes with gaps between: byte i * 2 is i | 1. */
static void fill_list(struct race *race)
{
    for (unsigned i = 0; i < EXTENTS_MAX; i++) {
        uint8_t value = (uint8_t)(i | 1);
        file_case_write(&race->c, race->ino, 4096 + i * 2, &value, 1);
    }
    assert_int_equal(volume_sync(race->c.volume, NULL), 0); /* so that it is read from the store */
}

static void expect_list_but(struct race *race, unsigned changed, uint8_t value)
{
    for (unsigned i = 0; i < EXTENTS_MAX; i++) {
        uint8_t expected = i == changed ? value : (uint8_t)(i | 1);
        file_case_expect(&race->c, race->ino, 4096 + i * 2, &expected, 1);
    }
}

static void change_one(struct volume_case *c, uint64_t ino)
{
    file_case_write(c, ino, 4096 + 2000, "\xfe", 1);
}

static void cut_half(struct volume_case *c, uint64_t ino)
{
    file_case_truncate(c, ino, 4096 + 1000);
}

/* The list is as long as before, and another one. */
static void what_changes_while_a_chunk_is_rewritten_is_not_lost(void **state)
{
    struct race *race = *state;

    fill_list(race);
    arm(race, STORE_READ, 100, change_one);
    file_case_write(&race->c, race->ino, 0, "front", 5);
    file_case_expect(&race->c, race->ino, 0, "front\0", 6);
    expect_list_but(race, 1000, 0xfe);
}

static void what_is_cut_off_while_a_chunk_is_rewritten_does_not_come_back(void **state)
{
    struct race *race = *state;

    fill_list(race);
    arm(race, STORE_READ, 100, cut_half);
    file_case_write(&race->c, race->ino, 0, "front", 5);
    file_case_expect(&race->c, race->ino, 0, "front\0", 6);
    assert_int_equal(file_case_attr(&race->c, race->ino).size, 5096);
    file_case_truncate(&race->c, race->ino, 10000);
    file_case_expect_zeros(&race->c, race->ino, 5096, 4904);
}

/* A hole in a full list is first written as zeros, which must not make a file longer that was cut
 * off meanwhile. */
static void a_hole_does_not_make_a_file_longer(void **state)
{
    struct race *race = *state;
    static uint8_t data[3000];

    memset(data, 0xaa, sizeof(data));
    file_case_write(&race->c, race->ino, 9000, data, sizeof(data));
    for (unsigned i = 0; i < EXTENTS_MAX - 1; i++)
        file_case_write(&race->c, race->ino, 4096 + i * 2, "z", 1);
    arm(race, STORE_WRITE, 0, cut_half);
    assert_int_equal(volume_fallocate(race->c.volume, race->ino,
                                      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10000, 100),
                     0);
    assert_int_equal(file_case_attr(&race->c, race->ino).size, 5096);
}

/* A block that is gone when it is read has moved, as a rule: the next look finds it. */
static void a_read_looks_again_for_what_is_gone(void **state)
{
    struct race *race = *state;
    CLEANUP(free_ptr) uint8_t *data = malloc(100000);
    size_t got;

    memset(data, 0x5a, 100000);
    file_case_write(&race->c, race->ino, 0, data, 100000);
    assert_int_equal(volume_sync(race->c.volume, NULL), 0); /* else memory has it */
    fault_arm(race->fault, FAULT_READ, "", 0, 3, -ENOENT);
    file_case_expect(&race->c, race->ino, 0, data, 100000);
    assert_int_equal(race->c.events[VOLUME_EVENT_CORRUPTION], 0);

    fault_arm(race->fault, FAULT_READ, "", 0, FAULT_ALWAYS, -ENOENT);
    assert_int_equal(volume_read(race->c.volume, race->ino, 0, 100, data, &got), -EIO);
    assert_int_equal(race->c.events[VOLUME_EVENT_CORRUPTION], 1);
    fault_disarm(race->fault);
    file_case_expect(&race->c, race->ino, 0, data, 100000);
}

/* As a write that rewrites a chunk does; and what it cannot read it does not replace. */
static void a_rewrite_looks_again_for_what_is_gone(void **state)
{
    struct race *race = *state;

    fill_list(race);
    fault_arm(race->fault, FAULT_READ, "", 500, 3, -ENOENT);
    file_case_write(&race->c, race->ino, 0, "front", 5);
    expect_list_but(race, EXTENTS_MAX, 0);
}

static void a_rewrite_that_cannot_read_all_changes_nothing(void **state)
{
    struct race *race = *state;
    struct bytes front = { (const uint8_t *)"front", 5 };

    fill_list(race);
    for (unsigned i = 0; i < 2; i++) {
        fault_arm(race->fault, FAULT_READ, "", 500, FAULT_ALWAYS, i == 0 ? -EIO : -ENOENT);
        assert_int_equal(volume_write(race->c.volume, race->ino, 0, front), -EIO);
        fault_disarm(race->fault);
        file_case_expect_zeros(&race->c, race->ino, 0, 4096);
        expect_list_but(race, EXTENTS_MAX, 0);
    }
}

/* --- during a check --- */

#define SIZE ((size_t)3 * CHUNK_SIZE)

static void write_all(struct volume_case *c, uint64_t ino)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(SIZE);

    memset(data, 0x3c, SIZE);
    file_case_write(c, ino, 0, data, SIZE);
}

static void expect_all(struct volume_case *c, uint64_t ino)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(SIZE);

    memset(data, 0x3c, SIZE);
    file_case_expect(c, ino, 0, data, SIZE);
}

/* What was written is in segments that have ended. */
static void end_segment(struct volume_case *c)
{
    segments_end_current(c->volume->segments);
    assert_int_equal(commit_group(c->volume, NULL), 0);
}

static void remove_now(struct volume_case *c, const char *name, uint64_t ino)
{
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, name), 0);
    volume_forget(c->volume, ino, 1);
    reap_waiting(c->volume);
}

/* Deletes what is dead; returns how many segments are still known of which all is gone. */
static unsigned settle(struct volume_case *c)
{
    struct segments *segments = c->volume->segments;
    unsigned count = 0;

    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(commit_group(c->volume, NULL), 0);
        (void)segments_delete_dead(segments);
    }
    assert_int_equal(commit_group(c->volume, NULL), 0);
    mutex_lock(&segments->lock);
    for (size_t i = 0; i < segments->bucket_count; i++)
        for (const struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket)
            count += s->is_deleted && segment_is_to_forget(s);
    mutex_unlock(&segments->lock);
    return count;
}

static void remove_the_last(struct volume_case *c, uint64_t ino)
{
    remove_now(c, "last", ino);
    (void)settle(c);
}

/* The check finds it in the records of when it began. */
static void what_is_removed_during_a_check_is_no_fault(void **state)
{
    struct race *race = *state;

    write_all(&race->c, race->ino);
    end_segment(&race->c);
    uint64_t last = volume_case_file(&race->c, "last");
    write_all(&race->c, last);
    end_segment(&race->c);
    arm(race, STORE_READ, 0, remove_the_last);
    race->store->ino = last;
    volume_case_check(&race->c);
    assert_int_equal(settle(&race->c), 0);
}

/* Two files share segments, and the second one goes. */
static void waste_half(struct race *race)
{
    const size_t part = 256 * 1024;
    uint64_t waste = volume_case_file(&race->c, "waste");
    CLEANUP(free_ptr) uint8_t *data = malloc(part);

    memset(data, 0x3c, part);
    for (size_t at = 0; at < SIZE; at += part) {
        file_case_write(&race->c, race->ino, at, data, part);
        file_case_write(&race->c, waste, at, data, part);
    }
    end_segment(&race->c);
    remove_now(&race->c, "waste", waste);
    assert_int_equal(settle(&race->c), 0);
}

/* As a writer does who finds the disk full. */
static void ask_for_room(struct volume_case *c, uint64_t ino)
{
    struct race *race = (struct race *)c;

    (void)ino;
    race->has_room = keeper_make_room(c->volume);
    race->recounted = volume_recount(c->volume, NULL);
}

static void room_is_made_during_a_check(void **state)
{
    struct race *race = *state;

    for (unsigned skip = 0; skip < 3; skip++) { /* some of it was found already, or all */
        waste_half(race);
        arm(race, STORE_READ, 3 * skip, ask_for_room);
        volume_case_check(&race->c);
        assert_null(race->store->fn);
        assert_true(race->has_room);
        assert_int_equal(race->recounted, -EBUSY);
        expect_all(&race->c, race->ino);
        assert_int_equal(settle(&race->c), 0);
        volume_case_reopen(&race->c);
        volume_case_check(&race->c);
    }
    assert_int_equal(volume_recount(race->c.volume, NULL), 0);
}

/* The half of each part goes, and what is left of the object is moved away from there. */
static void overwrite_half_and_ask_for_room(struct volume_case *c, uint64_t ino)
{
    const size_t part = 256 * 1024;
    CLEANUP(free_ptr) uint8_t *data = malloc(part / 2);

    memset(data, 0x3c, part / 2);
    for (size_t at = 0; at < SIZE; at += part)
        file_case_write(c, ino, at, data, part / 2);
    assert_int_equal(commit_group(c->volume, NULL), 0);
    ask_for_room(c, ino);
    (void)settle(c);
}

/* The check finds runs as they were when it began. */
static void what_is_left_of_a_run_and_moved_is_no_fault(void **state)
{
    struct race *race = *state;

    waste_half(race);
    arm(race, STORE_READ, 0, overwrite_half_and_ask_for_room);
    volume_case_check(&race->c);
    assert_true(race->has_room);
    expect_all(&race->c, race->ino);
    assert_int_equal(settle(&race->c), 0);
}

/* Of where blocks are moved to. */
static void miscount(struct volume_case *c)
{
    struct segments *segments = c->volume->segments;

    mutex_lock(&segments->lock);
    segment_account(segments, segments->lanes[0].current, 100);
    mutex_unlock(&segments->lock);
}

static void a_check_finds_a_wrong_count_although_blocks_are_moved(void **state)
{
    struct race *race = *state;

    waste_half(race);
    write_all(&race->c, volume_case_file(&race->c, "more")); /* into the current segment */
    assert_int_equal(commit_group(race->c.volume, NULL), 0);
    miscount(&race->c);
    arm(race, STORE_READ, 0, ask_for_room);
    assert_int_equal(volume_case_faults(&race->c, true), 1);
    segments_distrust(race->c.volume->segments);
    assert_int_equal(volume_recount(race->c.volume, NULL), 0);
}

#define RACE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RACE(a_body_that_changes_while_it_becomes_blocks_is_not_lost),
        RACE(a_body_that_gets_shorter_meanwhile_is_that_short),
        RACE(a_body_that_another_one_makes_blocks_of_is_not_put_over_them),
        RACE(what_changes_while_a_chunk_is_rewritten_is_not_lost),
        RACE(what_is_cut_off_while_a_chunk_is_rewritten_does_not_come_back),
        RACE(a_hole_does_not_make_a_file_longer),
        RACE(a_read_looks_again_for_what_is_gone),
        RACE(a_rewrite_looks_again_for_what_is_gone),
        RACE(a_rewrite_that_cannot_read_all_changes_nothing),
        RACE(what_is_removed_during_a_check_is_no_fault),
        RACE(room_is_made_during_a_check),
        RACE(what_is_left_of_a_run_and_moved_is_no_fault),
        RACE(a_check_finds_a_wrong_count_although_blocks_are_moved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
