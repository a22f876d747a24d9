/* The process that holds an object store for one use: it serves, ends with its client, can be
 * killed without harm to the next use, and keeps its secrets. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/bucket_session.h"
#include "control/object_stores.h"
#include "crypto/secret.h"
#include "store/place_mark.h"
#include "store/remote_store.h"
#include "tests/support/control_case.h"

#define SECRET "a-secret-key-that-nobody-sees"

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static void add_store(struct fixture *fixture, struct store_record *record)
{
    struct store_view view;
    struct error err = { .code = 0 };

    must(control_store_add(fixture->control, record, false, &view, &err), &err);
}

/* A folder of the state folder, so that it goes with it. */
static void add_folder(struct fixture *fixture, const char *name)
{
    struct store_record record = STORE_RECORD_INIT;

    (void)snprintf(record.name, sizeof(record.name), "%s", name);
    (void)snprintf(record.path, sizeof(record.path), "%s/%s", fixture->state_dir, name);
    assert_int_equal(mkdir(record.path, 0700), 0);
    add_store(fixture, &record);
}

static int leave_as_it_is(struct store_record *record, void *arg, struct error *err)
{
    (void)record;
    (void)arg;
    (void)err;
    return 0;
}

static void add_bucket(struct fixture *fixture, const char *name)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;

    record.kind = STORE_KIND_S3;
    (void)snprintf(record.name, sizeof(record.name), "%s", name);
    (void)snprintf(record.s3.hostname, sizeof(record.s3.hostname), "127.0.0.1");
    record.s3.port = 1; /* nobody listens there, and nobody is asked */
    record.s3.is_plain_http = true;
    (void)snprintf(record.s3.bucket, sizeof(record.s3.bucket), "bucket");
    (void)snprintf(record.s3.access_key_id, sizeof(record.s3.access_key_id), "somebody");
    assert_int_equal(secret_assign(&record.s3.secret_key, text(SECRET)), 0);
    add_store(fixture, &record);
}

static size_t running(struct fixture *fixture)
{
    struct bucket_processes *processes = &fixture->control->bucket_processes;

    mutex_lock(&processes->lock);
    size_t count = processes->count;
    mutex_unlock(&processes->lock);
    return count;
}

/* The only one. The number is the first member of what the list holds. */
static pid_t its_pid(struct fixture *fixture)
{
    pid_t pid;

    assert_int_equal(running(fixture), 1);
    memcpy(&pid, fixture->control->bucket_processes.items, sizeof(pid));
    return pid;
}

/* Waits as long as it takes, and leaves it to be reaped. */
static void wait_for_end(pid_t pid)
{
    siginfo_t info;

    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void must_serve(struct object_store *store, const char *name)
{
    CLEANUP(buf_release) struct buf got = BUF_INIT;
    struct error err = { .code = 0 };

    must(object_store_put(store, name, text("something"), &err), &err);
    must(object_store_get(store, name, 100, &got, &err), &err);
    assert_int_equal(got.len, strlen("something"));
    assert_memory_equal(got.data, "something", got.len);
}

static void a_folder_is_served_by_a_process_that_ends_with_its_user(void **state)
{
    struct fixture *fixture = *state;
    struct object_store *store = NULL;
    struct error err = { .code = 0 };
    char path[128];

    add_folder(fixture, "disk");
    must(bucket_session_open(fixture->control, "disk", &store, &err), &err);
    must_serve(store, "a/b");
    (void)snprintf(path, sizeof(path), "%s/disk/a/b", fixture->state_dir);
    assert_int_equal(access(path, R_OK), 0);
    pid_t pid = its_pid(fixture);
    object_store_close(store);
    wait_for_end(pid);
    bucket_processes_reap(fixture->control);
    assert_int_equal(running(fixture), 0);
}

static void mark_folder(struct fixture *fixture, const char *name, struct error *err)
{
    struct store_view view;

    must(control_store_update(fixture->control, name, leave_as_it_is, NULL, true, &view, err), err);
}

static void a_folder_without_its_mark_is_not_used(void **state)
{
    struct fixture *fixture = *state;
    struct object_store *store = NULL;
    struct error err = { .code = 0 };
    char path[128], disk[128];

    add_folder(fixture, "disk");
    mark_folder(fixture, "disk", &err);
    must(bucket_session_open(fixture->control, "disk", &store, &err), &err);
    object_store_close(store);

    /* As when the disk is not mounted. */
    (void)snprintf(path, sizeof(path), "%s/disk", fixture->state_dir);
    (void)snprintf(disk, sizeof(disk), "%s/away", fixture->state_dir);
    assert_int_equal(rename(path, disk), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(bucket_session_open(fixture->control, "disk", &store, &err), -ENXIO);
    assert_non_null(strstr(err.text, "mount its disk"));
    assert_int_equal(control_store_check(fixture->control, "disk", &err), -ENXIO);
    assert_int_equal(rmdir(path), 0); /* nothing was put there */

    assert_int_equal(rename(disk, path), 0);
    must(bucket_session_open(fixture->control, "disk", &store, &err), &err);
    must_serve(store, "one");
    object_store_close(store);
}

static void another_folder_in_its_place_is_not_used(void **state)
{
    struct fixture *fixture = *state;
    struct object_store *store = NULL;
    struct error err = { .code = 0 };
    char of_one[128], of_two[128];

    add_folder(fixture, "one");
    mark_folder(fixture, "one", &err);
    add_folder(fixture, "two");
    mark_folder(fixture, "two", &err);
    (void)snprintf(of_one, sizeof(of_one), "%s/one/" PLACE_MARK_NAME, fixture->state_dir);
    (void)snprintf(of_two, sizeof(of_two), "%s/two/" PLACE_MARK_NAME, fixture->state_dir);
    assert_int_equal(rename(of_two, of_one), 0);
    assert_int_equal(bucket_session_open(fixture->control, "one", &store, &err), -ENXIO);
    assert_non_null(strstr(err.text, "another object store"));
}

static void a_folder_of_another_user_is_written_as_that_user(void **state)
{
    struct fixture *fixture = *state;
    struct object_store *store = NULL;
    struct error err = { .code = 0 };
    char path[128];
    struct stat st;

    if (geteuid() != 0)
        skip();
    add_folder(fixture, "disk");
    (void)snprintf(path, sizeof(path), "%s/disk", fixture->state_dir);
    assert_int_equal(chown(path, 12345, 54321), 0);
    must(bucket_session_open(fixture->control, "disk", &store, &err), &err);
    must_serve(store, "a/b");
    object_store_close(store);
    (void)snprintf(path, sizeof(path), "%s/disk/a", fixture->state_dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 12345);
}

static void a_process_that_is_killed_fails_one_use_and_not_the_next(void **state)
{
    CLEANUP(buf_release) struct buf got = BUF_INIT;
    struct fixture *fixture = *state;
    struct object_store *store = NULL;
    struct error err = { .code = 0 };

    add_folder(fixture, "disk");
    must(bucket_session_open(fixture->control, "disk", &store, &err), &err);
    must_serve(store, "one");
    assert_int_equal(kill(its_pid(fixture), SIGKILL), 0);
    wait_for_end(its_pid(fixture));
    assert_int_equal(object_store_get(store, "one", 100, &got, &err), -ENOTCONN);
    assert_non_null(strstr(err.text, "the process that holds the object store"));
    object_store_close(store);

    must(bucket_session_open(fixture->control, "disk", &store, &err), &err);
    must_serve(store, "two");
    assert_int_equal(running(fixture), 1);
    assert_event(fixture, "object-store-process-died");
    object_store_close(store);
}

static void a_worker_goes_on_with_its_socket_when_the_control_plane_is_gone(void **state)
{
    struct fixture *fixture = *state;
    struct object_store *store = NULL;
    struct error err = { .code = 0 };
    int fd = -1;

    add_folder(fixture, "disk");
    must(bucket_session_start(fixture->control, "disk", &fd, &err), &err);
    pid_t pid = its_pid(fixture);
    reopen_control(fixture);
    must(remote_store_open(fd, &store, &err), &err);
    must_serve(store, "one");
    object_store_close(store);
    wait_for_end(pid);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void must_not_hold_the_secret(pid_t pid, const char *what)
{
    char path[64], content[65536];

    if (geteuid() != 0)
        return; /* it is not even shown */
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t len = fread(content, 1, sizeof(content), file);
    (void)fclose(file);
    assert_true(len > 0);
    assert_null(memmem(content, len, SECRET, strlen(SECRET)));
}

static void credentials_of_a_bucket_are_in_no_argument_and_no_environment(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    int fd = -1;

    add_bucket(fixture, "backup");
    must(bucket_session_start(fixture->control, "backup", &fd, &err), &err);
    must_not_hold_the_secret(its_pid(fixture), "cmdline");
    must_not_hold_the_secret(its_pid(fixture), "environ");
    must_not_hold_the_secret(getpid(), "cmdline");
    close_fd(&fd);
}

static void what_cannot_be_started_is_said(void **state)
{
    struct fixture *fixture = *state;
    struct object_store *store = NULL;
    struct error err = { .code = 0 };
    char path[128];

    assert_int_equal(bucket_session_open(fixture->control, "none", &store, &err), -ENOENT);
    assert_non_null(strstr(err.text, "there is no object store none"));
    add_folder(fixture, "disk");
    char *program = fixture->control->store_program;
    fixture->control->store_program = strdup("/nowhere/coffer-store");
    assert_int_equal(bucket_session_open(fixture->control, "disk", &store, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nowhere/coffer-store"));
    free(fixture->control->store_program);
    fixture->control->store_program = strdup("/bin/false");
    assert_int_equal(bucket_session_open(fixture->control, "disk", &store, &err), -EPIPE);
    assert_non_null(strstr(err.text, "object store disk"));
    free(fixture->control->store_program);
    fixture->control->store_program = program;
    (void)snprintf(path, sizeof(path), "%s/disk", fixture->state_dir);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(bucket_session_open(fixture->control, "disk", &store, &err), -ENXIO);
    assert_non_null(strstr(err.text, "cannot use folder"));
}

static int setup(void **state)
{
    (void)state;
    return secret_heap_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STATE_TEST(a_folder_is_served_by_a_process_that_ends_with_its_user),
        STATE_TEST(a_folder_without_its_mark_is_not_used),
        STATE_TEST(another_folder_in_its_place_is_not_used),
        STATE_TEST(a_folder_of_another_user_is_written_as_that_user),
        STATE_TEST(a_process_that_is_killed_fails_one_use_and_not_the_next),
        STATE_TEST(a_worker_goes_on_with_its_socket_when_the_control_plane_is_gone),
        STATE_TEST(credentials_of_a_bucket_are_in_no_argument_and_no_environment),
        STATE_TEST(what_cannot_be_started_is_said),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
