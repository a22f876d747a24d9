/* file_case.h - the content of files in a volume that is tested.
 *
 * Every call asserts that it succeeds.
 */
#pragma once

#include "tests/support/volume_case.h"

/* cmocka's: *state is the kind of store before, "memory" or "dir", and a struct volume_case with
 * blocks of 4 KiB after. The teardown stops and starts it and has all of it checked; nothing may
 * have been altered. */
int file_case_setup(void **state);
int file_case_teardown(void **state);

/* A test on such a volume; inside of a function. */
#define FILE_CASE_TEST(function, kind)                                                             \
    {                                                                                              \
#function " (" kind ")", function, file_case_setup, file_case_teardown, (char[])           \
        {                                                                                          \
            kind                                                                                   \
        }                                                                                          \
    }

/* Of which no two blocks are equal. */
void file_case_fill(uint8_t *data, size_t len, unsigned seed);
/* A new file in the root with that. */
uint64_t file_case_make(struct volume_case *c, const char *name, size_t len, unsigned seed);

void file_case_write(struct volume_case *c, uint64_t ino, uint64_t offset, const void *data,
                     size_t len);
void file_case_truncate(struct volume_case *c, uint64_t ino, uint64_t size);
struct volume_attr file_case_attr(struct volume_case *c, uint64_t ino);

/* The file has exactly these bytes there. */
void file_case_expect(struct volume_case *c, uint64_t ino, uint64_t offset, const void *data,
                      size_t len);
void file_case_expect_zeros(struct volume_case *c, uint64_t ino, uint64_t offset, size_t len);
