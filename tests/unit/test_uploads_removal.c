/* What is removed from a bucket, with a crash at each step. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "control/tasks.h"
#include "control/uploads.h"
#include "control/uploads_removal.h"
#include "crypto/random.h"
#include "tests/support/kms_case.h"
#include "tests/support/upload_case.h"

#define STORE "bucket"

static void prepare(struct servers *servers)
{
    must_set(servers, servers->a);
    add_all(servers);
    must_add_folder_store(servers->fixture, STORE);
}

static int remove_upload(struct servers *servers, const char *locator, struct error *err)
{
    struct uploads_removed removed;

    return control_uploads_remove(servers->fixture->control, STORE, locator, &removed, err);
}

static void must_be_empty(struct servers *servers)
{
    for (int kind = BUCKET_PACK; kind <= BUCKET_MARK; kind++)
        assert_int_equal(count_objects(servers->fixture, STORE, (enum bucket_kind)kind), 0);
}

static void a_removal_takes_what_nobody_else_needs(void **state)
{
    struct servers *servers = *state;
    char first[LOCATOR_SIZE], second[LOCATOR_SIZE];
    struct error err = { .code = 0 };

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "same", first);
    must_upload(servers->fixture, "one", STORE, "same", second);
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_PACK), 1);
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_CHUNK), 2);
    must(remove_upload(servers, first, &err), &err);
    assert_audited(servers->fixture, "upload-remove", "ok");
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_HEAD), 1);
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_PACK), 1);
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_CHUNK), 1);
    assert_int_equal(remove_upload(servers, first, &err), -ENOENT);
    assert_non_null(strstr(err.text, first));
    must(remove_upload(servers, second, &err), &err);
    must_be_empty(servers);
    assert_int_equal(remove_upload(servers, "coffer1-nonsense", &err), -EINVAL);
}

/* As a shredding does it, which is no task. */
static int remove_without_a_task(struct servers *servers, const char *locator)
{
    struct uploads_removed removed;
    struct locator parsed;

    assert_int_equal(locator_parse(locator, &parsed, NULL), 0);
    return uploads_remove(servers->fixture->control, STORE, &parsed, 1, &removed, NULL);
}

static void a_removal_that_a_crash_interrupts_is_finished_by_itself(void **state)
{
    static const enum control_step steps[] = { STEP_UPLOAD_NOTED, STEP_UPLOAD_REMOVED };
    struct servers *servers = *state;
    char locator[LOCATOR_SIZE];

    prepare(servers);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        must_upload(servers->fixture, "one", STORE, "s", locator);
        servers->fixture->crash_at = steps[i];
        assert_int_equal(remove_without_a_task(servers, locator), CONTROL_CRASHED);
        assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_MARK), 1);
        servers->fixture->crash_at = STEP_COUNT;
        reopen_control(servers->fixture);
        while (count_objects(servers->fixture, STORE, BUCKET_MARK) > 0)
            clock_sleep_ms(10); /* a test's own time limit ends it */
        must_be_empty(servers);
    }
}

static struct task_view wait_for_task(struct servers *servers, uint64_t id, enum task_state state,
                                      bool is_waiting)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    struct task_view view;

    for (;;) {
        assert_int_equal(control_task_get(servers->fixture->control, id, &view, NULL), 0);
        if (view.state == state && view.is_waiting == is_waiting)
            return view;
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(10);
    }
}

/* One that cannot go on behind that step. */
static uint64_t start_stuck_removal(struct servers *servers, enum control_step step)
{
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    must_upload(servers->fixture, "one", STORE, "s", locator);
    servers->fixture->crash_at = step;
    must(control_uploads_remove_start(servers->fixture->control, STORE, locator, &view, &err),
         &err);
    assert_audited(servers->fixture, "upload-remove", "ok");
    (void)wait_for_task(servers, view.id, TASK_RUNNING, true);
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_MARK), 1);
    return view.id;
}

static void a_removal_is_a_task_that_goes_on_after_a_crash(void **state)
{
    static const enum control_step steps[] = { STEP_UPLOAD_NOTED, STEP_UPLOAD_REMOVED };
    struct servers *servers = *state;

    prepare(servers);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        uint64_t id = start_stuck_removal(servers, steps[i]);
        close_control(servers->fixture);
        servers->fixture->crash_at = STEP_COUNT;
        open_control(servers->fixture);
        struct task_view view = wait_for_task(servers, id, TASK_DONE, false);
        assert_string_equal(view.kind, "removal");
        assert_string_equal(view.store, STORE);
        assert_non_null(strstr(view.result, "still needed 0"));
        assert_true(view.total > 0 && view.done == view.total);
        must_be_empty(servers);
    }
}

static void a_removal_that_is_aborted_lets_others_go_on_and_leaves_what_nobody_needs(void **state)
{
    struct servers *servers = *state;
    struct uploads_removed removed;
    struct error err = { .code = 0 };
    struct task_view view;

    prepare(servers);
    uint64_t id = start_stuck_removal(servers, STEP_UPLOAD_REMOVED);
    must(control_task_abort(servers->fixture->control, id, false, &view, &err), &err);
    (void)wait_for_task(servers, id, TASK_ABORTED, false);
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_MARK), 0);
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_HEAD), 0);
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_PACK), 1);
    servers->fixture->crash_at = STEP_COUNT;
    must(control_uploads_remove(servers->fixture->control, STORE, NULL, &removed, &err), &err);
    assert_int_equal(removed.snapshots, 0);
    assert_true(removed.objects >= 2 && removed.bytes > 0);
    assert_int_equal(removed.kept, 0);
    must_be_empty(servers);
}

static void a_removal_that_is_paused_while_it_waits_lets_others_go_on(void **state)
{
    struct servers *servers = *state;
    struct error err = { .code = 0 };
    struct task_view view;

    prepare(servers);
    uint64_t id = start_stuck_removal(servers, STEP_UPLOAD_REMOVED);
    must(control_task_pause(servers->fixture->control, id, &view, &err), &err);
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    while (count_objects(servers->fixture, STORE, BUCKET_MARK) > 0) {
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(10);
    }
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_PACK), 1);
    servers->fixture->crash_at = STEP_COUNT;
    must(control_task_resume(servers->fixture->control, id, &view, &err), &err);
    (void)wait_for_task(servers, id, TASK_DONE, false);
    must_be_empty(servers);
}

/* Its mark in the store, for which uploads wait, cannot be taken away. */
static void a_removal_that_is_paused_while_its_store_is_away_says_what_it_waits_for(void **state)
{
    struct servers *servers = *state;
    char folder[PATH_MAX], aside[PATH_MAX];
    struct error err = { .code = 0 };
    struct task_view view;

    prepare(servers);
    uint64_t id = start_stuck_removal(servers, STEP_UPLOAD_REMOVED);
    (void)snprintf(folder, sizeof(folder), "%s/%s", servers->fixture->state_dir, STORE);
    (void)snprintf(aside, sizeof(aside), "%s/away", servers->fixture->state_dir);
    assert_int_equal(rename(folder, aside), 0);
    must(control_task_pause(servers->fixture->control, id, &view, &err), &err);
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    do { /* what it waited for before it was paused is told at first */
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(10);
        view = wait_for_task(servers, id, TASK_PAUSED, true);
    } while (!strstr(view.text, folder));
    assert_true(task_wait_end(servers->fixture->control, id, &view, &err) < 0);
    assert_non_null(strstr(err.text, "is paused"));
    assert_int_equal(rename(aside, folder), 0);
    view = wait_for_task(servers, id, TASK_PAUSED, false);
    assert_string_equal(view.text, "");
    assert_int_equal(count_objects(servers->fixture, STORE, BUCKET_MARK), 0);
    servers->fixture->crash_at = STEP_COUNT;
    must(control_task_resume(servers->fixture->control, id, &view, &err), &err);
    (void)wait_for_task(servers, id, TASK_DONE, false);
    must_be_empty(servers);
}

static void who_waits_for_a_removal_that_cannot_go_on_hears_why_and_which_task_it_is(void **state)
{
    struct servers *servers = *state;
    char locator[LOCATOR_SIZE], said[32];
    struct error err = { .code = 0 };
    struct task_view *views = NULL;
    size_t count = 0;

    prepare(servers);
    must_upload(servers->fixture, "one", STORE, "s", locator);
    servers->fixture->crash_at = STEP_UPLOAD_REMOVED;
    assert_true(remove_upload(servers, locator, &err) < 0);
    must(control_task_list(servers->fixture->control, &views, &count, &err), &err);
    (void)snprintf(said, sizeof(said), "task %llu goes on",
                   (unsigned long long)views[count - 1].id);
    assert_non_null(strstr(err.text, said));
    servers->fixture->crash_at = STEP_COUNT;
    must(control_task_resume(servers->fixture->control, views[count - 1].id, views, &err), &err);
    (void)wait_for_task(servers, views->id, TASK_DONE, false);
    must_be_empty(servers);
    free(views);
}

static void a_note_of_a_removal_is_read_and_no_altered_one(void **state)
{
    struct removal_record record = { .has_snapshot = true }, again;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    (void)state;
    random_uuid(&record.mark.mark);
    record.mark.written_ns = 1234567;
    random_bytes(record.snapshot.manifest, HASH_LEN);
    assert_int_equal(removal_record_encode(&record, &encoded), 0);
    assert_int_equal(removal_record_decode(buf_bytes(&encoded), &again, NULL), 0);
    assert_true(uuid_equal(&again.mark.mark, &record.mark.mark));
    assert_int_equal(again.mark.written_ns, record.mark.written_ns);
    assert_memory_equal(again.snapshot.manifest, record.snapshot.manifest, HASH_LEN);
    for (size_t cut = 0; cut < encoded.len; cut++)
        assert_int_equal(removal_record_decode((struct bytes){ encoded.data, cut }, &again, NULL),
                         -EBADMSG);
    must(file_read(FORMATS_FOLDER "/removal-note-v1.bin", REMOVAL_RECORD_MAX, &encoded, NULL),
         NULL);
    assert_int_equal(removal_record_decode(buf_bytes(&encoded), &again, NULL), 0);
    assert_int_equal(again.mark.mark.bytes[0], 1);
    assert_int_equal(again.mark.written_ns, 1795774860123456789u);
    assert_true(again.has_snapshot);
    assert_int_equal(again.snapshot.manifest[31], 63);
    encoded.data[4] = 2;
    assert_int_equal(removal_record_decode(buf_bytes(&encoded), &again, NULL), -EPROTONOSUPPORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_note_of_a_removal_is_read_and_no_altered_one),
        SERVERS_TEST(a_removal_takes_what_nobody_else_needs),
        SERVERS_TEST(a_removal_that_a_crash_interrupts_is_finished_by_itself),
        SERVERS_TEST(a_removal_is_a_task_that_goes_on_after_a_crash),
        SERVERS_TEST(a_removal_that_is_aborted_lets_others_go_on_and_leaves_what_nobody_needs),
        SERVERS_TEST(a_removal_that_is_paused_while_it_waits_lets_others_go_on),
        SERVERS_TEST(a_removal_that_is_paused_while_its_store_is_away_says_what_it_waits_for),
        SERVERS_TEST(who_waits_for_a_removal_that_cannot_go_on_hears_why_and_which_task_it_is),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests_name("uploads_removal", tests, NULL, NULL);
}
