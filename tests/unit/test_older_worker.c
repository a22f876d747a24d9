/* A worker that a cofferd of an older version started: it goes on, is told of, and is not sent what
 * it does not know. And one of a later version: what it says and is not known is passed over. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/file_io.h"
#include "control/worker.h"
#include "tests/support/control_case.h"

static void mount_null(struct fixture *fixture)
{
    CLEANUP(close_fd) int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct error err = { .code = 0 };

    must(control_mount(fixture->control, "data", "/nowhere", fd, &err), &err);
}

static int ask(struct fixture *fixture, enum worker_message_type type, struct error *err)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(fixture->control, "data", NULL);
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);
    static struct worker_message order, answer;

    order = (struct worker_message){ .type = type };
    assert_non_null(worker);
    int r = worker_ask(worker, &order, -1, PATIENCE_MS, &answer, err);
    if (r == 0)
        worker_message_release(&answer);
    return r;
}

static void a_worker_of_an_older_version_goes_on_and_is_not_sent_what_it_does_not_know(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    char path[PATH_MAX];

    must_add(fixture, "data");
    must_start(fixture, "data");
    mount_null(fixture);
    assert_false(view_of(fixture, "data").has_older_worker);
    pid_t pid = worker_pid(fixture, "data");
    in_store_of(fixture, "~old", path);
    must(file_replace(path, (struct bytes){ .len = 0 }, 0600, &err), &err);
    reopen_control(fixture);
    wait_state(fixture, "data", FS_MOUNTED);
    assert_true(view_of(fixture, "data").has_older_worker);
    assert_true(has_alert(fixture, "worker-outdated", "data"));

    assert_int_equal(ask(fixture, WORKER_ADD_KEYS, &err), -ENOSYS);
    assert_non_null(strstr(err.text, "unmount the filesystem and mount it again"));
    err.code = 0;
    assert_int_equal(ask(fixture, WORKER_TASK_SEAL, &err), -ENOSYS);
    err.code = 0;
    must(ask(fixture, WORKER_SNAPSHOT_LIST, &err), &err);
    must(control_snapshot_remove(fixture->control, "data", "two", &err), &err); /* by the list */
    assert_int_equal(control_snapshot_remove(fixture->control, "data", "three", &err), -ENOENT);
    err.code = 0;
    assert_int_equal(worker_pid(fixture, "data"), pid);
    assert_int_equal(view_of(fixture, "data").state, FS_MOUNTED);

    assert_int_equal(unlink(path), 0);
    reopen_control(fixture); /* as if it had been exchanged */
    wait_state(fixture, "data", FS_MOUNTED);
    assert_false(view_of(fixture, "data").has_older_worker);
    assert_false(has_alert(fixture, "worker-outdated", "data"));
    must(ask(fixture, WORKER_ADD_KEYS, &err), &err);
}

static void an_older_worker_that_is_not_mounted_is_not_mounted_and_goes_on(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(close_fd) int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct error err = { .code = 0 };
    char path[PATH_MAX];

    must_add(fixture, "data");
    must_start(fixture, "data");
    pid_t pid = worker_pid(fixture, "data");
    in_store_of(fixture, "~old", path);
    must(file_replace(path, (struct bytes){ .len = 0 }, 0600, &err), &err);
    reopen_control(fixture);
    wait_state(fixture, "data", FS_STARTED);
    assert_int_equal(control_mount(fixture->control, "data", "/nowhere", fd, &err), -ENOSYS);
    assert_int_equal(worker_pid(fixture, "data"), pid);
    must_stop(fixture, "data");
    assert_int_equal(unlink(path), 0);
    must_start(fixture, "data");
    assert_false(view_of(fixture, "data").has_older_worker); /* a program of this installation */
    mount_null(fixture);
}

static void what_a_later_worker_tells_is_passed_over(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    char path[PATH_MAX];

    must_add(fixture, "data");
    must_start(fixture, "data");
    pid_t pid = worker_pid(fixture, "data");
    in_store_of(fixture, "~later", path);
    must(file_replace(path, (struct bytes){ .len = 0 }, 0600, &err), &err);
    for (unsigned i = 0; i < 5; i++)
        must(ask(fixture, WORKER_SNAPSHOT_LIST, &err), &err);
    assert_int_equal(worker_pid(fixture, "data"), pid);
    assert_int_equal(view_of(fixture, "data").state, FS_STARTED);
    reopen_control(fixture); /* its status, too, is longer than it is known here */
    wait_state(fixture, "data", FS_STARTED);
    assert_int_equal(worker_pid(fixture, "data"), pid);
    assert_false(view_of(fixture, "data").has_older_worker);
    must(ask(fixture, WORKER_SNAPSHOT_LIST, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STATE_TEST(a_worker_of_an_older_version_goes_on_and_is_not_sent_what_it_does_not_know),
        STATE_TEST(an_older_worker_that_is_not_mounted_is_not_mounted_and_goes_on),
        STATE_TEST(what_a_later_worker_tells_is_passed_over),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
