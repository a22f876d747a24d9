/* volume_case.h - one empty volume with fixed keys, for tests: on "memory", or on "disk" (LMDB and
 * the folder store, in a temporary folder). Any failure in here fails the test.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "crypto/secret.h"
#include "fs/volume.h"

struct volume_case {
    const char *kind;
    char folder[64]; /* empty on "memory" */
    char meta_url[96];
    struct key_set keys;
    struct object_store *store;
    struct volume_config config;
    struct volume *volume;
    atomic_uint corruptions; /* events */
};

/* For cmocka_run_group_tests(): what is done once in a process. */
int volume_case_group_setup(void **state);

/* cmocka's: *state is the kind before, the struct volume_case after. The end of each test finds
 * that the volume's records agree with one another. */
int volume_case_setup(void **state);
int volume_case_teardown(void **state);

/* cmocka_unit_test() on both kinds. */
#define ON_BOTH(test)                                                                              \
    { .name = #test " (memory)",                                                                   \
      .test_func = test,                                                                           \
      .setup_func = volume_case_setup,                                                             \
      .teardown_func = volume_case_teardown,                                                       \
      .initial_state = (void *)(uintptr_t) "memory" },                                             \
    {                                                                                              \
        .name = #test " (disk)", .test_func = test, .setup_func = volume_case_setup,               \
        .teardown_func = volume_case_teardown, .initial_state = (void *)(uintptr_t) "disk"         \
    }

#define ON_DISK(test)                                                                              \
    {                                                                                              \
        .name = #test " (disk)", .test_func = test, .setup_func = volume_case_setup,               \
        .teardown_func = volume_case_teardown, .initial_state = (void *)(uintptr_t) "disk"         \
    }

/* Only on "disk": memory forgets. */
void volume_case_reopen(struct volume_case *c, bool read_only);

/* Faults that volume_check() finds, all data read. */
uint64_t volume_case_faults(struct volume_case *c);

/* Makes one; returns its number, of which a reference is held, as every maker here. */
uint64_t make(struct volume_case *c, uint64_t parent, const char *name, uint32_t mode);
uint64_t make_file(struct volume_case *c, uint64_t parent, const char *name);
uint64_t make_dir(struct volume_case *c, uint64_t parent, const char *name);

/* 0 if there is none. The reference is given back. */
uint64_t number_of(struct volume_case *c, uint64_t parent, const char *name);
struct volume_attr attr_of(struct volume_case *c, uint64_t ino);
uint64_t files_in_use(struct volume_case *c);
