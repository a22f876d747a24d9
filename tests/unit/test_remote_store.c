/* What a remote store and its server do beyond the contract of stores, which the suites in
 * tests/conformance try: pieces, broken connections, and a side that lies. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "store/layers/layer.h"
#include "store/remote_protocol.h"
#include "store/remote_room.h"
#include "store/remote_server.h"
#include "store/remote_store.h"
#include "tests/support/remote_case.h"
#include "tests/support/store_case.h"

/* --- pieces --- */

#define LONG_LEN (REMOTE_READ_MAX + REMOTE_DATA_MAX + 17u)

static uint8_t *long_data(void)
{
    uint8_t *data = malloc(LONG_LEN);

    assert_non_null(data);
    for (size_t i = 0; i < LONG_LEN; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    return data;
}

static void expect_long(struct object_store *store, const char *name, const uint8_t *data)
{
    CLEANUP(buf_release) struct buf found = BUF_INIT;
    CLEANUP(free_ptr) uint8_t *room = malloc(LONG_LEN + 100);
    CLEANUP(object_closep) struct object *object = NULL;
    size_t len = 0;

    assert_non_null(room);
    assert_int_equal(object_store_get(store, name, LONG_LEN, &found, NULL), 0);
    assert_int_equal(found.len, LONG_LEN);
    assert_memory_equal(found.data, data, LONG_LEN);
    assert_int_equal(object_store_open_object(store, name, &object, NULL), 0);
    assert_int_equal(object_read(object, 0, LONG_LEN + 100, room, &len, NULL), 0);
    assert_int_equal(len, LONG_LEN);
    assert_memory_equal(room, data, LONG_LEN);
}

static void what_is_longer_than_a_message_goes_in_pieces(void **state)
{
    CLEANUP(object_store_closep) struct object_store *store = remote_over(memory_open());
    CLEANUP(free_ptr) uint8_t *data = long_data();
    struct bytes bytes = { data, LONG_LEN };
    struct object_writer *writer = NULL;

    (void)state;
    assert_int_equal(object_store_put(store, "put", bytes, NULL), 0);
    assert_int_equal(object_store_replace(store, "put", bytes, NULL), 0);
    expect_long(store, "put", data);
    assert_int_equal(object_store_put(store, "put", bytes, NULL), -EEXIST);
    assert_int_equal(object_store_create(store, "written", &writer, NULL), 0);
    assert_int_equal(object_writer_write(writer, 0, bytes, NULL), 0);
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    object_writer_close(writer);
    expect_long(store, "written", data);
}

static int count_one(const char *name, uint64_t size, void *arg)
{
    assert_int_equal(size, strlen(name) > 0);
    (*(unsigned *)arg)++;
    return 0;
}

static void a_listing_goes_in_pages(void **state)
{
    CLEANUP(object_store_closep) struct object_store *store = remote_over(memory_open());
    char name[OBJECT_NAME_MAX + 1];
    unsigned count = 0;

    (void)state;
    for (unsigned i = 0; i < 2500; i++) {
        (void)snprintf(name, sizeof(name), "n/%0240u", i);
        assert_int_equal(object_store_put(store, name, text("x"), NULL), 0);
    }
    assert_int_equal(object_store_list(store, "n/", count_one, &count, NULL), 0);
    assert_int_equal(count, 2500);
}

/* --- several at once --- */

#define MEETING 4u

struct meeting {
    struct layer layer;
    pthread_barrier_t barrier;
};

/* No stat is answered before so many are here. */
static int meet(struct layer *layer, struct store_call *call, struct error *err)
{
    if (call->op == STORE_STAT)
        (void)pthread_barrier_wait(&((struct meeting *)layer)->barrier);
    return store_call_perform(call, err);
}

static void meeting_release(struct layer *layer)
{
    (void)pthread_barrier_destroy(&((struct meeting *)layer)->barrier);
    free(layer);
}

static const struct layer_kind meeting_kind = { .around = meet, .release = meeting_release };

static void *stat_a(void *store)
{
    uint64_t size;

    return object_store_stat(store, "a", &size, NULL) == 0 && size == 5 ? NULL : store;
}

static void four_requests_are_under_way_at_once(void **state)
{
    struct meeting *meeting = calloc(1, sizeof(*meeting));
    pthread_t threads[MEETING];

    (void)state;
    assert_non_null(meeting);
    assert_int_equal(pthread_barrier_init(&meeting->barrier, NULL, MEETING), 0);
    layer_init(&meeting->layer, &meeting_kind, memory_open());
    CLEANUP(object_store_closep)
    struct object_store *store = remote_over(&meeting->layer.base);
    assert_int_equal(object_store_put(store, "a", text("12345"), NULL), 0);
    for (unsigned i = 0; i < MEETING; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, stat_a, store), 0);
    for (unsigned i = 0; i < MEETING; i++) {
        void *fault = NULL;
        assert_int_equal(pthread_join(threads[i], &fault), 0);
        assert_null(fault);
    }
}

/* --- a server that lies: it plays its part of bytes --- */

struct liar {
    int fd;
    struct remote_message answer; /* to what comes behind HELLO; type 0: it closes */
    const char *raw;              /* sent behind that */
    size_t raw_len;
};

static void *lie(void *arg)
{
    struct liar *liar = arg;
    uint8_t *room = malloc(REMOTE_MESSAGE_MAX);
    struct remote_message asked;
    struct remote_message hello = { .type = REMOTE_HELLO_REPLY, .flag = true };

    if (room != NULL && remote_receive(liar->fd, REMOTE_CLIENT, room, &asked, NULL) == 0 &&
        remote_send(liar->fd, &hello, NULL) == 0 &&
        remote_receive(liar->fd, REMOTE_CLIENT, room, &asked, NULL) == 0 && liar->answer.type != 0)
        (void)remote_send(liar->fd, &liar->answer, NULL);
    if (liar->raw_len > 0)
        (void)send(liar->fd, liar->raw, liar->raw_len, MSG_NOSIGNAL);
    (void)shutdown(liar->fd, SHUT_WR);
    while (room != NULL && remote_receive(liar->fd, REMOTE_CLIENT, room, &asked, NULL) == 0)
        ;
    free(room);
    return NULL;
}

typedef int operation(struct object_store *store, struct error *err);

static int op_stat(struct object_store *store, struct error *err)
{
    uint64_t size;

    return object_store_stat(store, "a", &size, err);
}

static int op_get(struct object_store *store, struct error *err)
{
    CLEANUP(buf_release) struct buf found = BUF_INIT;

    return object_store_get(store, "a", 3, &found, err);
}

static int op_list(struct object_store *store, struct error *err)
{
    unsigned count = 0;

    return object_store_list(store, "n/", count_one, &count, err);
}

static void count_end(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
}

/* Returns what a later operation says; *err is that of the first. That it ended is told once, and
 * at once to who asks later. */
static int try_liar(struct liar *liar, operation *op, struct error *err)
{
    struct object_store *store = NULL;
    pthread_t thread;
    atomic_uint ends = 0;
    uint64_t size;
    int fds[2];

    socket_pair(fds);
    liar->fd = fds[1];
    assert_int_equal(pthread_create(&thread, NULL, lie, liar), 0);
    assert_int_equal(remote_store_open(fds[0], &store, NULL), 0);
    assert_true(object_store_prefers_sealing(store));
    remote_store_on_end(store, count_end, &ends);
    int r = op(store, err);
    assert_int_equal(r, err->code);
    r = object_store_stat(store, "later", &size, NULL);
    assert_int_equal(atomic_load(&ends), 1);
    remote_store_on_end(store, count_end, &ends);
    assert_int_equal(atomic_load(&ends), 2);
    object_store_close(store);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(fds[1]);
    return r;
}

static void expect_liar(struct liar liar, operation *op, int code)
{
    struct error err = { 0 };

    assert_int_equal(try_liar(&liar, op, &err), code);
    store_case_expect_error(err.code, code, &err);
}

static void a_server_that_is_gone_is_told_and_nothing_waits(void **state)
{
    struct liar liar = { .answer = { .type = (enum remote_type)0 } };

    (void)state;
    expect_liar(liar, op_stat, -ENOTCONN);
    expect_liar(liar, op_get, -ENOTCONN);
    liar.raw = "\1\105";
    liar.raw_len = 2; /* in the middle of a message */
    expect_liar(liar, op_stat, -ENOTCONN);
}

static void an_answer_that_was_not_asked_for_ends_the_connection(void **state)
{
    static const uint8_t entry[] = { 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 'm' };

    (void)state;
    expect_liar((struct liar){ .answer = { .type = REMOTE_HANDLE } }, op_stat, -EPROTO);
    expect_liar((struct liar){ .answer = { .type = REMOTE_DONE } }, op_stat, -EPROTO);
    expect_liar((struct liar){ .answer = { .type = REMOTE_SIZE, .slot = 5 } }, op_stat, -EPROTO);
    expect_liar((struct liar){ .answer = { .type = REMOTE_DATA, .data = text("1234") } }, op_get,
                -EBADMSG);
    expect_liar((struct liar){ .raw = "\2\105\0\0\0\0\0\0", .raw_len = 8 }, op_stat,
                -EPROTONOSUPPORT);
    expect_liar((struct liar){ .raw = "\1\12\0\0\0\0\0\0", .raw_len = 8 }, op_stat, -EPROTO);
    expect_liar((struct liar){ .raw = "\1\105\0\0\377\377\377\377", .raw_len = 8 }, op_stat,
                -EBADMSG);
    expect_liar((struct liar){ .raw = "\1\105\0\0\1\0\0\0\0", .raw_len = 9 }, op_stat, -EBADMSG);
    struct liar lister = { .answer = { .type = REMOTE_NAMES, .data = { entry, sizeof(entry) } } };
    struct error err = { 0 };
    assert_int_equal(try_liar(&lister, op_list, &err), -ENOTCONN);
    store_case_expect_error(err.code, -EBADMSG, &err);
}

static void a_sentence_of_the_server_is_cleaned(void **state)
{
    struct liar liar = {
        .answer = { .type = REMOTE_DONE, .code = -EACCES, .text = "the bucket \33[2J refuses\n" }
    };
    struct error err = { 0 };

    (void)state;
    assert_int_equal(try_liar(&liar, op_stat, &err), -ENOTCONN);
    assert_int_equal(err.code, -EACCES);
    assert_string_equal(err.text, "the bucket ?[2J refuses?");
}

/* --- a client that lies --- */

struct served {
    struct object_store *store;
    int fds[2];
    int result;
    struct error err;
    pthread_t thread;
    uint8_t *room;
};

static void *serve(void *arg)
{
    struct served *served = arg;

    served->result = remote_server_run(served->fds[1], served->store, &served->err);
    return NULL;
}

static void served_begin(struct served *served)
{
    *served = (struct served){ .store = memory_open(), .room = malloc(REMOTE_MESSAGE_MAX) };
    assert_non_null(served->room);
    socket_pair(served->fds);
    assert_int_equal(pthread_create(&served->thread, NULL, serve, served), 0);
}

static void served_send(struct served *served, struct remote_message message)
{
    assert_int_equal(remote_send(served->fds[0], &message, NULL), 0);
}

/* Its answer, which is valid until the next one. */
static struct remote_message served_ask(struct served *served, struct remote_message message)
{
    struct remote_message reply;

    served_send(served, message);
    assert_int_equal(remote_receive(served->fds[0], REMOTE_SERVER, served->room, &reply, NULL), 0);
    assert_int_equal(reply.slot, message.slot);
    return reply;
}

/* Returns what the server returned; it closes the connection first if it misliked something. */
static void served_end(struct served *served, int expected)
{
    struct remote_message reply;

    if (expected == 0)
        (void)shutdown(served->fds[0], SHUT_WR);
    while (remote_receive(served->fds[0], REMOTE_SERVER, served->room, &reply, NULL) == 0)
        ;
    assert_int_equal(pthread_join(served->thread, NULL), 0);
    assert_int_equal(served->result, expected);
    if (expected != 0)
        store_case_expect_error(served->err.code, expected, &served->err);
    object_store_close(served->store);
    (void)close(served->fds[0]);
    (void)close(served->fds[1]);
    free(served->room);
}

static void expect_refusal(struct remote_message first, struct remote_message second, int code)
{
    struct served served;

    served_begin(&served);
    served_send(&served, first);
    if (second.type != 0)
        served_send(&served, second);
    served_end(&served, code);
}

static void a_message_out_of_turn_ends_the_connection(void **state)
{
    struct remote_message none = { .type = (enum remote_type)0 };
    struct remote_message piece = { .type = REMOTE_PIECE, .data = text("12345") };
    struct remote_message put = {
        .type = REMOTE_PUT, .name = "a", .size = 7, .data = text("1234")
    };

    (void)state;
    expect_refusal(piece, none, -EPROTO);
    expect_refusal(put, put, -EPROTO);
    expect_refusal(put, piece, -EBADMSG); /* longer than was told */
    put.size = 3;
    expect_refusal(put, none, -EBADMSG);
    put.size = REMOTE_OBJECT_MAX + 1;
    expect_refusal(put, none, -EBADMSG);
    expect_refusal((struct remote_message){ .type = REMOTE_SIZE }, none, -EPROTO);
    expect_refusal((struct remote_message){ .type = REMOTE_START }, none, -EPROTO);
}

static void a_request_that_cannot_be_is_answered_so(void **state)
{
    struct remote_message reply;
    struct served served;

    (void)state;
    served_begin(&served);
    reply = served_ask(&served, (struct remote_message){ .type = REMOTE_READ, .handle = 4000000 });
    assert_int_equal(reply.code, -EBADF);
    reply = served_ask(&served, (struct remote_message){ .type = REMOTE_CLOSE, .slot = 7 });
    assert_int_equal(reply.code, -EBADF);
    reply = served_ask(&served, (struct remote_message){ .type = REMOTE_STAT, .name = "../a" });
    assert_int_equal(reply.code, -EINVAL);
    reply = served_ask(&served, (struct remote_message){ .type = REMOTE_CREATE, .name = "seg" });
    assert_int_equal(reply.type, REMOTE_HANDLE);
    uint32_t writer = reply.handle;
    reply = served_ask(&served, (struct remote_message){ .type = REMOTE_READ, .handle = writer });
    assert_int_equal(reply.code, -EBADF); /* it is a writer */
    reply = served_ask(&served, (struct remote_message){ .type = REMOTE_WRITE,
                                                         .handle = writer,
                                                         .offset = UINT64_MAX,
                                                         .data = text("x") });
    assert_int_equal(reply.code, -EINVAL);
    reply = served_ask(&served, (struct remote_message){ .type = REMOTE_OPEN, .name = "seg" });
    assert_int_equal(reply.type, REMOTE_HANDLE);
    reply = served_ask(&served, (struct remote_message){ .type = REMOTE_READ,
                                                         .handle = reply.handle,
                                                         .size = REMOTE_READ_MAX + 1 });
    assert_int_equal(reply.code, -EINVAL);
    served_end(&served, 0); /* which closes both */
}

static void a_client_opens_no_more_than_it_may(void **state)
{
    struct remote_message open = { .type = REMOTE_OPEN, .name = "a" };
    struct served served;

    (void)state;
    served_begin(&served);
    assert_int_equal(object_store_put(served.store, "a", text("x"), NULL), 0);
    for (unsigned i = 0; i < REMOTE_HANDLES_MAX; i++)
        assert_int_equal(served_ask(&served, open).type, REMOTE_HANDLE);
    assert_int_equal(served_ask(&served, open).code, -EMFILE);
    struct remote_message close_one = { .type = REMOTE_CLOSE, .handle = 17 };
    assert_int_equal(served_ask(&served, close_one).code, 0);
    assert_int_equal(served_ask(&served, open).handle, 17);
    served_end(&served, 0);
}

/* --- memory that both have: test_remote_room.c; here what a client may not do with it --- */

static int served_send_room(struct served *served, int descriptor)
{
    const struct remote_message room = { .type = REMOTE_ROOM };
    struct remote_message reply;

    assert_int_equal(remote_send_descriptor(served->fds[0], &room, descriptor, NULL), 0);
    assert_int_equal(remote_receive(served->fds[0], REMOTE_SERVER, served->room, &reply, NULL), 0);
    return reply.code;
}

static void a_server_takes_only_memory_that_cannot_go_away(void **state)
{
    const off_t len = (off_t)REMOTE_SLOTS * REMOTE_READ_MAX;
    CLEANUP(close_fd) int loose = memfd_create("loose", MFD_CLOEXEC);
    CLEANUP(close_fd) int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
    CLEANUP(close_fd) int room = -1;
    struct served served;

    (void)state;
    assert_int_equal(ftruncate(loose, len), 0);
    assert_int_equal(remote_room_new(&room), 0);
    served_begin(&served);
    struct remote_message without = { .type = REMOTE_ROOM };
    assert_int_equal(served_ask(&served, without).code, -EBADMSG);
    assert_int_equal(served_send_room(&served, loose), -EBADMSG);
    assert_int_equal(served_send_room(&served, zero), -EBADMSG);
    assert_int_equal(served_send_room(&served, room), 0);
    assert_int_equal(served_send_room(&served, room), -EEXIST);
    served_end(&served, 0);
}

static void nothing_is_read_into_memory_that_is_not_there(void **state)
{
    struct remote_message reply;
    struct served served;

    (void)state;
    served_begin(&served);
    assert_int_equal(object_store_put(served.store, "a", text("12345"), NULL), 0);
    reply = served_ask(&served, (struct remote_message){ .type = REMOTE_OPEN, .name = "a" });
    struct remote_message read = { .type = REMOTE_READ_ROOM, .handle = reply.handle, .size = 5 };
    assert_int_equal(served_ask(&served, read).code, -EINVAL);
    read.size = REMOTE_READ_MAX + 1;
    assert_int_equal(served_ask(&served, read).code, -EINVAL);
    served_end(&served, 0);
}

/* The end of a pipe that was sent along is closed by the server: what reads it sees the end. */
static void a_descriptor_that_nobody_asked_for_is_closed(void **state)
{
    const struct remote_message stat = { .type = REMOTE_STAT, .name = "a" };
    struct remote_message reply;
    struct served served;
    int pipe_fds[2];
    char byte;

    (void)state;
    served_begin(&served);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(remote_send_descriptor(served.fds[0], &stat, pipe_fds[1], NULL), 0);
    (void)close(pipe_fds[1]);
    assert_int_equal(remote_receive(served.fds[0], REMOTE_SERVER, served.room, &reply, NULL), 0);
    assert_int_equal(reply.code, -ENOENT);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    (void)close(pipe_fds[0]);
    served_end(&served, 0);
}

static void send_two(int fd, const struct remote_message *message, const int descriptors[2])
{
    union {
        struct cmsghdr head;
        uint8_t data[CMSG_SPACE(2 * sizeof(int))];
    } attached = { .data = { 0 } };
    uint8_t head[REMOTE_MESSAGE_MAX];
    struct iovec iov = { .iov_base = head };
    const struct msghdr packet = { .msg_iov = &iov,
                                   .msg_iovlen = 1,
                                   .msg_control = attached.data,
                                   .msg_controllen = sizeof(attached.data) };

    assert_int_equal(remote_encode(message, head, &iov.iov_len, NULL), 0);
    attached.head.cmsg_level = SOL_SOCKET;
    attached.head.cmsg_type = SCM_RIGHTS;
    attached.head.cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(&attached.head), descriptors, 2 * sizeof(int));
    assert_int_equal(sendmsg(fd, &packet, MSG_NOSIGNAL), (ssize_t)iov.iov_len);
}

static void of_two_descriptors_none_is_left_open(void **state)
{
    const struct remote_message stat = { .type = REMOTE_STAT, .name = "a" };
    struct remote_message reply;
    struct served served;
    int pipe_fds[2];
    char byte;

    (void)state;
    served_begin(&served);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
    send_two(served.fds[0], &stat, (const int[2]){ pipe_fds[1], pipe_fds[1] });
    (void)close(pipe_fds[1]);
    assert_int_equal(remote_receive(served.fds[0], REMOTE_SERVER, served.room, &reply, NULL), 0);
    assert_int_equal(reply.code, -ENOENT);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    (void)close(pipe_fds[0]);
    served_end(&served, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_longer_than_a_message_goes_in_pieces),
        cmocka_unit_test(a_listing_goes_in_pages),
        cmocka_unit_test(four_requests_are_under_way_at_once),
        cmocka_unit_test(a_server_that_is_gone_is_told_and_nothing_waits),
        cmocka_unit_test(an_answer_that_was_not_asked_for_ends_the_connection),
        cmocka_unit_test(a_sentence_of_the_server_is_cleaned),
        cmocka_unit_test(a_message_out_of_turn_ends_the_connection),
        cmocka_unit_test(a_request_that_cannot_be_is_answered_so),
        cmocka_unit_test(a_client_opens_no_more_than_it_may),
        cmocka_unit_test(a_server_takes_only_memory_that_cannot_go_away),
        cmocka_unit_test(nothing_is_read_into_memory_that_is_not_there),
        cmocka_unit_test(a_descriptor_that_nobody_asked_for_is_closed),
        cmocka_unit_test(of_two_descriptors_none_is_left_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
