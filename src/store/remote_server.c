/* A slot's state says whose its fields are:
 *
 *   IDLE     the reader's: the next message may begin a request
 *   FILLING  the reader's: pieces of a PUT or REPLACE are missing
 *   READY    the slot's thread's, which has to take it
 *   BUSY     the slot's thread's; IDLE again just before the last part of the answer is sent,
 *            because the client may ask anew as soon as it has that
 *
 * The reader never waits for anything but the socket, so a client that only sends cannot be what
 * an answer waits for. */
#include "store/remote_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "store/remote_protocol.h"
#include "store/remote_room.h"

#define PAGE_LEN (256u * 1024u) /* of NAMES */

enum slot_state {
    SLOT_IDLE,
    SLOT_FILLING,
    SLOT_READY,
    SLOT_BUSY,
};

/* What the client has open: an object or a writer. The table and each use hold a reference. */
struct handle {
    struct object *object;
    struct object_writer *writer;
    unsigned refs;
};

struct server_slot {
    struct server *server;
    pthread_t thread;
    pthread_cond_t changed;
    enum slot_state state;
    struct remote_message request; /* its data is that of the slot */
    struct buf data;               /* of its whole length; no memory: NULL, and a length */
    size_t filled;
    int descriptor; /* that came with ROOM; -1: none */
};

struct server {
    int fd;
    struct object_store *store;
    struct mutex send_lock; /* for one message; held while the socket takes it */
    struct mutex lock;      /* guards states, is_ending, room, the table of handles, their refs */
    bool is_ending;
    uint8_t *room; /* that is shared with the client, for good; NULL: none */
    struct server_slot slots[REMOTE_SLOTS];
    struct handle *handles[REMOTE_HANDLES_MAX];
};

/* One request in the hands of a slot's thread. */
struct call {
    struct server *server;
    struct remote_message request;
    struct buf data;
    int descriptor; /* -1: none */
    struct remote_message reply;
    struct buf room; /* what the reply's data points into, if it has any */
};

static int server_send(struct server *server, const struct remote_message *message)
{
    mutex_lock(&server->send_lock);
    int r = remote_send(server->fd, message, NULL);
    mutex_unlock(&server->send_lock);
    return r;
}

/* --- handles --- */

static void handle_unref(struct server *server, struct handle *handle)
{
    mutex_lock(&server->lock);
    bool is_last = --handle->refs == 0;
    mutex_unlock(&server->lock);
    if (!is_last)
        return;
    object_close(handle->object);
    object_writer_close(handle->writer);
    free(handle);
}

static bool handle_place(struct server *server, struct handle *handle, uint32_t *ret)
{
    uint32_t i = 0;

    mutex_lock(&server->lock);
    while (i < REMOTE_HANDLES_MAX && server->handles[i] != NULL)
        i++;
    if (i < REMOTE_HANDLES_MAX)
        server->handles[i] = handle;
    mutex_unlock(&server->lock);
    *ret = i;
    return i < REMOTE_HANDLES_MAX;
}

/* takes_away: out of the table, with the table's reference. */
static struct handle *handle_find(struct server *server, uint32_t number, bool takes_away)
{
    struct handle *handle = NULL;

    mutex_lock(&server->lock);
    if (number < REMOTE_HANDLES_MAX)
        handle = server->handles[number];
    if (handle != NULL && takes_away)
        server->handles[number] = NULL;
    else if (handle != NULL)
        handle->refs++;
    mutex_unlock(&server->lock);
    return handle;
}

static int no_handle(const struct call *call, struct error *err)
{
    return error_set(err, -EBADF, "number %u is not open for that", call->request.handle);
}

/* --- the requests: each fills in the reply's fields, or fails --- */

static int on_hello(struct call *call, struct error *err)
{
    (void)err;
    call->reply.flag = object_store_prefers_sealing(call->server->store);
    return 0;
}

static int on_put(struct call *call, struct error *err)
{
    struct object_store *store = call->server->store;
    struct bytes data = buf_bytes(&call->data);

    if (call->request.type == REMOTE_REPLACE)
        return object_store_replace(store, call->request.name, data, err);
    return object_store_put(store, call->request.name, data, err);
}

/* All but the last piece, which is the reply's. */
static int send_room(struct call *call, struct error *err)
{
    struct bytes left = buf_bytes(&call->room);
    struct remote_message part = { .type = REMOTE_DATA, .slot = call->request.slot, .flag = true };

    while (left.len > REMOTE_DATA_MAX) {
        part.data = (struct bytes){ left.data, REMOTE_DATA_MAX };
        int r = server_send(call->server, &part);
        if (r < 0)
            return error_set(err, r, "the other side has closed");
        left.data += REMOTE_DATA_MAX;
        left.len -= REMOTE_DATA_MAX;
    }
    call->reply.data = left;
    return 0;
}

static int on_get(struct call *call, struct error *err)
{
    const struct remote_message *request = &call->request;
    size_t max = request->size < REMOTE_OBJECT_MAX ? (size_t)request->size : REMOTE_OBJECT_MAX;

    int r = object_store_get(call->server->store, request->name, max, &call->room, err);
    return r < 0 ? r : send_room(call, err);
}

static int on_open(struct call *call, struct error *err)
{
    struct server *server = call->server;
    struct handle *handle = calloc(1, sizeof(*handle));
    int r;

    if (handle == NULL)
        return error_set(err, -ENOMEM, "no memory to open object %s", call->request.name);
    handle->refs = 1;
    if (call->request.type == REMOTE_CREATE)
        r = object_store_create(server->store, call->request.name, &handle->writer, err);
    else
        r = object_store_open_sized(server->store, call->request.name, call->request.size,
                                    &handle->object, err);
    if (r == 0 && !handle_place(server, handle, &call->reply.handle))
        r = error_set(err, -EMFILE, "%u objects are open already, and no connection has more",
                      REMOTE_HANDLES_MAX);
    if (r < 0)
        handle_unref(server, handle);
    return r;
}

static int check_range(const struct call *call, uint64_t len, struct error *err)
{
    if (call->request.offset > INT64_MAX - REMOTE_READ_MAX || len > REMOTE_READ_MAX)
        return error_set(err, -EINVAL, "%llu bytes at %llu are no range of an object",
                         (unsigned long long)len, (unsigned long long)call->request.offset);
    return 0;
}

static int read_into_reply(struct call *call, struct object *object, struct error *err)
{
    size_t len = (size_t)call->request.size;

    call->room.data = malloc(len + 1);
    if (call->room.data == NULL)
        return error_set(err, -ENOMEM, "no memory to read an object");
    int r = object_read(object, call->request.offset, len, call->room.data, &call->room.len, err);
    return r < 0 ? r : send_room(call, err);
}

static int on_room(struct call *call, struct error *err)
{
    struct server *server = call->server;
    uint8_t *room = NULL;

    if (call->descriptor < 0)
        return error_set(err, -EBADMSG, "no descriptor came as room for objects");
    int r = remote_room_map(call->descriptor, &room, err);
    if (r < 0)
        return r;
    mutex_lock(&server->lock);
    bool is_first = server->room == NULL;
    if (is_first)
        server->room = room;
    mutex_unlock(&server->lock);
    if (is_first)
        return 0;
    remote_room_unmap(room);
    return error_set(err, -EEXIST, "there is room for objects already");
}

static int read_into_room(struct call *call, struct object *object, struct error *err)
{
    const struct remote_message *request = &call->request;
    size_t len = (size_t)request->size;

    mutex_lock(&call->server->lock);
    uint8_t *room = call->server->room;
    mutex_unlock(&call->server->lock);
    if (room == NULL)
        return error_set(err, -EINVAL, "there is no room for objects");
    uint8_t *to = remote_room_part(room, request->slot);
    int r = request->flag ? remote_room_ready(to, len) : 0;
    if (r < 0)
        return error_set(err, r, "no memory to read an object");
    r = object_read(object, request->offset, len, to, &len, err);
    if (r == 0)
        call->reply.size = len;
    return r;
}

static int on_read(struct call *call, struct error *err)
{
    int r = check_range(call, call->request.size, err);
    if (r < 0)
        return r;
    struct handle *handle = handle_find(call->server, call->request.handle, false);
    if (handle == NULL)
        return no_handle(call, err);
    if (handle->object == NULL)
        r = no_handle(call, err);
    else if (call->request.type == REMOTE_READ_ROOM)
        r = read_into_room(call, handle->object, err);
    else
        r = read_into_reply(call, handle->object, err);
    handle_unref(call->server, handle);
    return r;
}

static int use_writer(const struct call *call, struct object_writer *writer, struct error *err)
{
    switch ((int)call->request.type) {
    case REMOTE_WRITE:
        return object_writer_write(writer, call->request.offset, buf_bytes(&call->data), err);
    case REMOTE_SYNC:
        return object_writer_sync(writer, err);
    default:
        return object_writer_seal(writer, err);
    }
}

static int on_writer(struct call *call, struct error *err)
{
    int r = check_range(call, call->data.len, err);
    if (r < 0)
        return r;
    struct handle *handle = handle_find(call->server, call->request.handle, false);
    if (handle == NULL)
        return no_handle(call, err);
    r = handle->writer != NULL ? use_writer(call, handle->writer, err) : no_handle(call, err);
    handle_unref(call->server, handle);
    return r;
}

static int on_close(struct call *call, struct error *err)
{
    struct handle *handle = handle_find(call->server, call->request.handle, true);

    if (handle == NULL)
        return no_handle(call, err);
    handle_unref(call->server, handle);
    return 0;
}

static int on_remove(struct call *call, struct error *err)
{
    return object_store_remove(call->server->store, call->request.name, err);
}

static int add_name(const char *name, uint64_t size, void *arg)
{
    struct call *call = arg;
    int r = 0;

    if (call->room.len + REMOTE_NAME_ENTRY_MAX > PAGE_LEN) {
        struct remote_message page = { .type = REMOTE_NAMES,
                                       .slot = call->request.slot,
                                       .flag = true,
                                       .data = buf_bytes(&call->room) };
        r = server_send(call->server, &page);
        call->room.len = 0;
    }
    if (r == 0)
        call->room.len += remote_name_put(name, size, call->room.data + call->room.len);
    return r;
}

static int on_list(struct call *call, struct error *err)
{
    if (!object_prefix_is_possible(call->request.name))
        return 0;
    call->room.data = malloc(PAGE_LEN);
    if (call->room.data == NULL)
        return error_set(err, -ENOMEM, "no memory to list objects");
    int r = object_store_list(call->server->store, call->request.name, add_name, call, err);
    if (r == 0)
        call->reply.data = buf_bytes(&call->room);
    return r;
}

static int on_stat(struct call *call, struct error *err)
{
    return object_store_stat(call->server->store, call->request.name, &call->reply.size, err);
}

static int on_space(struct call *call, struct error *err)
{
    struct object_store_space space = { 0 };

    int r = object_store_space(call->server->store, &space, err);
    call->reply.size = space.total;
    call->reply.free = space.free;
    return r;
}

static int (*const handlers[])(struct call *call, struct error *err) = {
    [REMOTE_HELLO] = on_hello,     [REMOTE_PUT] = on_put,        [REMOTE_REPLACE] = on_put,
    [REMOTE_GET] = on_get,         [REMOTE_OPEN] = on_open,      [REMOTE_READ] = on_read,
    [REMOTE_LIST] = on_list,       [REMOTE_REMOVE] = on_remove,  [REMOTE_STAT] = on_stat,
    [REMOTE_CREATE] = on_open,     [REMOTE_WRITE] = on_writer,   [REMOTE_SYNC] = on_writer,
    [REMOTE_SEAL] = on_writer,     [REMOTE_CLOSE] = on_close,    [REMOTE_SPACE] = on_space,
    [REMOTE_ROOM] = on_room,       [REMOTE_READ_ROOM] = on_read, [REMOTE_START] = NULL,
    [REMOTE_OPEN_SIZED] = on_open,
};

/* --- the threads of the slots --- */

static void fail_reply(struct call *call, int code, const struct error *err)
{
    const char *text = err->text[0] != '\0' ? err->text : strerrordesc_np(-code);

    call->reply = (struct remote_message){ .type = REMOTE_DONE, .code = code };
    if (text != NULL)
        (void)memccpy(call->reply.text, text, '\0', sizeof(call->reply.text) - 1);
}

static void perform(struct call *call)
{
    struct error err = { 0 };
    int r;

    call->reply.type = remote_info(call->request.type)->reply;
    if (call->data.data == NULL && call->data.len > 0)
        r = error_set(&err, -ENOMEM, "no memory for %zu bytes of an object", call->data.len);
    else
        r = handlers[call->request.type](call, &err);
    if (r < 0)
        fail_reply(call, r, &err);
    call->reply.slot = call->request.slot;
}

/* False when there will be none any more. */
static bool slot_take(struct server_slot *slot, struct call *ret)
{
    struct server *server = slot->server;

    mutex_lock(&server->lock);
    while (slot->state != SLOT_READY && !server->is_ending)
        cond_wait(&slot->changed, &server->lock);
    bool is_taken = !server->is_ending;
    if (is_taken) {
        slot->state = SLOT_BUSY;
        *ret = (struct call){ .server = server,
                              .request = slot->request,
                              .descriptor = slot->descriptor };
        slot->descriptor = -1;
        buf_move(&ret->data, &slot->data);
    }
    mutex_unlock(&server->lock);
    return is_taken;
}

static void *slot_run(void *arg)
{
    struct server_slot *slot = arg;
    struct call call;

    while (slot_take(slot, &call)) {
        perform(&call);
        mutex_lock(&slot->server->lock);
        slot->state = SLOT_IDLE;
        mutex_unlock(&slot->server->lock);
        (void)server_send(slot->server, &call.reply); /* a client that is gone needs none */
        close_fd(&call.descriptor);
        buf_release(&call.data);
        buf_release(&call.room);
    }
    return NULL;
}

/* --- the reader --- */

/* descriptor: the slot's from now on, if that went well. */
static int slot_begin(struct server_slot *slot, const struct remote_message *message,
                      int descriptor, struct error *err)
{
    bool is_in_pieces = message->type == REMOTE_PUT || message->type == REMOTE_REPLACE;
    uint64_t len = is_in_pieces ? message->size : message->data.len;

    if (handlers[message->type] ==
        NULL) /* PIECE without its beginning; START, which is long over */
        return error_set(err, -EPROTO, "a %s message of the store protocol belongs to nothing",
                         remote_info(message->type)->name);
    if (len > REMOTE_OBJECT_MAX)
        return error_set(err, -EBADMSG, "a store message tells of an object that is too long");
    slot->request = *message;
    slot->request.data = (struct bytes){ .data = NULL };
    slot->data = (struct buf){ .data = len > 0 ? malloc((size_t)len) : NULL, .len = (size_t)len };
    slot->filled = 0;
    slot->descriptor = descriptor;
    return 0;
}

static int slot_fill(struct server_slot *slot, struct bytes piece, struct error *err)
{
    if (piece.len > slot->data.len - slot->filled)
        return error_set(err, -EBADMSG, "a store message has more bytes than were told of");
    if (slot->data.data != NULL && piece.len > 0)
        memcpy(slot->data.data + slot->filled, piece.data, piece.len);
    slot->filled += piece.len;
    return 0;
}

/* *descriptor becomes -1 when the slot has it. */
static int server_take_in(struct server *server, const struct remote_message *message,
                          int *descriptor, struct error *err)
{
    struct server_slot *slot = &server->slots[message->slot];
    int r = 0;

    mutex_lock(&server->lock);
    enum slot_state state = slot->state;
    mutex_unlock(&server->lock);
    if (state == SLOT_READY || state == SLOT_BUSY ||
        (state == SLOT_FILLING && message->type != REMOTE_PIECE))
        return error_set(err, -EPROTO, "a %s message of the store protocol came out of its turn",
                         remote_info(message->type)->name);
    if (state == SLOT_IDLE) {
        r = slot_begin(slot, message, *descriptor, err);
        if (r == 0)
            *descriptor = -1;
    }
    if (r == 0)
        r = slot_fill(slot, message->data, err);
    if (r < 0)
        return r;
    mutex_lock(&server->lock);
    slot->state = slot->filled < slot->data.len ? SLOT_FILLING : SLOT_READY;
    (void)pthread_cond_signal(&slot->changed);
    mutex_unlock(&server->lock);
    return 0;
}

static int server_read(struct server *server, struct error *err)
{
    CLEANUP(free_ptr) uint8_t *room = malloc(REMOTE_MESSAGE_MAX);
    struct error fault = { 0 };
    struct remote_message message;
    int r = 0;

    if (room == NULL)
        return error_set(err, -ENOMEM, "no memory to serve an object store");
    while (r == 0) {
        CLEANUP(close_fd) int descriptor = -1;
        r = remote_receive_descriptor(server->fd, REMOTE_CLIENT, room, &message, &descriptor,
                                      &fault);
        if (r == -EPIPE)
            return 0;
        if (r == 0)
            r = server_take_in(server, &message, &descriptor, &fault);
    }
    return error_set(err, r, "%s", fault.text);
}

/* --- the whole --- */

static unsigned start_threads(struct server *server)
{
    unsigned started = 0;

    for (unsigned i = 0; i < REMOTE_SLOTS; i++) {
        server->slots[i].server = server;
        server->slots[i].descriptor = -1;
        (void)pthread_cond_init(&server->slots[i].changed, NULL);
    }
    while (started < REMOTE_SLOTS && pthread_create(&server->slots[started].thread, NULL, slot_run,
                                                    &server->slots[started]) == 0)
        started++;
    return started;
}

static void end_threads(struct server *server, unsigned started)
{
    mutex_lock(&server->lock);
    server->is_ending = true;
    for (unsigned i = 0; i < REMOTE_SLOTS; i++)
        (void)pthread_cond_signal(&server->slots[i].changed);
    mutex_unlock(&server->lock);
    for (unsigned i = 0; i < started; i++)
        (void)pthread_join(server->slots[i].thread, NULL);
    for (unsigned i = 0; i < REMOTE_SLOTS; i++) {
        (void)pthread_cond_destroy(&server->slots[i].changed);
        buf_release(&server->slots[i].data);
        close_fd(&server->slots[i].descriptor);
    }
    remote_room_unmap(server->room);
}

int remote_server_run(int fd, struct object_store *store, struct error *err)
{
    CLEANUP(free_ptr) struct server *server = calloc(1, sizeof(*server));
    int r;

    if (server == NULL)
        return error_set(err, -ENOMEM, "no memory to serve an object store");
    server->fd = fd;
    server->store = store;
    server->lock = server->send_lock = MUTEX_INIT;
    unsigned started = start_threads(server);
    if (started == REMOTE_SLOTS)
        r = server_read(server, err);
    else
        r = error_set(err, -EAGAIN, "there are not enough threads to serve an object store");
    (void)shutdown(fd, SHUT_RDWR); /* nobody may wait for an answer to what is dropped */
    end_threads(server, started);
    for (uint32_t i = 0; i < REMOTE_HANDLES_MAX; i++)
        if (server->handles[i] != NULL)
            handle_unref(server, server->handles[i]);
    return r;
}
