/* meta_case.h - one metadata engine in a folder of its own, with hooks that keep count of what an
 * engine asks and can be told to fail. Sealing here is an 'S' in front, every byte turned over, and
 * the epoch behind, so that a value that was not sealed, or not opened, shows. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/thread.h"
#include "meta/meta_engine.h"

/* What the hooks were called with, and what they are told to do. */
struct owner {
    struct mutex lock;
    unsigned closed, before, durable, not_durable, ended, seals, removals;
    uint64_t last_group;
    bool order_is_wrong;
    atomic_int fail_before; /* errno that before_durable returns */
    atomic_int fail_close;
    atomic_bool stall; /* before_durable waits while set */
    atomic_bool stalled;
    atomic_int exit_at; /* the process ends at this step */
    unsigned commits;
    uint8_t record[16];
    atomic_uint_fast64_t epoch; /* of the next group */
    uint64_t group_epoch;       /* of the one that is being written */
};

enum exit_step {
    EXIT_AT_CLOSE = 1,
    EXIT_AT_BEFORE,
    EXIT_AT_SEAL,
    EXIT_AT_RECORD,
    EXIT_AT_DURABLE,
};

struct engine_case {
    const char *kind;
    char folder[64];
    char url[80];
    struct owner owner;
    struct meta_engine *engine;
};

/* cmocka's fixtures: *state is the engine's type at first. */
int meta_case_setup(void **state);
int meta_case_teardown(void **state);

void meta_case_open(struct engine_case *c, const struct meta_options *options);
void meta_case_reopen(struct engine_case *c, const struct meta_options *options);
void meta_case_remove_files(struct engine_case *c);

struct bytes text(const char *s);
struct meta_txn *begin(struct engine_case *c, enum meta_access access);
void put(struct meta_txn *txn, const char *key, const char *value);
void commit(struct meta_txn *txn);
void put_one(struct engine_case *c, const char *key, const char *value);
void remove_one(struct engine_case *c, const char *key);
void sync_now(struct engine_case *c);

/* value NULL: it must not be there. */
void expect(struct meta_txn *txn, const char *key, const char *value);
void expect_one(struct engine_case *c, const char *key, const char *value);
