/* cofferd - the control plane of one instance: options, one process for each state folder, its
 * sockets, signals.
 *
 * SIGTERM and SIGINT stop the control plane only: the filesystems' workers live on and go on
 * serving; the next cofferd connects to them. Under systemd that needs KillMode=process.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "api/server.h"
#include "api/web_identity.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "base/log.h"
#include "control/control.h"
#include "control/mount_socket.h"
#include "crypto/secret.h"
#include "host/instance.h"
#include "host/process.h"
#include "host/tcp_listen.h"
#include "host/unix_socket.h"

static const char usage[] =
    "Usage: cofferd [--state-dir DIR] [--socket PATH] [--user] [--foreground] [--debug]\n"
    "               [--allow-key-export] [--https ADDRESS:PORT [--tls-cert PEM --tls-key PEM]]\n"
    "\n"
    "Runs the control plane of coffer: it keeps the filesystems, their wrapped keys and the\n"
    "connection to the key server, and starts a worker for each started filesystem.\n"
    "\n"
    "  --state-dir DIR   where it keeps its state (COFFER_STATE_DIR; /var/lib/coffer as root,\n"
    "                    else ~/.local/state/coffer)\n"
    "  --socket PATH     where 'coffer' reaches it (COFFER_SOCKET; /run/coffer/cofferd.sock as\n"
    "                    root, STATE/cofferd.sock if only the state folder is given)\n"
    "  --user            use an ordinary user's folders, also as root\n"
    "  --foreground      stay in the foreground; else, unless systemd started it, it goes into\n"
    "                    the background when it is ready, and logs to STATE/cofferd.log\n"
    "  --debug           log more\n"
    "  --allow-key-export\n"
    "                    'coffer fs key export' may write recovery copies of filesystem keys\n"
    "  --https ADDRESS:PORT\n"
    "                    also serve the web page and the REST interface there, to users who log\n"
    "                    in ('coffer user add'); *:PORT for all addresses\n"
    "  --tls-cert PEM    file with its certificate, and those that lead to the CA; without it,\n"
    "                    cofferd makes one, whose fingerprint 'coffer status' shows\n"
    "  --tls-key PEM     file with the certificate's private key\n"
    "  --help, --version\n"
    "\n"
    "SIGTERM stops the control plane and leaves the filesystems running; the next cofferd\n"
    "finds them again. To stop a filesystem, use 'coffer fs umount NAME' first.\n";

struct options {
    const char *state_dir;
    const char *socket;
    bool is_user;
    bool is_foreground;
    bool is_debug;
    bool allows_key_export;
    const char *https;
    const char *tls_cert;
    const char *tls_key;
};

enum option_code {
    OPTION_STATE_DIR = 256,
    OPTION_SOCKET,
    OPTION_USER,
    OPTION_FOREGROUND,
    OPTION_DEBUG,
    OPTION_ALLOW_KEY_EXPORT,
    OPTION_HTTPS,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_HELP,
    OPTION_VERSION,
};

/* Ends the process for --help, --version and what it does not understand. */
static void parse_options(int argc, char **argv, struct options *ret)
{
    static const struct option known[] = {
        { "state-dir", required_argument, NULL, OPTION_STATE_DIR },
        { "socket", required_argument, NULL, OPTION_SOCKET },
        { "user", no_argument, NULL, OPTION_USER },
        { "foreground", no_argument, NULL, OPTION_FOREGROUND },
        { "debug", no_argument, NULL, OPTION_DEBUG },
        { "allow-key-export", no_argument, NULL, OPTION_ALLOW_KEY_EXPORT },
        { "https", required_argument, NULL, OPTION_HTTPS },
        { "tls-cert", required_argument, NULL, OPTION_TLS_CERT },
        { "tls-key", required_argument, NULL, OPTION_TLS_KEY },
        { "help", no_argument, NULL, OPTION_HELP },
        { "version", no_argument, NULL, OPTION_VERSION },
        { NULL, 0, NULL, 0 },
    };

    for (;;) {
        switch (getopt_long(argc, argv, "", known, NULL)) {
        case -1:
            if (optind == argc)
                return;
            (void)fprintf(stderr, "cofferd: '%s' is not an option; see cofferd --help\n",
                          argv[optind]);
            exit(2);
        case OPTION_STATE_DIR:
            ret->state_dir = optarg;
            break;
        case OPTION_SOCKET:
            ret->socket = optarg;
            break;
        case OPTION_USER:
            ret->is_user = true;
            break;
        case OPTION_FOREGROUND:
            ret->is_foreground = true;
            break;
        case OPTION_DEBUG:
            ret->is_debug = true;
            break;
        case OPTION_ALLOW_KEY_EXPORT:
            ret->allows_key_export = true;
            break;
        case OPTION_HTTPS:
            ret->https = optarg;
            break;
        case OPTION_TLS_CERT:
            ret->tls_cert = optarg;
            break;
        case OPTION_TLS_KEY:
            ret->tls_key = optarg;
            break;
        case OPTION_HELP:
            (void)fputs(usage, stdout);
            exit(0);
        case OPTION_VERSION:
            (void)puts("cofferd " COFFER_VERSION);
            exit(0);
        default:
            (void)fprintf(stderr, "see cofferd --help\n");
            exit(2);
        }
    }
}

/* One cofferd for each state folder. The lock goes with the process, whatever ends it. */
static int take_lock(const struct instance *instance, int *ret_fd, struct error *err)
{
    char path[PATH_MAX];
    char text[32];
    int r = instance_path(instance, path, err, "run/cofferd.pid");

    if (r < 0)
        return r;
    CLEANUP(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(err, -errno, "cannot open %s: %s", path, strerrordesc_np(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, -EBUSY,
                         "a cofferd already runs with the state folder %s; stop it, or give "
                         "another one with --state-dir",
                         instance->state_dir);
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len)
        return error_set(err, -errno, "cannot write %s: %s", path, strerrordesc_np(errno));
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int make_folders(const struct instance *instance, struct error *err)
{
    char path[PATH_MAX];
    int r = folder_make(instance->state_dir, 0700, err);

    if (r < 0)
        return error_prefix(err, r, "no state folder; name one that can be made with --state-dir");
    r = instance_path(instance, path, err, "run");
    if (r == 0)
        r = folder_make(path, 0700, err);
    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), "%s", instance->socket);
    char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return 0;
    *slash = '\0';
    r = folder_make(path, 0755, err); /* the sockets in it are for their owner only */
    return r < 0 ? error_prefix(err, r, "no place for the socket; name another with --socket") : 0;
}

/* All that runs, in the order of its start. */
struct daemon {
    struct instance instance;
    int lock_fd;
    int ready_fd;    /* who started us waits there; -1 in the foreground */
    int terminal_fd; /* its standard error; -1 in the foreground */
    struct control *control;
    struct mount_socket *mounts;
    struct sessions *sessions;
    struct throttle logins;
    struct tls_identity *identity;
    struct api_server *web;
    struct api_server *api;
};

/* From the terminal to the log file, before the first worker inherits what we have. What goes
 * wrong later is told on the terminal too. */
static int leave_terminal(struct daemon *daemon, struct error *err)
{
    char path[PATH_MAX];
    int r = instance_path(&daemon->instance, path, err, "cofferd.log");

    if (r < 0)
        return r;
    CLEANUP(close_fd) int log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    CLEANUP(close_fd) int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    daemon->terminal_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (log_fd < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 ||
        dup2(log_fd, 2) < 0)
        return error_set(err, -errno, "cannot log to %s: %s", path, strerrordesc_np(errno));
    return 0;
}

static void tell_ready(struct daemon *daemon)
{
    if (daemon->ready_fd >= 0)
        (void)!write(daemon->ready_fd, "", 1); /* who started us may be gone by now */
    close_fd(&daemon->ready_fd);
    close_fd(&daemon->terminal_fd);
    daemon->ready_fd = -1;
    daemon->terminal_fd = -1;
    (void)sd_notify(0, "READY=1"); /* nobody listens outside systemd */
}

static int open_identity(struct daemon *daemon, const struct options *options, const char *host,
                         struct error *err)
{
    if (!options->tls_cert != !options->tls_key)
        return error_set(err, -EINVAL, "--tls-cert and --tls-key belong together; give both");
    if (options->tls_cert)
        return web_identity_read(options->tls_cert, options->tls_key, &daemon->identity, err);
    return web_identity_own(daemon->instance.state_dir, host, &daemon->identity, err);
}

/* What the context says of it is for the other face too. */
static int open_web(struct daemon *daemon, const struct options *options,
                    struct api_context *context, struct error *err)
{
    char fingerprint[WEB_FINGERPRINT_SIZE];
    struct tcp_place place;
    int fd = -1;
    int r = tcp_place_parse(options->https, &place, err);

    if (r == 0)
        r = open_identity(daemon, options, place.host, err);
    if (r == 0)
        r = tcp_listen(&place, &fd, err);
    if (r < 0)
        return error_prefix(err, r, "no HTTPS (--https)");
    context->web.identity = daemon->identity;
    context->web.is_self_made = !options->tls_cert;
    context->web.port = place.port;
    (void)snprintf(context->web.address, sizeof(context->web.address),
                   strchr(place.host, ':') ? "[%s]:%u" : "%s:%u",
                   place.host[0] == '\0' ? "*" : place.host, place.port);
    r = api_web_open(context, fd, &daemon->web, err);
    if (r < 0)
        return r;
    control_watch_https_certificate(daemon->control,
                                    tls_identity_validity(daemon->identity).until_s);
    web_fingerprint(daemon->identity, fingerprint);
    log_info("https address=%s certificate-sha256=%s", context->web.address, fingerprint);
    return 0;
}

static int open_sockets(struct daemon *daemon, const struct options *options, struct error *err)
{
    struct api_context context = { .control = daemon->control,
                                   .state_dir = daemon->instance.state_dir,
                                   .socket = daemon->instance.socket,
                                   .started_ns = clock_wall_ns(),
                                   .logins = &daemon->logins };
    int fd = -1;

    throttle_init(&daemon->logins);
    if (sessions_new(&daemon->sessions, err) < 0)
        return -ENOMEM;
    context.sessions = daemon->sessions;
    int r = unix_socket_listen(daemon->instance.mount_socket, SOCK_SEQPACKET, 0600, &fd, err);

    if (r == 0)
        r = mount_socket_open(daemon->control, fd, &daemon->mounts, err);
    if (r == 0 && options->https)
        r = open_web(daemon, options, &context, err);
    if (r == 0)
        r = unix_socket_listen(daemon->instance.socket, SOCK_STREAM, 0600, &fd, err);
    if (r == 0)
        r = api_server_open(&context, fd, &daemon->api, err);
    return r;
}

static int daemon_open(struct daemon *daemon, const struct options *options, struct error *err)
{
    char folder[PATH_MAX];
    char worker[PATH_MAX + 32];
    int r = instance_init(&daemon->instance, options->state_dir, options->socket, options->is_user,
                          err);

    if (r == 0)
        r = make_folders(&daemon->instance, err);
    if (r == 0)
        r = take_lock(&daemon->instance, &daemon->lock_fd, err);
    if (r == 0 && daemon->ready_fd >= 0)
        r = leave_terminal(daemon, err);
    if (r == 0)
        r = process_own_folder(folder, err);
    if (r < 0)
        return r;
    (void)snprintf(worker, sizeof(worker), "%s/coffer-fsd", folder);
    if (access(worker, X_OK) < 0)
        (void)snprintf(worker, sizeof(worker), "%s/../libexec/coffer/coffer-fsd", folder);
    struct control_config config = { .state_dir = daemon->instance.state_dir,
                                     .worker_program = worker,
                                     .allows_key_export = options->allows_key_export };
    r = control_open(&config, &daemon->control, err);
    return r < 0 ? r : open_sockets(daemon, options, err);
}

static void daemon_close(struct daemon *daemon)
{
    if (daemon->control)
        control_shut_down(daemon->control);
    if (daemon->api)
        (void)unlink(daemon->instance.socket);
    if (daemon->mounts)
        (void)unlink(daemon->instance.mount_socket);
    api_server_close(daemon->web);
    api_server_close(daemon->api);
    mount_socket_close(daemon->mounts);
    control_close(daemon->control);
    sessions_free(daemon->sessions);
    tls_identity_free(daemon->identity);
    close_fd(&daemon->lock_fd);
}

/* Blocked in every thread, so that only the main one takes them. */
static void block_signals(sigset_t *ret)
{
    (void)sigemptyset(ret);
    (void)sigaddset(ret, SIGTERM);
    (void)sigaddset(ret, SIGINT);
    (void)sigaddset(ret, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, ret, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

static void fail(const struct daemon *daemon, const struct error *err)
{
    log_error("%s", err->text);
    if (daemon->terminal_fd >= 0)
        (void)dprintf(daemon->terminal_fd, "cofferd: %s\n", err->text);
}

/* In the parent: waits until the child is ready (it writes a byte) or has ended, and ends with
 * what that means. */
static void wait_for_child(int ready_fd)
{
    char byte;

    _exit(read(ready_fd, &byte, 1) == 1 ? 0 : 1);
}

/* Before the first thread and before any memory is locked. *ret_ready_fd: where to say that all is
 * well; -1 in the foreground. */
static int go_to_background(int *ret_ready_fd, struct error *err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set(err, -errno, "cannot make a pipe: %s", strerrordesc_np(errno));
    pid_t pid = fork();
    if (pid < 0)
        return error_set(err, -errno, "cannot start a process: %s", strerrordesc_np(errno));
    if (pid > 0) {
        (void)close(ends[1]);
        wait_for_child(ends[0]);
    }
    (void)close(ends[0]);
    (void)setsid(); /* a child of a fork is no group's leader */
    *ret_ready_fd = ends[1];
    return 0;
}

static int run(struct daemon *daemon, const struct options *options, const sigset_t *signals,
               struct error *err)
{
    int signal_number = 0;
    int r = daemon_open(daemon, options, err);

    if (r < 0)
        return r;
    log_info("ready version=%s state_dir=%s socket=%s", COFFER_VERSION, daemon->instance.state_dir,
             daemon->instance.socket);
    tell_ready(daemon);

    do
        (void)sigwait(signals, &signal_number);
    while (signal_number == SIGHUP); /* a closed terminal is no reason to stop */

    (void)sd_notify(0, "STOPPING=1");
    log_info("stopping; filesystems that are started go on");
    return 0;
}

int main(int argc, char **argv)
{
    struct options options = { .state_dir = NULL };
    struct daemon daemon = { .lock_fd = -1, .ready_fd = -1, .terminal_fd = -1 };
    struct error err = { .code = 0 };
    sigset_t signals;
    int r = 0;

    parse_options(argc, argv, &options);
    (void)umask(077);
    log_init("cofferd", options.is_debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    block_signals(&signals);
    if (!options.is_foreground && !getenv("NOTIFY_SOCKET"))
        r = go_to_background(&daemon.ready_fd, &err);
    if (r == 0)
        r = secret_heap_init(&err);
    if (r == 0)
        r = run(&daemon, &options, &signals, &err);
    if (r < 0)
        fail(&daemon, &err);
    daemon_close(&daemon);
    return r < 0;
}
