/* operations.c - starting, stopping, mounting and checking, as somebody asks for it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/filesystem.h"
#include "control/remount.h"
#include "control/snapshot_mount.h"
#include "host/fuse_device.h"

static bool is_up(const struct filesystem *fs)
{
    return fs->state == FS_STARTED || fs->state == FS_MOUNTED;
}

/* Has a keeper try, and tells whether one must be made first. */
static int begin_start_locked(struct filesystem *fs, const struct start_options *options,
                              bool *ret_is_new, struct error *err) REQUIRES(fs->lock)
{
    *ret_is_new = false;
    int r = filesystem_wait_left_locked(fs, err);
    if (r < 0)
        return r;
    if (fs->is_busy)
        return error_set(err, -EBUSY, "filesystem %s %s; try again later", fs->record.name,
                         fs->status_text);
    if (fs_record_is_going(&fs->record))
        return error_set(err, -EBUSY, "filesystem %s is partly removed; remove it again",
                         fs->record.name);
    if (is_up(fs) && options->salvage && !fs->salvage)
        return error_set(err, -EBUSY,
                         "filesystem %s is started, so there is nothing to salvage: copy its files "
                         "as they are, or stop it first",
                         fs->record.name);
    fs->take_over |= options->take_over && !is_up(fs);
    if (!is_up(fs)) {
        fs->salvage = options->salvage;
        fs->starter = audit_acting_for();
    }
    if (fs->has_keeper) {
        fs->retry_now = true;
        (void)pthread_cond_broadcast(&fs->changed);
        return 0;
    }
    fs->has_keeper = true;
    fs->is_first_try = !fs->record.is_wanted;
    fs->stop_wanted = false;
    fs->stop_is_told = false;
    fs->worker_ended_cleanly = false;
    filesystem_move_locked(fs, FS_STARTING, "");
    *ret_is_new = true;
    return 0;
}

/* Until it is up, or one more attempt has failed. */
static int wait_started(struct filesystem *fs, uint64_t attempts, struct error *err)
{
    int r = 0;

    mutex_lock(&fs->lock);
    while (!is_up(fs) && fs->attempts == attempts && fs->has_keeper &&
           !atomic_load(&fs->control->is_shutting_down))
        cond_wait(&fs->changed, &fs->lock);
    if (atomic_load(&fs->control->is_shutting_down))
        r = error_set(err, -ESHUTDOWN, "cofferd is stopping");
    else if (!is_up(fs))
        r = error_set(err, fs->failure < 0 ? fs->failure : -EIO, "cannot start %s: %s",
                      fs->record.name, fs->status_text);
    /* A first start that failed leaves it stopped; whoever looks next must see it so. */
    while (r < 0 && fs->is_first_try && fs->has_keeper)
        cond_wait(&fs->changed, &fs->lock);
    mutex_unlock(&fs->lock);
    return r;
}

int control_start(struct control *control, const char *name, const struct start_options *options,
                  struct fs_view *ret, struct error *err)
{
    const struct start_options usual = { .take_over = false };
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);
    bool is_new = false;

    if (!fs)
        return -ENOENT;
    if (!options)
        options = &usual;
    if (options->take_over && options->salvage)
        return error_set(
            err, -EINVAL,
            "--take-over goes on writing, and --salvage never writes: use one of them");
    mutex_lock(&fs->lock);
    uint64_t attempts = fs->attempts;
    int r = begin_start_locked(fs, options, &is_new, err);
    mutex_unlock(&fs->lock);
    if (r == 0 && is_new)
        r = filesystem_keep(fs, err);
    if (r == 0)
        r = wait_started(fs, attempts, err);
    if (r == 0)
        filesystem_view(fs, ret);
    return r;
}

/* The worker to stop; NULL if there is none. */
static int begin_stop(struct filesystem *fs, struct worker **ret, struct error *err)
{
    CLEANUP(free_ptr) char *mountpoint = NULL;
    int r = 0;

    mutex_lock(&fs->lock);
    mountpoint = strdup(fs->state == FS_MOUNTED ? fs->record.mountpoint : "");
    mutex_unlock(&fs->lock);
    if (!mountpoint)
        return error_set(err, -ENOMEM, "out of memory");
    /* In another namespace it is the worker who knows. */
    if (fuse_device_is_mounted_as(mountpoint, fs->record.name))
        return error_set(err, -EBUSY, "filesystem %s is still mounted at %s; unmount it first",
                         fs->record.name, mountpoint);
    r = snapshot_mounts_none(fs, err);
    if (r < 0)
        return r;

    mutex_lock(&fs->lock);
    if (fs->is_busy) {
        r = error_set(err, -EBUSY, "filesystem %s %s; try again later", fs->record.name,
                      fs->status_text);
    } else if (fs->has_keeper) {
        fs->stop_wanted = true;
        fs->stop_is_told = fs->worker != NULL;
        fs->stop_is_answered = false;
        if (fs->worker)
            *ret = worker_ref(fs->worker);
        (void)pthread_cond_broadcast(&fs->changed);
    }
    mutex_unlock(&fs->lock);
    return r;
}

/* Until its keeper has ended; false if it still has not by then (no bound: negative). */
static bool wait_stopped_locked(struct filesystem *fs, int patience_ms) REQUIRES(fs->lock)
{
    int64_t until = clock_monotonic_ms() + patience_ms;
    bool has_time = true;

    while (fs->has_keeper && has_time && !atomic_load(&fs->control->is_shutting_down)) {
        if (patience_ms < 0)
            cond_wait(&fs->changed, &fs->lock);
        else
            has_time = filesystem_wait_locked(fs, until);
    }
    return !fs->has_keeper;
}

/* How the stop went, from what the worker answered and how it ended. */
static int judge_stop(struct filesystem *fs, int answered, const struct error *answer,
                      struct error *err)
{
    bool went_by_itself = answered == -EPIPE; /* after an unmount it does */
    const char *name = fs->record.name;
    int r = 0;

    mutex_lock(&fs->lock);
    bool is_stopped = wait_stopped_locked(
        fs, answered == 0 || went_by_itself ? -1 : fs->control->stop_patience_ms);
    if (atomic_load(&fs->control->is_shutting_down)) {
        r = error_set(err, -ESHUTDOWN, "cofferd is stopping");
    } else if (!is_stopped) {
        fs->stop_wanted = false;
        r = error_set(err, answered, "cannot stop %s: %s", name, answer->text);
    } else if (fs->last_commit_failed || (answered < 0 && !went_by_itself)) {
        fs->last_commit_failed = false; /* told once */
        r = error_set(err, -EIO,
                      "%s is stopped, but its last commit failed; what was not synced in the last "
                      "second is lost%s%s",
                      name, answered < 0 && !went_by_itself ? ": " : "",
                      answered < 0 && !went_by_itself ? answer->text : "");
    } else if (went_by_itself && !fs->worker_ended_cleanly) {
        r = error_set(err, -EIO,
                      "the worker of %s ended before its last commit; what was not synced in the "
                      "last second is lost",
                      name);
    }
    mutex_unlock(&fs->lock);
    return r;
}

/* What the worker answered to the keeper, who tells one that came up while the stop was wanted; 0
 * too if none came. */
static int wait_answer(struct filesystem *fs, struct error *answer)
{
    mutex_lock(&fs->lock);
    while (fs->has_keeper && !fs->stop_is_answered && !atomic_load(&fs->control->is_shutting_down))
        cond_wait(&fs->changed, &fs->lock);
    if (fs->stop_is_answered)
        *answer = fs->stop_answer;
    mutex_unlock(&fs->lock);
    return answer->code;
}

int control_stop(struct control *control, const char *name, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);
    CLEANUP(worker_unrefp) struct worker *worker = NULL;
    struct error answer = { .code = 0 };

    if (!fs)
        return -ENOENT;
    int r = begin_stop(fs, &worker, err);
    if (r < 0)
        return r;
    int answered = worker ? worker_stop(worker, &answer) : wait_answer(fs, &answer);
    return judge_stop(fs, answered, &answer, err);
}

static int remember_mount(struct filesystem *fs, const char *mountpoint, struct error *err)
{
    uint32_t flags = remount_flags_of(mountpoint);

    mutex_lock(&fs->lock);
    if (!is_up(fs)) {
        mutex_unlock(&fs->lock);
        return error_set(err, -EIO, "the worker of %s ended while it was being mounted",
                         fs->record.name);
    }
    filesystem_move_locked(fs, FS_MOUNTED, "");
    (void)snprintf(fs->record.mountpoint, sizeof(fs->record.mountpoint), "%s", mountpoint);
    fs->record.mount_flags = flags;
    mutex_unlock(&fs->lock);
    return filesystem_save(fs, err);
}

int control_mount(struct control *control, const char *name, const char *mountpoint, int fuse_fd,
                  struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);
    CLEANUP(worker_unrefp) struct worker *worker = NULL;
    int r = 0;

    if (!fs)
        return -ENOENT;
    if (mountpoint[0] != '/' || strlen(mountpoint) >= FS_MOUNTPOINT_SIZE)
        return error_set(err, -EINVAL, "the mount point is not an absolute path");
    mutex_lock(&fs->lock);
    if (fs->state == FS_MOUNTED)
        r = error_set(err, -EBUSY, "filesystem %s is already mounted at %s", name,
                      fs->record.mountpoint);
    else if (fs->state != FS_STARTED || !fs->worker)
        r = error_set(err, -EBUSY, "filesystem %s is %s; it must be started first", name,
                      fs_state_name(fs->state));
    else
        worker = worker_ref(fs->worker);
    mutex_unlock(&fs->lock);
    const struct remounting remounting = { .name = name,
                                           .mountpoint = mountpoint,
                                           .flags = remount_flags_of(mountpoint) };
    if (r == 0)
        r = remount_pass(worker, &remounting, fuse_fd, err);
    if (r == 0)
        r = remember_mount(fs, mountpoint, err);
    if (r == 0)
        events_add(&control->events, LOG_LEVEL_INFO, "mounted", name, "mounted at %s", mountpoint);
    return r;
}

static void report_lines(char *report, control_report_fn *visit, void *arg)
{
    while (*report) {
        size_t len = strcspn(report, "\n");
        bool is_last = report[len] == '\0';
        report[len] = '\0';
        if (len > 0)
            visit(report, arg);
        report += is_last ? len : len + 1;
    }
}

struct check_request {
    bool read_data;
    control_report_fn *report;
    void *arg;
    uint64_t *ret_faults;
};

int filesystem_take_report(struct worker_message *reply, control_report_fn *report, void *arg,
                           uint64_t *ret_faults, struct error *err)
{
    bool is_reply = reply->type == WORKER_CHECK_REPLY;

    if (is_reply) {
        *ret_faults = reply->check_reply.faults;
        report_lines(reply->check_reply.report, report, arg);
        if (reply->check_reply.is_cut)
            report("... and more faults than fit here", arg);
    }
    worker_message_release(reply);
    return is_reply ? 0 : error_set(err, -EPROTO, "the filesystem's worker answers nonsense");
}

static int ask_check(struct worker *worker, void *arg, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));
    const struct check_request *request = arg;

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = WORKER_CHECK;
    message[0].check.read_data = request->read_data;
    int r = worker_ask(worker, &message[0], -1, -1, &message[1], err);
    return r < 0 ? r
                 : filesystem_take_report(&message[1], request->report, request->arg,
                                          request->ret_faults, err);
}

int filesystem_ask_stopped(struct filesystem *fs, const char *what, bool read_only,
                           filesystem_ask_fn *ask, void *arg, struct error *err)
{
    struct key_set keys = { .count = 0 };
    struct filesystem_spawn spawn = { .keys = &keys, .read_only = read_only };
    struct error end = { .code = 0 };
    struct worker *worker = NULL;
    bool is_kms = false;
    int r = filesystem_acquire(fs, what, err);

    if (r < 0)
        return r;
    r = filesystem_unlock(fs, false, &keys, &is_kms, err);
    if (r == 0)
        r = filesystem_spawn(fs, &spawn, &worker, err);
    key_set_release(&keys);
    if (r == 0) {
        r = ask(worker, arg, err);
        int ended = filesystem_end_worker(worker, &end);
        if (r == 0 && ended < 0 && !read_only) /* else it has nothing to commit */
            r = error_set(err, ended, "its last commit failed: %s", end.text);
    }
    filesystem_release(fs, "");
    return r;
}

struct worker *filesystem_worker(struct filesystem *fs)
{
    struct worker *worker = NULL;

    mutex_lock(&fs->lock);
    if (is_up(fs) && fs->worker)
        worker = worker_ref(fs->worker);
    mutex_unlock(&fs->lock);
    return worker;
}

int filesystem_ask(struct filesystem *fs, const char *what, filesystem_ask_fn *ask, void *arg,
                   struct error *err)
{
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);

    return worker ? ask(worker, arg, err) : filesystem_ask_stopped(fs, what, true, ask, arg, err);
}

int control_check(struct control *control, const char *name, bool read_data,
                  control_report_fn *report, void *arg, uint64_t *ret_faults, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);
    struct check_request request = {
        .read_data = read_data, .report = report, .arg = arg, .ret_faults = ret_faults
    };

    if (!fs)
        return -ENOENT;
    int r = filesystem_ask(fs, "is being checked", ask_check, &request, err);
    if (r == 0 && read_data && *ret_faults == 0) {
        mutex_lock(&fs->lock);
        fs->saw_corruption = false; /* all was read, and all is right */
        mutex_unlock(&fs->lock);
    }
    return r;
}
