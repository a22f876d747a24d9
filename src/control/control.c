#include "control/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "control/filesystem.h"
#include "control/missing_keys.h"
#include "control/object_stores.h"
#include "control/own_key.h"
#include "control/rewrap.h"
#include "control/rings.h"
#include "control/snapshot_mount.h"
#include "control/tasks.h"
#include "control/uploads.h"
#include "host/sandbox.h"

#define MONITOR_PERIOD_MS 30000
#define MONITOR_PERIOD_DOWN_MS 5000
#define MONITOR_LEAST_MS 500
#define STOP_PATIENCE_MS 10000
#define AUDIT_PERIOD_MS (24LL * 3600 * 1000)

static int make_folders(const char *state_dir, struct error *err)
{
    static const char *const folders[] = { "run", "registry", "filesystems", "object-stores" };
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        if (snprintf(path, sizeof(path), "%s/%s", state_dir, folders[i]) >= (int)sizeof(path))
            return error_set(err, -ENAMETOOLONG, "path too long: %s", state_dir);
        int r = folder_make(path, 0700, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* What is shown of a filesystem's key before it was ever unwrapped. */
static void peek_wrapped(struct filesystem *fs)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;

    if (registry_peek_ring(fs->control->registry, &fs->record.uuid, &ring, NULL) < 0 ||
        !rings_newest(&ring))
        return;
    mutex_lock(&fs->lock);
    fs->wrapped = *rings_newest(&ring);
    for (uint32_t i = 0; i < ring.count; i++)
        if (ring.generations[i].has_previous)
            fs->proof_due_ms = clock_monotonic_ms() + FILESYSTEM_PROOF_AFTER_MS;
    mutex_unlock(&fs->lock);
}

static int load_one(const struct fs_record *record, void *arg)
{
    struct control *control = arg;
    struct filesystem *fs = NULL;
    int r = filesystem_list(control, record, &fs, NULL);

    if (r < 0)
        return r;
    r = snapshot_mounts_load(fs, NULL);
    filesystem_release(fs, record->phase == FS_PHASE_CREATING
                               ? "its creation was interrupted; starting it completes it"
                               : "");
    filesystem_unref(fs);
    return r;
}

static void end_left_worker(void *arg)
{
    struct filesystem *fs = arg;

    filesystem_end_unused_orphan(fs);
    filesystem_end_left(fs);
    filesystem_unref(fs);
}

static bool has_worker_socket(struct filesystem *fs)
{
    char path[PATH_MAX];

    return filesystem_socket_path(fs, path, NULL) == 0 && access(path, F_OK) == 0;
}

/* A stopped filesystem whose worker may still run: its order, a restore for example, was cut off
 * with an earlier cofferd, and it would keep the key in its memory until somebody starts the
 * filesystem. It may take a while to end. */
static void end_worker_of_stopped(struct filesystem *fs)
{
    if (!has_worker_socket(fs))
        return;
    mutex_lock(&fs->lock);
    fs->ends_left_worker = true;
    mutex_unlock(&fs->lock);
    if (thread_group_start(&fs->control->keepers, 0, end_left_worker, filesystem_ref(fs)) == 0)
        return;
    filesystem_end_left(fs);
    filesystem_unref(fs);
}

/* What an earlier cofferd left: removals are finished, started filesystems come back. */
static int resume_one(struct filesystem *fs, void *arg, struct error *err)
{
    struct control *control = arg;
    struct error own = { .code = 0 };

    (void)err;
    (void)own_key_settle(fs, NULL); /* else its start does */
    peek_wrapped(fs);
    if (fs_record_is_going(&fs->record)) {
        if (control_remove(control, fs->record.name, &own) < 0)
            events_add(&control->events, LOG_LEVEL_ERROR, "remove-not-finished", fs->record.name,
                       "%s", own.text);
        return 0;
    }
    if (!fs->record.is_wanted) {
        end_worker_of_stopped(fs);
        return 0;
    }
    mutex_lock(&fs->lock);
    fs->has_keeper = true;
    fs->may_reconnect = true;
    filesystem_move_locked(fs, FS_STARTING, "");
    mutex_unlock(&fs->lock);
    if (filesystem_keep(fs, &own) < 0)
        events_add(&control->events, LOG_LEVEL_ERROR, "start-failed", fs->record.name, "%s",
                   own.text);
    return 0;
}

/* An event when it goes and when it comes. */
static void report_kms(struct control *control, const struct kms_status *status, bool *was_well)
{
    bool is_well = status->error_code == 0;

    if (*was_well && !is_well)
        events_add(&control->events, LOG_LEVEL_ERROR, "kms-away", "", "%s", status->error);
    else if (!*was_well && is_well)
        events_add(&control->events, LOG_LEVEL_INFO, "kms-back", "", "the KMS answers again");
    *was_well = is_well;
}

/* What an earlier cofferd, or a server that went away, left half done. */
static void finish_kms_change(struct control *control)
{
    struct error err = { .code = 0 };

    if (kms_is_staged(control->kms) && kms_set_finish(control, &err) < 0)
        log_warning("%s", err.text);
}

/* A key server that does not answer ends it, until the next look. */
static int prove_due(struct filesystem *fs, void *arg, struct error *err)
{
    (void)arg;
    (void)err;
    mutex_lock(&fs->lock);
    bool is_due = fs->proof_due_ms != 0 && fs->proof_due_ms <= clock_monotonic_ms();
    mutex_unlock(&fs->lock);
    if (!is_due || atomic_load(&fs->control->is_shutting_down))
        return 0;
    return filesystem_prove(fs) == -EAGAIN ? -EAGAIN : 0;
}

/* Not later than the login has something to do, or ends. */
static int64_t next_look_ms(const struct kms_status *status, int64_t own_ms)
{
    int64_t now = clock_monotonic_ms();
    int64_t until = now + (status->error_code < 0 ? MONITOR_PERIOD_DOWN_MS : MONITOR_PERIOD_MS);

    if (status->login.due_ms < until)
        until = status->login.due_ms;
    if (own_ms < until)
        until = own_ms;
    if (status->login.has_end && status->login.ends_ms > now && status->login.ends_ms < until)
        until = status->login.ends_ms;
    return until < now + MONITOR_LEAST_MS ? now + MONITOR_LEAST_MS : until;
}

static int hurry_one(struct filesystem *fs, void *arg, struct error *err)
{
    (void)arg;
    (void)err;
    missing_keys_hurry(fs);
    return 0;
}

void control_look_at_kms(struct control *control)
{
    (void)control_each(control, hurry_one, NULL, NULL); /* before the monitor looks */
    mutex_lock(&control->lock);
    control->kms_has_changed = true;
    (void)pthread_cond_broadcast(&control->changed);
    mutex_unlock(&control->lock);
    bucket_processes_end(control);
}

/* Looks at the key server from time to time, more often while it is away, and at what else may
 * need attention. */
static void *monitor_main(void *arg)
{
    struct control *control = arg;
    bool was_well = true;
    int64_t audit_due_ms = 0;

    mutex_lock(&control->lock);
    while (!atomic_load(&control->is_shutting_down)) {
        struct kms_status status;
        int64_t own_ms, missing_ms;
        mutex_unlock(&control->lock);
        finish_kms_change(control);
        (void)control_each(control, prove_due, control, NULL);
        kms_refresh(control->kms);
        kms_status(control->kms, &status);
        report_kms(control, &status, &was_well);
        own_key_watch(control, &own_ms);
        missing_keys_watch(control, &missing_ms);
        if (clock_monotonic_ms() >= audit_due_ms) {
            control_watch_audit(control);
            audit_due_ms = clock_monotonic_ms() + AUDIT_PERIOD_MS;
        }
        control_watch_alerts(control);
        bucket_processes_reap(control);
        uploads_resume(control);
        int64_t until = next_look_ms(&status, own_ms < missing_ms ? own_ms : missing_ms);
        mutex_lock(&control->lock);
        while (!atomic_load(&control->is_shutting_down) && !control->kms_has_changed &&
               cond_wait_until(&control->changed, &control->lock, until))
            ;
        control->kms_has_changed = false;
    }
    mutex_unlock(&control->lock);
    return NULL;
}

static int open_audit(struct control *control, struct error *err)
{
    char damage[AUDIT_TEXT_SIZE];
    int r = audit_open(control->registry, &control->audit, damage, err);

    if (r == 0 && damage[0] != '\0')
        events_add(&control->events, LOG_LEVEL_ERROR, "audit-damaged", "",
                   "the audit log was damaged while cofferd was stopped: %s", damage);
    return r;
}

static int open_logs(struct control *control, struct error *err)
{
    int r = events_open(&control->events, control->registry, err);

    if (r == 0)
        r = alert_book_open(&control->events, control->registry, &control->alerts, err);
    if (r == 0)
        r = open_audit(control, err);
    return r < 0 ? r
                 : users_open(control->registry, control->audit, &control->events, &control->users,
                              err);
}

static int open_parts(struct control *control, const struct control_config *config,
                      struct error *err)
{
    char url[PATH_MAX + 16];
    uid_t uid;
    gid_t gid;
    int r = make_folders(config->state_dir, err);

    if (r < 0)
        return r;
    sandbox_worker_user(&uid, &gid);
    control->stop_patience_ms = STOP_PATIENCE_MS;
    control->worker_uid = geteuid() == 0 ? uid : geteuid();
    control->worker_gid = geteuid() == 0 ? gid : getegid();
    (void)snprintf(url, sizeof(url), "lmdb:%s/registry", config->state_dir);
    r = registry_open(config->registry_url ? config->registry_url : url, &control->registry, err);
    if (r == 0)
        r = open_logs(control, err);
    if (r == 0)
        r = kms_open(config->state_dir, &control->kms, err);
    if (r == 0)
        r = object_stores_tidy(control, err);
    if (r == 0)
        r = tasks_open(control, err);
    if (r == 0)
        r = registry_each(control->registry, load_one, control, err);
    if (r == 0)
        r = control_open_policies(control, err);
    if (r == 0)
        r = control_each(control, resume_one, control, err);
    if (r == 0)
        r = policies_start(control->policies, err);
    if (r == 0 && (r = -pthread_create(&control->monitor, NULL, monitor_main, control)) < 0)
        (void)error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r));
    control->has_monitor = r == 0;
    if (r == 0)
        tasks_resume(control);
    return r;
}

/* The caller's to free; NULL: out of memory. */
static char *beside(const char *program, const char *name)
{
    const char *slash = strrchr(program, '/');
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%.*s%s", slash ? (int)(slash + 1 - program) : 0, program,
                   name);
    return strdup(path);
}

int control_open(const struct control_config *config, struct control **ret, struct error *err)
{
    struct control *control = calloc(1, sizeof(*control));

    if (!control)
        return error_set(err, -ENOMEM, "out of memory");
    control->lock = MUTEX_INIT;
    control->kms_changing = MUTEX_INIT;
    control->alerts_updating = MUTEX_INIT;
    control->stores_changing = MUTEX_INIT;
    control->bucket_processes.lock = MUTEX_INIT;
    control->uploads_changing = MUTEX_INIT;
    (void)pthread_cond_init(&control->changed, NULL);
    thread_group_init(&control->keepers);
    control->allows_key_export = config->allows_key_export;
    control->on_step = config->on_step;
    control->step_arg = config->step_arg;
    control->state_dir = strdup(config->state_dir);
    control->worker_program = strdup(config->worker_program);
    control->store_program = config->store_program ? strdup(config->store_program)
                                                   : beside(config->worker_program, "coffer-store");
    int r = control->state_dir && control->worker_program && control->store_program
                ? open_parts(control, config, err)
                : error_set(err, -ENOMEM, "out of memory");
    if (r < 0) {
        control_close(control);
        return r;
    }
    *ret = control;
    return 0;
}

void control_shut_down(struct control *control)
{
    atomic_store(&control->is_shutting_down, true);
    mutex_lock(&control->lock);
    for (struct filesystem *fs = control->filesystems; fs; fs = fs->next) {
        mutex_lock(&fs->lock);
        (void)pthread_cond_broadcast(&fs->changed);
        mutex_unlock(&fs->lock);
    }
    (void)pthread_cond_broadcast(&control->changed);
    mutex_unlock(&control->lock);
    tasks_shut_down(control);
}

void control_close(struct control *control)
{
    if (!control)
        return;
    control_shut_down(control);
    if (control->has_monitor)
        (void)pthread_join(control->monitor, NULL);
    policies_stop(control->policies);
    thread_group_wait(&control->keepers);
    tasks_close(control);
    while (control->filesystems)
        filesystem_unlist(control->filesystems);
    bucket_processes_reap(control);
    bucket_processes_release(&control->bucket_processes);
    policies_close(control->policies);
    alert_book_close(control->alerts);
    users_close(control->users);
    audit_close(control->audit);
    registry_close(control->registry);
    kms_close(control->kms);
    (void)pthread_cond_destroy(&control->changed);
    thread_group_destroy(&control->keepers);
    free(control->state_dir);
    free(control->worker_program);
    free(control->store_program);
    free(control);
}

struct events *control_events(struct control *control)
{
    return &control->events;
}

struct audit *control_audit(struct control *control)
{
    return control->audit;
}

struct users *control_users(struct control *control)
{
    return control->users;
}

void control_instance(struct control *control, struct uuid *ret)
{
    registry_instance(control->registry, ret);
}
