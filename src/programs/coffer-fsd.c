/* coffer-fsd - the worker of one filesystem. cofferd starts it with a listening socket; an
 * administrator never does. */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "crypto/secret.h"
#include "host/unix_socket.h"
#include "worker/service.h"

#define EXIT_USAGE 2
#define EXIT_BUS 75 /* for cofferd: a disk could not be read */
#define MALLOC_ARENAS 4

#if defined(__SANITIZE_ADDRESS__)
/* The leak checker stops the process like a debugger does, which the sandbox forbids. */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

/* The database is mapped: a read error of its disk arrives as this signal, in whatever thread. */
static void on_bus_error(int number)
{
    static const char text[] = "coffer-fsd: a disk error while reading the metadata; the worker "
                               "stops, what was fsync'ed is safe if the disk is\n";

    (void)number;
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(EXIT_BUS);
}

static int usage(FILE *to, int code)
{
    (void)fputs("Usage: coffer-fsd --fd N\n"
                "The worker of one filesystem, started by cofferd. N is the descriptor of a\n"
                "listening Unix socket; everything else comes over it.\n",
                to);
    return code;
}

int main(int argc, char *argv[])
{
    static const struct option options[] = { { "fd", required_argument, NULL, 'f' },
                                             { "help", no_argument, NULL, 'h' },
                                             { "version", no_argument, NULL, 'V' },
                                             { NULL, 0, NULL, 0 } };
    const struct sigaction bus_error = { .sa_handler = on_bus_error };
    struct error err;
    int listen_fd = -1;
    int option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'f')
            listen_fd = unix_socket_inherited(optarg, SOCK_SEQPACKET, true);
        else if (option == 'V')
            return puts("coffer-fsd " COFFER_VERSION) < 0;
        else
            return option == 'h' ? usage(stdout, EXIT_SUCCESS) : usage(stderr, EXIT_USAGE);
    }
    if (listen_fd < 0 || optind != argc)
        return usage(stderr, EXIT_USAGE);

    /* Threads come and go with the load: few heaps, so that what they freed is used again. */
    (void)mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    log_init("coffer-fsd", LOG_LEVEL_INFO);
    if (sigaction(SIGBUS, &bus_error, NULL) < 0 || secret_heap_init(&err) < 0) {
        log_error("cannot start: %s", err.text);
        return EXIT_FAILURE;
    }
    return service_run(listen_fd);
}
