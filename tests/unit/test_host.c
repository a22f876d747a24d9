/* Instances, Unix sockets and processes, in a folder of their own. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/fuse_device.h"
#include "host/instance.h"
#include "host/process.h"
#include "host/unix_socket.h"

static char folder[64];

static void the_command_line_goes_before_the_environment_and_the_default(void **state)
{
    struct instance instance;
    (void)state;

    assert_int_equal(setenv("COFFER_STATE_DIR", "/env/state", 1), 0);
    assert_int_equal(setenv("COFFER_SOCKET", "/env/sock", 1), 0);
    assert_int_equal(instance_init(&instance, "/opt/state", "/opt/sock", false, NULL), 0);
    assert_string_equal(instance.state_dir, "/opt/state");
    assert_string_equal(instance.socket, "/opt/sock");
    assert_string_equal(instance.mount_socket, "/opt/sock.mount");
    assert_int_equal(instance_init(&instance, NULL, NULL, false, NULL), 0);
    assert_string_equal(instance.state_dir, "/env/state");
    assert_string_equal(instance.socket, "/env/sock");
    assert_int_equal(unsetenv("COFFER_SOCKET"), 0);
    assert_int_equal(instance_init(&instance, NULL, NULL, false, NULL), 0);
    assert_string_equal(instance.socket, "/env/state/cofferd.sock");
    assert_int_equal(unsetenv("COFFER_STATE_DIR"), 0);
}

static void a_user_has_the_xdg_folders(void **state)
{
    struct instance instance;
    (void)state;

    assert_int_equal(setenv("XDG_STATE_HOME", "/home/u/state", 1), 0);
    assert_int_equal(setenv("XDG_RUNTIME_DIR", "/run/user/5", 1), 0);
    assert_int_equal(instance_init(&instance, NULL, NULL, true, NULL), 0);
    assert_string_equal(instance.state_dir, "/home/u/state/coffer");
    assert_string_equal(instance.socket, "/run/user/5/coffer/cofferd.sock");
    assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
    assert_int_equal(setenv("HOME", "/home/u", 1), 0);
    assert_int_equal(instance_init(&instance, NULL, NULL, true, NULL), 0);
    assert_string_equal(instance.state_dir, "/home/u/.local/state/coffer");
}

static void paths_become_absolute_and_long_sockets_are_refused(void **state)
{
    struct instance instance;
    char path[PATH_MAX];
    char expected[PATH_MAX];
    char cwd[PATH_MAX / 2];
    char long_path[200];
    (void)state;

    assert_non_null(getcwd(cwd, sizeof(cwd)));
    assert_int_equal(instance_init(&instance, "a/state", "/s", false, NULL), 0);
    (void)snprintf(expected, sizeof(expected), "%s/a/state", cwd);
    assert_string_equal(instance.state_dir, expected);
    assert_int_equal(instance_path(&instance, path, NULL, "run/%s.sock", "x"), 0);
    (void)snprintf(expected, sizeof(expected), "%s/a/state/run/x.sock", cwd);
    assert_string_equal(path, expected);
    memset(long_path, 'x', sizeof(long_path));
    long_path[0] = '/';
    long_path[sizeof(long_path) - 1] = '\0';
    assert_int_equal(instance_init(&instance, "/s", long_path, false, NULL), -ENAMETOOLONG);
}

static void exchange_over(const char *path)
{
    struct unix_peer peer;
    struct stat st;
    uint8_t got[16];
    size_t len;
    int listen_fd, client, server;

    assert_int_equal(unix_socket_listen(path, SOCK_SEQPACKET, 0600, &listen_fd, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(unix_socket_connect(path, SOCK_SEQPACKET, &client, NULL), 0);
    assert_int_equal(unix_socket_accept(listen_fd, 1000, &server, NULL), 0);
    assert_int_equal(unix_socket_peer(server, &peer, NULL), 0);
    assert_int_equal(peer.pid, getpid());
    assert_int_equal(peer.uid, getuid());

    const struct bytes hello = { (const uint8_t *)"hello", 5 };
    assert_int_equal(unix_socket_send(client, hello, -1, 1000, NULL), 0);
    assert_int_equal(unix_socket_receive(server, got, sizeof(got), &len, NULL, 1000, NULL), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(got, "hello", 5);
    assert_int_equal(unix_socket_receive(server, got, sizeof(got), &len, NULL, 0, NULL),
                     -ETIMEDOUT);
    assert_int_equal(unix_socket_send(client, hello, -1, 1000, NULL), 0);
    assert_int_equal(unix_socket_receive(server, got, 4, &len, NULL, 1000, NULL), -EMSGSIZE);
    (void)close(client);
    (void)close(server);
    (void)close(listen_fd);
}

static void packets_go_over_paths_of_any_length(void **state)
{
    char path[PATH_MAX];
    (void)state;

    (void)snprintf(path, sizeof(path), "%s/s", folder);
    exchange_over(path);
    (void)snprintf(path, sizeof(path), "%s/%0150d", folder, 0);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/%0150d/s", folder, 0);
    exchange_over(path);
}

static void a_dead_socket_is_replaced_and_a_live_one_or_a_file_is_not(void **state)
{
    char path[PATH_MAX];
    int first, second;
    (void)state;

    (void)snprintf(path, sizeof(path), "%s/dead", folder);
    assert_int_equal(unix_socket_listen(path, SOCK_SEQPACKET, 0600, &first, NULL), 0);
    assert_int_equal(unix_socket_listen(path, SOCK_SEQPACKET, 0600, &second, NULL), -EADDRINUSE);
    assert_int_equal(unix_socket_listen(path, SOCK_STREAM, 0600, &second, NULL), -EADDRINUSE);
    (void)close(first);
    assert_int_equal(unix_socket_listen(path, SOCK_SEQPACKET, 0600, &first, NULL), 0);
    (void)close(first);
    (void)snprintf(path, sizeof(path), "%s/file", folder);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(unix_socket_listen(path, SOCK_SEQPACKET, 0600, &first, NULL), -EEXIST);
}

static void descriptors_are_refused_where_none_is_wanted(void **state)
{
    const struct bytes x = { (const uint8_t *)"x", 1 };
    uint8_t got[4];
    size_t len;
    int pair[2];
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(unix_socket_send(pair[0], x, pair[0], 1000, NULL), 0);
    assert_int_equal(unix_socket_receive(pair[1], got, sizeof(got), &len, NULL, 1000, NULL),
                     -EBADMSG);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void only_the_kind_of_socket_that_is_wanted_is_inherited(void **state)
{
    char number[16];
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    (void)snprintf(number, sizeof(number), "%d", pair[0]);
    assert_int_equal(unix_socket_inherited(number, SOCK_STREAM, false), pair[0]);
    assert_int_equal(unix_socket_inherited(number, SOCK_STREAM, true), -1);
    assert_int_equal(unix_socket_inherited(number, SOCK_SEQPACKET, false), -1);
    assert_int_equal(unix_socket_inherited("", SOCK_STREAM, false), -1);
    assert_int_equal(unix_socket_inherited("3x", SOCK_STREAM, false), -1);
    assert_int_equal(unix_socket_inherited("4294967299", SOCK_STREAM, false), -1);
    (void)close(pair[0]);
    (void)close(pair[1]);
    assert_int_equal(unix_socket_inherited(number, SOCK_STREAM, false), -1);
}

static void last_words_are_heard_after_a_close_that_left_ours_unread(void **state)
{
    const struct bytes order = { (const uint8_t *)"stop", 4 };
    const struct bytes words = { (const uint8_t *)"done", 4 };
    uint8_t got[4];
    size_t len = 0;
    int pair[2];
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(unix_socket_send(pair[0], order, -1, 1000, NULL), 0);
    assert_int_equal(unix_socket_send(pair[1], words, -1, 1000, NULL), 0);
    (void)close(pair[1]);
    assert_int_equal(unix_socket_receive(pair[0], got, sizeof(got), &len, NULL, 1000, NULL), 0);
    assert_int_equal(len, 4);
    assert_memory_equal(got, "done", 4);
    assert_int_equal(unix_socket_receive(pair[0], got, sizeof(got), &len, NULL, 1000, NULL),
                     -EPIPE);
    (void)close(pair[0]);
}

static void a_process_gets_one_descriptor_and_no_other(void **state)
{
    static const char script[] = "test -e /proc/self/fd/5 && ! test -e /proc/self/fd/4 && "
                                 "! test -e /proc/self/fd/3 && echo ok >&5";
    const char *const argv[] = { "sh", "-c", script, NULL };
    const char *const envp[] = { NULL };
    char got[4] = "";
    int pipe_fds[2];
    int status = -1;
    pid_t pid;
    (void)state;

    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    int other = dup(1); /* not close-on-exec: it must be closed all the same */
    assert_true(other >= 0);
    const struct process_spec spec = {
        .path = "/bin/sh", .argv = argv, .envp = envp, .pass_fd = pipe_fds[1], .as_fd = 5
    };
    assert_int_equal(process_start(&spec, &pid, NULL), 0);
    assert_int_equal(process_wait(pid, 10000, &status, NULL), 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(read(pipe_fds[0], got, 3), 3);
    assert_string_equal(got, "ok\n");
    (void)close(other);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
}

static void waiting_for_a_process_has_a_bound(void **state)
{
    const char *const argv[] = { "sleep", "1000", NULL };
    const struct process_spec spec = { .path = "sleep", .argv = argv, .as_fd = -1 };
    int status;
    pid_t pid;
    (void)state;

    assert_int_equal(process_start(&spec, &pid, NULL), 0);
    assert_int_equal(process_wait(pid, 0, &status, NULL), -ETIMEDOUT);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(process_wait(pid, -1, &status, NULL), 0);
    assert_true(WIFSIGNALED(status));
}

static void a_folder_without_a_mount_is_not_mounted(void **state)
{
    bool is_mounted = true;
    char real[PATH_MAX];
    (void)state;

    assert_int_equal(fuse_device_resolve(folder, real, NULL), 0);
    assert_int_equal(fuse_device_is_mounted(real, &is_mounted, NULL, NULL), 0);
    assert_false(is_mounted);
    assert_int_equal(fuse_device_resolve("/no/such/folder", real, NULL), -ENOENT);
}

/* No worker answers on the descriptor: with it the mount dies, as with a worker that was killed. */
static void the_mount_of_a_dead_worker_is_taken_away(void **state)
{
    char mountpoint[PATH_MAX];
    char real[PATH_MAX];
    char name[FUSE_DEVICE_NAME_SIZE] = "";
    bool is_mounted = false;
    int fd = -1;
    (void)state;

    (void)snprintf(mountpoint, sizeof(mountpoint), "%s/a mount point", folder);
    assert_int_equal(mkdir(mountpoint, 0700), 0);
    assert_int_equal(fuse_device_resolve(mountpoint, real, NULL), 0);
    const struct fuse_device_mount mount = { .name = "a name", .mountpoint = real };
    if (access("/dev/fuse", R_OK | W_OK) < 0 || fuse_device_mount(&mount, &fd, NULL) < 0)
        skip();
    assert_int_equal(fuse_device_is_mounted(real, &is_mounted, name, NULL), 0);
    assert_true(is_mounted);
    assert_string_equal(name, "a name");
    (void)close(fd);

    assert_int_equal(fuse_device_resolve(mountpoint, mountpoint, NULL), 0);
    assert_string_equal(mountpoint, real);
    assert_int_equal(fuse_device_detach_dead(real, "another name", NULL), 0);
    assert_int_equal(fuse_device_is_mounted(real, &is_mounted, NULL, NULL), 0);
    assert_true(is_mounted);
    assert_int_equal(fuse_device_detach_dead(real, "a name", NULL), 0);
    assert_int_equal(fuse_device_is_mounted(real, &is_mounted, NULL, NULL), 0);
    assert_false(is_mounted);
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/test_host.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_command_line_goes_before_the_environment_and_the_default),
        cmocka_unit_test(a_user_has_the_xdg_folders),
        cmocka_unit_test(paths_become_absolute_and_long_sockets_are_refused),
        cmocka_unit_test(packets_go_over_paths_of_any_length),
        cmocka_unit_test(a_dead_socket_is_replaced_and_a_live_one_or_a_file_is_not),
        cmocka_unit_test(descriptors_are_refused_where_none_is_wanted),
        cmocka_unit_test(only_the_kind_of_socket_that_is_wanted_is_inherited),
        cmocka_unit_test(last_words_are_heard_after_a_close_that_left_ours_unread),
        cmocka_unit_test(a_process_gets_one_descriptor_and_no_other),
        cmocka_unit_test(waiting_for_a_process_has_a_bound),
        cmocka_unit_test(a_folder_without_a_mount_is_not_mounted),
        cmocka_unit_test(the_mount_of_a_dead_worker_is_taken_away),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
