#include "control/bucket_session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/filesystem.h"
#include "control/object_stores.h"
#include "host/process.h"
#include "store/packed_store.h"
#include "store/remote_store.h"

#define SOCKET_FD 3
#define START_TIMEOUT_S 30
#define KILL_PATIENCE_MS 10000

struct bucket_process {
    pid_t pid;
    bool is_workers; /* it is not ours to end */
    bool is_ended;   /* by us */
    char store[STORE_NAME_MAX + 1];
};

/* What the process is told. */
struct order {
    struct secret settings;
    uid_t uid;
    gid_t gid;
};

static void order_release(struct order *order)
{
    secret_release(&order->settings);
}

/* --- processes --- */

static int remember(struct bucket_processes *processes, const struct bucket_process *process)
{
    int r = 0;

    mutex_lock(&processes->lock);
    if (processes->count == processes->room) {
        size_t room = processes->room == 0 ? 8 : 2 * processes->room;
        struct bucket_process *items = reallocarray(processes->items, room, sizeof(*items));
        if (items) {
            processes->items = items;
            processes->room = room;
        } else {
            r = -ENOMEM;
        }
    }
    if (r == 0)
        processes->items[processes->count++] = *process;
    mutex_unlock(&processes->lock);
    return r;
}

/* One that has ended, out of the list. */
static bool take_ended(struct bucket_processes *processes, struct bucket_process *ret,
                       int *ret_status)
{
    bool is_found = false;

    mutex_lock(&processes->lock);
    for (size_t i = 0; i < processes->count && !is_found; i++) {
        *ret_status = 0;
        if (waitpid(processes->items[i].pid, ret_status, WNOHANG) == 0)
            continue;
        *ret = processes->items[i];
        processes->items[i] = processes->items[--processes->count];
        is_found = true;
    }
    mutex_unlock(&processes->lock);
    return is_found;
}

void bucket_processes_reap(struct control *control)
{
    struct bucket_process process;
    int status = 0;

    while (take_ended(&control->bucket_processes, &process, &status)) {
        if (process.is_ended)
            continue;
        if (WIFSIGNALED(status))
            events_add(&control->events, LOG_LEVEL_WARNING, "object-store-process-died", "",
                       "the process for object store %s was ended by signal %d; the next use "
                       "starts another",
                       process.store, WTERMSIG(status));
        else if (WEXITSTATUS(status) != 0)
            log_warning("the process for object store %s ended with exit status %d", process.store,
                        WEXITSTATUS(status));
    }
}

void bucket_processes_release(struct bucket_processes *processes)
{
    free(processes->items);
    processes->items = NULL;
}

/* --- starting --- */

static int order_folder(const struct store_record *record, struct order *ret, struct error *err)
{
    struct packed_folder folder = { .rates = record->rates, .mark = record->mark };
    struct stat st;

    if (stat(record->path, &st) < 0)
        return error_set(err, errno == ENOENT ? -ENXIO : -errno, /* no object is missing */
                         "cannot use folder %s of object store %s: %s; is its disk mounted?",
                         record->path, record->name, strerrordesc_np(errno));
    ret->uid = st.st_uid;
    ret->gid = st.st_uid == 0 ? 0 : st.st_gid;
    memcpy(folder.path, record->path, sizeof(folder.path));
    return packed_folder_pack(&folder, &ret->settings, err);
}

static int order_fill(struct control *control, const char *store, struct order *ret,
                      struct error *err)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;

    int r = object_stores_load(control, store, &record, err);
    if (r < 0)
        return r;
    if (record.kind == STORE_KIND_DIR)
        return order_folder(&record, ret, err);
    ret->uid = control->worker_uid;
    ret->gid = control->worker_gid;
    return s3_settings_pack(&record.s3, &record.rates, &ret->settings, err);
}

static int set_timeouts(int fd, int seconds, struct error *err)
{
    const struct timeval limit = { .tv_sec = seconds };

    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
        return error_set(err, -errno, "cannot limit how long a socket waits: %s",
                         strerrordesc_np(errno));
    return 0;
}

static int spawn(struct control *control, const char *store, bool is_workers, int its_fd,
                 pid_t *ret_pid, struct error *err)
{
    static const char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    const char *const argv[] = { control->store_program, "--fd", "3", NULL };
    const struct process_spec spec = { .path = control->store_program,
                                       .argv = argv,
                                       .envp = environment,
                                       .pass_fd = its_fd,
                                       .as_fd = SOCKET_FD,
                                       .is_own_session = true };
    struct bucket_process process = { .is_workers = is_workers };
    int status;

    int r = process_start(&spec, &process.pid, err);
    if (r < 0)
        return r;
    (void)snprintf(process.store, sizeof(process.store), "%s", store);
    r = remember(&control->bucket_processes, &process);
    if (r < 0) {
        (void)kill(process.pid, SIGKILL); /* our own child, not yet reaped */
        (void)process_wait(process.pid, KILL_PATIENCE_MS, &status, NULL);
        return error_set(err, r, "out of memory");
    }
    *ret_pid = process.pid;
    return 0;
}

/* pid 0: all that are ours. None of them was reaped: its number is still its own. */
static void end_processes(struct bucket_processes *processes, pid_t pid)
{
    mutex_lock(&processes->lock);
    for (size_t i = 0; i < processes->count; i++) {
        struct bucket_process *process = &processes->items[i];
        if (process->pid != pid && (pid != 0 || process->is_workers))
            continue;
        process->is_ended = true;
        (void)kill(process->pid, SIGKILL);
    }
    mutex_unlock(&processes->lock);
}

void bucket_processes_end(struct control *control)
{
    end_processes(&control->bucket_processes, 0);
}

static int tell(int fd, const char *store, const struct order *order, struct error *err)
{
    int r = set_timeouts(fd, START_TIMEOUT_S, err);

    if (r == 0)
        r = remote_store_start(fd, secret_bytes(&order->settings), order->uid, order->gid, err);
    if (r == -EAGAIN)
        return error_set(err, -ETIMEDOUT, "the process for object store %s does not answer", store);
    return r < 0 ? error_prefix(err, r, "object store %s", store) : set_timeouts(fd, 0, err);
}

static int start(struct control *control, const char *store, bool is_workers, int *ret_fd,
                 struct error *err)
{
    CLEANUP(order_release) struct order order = { .settings = SECRET_INIT };
    CLEANUP(close_fd) int mine = -1;
    CLEANUP(close_fd) int its = -1;
    int fds[2];
    pid_t pid = 0;

    bucket_processes_reap(control);
    int r = order_fill(control, store, &order, err);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return error_set(err, -errno, "cannot make a socket: %s", strerrordesc_np(errno));
    mine = fds[0];
    its = fds[1];
    r = spawn(control, store, is_workers, its, &pid, err);
    if (r < 0)
        return r;
    close_fd(&its); /* else its end would not be noticed */
    its = -1;
    r = tell(mine, store, &order, err);
    if (r < 0) {
        end_processes(&control->bucket_processes, pid);
        return r;
    }
    *ret_fd = mine;
    mine = -1;
    return 0;
}

int bucket_session_start(struct control *control, const char *store, int *ret_fd, struct error *err)
{
    return start(control, store, true, ret_fd, err);
}

int bucket_session_open(struct control *control, const char *store, struct object_store **ret,
                        struct error *err)
{
    int fd = -1;

    int r = start(control, store, false, &fd, err);
    if (r < 0)
        return r;
    r = remote_store_open(fd, ret, err);
    if (r < 0) {
        close_fd(&fd);
        return error_prefix(err, r, "object store %s", store);
    }
    return 0;
}
