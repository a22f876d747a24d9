/* control_case.h - a control plane for each test: over a real registry, real stores and processes
 * that play the worker; keys are wrapped by local keys, so that no server is needed. Any failure in
 * here fails the test.
 */
#pragma once

#include <stdatomic.h>

#include "control/filesystem.h"

/* How long something that happens by itself may take. */
#define PATIENCE_MS 20000

struct fixture {
    char state_dir[64];
    struct control *control;
    enum control_step crash_at; /* STEP_COUNT: nowhere */
    atomic_int steps_left;      /* until it crashes, whatever the steps are; < 0: it does not */
};

/* cmocka's: *state is the struct fixture after. At the end the audit log must be whole. */
int control_case_setup(void **state);
int control_case_teardown(void **state);

#define STATE_TEST(function)                                                                       \
    cmocka_unit_test_setup_teardown(function, control_case_setup, control_case_teardown)

void open_control(struct fixture *fixture);
void close_control(struct fixture *fixture);
void reopen_control(struct fixture *fixture);

/* r is a success; else the test fails with what the error says. */
void must(int r, const struct error *err);

/* Adds a filesystem whose key a local key wraps. */
int add(struct fixture *fixture, const char *name, struct error *err);
void must_add(struct fixture *fixture, const char *name);
void must_start(struct fixture *fixture, const char *name);
void must_stop(struct fixture *fixture, const char *name);

struct fs_view view_of(struct fixture *fixture, const char *name);

/* Until it has the state; fails after a generous while. */
void wait_state(struct fixture *fixture, const char *name, enum fs_state state);

/* Waits for it: what it tells of may be seen before. */
void assert_event(struct fixture *fixture, const char *type);

/* The newest entry of the audit log. */
void assert_audited(struct fixture *fixture, const char *operation, const char *result);
void assert_audit_says(struct fixture *fixture, const char *text);

/* 0: there is no worker that answers. */
pid_t worker_pid(struct fixture *fixture, const char *name);

/* Where a file of that name lies in the store of "data", for a fake worker to find. */
void in_store_of(struct fixture *fixture, const char *name, char ret_path[static PATH_MAX]);

/* One of that type, whose text has that in it. */
bool has_alert(struct fixture *fixture, const char *type, const char *said);

/* The worker of a new filesystem "data", started, of which the registry says that it is not. */
pid_t make_orphan(struct fixture *fixture);
/* Until cofferd has looked at what such a one left. */
void wait_left(struct fixture *fixture, const char *name);
