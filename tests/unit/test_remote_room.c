/* Large reads through memory that a remote store shares with its server (store/remote_room.h): what
 * the client makes of it. The server of these tests is a thread. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "store/remote_protocol.h"
#include "store/remote_room.h"
#include "store/remote_store.h"
#include "tests/support/remote_case.h"

#define ROOM_READ (3 * REMOTE_DATA_MAX)

/* A server that is played by the test: what it was asked, and what it has. */
struct sharer {
    int fd;
    int refusal;      /* of ROOM; 0: it is taken */
    uint64_t claimed; /* by SIZE; 0: as much as was asked for */
    int room_fd;
    bool takes_back; /* what it put there */
    const uint8_t *data;
    unsigned asked[UINT8_MAX + 1]; /* how often, by type */
    unsigned flagged;              /* of them with the flag */
    pthread_t thread;
};

static void fill_room(const struct sharer *sharer, const struct remote_message *asked)
{
    uint8_t *room = NULL;

    if (remote_room_map(sharer->room_fd, &room, NULL) < 0)
        return;
    memcpy(remote_room_part(room, asked->slot), sharer->data, (size_t)asked->size);
    if (sharer->takes_back)
        remote_room_trim(sharer->room_fd, asked->slot, 0);
    remote_room_unmap(room);
}

static void share_one(struct sharer *sharer, const struct remote_message *asked)
{
    struct remote_message reply = { .type = remote_info(asked->type)->reply, .slot = asked->slot };

    sharer->asked[asked->type]++;
    sharer->flagged += asked->flag;
    if (asked->type == REMOTE_ROOM)
        reply.code = sharer->refusal;
    if (asked->type == REMOTE_READ_ROOM) {
        fill_room(sharer, asked);
        reply.size = sharer->claimed != 0 ? sharer->claimed : asked->size;
    }
    for (size_t at = 0; asked->type == REMOTE_READ && at < ROOM_READ; at += REMOTE_DATA_MAX) {
        reply.data = (struct bytes){ sharer->data + at, REMOTE_DATA_MAX };
        reply.flag = at + REMOTE_DATA_MAX < ROOM_READ;
        if (reply.flag)
            (void)remote_send(sharer->fd, &reply, NULL);
    }
    (void)remote_send(sharer->fd, &reply, NULL);
}

static void *share(void *arg)
{
    struct sharer *sharer = arg;
    CLEANUP(free_ptr) uint8_t *room = malloc(REMOTE_MESSAGE_MAX);
    struct remote_message asked;
    int descriptor = -1;

    while (room != NULL && remote_receive_descriptor(sharer->fd, REMOTE_CLIENT, room, &asked,
                                                     &descriptor, NULL) == 0) {
        if (descriptor >= 0)
            sharer->room_fd = descriptor;
        share_one(sharer, &asked);
    }
    (void)shutdown(sharer->fd, SHUT_RDWR);
    return NULL;
}

static struct object_store *sharer_begin(struct sharer *sharer, int refusal, uint8_t *data)
{
    struct object_store *store = NULL;
    int fds[2];

    for (size_t i = 0; i < ROOM_READ; i++)
        data[i] = (uint8_t)(i * 5 + i / 253);
    socket_pair(fds);
    *sharer = (struct sharer){ .fd = fds[1], .refusal = refusal, .room_fd = -1, .data = data };
    assert_int_equal(pthread_create(&sharer->thread, NULL, share, sharer), 0);
    assert_int_equal(remote_store_open(fds[0], &store, NULL), 0);
    return store;
}

static void sharer_end(struct sharer *sharer, struct object_store *store)
{
    object_store_close(store);
    assert_int_equal(pthread_join(sharer->thread, NULL), 0);
    (void)close(sharer->fd);
    close_fd(&sharer->room_fd);
}

/* Returns what reading returned. */
static int read_twice(struct object_store *store, const uint8_t *data, struct error *err)
{
    CLEANUP(object_closep) struct object *object = NULL;
    CLEANUP(free_ptr) uint8_t *to = calloc(1, ROOM_READ);
    size_t len = 0;
    int r = 0;

    assert_non_null(to);
    assert_int_equal(object_store_open_object(store, "a", &object, NULL), 0);
    for (unsigned i = 0; i < 2 && r == 0; i++) {
        memset(to, 0, ROOM_READ);
        r = object_read(object, 0, ROOM_READ, to, &len, err);
        if (r == 0)
            assert_int_equal(len, ROOM_READ);
        if (r == 0)
            assert_memory_equal(to, data, ROOM_READ);
    }
    return r;
}

static void large_reads_come_through_shared_memory(void **state)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(ROOM_READ);
    struct sharer sharer;

    (void)state;
    assert_non_null(data);
    struct object_store *store = sharer_begin(&sharer, 0, data);
    assert_int_equal(read_twice(store, data, NULL), 0);
    sharer_end(&sharer, store);
    assert_int_equal(sharer.asked[REMOTE_ROOM], 1);
    assert_int_equal(sharer.asked[REMOTE_READ_ROOM], 2);
    assert_int_equal(sharer.asked[REMOTE_READ], 0);
    assert_int_equal(sharer.flagged, 1); /* then there is memory */
}

static void a_server_that_takes_no_memory_is_read_by_the_socket(void **state)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(ROOM_READ);
    struct sharer sharer;

    (void)state;
    assert_non_null(data);
    struct object_store *store = sharer_begin(&sharer, -ENOMEM, data);
    assert_int_equal(read_twice(store, data, NULL), 0);
    sharer_end(&sharer, store);
    assert_int_equal(sharer.asked[REMOTE_ROOM], 1);
    assert_int_equal(sharer.asked[REMOTE_READ], 2);
}

struct seen {
    const uint8_t *expected;
    const uint8_t *at; /* NULL: fn was not called, or saw something else */
};

static void see(struct bytes found, void *arg)
{
    struct seen *seen = arg;

    if (found.len == ROOM_READ && memcmp(found.data, seen->expected, ROOM_READ) == 0)
        seen->at = found.data;
}

/* Whether what is looked at is a copy. */
static bool looks_at_copy(struct object_store *store, const uint8_t *data)
{
    CLEANUP(object_closep) struct object *object = NULL;
    CLEANUP(free_ptr) uint8_t *room = malloc(ROOM_READ);
    struct seen seen = { .expected = data };
    const struct object_look look = { see, &seen, room };

    assert_non_null(room);
    assert_int_equal(object_store_open_object(store, "a", &object, NULL), 0);
    assert_int_equal(object_look(object, 0, ROOM_READ, &look, NULL), 0);
    assert_non_null(seen.at);
    return seen.at == room;
}

static void who_only_looks_does_so_where_it_is(void **state)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(ROOM_READ);
    struct sharer sharer;

    (void)state;
    assert_non_null(data);
    struct object_store *store = sharer_begin(&sharer, 0, data);
    assert_false(looks_at_copy(store, data));
    sharer_end(&sharer, store);
    store = sharer_begin(&sharer, -ENOMEM, data);
    assert_true(looks_at_copy(store, data));
    sharer_end(&sharer, store);
    /* A layer that wants to see what was read gets a copy of it, too. */
    CLEANUP(object_store_closep) struct object_store *layered = remote_over(memory_open());
    assert_int_equal(object_store_put(layered, "a", (struct bytes){ data, ROOM_READ }, NULL), 0);
    assert_true(looks_at_copy(layered, data));
}

static void more_in_shared_memory_than_was_asked_for_ends_the_connection(void **state)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(ROOM_READ);
    struct error err = { 0 };
    struct sharer sharer;

    (void)state;
    assert_non_null(data);
    struct object_store *store = sharer_begin(&sharer, 0, data);
    sharer.claimed = ROOM_READ + 1;
    assert_int_equal(read_twice(store, data, &err), -EBADMSG);
    sharer_end(&sharer, store);
}

static void what_a_server_takes_out_of_shared_memory_is_zeros(void **state)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(ROOM_READ);
    CLEANUP(free_ptr) uint8_t *to = malloc(ROOM_READ);
    CLEANUP(object_closep) struct object *object = NULL;
    struct sharer sharer;
    size_t len = 0;

    (void)state;
    assert_non_null(data);
    assert_non_null(to);
    struct object_store *store = sharer_begin(&sharer, 0, data);
    sharer.takes_back = true;
    assert_int_equal(object_store_open_object(store, "a", &object, NULL), 0);
    assert_int_equal(object_read(object, 0, ROOM_READ, to, &len, NULL), 0);
    assert_int_equal(len, ROOM_READ);
    for (size_t i = 0; i < len; i++)
        assert_true(to[i] == 0);
    object_close(TAKE(object));
    sharer_end(&sharer, store);
}

static blkcnt_t memory_of(const struct sharer *sharer)
{
    struct stat stat;

    assert_int_equal(fstat(sharer->room_fd, &stat), 0);
    return stat.st_blocks;
}

static void shared_memory_is_given_back_when_nobody_reads(void **state)
{
    const struct timespec moment = { .tv_nsec = 10000000 };
    CLEANUP(free_ptr) uint8_t *data = malloc(ROOM_READ);
    struct sharer sharer;

    (void)state;
    assert_non_null(data);
    struct object_store *store = sharer_begin(&sharer, 0, data);
    assert_int_equal(read_twice(store, data, NULL), 0);
    while (memory_of(&sharer) > 0)
        (void)nanosleep(&moment, NULL);
    assert_int_equal(read_twice(store, data, NULL), 0); /* and taken again */
    sharer_end(&sharer, store);
    assert_int_equal(sharer.flagged, 2);
}

/* While others, or shorter ones, go on. */
static void shared_memory_that_is_not_used_any_more_is_given_back(void **state)
{
    const struct timespec moment = { .tv_nsec = 10000000 };
    CLEANUP(object_closep) struct object *object = NULL;
    CLEANUP(free_ptr) uint8_t *data = malloc(ROOM_READ);
    CLEANUP(free_ptr) uint8_t *to = malloc(REMOTE_DATA_MAX);
    struct sharer sharer;
    size_t len = 0;

    (void)state;
    assert_non_null(data);
    assert_non_null(to);
    struct object_store *store = sharer_begin(&sharer, 0, data);
    assert_int_equal(read_twice(store, data, NULL), 0);
    assert_true(memory_of(&sharer) >= (blkcnt_t)(ROOM_READ / 512));
    assert_int_equal(object_store_open_object(store, "a", &object, NULL), 0);
    do {
        assert_int_equal(object_read(object, 0, REMOTE_DATA_MAX, to, &len, NULL), 0);
        assert_memory_equal(to, data, REMOTE_DATA_MAX);
        (void)nanosleep(&moment, NULL);
    } while (memory_of(&sharer) > (blkcnt_t)(REMOTE_DATA_MAX / 512));
    object_close(TAKE(object));
    sharer_end(&sharer, store);
    assert_int_equal(sharer.flagged, 1); /* what is used has its memory all the time */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_reads_come_through_shared_memory),
        cmocka_unit_test(a_server_that_takes_no_memory_is_read_by_the_socket),
        cmocka_unit_test(who_only_looks_does_so_where_it_is),
        cmocka_unit_test(more_in_shared_memory_than_was_asked_for_ends_the_connection),
        cmocka_unit_test(what_a_server_takes_out_of_shared_memory_is_zeros),
        cmocka_unit_test(shared_memory_is_given_back_when_nobody_reads),
        cmocka_unit_test(shared_memory_that_is_not_used_any_more_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
