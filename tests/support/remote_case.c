#include "tests/support/remote_case.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"
#include "store/layers/layer.h"
#include "store/remote_server.h"
#include "store/remote_store.h"
#include "tests/support/cmocka_all.h"

struct remote_case {
    struct layer layer; /* lets everything through; it is there for its release */
    struct object_store *served;
    int fd;
    int result;
    pthread_t server;
};

static void *serve(void *arg)
{
    struct remote_case *c = arg;

    c->result = remote_server_run(c->fd, c->served, NULL);
    return NULL;
}

static int let_through(struct layer *layer, struct store_call *call, struct error *err)
{
    (void)layer;
    return store_call_perform(call, err);
}

/* The client is closed by now. */
static void end_server(struct layer *layer)
{
    struct remote_case *c = (struct remote_case *)layer;

    assert_int_equal(pthread_join(c->server, NULL), 0);
    assert_int_equal(c->result, 0);
    object_store_close(c->served);
    (void)close(c->fd);
    free(c);
}

static const struct layer_kind kind = {
    .around = let_through,
    .release = end_server,
};

int wrap_in_remote(struct object_store *inner, struct object_store **ret)
{
    struct remote_case *c = calloc(1, sizeof(*c));
    struct object_store *client = NULL;
    struct error err = { 0 };
    int fds[2];

    assert_non_null(c);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    c->served = inner;
    c->fd = fds[1];
    assert_int_equal(pthread_create(&c->server, NULL, serve, c), 0);
    if (remote_store_open(fds[0], &client, &err) != 0)
        fail_msg("%s", err.text);
    layer_init(&c->layer, &kind, client);
    *ret = &c->layer.base;
    return 0;
}

struct object_store *memory_open(void)
{
    struct object_store *store = NULL;

    assert_int_equal(object_store_open("memory:", &store, NULL), 0);
    return store;
}

struct object_store *remote_over(struct object_store *inner)
{
    struct object_store *store = NULL;

    assert_int_equal(wrap_in_remote(inner, &store), 0);
    return store;
}

void socket_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}
