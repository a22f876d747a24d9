#include "tests/support/control_case.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"

static int on_step(enum control_step step, void *arg)
{
    struct fixture *fixture = arg;
    int left = atomic_load(&fixture->steps_left);

    if (step == fixture->crash_at || left == 0)
        return CONTROL_CRASHED; /* and so do all that come after */
    if (left > 0)
        atomic_store(&fixture->steps_left, left - 1);
    return 0;
}

void open_control(struct fixture *fixture)
{
    struct control_config config = { .state_dir = fixture->state_dir,
                                     .worker_program = FAKE_WORKER,
                                     .store_program = STORE_PROGRAM,
                                     .allows_key_export = true,
                                     .on_step = on_step,
                                     .step_arg = fixture };
    struct error err = { .code = 0 };

    if (control_open(&config, &fixture->control, &err) < 0)
        fail_msg("%s", err.text);
}

void close_control(struct fixture *fixture)
{
    control_close(fixture->control);
    fixture->control = NULL;
}

void reopen_control(struct fixture *fixture)
{
    close_control(fixture);
    open_control(fixture);
}

int control_case_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    (void)snprintf(fixture->state_dir, sizeof(fixture->state_dir), "/tmp/coffer-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->state_dir));
    fixture->crash_at = STEP_COUNT;
    atomic_store(&fixture->steps_left, -1);
    open_control(fixture);
    *state = fixture;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void stop_all(struct fixture *fixture)
{
    CLEANUP(free_ptr) struct fs_view *views = NULL;
    size_t count = 0;

    assert_int_equal(control_list(fixture->control, &views, &count, NULL), 0);
    for (size_t i = 0; i < count; i++)
        (void)control_stop(fixture->control, views[i].name, NULL);
}

static void fail_audit(uint64_t number, const char *text, void *arg)
{
    (void)number;
    (void)arg;
    fail_msg("%s", text);
}

static void assert_audit_is_whole(struct fixture *fixture)
{
    struct audit_verdict verdict;

    assert_int_equal(
        audit_verify(control_audit(fixture->control), NULL, fail_audit, NULL, &verdict, NULL), 0);
    assert_int_equal(verdict.faults, 0);
}

int control_case_teardown(void **state)
{
    struct fixture *fixture = *state;

    stop_all(fixture);
    assert_audit_is_whole(fixture);
    close_control(fixture);
    (void)nftw(fixture->state_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(fixture);
    return 0;
}

int add(struct fixture *fixture, const char *name, struct error *err)
{
    struct fs_add request = { .name = name, .allow_no_kms = true };
    struct fs_view view;

    return control_add(fixture->control, &request, &view, err);
}

void must(int r, const struct error *err)
{
    if (r < 0)
        fail_msg("%s: %s", strerrordesc_np(-r), err->text);
}

void must_add(struct fixture *fixture, const char *name)
{
    struct error err = { .code = 0 };

    must(add(fixture, name, &err), &err);
}

void must_start(struct fixture *fixture, const char *name)
{
    struct error err = { .code = 0 };
    struct fs_view view;

    must(control_start(fixture->control, name, NULL, &view, &err), &err);
    assert_int_equal(view.state, FS_STARTED);
}

void must_stop(struct fixture *fixture, const char *name)
{
    struct error err = { .code = 0 };

    must(control_stop(fixture->control, name, &err), &err);
}

struct fs_view view_of(struct fixture *fixture, const char *name)
{
    struct error err = { .code = 0 };
    struct fs_view view;

    must(control_get(fixture->control, name, &view, &err), &err);
    return view;
}

void wait_state(struct fixture *fixture, const char *name, enum fs_state state)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;

    while (view_of(fixture, name).state != state) {
        if (clock_monotonic_ms() > until)
            fail_msg("%s is %s: %s", name, fs_state_name(view_of(fixture, name).state),
                     view_of(fixture, name).status_text);
        clock_sleep_ms(10);
    }
}

static bool has_event(struct fixture *fixture, const char *type)
{
    struct events_query query = { .journal = { .limit = 1, .type = type },
                                  .level = LOG_LEVEL_INFO };
    CLEANUP(free_ptr) struct event *events = NULL;
    size_t count = 0;

    assert_int_equal(events_list(control_events(fixture->control), &query, &events, &count, NULL),
                     0);
    return count > 0;
}

void assert_event(struct fixture *fixture, const char *type)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;

    while (!has_event(fixture, type)) {
        if (clock_monotonic_ms() > until)
            fail_msg("there is no event %s", type);
        clock_sleep_ms(1);
    }
}

static struct audit_listed *newest_entry(struct fixture *fixture)
{
    struct journal_query query = { .limit = 1 };
    struct audit_listed *items = NULL;
    size_t count = 0;

    assert_int_equal(audit_list(control_audit(fixture->control), &query, &items, &count, NULL), 0);
    assert_int_equal(count, 1);
    return items;
}

void assert_audit_says(struct fixture *fixture, const char *text)
{
    CLEANUP(free_ptr) struct audit_listed *items = newest_entry(fixture);

    assert_string_equal(items[0].entry.text, text);
}

void assert_audited(struct fixture *fixture, const char *operation, const char *result)
{
    CLEANUP(free_ptr) struct audit_listed *items = newest_entry(fixture);

    assert_string_equal(items[0].entry.operation, operation);
    assert_string_equal(items[0].entry.result, result);
}

pid_t worker_pid(struct fixture *fixture, const char *name)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(fixture->control, name, NULL);
    CLEANUP(worker_unrefp) struct worker *worker = NULL;
    struct worker_status_reply status;
    struct error err = { .code = 0 };

    assert_non_null(fs);
    mutex_lock(&fs->lock);
    if (fs->worker)
        worker = worker_ref(fs->worker);
    mutex_unlock(&fs->lock);
    if (!worker || worker_status(worker, PATIENCE_MS, &status, &err) < 0)
        return 0;
    return status.pid;
}

void in_store_of(struct fixture *fixture, const char *name, char ret_path[static PATH_MAX])
{
    const struct fs_view view = view_of(fixture, "data");

    (void)snprintf(ret_path, PATH_MAX, "%.1000s/%s", view.store_url + strlen("dir:"), name);
}

bool has_alert(struct fixture *fixture, const char *type, const char *said)
{
    struct alert *alerts = NULL;
    size_t count = 0;
    bool is_there = false;

    assert_int_equal(control_alerts(fixture->control, &alerts, &count, NULL), 0);
    for (size_t i = 0; i < count; i++)
        is_there |= strcmp(alerts[i].kind->type, type) == 0 && strstr(alerts[i].text, said);
    free(alerts);
    return is_there;
}

pid_t make_orphan(struct fixture *fixture)
{
    must_add(fixture, "data");
    must_start(fixture, "data");
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(fixture->control, "data", NULL);
    mutex_lock(&fs->lock);
    fs->record.is_wanted = false;
    mutex_unlock(&fs->lock);
    assert_int_equal(filesystem_save(fs, NULL), 0);
    return worker_pid(fixture, "data");
}

void wait_left(struct fixture *fixture, const char *name)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(fixture->control, name, NULL);
    struct error err = { .code = 0 };

    mutex_lock(&fs->lock);
    must(filesystem_wait_left_locked(fs, &err), &err);
    mutex_unlock(&fs->lock);
}
