/* The bucket of a downloaded filesystem, as a worker sees it, over connections that are renewed. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/remote_server.h"
#include "worker/bucket.h"

#define PATIENCE_S 60 /* after which what should have ended never will */

/* In the place of a process that holds the bucket. */
struct server {
    struct object_store *store; /* the test's */
    int fd;
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct server *server = arg;

    (void)remote_server_run(server->fd, server->store, NULL);
    return NULL;
}

/* Returns the client's socket. */
static int server_start(struct server *server, struct object_store *store)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *server = (struct server){ .store = store, .fd = fds[1] };
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
    return fds[0];
}

static void must_have_ended(struct server *server)
{
    struct timespec until;

    assert_int_equal(clock_gettime(CLOCK_REALTIME, &until), 0);
    until.tv_sec += PATIENCE_S;
    assert_int_equal(pthread_timedjoin_np(server->thread, NULL, &until), 0);
    (void)close(server->fd);
}

static void a_connection_ends_with_its_renewal_whatever_is_open(void **state)
{
    static const struct bytes data = { (const uint8_t *)"data", 4 };
    struct object_store *memory = NULL;
    struct worker_bucket *bucket = NULL;
    struct object *object = NULL;
    struct server servers[2];
    uint8_t to[8];
    size_t len = 0;
    (void)state;

    assert_int_equal(object_store_open("memory:", &memory, NULL), 0);
    assert_int_equal(object_store_put(memory, "pack", data, NULL), 0);
    assert_int_equal(worker_bucket_open(server_start(&servers[0], memory), &bucket, NULL), 0);
    assert_int_equal(object_store_open_object(bucket->store, "pack", &object, NULL), 0);
    assert_int_equal(object_read(object, 0, sizeof(to), to, &len, NULL), 0);

    assert_int_equal(worker_bucket_renew(bucket, server_start(&servers[1], memory), NULL), 0);
    must_have_ended(&servers[0]);
    assert_false(worker_bucket_take_end(bucket)); /* that is nothing to tell */
    assert_int_equal(object_read(object, 0, sizeof(to), to, &len, NULL), 0);
    assert_int_equal(len, data.len);
    object_close(object);
    worker_bucket_close(bucket);
    must_have_ended(&servers[1]);
    object_store_close(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_ends_with_its_renewal_whatever_is_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
