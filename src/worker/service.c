/* The states of a worker, and what moves it on:
 *
 *   waiting   a connection, START           -> started, or the end (1)
 *   started   MOUNT                         -> mounted
 *   mounted   the kernel ends the mount     -> commit, UNMOUNTED, the end (0, or 1: commit failed)
 *             ... and snapshots are mounted -> commit, MOUNT_ENDED, started; the last of them that
 *                                              ends is as the mount
 *   any       STOP, SIGTERM                 -> write back, commit, the end (0, or 1)
 *   waiting   cofferd is gone               -> the end (0): it holds nothing
 *   waiting   VERIFY                        -> waiting, locked in; good for nothing else
 *
 * Any other end of the process is a crash, and cofferd starts another. */
#include "worker/service.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fs/diff.h"
#include "host/fuse_device.h"
#include "host/unix_socket.h"
#include "mount/session.h"
#include "worker/event_queue.h"
#include "worker/job.h"
#include "worker/snapshot_mounts.h"
#include "worker/snapshots.h"
#include "worker/start.h"
#include "worker/task.h"
#include "worker/verify_task.h"

#define SEND_TIMEOUT_MS 5000
#define RECEIVE_TIMEOUT_MS 5000
#define FIRST_CONNECTION_MS 60000

struct service {
    uid_t launcher; /* who may connect, besides root */
    int listen_fd;
    int connection_fd; /* -1: cofferd is away */
    int signal_fd;
    bool is_started;
    bool is_ending;
    int exit_code;
    struct started started;
    struct worker_status_reply status; /* what does not change by itself */
    struct mount_session *session;     /* NULL: not mounted */
    bool mount_has_ended;              /* it was, and snapshots still are */
    struct snapshot_mounts snapshot_mounts;
    struct event_queue events;
    struct task check;
    struct task snapshot;
    struct jobs jobs;
};

static void disconnect(struct service *service)
{
    if (service->connection_fd >= 0)
        (void)close(service->connection_fd);
    service->connection_fd = -1;
    if (!service->is_started)
        service->is_ending = true;
}

static void send_message(struct service *service, const struct worker_message *message)
{
    struct error err;

    if (service->connection_fd < 0)
        return;
    if (worker_message_send(service->connection_fd, message, -1, SEND_TIMEOUT_MS, &err) < 0) {
        log_warning("cannot tell cofferd: %s", err.text);
        disconnect(service);
    }
}

/* code 0, or a failure with the sentence of err. */
static void send_result(struct service *service, enum worker_message_type type, uint32_t request,
                        int code, const struct error *err)
{
    struct worker_message message = { .type = type, .request = request };

    message.done.code = code;
    if (code < 0)
        (void)snprintf(message.done.text, sizeof(message.done.text), "%s", err->text);
    send_message(service, &message);
}

static void send_events(struct service *service)
{
    struct worker_message message = { .type = WORKER_EVENT };

    while (service->connection_fd >= 0 && event_queue_take(&service->events, &message.event))
        send_message(service, &message);
}

static bool send_news(const struct worker_message *message, void *arg)
{
    struct service *service = arg;

    send_message(service, message);
    return service->connection_fd >= 0;
}

static void tell_jobs(struct service *service)
{
    jobs_tell(&service->jobs, send_news, service);
}

static void on_volume_event(enum volume_event event, const char *text, void *arg)
{
    static const enum worker_event_kind kinds[] = {
        [VOLUME_EVENT_CORRUPTION] = WORKER_EVENT_CORRUPTION,
        [VOLUME_EVENT_WRITE_LOST] = WORKER_EVENT_WRITE_LOST,
        [VOLUME_EVENT_FULL] = WORKER_EVENT_FULL,
        [VOLUME_EVENT_ROOM_AGAIN] = WORKER_EVENT_ROOM_AGAIN,
        [VOLUME_EVENT_READ_ONLY] = WORKER_EVENT_READ_ONLY,
        [VOLUME_EVENT_CACHE_OFF] = WORKER_EVENT_CACHE_OFF,
        [VOLUME_EVENT_ORIGIN_AWAY] = WORKER_EVENT_ORIGIN_AWAY,
        [VOLUME_EVENT_ORIGIN_DONE] = WORKER_EVENT_ORIGIN_DONE,
        [VOLUME_EVENT_ARRIVING_DROPPED] = WORKER_EVENT_ARRIVING_DROPPED,
        [VOLUME_EVENT_KEY_MISSING] = WORKER_EVENT_KEY_MISSING,
    };
    struct service *service = arg;

    event_queue_add(&service->events, kinds[event], text);
}

static void tell_bucket(struct service *service)
{
    const struct worker_message message = { .type = WORKER_BUCKET_ENDED };

    if (service->started.bucket && worker_bucket_take_end(service->started.bucket))
        send_message(service, &message);
}

/* Of a verification, which is no task of a filesystem's: its number is 0. */
static void tell_verify(struct service *service)
{
    struct worker_message message = { .type = WORKER_TASK_PROGRESS };

    if (verify_work_take_progress(service->check.verify, &message.task_progress))
        send_message(service, &message);
}

static int do_start(struct service *service, const struct worker_message *order, int fd,
                    struct error *err)
{
    const struct worker_start *start = &order->start;

    if (service->is_started || service->check.verify) {
        if (fd >= 0)
            (void)close(fd);
        return error_set(err, -EALREADY, "the worker was started already");
    }
    int r = worker_start(start, fd, on_volume_event, service, &service->started, err);
    if (r < 0) {
        service->is_ending = true;
        service->exit_code = EXIT_FAILURE;
        return r;
    }
    service->is_started = true;
    service->status.uuid = start->uuid;
    service->status.capacity = start->capacity;
    service->status.salvages = start->flags & WORKER_FLAG_SALVAGE;
    service->status.generation_count = start->keys.count;
    memcpy(service->status.generations, start->keys.generations,
           sizeof(service->status.generations));
    return 0;
}

static int require_started(const struct service *service, struct error *err)
{
    return service->is_started ? 0 : error_set(err, -EINVAL, "the filesystem has not been started");
}

/* Or is about to. */
static bool is_restoring(const struct service *service)
{
    return volume_is_restoring(service->started.volume) ||
           (service->snapshot.is_running && service->snapshot.order.type == WORKER_RESTORE);
}

/* Closes what cannot be mounted. */
static int require_device(const struct service *service, int fd, struct error *err)
{
    int r = require_started(service, err);

    if (r == 0 && is_restoring(service))
        r = error_set(err, -EBUSY,
                      "the filesystem is being put back to a snapshot; mount it when that is done");
    if (r == 0 && !fuse_device_is(fd))
        r = error_set(err, -EINVAL, "the descriptor is not a FUSE device");
    if (r < 0)
        (void)close(fd);
    return r;
}

static int do_mount(struct service *service, const struct worker_message *order, int fd,
                    struct error *err)
{
    if (service->session) {
        (void)close(fd);
        return error_set(err, -EBUSY, "the filesystem is already mounted on %s",
                         service->status.mountpoint);
    }
    int r = require_device(service, fd, err);
    if (r < 0)
        return r;
    volume_set_noatime(service->started.volume, order->mount.is_noatime);
    r = mount_session_start(service->started.volume, VOLUME_ROOT, fd, service->started.spare_fds,
                            &service->session, err);
    service->mount_has_ended &= r < 0;
    if (r == 0)
        (void)snprintf(service->status.mountpoint, sizeof(service->status.mountpoint), "%s",
                       order->mount.mountpoint);
    return r;
}

static int do_snapshot_mount(struct service *service, const struct worker_message *order, int fd,
                             struct error *err)
{
    int r = require_device(service, fd, err);

    return r < 0 ? r
                 : snapshot_mounts_add(&service->snapshot_mounts, service->started.volume,
                                       order->snapshot_mount.snapshot, fd, err);
}

static int do_mounts(struct service *service, const struct worker_message *order, int fd,
                     struct error *err)
{
    const struct snapshot_mounts *mounts = &service->snapshot_mounts;
    struct worker_message reply = { .type = WORKER_MOUNTS_REPLY, .request = order->request };

    (void)fd;
    (void)err;
    reply.mounts.has_ended = service->mount_has_ended;
    reply.mounts.count = mounts->count;
    for (uint32_t i = 0; i < mounts->count; i++)
        reply.mounts.snapshots[i] = mounts->items[i].snapshot;
    send_message(service, &reply);
    return 0;
}

static int do_status(struct service *service, const struct worker_message *order, int fd,
                     struct error *err)
{
    struct worker_message reply = { .type = WORKER_STATUS_REPLY, .request = order->request };

    (void)fd;
    reply.status = service->status;
    reply.status.pid = getpid();
    reply.status.is_started = service->is_started;
    reply.status.is_mounted = service->session != NULL;
    reply.status.corruptions = event_queue_corruptions(&service->events);
    reply.status.speaks = WORKER_SPEAKS;
    int r = service->is_started ? started_status(&service->started, &reply.status, err) : 0;
    if (r == 0)
        send_message(service, &reply);
    return r;
}

static int start_task(struct service *service, struct task *task, task_fn *fn,
                      const struct worker_message *order, struct error *err)
{
    int r = require_started(service, err);

    if (r < 0)
        return r;
    task->volume = service->started.volume;
    task->session = service->session;
    return task_start(task, fn, order, err);
}

static int do_check(struct service *service, const struct worker_message *order, int fd,
                    struct error *err)
{
    (void)fd;
    return start_task(service, &service->check, check_task, order, err);
}

static int do_key_uses(struct service *service, const struct worker_message *order, int fd,
                       struct error *err)
{
    (void)fd;
    return start_task(service, &service->check, key_uses_task, order, err);
}

/* The keys and the sandbox are the snapshot's: this process never serves a filesystem. */
static int do_verify(struct service *service, const struct worker_message *order, int fd,
                     struct error *err)
{
    if (service->is_started || service->check.verify) {
        close_fd(&fd);
        return error_set(err, -EALREADY, "the worker was started already");
    }
    int r = verify_work_new(&order->verify, fd, &service->check.verify, err);
    return r < 0 ? r : task_start(&service->check, verify_task, order, err);
}

static int do_snapshot(struct service *service, const struct worker_message *order, int fd,
                       struct error *err)
{
    task_fn *fn = order->type == WORKER_SNAPSHOT_TAKE     ? snapshot_take_task
                  : order->type == WORKER_SNAPSHOT_UPDATE ? snapshot_update_task
                                                          : snapshot_remove_task;

    (void)fd;
    return start_task(service, &service->snapshot, fn, order, err);
}

static int do_snapshot_diff(struct service *service, const struct worker_message *order, int fd,
                            struct error *err)
{
    (void)fd;
    return start_task(service, &service->snapshot, snapshot_diff_task, order, err);
}

static int do_restore(struct service *service, const struct worker_message *order, int fd,
                      struct error *err)
{
    (void)fd;
    if (service->session)
        return error_set(err, -EBUSY, "the filesystem is mounted on %s; unmount it first",
                         service->status.mountpoint);
    if (service->snapshot_mounts.count > 0)
        return error_set(err, -EBUSY, "a snapshot of the filesystem is mounted; unmount it first");
    return start_task(service, &service->snapshot, restore_task, order, err);
}

static int do_snapshot_list(struct service *service, const struct worker_message *order, int fd,
                            struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *reply = calloc(1, sizeof(*reply));
    int r = require_started(service, err);

    (void)fd;
    if (r == 0 && !reply)
        r = error_set(err, -ENOMEM, "out of memory");
    if (r < 0)
        return r;
    reply->type = WORKER_SNAPSHOTS_REPLY;
    reply->request = order->request;
    if (order->type == WORKER_SNAPSHOT_FIND)
        snapshot_find_reply(service->started.volume, &order->snapshot_find, &reply->snapshots);
    else
        snapshots_reply(service->started.volume, order->snapshot_list.behind, &reply->snapshots);
    send_message(service, reply);
    return 0;
}

static int do_set_capacity(struct service *service, const struct worker_message *order, int fd,
                           struct error *err)
{
    int r = require_started(service, err);

    (void)fd;
    if (r < 0)
        return r;
    volume_set_capacity(service->started.volume, order->set_capacity.capacity);
    service->status.capacity = order->set_capacity.capacity;
    return 0;
}

static int do_set_cache(struct service *service, const struct worker_message *order, int fd,
                        struct error *err)
{
    int r = require_started(service, err);

    (void)fd;
    if (r == 0 && !service->started.cache)
        r = error_set(err, -EOPNOTSUPP,
                      "the filesystem started without a cache; unmount it, and mount it again");
    if (r == 0 && cache_store_resize(service->started.cache, order->set_cache.bytes) < 0)
        r = error_set(err, -ENOMEM, "out of memory for a cache of that size");
    return r;
}

static int do_set_bucket(struct service *service, const struct worker_message *order, int fd,
                         struct error *err)
{
    (void)order;
    if (service->started.bucket)
        return worker_bucket_renew(service->started.bucket, fd, err);
    close_fd(&fd);
    return error_set(err, -EINVAL, "a socket came for a bucket that is not needed");
}

static int do_add_keys(struct service *service, const struct worker_message *order, int fd,
                       struct error *err)
{
    int r = require_started(service, err);

    (void)fd;
    return r < 0 ? r : volume_add_keys(service->started.volume, &order->add_keys.keys, err);
}

static int do_task_start(struct service *service, const struct worker_message *order, int fd,
                         struct error *err)
{
    int r = require_started(service, err);

    if (r < 0) {
        close_fd(&fd);
        return r;
    }
    return jobs_start(&service->jobs, &order->task_start, fd, service->started.volume,
                      service->started.store, err);
}

static int do_task_seal(struct service *service, const struct worker_message *order, int fd,
                        struct error *err)
{
    struct worker_message reply = *order;
    int r = require_started(service, err);

    (void)fd;
    reply.type = WORKER_TASK_SEALED;
    if (r == 0)
        r = import_seal(service->started.volume, &reply.task_start, err);
    if (r == 0)
        send_message(service, &reply);
    return r;
}

static int do_task_stop(struct service *service, const struct worker_message *order, int fd,
                        struct error *err)
{
    (void)fd;
    return jobs_stop(&service->jobs, order->task_stop.task, err);
}

static void finish_task(struct service *service, struct task *task)
{
    task_finish(task);
    send_message(service, &task->reply);
}

static void finish_check(struct service *service)
{
    finish_task(service, &service->check);
}

static void finish_snapshot(struct service *service)
{
    finish_task(service, &service->snapshot);
}

/* Nothing is lost that the kernel or we hold: write back, commit, close. */
static int close_all(struct service *service, bool write_back, struct error *err)
{
    int r = 0;

    service->is_ending = true;
    jobs_stop_all(&service->jobs);
    if (service->check.verify)
        verify_work_stop(service->check.verify);
    if (service->check.is_running)
        finish_check(service);
    if (service->snapshot.is_running)
        finish_snapshot(service);
    volume_diff_close(service->snapshot.diff);
    service->snapshot.diff = NULL;
    if (service->session && write_back)
        mount_session_write_back(service->session);
    if (service->is_started)
        volume_origin_stop(service->started.volume); /* a request may wait for the bucket */
    mount_session_stop(service->session);
    service->session = NULL;
    snapshot_mounts_stop(&service->snapshot_mounts);
    if (service->is_started) {
        r = volume_close(service->started.volume, err);
        worker_bucket_close(service->started.bucket);
        object_store_close(service->started.store);
        free(TAKE(service->started.teller));
        service->started.cache = NULL;
    }
    service->started.volume = NULL;
    service->started.store = NULL;
    service->started.bucket = NULL;
    send_events(service);
    if (r < 0)
        log_error("the last commit failed: %s", err->text);
    service->exit_code = r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    return r;
}

static int do_stop(struct service *service, const struct worker_message *order, int fd,
                   struct error *err)
{
    (void)order;
    (void)fd;
    return close_all(service, true, err);
}

/* Every order that can come, as host/worker_protocol.c lists them. A handler returns the result
 * for DONE, if that is the answer to a success. */
static const struct {
    enum worker_message_type type;
    bool answers_done;
    int (*handle)(struct service *service, const struct worker_message *order, int fd,
                  struct error *err);
} orders[] = {
    { WORKER_START, true, do_start },
    { WORKER_MOUNT, true, do_mount },
    { WORKER_SNAPSHOT_MOUNT, true, do_snapshot_mount },
    { WORKER_MOUNTS, false, do_mounts },
    { WORKER_STATUS, false, do_status },
    { WORKER_CHECK, false, do_check },
    { WORKER_STOP, true, do_stop },
    { WORKER_SET_CAPACITY, true, do_set_capacity },
    { WORKER_SET_CACHE, true, do_set_cache },
    { WORKER_SET_BUCKET, true, do_set_bucket },
    { WORKER_ADD_KEYS, true, do_add_keys },
    { WORKER_KEY_USES, false, do_key_uses },
    { WORKER_SNAPSHOT_TAKE, false, do_snapshot },
    { WORKER_SNAPSHOT_UPDATE, false, do_snapshot },
    { WORKER_SNAPSHOT_REMOVE, false, do_snapshot },
    { WORKER_SNAPSHOT_LIST, false, do_snapshot_list },
    { WORKER_SNAPSHOT_FIND, false, do_snapshot_list },
    { WORKER_TASK_START, true, do_task_start },
    { WORKER_TASK_STOP, true, do_task_stop },
    { WORKER_TASK_SEAL, false, do_task_seal },
    { WORKER_RESTORE, false, do_restore },
    { WORKER_VERIFY, false, do_verify },
    { WORKER_SNAPSHOT_DIFF, false, do_snapshot_diff },
};

static void obey(struct service *service, const struct worker_message *order, int fd)
{
    struct error err = { .text = "" };
    size_t i = 0;

    while (i < sizeof(orders) / sizeof(orders[0]) && orders[i].type != order->type)
        i++;
    assert(i < sizeof(orders) / sizeof(orders[0])); /* decoding refused everything else */
    int r = orders[i].handle(service, order, fd, &err);
    if (r < 0 || orders[i].answers_done)
        send_result(service, WORKER_DONE, order->request, r, &err);
}

/* One packet that is not understood does no harm to those behind it. cofferd may be of a later
 * version: what serves programs here does not end because of that. */
static void refuse(struct service *service, uint32_t request, int r, struct error *err)
{
    log_warning("an order of cofferd is refused: %s", err->text);
    if (r == -EPROTO)
        r = error_set(err, -ENOSYS, "unknown: the filesystem's worker is of another version");
    send_result(service, WORKER_DONE, request, r, err);
}

static void receive_order(struct service *service)
{
    CLEANUP(free_ptr) struct worker_message *order = malloc(sizeof(*order));
    struct error err = { .code = 0 };
    int fd = -1;

    if (!order) {
        disconnect(service);
        return;
    }
    int r = worker_message_receive(service->connection_fd, WORKER_SIDE_COFFERD, order, &fd,
                                   RECEIVE_TIMEOUT_MS, &err);
    if (r == 0) {
        obey(service, order, fd);
    } else if (order->request != 0 && r != -EPROTONOSUPPORT) {
        refuse(service, order->request, r, &err);
    } else {
        if (r != -EPIPE)
            log_warning("the connection to cofferd is given up: %s", err.text);
        disconnect(service);
    }
    worker_message_release(order);
}

static void accept_connection(struct service *service)
{
    CLEANUP(close_fd) int fd = -1;
    struct unix_peer peer;
    struct error err;

    if (unix_socket_accept(service->listen_fd, 0, &fd, &err) < 0 ||
        unix_socket_peer(fd, &peer, &err) < 0) {
        log_warning("%s", err.text);
        return;
    }
    if (peer.uid != 0 && peer.uid != service->launcher) {
        log_warning("refused a connection pid=%d uid=%u", (int)peer.pid, peer.uid);
        return;
    }
    if (service->connection_fd >= 0) {
        log_warning("refused a second connection pid=%d", (int)peer.pid);
        return;
    }
    service->connection_fd = fd;
    fd = -1;
    send_events(service);
    tell_jobs(service); /* what has ended meanwhile */
    tell_bucket(service);
}

/* The last mount is gone. */
static void end_unmounted(struct service *service)
{
    struct error err = { .text = "" };
    int r = close_all(service, false, &err);

    send_result(service, WORKER_UNMOUNTED, 0, r, &err);
}

static void tell_mount_ended(struct service *service, uint64_t snapshot, int code,
                             const struct error *err)
{
    struct worker_message message = { .type = WORKER_MOUNT_ENDED };

    message.mount_ended.snapshot = snapshot;
    message.mount_ended.code = code;
    if (code < 0)
        (void)snprintf(message.mount_ended.text, sizeof(message.mount_ended.text), "%s", err->text);
    send_message(service, &message);
}

/* What was written is as durable as if the worker ended. */
static void on_mount_end(struct service *service)
{
    struct error err = { .text = "" };

    if (service->snapshot_mounts.count == 0) {
        end_unmounted(service);
        return;
    }
    if (service->snapshot.is_running)
        finish_snapshot(service); /* it may use the session */
    mount_session_stop(service->session);
    service->session = NULL;
    service->mount_has_ended = true;
    service->status.mountpoint[0] = '\0';
    int r = volume_sync(service->started.volume, &err);
    tell_mount_ended(service, 0, r, &err);
}

static void on_snapshot_mount_end(struct service *service)
{
    uint64_t snapshot = 0;

    while (snapshot_mounts_take_ended(&service->snapshot_mounts, &snapshot))
        tell_mount_ended(service, snapshot, 0, NULL);
    if (!service->session && service->snapshot_mounts.count == 0)
        end_unmounted(service);
}

static void on_signal(struct service *service)
{
    struct error err = { .text = "" };

    log_info("told to stop by a signal");
    int r = close_all(service, true, &err);
    send_result(service, WORKER_UNMOUNTED, 0, r, &err);
}

enum watched {
    WATCH_SIGNAL,
    WATCH_CONNECTION,
    WATCH_LISTEN,
    WATCH_MOUNT_END,
    WATCH_SNAPSHOT_MOUNT_END,
    WATCH_EVENTS,
    WATCH_CHECK,
    WATCH_SNAPSHOT,
    WATCH_JOBS,
    WATCH_BUCKET,
    WATCH_VERIFY,
    WATCH_COUNT,
};

/* One round: waits for something and does it. What stands first goes first: a connection that
 * ended makes room for the next. */
static void serve_once(struct service *service)
{
    struct pollfd fds[WATCH_COUNT] = {
        [WATCH_SIGNAL] = { .fd = service->signal_fd },
        [WATCH_CONNECTION] = { .fd = service->connection_fd },
        [WATCH_LISTEN] = { .fd = service->listen_fd },
        [WATCH_MOUNT_END] = { .fd =
                                  service->session ? mount_session_end_fd(service->session) : -1 },
        [WATCH_SNAPSHOT_MOUNT_END] = { .fd = service->snapshot_mounts.ends_fd },
        /* Nobody to tell: they wait in the queue. */
        [WATCH_EVENTS] = { .fd = service->connection_fd >= 0 ? service->events.fd : -1 },
        [WATCH_CHECK] = { .fd = service->check.is_running ? service->check.done_fd : -1 },
        [WATCH_SNAPSHOT] = { .fd = service->snapshot.is_running ? service->snapshot.done_fd : -1 },
        [WATCH_JOBS] = { .fd = service->connection_fd >= 0 ? service->jobs.fd : -1 },
        [WATCH_BUCKET] = { .fd = service->connection_fd >= 0 && service->started.bucket
                                     ? service->started.bucket->ended_fd
                                     : -1 },
        [WATCH_VERIFY] = { .fd =
                               service->check.verify ? verify_work_fd(service->check.verify) : -1 },
    };
    static void (*const actions[WATCH_COUNT])(struct service *) = {
        on_signal,   receive_order, accept_connection, on_mount_end, on_snapshot_mount_end,
        send_events, finish_check,  finish_snapshot,   tell_jobs,    tell_bucket,
        tell_verify,
    };
    bool is_lonely = !service->is_started && service->connection_fd < 0;

    for (unsigned i = 0; i < WATCH_COUNT; i++)
        fds[i].events = POLLIN;
    int n = poll(fds, WATCH_COUNT, is_lonely ? FIRST_CONNECTION_MS : -1);
    if (n == 0) {
        log_error("nobody connected");
        service->is_ending = true;
        service->exit_code = EXIT_FAILURE;
    }
    for (unsigned i = 0; n > 0 && i < WATCH_COUNT && !service->is_ending; i++)
        if (fds[i].revents)
            actions[i](service);
}

/* SIGTERM and SIGINT are read, never delivered; a closed socket is an error, not a signal. */
static int catch_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
        signal(SIGHUP, SIG_IGN) == SIG_ERR)
        return -1;
    return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int service_init(struct service *service, int listen_fd)
{
    *service = (struct service){ .launcher = getuid(),
                                 .listen_fd = listen_fd,
                                 .connection_fd = -1,
                                 .exit_code = EXIT_SUCCESS,
                                 .snapshot_mounts = SNAPSHOT_MOUNTS_INIT };
    service->signal_fd = catch_signals();
    if (service->signal_fd < 0)
        return -errno;
    int r = event_queue_init(&service->events);
    if (r == 0)
        r = task_init(&service->check, "a check");
    if (r == 0)
        r = jobs_init(&service->jobs);
    return r < 0 ? r : task_init(&service->snapshot, "a change of snapshots");
}

/* cofferd went away in the middle of one. */
static void end_verify(struct service *service)
{
    if (!service->check.verify)
        return;
    verify_work_stop(service->check.verify);
    if (service->check.is_running)
        task_finish(&service->check);
    verify_work_free(service->check.verify);
    service->check.verify = NULL;
}

int service_run(int listen_fd)
{
    CLEANUP(free_ptr) struct service *service = malloc(sizeof(*service));

    if (!service || service_init(service, listen_fd) < 0) {
        log_error("cannot start: %s", strerrordesc_np(errno));
        return EXIT_FAILURE;
    }
    while (!service->is_ending)
        serve_once(service);
    int exit_code = service->exit_code;
    disconnect(service);
    end_verify(service);
    event_queue_release(&service->events);
    task_release(&service->check);
    task_release(&service->snapshot);
    jobs_release(&service->jobs);
    (void)close(service->signal_fd);
    (void)close(service->listen_fd);
    return exit_code;
}
