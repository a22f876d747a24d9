/* What every object store promises to threads (store/object_store.h). */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "tests/support/store_case.h"

#define BLOCK_LEN 4096u
#define THREADS 4u

static void start(pthread_t *thread, void *(*run)(void *), void *arg)
{
    assert_int_equal(pthread_create(thread, NULL, run, arg), 0);
}

/* Joins; the thread returns NULL if all went well, else what did not. */
static void finish(pthread_t thread)
{
    void *fault = NULL;

    assert_int_equal(pthread_join(thread, &fault), 0);
    if (fault != NULL)
        fail_msg("%s", (const char *)fault);
}

static void *fault(const char *text)
{
    return (void *)(uintptr_t)text;
}

struct replacer {
    struct object_store *store;
    atomic_bool *stop;
    unsigned seed;
};

/* Puts "AAA...", of changing lengths, in its place. */
static void *replace_often(void *arg)
{
    struct replacer *replacer = arg;
    uint8_t data[9000];

    for (unsigned i = 0; i < 150; i++) {
        memset(data, (int)('A' + (i + replacer->seed) % 26), sizeof(data));
        struct bytes bytes = { data, 1 + (i * 61 + replacer->seed) % sizeof(data) };
        data[0] = (uint8_t)(bytes.len & 0xff);
        if (object_store_replace(replacer->store, "ring", bytes, NULL) != 0)
            return fault("a replace failed");
    }
    return NULL;
}

/* Sees one of them whole at any time. */
static void *get_often(void *arg)
{
    struct replacer *replacer = arg;

    while (!atomic_load(replacer->stop)) {
        CLEANUP(buf_release) struct buf found = BUF_INIT;
        if (object_store_get(replacer->store, "ring", 10000, &found, NULL) != 0)
            return fault("the object was away during a replace");
        if (found.data[0] != (found.len & 0xff))
            return fault("an object of another length was read");
        for (size_t i = 2; i < found.len; i++)
            if (found.data[i] != found.data[1])
                return fault("a mixture of two objects was read");
    }
    return NULL;
}

static void replace_is_seen_whole_or_not_at_all(void **state)
{
    struct store_case *c = *state;
    atomic_bool stop = false;
    struct replacer replacers[4];
    pthread_t threads[4];

    assert_int_equal(object_store_replace(c->store, "ring", text("\1"), NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        replacers[i] = (struct replacer){ c->store, &stop, i };
        start(&threads[i], i < 2 ? replace_often : get_often, &replacers[i]);
    }
    finish(threads[0]);
    finish(threads[1]);
    atomic_store(&stop, true);
    finish(threads[2]);
    finish(threads[3]);
}

struct shared_segment {
    struct object_store *store;
    struct object_writer *writer;
    struct object *object;
    atomic_bool is_written[THREADS * 64];
    atomic_uint started;
};

/* Writes each THREADSth block, the last one first. */
static void *write_blocks(void *arg)
{
    struct shared_segment *segment = arg;
    unsigned first = atomic_fetch_add(&segment->started, 1);
    uint8_t data[BLOCK_LEN];

    for (unsigned i = 64; i-- > 0;) {
        unsigned block = i * THREADS + first;
        store_case_fill(data, BLOCK_LEN, block);
        if (object_writer_write(segment->writer, (uint64_t)block * BLOCK_LEN,
                                (struct bytes){ data, BLOCK_LEN }, NULL) != 0)
            return fault("a write failed");
        atomic_store(&segment->is_written[block], true);
    }
    return NULL;
}

static bool block_is_whole(struct shared_segment *segment, unsigned block)
{
    uint8_t found[BLOCK_LEN], expected[BLOCK_LEN];
    size_t len = 0;

    store_case_fill(expected, BLOCK_LEN, block);
    return object_read(segment->object, (uint64_t)block * BLOCK_LEN, BLOCK_LEN, found, &len,
                       NULL) == 0 &&
           len == BLOCK_LEN && memcmp(found, expected, BLOCK_LEN) == 0;
}

/* Until it has seen all blocks, each as it was written. */
static void *read_blocks(void *arg)
{
    struct shared_segment *segment = arg;
    unsigned seen;

    do {
        seen = 0;
        for (unsigned block = 0; block < THREADS * 64; block++) {
            if (!atomic_load(&segment->is_written[block]))
                continue;
            seen++;
            if (!block_is_whole(segment, block))
                return fault("a block that was written was not read");
        }
    } while (seen < THREADS * 64);
    return NULL;
}

static void many_threads_write_and_read_one_object(void **state)
{
    struct store_case *c = *state;
    struct shared_segment *segment = calloc(1, sizeof(*segment));
    pthread_t writers[THREADS];
    pthread_t readers[2];

    assert_non_null(segment);
    segment->store = c->store;
    segment->writer = store_case_create(c, "seg");
    segment->object = store_case_open_object(c, "seg");
    for (unsigned i = 0; i < THREADS; i++)
        start(&writers[i], write_blocks, segment);
    for (unsigned i = 0; i < 2; i++)
        start(&readers[i], read_blocks, segment);
    for (unsigned i = 0; i < 10; i++) /* one thread may sync while others write */
        assert_int_equal(object_writer_sync(segment->writer, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        finish(writers[i]);
    assert_int_equal(object_writer_seal(segment->writer, NULL), 0);
    object_writer_close(segment->writer);
    for (unsigned i = 0; i < 2; i++)
        finish(readers[i]);
    object_close(segment->object);
    store_case_expect_size(c, "seg", (uint64_t)THREADS * 64 * BLOCK_LEN);
    free(segment);
}

struct race {
    struct object_store *store;
    atomic_uint makers;
    atomic_uint winners[32];
};

/* Threads make the same objects: half of them with put, half of them with create. */
static void *make_objects(void *arg)
{
    struct race *race = arg;
    bool puts = atomic_fetch_add(&race->makers, 1) % 2 == 0;

    for (unsigned i = 0; i < 32; i++) {
        struct object_writer *writer = NULL;
        char name[16];
        (void)snprintf(name, sizeof(name), "r%u/x", i);
        int r = puts ? object_store_put(race->store, name, text("put"), NULL)
                     : object_store_create(race->store, name, &writer, NULL);
        if (r == 0 && writer != NULL)
            r = object_writer_sync(writer, NULL); /* some find only now that it is taken */
        if (r == 0)
            atomic_fetch_add(&race->winners[i], 1);
        else if (r != -EEXIST)
            return fault("neither made, nor -EEXIST");
        object_writer_close(writer);
    }
    return NULL;
}

static int count_one(const char *name, uint64_t size, void *arg)
{
    (void)name;
    (void)size;
    (*(unsigned *)arg)++;
    return 0;
}

static void of_many_makers_of_a_name_one_wins(void **state)
{
    struct store_case *c = *state;
    struct race race = { .store = c->store };
    unsigned count = 0;
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++)
        start(&threads[i], make_objects, &race);
    for (unsigned i = 0; i < THREADS; i++)
        finish(threads[i]);
    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(atomic_load(&race.winners[i]), 1);
    assert_int_equal(object_store_list(c->store, "r", count_one, &count, NULL), 0);
    assert_int_equal(count, 32);
}

#define EVERY(test)                                                                                \
    {                                                                                              \
#test, test, store_case_setup, store_case_teardown, NULL                                   \
    }

int main(int argc, char **argv)
{
    struct CMUnitTest tests[] = {
        EVERY(replace_is_seen_whole_or_not_at_all),
        EVERY(many_threads_write_and_read_one_object),
        EVERY(of_many_makers_of_a_name_one_wins),
    };
    size_t count = sizeof(tests) / sizeof(tests[0]);

    if (argc != 2)
        return 2;
    for (size_t i = 0; i < count; i++)
        tests[i].initial_state = argv[1];
    return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
