/* Random operations on several files against a model in memory, with stops and starts in between;
 * and many threads on one file. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/support/file_case.h"

#define MIB ((uint64_t)1 << 20)
#define WINDOW (3 * MIB)

static uint64_t draw(uint64_t *random, uint64_t below)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (*random >> 24) % below;
}

/* All that happens to a file does so from base to base + WINDOW. In front of it there is a hole. */
struct model_file {
    uint64_t ino;
    uint64_t base;
    uint64_t size;
    uint8_t *window; /* zeros behind the size */
};

struct model {
    struct volume_case *c;
    uint64_t random;
    struct model_file files[5];
    uint8_t *scratch;
};

#define FILES (sizeof(((struct model *)NULL)->files) / sizeof(struct model_file))

/* Most are short, as most changes are; some are of more than a chunk. */
static uint64_t draw_len(struct model *model, uint64_t room)
{
    static const uint64_t limits[] = { 20, 300, 2100, 9000, 70000, MIB + MIB / 2 };
    uint64_t limit = limits[draw(&model->random, sizeof(limits) / sizeof(limits[0]))];

    return 1 + draw(&model->random, limit < room ? limit : room);
}

/* Often where something is already or begins. */
static uint64_t draw_offset(struct model *model, const struct model_file *file)
{
    uint64_t in_window = file->size > file->base ? file->size - file->base : 0;

    switch (draw(&model->random, 6)) {
    case 0:
        return in_window < WINDOW ? in_window : 0;
    case 1:
        return draw(&model->random, 3000);
    case 2: /* around a chunk's border */
        return MIB - 1500 + draw(&model->random, 3000);
    case 3:
        return draw(&model->random, WINDOW / 4096) * 4096;
    default:
        return draw(&model->random, in_window > 0 && in_window < WINDOW ? in_window : WINDOW);
    }
}

static void do_write(struct model *model, struct model_file *file)
{
    uint64_t offset = draw_offset(model, file);
    uint64_t len = draw_len(model, WINDOW - offset);
    uint8_t seed = (uint8_t)draw(&model->random, 255);

    for (uint64_t i = 0; i < len; i++)
        file->window[offset + i] = (uint8_t)(1 + (seed + i * 7 + i / 251) % 255);
    if (file->base + offset + len > file->size)
        file->size = file->base + offset + len;
    file_case_write(model->c, file->ino, file->base + offset, file->window + offset, len);
}

static void do_truncate(struct model *model, struct model_file *file)
{
    uint64_t size = file->base + draw_offset(model, file);

    if (draw(&model->random, 8) == 0)
        size = draw(&model->random, 3000);
    if (size < file->size) {
        uint64_t from = size > file->base ? size - file->base : 0;
        memset(file->window + from, 0, WINDOW - from);
    }
    file->size = size;
    file_case_truncate(model->c, file->ino, size);
}

static void do_hole(struct model *model, struct model_file *file)
{
    static const int modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
                                 FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
    int mode = modes[draw(&model->random, 3)];
    uint64_t offset = draw_offset(model, file);
    uint64_t len = draw_len(model, WINDOW - offset);

    memset(file->window + offset, 0, len);
    if (mode == FALLOC_FL_ZERO_RANGE && file->base + offset + len > file->size)
        file->size = file->base + offset + len;
    assert_int_equal(volume_fallocate(model->c->volume, file->ino, mode, file->base + offset, len),
                     0);
}

static void do_read(struct model *model, struct model_file *file)
{
    uint64_t offset = draw_offset(model, file);
    uint64_t len = draw_len(model, WINDOW - offset);
    uint64_t at = file->base + offset;
    size_t got;

    memset(model->scratch, 0xee, len);
    assert_int_equal(volume_read(model->c->volume, file->ino, at, len, model->scratch, &got), 0);
    assert_int_equal(got, at >= file->size ? 0 : file->size - at < len ? file->size - at : len);
    if (memcmp(model->scratch, file->window + offset, got) == 0)
        return;
    for (size_t i = 0; i < got; i++) {
        if (model->scratch[i] != file->window[offset + i])
            fail_msg("base %ju, byte %ju: %02x instead of %02x", (uintmax_t)file->base,
                     (uintmax_t)(offset + i), model->scratch[i], file->window[offset + i]);
    }
}

static void expect_zeros(const struct model_file *file, uint64_t from, uint64_t to)
{
    for (uint64_t i = from > file->base ? from : file->base; i < to; i++)
        assert_int_equal(file->window[i - file->base], 0);
}

/* Data and holes take turns up to the end, and there is nothing but zeros in the holes. (Zeros
 * may be data.) */
static void do_seek(struct model *model, struct model_file *file)
{
    uint64_t at = draw(&model->random, 4) == 0 ? 0 : file->base + draw_offset(model, file);
    uint64_t found;
    int r = 0;

    if (at >= file->size)
        assert_int_equal(volume_seek(model->c->volume, file->ino, at, SEEK_HOLE, &found), -ENXIO);
    while (at < file->size) {
        r = volume_seek(model->c->volume, file->ino, at, SEEK_DATA, &found);
        if (r == 0)
            assert_in_range(found, at, file->size - 1);
        else
            assert_int_equal(r, -ENXIO);
        uint64_t data = r == 0 ? found : file->size;
        expect_zeros(file, at, data);
        if (r < 0)
            break;
        assert_int_equal(volume_seek(model->c->volume, file->ino, data, SEEK_HOLE, &found), 0);
        assert_in_range(found, data + 1, file->size);
        at = found;
    }
    assert_int_equal(volume_seek(model->c->volume, file->ino, file->size, SEEK_DATA, &found),
                     -ENXIO);
}

static void expect_file(struct model *model, const struct model_file *file)
{
    uint64_t shown = file->size > file->base ? file->size - file->base : 0;
    struct volume_attr attr = file_case_attr(model->c, file->ino);

    assert_int_equal(attr.size, file->size);
    file_case_expect(model->c, file->ino, file->base, file->window, shown);
}

static void step(struct model *model)
{
    struct model_file *file = &model->files[draw(&model->random, FILES)];

    switch (draw(&model->random, 16)) {
    case 0:
        do_truncate(model, file);
        break;
    case 1:
    case 2:
        do_hole(model, file);
        break;
    case 3:
        do_seek(model, file);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        do_read(model, file);
        break;
    default:
        do_write(model, file);
    }
}

static void run_model(struct volume_case *c, uint64_t seed, unsigned rounds, unsigned steps)
{
    static const uint64_t bases[FILES] = { 0, 0, 4096 * MIB - MIB, 7654321 * MIB + 12345, 0 };
    struct model model = { .c = c, .random = seed, .scratch = malloc(WINDOW) };
    char name[32];

    for (size_t i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof(name), "file-%ju-%zu", (uintmax_t)seed, i);
        model.files[i] = (struct model_file){ .ino = volume_case_file(c, name),
                                              .base = bases[i],
                                              .window = calloc(1, WINDOW) };
        assert_non_null(model.files[i].window);
    }
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < steps; i++)
            step(&model);
        if (round % 3 == 1)
            volume_case_reopen(c);
        for (size_t i = 0; i < FILES; i++)
            expect_file(&model, &model.files[i]);
    }
    for (size_t i = 0; i < FILES; i++)
        free(model.files[i].window);
    free(model.scratch);
}

static void files_are_what_the_model_says(void **state)
{
    run_model(*state, 1, 9, 400);
    run_model(*state, 2, 4, 400);
}

/* Slots of which each belongs to one writer, who fills it with one byte's value at a time, or
 * makes a hole of it. No slot is ever seen in between. */
#define SLOT_LEN ((size_t)50000)
#define SLOTS 64u
#define WRITERS 4u
#define READERS 3u
#define TURNS 300u

struct shared {
    struct volume_case *c;
    uint64_t ino;
    atomic_uint writers_left;
    atomic_uint faults;
    atomic_uint reads;
    uint8_t last[SLOTS]; /* each written by its writer only */
};

struct thread {
    pthread_t id;
    unsigned number;
    struct shared *shared;
};

static int write_slot(struct shared *shared, unsigned slot, uint8_t value, uint8_t *buffer)
{
    uint64_t offset = slot * SLOT_LEN;

    if (value == 0)
        return volume_fallocate(shared->c->volume, shared->ino,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, SLOT_LEN);
    memset(buffer, value, SLOT_LEN);
    return volume_write(shared->c->volume, shared->ino, offset, (struct bytes){ buffer, SLOT_LEN });
}

static void *writer(void *arg)
{
    struct thread *thread = arg;
    struct shared *shared = thread->shared;
    uint64_t random = thread->number + 77;
    uint8_t *buffer = malloc(SLOT_LEN);

    for (unsigned i = 0; i < TURNS && buffer != NULL; i++) {
        unsigned slot = (unsigned)draw(&random, SLOTS / WRITERS) * WRITERS + thread->number;
        uint8_t value = (uint8_t)draw(&random, 6) == 0 ? 0 : (uint8_t)(1 + draw(&random, 255));
        if (write_slot(shared, slot, value, buffer) < 0)
            atomic_fetch_add(&shared->faults, 1);
        else
            shared->last[slot] = value;
    }
    free(buffer);
    atomic_fetch_sub(&shared->writers_left, 1);
    return NULL;
}

static bool is_of_one_value(const uint8_t *buffer, size_t len)
{
    return len == 0 || memcmp(buffer, buffer + 1, len - 1) == 0;
}

static void *reader(void *arg)
{
    struct thread *thread = arg;
    struct shared *shared = thread->shared;
    uint64_t random = thread->number + 99;
    uint8_t *buffer = malloc(SLOT_LEN);
    size_t got;

    while (buffer != NULL && atomic_load(&shared->writers_left) > 0) {
        uint64_t offset = draw(&random, SLOTS) * SLOT_LEN;
        int r = volume_read(shared->c->volume, shared->ino, offset, SLOT_LEN, buffer, &got);
        if (r < 0 || got != SLOT_LEN || !is_of_one_value(buffer, got))
            atomic_fetch_add(&shared->faults, 1);
        atomic_fetch_add(&shared->reads, 1);
    }
    free(buffer);
    return NULL;
}

static void run_threads(struct thread *threads, unsigned count, struct shared *shared,
                        void *(*const functions[])(void *))
{
    for (unsigned i = 0; i < count; i++) {
        threads[i] = (struct thread){ .number = i, .shared = shared };
        assert_int_equal(pthread_create(&threads[i].id, NULL, functions[i], &threads[i]), 0);
    }
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_join(threads[i].id, NULL), 0);
    assert_int_equal(atomic_load(&shared->faults), 0);
}

static void threads_never_see_half_of_a_write(void **state)
{
    static void *(*const functions[WRITERS + READERS])(void *) = { writer, writer, writer, writer,
                                                                   reader, reader, reader };
    struct shared shared = { .c = *state, .ino = volume_case_file(*state, "shared") };
    struct thread threads[WRITERS + READERS];
    CLEANUP(free_ptr) uint8_t *expected = malloc(SLOT_LEN);

    assert_non_null(expected);
    atomic_init(&shared.writers_left, WRITERS);
    file_case_truncate(shared.c, shared.ino, SLOTS * SLOT_LEN);
    run_threads(threads, WRITERS + READERS, &shared, functions);
    assert_true(atomic_load(&shared.reads) > 0);
    volume_case_reopen(shared.c);
    for (unsigned i = 0; i < SLOTS; i++) {
        memset(expected, shared.last[i], SLOT_LEN);
        file_case_expect(shared.c, shared.ino, i * SLOT_LEN, expected, SLOT_LEN);
    }
}

/* Tiny changes of threads in one chunk that takes long to rewrite: while one does so, others
 * change its list or rewrite it, too. */
#define SCRIBBLES 1500u

static void *scribbler(void *arg)
{
    struct thread *thread = arg;
    struct shared *shared = thread->shared;

    for (unsigned i = 0; i < SCRIBBLES; i++) {
        uint8_t value = (uint8_t)(1 + i % 255);
        uint64_t offset = (uint64_t)(i * WRITERS + thread->number) * 2;
        if (volume_write(shared->c->volume, shared->ino, offset, (struct bytes){ &value, 1 }) < 0)
            atomic_fetch_add(&shared->faults, 1);
    }
    return NULL;
}

static void threads_share_a_chunk_whose_list_is_full(void **state)
{
    static void *(*const functions[WRITERS])(void *) = { scribbler, scribbler, scribbler,
                                                         scribbler };
    struct shared shared = { .c = *state, .ino = volume_case_file(*state, "full") };
    CLEANUP(free_ptr) uint8_t *expected = malloc(MIB);
    struct thread threads[WRITERS];

    assert_non_null(expected);
    memset(expected, 0xaa, MIB);
    file_case_write(shared.c, shared.ino, 0, expected, MIB);
    run_threads(threads, WRITERS, &shared, functions);
    for (unsigned i = 0; i < SCRIBBLES * WRITERS; i++)
        expected[i * 2] = (uint8_t)(1 + i / WRITERS % 255);
    file_case_expect(shared.c, shared.ino, 0, expected, MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_CASE_TEST(files_are_what_the_model_says, "memory"),
        FILE_CASE_TEST(files_are_what_the_model_says, "dir"),
        FILE_CASE_TEST(threads_never_see_half_of_a_write, "memory"),
        FILE_CASE_TEST(threads_never_see_half_of_a_write, "dir"),
        FILE_CASE_TEST(threads_share_a_chunk_whose_list_is_full, "memory"),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
