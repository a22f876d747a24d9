#include "tests/support/file_case.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/support/cmocka_all.h"

#define BLOCK_SIZE 4096u

int file_case_setup(void **state)
{
    struct volume_case *c = calloc(1, sizeof(*c));
    struct object_store *store = NULL;

    assert_non_null(c);
    if (strcmp(*state, "memory") == 0)
        assert_int_equal(object_store_open("memory:", &store, NULL), 0);
    volume_case_new_on(c, BLOCK_SIZE, store);
    *state = c;
    return 0;
}

int file_case_teardown(void **state)
{
    struct volume_case *c = *state;

    volume_case_reopen(c);
    volume_case_check(c);
    assert_int_equal(c->events[VOLUME_EVENT_CORRUPTION], 0);
    volume_case_end(c);
    free(c);
    return 0;
}

void file_case_fill(uint8_t *data, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 31 + i / BLOCK_SIZE * 7 + seed);
}

uint64_t file_case_make(struct volume_case *c, const char *name, size_t len, unsigned seed)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(len);

    assert_non_null(data);
    file_case_fill(data, len, seed);
    uint64_t ino = volume_case_file(c, name);
    file_case_write(c, ino, 0, data, len);
    return ino;
}

void file_case_write(struct volume_case *c, uint64_t ino, uint64_t offset, const void *data,
                     size_t len)
{
    assert_int_equal(volume_write(c->volume, ino, offset, (struct bytes){ data, len }), 0);
}

void file_case_truncate(struct volume_case *c, uint64_t ino, uint64_t size)
{
    struct volume_attr attr = { .size = size };

    assert_int_equal(volume_setattr(c->volume, ino, &attr, VOLUME_SET_SIZE, &attr), 0);
    assert_int_equal(attr.size, size);
}

struct volume_attr file_case_attr(struct volume_case *c, uint64_t ino)
{
    struct volume_attr attr;

    assert_int_equal(volume_getattr(c->volume, ino, &attr), 0);
    return attr;
}

void file_case_expect(struct volume_case *c, uint64_t ino, uint64_t offset, const void *data,
                      size_t len)
{
    CLEANUP(free_ptr) uint8_t *found = malloc(len + 1);
    const uint8_t *expected = data;
    size_t got = 0;

    assert_non_null(found);
    memset(found, 0xee, len + 1);
    assert_int_equal(volume_read(c->volume, ino, offset, len, found, &got), 0);
    assert_int_equal(got, len);
    for (size_t i = 0; i < len; i++) {
        if (found[i] != expected[i])
            fail_msg("inode %ju, byte %ju: %02x instead of %02x", (uintmax_t)ino,
                     (uintmax_t)(offset + i), found[i], expected[i]);
    }
    assert_int_equal(found[len], 0xee);
}

void file_case_expect_zeros(struct volume_case *c, uint64_t ino, uint64_t offset, size_t len)
{
    CLEANUP(free_ptr) uint8_t *zeros = calloc(1, len);

    assert_non_null(zeros);
    file_case_expect(c, ino, offset, zeros, len);
}
