/* coffer-store - holds one bucket's credentials, or has one folder, for cofferd and for a worker
 * that has keys and no network. It is started with a connected socket; an administrator never does
 * that. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "host/sandbox.h"
#include "host/unix_socket.h"
#include "store/packed_store.h"
#include "store/place_mark.h"
#include "store/remote_protocol.h"
#include "store/remote_server.h"
#include "store/s3_store.h"

#define EXIT_USAGE 2
#define END_PATIENCE_MS 100

#if defined(__SANITIZE_ADDRESS__)
/* The leak checker stops the process like a debugger does, which the sandbox forbids. */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

static int usage(FILE *to, int code)
{
    (void)fputs(
        "Usage: coffer-store --fd N\n"
        "Holds the credentials of one bucket, or one folder, for a worker; started by cofferd.\n"
        "N is the descriptor of a connected Unix socket; everything else comes over it.\n",
        to);
    return code;
}

/* The order with its settings, of which nothing stays in ordinary memory. */
static int receive_start(int fd, struct remote_message *ret, struct secret *ret_settings,
                         struct error *err)
{
    CLEANUP(free_ptr) uint8_t *room = malloc(REMOTE_MESSAGE_MAX);

    if (room == NULL)
        return error_set(err, -ENOMEM, "no memory to start");
    int r = remote_receive(fd, REMOTE_CLIENT, room, ret, err);
    if (r == 0 && ret->type != REMOTE_START)
        r = error_set(err, -EPROTO, "the first message is not START");
    if (r == 0 && secret_assign(ret_settings, ret->data) < 0)
        r = error_set(err, -ENOMEM, "no secret memory for the bucket's settings");
    ret->data = (struct bytes){ .data = NULL };
    memory_wipe(room, REMOTE_MESSAGE_MAX);
    return r;
}

/* folder: NULL for a bucket. ret_path: how it is called from inside. */
static int lock_in(const struct remote_message *start, const char *folder, char *ret_path,
                   struct error *err)
{
    const struct sandbox sandbox = { .uid = start->uid,
                                     .gid = start->gid,
                                     .folders = { folder },
                                     .folder_count = folder ? 1 : 0,
                                     .may_be_read_only = true, /* to read it is of use, too */
                                     .needs_network = !folder };
    char inside[SANDBOX_FOLDERS_MAX][PATH_MAX];
    bool has_landlock = false;

    int r = sandbox_enter(&sandbox, inside, &has_landlock, err);
    if (r == 0 && !has_landlock)
        log_warning("this kernel has no Landlock: coffer-store is not kept from files");
    if (r == 0 && folder)
        memcpy(ret_path, inside[0], PATH_MAX);
    return r;
}

static int open_bucket(const struct remote_message *start, struct bytes settings,
                       struct object_store **ret, struct error *err)
{
    int r = lock_in(start, NULL, NULL, err);

    return r < 0 ? r : s3_store_open_packed(settings, ret, err);
}

static int open_folder(const struct remote_message *start, struct bytes settings,
                       struct object_store **ret, struct error *err)
{
    struct packed_folder folder;
    char url[PATH_MAX + 8] = "dir:";

    int r = packed_folder_unpack(settings, &folder, err);
    if (r == 0)
        r = lock_in(start, folder.path, url + strlen("dir:"), err);
    if (r == 0)
        r = object_store_open(url, ret, err);
    if (r == 0 && !uuid_is_zero(&folder.mark))
        r = place_mark_expect(*ret, &folder.mark, folder.path, err);
    return r < 0 ? r : limit_store_wrap(&folder.rates, ret, err);
}

/* Answers START with how that went. */
static int open_store(int fd, struct object_store **ret, struct error *err)
{
    CLEANUP(secret_release) struct secret settings = SECRET_INIT;
    struct remote_message start;
    struct remote_message reply = { .type = REMOTE_DONE };

    int r = receive_start(fd, &start, &settings, err);
    if (r < 0)
        return r; /* it was not START: there is nobody to answer */
    struct bytes packed = secret_bytes(&settings);
    r = packed_is_folder(packed) ? open_folder(&start, packed, ret, err)
                                 : open_bucket(&start, packed, ret, err);
    reply.code = r;
    if (r < 0)
        (void)snprintf(reply.text, sizeof(reply.text), "%s", err->text);
    int sent = remote_send(fd, &reply, r < 0 ? NULL : err);
    return r < 0 ? r : sent;
}

/* What was asked for by a user who is gone is of use to nobody, however long it waits for a server
 * or a limit, and is not to be done behind the back of whoever tidies up. */
static void *end_with_user(void *arg)
{
    const int *fd = arg;
    struct pollfd watched = { .fd = *fd, .events = POLLRDHUP };

    while (poll(&watched, 1, -1) < 0 && errno == EINTR)
        ;
    clock_sleep_ms(END_PATIENCE_MS); /* as a rule it ends by itself, and says how */
    _exit(EXIT_SUCCESS);
}

static int watch_user(int *fd, struct error *err)
{
    pthread_attr_t attributes;
    pthread_t thread;

    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int r = -pthread_create(&thread, &attributes, end_with_user, fd);
    (void)pthread_attr_destroy(&attributes);
    return r < 0 ? error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r)) : 0;
}

static int run(int fd)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    struct error err = { 0 };

    int r = secret_heap_init(&err);
    if (r == 0)
        r = open_store(fd, &store, &err);
    if (r == 0)
        r = watch_user(&fd, &err);
    if (r == 0)
        r = remote_server_run(fd, store, &err);
    if (r < 0)
        log_error("%s", err.text);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char *argv[])
{
    static const struct option options[] = { { "fd", required_argument, NULL, 'f' },
                                             { "help", no_argument, NULL, 'h' },
                                             { "version", no_argument, NULL, 'V' },
                                             { NULL, 0, NULL, 0 } };
    int fd = -1;
    int option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'f')
            fd = unix_socket_inherited(optarg, SOCK_STREAM, false);
        else if (option == 'V')
            return puts("coffer-store " COFFER_VERSION) < 0;
        else
            return option == 'h' ? usage(stdout, EXIT_SUCCESS) : usage(stderr, EXIT_USAGE);
    }
    if (fd < 0 || optind != argc)
        return usage(stderr, EXIT_USAGE);
    log_init("coffer-store", LOG_LEVEL_INFO);
    return run(fd);
}
