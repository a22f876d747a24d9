#include "control/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "host/process.h"
#include "host/unix_socket.h"

#define SEND_TIMEOUT_MS 10000
#define KILL_PATIENCE_MS 10000
#define STOP_EVERY_MS 200
#define WORKER_FD 3
#define PASSED_OVER_MAX 100u /* messages of a worker that this version cannot read */

/* Somebody who waits for an answer; lives on that thread's stack. */
struct question {
    struct question *next;
    uint32_t request;
    bool is_answered;
    struct worker_message *answer; /* the asker's; filled by the reader */
    worker_stop_fn *should_stop;   /* NULL: nobody says so */
    void *stop_arg;
};

struct worker {
    atomic_uint references;
    int fd;
    int process_fd; /* of pidfd_open; -1: not known */
    pid_t pid;      /* 0: not known */
    bool is_child;
    uint32_t speaks; /* WORKER_SPEAKS of it; never changes after it was spawned or connected to */
    struct worker_watcher watcher;
    pthread_t reader;
    bool has_reader;
    struct mutex sending; /* one packet at a time; taken before lock, never with it */
    struct mutex lock;    /* guards all below */
    pthread_cond_t answered;
    struct question *questions;
    uint32_t last_request;
    bool is_over; /* the connection is gone: no answer will come */
};

static int process_fd_of(pid_t pid)
{
    return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

struct worker *worker_ref(struct worker *worker)
{
    atomic_fetch_add(&worker->references, 1);
    return worker;
}

void worker_unref(struct worker *worker)
{
    if (!worker || atomic_fetch_sub(&worker->references, 1) != 1)
        return;
    assert(!worker->has_reader); /* worker_disconnect() comes first */
    close_fd(&worker->fd);
    close_fd(&worker->process_fd);
    (void)pthread_cond_destroy(&worker->answered);
    free(worker);
}

/* Hands an answer to who asked; one that nobody waits for any more is dropped. */
static void deliver(struct worker *worker, struct worker_message *message)
{
    mutex_lock(&worker->lock);
    for (struct question *q = worker->questions; q; q = q->next) {
        if (q->request != message->request || q->is_answered)
            continue;
        *q->answer = *message;
        q->is_answered = true;
        (void)pthread_cond_broadcast(&worker->answered);
        mutex_unlock(&worker->lock);
        return;
    }
    mutex_unlock(&worker->lock);
    worker_message_release(message);
}

static void take_message(struct worker *worker, struct worker_message *message)
{
    const struct worker_watcher *watcher = &worker->watcher;

    if (message->type == WORKER_EVENT && watcher->on_event)
        watcher->on_event(&message->event, watcher->arg);
    else if (message->type == WORKER_MOUNT_ENDED && watcher->on_mount_ended)
        watcher->on_mount_ended(&message->mount_ended, watcher->arg);
    else if (message->type == WORKER_UNMOUNTED && watcher->on_unmounted)
        watcher->on_unmounted(&message->unmounted, watcher->arg);
    else if (message->type == WORKER_BUCKET_ENDED && watcher->on_bucket_ended)
        watcher->on_bucket_ended(watcher->arg);
    else if (message->type == WORKER_TASK_PROGRESS && watcher->on_task_progress)
        watcher->on_task_progress(&message->task_progress, watcher->arg);
    else if (message->type == WORKER_TASK_DONE && watcher->on_task_done)
        watcher->on_task_done(&message->task_done, watcher->arg);
    else if (message->request != 0) {
        deliver(worker, message);
        return;
    }
    worker_message_release(message);
}

/* A worker of a later version tells what this one does not know yet, unasked. One that tells
 * nothing else is broken. */
static bool may_pass_over(int r, const struct worker_message *message, unsigned *passed_over)
{
    return (r == -EBADMSG || r == -EPROTO) && message->request == 0 &&
           ++*passed_over <= PASSED_OVER_MAX;
}

static void *reader_main(void *arg)
{
    struct worker *worker = arg;
    struct worker_message *message = malloc(sizeof(*message));
    struct error err = { .code = 0 };
    int r = message ? 0 : -ENOMEM;
    unsigned passed_over = 0;

    while (r == 0) {
        int fd = -1;
        r = worker_message_receive(worker->fd, WORKER_SIDE_WORKER, message, &fd, -1, &err);
        close_fd(&fd);
        if (r == 0)
            take_message(worker, message);
        else
            worker_message_release(message);
        if (r < 0 && may_pass_over(r, message, &passed_over)) {
            log_warning("what a worker told is passed over: %s", err.text);
            r = 0;
        }
    }
    if (r != -EPIPE && r != -ECONNRESET)
        log_error("the connection to a worker is given up: %s", err.text);
    free(message);
    (void)shutdown(worker->fd, SHUT_RDWR);
    mutex_lock(&worker->lock);
    worker->is_over = true;
    (void)pthread_cond_broadcast(&worker->answered);
    mutex_unlock(&worker->lock);
    worker->watcher.on_ended(worker->watcher.arg);
    return NULL;
}

static int connect_to(const char *socket_path, const struct worker_watcher *watcher,
                      struct worker **ret, struct error *err)
{
    struct worker *worker = calloc(1, sizeof(*worker));

    if (!worker)
        return error_set(err, -ENOMEM, "out of memory");
    worker->references = 1;
    worker->fd = -1;
    worker->process_fd = -1;
    worker->watcher = *watcher;
    worker->sending = MUTEX_INIT;
    worker->lock = MUTEX_INIT;
    (void)pthread_cond_init(&worker->answered, NULL);
    int r = unix_socket_connect(socket_path, SOCK_SEQPACKET, &worker->fd, err);
    if (r < 0) {
        worker_unref(worker);
        return r;
    }
    *ret = worker;
    return 0;
}

static int start_reader(struct worker *worker, struct error *err)
{
    int r = -pthread_create(&worker->reader, NULL, reader_main, worker);

    if (r < 0)
        return error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r));
    worker->has_reader = true;
    return 0;
}

int worker_spawn(const char *program, const char *socket_path, const struct worker_watcher *watcher,
                 struct worker **ret, struct error *err)
{
    static const char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    const char *const argv[] = { program, "--fd", "3", NULL };
    CLEANUP(close_fd) int listen_fd = -1;
    struct worker *worker = NULL;
    pid_t pid;
    int r = unix_socket_listen(socket_path, SOCK_SEQPACKET, 0600, &listen_fd, err);

    if (r < 0)
        return r;
    struct process_spec spec = { .path = program,
                                 .argv = argv,
                                 .envp = environment,
                                 .pass_fd = listen_fd,
                                 .as_fd = WORKER_FD,
                                 .is_own_session = true };
    r = process_start(&spec, &pid, err);
    if (r < 0)
        return r;
    int process_fd = process_fd_of(pid);
    r = connect_to(socket_path, watcher, &worker, err);
    if (r == 0) {
        worker->pid = pid;
        worker->process_fd = process_fd;
        worker->is_child = true;
        worker->speaks = WORKER_SPEAKS; /* a program of this installation */
        r = start_reader(worker, err);
    }
    if (r < 0) {
        int status;
        (void)kill(pid, SIGKILL); /* our own child, not yet reaped: the number is still its */
        (void)process_wait(pid, KILL_PATIENCE_MS, &status, NULL);
        worker_unref(worker);
        return r;
    }
    *ret = worker;
    return 0;
}

int worker_connect(const char *socket_path, const struct worker_watcher *watcher,
                   struct worker **ret, struct error *err)
{
    struct worker *worker = NULL;
    struct worker_status_reply status;
    int r = connect_to(socket_path, watcher, &worker, err);

    if (r == 0)
        worker->speaks = 1; /* STATUS is as old as workers */
    if (r == 0)
        r = start_reader(worker, err);
    if (r == 0)
        r = worker_status(worker, SEND_TIMEOUT_MS, &status, err);
    if (r < 0 && worker) {
        worker_disconnect(worker);
        worker_unref(worker);
    }
    if (r < 0)
        return r;
    /* It answered just now, so the number that it told is its own and not used again yet. */
    worker->pid = status.pid;
    worker->process_fd = process_fd_of(status.pid);
    worker->speaks = status.speaks;
    *ret = worker;
    return 0;
}

static void unlink_question_locked(struct worker *worker, struct question *question)
    REQUIRES(worker->lock)
{
    struct question **link = &worker->questions;

    while (*link != question)
        link = &(*link)->next;
    *link = question->next;
}

/* False: somebody says so. He is not asked under the lock. */
static bool wait_a_while(struct worker *worker, const struct question *question)
    REQUIRES(worker->lock)
{
    (void)cond_wait_until(&worker->answered, &worker->lock, clock_monotonic_ms() + STOP_EVERY_MS);
    mutex_unlock(&worker->lock);
    bool goes_on = !question->should_stop(question->stop_arg);
    mutex_lock(&worker->lock);
    return goes_on;
}

static int wait_answer(struct worker *worker, struct question *question, int timeout_ms,
                       struct error *err)
{
    int64_t until = timeout_ms < 0 ? INT64_MAX / 2 : clock_monotonic_ms() + timeout_ms;
    bool has_time = true;

    mutex_lock(&worker->lock);
    while (!question->is_answered && !worker->is_over && has_time) {
        if (question->should_stop)
            has_time = wait_a_while(worker, question);
        else if (timeout_ms < 0)
            cond_wait(&worker->answered, &worker->lock);
        else
            has_time = cond_wait_until(&worker->answered, &worker->lock, until);
    }
    unlink_question_locked(worker, question);
    bool is_answered = question->is_answered;
    bool is_over = worker->is_over;
    mutex_unlock(&worker->lock);

    if (is_answered)
        return 0;
    if (is_over)
        return error_set(err, -EPIPE, "the filesystem's worker ended before it answered");
    return question->should_stop
               ? error_set(err, -ECANCELED, "it was stopped")
               : error_set(err, -ETIMEDOUT, "the filesystem's worker does not answer");
}

bool worker_is_older(const struct worker *worker)
{
    return worker->speaks < WORKER_SPEAKS;
}

/* One that gets what it does not know may give up the connection, or worse. */
static int expect_known(const struct worker *worker, enum worker_message_type type,
                        struct error *err)
{
    const struct worker_message_info *info = worker_message_info(type);

    assert(info);
    return worker->speaks < info->since ? error_set(err, -ENOSYS, "%s", WORKER_OLDER_TEXT) : 0;
}

static int ask(struct worker *worker, struct question *question, struct worker_message *message,
               int passed_fd, int timeout_ms, struct error *err)
{
    struct worker_message *ret = question->answer;
    int r = expect_known(worker, message->type, err);

    if (r < 0)
        return r;
    mutex_lock(&worker->lock);
    if (++worker->last_request == 0)
        worker->last_request = 1; /* 0 means unasked */
    question->request = worker->last_request;
    question->next = worker->questions;
    worker->questions = question;
    mutex_unlock(&worker->lock);

    message->request = question->request;
    mutex_lock(&worker->sending);
    r = worker_message_send(worker->fd, message, passed_fd, SEND_TIMEOUT_MS, err);
    mutex_unlock(&worker->sending);
    if (r < 0)
        question->should_stop = NULL; /* there is nothing to wait for */
    int waited = wait_answer(worker, question, r < 0 ? 0 : timeout_ms, r < 0 ? NULL : err);
    if (waited < 0)
        return r < 0 ? r : waited;
    if (ret->type == WORKER_DONE && ret->done.code < 0) {
        r = error_set(err, ret->done.code, "%s", ret->done.text);
        worker_message_release(ret);
        return r;
    }
    return 0;
}

int worker_ask(struct worker *worker, struct worker_message *message, int passed_fd, int timeout_ms,
               struct worker_message *ret, struct error *err)
{
    struct question question = { .answer = ret };

    return ask(worker, &question, message, passed_fd, timeout_ms, err);
}

int worker_ask_until(struct worker *worker, struct worker_message *message, int passed_fd,
                     worker_stop_fn *should_stop, void *arg, struct worker_message *ret,
                     struct error *err)
{
    struct question question = { .answer = ret, .should_stop = should_stop, .stop_arg = arg };

    return ask(worker, &question, message, passed_fd, -1, err);
}

int worker_status(struct worker *worker, int timeout_ms, struct worker_status_reply *ret,
                  struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = WORKER_STATUS;
    int r = worker_ask(worker, &message[0], -1, timeout_ms, &message[1], err);
    if (r < 0)
        return r;
    bool is_status = message[1].type == WORKER_STATUS_REPLY;
    if (is_status)
        *ret = message[1].status;
    worker_message_release(&message[1]);
    return is_status ? 0 : error_set(err, -EPROTO, "the filesystem's worker answers nonsense");
}

int worker_stop(struct worker *worker, struct error *err)
{
    return worker_stop_until(worker, NULL, NULL, err);
}

int worker_stop_until(struct worker *worker, worker_stop_fn *should_stop, void *arg,
                      struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = WORKER_STOP;
    int r = worker_ask_until(worker, &message[0], -1, should_stop, arg, &message[1], err);
    if (r == 0)
        worker_message_release(&message[1]);
    return r;
}

void worker_disconnect(struct worker *worker)
{
    if (!worker->has_reader)
        return;
    (void)shutdown(worker->fd, SHUT_RDWR); /* wakes the reader */
    (void)pthread_join(worker->reader, NULL);
    worker->has_reader = false;
}

void worker_discard(struct worker *worker)
{
    char how[WORKER_HOW_SIZE];

    worker_disconnect(worker);
    (void)worker_wait_gone(worker, 0, how);
    worker_unref(worker);
}

static void describe_end(int status, char ret_how[static WORKER_HOW_SIZE])
{
    if (WIFSIGNALED(status))
        (void)snprintf(ret_how, WORKER_HOW_SIZE, "signal %d, %s", WTERMSIG(status),
                       sigdescr_np(WTERMSIG(status)) ? sigdescr_np(WTERMSIG(status)) : "unknown");
    else
        (void)snprintf(ret_how, WORKER_HOW_SIZE, "exit status %d", WEXITSTATUS(status));
}

static int reap_child(struct worker *worker, int timeout_ms, char ret_how[static WORKER_HOW_SIZE])
{
    int status;
    int r = process_wait(worker->pid, timeout_ms, &status, NULL);

    if (r < 0)
        return r;
    describe_end(status, ret_how);
    worker->is_child = false;
    worker->pid = 0;
    return 0;
}

/* A worker of an earlier cofferd is nobody's child here: its descriptor tells when it is gone. */
static int wait_stranger(const struct worker *worker, int timeout_ms)
{
    struct pollfd poll_fd = { .fd = worker->process_fd, .events = POLLIN };

    return poll(&poll_fd, 1, timeout_ms) == 1 ? 0 : -ETIMEDOUT;
}

int worker_wait_gone(struct worker *worker, int patience_ms, char ret_how[static WORKER_HOW_SIZE])
{
    (void)snprintf(ret_how, WORKER_HOW_SIZE, "how is not known");
    if (worker->is_child && reap_child(worker, patience_ms, ret_how) == 0)
        return 0;
    if (!worker->is_child && (worker->process_fd < 0 || wait_stranger(worker, patience_ms) == 0))
        return 0;

    if (worker->process_fd >= 0)
        (void)syscall(SYS_pidfd_send_signal, worker->process_fd, SIGKILL, NULL, 0);
    else
        (void)kill(worker->pid, SIGKILL); /* a child that is not reaped: its number is its own */
    int r = worker->is_child ? reap_child(worker, KILL_PATIENCE_MS, ret_how)
                             : wait_stranger(worker, KILL_PATIENCE_MS);
    return r < 0 ? -EBUSY : 0;
}
