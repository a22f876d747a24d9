/* Work that takes long: what the list says, that it goes on, waits, is paused and aborted, also
 * over restarts; and the records of it. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "control/download.h"
#include "control/locators.h"
#include "control/object_stores.h"
#include "control/tasks_internal.h"
#include "control/upload.h"
#include "crypto/secret.h"
#include "tests/support/control_case.h"

/* --- records --- */

/* What tests/formats/task-record-v1.bin holds. */
static void fill(struct task_record *record)
{
    memset(record, 0, sizeof(*record));
    *record = (struct task_record){ .id = 17,
                                    .kind = "upload",
                                    .state = TASK_ABORTING,
                                    .filesystem = "projects",
                                    .store = "backup",
                                    .snapshot = 12,
                                    .created_ns = 1795774860123456789,
                                    .ended_ns = 1795774860123456790,
                                    .total = 1000,
                                    .done = 999,
                                    .moved = 500,
                                    .code = -EIO,
                                    .text = "why",
                                    .result = "what",
                                    .parameters_len = 2,
                                    .parameters = { 1, 2 } };
    for (unsigned i = 0; i < UUID_LEN; i++) {
        record->uuid.bytes[i] = (uint8_t)i;
        record->fs.bytes[i] = (uint8_t)(0x80 + i);
    }
}

static void records_are_read_as_they_were_written(void **state)
{
    CLEANUP(buf_release) struct buf fixture = BUF_INIT;
    uint8_t encoded[TASK_RECORD_MAX];
    struct task_record written, read;
    size_t len = 0;
    (void)state;

    fill(&written);
    assert_int_equal(task_record_encode(&written, encoded, &len, NULL), 0);
    assert_int_equal(task_record_decode((struct bytes){ encoded, len }, &read, NULL), 0);
    assert_memory_equal(&read, &written, sizeof(read));
    assert_int_equal(file_read(FORMATS_FOLDER "/task-record-v1.bin", 65536, &fixture, NULL), 0);
    assert_int_equal(task_record_decode(buf_bytes(&fixture), &read, NULL), 0);
    assert_memory_equal(&read, &written, sizeof(read));

    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(task_record_decode((struct bytes){ encoded, cut }, &read, NULL),
                         cut == 4 || cut == 5 ? -EPROTONOSUPPORT : -EBADMSG);
    encoded[6] = 7; /* the state */
    assert_int_equal(task_record_decode((struct bytes){ encoded, len }, &read, NULL), -EBADMSG);
    encoded[4] = 2; /* the version */
    assert_int_equal(task_record_decode((struct bytes){ encoded, len }, &read, NULL),
                     -EPROTONOSUPPORT);
    memset(&written, 'x', sizeof(written)); /* the longest */
    written.state = TASK_DONE;
    written.kind[TASK_KIND_SIZE - 1] = written.filesystem[FS_NAME_MAX] = '\0';
    written.store[STORE_NAME_MAX] = written.text[511] = written.result[TASK_RESULT_SIZE - 1] = '\0';
    written.parameters_len = TASK_PARAMETERS_MAX;
    assert_int_equal(task_record_encode(&written, encoded, &len, NULL), 0);
}

static void locators_are_read_as_they_were_written(void **state)
{
    CLEANUP(buf_release) struct buf fixture = BUF_INIT;
    struct locator_record written = { .snapshot = 12,
                                      .store = "backup",
                                      .uploaded_ns = 1795774860123456789 };
    uint8_t encoded[LOCATOR_RECORD_MAX];
    struct locator_record read;
    size_t len = 0;
    (void)state;

    memset(written.fs.bytes, 0x55, UUID_LEN);
    memset(written.locator, 'q', LOCATOR_LEN);
    assert_int_equal(locator_record_encode(&written, encoded, &len, NULL), 0);
    assert_int_equal(file_read(FORMATS_FOLDER "/locator-record-v1.bin", 65536, &fixture, NULL), 0);
    assert_int_equal(fixture.len, len);
    assert_memory_equal(fixture.data, encoded, len);
    assert_int_equal(locator_record_decode(buf_bytes(&fixture), &read, NULL), 0);
    assert_true(uuid_equal(&read.fs, &written.fs) && read.snapshot == 12);
    assert_string_equal(read.store, "backup");
    assert_string_equal(read.locator, written.locator);
    assert_int_equal(read.uploaded_ns, written.uploaded_ns);
    for (size_t cut = 0; cut < len; cut++)
        assert_true(locator_record_decode((struct bytes){ encoded, cut }, &read, NULL) < 0);
}

/* --- a kind of the test's own --- */

static struct {
    atomic_int fails; /* run() returns this, until it is 0: then it waits to be stopped */
    atomic_bool gives_up;
    atomic_bool ends;           /* it is done */
    atomic_bool goes_on_bowing; /* when it is stopped, as long as this is so */
    atomic_int bows;            /* how often it was stopped */
    atomic_int plays;           /* how often it began */
    atomic_int undone;          /* undo() was called so often ... */
    atomic_int undo_fails;
    atomic_int ended;
} play;

static int stop_playing(struct task *task, struct error *err)
{
    atomic_fetch_add(&play.bows, 1);
    while (atomic_load(&play.goes_on_bowing))
        clock_sleep_ms(1);
    if (atomic_load(&play.gives_up))
        task_give_up(task);
    return error_set(err, -ECANCELED, "the play was stopped");
}

static int play_run(struct task *task, struct error *err)
{
    int code = atomic_load(&play.fails);

    atomic_fetch_add(&play.plays, 1);
    task_report(task, 100, 40, 7, "plays");
    if (code != 0) {
        if (atomic_load(&play.gives_up))
            task_give_up(task);
        return error_set(err, code, "the play is off");
    }
    while (!atomic_load(&play.ends))
        if (task_sleep(task, 1) < 0)
            return stop_playing(task, err);
    task_set_result(task, "applause");
    return 0;
}

static int play_undo(struct task *task, struct error *err)
{
    (void)task;
    atomic_fetch_add(&play.undone, 1);
    int code = atomic_load(&play.undo_fails);
    return code == 0 ? 0 : error_set(err, code, "the stage is locked");
}

static void play_ending(struct task *task, enum task_state to)
{
    (void)task;
    assert(task_state_is_end(to));
    atomic_fetch_add(&play.ended, 1);
}

static const struct task_kind play_kind = {
    .name = "play", .unit = "acts", .run = play_run, .undo = play_undo, .ending = play_ending
};

static void play_reset(void)
{
    atomic_store(&play.fails, 0);
    atomic_store(&play.gives_up, false);
    atomic_store(&play.ends, false);
    atomic_store(&play.goes_on_bowing, false);
    atomic_store(&play.bows, 0);
    atomic_store(&play.plays, 0);
    atomic_store(&play.undone, 0);
    atomic_store(&play.undo_fails, 0);
    atomic_store(&play.ended, 0);
}

static uint64_t begin(struct fixture *fixture)
{
    const struct task_new what = { .kind = &play_kind };
    struct task_view view;
    struct error err = { .code = 0 };

    must(task_add(fixture->control, &what, &view, &err), &err);
    return view.id;
}

static struct task_view look(struct fixture *fixture, uint64_t id)
{
    struct task_view view;
    struct error err = { .code = 0 };

    must(control_task_get(fixture->control, id, &view, &err), &err);
    return view;
}

static struct task_view wait_for(struct fixture *fixture, uint64_t id, enum task_state state,
                                 bool is_waiting)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    struct task_view view = look(fixture, id);

    while (view.state != state || view.is_waiting != is_waiting) {
        if (clock_monotonic_ms() > until)
            fail_msg("task %llu is %s%s: %s", (unsigned long long)id, task_state_name(view.state),
                     view.is_waiting ? ", waiting" : "", view.text);
        clock_sleep_ms(2);
        view = look(fixture, id);
    }
    return view;
}

static void wait_until_is(atomic_int *number, int wanted)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;

    while (atomic_load(number) != wanted) {
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(2);
    }
}

static void wait_for_phase(struct fixture *fixture, uint64_t id, const char *phase)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;

    while (strcmp(look(fixture, id).phase, phase) != 0) {
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(2);
    }
}

static void a_task_tells_how_far_it_is_and_its_result(void **state)
{
    struct fixture *fixture = *state;
    struct task_view view;

    play_reset();
    uint64_t id = begin(fixture);
    wait_for_phase(fixture, id, "plays");
    view = look(fixture, id);
    assert_int_equal(view.total, 100);
    assert_int_equal(view.done, 40);
    assert_int_equal(view.moved, 7);
    assert_string_equal(view.unit, "acts");
    assert_string_equal(view.about, "play");
    assert_int_equal(view.ended_ns, 0);
    atomic_store(&play.ends, true);
    view = wait_for(fixture, id, TASK_DONE, false);
    assert_string_equal(view.result, "applause");
    assert_true(view.ended_ns > 0);
    assert_event(fixture, "task-done");
    assert_int_equal(control_task_pause(fixture->control, id, &view, NULL), -EBUSY);
    assert_int_equal(control_task_abort(fixture->control, id, false, &view, NULL), -EBUSY);
    assert_int_equal(control_task_get(fixture->control, id + 1, &view, NULL), -ENOENT);

    reopen_control(fixture);
    view = look(fixture, id);
    assert_int_equal(view.state, TASK_DONE);
    assert_string_equal(view.result, "applause");
    assert_int_equal(begin(fixture), id + 1);
    wait_for(fixture, id + 1, TASK_DONE, false);
    assert_int_equal(atomic_load(&play.undone), 0);
    assert_int_equal(atomic_load(&play.ended), 2);
}

/* That it was stopped is what somebody wanted, even if its work takes that for the end of all. */
static void one_that_is_aborted_has_not_failed_whatever_it_says(void **state)
{
    struct fixture *fixture = *state;
    struct task_view view;
    struct error err = { .code = 0 };

    play_reset();
    atomic_store(&play.gives_up, true);
    uint64_t id = begin(fixture);
    wait_for_phase(fixture, id, "plays");
    atomic_store(&play.goes_on_bowing, true);
    must(control_task_pause(fixture->control, id, &view, &err), &err);
    wait_until_is(&play.bows, 1);
    must(control_task_resume(fixture->control, id, &view, &err), &err); /* before it has stopped */
    atomic_store(&play.goes_on_bowing, false);
    wait_until_is(&play.plays, 2);
    must(control_task_abort(fixture->control, id, false, &view, &err), &err);
    view = wait_for(fixture, id, TASK_ABORTED, false);
    assert_string_equal(view.text, "");
    assert_int_equal(atomic_load(&play.undone), 1);
    assert_int_equal(atomic_load(&play.ended), 1);
}

static void one_that_is_paused_rests_until_it_is_resumed(void **state)
{
    struct fixture *fixture = *state;
    struct task_view view;
    struct error err = { .code = 0 };

    play_reset();
    uint64_t id = begin(fixture);
    wait_for_phase(fixture, id, "plays");
    must(control_task_pause(fixture->control, id, &view, &err), &err);
    assert_int_equal(view.state, TASK_PAUSED);
    atomic_store(&play.ends, true);
    must(control_task_resume(fixture->control, id, &view, &err), &err);
    wait_for(fixture, id, TASK_DONE, false);
    assert_event(fixture, "task-paused");
    assert_event(fixture, "task-resumed");
}

static void one_that_is_aborted_is_undone(void **state)
{
    struct fixture *fixture = *state;
    struct task_view view;
    struct error err = { .code = 0 };

    play_reset();
    atomic_store(&play.undo_fails, -EIO);
    uint64_t id = begin(fixture);
    wait_for_phase(fixture, id, "plays");
    must(control_task_abort(fixture->control, id, false, &view, &err), &err);
    view = wait_for(fixture, id, TASK_ABORTING, true);
    assert_string_equal(view.text, "the stage is locked");
    assert_int_equal(control_task_resume(fixture->control, id, &view, NULL), -EBUSY);
    atomic_store(&play.undo_fails, 0);
    must(control_task_abort(fixture->control, id, false, &view, &err), &err); /* tries at once */
    wait_for(fixture, id, TASK_ABORTED, false);
    assert_true(atomic_load(&play.undone) >= 2);

    atomic_store(&play.undo_fails, -EIO);
    id = begin(fixture);
    must(control_task_abort(fixture->control, id, true, &view, &err), &err);
    wait_for(fixture, id, TASK_ABORTED, false);
    assert_event(fixture, "task-leftovers");
}

static void what_may_pass_is_waited_for_and_what_cannot_fails(void **state)
{
    struct fixture *fixture = *state;
    struct task_view view;
    struct error err = { .code = 0 };

    play_reset();
    atomic_store(&play.fails, -EACCES);
    uint64_t id = begin(fixture);
    view = wait_for(fixture, id, TASK_RUNNING, true);
    assert_string_equal(view.text, "the play is off");
    assert_event(fixture, "task-waits");
    assert_false(has_alert(fixture, "task-waits", ""));
    mutex_lock(&fixture->control->tasks->lock);
    fixture->control->tasks->alert_after_ms = 0;
    mutex_unlock(&fixture->control->tasks->lock);
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    while (!has_alert(fixture, "task-waits", "")) /* not while it just tries */
        assert_true(clock_monotonic_ms() < until);
    atomic_store(&play.fails, 0);
    atomic_store(&play.ends, true);
    must(control_task_resume(fixture->control, id, &view, &err), &err);
    wait_for(fixture, id, TASK_DONE, false);
    assert_false(has_alert(fixture, "task-waits", ""));

    atomic_store(&play.fails, -ESTALE);
    atomic_store(&play.gives_up, true);
    id = begin(fixture);
    view = wait_for(fixture, id, TASK_FAILED, false);
    assert_string_equal(view.text, "the play is off");
    assert_int_equal(atomic_load(&play.undone), 1);
    assert_event(fixture, "task-failed");
}

static void there_are_not_too_many(void **state)
{
    CLEANUP(free_ptr) struct task_view *views = NULL;
    struct fixture *fixture = *state;
    const struct task_new what = { .kind = &play_kind };
    struct task_view view;
    size_t count = 0;

    play_reset();
    for (unsigned i = 0; i < 64; i++)
        (void)begin(fixture);
    assert_int_equal(task_add(fixture->control, &what, &view, NULL), -EUSERS);
    atomic_store(&play.ends, true);
    for (uint64_t id = 1; id <= 64; id++)
        wait_for(fixture, id, TASK_DONE, false);
    for (unsigned i = 0; i < 260; i++) {
        uint64_t id = begin(fixture);
        wait_for(fixture, id, TASK_DONE, false);
    }
    uint64_t last = begin(fixture);
    wait_for(fixture, last, TASK_DONE, false);
    reopen_control(fixture);
    assert_int_equal(control_task_list(fixture->control, &views, &count, NULL), 0);
    assert_in_range(count, 257, 259);
    assert_int_equal(views[count - 1].id, 325);
}

/* --- uploads, by a worker that only says that it does it --- */

static void path_of(struct fixture *fixture, const char *name, char ret[static FS_URL_SIZE + 16])
{
    const struct fs_view view = view_of(fixture, "projects");

    (void)snprintf(ret, FS_URL_SIZE + 16, "%.1000s/%s", view.store_url + strlen("dir:"), name);
}

static void write_word(struct fixture *fixture, const char *word)
{
    char path[FS_URL_SIZE + 16];

    path_of(fixture, "~task", path);
    if (*word == '\0')
        (void)unlink(path);
    else
        assert_int_equal(
            file_replace(path, (struct bytes){ (const uint8_t *)word, strlen(word) }, 0644, NULL),
            0);
}

/* Its reader has taken it away. */
static void wait_for_no_word(struct fixture *fixture)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    char path[FS_URL_SIZE + 16];

    path_of(fixture, "~task", path);
    while (access(path, F_OK) == 0) {
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(2);
    }
}

static void prepare(struct fixture *fixture)
{
    struct store_record record = STORE_RECORD_INIT;
    struct store_view view;
    struct error err = { .code = 0 };

    (void)snprintf(record.name, sizeof(record.name), "disk");
    (void)snprintf(record.path, sizeof(record.path), "%s/disk", fixture->state_dir);
    assert_int_equal(mkdir(record.path, 0700), 0);
    must(control_store_add(fixture->control, &record, false, &view, &err), &err);
    must_add(fixture, "projects");
    must_start(fixture, "projects");
}

static int upload(struct fixture *fixture, const char *snapshot, uint64_t *ret, struct error *err)
{
    const struct snapshot_upload upload = { .snapshot = snapshot, .allow_no_kms = true };
    struct task_view view;

    int r = control_snapshot_upload(fixture->control, "projects", &upload, &view, err);
    if (r == 0)
        *ret = view.id;
    return r;
}

static uint64_t must_upload(struct fixture *fixture, const char *snapshot)
{
    struct error err = { .code = 0 };
    uint64_t id = 0;

    must(upload(fixture, snapshot, &id, &err), &err);
    return id;
}

static void an_upload_is_done_in_the_worker_and_its_locator_kept(void **state)
{
    CLEANUP(free_ptr) struct locator_record *locators = NULL;
    struct fixture *fixture = *state;
    size_t count = 0;

    prepare(fixture);
    write_word(fixture, "done");
    uint64_t id = must_upload(fixture, "two");
    struct task_view view = wait_for(fixture, id, TASK_DONE, false);
    assert_string_equal(view.about, "upload of snapshot 7 of projects, object store disk");
    assert_string_equal(view.result, "a result");
    assert_audited(fixture, "upload", "ok");
    reopen_control(fixture);
    wait_state(fixture, "projects", FS_STARTED);
    assert_int_equal(control_locators(fixture->control, "projects", &locators, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(locators[0].snapshot, 7);
    assert_string_equal(locators[0].store, "disk");
    assert_string_equal(locators[0].locator, "a result");
}

static void a_restart_of_cofferd_does_not_stop_it(void **state)
{
    struct fixture *fixture = *state;
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(fixture);
    uint64_t id = must_upload(fixture, "one");
    wait_for_phase(fixture, id, "data");
    reopen_control(fixture);
    wait_for_phase(fixture, id, "data");
    must(control_task_pause(fixture->control, id, &view, &err), &err);
    reopen_control(fixture);
    wait_state(fixture, "projects", FS_STARTED);
    assert_int_equal(look(fixture, id).state, TASK_PAUSED);
    write_word(fixture, "done");
    must(control_task_resume(fixture->control, id, &view, &err), &err);
    wait_for(fixture, id, TASK_DONE, false);
}

static void it_waits_for_the_filesystem_and_goes_on(void **state)
{
    struct fixture *fixture = *state;

    prepare(fixture);
    uint64_t id = must_upload(fixture, "one");
    wait_for_phase(fixture, id, "data");
    must_stop(fixture, "projects");
    struct task_view view = wait_for(fixture, id, TASK_RUNNING, true);
    while (strstr(view.text, "is not started") == NULL)
        view = look(fixture, id);
    write_word(fixture, "done");
    must_start(fixture, "projects");
    wait_for(fixture, id, TASK_DONE, false);
}

/* Of what it was doing nothing is heard any more. */
static void a_worker_that_ends_when_it_is_told_to_stop_is_not_waited_for(void **state)
{
    struct fixture *fixture = *state;
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(fixture);
    for (unsigned i = 0; i < 3; i++) {
        write_word(fixture, "");
        uint64_t id = must_upload(fixture, "one");
        wait_for_phase(fixture, id, "data");
        write_word(fixture, "dies");
        must(control_task_pause(fixture->control, id, &view, &err), &err);
        wait_for_no_word(fixture);
        write_word(fixture, "done");
        must(control_task_resume(fixture->control, id, &view, &err), &err);
        must_start(fixture, "projects");
        wait_for(fixture, id, TASK_DONE, false);
    }
}

/* As it was told at its last start. */
static bool drops_what_arrives(struct fixture *fixture)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;
    char path[FS_URL_SIZE + 16];

    path_of(fixture, "~flags", path);
    assert_int_equal(file_read(path, 64, &text, NULL), 0);
    assert_int_equal(buf_append(&text, (struct bytes){ (const uint8_t *)"", 1 }), 0);
    return strtoul((const char *)text.data, NULL, 10) & WORKER_FLAG_DROP_ARRIVING;
}

/* Its record may be lost, as when the filesystem was adopted. */
static void what_arrived_of_a_snapshot_goes_if_no_task_brings_it(void **state)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = NULL;
    struct fixture *fixture = *state;
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(fixture);
    assert_true(drops_what_arrives(fixture));
    fs = filesystem_find(fixture->control, "projects", &err);
    assert_non_null(fs);
    const struct task_new what = { .kind = &import_kind, .fs = fs, .store = "disk" };
    must(task_add(fixture->control, &what, &view, &err), &err);
    must(control_task_pause(fixture->control, view.id, &view, &err), &err);
    must_stop(fixture, "projects");
    must_start(fixture, "projects");
    assert_false(drops_what_arrives(fixture));
    must(control_task_abort(fixture->control, view.id, true, &view, &err), &err);
    wait_for(fixture, view.id, TASK_ABORTED, false);
    must_stop(fixture, "projects");
    must_start(fixture, "projects");
    assert_true(drops_what_arrives(fixture));
}

static void what_an_upload_needs_stays(void **state)
{
    struct fixture *fixture = *state;
    struct task_view view;
    struct error err = { .code = 0 };
    char path[FS_URL_SIZE + 16];

    prepare(fixture);
    uint64_t id = must_upload(fixture, "one");
    assert_int_equal(upload(fixture, "one", &id, &err), -EBUSY);
    assert_int_equal(control_snapshot_remove(fixture->control, "projects", "one", &err), -EBUSY);
    assert_non_null(strstr(err.text, "task 1"));
    must(control_snapshot_remove(fixture->control, "projects", "two", &err), &err);
    assert_int_equal(control_snapshot_remove(fixture->control, "projects", "three", &err), -ENOENT);
    path_of(fixture, "~listed", path);
    assert_int_equal(access(path, F_OK), -1); /* nobody looked at all snapshots for that */
    assert_int_equal(control_store_remove(fixture->control, "disk", &err), -EBUSY);
    must_stop(fixture, "projects");
    assert_int_equal(control_remove(fixture->control, "projects", &err), -EBUSY);
    assert_non_null(strstr(err.text, "task 1"));
    must(control_task_abort(fixture->control, id, false, &view, &err), &err);
    wait_for(fixture, id, TASK_ABORTED, false);
    assert_audited(fixture, "upload", "EINTR");
    must(control_remove(fixture->control, "projects", &err), &err);
    must(control_store_remove(fixture->control, "disk", &err), &err);
}

static void an_upload_is_refused_with_a_reason(void **state)
{
    struct fixture *fixture = *state;
    const struct snapshot_upload upload_local = { .snapshot = "one" };
    struct store_record record = STORE_RECORD_INIT;
    struct store_view store;
    struct task_view view;
    struct error err = { .code = 0 };
    uint64_t id = 0;

    prepare(fixture);
    assert_int_equal(
        control_snapshot_upload(fixture->control, "projects", &upload_local, &view, &err), -EPERM);
    assert_non_null(strstr(err.text, "--allow-no-kms"));
    assert_int_equal(upload(fixture, "three", &id, &err), -ENOENT);
    (void)snprintf(record.name, sizeof(record.name), "second");
    (void)snprintf(record.path, sizeof(record.path), "%s", fixture->state_dir);
    must(control_store_add(fixture->control, &record, false, &store, &err), &err);
    assert_int_equal(upload(fixture, "one", &id, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--object-store"));
    must_stop(fixture, "projects");
    must(control_store_remove(fixture->control, "second", &err), &err);
    assert_int_equal(upload(fixture, "one", &id, &err), -EBUSY);
    must(control_store_remove(fixture->control, "disk", &err), &err);
    assert_int_equal(upload(fixture, "one", &id, &err), -EINVAL);
    assert_int_equal(id, 0);
}

static void a_failure_of_the_worker_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(fixture);
    write_word(fixture, "away");
    uint64_t id = must_upload(fixture, "one");
    view = wait_for(fixture, id, TASK_RUNNING, true);
    assert_string_equal(view.text, "the store is away");
    write_word(fixture, "broken");
    must(control_task_resume(fixture->control, id, &view, &err), &err);
    view = wait_for(fixture, id, TASK_FAILED, false);
    assert_string_equal(view.text, "the store is broken");
    assert_audited(fixture, "upload", "EIO");
}

/* --- downloads --- */

/* As coffer fs download leaves it, if the worker says that it did what it is for. */
static struct filesystem *make_downloaded(struct fixture *fixture)
{
    struct filesystem *fs = filesystem_find(fixture->control, "projects", NULL);
    struct error err = { .code = 0 };

    assert_non_null(fs);
    mutex_lock(&fs->lock);
    fs->record.has_origin = true;
    (void)snprintf(fs->record.origin.store, sizeof(fs->record.origin.store), "disk");
    mutex_unlock(&fs->lock);
    must(filesystem_save(fs, &err), &err);
    must(download_begin_task(fs, &err), &err);
    must(download_begin_task(fs, &err), &err); /* there is one */
    return fs;
}

static void a_download_is_one_task_that_stays_until_all_is_here(void **state)
{
    struct fixture *fixture = *state;
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(fixture);
    must_stop(fixture, "projects");
    struct filesystem *fs = make_downloaded(fixture);
    view = wait_for(fixture, 1, TASK_RUNNING, true);
    assert_string_equal(view.about, "download of projects, object store disk");
    assert_non_null(strstr(view.text, "is not started"));
    assert_int_equal(control_task_get(fixture->control, 2, &view, NULL), -ENOENT);
    assert_int_equal(view_of(fixture, "projects").origin_task, 1);
    assert_string_equal(view_of(fixture, "projects").origin_store, "disk");
    assert_int_equal(control_task_abort(fixture->control, 1, false, &view, &err), -EBUSY);
    assert_non_null(strstr(err.text, "removing the filesystem ends it"));
    assert_int_equal(control_store_remove(fixture->control, "disk", &err), -EBUSY);
    filesystem_unref(fs);

    must_start(fixture, "projects");
    wait_for_phase(fixture, 1, "data");
    must(control_task_pause(fixture->control, 1, &view, &err), &err);
    reopen_control(fixture);
    wait_state(fixture, "projects", FS_STARTED);
    assert_int_equal(look(fixture, 1).state, TASK_PAUSED);
    write_word(fixture, "done");
    must(control_task_resume(fixture->control, 1, &view, &err), &err);
    view = wait_for(fixture, 1, TASK_DONE, false);
    assert_string_equal(view.result, "all of it is here");
    assert_event(fixture, "downloaded");
    assert_string_equal(view_of(fixture, "projects").origin_store, "");
    reopen_control(fixture);
    wait_state(fixture, "projects", FS_STARTED);
    assert_string_equal(view_of(fixture, "projects").origin_store, "");
    assert_int_equal(control_task_get(fixture->control, 2, &view, NULL), -ENOENT);
    must(control_store_remove(fixture->control, "disk", &err), &err);
}

static void the_removal_of_its_filesystem_ends_a_download(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };

    prepare(fixture);
    must_stop(fixture, "projects");
    filesystem_unref(make_downloaded(fixture));
    must(control_remove(fixture->control, "projects", &err), &err);
    struct task_view view = wait_for(fixture, 1, TASK_ABORTED, false);
    assert_string_equal(view.text, "its filesystem was removed");
    must(control_store_remove(fixture->control, "disk", &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_read_as_they_were_written),
        cmocka_unit_test(locators_are_read_as_they_were_written),
        STATE_TEST(a_task_tells_how_far_it_is_and_its_result),
        STATE_TEST(one_that_is_paused_rests_until_it_is_resumed),
        STATE_TEST(one_that_is_aborted_has_not_failed_whatever_it_says),
        STATE_TEST(one_that_is_aborted_is_undone),
        STATE_TEST(what_may_pass_is_waited_for_and_what_cannot_fails),
        STATE_TEST(there_are_not_too_many),
        STATE_TEST(an_upload_is_done_in_the_worker_and_its_locator_kept),
        STATE_TEST(a_restart_of_cofferd_does_not_stop_it),
        STATE_TEST(it_waits_for_the_filesystem_and_goes_on),
        STATE_TEST(what_an_upload_needs_stays),
        STATE_TEST(an_upload_is_refused_with_a_reason),
        STATE_TEST(a_failure_of_the_worker_is_told),
        STATE_TEST(what_arrived_of_a_snapshot_goes_if_no_task_brings_it),
        STATE_TEST(a_worker_that_ends_when_it_is_told_to_stop_is_not_waited_for),
        STATE_TEST(a_download_is_one_task_that_stays_until_all_is_here),
        STATE_TEST(the_removal_of_its_filesystem_ends_a_download),
    };

    if (secret_heap_init(NULL) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
