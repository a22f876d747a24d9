/* remote.c - asks in slots: who performs an operation takes one, sends the request, and waits until
 * the reader thread has put the answer into it, or the connection is broken. What is read in large
 * pieces comes through memory that both sides have (remote_room.h), which is made when it is first
 * of use, and of which goes back what was not used for a while. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clean_text.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"
#include "store/remote_protocol.h"
#include "store/remote_room.h"
#include "store/remote_store.h"

#define ROOM_READ_MIN ((size_t)128 * 1024) /* what is shorter costs less by the socket */
#define ROOM_LOOK_MS 1000                  /* what was not used between two looks goes back */

struct client_slot {
    bool is_taken;
    bool is_answered;
    enum remote_type asked;
    size_t max; /* of the answer's data */
    pthread_cond_t answered;
    struct remote_message reply; /* without its data, which is gathered here: */
    struct buf data;
    uint8_t *to;   /* or there, if it is not NULL: of who waits, max bytes */
    size_t len;    /* of either */
    size_t filled; /* so much of its part of the room has memory for certain, */
    size_t held;   /* so much may have some, */
    size_t used;   /* and so much was used since the last look */
};

struct remote_store {
    struct object_store base;
    int fd;
    pthread_t reader;
    struct mutex send_lock; /* for one message; held while the socket takes it */
    struct mutex lock;      /* guards all below; never held with the other one */
    pthread_cond_t slot_is_free;
    struct error broken;           /* code 0: the connection is good */
    remote_store_ended_fn *on_end; /* NULL: nobody is told, or was told */
    void *on_end_arg;
    bool is_room_held; /* there is a slot that holds some of it */
    struct client_slot slots[REMOTE_SLOTS];

    struct mutex room_lock; /* held while the room is made: who reads waits for that */
    int room_fd;            /* -1: there is none */
    uint8_t *room;          /* the same, to look at */
    bool is_room_tried;
};

/* One that is open in the other process. */
struct remote_file {
    union {
        struct object object;
        struct object_writer writer;
    } base;
    struct remote_store *store;
    uint32_t handle;
};

/* --- the connection --- */

/* Under the lock, so that who does not want to hear of it any more does not. */
static void tell_end_locked(struct remote_store *store) REQUIRES(store->lock)
{
    remote_store_ended_fn *on_end = TAKE(store->on_end);

    if (on_end != NULL)
        on_end(store->on_end_arg);
}

void remote_store_on_end(struct object_store *store, remote_store_ended_fn *fn, void *arg)
{
    struct remote_store *remote = (struct remote_store *)store;

    mutex_lock(&remote->lock);
    remote->on_end = fn;
    remote->on_end_arg = arg;
    if (remote->broken.code != 0)
        tell_end_locked(remote);
    mutex_unlock(&remote->lock);
}

void remote_store_end(struct object_store *store)
{
    (void)shutdown(((struct remote_store *)store)->fd, SHUT_RDWR); /* the reader does the rest */
}

/* Wakes all who wait. Only the first reason counts. */
static void break_off(struct remote_store *store, const struct error *why)
{
    mutex_lock(&store->lock);
    if (store->broken.code == 0) {
        if (why->code == -EPIPE)
            (void)error_set(&store->broken, -ENOTCONN,
                            "the process that holds the object store has ended the connection; "
                            "its log says why");
        else
            (void)error_set(&store->broken, why->code,
                            "the connection to the process that holds the object store was ended: "
                            "%s",
                            why->text);
    }
    (void)pthread_cond_broadcast(&store->slot_is_free);
    for (unsigned i = 0; i < REMOTE_SLOTS; i++)
        (void)pthread_cond_broadcast(&store->slots[i].answered);
    tell_end_locked(store);
    mutex_unlock(&store->lock);
    (void)shutdown(store->fd, SHUT_RDWR);
}

static bool has_more(const struct remote_message *message)
{
    return message->flag && (message->type == REMOTE_DATA || message->type == REMOTE_NAMES);
}

static int answer_locked(struct remote_store *store, const struct remote_message *message,
                         struct error *err) REQUIRES(&store->lock)
{
    struct client_slot *slot = &store->slots[message->slot];
    bool is_failure = message->type == REMOTE_DONE && message->code < 0;

    if (!slot->is_taken || slot->is_answered ||
        (!is_failure && message->type != remote_info(slot->asked)->reply))
        return error_set(err, -EPROTO, "it sent a %s message that nobody asked for",
                         remote_info(message->type)->name);
    if (message->data.len > slot->max - slot->len ||
        (slot->asked == REMOTE_READ_ROOM && message->size > slot->max))
        return error_set(err, -EBADMSG, "it sent more bytes than were asked for");
    if (slot->to != NULL && message->data.len > 0)
        memcpy(slot->to + slot->len, message->data.data, message->data.len);
    else if (message->data.len > 0 && buf_append(&slot->data, message->data) < 0)
        return error_set(err, -ENOMEM, "no memory for what it sent");
    slot->len += message->data.len;
    if (has_more(message))
        return 0;
    slot->reply = *message;
    slot->reply.data = (struct bytes){ .data = NULL };
    slot->is_answered = true;
    (void)pthread_cond_signal(&slot->answered);
    return 0;
}

/* Under the lock, so that nobody begins to use it; a few milliseconds. */
static void give_back_locked(struct remote_store *store) REQUIRES(store->lock)
{
    store->is_room_held = false;
    for (unsigned i = 0; i < REMOTE_SLOTS; i++) {
        struct client_slot *slot = &store->slots[i];
        if (!slot->is_taken && slot->used < slot->held) {
            remote_room_trim(store->room_fd, i, slot->used);
            slot->held = slot->used;
            slot->filled = slot->filled < slot->used ? slot->filled : slot->used;
        }
        if (!slot->is_taken)
            slot->used = 0;
        store->is_room_held = store->is_room_held || slot->held > 0;
    }
}

/* Meanwhile memory that is not used any more goes back. Slots with low numbers are taken first, so
 * less traffic than before uses fewer of them. */
static void wait_for_answer(struct remote_store *store, int64_t *look_ms)
{
    struct pollfd answer = { .fd = store->fd, .events = POLLIN };

    for (;;) {
        int64_t now_ms = clock_monotonic_ms();
        mutex_lock(&store->lock);
        if (store->is_room_held && now_ms >= *look_ms) {
            give_back_locked(store);
            *look_ms = now_ms + ROOM_LOOK_MS;
        }
        bool is_room_held = store->is_room_held;
        mutex_unlock(&store->lock);
        if (!is_room_held || poll(&answer, 1, (int)(*look_ms - now_ms)) != 0)
            return;
    }
}

static void *read_answers(void *arg)
{
    struct remote_store *store = arg;
    CLEANUP(free_ptr) uint8_t *room = malloc(REMOTE_MESSAGE_MAX);
    struct remote_message message;
    struct error err = { 0 };
    int64_t look_ms = 0;
    int r = 0;

    if (room == NULL)
        r = error_set(&err, -ENOMEM, "no memory for answers");
    while (r == 0) {
        wait_for_answer(store, &look_ms);
        r = remote_receive(store->fd, REMOTE_SERVER, room, &message, &err);
        if (r < 0)
            break;
        mutex_lock(&store->lock);
        r = answer_locked(store, &message, &err);
        mutex_unlock(&store->lock);
    }
    break_off(store, &err);
    return NULL;
}

/* --- one operation --- */

static int broken_locked(struct remote_store *store, struct error *err) REQUIRES(&store->lock)
{
    return error_set(err, store->broken.code, "%s", store->broken.text);
}

static struct client_slot *free_slot_locked(struct remote_store *store) REQUIRES(&store->lock)
{
    for (unsigned i = 0; i < REMOTE_SLOTS; i++)
        if (!store->slots[i].is_taken)
            return &store->slots[i];
    return NULL;
}

/* An operation with its request, and what its answer may hold. */
struct asking {
    struct remote_message request;
    struct bytes data; /* of the request */
    size_t max;        /* of the answer's data */
    struct remote_message reply;
    struct buf found; /* the answer's data; the caller's to release */
    uint8_t *to;      /* or there, if it is not NULL */
    size_t to_len;
    int descriptor;                 /* goes with ROOM; -1: none */
    const struct object_look *look; /* of READ_ROOM, in the place of to; or NULL */
};

static void use_room_locked(struct remote_store *store, struct client_slot *slot,
                            struct asking *asking) REQUIRES(store->lock)
{
    asking->request.flag = asking->max > slot->filled;
    if (asking->request.flag)
        slot->filled = asking->max;
    if (slot->held < slot->filled)
        slot->held = slot->filled;
    if (slot->used < asking->max)
        slot->used = asking->max;
    store->is_room_held = true;
}

static int slot_take(struct remote_store *store, struct asking *asking, struct client_slot **ret,
                     struct error *err)
{
    struct client_slot *slot = NULL;
    int r = 0;

    mutex_lock(&store->lock);
    while (store->broken.code == 0 && (slot = free_slot_locked(store)) == NULL)
        cond_wait(&store->slot_is_free, &store->lock);
    if (slot == NULL) {
        r = broken_locked(store, err);
    } else {
        slot->is_taken = true;
        slot->is_answered = false;
        slot->asked = asking->request.type;
        slot->max = asking->max;
        slot->to = asking->to;
        slot->len = 0;
        if (slot->asked == REMOTE_READ_ROOM)
            use_room_locked(store, slot, asking);
        *ret = slot;
    }
    mutex_unlock(&store->lock);
    return r;
}

/* Waits for the answer. */
static int slot_wait(struct remote_store *store, struct client_slot *slot, struct asking *asking,
                     struct error *err)
{
    int r = 0;

    mutex_lock(&store->lock);
    while (!slot->is_answered && store->broken.code == 0)
        cond_wait(&slot->answered, &store->lock);
    if (slot->is_answered)
        asking->reply = slot->reply;
    else
        r = broken_locked(store, err);
    if (asking->reply.code < 0)
        slot->filled = 0; /* perhaps it was for want of memory */
    buf_move(&asking->found, &slot->data);
    asking->to_len = slot->to != NULL ? slot->len : 0;
    slot->to = NULL;
    mutex_unlock(&store->lock);
    return r;
}

/* What was read into the room: as long as the slot is held, it stays there. */
static void slot_take_out(struct remote_store *store, const struct client_slot *slot,
                          struct asking *asking)
{
    if (asking->request.type != REMOTE_READ_ROOM || asking->reply.code < 0)
        return;
    const unsigned number = (unsigned)(slot - store->slots);
    const struct bytes found = { remote_room_part(store->room, number),
                                 (size_t)asking->reply.size };
    if (asking->look != NULL) {
        asking->look->fn(found, asking->look->arg);
        return;
    }
    memcpy(asking->to, found.data, found.len);
    asking->to_len = found.len;
}

static void slot_give(struct remote_store *store, struct client_slot *slot)
{
    mutex_lock(&store->lock);
    slot->is_taken = false;
    (void)pthread_cond_signal(&store->slot_is_free);
    mutex_unlock(&store->lock);
}

static int send_descriptor(struct remote_store *store, const struct asking *asking,
                           struct error *err)
{
    mutex_lock(&store->send_lock);
    int r = remote_send_descriptor(store->fd, &asking->request, asking->descriptor, err);
    mutex_unlock(&store->send_lock);
    return r;
}

/* The lock is let go between pieces, so that a long object does not keep others waiting. */
static int send_request(struct remote_store *store, const struct asking *asking, struct error *err)
{
    struct remote_message message = asking->request;
    struct bytes data = asking->data;
    int r;

    if (message.type == REMOTE_ROOM)
        return send_descriptor(store, asking, err);

    do {
        size_t len = data.len < REMOTE_DATA_MAX ? data.len : REMOTE_DATA_MAX;
        message.data = (struct bytes){ data.data, len };
        mutex_lock(&store->send_lock);
        r = remote_send(store->fd, &message, err);
        mutex_unlock(&store->send_lock);
        if (len > 0)
            data.data += len;
        data.len -= len;
        message = (struct remote_message){ .type = REMOTE_PIECE, .slot = message.slot };
    } while (r == 0 && data.len > 0);
    return r;
}

static int refused(const struct remote_message *reply, struct error *err)
{
    char text[REMOTE_TEXT_SIZE];

    clean_text(reply->text, text, sizeof(text));
    return error_set(err, reply->code, "%s", text[0] != '\0' ? text : "the object store failed");
}

static int ask(struct remote_store *store, struct asking *asking, struct error *err)
{
    struct client_slot *slot = NULL;
    struct error fault = { 0 };

    int r = slot_take(store, asking, &slot, err);
    if (r < 0)
        return r;
    assert(slot != NULL);
    asking->request.slot = (uint16_t)(slot - store->slots);
    if (send_request(store, asking, &fault) < 0)
        break_off(store, &fault);
    r = slot_wait(store, slot, asking, err);
    if (r == 0)
        slot_take_out(store, slot, asking);
    slot_give(store, slot);
    if (r < 0)
        return r;
    return asking->reply.code < 0 ? refused(&asking->reply, err) : 0;
}

static struct asking about(enum remote_type type, const char *name)
{
    struct asking asking = { .request = { .type = type } };

    memcpy(asking.request.name, name, strnlen(name, OBJECT_NAME_MAX));
    return asking;
}

static void asking_release(struct asking *asking)
{
    buf_release(&asking->found);
}

/* --- whole objects --- */

static int put_whole(struct object_store *base, enum remote_type type, const char *name,
                     struct bytes data, struct error *err)
{
    CLEANUP(asking_release) struct asking asking = about(type, name);

    if (data.len > REMOTE_OBJECT_MAX)
        return error_set(err, -EFBIG, "object %s is too long to be put at once", name);
    asking.request.size = data.len;
    asking.data = data;
    return ask((struct remote_store *)base, &asking, err);
}

static int remote_put(struct object_store *base, const char *name, struct bytes data,
                      struct error *err)
{
    return put_whole(base, REMOTE_PUT, name, data, err);
}

static int remote_replace(struct object_store *base, const char *name, struct bytes data,
                          struct error *err)
{
    return put_whole(base, REMOTE_REPLACE, name, data, err);
}

static int remote_get(struct object_store *base, const char *name, size_t max, struct buf *ret,
                      struct error *err)
{
    CLEANUP(asking_release) struct asking asking = about(REMOTE_GET, name);

    asking.max = max < REMOTE_OBJECT_MAX ? max : REMOTE_OBJECT_MAX;
    asking.request.size = asking.max;
    int r = ask((struct remote_store *)base, &asking, err);
    if (r == 0) {
        buf_release(ret);
        buf_move(ret, &asking.found);
    }
    return r;
}

static int remote_remove(struct object_store *base, const char *name, struct error *err)
{
    CLEANUP(asking_release) struct asking asking = about(REMOTE_REMOVE, name);

    return ask((struct remote_store *)base, &asking, err);
}

static int visit_all(struct bytes entries, const char *prefix, object_visit_fn *visit, void *arg,
                     struct error *err)
{
    char name[OBJECT_NAME_MAX + 1];
    uint64_t size = 0;

    while (entries.len > 0) {
        if (!remote_name_take(&entries, name, &size) || strncmp(name, prefix, strlen(prefix)) != 0)
            return error_set(err, -EBADMSG,
                             "the process that holds the object store listed what was not asked "
                             "for");
        int r = visit(name, size, arg);
        if (r != 0)
            return r;
    }
    return 0;
}

/* No slot is held during the visits: they may call the store. */
static int remote_list(struct object_store *base, const char *prefix, object_visit_fn *visit,
                       void *arg, struct error *err)
{
    CLEANUP(asking_release) struct asking asking = about(REMOTE_LIST, prefix);

    if (!object_prefix_is_possible(prefix))
        return 0;
    asking.max = REMOTE_LISTING_MAX;
    int r = ask((struct remote_store *)base, &asking, err);
    return r < 0 ? r : visit_all(buf_bytes(&asking.found), prefix, visit, arg, err);
}

static int remote_stat(struct object_store *base, const char *name, uint64_t *ret_size,
                       struct error *err)
{
    CLEANUP(asking_release) struct asking asking = about(REMOTE_STAT, name);

    int r = ask((struct remote_store *)base, &asking, err);
    if (r == 0)
        *ret_size = asking.reply.size;
    return r;
}

static int remote_space(struct object_store *base, struct object_store_space *ret,
                        struct error *err)
{
    CLEANUP(asking_release) struct asking asking = about(REMOTE_SPACE, "");

    int r = ask((struct remote_store *)base, &asking, err);
    if (r == 0)
        *ret = (struct object_store_space){ asking.reply.size, asking.reply.free };
    return r;
}

/* --- what is open --- */

static struct asking about_file(enum remote_type type, const struct remote_file *file)
{
    return (struct asking){ .request = { .type = type, .handle = file->handle } };
}

static void file_close(struct remote_file *file)
{
    CLEANUP(asking_release) struct asking asking = about_file(REMOTE_CLOSE, file);

    (void)ask(file->store, &asking, NULL); /* a process that is gone has closed all */
    free(file);
}

static int file_open(struct object_store *base, enum remote_type type, const char *name,
                     uint64_t size, struct remote_file **ret, struct error *err)
{
    CLEANUP(asking_release) struct asking asking = about(type, name);
    CLEANUP(free_ptr) struct remote_file *file = calloc(1, sizeof(*file));

    if (file == NULL)
        return error_set(err, -ENOMEM, "no memory to open object %s", name);
    file->store = (struct remote_store *)base;
    asking.request.size = size;
    int r = ask(file->store, &asking, err);
    if (r < 0)
        return r;
    file->handle = asking.reply.handle;
    *ret = TAKE(file);
    return 0;
}

/* A server that has no use for it is asked without. */
static void make_room(struct remote_store *store) REQUIRES(store->room_lock)
{
    CLEANUP(asking_release) struct asking asking = { .request = { .type = REMOTE_ROOM } };
    CLEANUP(close_fd) int fd = -1;

    store->is_room_tried = true;
    if (remote_room_new(&fd) < 0)
        return;
    asking.descriptor = fd;
    if (ask(store, &asking, NULL) < 0 || remote_room_view(fd, &store->room) < 0)
        return;
    store->room_fd = fd;
    fd = -1;
}

static bool has_room(struct remote_store *store)
{
    mutex_lock(&store->room_lock);
    if (!store->is_room_tried)
        make_room(store);
    bool has = store->room_fd >= 0;
    mutex_unlock(&store->room_lock);
    return has;
}

static int read_piece(struct remote_file *file, uint64_t offset, size_t len, uint8_t *to,
                      size_t *ret_len, struct error *err)
{
    bool is_by_room = len >= ROOM_READ_MIN && has_room(file->store);
    CLEANUP(asking_release)
    struct asking asking = about_file(is_by_room ? REMOTE_READ_ROOM : REMOTE_READ, file);

    asking.request.offset = offset;
    asking.request.size = asking.max = len;
    asking.to = to;
    int r = ask(file->store, &asking, err);
    if (r == 0)
        *ret_len = asking.to_len;
    return r;
}

static int remote_read(struct object *object, uint64_t offset, size_t len, uint8_t *to,
                       size_t *ret_len, struct error *err)
{
    size_t done = 0;

    while (done < len) {
        size_t wanted = len - done < REMOTE_READ_MAX ? len - done : REMOTE_READ_MAX;
        size_t found = 0;
        int r =
            read_piece((struct remote_file *)object, offset + done, wanted, to + done, &found, err);
        if (r < 0)
            return r;
        done += found;
        if (found < wanted)
            break;
    }
    *ret_len = done;
    return 0;
}

static int remote_look(struct object *object, uint64_t offset, size_t len,
                       const struct object_look *look, struct error *err)
{
    struct remote_file *file = (struct remote_file *)object;
    CLEANUP(asking_release) struct asking asking = about_file(REMOTE_READ_ROOM, file);

    if (len < ROOM_READ_MIN || len > REMOTE_READ_MAX || !has_room(file->store))
        return object_look_by_read(object, offset, len, look, err);
    asking.request.offset = offset;
    asking.request.size = asking.max = len;
    asking.look = look;
    return ask(file->store, &asking, err);
}

static void remote_object_close(struct object *object)
{
    file_close((struct remote_file *)object);
}

static const struct object_ops object_ops = {
    .read = remote_read,
    .look = remote_look,
    .close = remote_object_close,
};

static int open_object(struct object_store *base, const char *name, uint64_t size,
                       struct object **ret, struct error *err)
{
    struct remote_file *file = NULL;

    int r = file_open(base, size > 0 ? REMOTE_OPEN_SIZED : REMOTE_OPEN, name, size, &file, err);
    if (r < 0)
        return r;
    file->base.object.ops = &object_ops;
    *ret = &file->base.object;
    return 0;
}

static int remote_open(struct object_store *base, const char *name, struct object **ret,
                       struct error *err)
{
    return open_object(base, name, 0, ret, err);
}

static int remote_write(struct object_writer *writer, uint64_t offset, struct bytes data,
                        struct error *err)
{
    struct remote_file *file = (struct remote_file *)writer;

    for (size_t done = 0; done < data.len;) {
        size_t len = data.len - done < REMOTE_DATA_MAX ? data.len - done : REMOTE_DATA_MAX;
        CLEANUP(asking_release) struct asking asking = about_file(REMOTE_WRITE, file);
        asking.request.offset = offset + done;
        asking.data = (struct bytes){ data.data + done, len };
        int r = ask(file->store, &asking, err);
        if (r < 0)
            return r;
        done += len;
    }
    return 0;
}

static int on_writer(struct object_writer *writer, enum remote_type type, struct error *err)
{
    struct remote_file *file = (struct remote_file *)writer;
    CLEANUP(asking_release) struct asking asking = about_file(type, file);

    return ask(file->store, &asking, err);
}

static int remote_sync(struct object_writer *writer, struct error *err)
{
    return on_writer(writer, REMOTE_SYNC, err);
}

static int remote_seal(struct object_writer *writer, struct error *err)
{
    return on_writer(writer, REMOTE_SEAL, err);
}

static void remote_writer_close(struct object_writer *writer)
{
    file_close((struct remote_file *)writer);
}

static const struct object_writer_ops writer_ops = {
    .write = remote_write,
    .sync = remote_sync,
    .seal = remote_seal,
    .close = remote_writer_close,
};

static int remote_create(struct object_store *base, const char *name, struct object_writer **ret,
                         struct error *err)
{
    struct remote_file *file = NULL;

    int r = file_open(base, REMOTE_CREATE, name, 0, &file, err);
    if (r < 0)
        return r;
    file->base.writer.ops = &writer_ops;
    *ret = &file->base.writer;
    return 0;
}

/* --- the store --- */

/* All but the descriptor. */
static void release(struct remote_store *store)
{
    remote_store_on_end(&store->base, NULL, NULL);
    (void)shutdown(store->fd, SHUT_RDWR);
    (void)pthread_join(store->reader, NULL);
    for (unsigned i = 0; i < REMOTE_SLOTS; i++)
        (void)pthread_cond_destroy(&store->slots[i].answered);
    (void)pthread_cond_destroy(&store->slot_is_free);
    remote_room_unmap(store->room);
    close_fd(&store->room_fd);
    free(store);
}

static void remote_close(struct object_store *base)
{
    struct remote_store *store = (struct remote_store *)base;
    CLEANUP(close_fd) int fd = store->fd;

    release(store);
}

#define STORE_OPS                                                                                  \
    .type = "remote", .put = remote_put, .replace = remote_replace, .get = remote_get,             \
    .open = remote_open, .open_sized = open_object, .remove = remote_remove, .list = remote_list,  \
    .stat = remote_stat, .create = remote_create, .space = remote_space, .close = remote_close

/* In front of a store that does not prefer sealing, and of one that does. */
static const struct object_store_ops store_ops[2] = {
    { STORE_OPS },
    { STORE_OPS, .prefers_sealing = true },
};

static void init(struct remote_store *store, int fd)
{
    store->fd = fd;
    store->room_fd = -1;
    store->lock = store->send_lock = store->room_lock = MUTEX_INIT;
    (void)pthread_cond_init(&store->slot_is_free, NULL);
    for (unsigned i = 0; i < REMOTE_SLOTS; i++)
        (void)pthread_cond_init(&store->slots[i].answered, NULL);
}

int remote_store_open(int fd, struct object_store **ret, struct error *err)
{
    CLEANUP(asking_release) struct asking hello = about(REMOTE_HELLO, "");
    struct remote_store *store = calloc(1, sizeof(*store));

    if (store == NULL)
        return error_set(err, -ENOMEM, "no memory for a store");
    init(store, fd);
    int r = -pthread_create(&store->reader, NULL, read_answers, store);
    if (r < 0) {
        free(store);
        return error_set(err, r, "there is no thread to read an object store's answers");
    }
    r = ask(store, &hello, err);
    if (r < 0) {
        release(store);
        return r;
    }
    store->base.ops = &store_ops[hello.reply.flag];
    *ret = &store->base;
    return 0;
}

int remote_store_start(int fd, struct bytes settings, uid_t uid, gid_t gid, struct error *err)
{
    CLEANUP(free_ptr) uint8_t *room = malloc(REMOTE_MESSAGE_MAX);
    const struct remote_message order = {
        .type = REMOTE_START, .uid = uid, .gid = gid, .data = settings
    };
    struct remote_message reply = { .slot = 0 };

    if (room == NULL)
        return error_set(err, -ENOMEM, "no memory to start an object store");
    int r = remote_send(fd, &order, err);
    if (r == 0)
        r = remote_receive(fd, REMOTE_SERVER, room, &reply, err);
    if (r < 0)
        return error_prefix(err, r, "the process for the object store");
    if (reply.type != REMOTE_DONE)
        return error_set(err, -EPROTO, "the process for the object store did not answer START");
    return reply.code < 0 ? refused(&reply, err) : 0;
}
