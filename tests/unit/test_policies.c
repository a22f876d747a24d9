/* Snapshot policies: when snapshots are due, and what is taken and removed then, in a world whose
 * clock and snapshots the tests set. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "control/policies.h"

#define S 1000000000LL
#define MINUTE (60 * S)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define SNAPSHOTS_MAX 64u

struct snapshot {
    uint64_t id;
    char name[POLICY_SNAPSHOT_NAME_SIZE];
    bool is_used; /* cannot be removed */
    bool is_edited;
};

struct fixture {
    struct registry *registry;
    struct policies *policies;
    int64_t now_ns;
    bool is_down;
    int failure;    /* of taking */
    bool dies_late; /* taking works, but nobody hears of it */
    uint64_t next_id;
    unsigned taken;
    unsigned uploads;
    int upload_failure;
    struct snapshot snapshots[SNAPSHOTS_MAX];
    size_t count;
};

static const struct uuid filesystem = { .bytes = { 1, 2, 3 } };

static int64_t at(const char *text)
{
    struct tm parts = { .tm_sec = 0 };

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &parts));
    return (int64_t)timegm(&parts) * S;
}

/* --- the world --- */

static int64_t now_ns(void *arg)
{
    return ((struct fixture *)arg)->now_ns;
}

static bool is_up(void *arg, const struct uuid *uuid)
{
    assert_true(uuid_equal(uuid, &filesystem));
    return !((struct fixture *)arg)->is_down;
}

static struct snapshot *find_snapshot(struct fixture *fixture, const char *name)
{
    for (size_t i = 0; i < fixture->count; i++)
        if (strcmp(fixture->snapshots[i].name, name) == 0)
            return &fixture->snapshots[i];
    return NULL;
}

static void put_snapshot(struct fixture *fixture, const char *name)
{
    assert_true(fixture->count < SNAPSHOTS_MAX);
    struct snapshot *snapshot = &fixture->snapshots[fixture->count++];
    *snapshot = (struct snapshot){ .id = ++fixture->next_id };
    (void)snprintf(snapshot->name, sizeof(snapshot->name), "%s", name);
}

static int take(void *arg, const struct uuid *uuid, const char *name, uint64_t *ret_id,
                struct error *err)
{
    struct fixture *fixture = arg;

    assert_true(uuid_equal(uuid, &filesystem));
    if (fixture->failure < 0)
        return error_set(err, fixture->failure, "the disk is full");
    if (find_snapshot(fixture, name))
        return error_set(err, -EEXIST, "there is one");
    put_snapshot(fixture, name);
    fixture->taken++;
    if (fixture->dies_late)
        return error_set(err, -EPIPE, "the worker went away");
    *ret_id = fixture->next_id;
    return 0;
}

static int find(void *arg, const struct uuid *uuid, const char *name, uint64_t *ret_id,
                struct error *err)
{
    const struct snapshot *snapshot = find_snapshot(arg, name);

    (void)uuid;
    if (!snapshot)
        return error_set(err, -ENOENT, "there is none");
    *ret_id = snapshot->id;
    return 0;
}

static int remove_snapshot(void *arg, const struct uuid *uuid, uint64_t id, const char *name,
                           struct error *err)
{
    struct fixture *fixture = arg;
    struct snapshot *snapshot = NULL;

    (void)uuid;
    for (size_t i = 0; i < fixture->count && !snapshot; i++)
        if (fixture->snapshots[i].id == id)
            snapshot = &fixture->snapshots[i];
    if (!snapshot)
        return error_set(err, -ENOENT, "it is gone");
    if (snapshot->is_edited || strcmp(snapshot->name, name) != 0)
        return error_set(err, -ESTALE, "it was changed");
    if (snapshot->is_used)
        return error_set(err, -EBUSY, "it is in use");
    *snapshot = fixture->snapshots[--fixture->count];
    return 0;
}

static int upload(void *arg, const struct uuid *uuid, const char *name, const char *store,
                  struct error *err)
{
    struct fixture *fixture = arg;

    (void)uuid;
    assert_string_equal(store, "bucket");
    assert_non_null(find_snapshot(fixture, name));
    if (fixture->upload_failure < 0)
        return error_set(err, fixture->upload_failure, "the store is away");
    fixture->uploads++;
    return 0;
}

static void open_policies(struct fixture *fixture)
{
    const struct policy_world world = { .now_ns = now_ns,
                                        .is_up = is_up,
                                        .take = take,
                                        .find = find,
                                        .remove = remove_snapshot,
                                        .upload = upload,
                                        .arg = fixture };
    struct error err = { .code = 0 };

    if (policies_open(fixture->registry, &world, &fixture->policies, &err) < 0)
        fail_msg("%s", err.text);
}

static void reopen(struct fixture *fixture)
{
    policies_close(fixture->policies);
    open_policies(fixture);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    assert_int_equal(registry_open("memory:", &fixture->registry, NULL), 0);
    fixture->now_ns = at("2026-11-27 10:10");
    open_policies(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    policies_close(fixture->policies);
    registry_close(fixture->registry);
    free(fixture);
    return 0;
}

static void set(struct policy *policy, enum policy_period period, const char *when,
                uint16_t retention)
{
    assert_int_equal(policy_schedule_parse(period, when, &policy->schedules[period], NULL), 0);
    policy->schedules[period].retention = retention;
}

/* Attached, with one schedule. */
static void add(struct fixture *fixture, enum policy_period period, const char *when,
                uint16_t retention)
{
    struct policy policy = { .name = "p" };

    set(&policy, period, when, retention);
    assert_int_equal(policies_add(fixture->policies, &policy, NULL), 0);
    assert_int_equal(policies_attach(fixture->policies, "p", &filesystem, NULL), 0);
}

static int64_t run(struct fixture *fixture)
{
    return policies_run_due(fixture->policies);
}

static int64_t run_at(struct fixture *fixture, const char *text)
{
    fixture->now_ns = at(text);
    return run(fixture);
}

static struct error failure_of(struct fixture *fixture)
{
    CLEANUP(policies_view_release) struct policies_view view = { .count = 0 };

    assert_int_equal(policies_view(fixture->policies, &view, NULL), 0);
    assert_int_equal(view.attached_count, 1);
    return view.attached[0].failure;
}

/* --- taking --- */

static void the_first_one_is_at_the_next_moment(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 3);
    assert_int_equal(run(fixture), at("2026-11-27 11:00"));
    assert_int_equal(fixture->taken, 0);
    assert_int_equal(run_at(fixture, "2026-11-27 11:00"), at("2026-11-27 12:00"));
    assert_int_equal(fixture->taken, 1);
    assert_non_null(find_snapshot(fixture, "p-hourly.2611271100"));
}

static void what_was_missed_is_made_up_once(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 3);
    assert_int_equal(run_at(fixture, "2026-11-29 09:31"), at("2026-11-29 10:00"));
    assert_int_equal(fixture->taken, 1);
    assert_non_null(find_snapshot(fixture, "p-hourly.2611290931"));
}

static void a_restart_forgets_nothing(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_DAILY, "12:00", 1);
    (void)run_at(fixture, "2026-11-27 12:00");
    reopen(fixture);
    assert_int_equal(run(fixture), at("2026-11-28 12:00"));
    assert_int_equal(fixture->taken, 1);
    fixture->now_ns = at("2026-11-28 13:00"); /* while nobody runs */
    reopen(fixture);
    assert_int_equal(run(fixture), at("2026-11-29 12:00"));
    assert_int_equal(fixture->taken, 2);
    assert_int_equal(fixture->count, 1); /* the retention holds over a restart, too */
}

static void a_clock_that_goes_back_takes_nothing_twice(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 9);
    (void)run_at(fixture, "2026-11-27 11:00");
    fixture->now_ns -= 5 * S;
    (void)run(fixture);
    fixture->now_ns += 5 * S;
    (void)run(fixture);
    assert_int_equal(fixture->taken, 1);
}

static void a_clock_that_was_years_ahead_does_not_stop_it_for_years(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 9);
    (void)run_at(fixture, "2050-01-01 00:01");
    assert_int_equal(fixture->taken, 1);
    assert_int_equal(run_at(fixture, "2026-11-27 11:20"), at("2026-11-27 12:00"));
    assert_int_equal(fixture->taken, 1);
    assert_int_equal(run_at(fixture, "2026-11-27 12:00"), at("2026-11-27 13:00"));
    assert_int_equal(fixture->taken, 2);
}

static void a_policy_attached_by_a_clock_that_was_ahead_works_after_it(void **state)
{
    struct fixture *fixture = *state;

    fixture->now_ns = at("2050-01-01 00:01");
    add(fixture, POLICY_DAILY, "12:00", 9);
    (void)run_at(fixture, "2026-11-27 11:20");
    unsigned before = fixture->taken;
    (void)run_at(fixture, "2026-11-27 12:00");
    assert_int_equal(fixture->taken, before + 1);
}

static void a_filesystem_that_is_away_waits_and_makes_up_once(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 9);
    fixture->is_down = true;
    (void)run_at(fixture, "2026-11-27 15:00");
    assert_int_equal(fixture->taken, 0);
    assert_int_equal(failure_of(fixture).code, 0); /* nobody is to be told */
    fixture->is_down = false;
    fixture->now_ns += S;
    policies_wake(fixture->policies, &filesystem);
    assert_int_equal(run(fixture), at("2026-11-27 16:00"));
    assert_int_equal(fixture->taken, 1);
}

static void a_failure_is_told_and_tried_again(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 9);
    fixture->failure = -ENOSPC;
    int64_t next = run_at(fixture, "2026-11-27 11:00");
    assert_int_equal(next, at("2026-11-27 11:00") + 30 * S);
    struct error failure = failure_of(fixture);
    assert_int_equal(failure.code, -ENOSPC);
    assert_non_null(strstr(failure.text, "hourly snapshot: the disk is full"));
    for (unsigned i = 0; i < 8; i++) {
        fixture->now_ns = next;
        next = run(fixture);
        assert_true(next > fixture->now_ns && next <= fixture->now_ns + 15 * MINUTE);
    }
    fixture->failure = 0;
    fixture->now_ns = next;
    (void)run(fixture);
    assert_int_equal(fixture->taken, 1);
    assert_int_equal(failure_of(fixture).code, 0);
}

static void one_that_was_taken_when_nobody_heard_of_it_is_found_again(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_DAILY, "11:00", 1);
    fixture->dies_late = true;
    (void)run_at(fixture, "2026-11-27 11:00");
    assert_int_equal(fixture->count, 1);
    fixture->dies_late = false;
    reopen(fixture);
    (void)run_at(fixture, "2026-11-27 11:05");
    assert_int_equal(fixture->taken, 1);
    (void)run_at(fixture, "2026-11-28 11:00");
    assert_int_equal(fixture->taken, 2);
    assert_int_equal(fixture->count, 1); /* it was the policy's, and went */
}

static void somebodys_snapshot_of_that_name_stays_his(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 1);
    put_snapshot(fixture, "p-hourly.2611271100");
    (void)run_at(fixture, "2026-11-27 11:00");
    assert_non_null(find_snapshot(fixture, "p-hourly.2611271100.1"));
    (void)run_at(fixture, "2026-11-27 12:00");
    assert_non_null(find_snapshot(fixture, "p-hourly.2611271100"));
    assert_null(find_snapshot(fixture, "p-hourly.2611271100.1"));
}

static void run_once_takes_one_for_each_schedule(void **state)
{
    struct fixture *fixture = *state;
    struct policy policy = { .name = "p" };

    set(&policy, POLICY_HOURLY, "0", 2);
    set(&policy, POLICY_MONTHLY, "1 00:00", 2);
    assert_int_equal(policies_add(fixture->policies, &policy, NULL), 0);
    assert_int_equal(policies_run_once(fixture->policies, "p", NULL), -EINVAL);
    assert_int_equal(policies_attach(fixture->policies, "p", &filesystem, NULL), 0);
    assert_int_equal(policies_run_once(fixture->policies, "p", NULL), 0);
    assert_int_equal(run(fixture), at("2026-11-27 11:00"));
    assert_int_equal(fixture->taken, 2);
    assert_non_null(find_snapshot(fixture, "p-monthly.2611271010"));
}

/* --- retention --- */

static void the_oldest_go_and_others_stay(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 2);
    put_snapshot(fixture, "by hand");
    for (unsigned i = 0; i < 5; i++) {
        fixture->now_ns += HOUR;
        (void)run(fixture);
    }
    assert_int_equal(fixture->taken, 5);
    assert_int_equal(fixture->count, 3);
    assert_non_null(find_snapshot(fixture, "by hand"));
    assert_non_null(find_snapshot(fixture, "p-hourly.2611271510"));
    assert_non_null(find_snapshot(fixture, "p-hourly.2611271410"));
}

static void one_that_was_edited_stays_for_ever(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 1);
    (void)run_at(fixture, "2026-11-27 11:00");
    fixture->snapshots[0].is_edited = true;
    for (unsigned i = 0; i < 3; i++) {
        fixture->now_ns += HOUR;
        (void)run(fixture);
    }
    assert_non_null(find_snapshot(fixture, "p-hourly.2611271100"));
    assert_int_equal(fixture->count, 2);
}

static void one_in_use_goes_later(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 1);
    (void)run_at(fixture, "2026-11-27 11:00");
    fixture->snapshots[0].is_used = true;
    (void)run_at(fixture, "2026-11-27 12:00");
    assert_int_equal(fixture->count, 2);
    assert_int_equal(failure_of(fixture).code, 0);
    fixture->snapshots[0].is_used = false;
    (void)run_at(fixture, "2026-11-27 13:00");
    assert_int_equal(fixture->count, 1);
    assert_non_null(find_snapshot(fixture, "p-hourly.2611271300"));
}

static int lower(struct policy *policy, void *arg, struct error *err)
{
    (void)arg;
    (void)err;
    policy->schedules[POLICY_HOURLY].retention = 1;
    return 0;
}

static void a_smaller_retention_counts_at_once(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 9);
    for (unsigned i = 0; i < 4; i++) {
        fixture->now_ns += HOUR;
        (void)run(fixture);
    }
    assert_int_equal(policies_update(fixture->policies, "p", lower, NULL, NULL), 0);
    (void)run(fixture);
    assert_int_equal(fixture->count, 1);
    assert_int_equal(fixture->taken, 4);
}

static int move(struct policy *policy, void *arg, struct error *err)
{
    return policy_schedule_parse(POLICY_DAILY, arg, &policy->schedules[POLICY_DAILY], err);
}

static void a_schedule_that_was_moved_makes_nothing_up(void **state)
{
    struct fixture *fixture = *state;
    char earlier[] = "06:00";

    add(fixture, POLICY_DAILY, "23:00", 9);
    assert_int_equal(policies_update(fixture->policies, "p", move, earlier, NULL), 0);
    assert_int_equal(run(fixture), at("2026-11-28 06:00"));
    assert_int_equal(fixture->taken, 0);
}

static void detaching_leaves_its_snapshots(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, POLICY_HOURLY, "0", 1);
    (void)run_at(fixture, "2026-11-27 11:00");
    assert_int_equal(policies_remove(fixture->policies, "p", NULL), -ENOTEMPTY);
    assert_int_equal(policies_detach(fixture->policies, "p", &filesystem, NULL), 0);
    assert_int_equal(policies_detach(fixture->policies, "p", &filesystem, NULL), -ENOENT);
    assert_int_equal(run_at(fixture, "2026-11-27 12:00"), INT64_MAX);
    assert_int_equal(fixture->count, 1);
    assert_int_equal(policies_remove(fixture->policies, "p", NULL), 0);
    reopen(fixture);
    assert_int_equal(policies_remove(fixture->policies, "p", NULL), -ENOENT);
}

static void a_filesystem_that_is_removed_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct policy policy = { .name = "q" };

    add(fixture, POLICY_HOURLY, "0", 1);
    set(&policy, POLICY_DAILY, "11:00", 1);
    assert_int_equal(policies_add(fixture->policies, &policy, NULL), 0);
    assert_int_equal(policies_attach(fixture->policies, "q", &filesystem, NULL), 0);
    assert_int_equal(policies_attach(fixture->policies, "q", &filesystem, NULL), -EEXIST);
    assert_int_equal(policies_forget(fixture->policies, &filesystem, NULL), 0);
    reopen(fixture);
    assert_int_equal(run_at(fixture, "2026-11-27 12:00"), INT64_MAX);
    assert_int_equal(policies_remove(fixture->policies, "q", NULL), 0);
}

/* --- uploading --- */

static void each_is_uploaded_once_and_not_removed_before(void **state)
{
    struct fixture *fixture = *state;
    struct policy policy = { .name = "p" };

    set(&policy, POLICY_HOURLY, "0", 1);
    (void)snprintf(policy.schedules[POLICY_HOURLY].upload, STORE_NAME_MAX + 1, "bucket");
    assert_int_equal(policies_add(fixture->policies, &policy, NULL), 0);
    assert_int_equal(policies_attach(fixture->policies, "p", &filesystem, NULL), 0);
    fixture->upload_failure = -EAGAIN;
    (void)run_at(fixture, "2026-11-27 11:00");
    assert_int_equal(failure_of(fixture).code, -EAGAIN);
    (void)run_at(fixture, "2026-11-27 12:00");
    assert_int_equal(fixture->count, 2); /* none is removed before it is uploaded */
    fixture->upload_failure = 0;
    reopen(fixture);
    (void)run(fixture); /* at once, it need not wait for the next one */
    assert_int_equal(fixture->uploads, 2);
    assert_int_equal(fixture->count, 1);
    (void)run_at(fixture, "2026-11-27 12:30");
    assert_int_equal(fixture->uploads, 2);
}

/* --- many --- */

static bool any_is_up(void *arg, const struct uuid *uuid)
{
    (void)uuid;
    (*(unsigned *)arg)++;
    return false;
}

static int64_t fixed_now;

static int64_t get_fixed_now(void *arg)
{
    (void)arg;
    return fixed_now;
}

static void of_thousands_only_those_that_are_due_are_looked_at(void **state)
{
    struct fixture *fixture = *state;
    unsigned looks = 0;
    const struct policy_world world = { .now_ns = get_fixed_now,
                                        .is_up = any_is_up,
                                        .arg = &looks };
    struct policies *policies = NULL;
    struct policy often = { .name = "often" };
    struct policy seldom = { .name = "seldom" };

    fixed_now = at("2026-11-27 10:10");
    assert_int_equal(policies_open(fixture->registry, &world, &policies, NULL), 0);
    set(&often, POLICY_HOURLY, "30", 1);
    set(&seldom, POLICY_MONTHLY, "1 00:00", 1);
    assert_int_equal(policies_add(policies, &often, NULL), 0);
    assert_int_equal(policies_add(policies, &seldom, NULL), 0);
    for (unsigned i = 0; i < 2000; i++) {
        struct uuid uuid = { .bytes = { (uint8_t)i, (uint8_t)(i >> 8), 1 } };
        const char *name = i % 500 == 0 ? "often" : "seldom";
        assert_int_equal(policies_attach(policies, name, &uuid, NULL), 0);
    }
    assert_int_equal(policies_run_due(policies), at("2026-11-27 10:30"));
    assert_int_equal(looks, 0);
    fixed_now = at("2026-11-27 10:30");
    (void)policies_run_due(policies);
    assert_int_equal(looks, 4);
    policies_close(policies);
}

static void a_policy_needs_a_name_and_a_schedule(void **state)
{
    struct fixture *fixture = *state;
    struct policy policy = { .name = "p" };

    assert_int_equal(policies_add(fixture->policies, &policy, NULL), -EINVAL);
    set(&policy, POLICY_DAILY, "12:00", 0);
    assert_int_equal(policies_add(fixture->policies, &policy, NULL), -EINVAL);
    set(&policy, POLICY_DAILY, "12:00", POLICY_RETENTION_MAX + 1);
    assert_int_equal(policies_add(fixture->policies, &policy, NULL), -EINVAL);
    set(&policy, POLICY_DAILY, "12:00", POLICY_RETENTION_MAX);
    policy.name[0] = '/';
    assert_int_equal(policies_add(fixture->policies, &policy, NULL), -EINVAL);
    policy.name[0] = 'p';
    assert_int_equal(policies_add(fixture->policies, &policy, NULL), 0);
    assert_int_equal(policies_add(fixture->policies, &policy, NULL), -EEXIST);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_one_is_at_the_next_moment),
        TEST(what_was_missed_is_made_up_once),
        TEST(a_restart_forgets_nothing),
        TEST(a_clock_that_goes_back_takes_nothing_twice),
        TEST(a_clock_that_was_years_ahead_does_not_stop_it_for_years),
        TEST(a_policy_attached_by_a_clock_that_was_ahead_works_after_it),
        TEST(a_filesystem_that_is_away_waits_and_makes_up_once),
        TEST(a_failure_is_told_and_tried_again),
        TEST(one_that_was_taken_when_nobody_heard_of_it_is_found_again),
        TEST(somebodys_snapshot_of_that_name_stays_his),
        TEST(run_once_takes_one_for_each_schedule),
        TEST(the_oldest_go_and_others_stay),
        TEST(one_that_was_edited_stays_for_ever),
        TEST(one_in_use_goes_later),
        TEST(a_smaller_retention_counts_at_once),
        TEST(a_schedule_that_was_moved_makes_nothing_up),
        TEST(detaching_leaves_its_snapshots),
        TEST(a_filesystem_that_is_removed_is_forgotten),
        TEST(each_is_uploaded_once_and_not_removed_before),
        TEST(of_thousands_only_those_that_are_due_are_looked_at),
        TEST(a_policy_needs_a_name_and_a_schedule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
