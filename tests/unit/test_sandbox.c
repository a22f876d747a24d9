/* What a process that has locked itself in can still do. Each case runs in a child. */
#include "tests/support/cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "host/sandbox.h"

static char folder[64]; /* holds own/ and other/, and only root may enter it */
static char own[96];
static char other[96];
static char inside[SANDBOX_FOLDERS_MAX][PATH_MAX];
static bool has_landlock;

static bool can_open(const char *path, const char *name, int flags)
{
    char whole[PATH_MAX + 64];

    (void)snprintf(whole, sizeof(whole), "%s/%s", path, name);
    int fd = open(whole, flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

#define CHILD_NO_SANDBOX 100
#define CHILD_NO_LANDLOCK 101

/* Runs act in a child inside a sandbox; what it returns is the exit code. */
static int run_inside_of(struct sandbox sandbox, int (*act)(void))
{
    struct error err = { .text = "" };
    int status;

    sandbox_worker_user(&sandbox.uid, &sandbox.gid);
    pid_t pid = fork();
    if (pid == 0) {
        if (secret_heap_init(&err) < 0 ||
            sandbox_enter(&sandbox, inside, &has_landlock, &err) < 0) {
            (void)fprintf(stderr, "%s\n", err.text);
            _exit(CHILD_NO_SANDBOX);
        }
        _exit(act());
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int run_inside(int (*act)(void))
{
    return run_inside_of((struct sandbox){ .folders = { own }, .folder_count = 1 }, act);
}

static int run_with_network(int (*act)(void))
{
    return run_inside_of(
        (struct sandbox){ .folders = { own }, .folder_count = 1, .needs_network = true }, act);
}

static int use_own_folder(void)
{
    return can_open(inside[0], "new", O_RDWR | O_CREAT | O_TRUNC) &&
                   can_open(inside[0], "file", O_RDWR)
               ? 0
               : 1;
}

static void its_own_folder_can_be_used(void **state)
{
    (void)state;
    assert_int_equal(run_inside(use_own_folder), 0);
}

static int use_other_folder(void)
{
    if (!has_landlock)
        return CHILD_NO_LANDLOCK;
    return can_open(other, "file", O_RDONLY) || can_open(other, "new", O_WRONLY | O_CREAT) ||
                   can_open("/etc", "passwd", O_RDONLY)
               ? 1
               : 0;
}

/* The folder belongs to the same user and is open to all: only Landlock stands in front of it. */
static void another_folder_of_the_same_user_cannot_be_opened(void **state)
{
    (void)state;
    int status = run_inside(use_other_folder);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_NO_LANDLOCK)
        skip();
    assert_int_equal(status, 0);
}

static int open_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) < 0;
}

static int start_process(void)
{
    return fork() < 0;
}

static int change_root_folder(void)
{
    return chmod("/", 0777) == 0;
}

static void a_forbidden_system_call_kills(void **state)
{
    int (*const forbidden[])(void) = { open_socket, start_process, change_root_folder };
    (void)state;

    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        int status = run_inside(forbidden[i]);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
    }
}

/* To a port where nobody is: refused by the host, not by the sandbox. */
static int connect_somewhere(void)
{
    const struct sockaddr_in address = { .sin_family = AF_INET,
                                         .sin_port = htons(1),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ||
        errno != ECONNREFUSED)
        return 1;
    return can_open("/etc", "hosts", O_RDONLY) ? 0 : 2;
}

static int listen_somewhere(void)
{
    return listen(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 1) == 0;
}

static int write_settings_of_the_host(void)
{
    if (!has_landlock)
        return CHILD_NO_LANDLOCK;
    return can_open("/etc", "coffer-test", O_WRONLY | O_CREAT) || can_open(other, "file", O_RDONLY);
}

static void who_needs_the_network_can_connect_and_no_more(void **state)
{
    (void)state;
    assert_int_equal(run_with_network(connect_somewhere), 0);
    int status = run_with_network(listen_somewhere);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
    status = run_with_network(start_process);
    assert_true(WIFSIGNALED(status));
    status = run_with_network(write_settings_of_the_host);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != CHILD_NO_LANDLOCK)
        assert_int_equal(status, 0);
}

static void *say_yes(void *arg)
{
    *(bool *)arg = true;
    return NULL;
}

static int start_thread(void)
{
    pthread_t thread;
    bool has_run = false;

    return pthread_create(&thread, NULL, say_yes, &has_run) == 0 &&
                   pthread_join(thread, NULL) == 0 && has_run
               ? 0
               : 1;
}

static void threads_can_be_started(void **state)
{
    (void)state;
    assert_int_equal(run_inside(start_thread), 0);
}

static int show_privileges(void)
{
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 1;
    int status_fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    static char text[8192];
    ssize_t n = status_fd < 0 ? -1 : read(status_fd, text, sizeof(text) - 1);
    if (n <= 0)
        return 2;
    if (!strstr(text, "CapPrm:\t0000000000000000") || !strstr(text, "CapEff:\t0000000000000000") ||
        !strstr(text, "CapInh:\t0000000000000000") || !strstr(text, "NoNewPrivs:\t1"))
        return 3;
    return geteuid() == 0 ? 4 : 0;
}

static void no_privileges_are_left_and_no_core_dump_is_possible(void **state)
{
    (void)state;
    assert_int_equal(run_inside(show_privileges), 0);
}

static void a_folder_is_given_whole_but_for_what_links_lead_to(void **state)
{
    char path[128];
    char link_path[128];
    struct stat st;
    (void)state;

    if (geteuid() != 0)
        skip();
    (void)snprintf(path, sizeof(path), "%s/given/deep", folder);
    assert_int_equal(sandbox_give_folder(path, 0, 0, NULL), 0);
    (void)snprintf(link_path, sizeof(link_path), "%s/given/deep/link", folder);
    assert_int_equal(symlink("/etc/passwd", link_path), 0);
    (void)snprintf(link_path, sizeof(link_path), "%s/given/hard", folder);
    (void)snprintf(path, sizeof(path), "%s/target", folder);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(link(path, link_path), 0);

    (void)snprintf(path, sizeof(path), "%s/given", folder);
    assert_int_equal(sandbox_give_folder(path, 1234, 1235, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 1234);
    (void)snprintf(path, sizeof(path), "%s/given/deep", folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 1234);
    assert_int_equal(st.st_gid, 1235);
    assert_int_equal(stat(link_path, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(stat("/etc/passwd", &st), 0);
    assert_int_equal(st.st_uid, 0);
}

static void make_folder(char *ret, size_t size, const char *name)
{
    char path[128];
    struct sandbox user;

    (void)snprintf(ret, size, "%s/%s", folder, name);
    sandbox_worker_user(&user.uid, &user.gid);
    assert_int_equal(mkdir(ret, 0777), 0);
    (void)snprintf(path, sizeof(path), "%s/file", ret);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    (void)close(fd);
    if (geteuid() == 0)
        assert_int_equal(sandbox_give_folder(ret, user.uid, user.gid, NULL), 0);
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/test_sandbox.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    make_folder(own, sizeof(own), "own");
    make_folder(other, sizeof(other), "other");
    return 0;
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
        cmocka_unit_test(its_own_folder_can_be_used),
        cmocka_unit_test(another_folder_of_the_same_user_cannot_be_opened),
        cmocka_unit_test(a_forbidden_system_call_kills),
        cmocka_unit_test(who_needs_the_network_can_connect_and_no_more),
        cmocka_unit_test(threads_can_be_started),
        cmocka_unit_test(no_privileges_are_left_and_no_core_dump_is_possible),
        cmocka_unit_test(a_folder_is_given_whole_but_for_what_links_lead_to),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
