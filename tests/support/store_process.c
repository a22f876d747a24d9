#include "tests/support/store_process.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/process.h"
#include "host/sandbox.h"
#include "store/layers/layer.h"
#include "store/remote_store.h"

#define SOCKET_FD 3
#define END_TIMEOUT_MS 60000

struct store_process {
    struct layer layer; /* lets everything through; it is there for its release */
    pid_t pid;
};

static int let_through(struct layer *layer, struct store_call *call, struct error *err)
{
    (void)layer;
    return store_call_perform(call, err);
}

static void check(int r, const struct error *err)
{
    if (r == 0)
        return;
    (void)fprintf(stderr, "coffer-store: %s\n", err->text);
    abort();
}

/* The connection is closed by now. */
static void wait_for_end(struct layer *layer)
{
    struct store_process *process = (struct store_process *)layer;
    struct error err = { 0 };
    int status = 0;

    check(process_wait(process->pid, END_TIMEOUT_MS, &status, &err), &err);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        check(error_set(&err, -1, "it ended with status %#x", (unsigned)status), &err);
    free(process);
}

static const struct layer_kind kind = {
    .around = let_through,
    .lets_look = true,
    .release = wait_for_end,
};

static void start(const char *program, int fd, pid_t *ret_pid)
{
    const char *const argv[] = { program, "--fd", "3", NULL };
    const struct process_spec spec = {
        .path = program, .argv = argv, .pass_fd = fd, .as_fd = SOCKET_FD
    };
    struct error err = { 0 };

    check(process_start(&spec, ret_pid, &err), &err);
}

struct object_store *store_process_open(const char *program, const struct s3_settings *settings)
{
    static const struct limit_rates no_limit;
    CLEANUP(secret_release) struct secret packed = SECRET_INIT;
    struct store_process *process = calloc(1, sizeof(*process));
    struct object_store *client = NULL;
    struct error err = { 0 };
    uid_t uid = 0;
    gid_t gid = 0;
    int fds[2];

    if (process == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
    start(program, fds[1], &process->pid);
    (void)close(fds[1]);
    sandbox_worker_user(&uid, &gid);
    check(s3_settings_pack(settings, &no_limit, &packed, &err), &err);
    check(remote_store_start(fds[0], secret_bytes(&packed), uid, gid, &err), &err);
    check(remote_store_open(fds[0], &client, &err), &err);
    layer_init(&process->layer, &kind, client);
    return &process->layer.base;
}

pid_t store_process_pid(const struct object_store *store)
{
    return ((const struct store_process *)store)->pid;
}
