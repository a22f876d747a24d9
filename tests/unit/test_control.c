/* The control plane over a real registry, real stores and processes that play the worker; keys are
 * wrapped by local keys, so that no server is needed. */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "control/filesystem.h"
#include "control/rings.h"
#include "crypto/random.h"
#include "keyring/key_blob.h"
#include "store/object_store.h"

#define PATIENCE_MS 20000

struct fixture {
    char state_dir[64];
    struct control *control;
    enum control_step crash_at; /* STEP_COUNT: nowhere */
};

static int on_step(enum control_step step, void *arg)
{
    const struct fixture *fixture = arg;

    return step == fixture->crash_at ? CONTROL_CRASHED : 0;
}

static void open_control(struct fixture *fixture)
{
    struct control_config config = { .state_dir = fixture->state_dir,
                                     .worker_program = FAKE_WORKER,
                                     .on_step = on_step,
                                     .step_arg = fixture };
    struct error err = { .code = 0 };

    if (control_open(&config, &fixture->control, &err) < 0)
        fail_msg("%s", err.text);
}

static void close_control(struct fixture *fixture)
{
    control_close(fixture->control);
    fixture->control = NULL;
}

static void reopen_control(struct fixture *fixture)
{
    close_control(fixture);
    open_control(fixture);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    (void)snprintf(fixture->state_dir, sizeof(fixture->state_dir), "/tmp/coffer-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->state_dir));
    fixture->crash_at = STEP_COUNT;
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

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    stop_all(fixture);
    close_control(fixture);
    (void)nftw(fixture->state_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(fixture);
    return 0;
}

static int add(struct fixture *fixture, const char *name, struct error *err)
{
    struct fs_add request = { .name = name, .allow_no_kms = true };
    struct fs_view view;

    return control_add(fixture->control, &request, &view, err);
}

static void must(int r, const struct error *err)
{
    if (r < 0)
        fail_msg("%s: %s", strerrordesc_np(-r), err->text);
}

static void must_add(struct fixture *fixture, const char *name)
{
    struct error err = { .code = 0 };

    must(add(fixture, name, &err), &err);
}

static void must_start(struct fixture *fixture, const char *name)
{
    struct error err = { .code = 0 };
    struct fs_view view;

    must(control_start(fixture->control, name, false, &view, &err), &err);
    assert_int_equal(view.state, FS_STARTED);
}

static void must_stop(struct fixture *fixture, const char *name)
{
    struct error err = { .code = 0 };

    must(control_stop(fixture->control, name, &err), &err);
}

static struct fs_view view_of(struct fixture *fixture, const char *name)
{
    struct error err = { .code = 0 };
    struct fs_view view;

    must(control_get(fixture->control, name, &view, &err), &err);
    return view;
}

static pid_t worker_pid(struct fixture *fixture, const char *name)
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

/* Until it has the state; fails after a generous while. */
static void wait_state(struct fixture *fixture, const char *name, enum fs_state state)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;

    while (view_of(fixture, name).state != state) {
        if (clock_monotonic_ms() > until)
            fail_msg("%s is %s: %s", name, fs_state_name(view_of(fixture, name).state),
                     view_of(fixture, name).status_text);
        clock_sleep_ms(10);
    }
}

static struct object_store *store_of(struct fixture *fixture, const char *name)
{
    struct fs_view view = view_of(fixture, name);
    struct object_store *store = NULL;

    assert_int_equal(object_store_open(view.store_url, &store, NULL), 0);
    return store;
}

static void flip(struct fixture *fixture, const char *name, const char *object)
{
    CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, name);
    CLEANUP(buf_release) struct buf bytes = BUF_INIT;

    assert_int_equal(object_store_get(store, object, KEY_RING_MAX, &bytes, NULL), 0);
    bytes.data[bytes.len / 2] ^= 1;
    assert_int_equal(object_store_replace(store, object, buf_bytes(&bytes), NULL), 0);
}

static void get_object(struct fixture *fixture, const char *name, const char *object,
                       struct buf *ret)
{
    CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, name);

    assert_int_equal(object_store_get(store, object, KEY_RING_MAX, ret, NULL), 0);
}

static void assert_event(struct fixture *fixture, const char *type)
{
    struct event *events = calloc(EVENTS_KEPT, sizeof(*events));
    size_t count = events_after(control_events(fixture->control), 0, events, EVENTS_KEPT);
    bool is_there = false;

    for (size_t i = 0; i < count; i++)
        is_there |= strcmp(events[i].type, type) == 0;
    free(events);
    if (!is_there)
        fail_msg("there is no event %s", type);
}

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
    record->phase = FS_PHASE_READY;
    record->is_wanted = true;
    record->check_count = 2;
    record->checks[1].generation = 7;
    assert_int_equal(fs_record_encode(record, bytes, &len, NULL), 0);
    assert_int_equal(
        fs_record_decode((struct bytes){ .data = bytes, .len = len }, &record[1], NULL), 0);
    assert_memory_equal(&record[0], &record[1], sizeof(*record));
    for (size_t cut = 0; cut < len; cut++)
        assert_true(
            fs_record_decode((struct bytes){ .data = bytes, .len = cut }, &record[1], NULL) < 0);
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
    assert_string_equal(alerts[0].type, "local-key");
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

    must_add(fixture, "data");
    must_start(fixture, "data");
    pid_t orphan = worker_pid(fixture, "data");
    {
        CLEANUP(filesystem_unrefp)
        struct filesystem *fs = filesystem_find(fixture->control, "data", NULL);
        mutex_lock(&fs->lock);
        fs->record.is_wanted = false;
        mutex_unlock(&fs->lock);
        assert_int_equal(filesystem_save(fs, NULL), 0);
    }
    reopen_control(fixture);
    assert_int_equal(view_of(fixture, "data").state, FS_STOPPED);
    must_start(fixture, "data");
    assert_int_not_equal(worker_pid(fixture, "data"), orphan);
    int how;
    assert_int_equal(waitpid(orphan, &how, 0), orphan); /* our child, as it is nobody else's here */
    assert_true(WIFEXITED(how));
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
    assert_int_equal(control_start(fixture->control, "data", false, &view, &err), -ENOENT);
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

static void a_ring_damaged_in_the_store_is_repaired_from_the_registry(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf after = BUF_INIT;

    must_add(fixture, "data");
    get_object(fixture, "data", KEY_RING_OBJECT, &before);
    flip(fixture, "data", KEY_RING_OBJECT);
    must_start(fixture, "data");
    get_object(fixture, "data", KEY_RING_OBJECT, &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    assert_event(fixture, "ring-repaired");
}

/* Writes ring into the registry while the control plane is closed. */
static void set_registry_ring(struct fixture *fixture, const char *name, struct bytes ring)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(fixture->control, name, NULL);

    assert_non_null(fs);
    assert_int_equal(registry_put(fixture->control->registry, &fs->record, ring, NULL), 0);
}

static void get_registry_ring(struct fixture *fixture, const char *name, struct buf *ret)
{
    struct fs_view view = view_of(fixture, name);

    assert_int_equal(registry_get_ring(fixture->control->registry, &view.uuid, ret, NULL), 0);
}

static void a_ring_damaged_in_the_registry_is_repaired_from_the_store(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf after = BUF_INIT;

    must_add(fixture, "data");
    get_registry_ring(fixture, "data", &before);
    set_registry_ring(fixture, "data",
                      (struct bytes){ .data = before.data, .len = before.len / 2 });
    must_start(fixture, "data");
    get_registry_ring(fixture, "data", &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    assert_event(fixture, "ring-repaired");
}

static void a_crash_during_a_repair_leaves_a_ring_that_opens(void **state)
{
    struct fixture *fixture = *state;
    struct fs_view view;

    must_add(fixture, "data");
    flip(fixture, "data", KEY_RING_OBJECT);
    fixture->crash_at = STEP_RING_REGISTRY;
    assert_int_equal(control_start(fixture->control, "data", false, &view, NULL), CONTROL_CRASHED);
    fixture->crash_at = STEP_COUNT;
    reopen_control(fixture);
    must_start(fixture, "data");
}

static void a_superblock_damaged_in_the_store_is_repaired_from_the_metadata(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf after = BUF_INIT;

    must_add(fixture, "data");
    get_object(fixture, "data", SUPERBLOCK_OBJECT, &before);
    flip(fixture, "data", SUPERBLOCK_OBJECT);
    must_start(fixture, "data");
    get_object(fixture, "data", SUPERBLOCK_OBJECT, &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    assert_event(fixture, "superblock-repaired");
}

static void a_ring_and_superblock_of_another_filesystem_in_the_store_are_not_believed(void **state)
{
    struct fixture *fixture = *state;
    static const char *const objects[] = { KEY_RING_OBJECT, SUPERBLOCK_OBJECT };
    struct fs_view view;

    must_add(fixture, "data");
    must_add(fixture, "other");
    for (size_t i = 0; i < 2; i++) {
        CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");
        CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        get_object(fixture, "other", objects[i], &bytes);
        assert_int_equal(object_store_replace(store, objects[i], buf_bytes(&bytes), NULL), 0);
    }
    /* The metadata's superblock and the registry's ring agree: both of the store are repaired. */
    assert_int_equal(control_start(fixture->control, "data", false, &view, NULL), 0);
    assert_event(fixture, "ring-repaired");
    assert_event(fixture, "superblock-repaired");
}

/* A ring of the same filesystem, with a higher number, by somebody who has the wrapping key but
 * not the filesystem's: its own key in the place of the first generation. */
static void forge(struct fixture *fixture, const char *name, struct buf *ret)
{
    CLEANUP(rings_opened_release) struct rings_opened forged = RINGS_OPENED_INIT;
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(secret_release) struct secret blob = SECRET_INIT;
    struct fs_view view = view_of(fixture, name);
    struct wrapped_key wrapped;
    char uuid[UUID_TEXT_SIZE];

    uuid_format(&view.uuid, uuid);
    assert_int_equal(kms_local_provider(fixture->control->kms, uuid, false, &provider, NULL), 0);
    assert_int_equal(secret_new(&key, FS_KEY_LEN), 0);
    random_bytes(key.data, key.len);
    assert_int_equal(key_blob_encode(&view.uuid, 1, &key, &blob, NULL), 0);
    assert_int_equal(key_provider_wrap(provider, secret_bytes(&blob), &wrapped, NULL), 0);
    uuid_format(&view.uuid, wrapped.key_name);
    struct key_generation_new generation = { .number = 1, .key = &key, .wrapped = &wrapped };
    key_ring_init(&forged.ring, &view.uuid);
    assert_int_equal(key_ring_add(&forged.ring, &generation, NULL), 0);
    assert_int_equal(key_set_add(&forged.keys, 1, &key), 0);
    forged.ring.sequence = 1000;
    assert_int_equal(key_ring_encode(&forged.ring, &forged.keys, ret, NULL), 0);
}

static void a_forged_ring_in_the_store_is_refused_and_replaced(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf after = BUF_INIT;
    CLEANUP(buf_release) struct buf forged = BUF_INIT;

    must_add(fixture, "data");
    get_object(fixture, "data", KEY_RING_OBJECT, &before);
    forge(fixture, "data", &forged);
    {
        CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");
        assert_int_equal(object_store_replace(store, KEY_RING_OBJECT, buf_bytes(&forged), NULL), 0);
    }
    must_start(fixture, "data");
    get_object(fixture, "data", KEY_RING_OBJECT, &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
}

static void a_forged_ring_in_both_places_is_refused(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf forged = BUF_INIT;
    struct fs_view view;

    must_add(fixture, "data");
    forge(fixture, "data", &forged);
    {
        CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");
        assert_int_equal(object_store_replace(store, KEY_RING_OBJECT, buf_bytes(&forged), NULL), 0);
    }
    set_registry_ring(fixture, "data", buf_bytes(&forged));
    assert_true(control_start(fixture->control, "data", false, &view, NULL) < 0);
    assert_int_equal(view_of(fixture, "data").state, FS_STOPPED);
}

/* Forgets a filesystem as a lost registry does; its data stays. */
static struct fs_view lose(struct fixture *fixture, const char *name)
{
    struct fs_view view = view_of(fixture, name);

    assert_int_equal(registry_remove(fixture->control->registry, &view.uuid, NULL), 0);
    reopen_control(fixture);
    return view;
}

static void a_filesystem_whose_registry_was_lost_is_adopted(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    struct fs_view adopted;

    must_add(fixture, "data");
    struct fs_view lost = lose(fixture, "data");
    must(control_adopt(fixture->control, "again", lost.meta_url, lost.store_url, &adopted, &err),
         &err);
    assert_true(uuid_equal(&adopted.uuid, &lost.uuid));
    must_start(fixture, "again");
    assert_int_equal(
        control_adopt(fixture->control, "twice", lost.meta_url, lost.store_url, &adopted, NULL),
        -EEXIST);
}

static void a_filesystem_with_a_forged_ring_is_not_adopted(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf forged = BUF_INIT;
    struct fs_view adopted;

    must_add(fixture, "data");
    forge(fixture, "data", &forged);
    {
        CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");
        assert_int_equal(object_store_replace(store, KEY_RING_OBJECT, buf_bytes(&forged), NULL), 0);
    }
    struct fs_view lost = lose(fixture, "data");
    assert_int_equal(
        control_adopt(fixture->control, "again", lost.meta_url, lost.store_url, &adopted, NULL),
        -EBADMSG);
    assert_int_equal(control_get(fixture->control, "again", &adopted, NULL), -ENOENT);
}

static void an_adopted_filesystem_may_have_a_damaged_superblock_in_its_store(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    struct fs_view adopted;

    must_add(fixture, "data");
    flip(fixture, "data", SUPERBLOCK_OBJECT);
    struct fs_view lost = lose(fixture, "data");
    must(control_adopt(fixture->control, "again", lost.meta_url, lost.store_url, &adopted, &err),
         &err);
    must_start(fixture, "again");
    assert_event(fixture, "superblock-repaired");
}

#define STATE_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_filesystems_are_checked),
        cmocka_unit_test(a_record_survives_encoding_and_no_altered_length_is_read),
        cmocka_unit_test(states_move_as_the_table_says),
        STATE_TEST(a_filesystem_without_a_kms_is_refused_unless_that_is_accepted),
        STATE_TEST(a_name_is_taken_once),
        STATE_TEST(a_capacity_below_one_gib_is_refused),
        STATE_TEST(a_place_that_is_not_empty_is_refused_and_left_alone),
        STATE_TEST(a_crash_between_any_two_steps_of_an_addition_can_be_completed),
        STATE_TEST(a_crash_between_any_two_steps_of_an_addition_can_be_removed),
        STATE_TEST(a_removal_that_a_crash_interrupted_is_finished),
        STATE_TEST(a_started_filesystem_is_not_removed),
        STATE_TEST(a_worker_outlives_the_control_plane_and_is_found_again),
        STATE_TEST(a_worker_that_is_killed_is_reported_and_started_again),
        STATE_TEST(a_started_filesystem_comes_back_when_its_worker_died_with_the_host),
        STATE_TEST(a_worker_that_nobody_remembers_is_stopped_before_another_starts),
        STATE_TEST(a_stopped_filesystem_stays_stopped_after_a_restart),
        STATE_TEST(a_missing_local_key_is_told_at_the_start_and_the_filesystem_stays_stopped),
        STATE_TEST(a_check_works_on_a_started_and_on_a_stopped_filesystem),
        STATE_TEST(a_ring_damaged_in_the_store_is_repaired_from_the_registry),
        STATE_TEST(a_ring_damaged_in_the_registry_is_repaired_from_the_store),
        STATE_TEST(a_crash_during_a_repair_leaves_a_ring_that_opens),
        STATE_TEST(a_superblock_damaged_in_the_store_is_repaired_from_the_metadata),
        STATE_TEST(a_ring_and_superblock_of_another_filesystem_in_the_store_are_not_believed),
        STATE_TEST(a_forged_ring_in_the_store_is_refused_and_replaced),
        STATE_TEST(a_forged_ring_in_both_places_is_refused),
        STATE_TEST(a_filesystem_whose_registry_was_lost_is_adopted),
        STATE_TEST(a_filesystem_with_a_forged_ring_is_not_adopted),
        STATE_TEST(an_adopted_filesystem_may_have_a_damaged_superblock_in_its_store),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
