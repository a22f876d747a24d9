/* kms_case.h - a control plane (control_case.h) with two key servers, and three filesystems by the
 * names of names[]. Any failure in here fails the test.
 */
#pragma once

#include "control/control.h"
#include "tests/support/control_case.h"
#include "tests/support/fake_transit.h"

struct servers {
    struct fixture *fixture;
    struct fake_transit *a;
    struct fake_transit *b;
};

/* cmocka's: *state is the struct servers after. */
int kms_case_setup(void **state);
int kms_case_teardown(void **state);

#define SERVERS_TEST(function)                                                                     \
    cmocka_unit_test_setup_teardown(function, kms_case_setup, kms_case_teardown)

#define N_NAMES 3u
extern const char *const names[N_NAMES];

/* converts: filesystems with a key of their own, too. */
int set_as(struct servers *servers, const struct fake_transit *server, bool converts,
           struct error *err);
int set(struct servers *servers, const struct fake_transit *server, struct error *err);
void must_set(struct servers *servers, const struct fake_transit *server);
/* With what it tells of, the caller's to release. */
void must_set_with(struct servers *servers, const struct fake_transit *server,
                   struct kms_set_report *ret);

int rewrap(struct servers *servers, struct rewrap_report *ret, struct error *err);
/* 0 only if none failed. */
int rewrap_all(struct servers *servers, struct error *err);
void must_rewrap(struct servers *servers);

void add_all(struct servers *servers);

/* Each is started by what wraps its key now, and stopped again. */
void all_open(struct servers *servers);
void all_wrapped(struct servers *servers, const char *type, uint32_t version);

size_t count_events(struct fixture *fixture, const char *type);
void wait_event(struct fixture *fixture, const char *type);

/* Of its first generation, as the registry has it. */
bool has_previous(struct servers *servers, const char *name);
void must_have_ring(struct servers *servers, const char *name, struct buf *ret);

/* Whether what wraps the first generation of that ring is in the registry's file, or what is left
 * of an earlier one. */
bool registry_file_holds(struct servers *servers, const struct buf *encoded);
