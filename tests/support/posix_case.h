/* posix_case.h - a volume for each test of what POSIX promises, with its data in "memory" or in a
 * "folder", and short ways to make and look at files. Any failure in here fails the test.
 */
#pragma once

#include "tests/support/volume_case.h"

/* cmocka's: *state is the kind before, the struct volume_case after. The end of each test finds
 * that everything in the volume agrees, and that nothing was reported as altered. */
int posix_case_setup(void **state);
int posix_case_teardown(void **state);

/* cmocka_unit_test() on both kinds. */
#define POSIX_TEST(test, kind)                                                                     \
    {                                                                                              \
        .name = #test " (" kind ")", .test_func = (test), .setup_func = posix_case_setup,          \
        .teardown_func = posix_case_teardown, .initial_state = (void *)(uintptr_t)(kind)           \
    }
#define ON_BOTH(test) POSIX_TEST(test, "memory"), POSIX_TEST(test, "folder")

void posix_case_reopen(struct volume_case *c, bool read_only);

/* Makes one; returns its number, of which a reference is held, as every maker here. */
uint64_t make(struct volume_case *c, uint64_t parent, const char *name, uint32_t mode);
uint64_t make_file(struct volume_case *c, uint64_t parent, const char *name);
uint64_t make_dir(struct volume_case *c, uint64_t parent, const char *name);

/* 0 if there is none. The reference is given back. */
uint64_t number_of(struct volume_case *c, uint64_t parent, const char *name);
struct volume_attr attr_of(struct volume_case *c, uint64_t ino);
uint64_t files_in_use(struct volume_case *c);

/* Nobody refers to the inode any more, nor does a name: it is gone. */
void expect_ended(struct volume_case *c, uint64_t ino);
