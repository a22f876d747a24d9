/* The life of filesystems under the control plane: added, started, stopped, checked, removed, with
 * crashes of either side between the steps. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "control/snapshot_policies.h"
#include "crypto/random.h"
#include "store/object_store.h"
#include "tests/support/control_case.h"

static bool is_folder_empty(const char *path)
{
    DIR *folder = opendir(path);
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder))
        count++;
    (void)closedir(folder);
    return count == 2;
}

static void names_of_filesystems_are_checked(void **state)
{
    static const struct {
        const char *name;
        int result;
    } cases[] = {
        { "data", 0 },
        { "A-b_c.9", 0 },
        { "12345678901234567890123456789012", 0 },
        { "123456789012345678901234567890123", -EINVAL },
        { "", -EINVAL },
        { ".", -EINVAL },
        { "..", -EINVAL },
        { "-x", -EINVAL },
        { "a/b", -EINVAL },
        { "a b", -EINVAL },
        { "\xc3\xa4", -EINVAL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(fs_name_check(cases[i].name, NULL), cases[i].result);
}

static void a_record_survives_encoding_and_no_altered_length_is_read(void **state)
{
    struct fs_record *record = calloc(2, sizeof(*record));
    uint8_t bytes[FS_RECORD_MAX];
    size_t len = 0;

    (void)state;
    random_uuid(&record->uuid);
    (void)snprintf(record->name, sizeof(record->name), "data");
    (void)snprintf(record->mountpoint, sizeof(record->mountpoint), "/mnt/data");
    record->own = (struct fs_kms_key){ .key = "own", .kms_namespace = "ns", .role_id = "role" };
    record->has_next = true;
    record->next = (struct fs_kms_key){ .key = "next", .role_id = "other" };
    record->phase = FS_PHASE_READY;
    record->is_wanted = true;
    record->cache_bytes = 1ull << 33;
    (void)snprintf(record->cache_folder, sizeof(record->cache_folder), "/srv/cache");
    record->check_count = 2;
    record->checks[1].generation = 7;
    record->has_origin = true;
    record->origin = (struct fs_origin){ .store = "backup", .manifest = { 1, 2 } };
    random_uuid(&record->origin.fs);
    random_uuid(&record->origin.reference);
    assert_int_equal(fs_record_encode(record, bytes, &len, NULL), 0);
    assert_int_equal(
        fs_record_decode((struct bytes){ .data = bytes, .len = len }, &record[1], NULL), 0);
    assert_memory_equal(&record[0], &record[1], sizeof(*record));
    for (size_t cut = 0; cut < len; cut++)
        assert_true(
            fs_record_decode((struct bytes){ .data = bytes, .len = cut }, &record[1], NULL) < 0);
    free(record);
}

static void read_record_fixture(unsigned version, struct fs_record *ret)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct error err = { .code = 0 };
    char path[512];

    (void)snprintf(path, sizeof(path), FORMATS_FOLDER "/fs-record-v%u.bin", version);
    must(file_read(path, FS_RECORD_MAX, &encoded, &err), &err);
    must(fs_record_decode(buf_bytes(&encoded), ret, &err), &err);
}

static void expect_own_key(unsigned version, const struct fs_record *record)
{
    assert_string_equal(record->own.key, version < 3 ? "" : "own-key");
    assert_string_equal(record->own.kms_namespace, version < 3 ? "" : "team/a");
    assert_string_equal(record->own.role_id, version < 4 ? "" : "a-role");
    assert_int_equal(record->has_next, version >= 4);
    assert_string_equal(record->next.key, version < 4 ? "" : "next-key");
    assert_string_equal(record->next.role_id, version < 4 ? "" : "next-role");
}

/* Where its data is kept besides, and where it comes from. */
static void expect_places(unsigned version, const struct fs_record *record)
{
    assert_int_equal(record->cache_bytes, version < 5 ? 0 : 3ull << 30);
    assert_string_equal(record->cache_folder, version < 5 ? "" : "/srv/coffer/cache");
    assert_int_equal(record->has_origin, version == 6);
    assert_string_equal(record->origin.store, version < 6 ? "" : "backup");
    assert_int_equal(record->origin.manifest[FS_MANIFEST_LEN - 1], version < 6 ? 0 : 0xbf);
    assert_int_equal(record->origin.fs.bytes[0], version < 6 ? 0 : 0x40);
    assert_int_equal(record->origin.reference.bytes[0], version < 6 ? 0 : 0x50);
}

/* Each was written by the coffer of its time. */
static void a_record_of_any_version_is_read(void **state)
{
    struct fs_record *record = calloc(1, sizeof(*record));

    (void)state;
    assert_non_null(record);
    for (unsigned version = 1; version <= 6; version++) {
        read_record_fixture(version, record);
        assert_string_equal(record->name, "data");
        assert_int_equal(record->phase, version == 2 ? FS_PHASE_SHREDDING : FS_PHASE_READY);
        assert_int_equal(record->capacity, 5ull << 30);
        assert_int_equal(record->created_ns, 1795788001000000000);
        for (uint8_t i = 0; i < UUID_LEN; i++) {
            assert_int_equal(record->uuid.bytes[i], i + 1);
            assert_int_equal(record->owner.bytes[i], i + 17);
        }
        assert_string_equal(record->store_url, "dir:/srv/coffer/store");
        assert_string_equal(record->meta_url, "lmdb:/srv/coffer/meta");
        assert_string_equal(record->mountpoint, "/mnt/data");
        assert_int_equal(record->mount_flags, 9);
        assert_true(record->is_wanted && record->has_own_meta && !record->has_own_store);
        expect_own_key(version, record);
        expect_places(version, record);
        assert_int_equal(record->check_count, 2);
        assert_int_equal(record->checks[0].generation, 1);
        assert_int_equal(record->checks[1].generation, 7);
        assert_int_equal(record->checks[1].value[KEY_CHECK_LEN - 1], 0xa7);
    }
    free(record);
}

/* Version 1 has no shredding: such a phase in it is damage. */
static void a_record_of_a_later_version_or_with_a_phase_of_one_is_refused(void **state)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct fs_record *record = calloc(1, sizeof(*record));

    (void)state;
    assert_int_equal(file_read(FORMATS_FOLDER "/fs-record-v1.bin", FS_RECORD_MAX, &encoded, NULL),
                     0);
    encoded.data[6] = FS_PHASE_SHREDDING;
    assert_int_equal(fs_record_decode(buf_bytes(&encoded), record, NULL), -EBADMSG);
    encoded.data[4] = 2; /* the version */
    assert_int_equal(fs_record_decode(buf_bytes(&encoded), record, NULL), 0);
    encoded.data[4] = 7;
    assert_int_equal(fs_record_decode(buf_bytes(&encoded), record, NULL), -EPROTONOSUPPORT);
    free(record);
}

/* One in a bucket, of before there were caches, gets the usual one. */
static void an_older_record_of_a_bucket_has_a_cache(void **state)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct fs_record *record = calloc(1, sizeof(*record));

    (void)state;
    assert_int_equal(file_read(FORMATS_FOLDER "/fs-record-v4.bin", FS_RECORD_MAX, &encoded, NULL),
                     0);
    uint8_t *url = memmem(encoded.data, encoded.len, "dir:/srv/coffer/store", 21);
    assert_non_null(url);
    static const uint8_t other[] = { 's', '3', ':' };
    memcpy(url, other, sizeof(other));
    assert_int_equal(fs_record_decode(buf_bytes(&encoded), record, NULL), 0);
    assert_int_equal(record->cache_bytes, FS_CACHE_DEFAULT);
    assert_string_equal(record->cache_folder, "");
    free(record);
}

static void states_move_as_the_table_says(void **state)
{
    static const char *const allowed[FS_STATE_COUNT] = {
        [FS_STOPPED] = "starting removing",
        [FS_STARTING] = "stopped waiting-for-kms started mounted failed",
        [FS_WAITING_FOR_KMS] = "starting stopped",
        [FS_STARTED] = "mounted stopped failed",
        [FS_MOUNTED] = "started stopped failed",
        [FS_FAILED] = "starting stopped",
        [FS_REMOVING] = "stopped",
    };

    (void)state;
    for (enum fs_state from = 0; from < FS_STATE_COUNT; from++)
        for (enum fs_state to = 0; to < FS_STATE_COUNT; to++)
            assert_int_equal(fs_state_allows(from, to),
                             from == to || strstr(allowed[from], fs_state_name(to)) != NULL);
}

static void a_filesystem_without_a_kms_is_refused_unless_that_is_accepted(void **state)
{
    struct fixture *fixture = *state;
    struct fs_add request = { .name = "data" };
    struct error err = { .code = 0 };
    struct fs_view view;

    assert_int_equal(control_add(fixture->control, &request, &view, &err), -ENOKEY);
    assert_non_null(strstr(err.text, "--allow-no-kms"));
    assert_int_equal(control_get(fixture->control, "data", &view, NULL), -ENOENT);

    must_add(fixture, "data");
    struct alert *alerts = NULL;
    size_t count = 0;
    assert_int_equal(control_alerts(fixture->control, &alerts, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_string_equal(alerts[0].kind->type, "local-key");
    free(alerts);
}

static void a_name_is_taken_once(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };

    must_add(fixture, "data");
    assert_int_equal(add(fixture, "data", &err), -EEXIST);
}

static void a_capacity_below_one_gib_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct fs_add request = { .name = "data", .capacity = FS_CAPACITY_MIN - 1 };
    struct fs_view view;

    request.allow_no_kms = true;
    assert_int_equal(control_add(fixture->control, &request, &view, NULL), -EINVAL);
    request.capacity++;
    assert_int_equal(control_add(fixture->control, &request, &view, NULL), 0);
    assert_int_equal(view.capacity, FS_CAPACITY_MIN);
}

static void a_place_that_is_not_empty_is_refused_and_left_alone(void **state)
{
    struct fixture *fixture = *state;
    char url[128];
    char path[128];
    struct fs_add request = { .name = "data", .allow_no_kms = true, .store_url = url };
    struct bytes text = { .data = (const uint8_t *)"mine", .len = 4 };
    struct fs_view view;
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/file", fixture->state_dir);
    (void)snprintf(url, sizeof(url), "dir:%s", fixture->state_dir);
    assert_int_equal(file_replace(path, text, 0600, NULL), 0);
    assert_int_equal(control_add(fixture->control, &request, &view, NULL), -ENOTEMPTY);
    assert_int_equal(stat(path, &st), 0);
}

static void a_crash_between_any_two_steps_of_an_addition_can_be_completed(void **state)
{
    struct fixture *fixture = *state;

    for (int step = STEP_ADD_KEY_PROVED; step <= STEP_ADD_READY; step++) {
        struct fs_view view;
        fixture->crash_at = (enum control_step)step;
        assert_int_equal(add(fixture, "data", NULL), CONTROL_CRASHED);
        fixture->crash_at = STEP_COUNT;
        reopen_control(fixture);
        if (control_get(fixture->control, "data", &view, NULL) == -ENOENT) {
            assert_int_equal(step, STEP_ADD_KEY_PROVED); /* nothing was stored before */
            continue;
        }
        must_start(fixture, "data");
        must_stop(fixture, "data");
        assert_int_equal(control_remove(fixture->control, "data", NULL), 0);
    }
}

static void a_crash_between_any_two_steps_of_an_addition_can_be_removed(void **state)
{
    struct fixture *fixture = *state;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/filesystems", fixture->state_dir);
    for (int step = STEP_ADD_RECORDED; step <= STEP_ADD_READY; step++) {
        struct error err = { .code = 0 };
        fixture->crash_at = (enum control_step)step;
        assert_int_equal(add(fixture, "data", NULL), CONTROL_CRASHED);
        fixture->crash_at = STEP_COUNT;
        reopen_control(fixture);
        must(control_remove(fixture->control, "data", &err), &err);
        assert_true(is_folder_empty(path));
    }
}

static void a_removal_that_a_crash_interrupted_is_finished(void **state)
{
    struct fixture *fixture = *state;
    struct fs_view view;

    for (int step = STEP_REMOVE_MARKED; step <= STEP_REMOVE_DELETED; step++) {
        must_add(fixture, "data");
        fixture->crash_at = (enum control_step)step;
        assert_int_equal(control_remove(fixture->control, "data", NULL), CONTROL_CRASHED);
        fixture->crash_at = STEP_COUNT;
        reopen_control(fixture);
        assert_int_equal(control_get(fixture->control, "data", &view, NULL), -ENOENT);
    }
}

static void what_is_done_to_keys_is_in_the_audit_log_before_it_takes_effect(void **state)
{
    struct fixture *fixture = *state;

    fixture->crash_at = STEP_ADD_RECORDED;
    assert_int_equal(add(fixture, "data", NULL), CONTROL_CRASHED);
    fixture->crash_at = STEP_COUNT;
    reopen_control(fixture);
    assert_audited(fixture, "create", "ok");
    must_start(fixture, "data");
    assert_audited(fixture, "unwrap", "ok");
    must_stop(fixture, "data");
    fixture->crash_at = STEP_REMOVE_DELETED;
    assert_int_equal(control_remove(fixture->control, "data", NULL), CONTROL_CRASHED);
    assert_audited(fixture, "remove", "ok");
}

/* Files may not grow beyond so many bytes: the registry's pages are all behind that. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void nothing_is_done_to_keys_while_the_audit_log_cannot_be_written(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    struct fs_view view;

    must_add(fixture, "kept");
    limit_files(1000);
    int added = add(fixture, "data", &err);
    struct error start_err = { .code = 0 };
    int started = control_start(fixture->control, "kept", NULL, &view, &start_err);
    struct error remove_err = { .code = 0 };
    int removed = control_remove(fixture->control, "kept", &remove_err);
    limit_files(RLIM_INFINITY);
    assert_true(added < 0 && started < 0 && removed < 0);
    assert_non_null(strstr(err.text, "the audit log cannot be written"));
    assert_non_null(strstr(start_err.text, "the audit log cannot be written"));
    assert_int_equal(control_get(fixture->control, "data", &view, NULL), -ENOENT);

    reopen_control(fixture);
    assert_int_equal(control_get(fixture->control, "data", &view, NULL), -ENOENT);
    must_start(fixture, "kept");
    must_add(fixture, "data");
}

static void a_shredding_that_a_crash_interrupted_is_finished(void **state)
{
    static const enum control_step steps[] = { STEP_REMOVE_MARKED, STEP_SHRED_REGISTRY,
                                               STEP_SHRED_STORE, STEP_SHRED_SCRUBBED,
                                               STEP_REMOVE_DELETED };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        CLEANUP(shred_report_release) struct shred_report report = { .count = 0 };
        struct fs_view view;
        must_add(fixture, "data");
        fixture->crash_at = steps[i];
        assert_int_equal(control_shred(fixture->control, "data", &report, NULL), CONTROL_CRASHED);
        fixture->crash_at = STEP_COUNT;
        assert_int_equal(control_start(fixture->control, "data", NULL, &view, NULL), -EBUSY);
        reopen_control(fixture);
        assert_int_equal(control_get(fixture->control, "data", &view, NULL), -ENOENT);
        assert_event(fixture, "keys-shredded");
    }
}

/* A removal that was plain may still become a shredding; a shredding stays one. */
static void an_interrupted_removal_is_repeated_as_a_shredding_and_the_other_way_round(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(shred_report_release) struct shred_report report = { .count = 0 };

    must_add(fixture, "one");
    fixture->crash_at = STEP_REMOVE_MARKED;
    assert_int_equal(control_remove(fixture->control, "one", NULL), CONTROL_CRASHED);
    fixture->crash_at = STEP_SHRED_STORE;
    assert_int_equal(control_shred(fixture->control, "one", &report, NULL), CONTROL_CRASHED);
    fixture->crash_at = STEP_SHRED_REGISTRY;
    assert_int_equal(control_remove(fixture->control, "one", NULL), CONTROL_CRASHED);
    fixture->crash_at = STEP_COUNT;
    assert_int_equal(control_remove(fixture->control, "one", NULL), 0);
}

static void a_place_that_was_given_is_empty_after_a_removal_and_can_be_given_again(void **state)
{
    struct fixture *fixture = *state;
    char url[128];
    struct fs_add request = { .name = "data", .allow_no_kms = true, .store_url = url };
    struct bytes text = { .data = (const uint8_t *)"sealed", .len = 6 };
    struct fs_view view;

    (void)snprintf(url, sizeof(url), "dir:%s/place", fixture->state_dir);
    for (int i = 0; i < 2; i++) {
        struct error err = { .code = 0 };
        must(control_add(fixture->control, &request, &view, &err), &err);
        CLEANUP(object_store_closep) struct object_store *store = NULL;
        must(object_store_open(url, &store, &err), &err);
        must(object_store_put(store, "segments/one", text, &err), &err);
        must(control_remove(fixture->control, "data", &err), &err);
        assert_true(is_folder_empty(url + strlen("dir:")));
    }
}

static void a_started_filesystem_is_not_removed(void **state)
{
    struct fixture *fixture = *state;

    must_add(fixture, "data");
    must_start(fixture, "data");
    assert_int_equal(control_remove(fixture->control, "data", NULL), -EBUSY);
    must_stop(fixture, "data");
    assert_int_equal(control_remove(fixture->control, "data", NULL), 0);
}

static void a_worker_outlives_the_control_plane_and_is_found_again(void **state)
{
    struct fixture *fixture = *state;

    must_add(fixture, "data");
    must_start(fixture, "data");
    pid_t pid = worker_pid(fixture, "data");
    assert_true(pid > 0);
    close_control(fixture);
    assert_int_equal(kill(pid, 0), 0);
    open_control(fixture);
    wait_state(fixture, "data", FS_STARTED);
    assert_int_equal(worker_pid(fixture, "data"), pid);
}

static void a_worker_that_is_killed_is_reported_and_started_again(void **state)
{
    struct fixture *fixture = *state;

    must_add(fixture, "data");
    must_start(fixture, "data");
    pid_t pid = worker_pid(fixture, "data");
    assert_int_equal(kill(pid, SIGKILL), 0);
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    while (worker_pid(fixture, "data") == pid || worker_pid(fixture, "data") == 0) {
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(10);
    }
    wait_state(fixture, "data", FS_STARTED);
    assert_event(fixture, "worker-died");
}

static void a_started_filesystem_comes_back_when_its_worker_died_with_the_host(void **state)
{
    struct fixture *fixture = *state;

    must_add(fixture, "data");
    must_start(fixture, "data");
    pid_t pid = worker_pid(fixture, "data");
    close_control(fixture);
    assert_int_equal(kill(pid, SIGKILL), 0);
    open_control(fixture);
    wait_state(fixture, "data", FS_STARTED);
    assert_int_not_equal(worker_pid(fixture, "data"), pid);
}

static void a_worker_that_nobody_remembers_is_stopped_before_another_starts(void **state)
{
    struct fixture *fixture = *state;

    pid_t orphan = make_orphan(fixture);
    reopen_control(fixture);
    assert_int_equal(view_of(fixture, "data").state, FS_STOPPED);
    must_start(fixture, "data");
    assert_int_not_equal(worker_pid(fixture, "data"), orphan);
    int how;
    assert_int_equal(waitpid(orphan, &how, 0), orphan); /* our child, as it is nobody else's here */
    assert_true(WIFEXITED(how));
}

struct stop {
    struct fixture *fixture;
    int r;
    struct error err;
};

static void *start_it(void *arg)
{
    struct stop *start = arg;

    start->r = control_start(start->fixture->control, "data", NULL, &(struct fs_view){ .used = 0 },
                             &start->err);
    return NULL;
}

static void *stop_it(void *arg)
{
    struct stop *stop = arg;

    stop->r = control_stop(stop->fixture->control, "data", &stop->err);
    return NULL;
}

/* Until somebody waits for it to stop. */
static void wait_stop_wanted(struct fixture *fixture)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(fixture->control, "data", NULL);

    assert_non_null(fs);
    mutex_lock(&fs->lock);
    while (!fs->stop_wanted)
        cond_wait(&fs->changed, &fs->lock);
    assert_null(fs->worker); /* so that the keeper is who tells it */
    mutex_unlock(&fs->lock);
}

/* As one does whose restore goes on. */
static void nobody_waits_for_a_slow_worker_that_nobody_remembers_when_cofferd_ends(void **state)
{
    struct fixture *fixture = *state;
    struct stop start = { .fixture = fixture };
    pthread_t starter;
    char path[PATH_MAX];
    int how;

    pid_t orphan = make_orphan(fixture);
    in_store_of(fixture, "~end", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    reopen_control(fixture);
    assert_int_equal(pthread_create(&starter, NULL, start_it, &start), 0);
    control_shut_down(fixture->control);
    assert_int_equal(pthread_join(starter, NULL), 0);
    assert_int_equal(start.r, -ESHUTDOWN);
    close_control(fixture);
    FILE *gate = fopen(path, "we"); /* it waits at it still */
    assert_non_null(gate);
    assert_int_equal(waitpid(orphan, &how, WNOHANG), 0);
    assert_int_equal(fclose(gate), 0);
    assert_int_equal(waitpid(orphan, &how, 0), orphan);
    assert_true(WIFEXITED(how));
    assert_int_equal(unlink(path), 0);
    open_control(fixture);
    must_start(fixture, "data");
}

static void a_worker_that_nobody_remembers_and_programs_use_goes_on(void **state)
{
    struct fixture *fixture = *state;
    struct worker_message messages[2] = { { .type = WORKER_MOUNT }, { .type = WORKER_DONE } };
    struct error err = { .code = 0 };
    int how;

    pid_t orphan = make_orphan(fixture);
    {
        CLEANUP(filesystem_unrefp)
        struct filesystem *fs = filesystem_find(fixture->control, "data", NULL);
        CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);
        must(worker_ask(worker, &messages[0], STDIN_FILENO, -1, &messages[1], &err), &err);
    }
    reopen_control(fixture);
    wait_left(fixture, "data");
    assert_int_equal(waitpid(orphan, &how, WNOHANG), 0);
    must_start(fixture, "data"); /* which ends it */
    assert_int_equal(waitpid(orphan, &how, 0), orphan);
}

/* Has it stopped while its worker is about to come up. */
static struct stop stop_while_it_starts(struct fixture *fixture)
{
    struct stop start = { .fixture = fixture }, stop = { .fixture = fixture };
    pthread_t starter, stopper;
    char path[PATH_MAX];

    in_store_of(fixture, "~start", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pthread_create(&starter, NULL, start_it, &start), 0);
    FILE *gate = fopen(path, "we"); /* once the worker waits at it */
    assert_non_null(gate);
    assert_int_equal(pthread_create(&stopper, NULL, stop_it, &stop), 0);
    wait_stop_wanted(fixture);
    assert_int_equal(fclose(gate), 0);
    assert_int_equal(pthread_join(starter, NULL), 0);
    assert_int_equal(pthread_join(stopper, NULL), 0);
    assert_int_equal(unlink(path), 0);
    return stop;
}

static void a_stop_that_came_before_its_worker_stops_it(void **state)
{
    struct fixture *fixture = *state;

    must_add(fixture, "data");
    struct stop stop = stop_while_it_starts(fixture);
    must(stop.r, &stop.err);
    assert_int_equal(view_of(fixture, "data").state, FS_STOPPED);
}

static void a_stop_that_came_before_its_worker_tells_that_it_refused(void **state)
{
    struct fixture *fixture = *state;
    char path[PATH_MAX];

    must_add(fixture, "data");
    fixture->control->stop_patience_ms = 100;
    in_store_of(fixture, "~stop", path);
    assert_int_equal(file_replace(path, (struct bytes){ .len = 0 }, 0644, NULL), 0);
    struct stop stop = stop_while_it_starts(fixture);
    assert_int_equal(stop.r, -EBUSY);
    assert_non_null(strstr(stop.err.text, "cannot stop data: it is in use"));
    assert_int_equal(view_of(fixture, "data").state, FS_STARTED);
    assert_int_equal(unlink(path), 0);
    must_stop(fixture, "data");
}

static void a_stopped_filesystem_stays_stopped_after_a_restart(void **state)
{
    struct fixture *fixture = *state;

    must_add(fixture, "data");
    must_start(fixture, "data");
    must_stop(fixture, "data");
    reopen_control(fixture);
    assert_int_equal(view_of(fixture, "data").state, FS_STOPPED);
}

static void a_missing_local_key_is_told_at_the_start_and_the_filesystem_stays_stopped(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    struct fs_view view;
    char uuid[UUID_TEXT_SIZE];
    char path[160];

    must_add(fixture, "data");
    view = view_of(fixture, "data");
    uuid_format(&view.uuid, uuid);
    (void)snprintf(path, sizeof(path), "%s/local-keys/%s", fixture->state_dir, uuid);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(control_start(fixture->control, "data", NULL, &view, &err), -ENOENT);
    assert_non_null(strstr(err.text, "local-keys"));
    assert_int_equal(view_of(fixture, "data").state, FS_STOPPED);
    assert_string_not_equal(view_of(fixture, "data").status_text, "");
}

static void count_line(const char *text, void *arg)
{
    unsigned *lines = arg;

    assert_string_equal(text, "a fault for the test");
    (*lines)++;
}

static void assert_salvaged(struct fixture *fixture)
{
    assert_non_null(strstr(view_of(fixture, "data").status_text, "--salvage"));
    assert_true(has_alert(fixture, "read-only", "to salvage files"));
}

static void what_is_there_to_salvage_from_is_known_after_a_restart(void **state)
{
    const struct start_options salvaging = { .salvage = true };
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    struct fs_view view;

    must_add(fixture, "data");
    must(control_start(fixture->control, "data", &salvaging, &view, &err), &err);
    assert_salvaged(fixture);
    reopen_control(fixture);
    wait_state(fixture, "data", FS_STARTED);
    assert_salvaged(fixture);
    assert_int_equal(control_start(fixture->control, "data", &salvaging, &view, &err), 0);
    must_stop(fixture, "data");
    must_start(fixture, "data");
    assert_string_equal(view_of(fixture, "data").status_text, "");
}

static void a_check_works_on_a_started_and_on_a_stopped_filesystem(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    uint64_t faults = 0;
    unsigned lines = 0;

    must_add(fixture, "data");
    must(control_check(fixture->control, "data", false, count_line, &lines, &faults, &err), &err);
    assert_int_equal(faults, 1);
    assert_int_equal(lines, 1);
    assert_int_equal(view_of(fixture, "data").state, FS_STOPPED);
    must_start(fixture, "data");
    must(control_check(fixture->control, "data", false, count_line, &lines, &faults, &err), &err);
    assert_int_equal(lines, 2);
}

/* The worker of this test knows no snapshots. */
static void a_snapshot_policy_that_does_not_work_is_an_alert(void **state)
{
    struct fixture *fixture = *state;
    struct policy policy = { .name = "nightly" };
    int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct error err = { .code = 0 };

    must_add(fixture, "data");
    must_start(fixture, "data");
    must(policy_schedule_parse(POLICY_DAILY, "23:00", &policy.schedules[POLICY_DAILY], &err), &err);
    policy.schedules[POLICY_DAILY].retention = 1;
    must(control_policy_add(fixture->control, &policy, &err), &err);
    must(control_policy_attach(fixture->control, "nightly", "data", &err), &err);
    must(control_policy_run_once(fixture->control, "nightly", &err), &err);
    while (!has_alert(fixture, "snapshot-policy-failed", "nightly does not work for data: daily")) {
        assert_true(clock_monotonic_ms() < until_ms);
        clock_sleep_ms(10);
    }
    must_stop(fixture, "data");
    must(control_remove(fixture->control, "data", &err), &err);
    must(control_policy_remove(fixture->control, "nightly", &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_filesystems_are_checked),
        cmocka_unit_test(a_record_survives_encoding_and_no_altered_length_is_read),
        cmocka_unit_test(a_record_of_any_version_is_read),
        cmocka_unit_test(an_older_record_of_a_bucket_has_a_cache),
        cmocka_unit_test(a_record_of_a_later_version_or_with_a_phase_of_one_is_refused),
        cmocka_unit_test(states_move_as_the_table_says),
        STATE_TEST(a_filesystem_without_a_kms_is_refused_unless_that_is_accepted),
        STATE_TEST(a_name_is_taken_once),
        STATE_TEST(a_capacity_below_one_gib_is_refused),
        STATE_TEST(a_place_that_is_not_empty_is_refused_and_left_alone),
        STATE_TEST(a_crash_between_any_two_steps_of_an_addition_can_be_completed),
        STATE_TEST(a_crash_between_any_two_steps_of_an_addition_can_be_removed),
        STATE_TEST(a_removal_that_a_crash_interrupted_is_finished),
        STATE_TEST(what_is_done_to_keys_is_in_the_audit_log_before_it_takes_effect),
        STATE_TEST(nothing_is_done_to_keys_while_the_audit_log_cannot_be_written),

        STATE_TEST(a_shredding_that_a_crash_interrupted_is_finished),
        STATE_TEST(an_interrupted_removal_is_repeated_as_a_shredding_and_the_other_way_round),
        STATE_TEST(a_place_that_was_given_is_empty_after_a_removal_and_can_be_given_again),
        STATE_TEST(a_started_filesystem_is_not_removed),
        STATE_TEST(a_worker_outlives_the_control_plane_and_is_found_again),
        STATE_TEST(a_worker_that_is_killed_is_reported_and_started_again),
        STATE_TEST(a_started_filesystem_comes_back_when_its_worker_died_with_the_host),
        STATE_TEST(a_worker_that_nobody_remembers_is_stopped_before_another_starts),
        STATE_TEST(nobody_waits_for_a_slow_worker_that_nobody_remembers_when_cofferd_ends),
        STATE_TEST(a_worker_that_nobody_remembers_and_programs_use_goes_on),
        STATE_TEST(a_stop_that_came_before_its_worker_stops_it),
        STATE_TEST(a_stop_that_came_before_its_worker_tells_that_it_refused),
        STATE_TEST(a_stopped_filesystem_stays_stopped_after_a_restart),
        STATE_TEST(a_missing_local_key_is_told_at_the_start_and_the_filesystem_stays_stopped),
        STATE_TEST(a_snapshot_policy_that_does_not_work_is_an_alert),
        STATE_TEST(what_is_there_to_salvage_from_is_known_after_a_restart),
        STATE_TEST(a_check_works_on_a_started_and_on_a_stopped_filesystem),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
