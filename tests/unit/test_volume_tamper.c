/* What lies in the store was altered, shortened, exchanged or removed: reading gives what was
 * written or an error, other files do not suffer, and a check finds it. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "fs/segment_format.h"
#include "tests/support/tamper_case.h"

#define OBJECTS_MAX 8u
#define SAMPLES 1500u /* flips of one kind, unless all are tried */

/* To whom a byte of an object belongs: an inode, or one of these. */
#define NOBODY 0u
#define HELD VOLUME_SNAPSHOTS /* by the snapshot alone: nothing reads it but a check */
#define FRAME VOLUME_ROOT     /* header, footer and tail; the root has no blocks */

struct object_map {
    char name[SEGMENT_NAME_SIZE];
    char path[TAMPER_PATH_MAX];
    struct buf bytes;
    uint64_t *owner; /* of each byte */
};

struct store_map {
    struct tamper_case tamper;
    struct object_map objects[OBJECTS_MAX];
    unsigned count;
};

static int note_object(const char *name, uint64_t size, void *arg)
{
    struct store_map *map = arg;
    struct object_map *object = &map->objects[map->count++];

    assert_true(map->count <= OBJECTS_MAX && size > 0);
    (void)snprintf(object->name, sizeof(object->name), "%s", name);
    tamper_object_path(&map->tamper, name, object->path);
    assert_int_equal(file_read(object->path, 1 << 20, &object->bytes, NULL), 0);
    assert_int_equal(object->bytes.len, size);
    return 0;
}

/* A later block of the same place in the same file takes the earlier one's, which the snapshot in
 * between holds. */
static void own(struct object_map *object, const struct segment_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t step = entries[i].block_len + BLOCK_OVERHEAD;
        for (uint32_t k = 0; k < i; k++)
            if (entries[k].ino == entries[i].ino &&
                entries[k].file_offset < entries[i].file_offset &&
                entries[k].file_offset + (uint64_t)entries[k].count * entries[k].block_len >
                    entries[i].file_offset) {
                size_t block = (size_t)(entries[i].file_offset - entries[k].file_offset) /
                               entries[k].block_len;
                uint64_t *first = &object->owner[entries[k].offset + block * step];
                for (size_t b = 0; b < step; b++)
                    first[b] = HELD;
            }
        for (size_t b = 0; b < entries[i].count * step; b++)
            object->owner[entries[i].offset + b] = entries[i].ino;
    }
}

/* As the footer says. */
static void map_object(struct store_map *map, struct object_map *object)
{
    CLEANUP(free_ptr) struct segment_entry *entries = NULL;
    struct block_identity segment = { .fs = map->tamper.volume.uuid, .generation = 1 };
    struct segment_tail tail;
    struct aead *aead = NULL;
    uint32_t count = 0;
    size_t end = object->bytes.len - SEGMENT_TAIL_LEN;
    const struct bytes tail_bytes = { .data = object->bytes.data + end, .len = SEGMENT_TAIL_LEN };

    assert_int_equal(segment_of_object_name(object->name, &segment.segment), 0);
    assert_int_equal(segment_aead_new(&map->tamper.volume.keys, 1, &segment.segment, &aead), 0);
    assert_int_equal(segment_tail_decode(tail_bytes, &tail), 0);
    assert_int_equal(segment_footer_decode(
                         aead, &segment,
                         (struct bytes){ object->bytes.data + tail.footer_offset, tail.footer_len },
                         tail_bytes, &entries, &count),
                     0);
    aead_free(aead);
    object->owner = calloc(object->bytes.len, sizeof(*object->owner));
    assert_non_null(object->owner);
    for (size_t i = 0; i < object->bytes.len; i++)
        object->owner[i] = i < SEGMENT_HEADER_LEN || i >= tail.footer_offset ? FRAME : NOBODY;
    own(object, entries, count);
}

static int setup(void **state)
{
    struct store_map *map = calloc(1, sizeof(*map));

    assert_non_null(map);
    tamper_case_new(&map->tamper);
    assert_int_equal(
        object_store_list(map->tamper.volume.store, SEGMENT_PREFIX, note_object, map, NULL), 0);
    assert_true(map->count >= 3);
    for (unsigned i = 0; i < map->count; i++)
        map_object(map, &map->objects[i]);
    tamper_reopen(&map->tamper);
    assert_int_equal(tamper_faults(&map->tamper, true), 0);
    *state = map;
    return 0;
}

static int teardown(void **state)
{
    struct store_map *map = *state;

    for (unsigned i = 0; i < map->count; i++) {
        buf_release(&map->objects[i].bytes);
        free(map->objects[i].owner);
    }
    tamper_case_end(&map->tamper);
    free(map);
    return 0;
}

static bool holds_any_of(const struct object_map *object, uint64_t ino)
{
    for (size_t i = 0; i < object->bytes.len; i++)
        if (object->owner[i] == ino)
            return true;
    return false;
}

/* Files whose inode is damaged are refused, others are not. */
static void assert_reads(struct store_map *map, const uint64_t *damaged, unsigned count)
{
    for (unsigned i = 0; i < TAMPER_FILES; i++) {
        const struct tamper_file *file = &map->tamper.files[i];
        int wanted = 0;
        for (unsigned k = 0; k < count; k++)
            if (damaged[k] == file->ino)
                wanted = -EIO;
        assert_int_equal(tamper_read(&map->tamper, file), wanted);
    }
}

static void flip_and_read(struct store_map *map, const struct object_map *object, size_t at)
{
    uint8_t mask = (uint8_t)(1u << tamper_draw(&map->tamper, 8));
    uint64_t owner = object->owner[at];

    tamper_flip(object->path, at, mask);
    assert_reads(map, &owner, 1);
    uint64_t faults = tamper_faults(&map->tamper, true);
    if (owner == NOBODY)
        assert_int_equal(faults, 0);
    else
        assert_true(faults > 0);
    tamper_flip(object->path, at, mask);
}

static void an_altered_byte_of_a_segment_is_never_read_as_data(void **state)
{
    struct store_map *map = *state;
    size_t total = 0;

    for (unsigned i = 0; i < map->count; i++)
        total += map->objects[i].bytes.len;
    for (unsigned i = 0; i < map->count; i++) {
        const struct object_map *object = &map->objects[i];
        for (size_t at = 0; at < object->bytes.len; at++)
            if (map->tamper.is_deep || tamper_draw(&map->tamper, (uint32_t)total) < SAMPLES)
                flip_and_read(map, object, at);
    }
    assert_reads(map, NULL, 0);
    assert_int_equal(tamper_faults(&map->tamper, true), 0);
}

static void only_the_altered_block_is_refused(void **state)
{
    struct store_map *map = *state;

    for (unsigned i = 0; i < 3; i++) {
        const struct tamper_file *file = &map->tamper.files[i];
        const struct object_map *object = map->objects;
        unsigned refused = 0;
        while (!holds_any_of(object, file->ino))
            object++;
        size_t at = 0;
        while (object->owner[at] != file->ino)
            at++;
        tamper_flip(object->path, at + 20, 0x10);
        for (size_t offset = 0; offset < file->len; offset += TAMPER_BLOCK) {
            size_t rest = file->len - offset;
            if (tamper_read_part(&map->tamper, file, offset,
                                 rest < TAMPER_BLOCK ? rest : TAMPER_BLOCK) < 0)
                refused++;
        }
        assert_int_equal(refused, 1);
        tamper_flip(object->path, at + 20, 0x10);
    }
}

/* The inodes, each once, that own bytes of an object from a place on. */
static unsigned owners_from(const struct object_map *object, size_t from,
                            uint64_t ret[static TAMPER_FILES + 1])
{
    unsigned count = 0;

    for (size_t at = from; at < object->bytes.len; at++) {
        bool is_known =
            object->owner[at] == NOBODY || object->owner[at] == HELD || object->owner[at] == FRAME;
        for (unsigned k = 0; k < count && !is_known; k++)
            is_known = ret[k] == object->owner[at];
        if (!is_known)
            ret[count++] = object->owner[at];
    }
    return count;
}

static void put_back(const struct object_map *object)
{
    int fd = open(object->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, buf_bytes(&object->bytes)), 0);
    assert_int_equal(close(fd), 0);
}

static void a_segment_of_another_length_is_noticed(void **state)
{
    struct store_map *map = *state;

    for (unsigned i = 0; i < map->count; i++) {
        const struct object_map *object = &map->objects[i];
        for (size_t len = 0; len < object->bytes.len; len++) {
            uint64_t damaged[TAMPER_FILES + 1];
            if (!map->tamper.is_deep && tamper_draw(&map->tamper, 100) != 0)
                continue;
            assert_int_equal(truncate(object->path, (off_t)len), 0);
            assert_reads(map, damaged, owners_from(object, len, damaged));
            assert_true(tamper_faults(&map->tamper, false) > 0);
            put_back(object);
        }
        assert_int_equal(truncate(object->path, (off_t)object->bytes.len + 1), 0);
        assert_reads(map, NULL, 0);
        assert_true(tamper_faults(&map->tamper, false) > 0);
        put_back(object);
    }
    assert_int_equal(tamper_faults(&map->tamper, true), 0);
}

static void a_removed_segment_is_noticed(void **state)
{
    struct store_map *map = *state;

    for (unsigned i = 0; i < map->count; i++) {
        const struct object_map *object = &map->objects[i];
        uint64_t damaged[TAMPER_FILES + 1];
        assert_int_equal(unlink(object->path), 0);
        tamper_reopen(&map->tamper);
        assert_reads(map, damaged, owners_from(object, 0, damaged));
        assert_true(tamper_faults(&map->tamper, false) > 0);
        put_back(object);
    }
    tamper_reopen(&map->tamper);
    assert_int_equal(tamper_faults(&map->tamper, true), 0);
}

static void exchange(const struct object_map *a, const struct object_map *b)
{
    assert_int_equal(renameat2(AT_FDCWD, a->path, AT_FDCWD, b->path, RENAME_EXCHANGE), 0);
}

static void exchanged_segments_are_noticed(void **state)
{
    struct store_map *map = *state;

    for (unsigned i = 0; i < map->count; i++)
        for (unsigned k = i + 1; k < map->count; k++) {
            uint64_t damaged[2 * (TAMPER_FILES + 1)];
            exchange(&map->objects[i], &map->objects[k]);
            tamper_reopen(&map->tamper);
            unsigned count = owners_from(&map->objects[i], 0, damaged);
            count += owners_from(&map->objects[k], 0, damaged + count);
            assert_reads(map, damaged, count);
            assert_true(tamper_faults(&map->tamper, false) > 0);
            exchange(&map->objects[i], &map->objects[k]);
        }
}

static void write_at(const struct object_map *object, size_t to, size_t from, size_t len)
{
    int fd = open(object->path, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, object->bytes.data + from, len, (off_t)to), len);
    assert_int_equal(close(fd), 0);
}

/* Both are whole blocks of the same file and the same key. */
static void exchanged_blocks_are_noticed(void **state)
{
    struct store_map *map = *state;
    const size_t step = TAMPER_BLOCK + BLOCK_OVERHEAD;

    for (unsigned i = 0; i < map->count; i++) {
        const struct object_map *object = &map->objects[i];
        size_t at = SEGMENT_HEADER_LEN;
        while (object->owner[at] != object->owner[at + step])
            at += step;
        write_at(object, at, at + step, step);
        write_at(object, at + step, at, step);
        assert_reads(map, &object->owner[at], 1);
        assert_true(tamper_faults(&map->tamper, true) > 0);
        put_back(object);
    }
    assert_int_equal(tamper_faults(&map->tamper, true), 0);
}

/* A write of part of a block does not seal altered bytes anew; one of all of it heals. */
static void writing_does_not_launder_what_was_altered(void **state)
{
    struct store_map *map = *state;
    struct tamper_case *tamper = &map->tamper;
    const struct tamper_file *file = &tamper->files[1];
    const struct object_map *object = map->objects;
    size_t at = 0;

    while (!holds_any_of(object, file->ino))
        object++;
    while (object->owner[at] != file->ino)
        at++;
    tamper_flip(object->path, at + 100, 1);
    tamper->volume.read_only = false;
    tamper_reopen(tamper);
    struct bytes data = { .data = file->data + 10, .len = 5 };
    int r = volume_write(tamper->volume.volume, file->ino, 10, data);
    assert_true(r == -EIO || r == 0);
    assert_int_equal(tamper_read_part(tamper, file, 0, TAMPER_BLOCK), -EIO);
    data = (struct bytes){ .data = file->data, .len = TAMPER_BLOCK };
    assert_int_equal(volume_write(tamper->volume.volume, file->ino, 0, data), 0);
    assert_int_equal(tamper_read(tamper, file), 0);
    tamper_reopen(tamper);
    assert_int_equal(tamper_read(tamper, file), 0);
    assert_int_equal(tamper_faults(tamper, true), 0);
}

static void the_altered_superblock_of_the_store_is_not_believed(void **state)
{
    struct store_map *map = *state;
    struct tamper_case *tamper = &map->tamper;
    char path[TAMPER_PATH_MAX];
    struct stat stat_of;

    tamper_object_path(tamper, SUPERBLOCK_OBJECT, path);
    assert_int_equal(stat(path, &stat_of), 0);
    for (uint32_t at = 0; at < stat_of.st_size; at++) {
        if (!tamper->is_deep && tamper_draw(tamper, 3) != 0)
            continue;
        tamper_flip(path, at, (uint8_t)(1u << (at % 8)));
        tamper_reopen(tamper);
        assert_reads(map, NULL, 0);
        assert_true(tamper_faults(tamper, false) > 0);
        tamper_flip(path, at, (uint8_t)(1u << (at % 8)));
    }
    assert_int_equal(tamper_faults(tamper, false), 0);
}

static void the_altered_superblock_of_the_store_is_repaired(void **state)
{
    static const uint32_t places[] = { 0, 8, 15, 30, 40, 70, 120, 200 };
    struct store_map *map = *state;
    struct tamper_case *tamper = &map->tamper;
    char path[TAMPER_PATH_MAX];

    tamper_object_path(tamper, SUPERBLOCK_OBJECT, path);
    tamper->volume.read_only = false;
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        tamper_close(tamper);
        tamper_flip(path, places[i], 0x40);
        tamper_reopen(tamper);
        assert_false(volume_is_read_only(tamper->volume.volume));
        assert_int_equal(tamper_faults(tamper, false), 0);
    }
}

#define EVERY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERY(an_altered_byte_of_a_segment_is_never_read_as_data),
        EVERY(only_the_altered_block_is_refused),
        EVERY(a_segment_of_another_length_is_noticed),
        EVERY(a_removed_segment_is_noticed),
        EVERY(exchanged_segments_are_noticed),
        EVERY(exchanged_blocks_are_noticed),
        EVERY(writing_does_not_launder_what_was_altered),
        EVERY(the_altered_superblock_of_the_store_is_not_believed),
        EVERY(the_altered_superblock_of_the_store_is_repaired),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
